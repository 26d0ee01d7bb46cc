"""Sums of products in Einstein's notation: `einsum`, lowered to matrix products, elementwise products and sums.

An index that one operand alone has is summed over before anything is multiplied; what is left is contracted two operands at a
time, in the order that needs the fewest multiplications. Two operands that share no summed index are multiplied elementwise;
two that have no other indices are multiplied and summed, in one kernel, unless the sums are many and short; the rest is one
batched matrix product, which reads its operands by any strides. Only where several indices become one axis of a product may
an operand have to be copied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from weft import dtypes
from weft.errors import kind_of
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, public, tensor_of
from weft.ops.movement import as_strided, contiguous_strides, permute, reshape
from weft.ops.reduce import cast_to, dropped, over
from weft.ops.reduction import reduce_sum
from weft.ops.registry import Op, composite
from weft.ops.subscripts import Indices, listed, parsed, resolved

Sizes = Mapping[int, int]
#: Operands up to which every order of contraction is looked at.
FEW = 6


@composite("einsum", -1)
def contract(*operands: Any, attrs: Any) -> Any:
    """The sum of products that subscripts describe, its axes in the order of `_natural`."""
    subscripts = parsed(attrs)
    terms, output = resolved(subscripts, [tuple(t.shape) for t in operands])
    dtype = operands[0].dtype
    for t in operands[1:]:
        dtype = dtypes.promote(dtype, t.dtype)
    if dtype.kind == "b":
        raise TypeError("Products are summed of integer and floating-point types, not of bool.")
    sizes: dict[int, int] = {}
    for t, indices in zip(operands, terms, strict=True):
        for i, n in zip(indices, t.shape, strict=True):
            sizes[i] = n if sizes.get(i, 1) == 1 else sizes[i]
    wide = {i for i, n in sizes.items() if n != 1}
    wanted = _natural(terms, output)
    factors = [_Factor.of(cast_to(t, dtype), indices, wide) for t, indices in zip(operands, terms, strict=True)]
    names = [frozenset(f.indices) for f in factors]
    for k, f in enumerate(factors):  # sums before products
        elsewhere = frozenset(output).union(*names[:k], *names[k + 1 :])
        factors[k] = f.summed([i for i in f.indices if i not in elsewhere])
    order = tuple(i for i in wanted if i in wide)
    tree = contraction_order(tuple(f.indices for f in factors), order, tuple((i, sizes[i]) for i in sorted(wide)))
    result = _evaluated(tree, factors, order, frozenset(order), sizes)
    return reshape(result.ordered(order).tensor, attrs=(tuple(sizes[i] for i in wanted),))


class _Factor:
    """A tensor whose axes are known by different indices, none of size 1."""

    __slots__ = ("indices", "tensor")

    def __init__(self, tensor: Any, indices: Sequence[int]) -> None:
        self.tensor = tensor
        self.indices = tuple(indices)

    @classmethod
    def of(cls, x: Any, indices: Indices, wide: set[int]) -> _Factor:
        """An operand: a repeated index takes the diagonal, and axes of size 1 go (they broadcast)."""
        left = [(i, n, s) for i, n, s in zip(indices, x.shape, contiguous_strides(x.shape), strict=True) if n != 1]
        names = tuple(dict.fromkeys(i for i, _, _ in left if i in wide))
        if len(names) < len(left):
            strides = tuple(sum(s for i, _, s in left if i == name) for name in names)
            shape = tuple(next(n for i, n, _ in left if i == name) for name in names)
            return cls(as_strided(x, attrs=(0, strides, shape)), names)
        return cls(reshape(x, attrs=(tuple(n for _, n, _ in left),)), names)

    def summed(self, gone: Sequence[int]) -> _Factor:
        """Without some indices, which are summed over; 16-bit types in float32, rounded once."""
        if not gone:
            return self
        x, dtype = self.tensor, self.tensor.dtype
        axes = tuple(d for d, i in enumerate(self.indices) if i in gone)
        total = dropped(over(reduce_sum, cast_to(x, dtype.compute), axes), axes, False)
        return _Factor(cast_to(total, dtype), [i for i in self.indices if i not in gone])

    def ordered(self, indices: Sequence[int]) -> _Factor:
        """With its axes in another order."""
        if tuple(indices) == self.indices:
            return self
        perm = tuple(self.indices.index(i) for i in indices)
        return _Factor(permute(self.tensor, attrs=(perm,)), indices)

    def broadcast(self, indices: Sequence[int]) -> Any:
        """The tensor with an axis for each of some indices, of size 1 where it has not the index."""
        x = self.ordered([i for i in indices if i in self.indices])
        sizes = iter(x.tensor.shape)
        return reshape(x.tensor, attrs=(tuple(next(sizes) if i in self.indices else 1 for i in indices),))

    def merged(self, groups: Sequence[Sequence[int]], sizes: Sizes) -> Any:
        """The tensor with an axis for each group of indices.

        Axes that lie together are made one before they are permuted: then a product reads them where they are.
        """
        x = self
        for group in groups:
            if len(group) > 1 and self.joins(group):
                indices = [i for i in x.indices if i not in group[1:]]
                shape = tuple(_size(group, sizes) if i == group[0] else sizes[i] for i in indices)
                x, sizes = _Factor(reshape(x.tensor, attrs=(shape,)), indices), {**sizes, group[0]: _size(group, sizes)}
        x = x.ordered([i for group in groups for i in group if i in x.indices])
        shape = tuple(_size([i for i in group if i in x.indices], sizes) for group in groups)
        return reshape(x.tensor, attrs=(shape,))

    def joins(self, group: Sequence[int]) -> bool:
        """Whether some indices, in this order, are one axis of a contiguous tensor."""
        if len(group) < 2:
            return True
        at = self.indices.index(group[0])
        return self.indices[at : at + len(group)] == tuple(group)


# Two factors

#: Terms up to which many sums of elementwise products are products of rows by columns: a reduction begins each with lanes
#: of its own, which takes as long as 50 terms.
SHORT_SUM = 32


def _roles(x: Indices, y: Indices, keep: frozenset[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """The indices of a product of two factors: of the batch, of the rows, of the columns, and those summed over."""
    batch = [i for i in x if i in y and i in keep]
    summed = [i for i in x if i in y and i not in keep]
    return batch, [i for i in x if i not in y], [i for i in y if i not in x], summed


def _natural(terms: Sequence[Indices], output: Indices) -> Indices:
    """The result's indices in the order in which it can be written: that of a sum's operand; of a product of two, batch, rows,
    columns.

    What order that is depends on the subscripts alone; `einsum` gives a view of it in the order that was asked for.
    """
    if len(terms) == 1:
        return tuple(i for i in dict.fromkeys(terms[0]) if i in output)
    if len(terms) != 2:
        return output
    x, y = terms
    batch, rows, columns, summed = _roles(x, y, frozenset(output))
    if not summed or not (rows or columns):
        return output
    if output and output[-1] in rows:
        rows, columns = columns, rows
    return tuple(i for group in (batch, rows, columns) for i in output if i in group)


def _product(x: _Factor, y: _Factor, wanted: Indices | None, keep: frozenset[int], sizes: Sizes) -> _Factor:
    """The product of two factors, summed over the indices that are not kept. ``wanted`` is the order of axes to aim at."""
    batch, rows, columns, summed = _roles(x.indices, y.indices, keep)
    if not summed:
        order = wanted or (*batch, *rows, *columns)
        return _Factor(E.multiply(x.broadcast(order), y.broadcast(order)), order)
    if not (rows or columns or (batch and _size(summed, sizes) <= SHORT_SUM)):
        dtype = x.tensor.dtype
        a, b = (cast_to(f.ordered(x.indices).tensor, dtype.compute) for f in (x, y))
        out = _Factor(E.multiply(a, b), x.indices).summed(summed)
        return _Factor(cast_to(out.tensor, dtype), out.indices)
    if wanted:
        if wanted[-1] in rows:
            x, y, rows, columns = y, x, columns, rows
        batch = [i for i in wanted if i in batch]
    size = _size(keep & {*x.indices, *y.indices}, sizes)
    rows = _joined(rows, wanted, x, size)
    columns = _joined(columns, wanted, y, size)
    orders = (summed, [i for i in y.indices if i in summed])
    summed = min(orders, key=lambda o: sum(f.tensor.numel() for f in (x, y) if not f.joins(o)))
    each = [[i] for i in batch]
    out = C.matmul(x.merged([*each, rows, summed], sizes), y.merged([*each, summed, columns], sizes))
    order = (*batch, *rows, *columns)
    return _Factor(reshape(out, attrs=(tuple(sizes[i] for i in order),)), order)


def _joined(group: list[int], wanted: Indices | None, factor: _Factor, size: int) -> list[int]:
    """The order in which a factor's indices become one axis: the result's, unless copying the result later is cheaper than
    copying the factor now."""
    if wanted is None:
        return group
    order = [i for i in wanted if i in group]
    if factor.joins(order) or not factor.joins(group) or factor.tensor.numel() <= size:
        return order
    return group


def _size(indices: Any, sizes: Sizes) -> int:
    return math.prod(sizes[i] for i in indices)


# Several factors


#: An order of contraction: the number of a factor, or a pair of orders whose results are multiplied.
Tree = Any


def _evaluated(tree: Tree, factors: Sequence[_Factor], wanted: Indices, keep: frozenset[int], sizes: Sizes) -> _Factor:
    """The product of the factors in a tree, summed over the indices that are not kept."""
    if isinstance(tree, int):
        return factors[tree]
    left, right = tree
    names = [frozenset().union(*(factors[k].indices for k in _leaves(side))) for side in tree]
    x = _evaluated(left, factors, (), keep | names[1], sizes)
    y = _evaluated(right, factors, (), keep | names[0], sizes)
    return _product(x, y, wanted or None, keep, sizes)


def _leaves(tree: Tree) -> list[int]:
    return [tree] if isinstance(tree, int) else [k for side in tree for k in _leaves(side)]


@lru_cache(maxsize=1024)
def contraction_order(terms: tuple[Indices, ...], output: Indices, sizes: tuple[tuple[int, int], ...]) -> Tree:
    """The order in which to multiply factors with these indices: the one of fewest multiplications for a few of them, else
    always the two whose product saves the most memory.

    Example:
        >>> contraction_order(((0, 1), (1, 2), (2,)), (0,), ((0, 50), (1, 50), (2, 50)))
        (0, (1, 2))
    """
    of = dict(sizes)
    return _best(terms, output, of) if len(terms) <= FEW else _greedy(terms, output, of)


def _best(terms: tuple[Indices, ...], output: Indices, sizes: Sizes) -> Tree:
    """The cheapest tree, found by that of each set of factors (sets as bits, smaller ones first)."""
    every = (1 << len(terms)) - 1

    def left_of(members: int) -> frozenset[int]:
        """The indices of a product of some factors: those that the result or another factor has."""
        inside = {i for k, term in enumerate(terms) if members >> k & 1 for i in term}
        outside = {i for k, term in enumerate(terms) if not members >> k & 1 for i in term}
        return frozenset(inside & outside.union(output))

    names = [left_of(members) for members in range(every + 1)]
    found: dict[int, tuple[int, Tree]] = {1 << k: (0, k) for k in range(len(terms))}
    for members in range(1, every + 1):
        if members in found:
            continue
        lowest = members & -members
        part = (members - 1) & members
        best: tuple[int, Tree] | None = None
        while part:
            if part & lowest:
                (a, left), (b, right) = found[part], found[members ^ part]
                cost = a + b + _size(names[part] | names[members ^ part], sizes)
                if best is None or cost < best[0]:
                    best = cost, (left, right)
            part = (part - 1) & members
        assert best is not None
        found[members] = best
    return found[every][1]


def _greedy(terms: tuple[Indices, ...], output: Indices, sizes: Sizes) -> Tree:
    """A good tree for many factors."""
    left: list[tuple[frozenset[int], Tree]] = [(frozenset(term), k) for k, term in enumerate(terms)]
    while len(left) > 1:
        best: tuple[int, int, int, int, frozenset[int]] | None = None
        for a in range(len(left)):
            for b in range(a + 1, len(left)):
                x, y = left[a][0], left[b][0]
                others = frozenset(output).union(*(f for k, (f, _) in enumerate(left) if k not in (a, b)))
                product = (x | y) & others
                saved = _size(x, sizes) + _size(y, sizes) - _size(product, sizes)
                choice = -saved, _size(x | y, sizes), a, b, product
                if best is None or choice[:4] < best[:4]:
                    best = choice
        assert best is not None
        *_, a, b, product = best
        pair = product, (left[a][1], left[b][1])
        left = [f for k, f in enumerate(left) if k not in (a, b)] + [pair]
    return left[0][1]


# The call


def summed_products(subscripts: Any, *operands: Any) -> Any:
    """The sum of products of tensors that subscripts describe, given as for `parsed`."""
    out = contract.handle(subscripts, *operands)
    turn = _turn(subscripts, tuple([t.ndim for t in operands]))
    return out if turn is None else permute(out, attrs=turn)


@lru_cache(maxsize=1024)
def _turn(given: Any, ndims: tuple[int, ...]) -> tuple[Indices] | None:
    """The permutation from `contract`'s result to the output's order of axes, as attributes; None where that is the same."""
    terms, output = resolved(parsed(given), [(1,) * n for n in ndims])
    natural = _natural(terms, output)
    return None if natural == output else (tuple(natural.index(i) for i in output),)


@lru_cache(maxsize=1024)
def _movement(given: Any, shape: tuple[int, ...]) -> tuple[Op, Any] | None:
    """The movement that gives the result for one operand of a shape, with its attributes; None where something is summed."""
    (indices,), output = resolved(parsed(given), [shape])
    if set(output) != set(indices):
        return None
    if len(output) == len(indices):
        return permute, (tuple(indices.index(i) for i in output),)
    axes = list(zip(indices, contiguous_strides(shape), strict=True))
    strides = tuple(sum(s for i, s in axes if i == o) for o in output)
    return as_strided, (0, strides, tuple(shape[indices.index(o)] for o in output))


@public("linear algebra", method=False)
def einsum(subscripts: Any, /, *operands: Any) -> Any:
    """The sum of products that subscripts describe, in Einstein's notation.

    ``einsum("ij,jk->ik", a, b)`` names the axes of ``a`` and ``b`` and of the result: elements whose indices agree are
    multiplied, and the products summed over the indices that the result has not. An index twice in one operand takes its
    diagonal. ``...`` stands for axes without an index, which broadcast. Without ``->`` the result has the axes of ``...``, then
    the indices that occur once, in alphabetical order.

    Several operands are contracted two at a time, in the order that takes the fewest multiplications.

    Args:
        subscripts: the indices, letters, of each operand, with commas between them, and perhaps of the result after ``->``.
        operands: the tensors, whose types are promoted. Or, as in NumPy, tensors and lists of integers in turn, from the first
            argument on: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``.

    Returns:
        A tensor with an axis for each index of the result. With one operand and nothing to sum it is a view where strides can
        say it, and else it may be a view of new memory with permuted axes.

    Raises:
        ShapeError: where an operand has not as many axes as indices, or an index has several sizes (1 broadcasts).
        ValueError: where the subscripts cannot be read.
        TypeError: for bool, unless there is nothing to multiply or add.

    Example:
        >>> x = weft.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> weft.einsum("ij,kj->ik", x, x)
        tensor([[ 5., 11.],
                [11., 25.]], dtype=float32)
        >>> weft.einsum("ii", x)
        tensor(5., dtype=float32)
    """
    if not isinstance(subscripts, str):
        if not isinstance(subscripts, Tensor):
            raise TypeError(
                f"einsum begins with subscripts such as 'ij,jk->ik', or with a tensor and its list of indices, not with "
                f"{kind_of(subscripts)}."
            )
        given = (subscripts, *operands)
        operands = given[: len(given) // 2 * 2 : 2]
        lists = given[1::2]
        subscripts = listed(lists), None if len(given) % 2 == 0 else listed(given[-1:])[0]
    elif len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    for t in operands:
        if t.__class__ is not Tensor:
            tensor_of(t, "Each operand")
    if len(operands) == 1 and (found := _movement(subscripts, operands[0].shape)) is not None:
        return found[0](operands[0], attrs=found[1])
    return summed_products(subscripts, *operands)
