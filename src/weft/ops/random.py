"""Random numbers: the same draws in every mode and for any number of threads.

A draw takes a copy of the generator's state and advances it (`weft.ops.generator`). Element k of a draw is a function
(Philox4x32-10) of the key and of counter + k, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from weft import dtypes
from weft.dtypes import DType
from weft.errors import ShapeError
from weft.ops import elementwise as E
from weft.ops import reduction as R
from weft.ops.creation import filled
from weft.ops.frontend import Tensor, boolean, dtype_of, integer, number, operand, public, shape_of, tensor_of
from weft.ops.generator import source
from weft.ops.indexed import gather, iota, nonzero
from weft.ops.inplace import copy_op
from weft.ops.movement import reshape, slice_
from weft.ops.registry import composite

#: Up to this many elements a permutation ranks random keys, which compares all pairs.
RANKED = 1024
#: Rounds of the keyed bijection behind larger permutations.
ROUNDS = 8


# What is computed from a state


def _word(state: Any, k: int) -> Any:
    return reshape(slice_(state, attrs=((k,), (1,), (1,))), attrs=((),))


def _bits(state: Any, n: int, skip: int = 0) -> Any:
    """n numbers of 64 random bits."""
    k = E.cast_(iota(attrs=(n,)), attrs=dtypes.uint64)
    counter = E.add(E.add(k, skip) if skip else k, _word(state, 1))
    return E.philox(counter, _word(state, 0))


def _fraction(bits: Any, width: int, dtype: DType) -> Any:
    """The upper bits of each number as a multiple of 2 ** -width in [0, 1)."""
    return E.multiply(E.cast_(E.bitwise_right_shift(bits, 64 - width), attrs=dtype), 2.0**-width)


_WIDTHS = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24, dtypes.float64: 53}


def uniform_of(state: Any, shape: tuple[int, ...], dtype: DType) -> Any:
    """Numbers in [0, 1), all multiples of the spacing just below 1."""
    u = _fraction(_bits(state, math.prod(shape)), _WIDTHS[dtype], dtype.compute)
    return reshape(E.cast_(u, attrs=dtype) if dtype.is_half else u, attrs=(shape,))


@composite("rand", 1)
def _rand(state: Any, attrs: Any) -> Any:
    shape, dtype = attrs
    return uniform_of(state, shape, dtype)


@composite("randn", 1)
def _randn(state: Any, attrs: Any) -> Any:
    """Box and Muller's transform; 64 random bits an element, 128 in float64."""
    shape, dtype = attrs
    n = math.prod(shape)
    kind = dtype.compute
    first = _bits(state, n)
    if kind is dtypes.float64:
        above_zero = E.add(E.cast_(E.bitwise_right_shift(first, 11), attrs=kind), 0.5)
        u = E.multiply(above_zero, 2.0**-53)
        angle = _fraction(_bits(state, n, n), 53, kind)
    else:
        u = E.multiply(E.add(E.cast_(E.bitwise_right_shift(first, 32), attrs=kind), 0.5), 2.0**-32)
        low = E.bitwise_right_shift(E.bitwise_left_shift(first, 32), 40)
        angle = E.multiply(E.cast_(low, attrs=kind), 2.0**-24)
    radius = E.sqrt(E.multiply(E.log(u), -2.0))
    z = E.multiply(radius, E.cos(E.multiply(angle, 2 * math.pi)))
    return reshape(E.cast_(z, attrs=dtype) if dtype.is_half else z, attrs=(shape,))


@composite("randint", 1)
def _randint(state: Any, attrs: Any) -> Any:
    """The upper half of the 128-bit product of 64 random bits and the range, whose bias is below range / 2 ** 64."""
    shape, low, span, dtype = attrs
    bits = _bits(state, math.prod(shape))
    mask = 0xFFFFFFFF
    a, b = E.bitwise_right_shift(bits, 32), E.bitwise_and(bits, mask)
    c, d = span >> 32, span & mask
    carry = E.bitwise_right_shift(E.multiply(b, d), 32)
    middle = E.add(E.multiply(a, d), carry)
    high = E.bitwise_right_shift(middle, 32)
    if c:
        other = E.add(E.multiply(b, c), E.bitwise_and(middle, mask))
        high = E.add(E.add(E.multiply(a, c), high), E.bitwise_right_shift(other, 32))
    value = E.add(E.cast_(high, attrs=dtypes.int64), low)
    return reshape(value if dtype is dtypes.int64 else E.cast_(value, attrs=dtype), attrs=(shape,))


@composite("rank_permutation", 1)
def _rank_permutation(state: Any, attrs: Any) -> Any:
    """Each position's rank among random keys; equal keys rank by position."""
    (n,) = attrs
    keys = _bits(state, n)
    mine, other = reshape(keys, attrs=((n, 1),)), reshape(keys, attrs=((1, n),))
    k = iota(attrs=(n,))
    earlier = E.less(reshape(k, attrs=((1, n),)), reshape(k, attrs=((n, 1),)))
    below = E.bitwise_or(E.less(other, mine), E.bitwise_and(E.equal(other, mine), earlier))
    ranks = R.reduce_sum(E.cast_(below, attrs=dtypes.int64), attrs=(1, 2))
    return reshape(ranks, attrs=((n,),))


@composite("keyed_permutation", 1)
def _keyed_permutation(state: Any, attrs: Any) -> Any:
    """A Feistel network over the next power of two above n, of which the results below n are kept in order."""
    (n,) = attrs
    width = (2 * n - 1).bit_length()
    right_width = width // 2
    left_width = width - right_width
    k = iota(attrs=(1 << width,))
    left, right = E.bitwise_right_shift(k, right_width), E.bitwise_and(k, (1 << right_width) - 1)
    key = _word(state, 0)
    base = _word(state, 1)
    for r in range(ROUNDS):
        source, bits = (right, left_width) if r % 2 == 0 else (left, right_width)
        counter = E.add(E.add(E.cast_(source, attrs=dtypes.uint64), base), r << left_width)
        noise = E.cast_(E.bitwise_right_shift(E.philox(counter, key), 64 - bits), attrs=dtypes.int64)
        if r % 2 == 0:
            left = E.bitwise_xor(left, noise)
        else:
            right = E.bitwise_xor(right, noise)
    image = E.bitwise_or(E.bitwise_left_shift(left, right_width), right)
    return gather(image, nonzero(E.less(image, n), attrs=(n,)), attrs=((n,),))


def _blocks(n: int) -> int:
    """How many counters a permutation of n uses up."""
    width = (2 * n - 1).bit_length()
    return n if n <= RANKED else ROUNDS << (width - width // 2)


def _grad_dropout(g: Any, c: Any) -> Sequence[Any]:
    return dropout_op(g, c.y, attrs=c.attrs), None


@composite("dropout", 2, grad=_grad_dropout)
def dropout_op(x: Any, state: Any, attrs: Any) -> Any:
    """x with elements zeroed with probability p and the others scaled by 1 / (1 - p)."""
    (p,) = attrs
    keep = E.greater_equal(_fraction(_bits(state, x.size), 24, dtypes.float32), p)
    return E.where(reshape(keep, attrs=(tuple(x.shape),)), E.multiply(x, 1.0 / (1.0 - p)), 0.0)


# Public functions


def probability(p: Any, name: str) -> float:
    """An argument that is a probability."""
    p = number(p, name)
    if not 0 <= p <= 1:
        raise ValueError(f"{name} is a probability, from 0 to 1, not {p}.")
    return p


def _drawn(op: Any, shape: tuple[int, ...], dtype: Any, generator: Any, requires_grad: bool, per: int = 1) -> Any:
    kind = dtype_of(dtype, dtypes.default_float)
    if kind.kind != "f":
        raise TypeError(f"Random fractions are floating-point, not {kind.name}; randint gives integers.")
    n = math.prod(shape)
    if kind is not dtypes.float64:
        per = 1
    x = op(source(generator).draw(n * per), attrs=(shape, kind)) if n else filled(shape, 0, kind)
    if boolean(requires_grad, "requires_grad"):
        x.requires_grad = True
    return x


@public("random", method=False)
def rand(*shape: Any, dtype: Any = None, generator: Any = None, requires_grad: bool = False) -> Any:
    """Numbers drawn evenly from [0, 1).

    Args:
        shape: the sizes.
        dtype: a floating type, float32 by default; a number has 24 random bits in float32 and 53 in float64.
        generator: a `Generator`; the default one if None.

    Example:
        >>> _ = weft.manual_seed(0)
        >>> weft.rand(2, 3).shape
        (2, 3)
    """
    return _drawn(_rand, shape_of(shape), dtype, generator, requires_grad)


@public("random", method=False)
def randn(*shape: Any, dtype: Any = None, generator: Any = None, requires_grad: bool = False) -> Any:
    """Numbers drawn from the normal distribution with mean 0 and variance 1. Args are those of `rand`.

    Example:
        >>> weft.randn(2, 3, dtype=weft.float64).dtype
        weft.float64
    """
    return _drawn(_randn, shape_of(shape), dtype, generator, requires_grad, per=2)


@public("random")
def rand_like(x: Any, *, dtype: Any = None, generator: Any = None, requires_grad: bool = False) -> Any:
    """`rand` in another tensor's shape and type.

    Example:
        >>> weft.rand_like(weft.zeros(3)).shape
        (3,)
    """
    return _drawn(_rand, tuple(tensor_of(x).shape), dtype_of(dtype, x.dtype), generator, requires_grad)


@public("random")
def randn_like(x: Any, *, dtype: Any = None, generator: Any = None, requires_grad: bool = False) -> Any:
    """`randn` in another tensor's shape and type.

    Example:
        >>> weft.randn_like(weft.zeros(3)).shape
        (3,)
    """
    return _drawn(_randn, tuple(tensor_of(x).shape), dtype_of(dtype, x.dtype), generator, requires_grad, per=2)


@public("random", method=False)
def randint(low: int, high: Any = None, shape: Any = None, *, dtype: Any = None, generator: Any = None) -> Any:
    """Integers drawn evenly from ``low`` (0 if only one bound is given) up to, not including, ``high``.

    Args:
        low, high: the bounds; the bias of a draw is below ``(high - low) / 2 ** 64``.
        shape: the sizes, as a tuple; ``size`` is the same.
        dtype: an integer type, int64 by default.

    Raises:
        ValueError: where there is no integer between the bounds.

    Example:
        >>> weft.randint(0, 10, (3,)).shape
        (3,)
    """
    if shape is None and isinstance(high, list | tuple):
        low, high, shape = 0, low, high
    elif high is None:
        low, high = 0, low
    low, high = integer(low, "low"), integer(high, "high")
    if high <= low:
        raise ValueError(f"There is no integer from {low} up to, not including, {high}.")
    if shape is None:
        raise TypeError("randint needs a shape, such as randint(0, 10, (3,)); the empty shape is ().")
    sizes, kind = shape_of((shape,)), dtype_of(dtype, dtypes.default_int)
    n = math.prod(sizes)
    if n == 0:
        return filled(sizes, 0, kind)
    return _randint(source(generator).draw(n), attrs=(sizes, low, high - low, kind))


@public("random", method=False)
def randperm(n: int, *, dtype: Any = None, generator: Any = None) -> Any:
    """The integers from 0 to ``n - 1`` in random order.

    Up to 1024 of them are ranked by random keys, so that every order is equally likely. More are run through a keyed
    bijection (a Feistel network with Philox as its round function), which costs time in proportion to n.

    Example:
        >>> weft.randperm(4).shape
        (4,)
    """
    n = integer(n, "n")
    if n < 0:
        raise ShapeError(f"randperm takes a number of 0 or more, not {n}.")
    kind = dtype_of(dtype, dtypes.default_int)
    if n == 0:
        return filled((0,), 0, kind)
    op = _rank_permutation if n <= RANKED else _keyed_permutation
    order = op(source(generator).draw(_blocks(n)), attrs=(n,))
    return order if kind is dtypes.int64 else E.cast_(order, attrs=kind)


@public("random")
def bernoulli(p: Any, *, generator: Any = None) -> Any:
    """1 with the probability that each element gives, else 0, in the type of ``p``.

    Example:
        >>> weft.bernoulli(weft.tensor([0.0, 1.0]))
        tensor([0., 1.], dtype=float32)
    """
    kind = tensor_of(p, "p").dtype
    if kind.kind != "f":
        raise TypeError(f"bernoulli takes probabilities in a floating type, not {kind.name}.")
    u = _drawn(_rand, tuple(p.shape), kind.compute, generator, False)
    return E.cast_(E.less(u, p), attrs=kind)


@public("random", method=False)
def normal(mean: Any = 0.0, std: Any = 1.0, shape: Any = None, *, dtype: Any = None, generator: Any = None) -> Any:
    """Numbers drawn from the normal distribution with a mean and a standard deviation, which may be tensors.

    Example:
        >>> weft.normal(5.0, 2.0, (3,)).shape
        (3,)
    """
    mean, std = operand(mean, "mean"), operand(std, "std")
    if shape is None:
        tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
        if not tensors:
            raise TypeError("normal needs a shape where mean and std are numbers.")
        shape = tuple((mean + std).shape) if len(tensors) == 2 else tuple(tensors[0].shape)
        dtype = dtype or tensors[0].dtype
    return _drawn(_randn, shape_of((shape,)), dtype, generator, False, per=2) * std + mean


@public("in place", package=False)
def normal_(x: Any, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Any:
    """In place: numbers drawn from a normal distribution. Gives the tensor itself.

    Example:
        >>> weft.zeros(3).normal_().shape
        (3,)
    """
    mean, std = operand(mean, "mean"), operand(std, "std")
    z = _drawn(_randn, tuple(tensor_of(x).shape), x.dtype, generator, False, per=2)
    return copy_op(x, z if (mean, std) == (0.0, 1.0) else z * std + mean)


@public("in place", package=False)
def uniform_(x: Any, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> Any:
    """In place: numbers drawn evenly between two bounds. Gives the tensor itself.

    Example:
        >>> weft.zeros(3).uniform_(-1, 1).shape
        (3,)
    """
    low, high = operand(low, "low"), operand(high, "high")
    u = _drawn(_rand, tuple(tensor_of(x).shape), x.dtype, generator, False)
    return copy_op(x, u if (low, high) == (0.0, 1.0) else u * (high - low) + low)


@public("in place", package=False)
def bernoulli_(x: Any, p: float = 0.5, *, generator: Any = None) -> Any:
    """In place: 1 with a probability, else 0. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).bernoulli_(1.0)
        tensor([1., 1.], dtype=float32)
    """
    u = _drawn(_rand, tuple(tensor_of(x).shape), dtypes.float32, generator, False)
    return copy_op(x, E.less(u, p))


@public("neural networks")
def dropout(x: Any, p: float = 0.5, training: bool = True, *, generator: Any = None) -> Any:
    """x with elements zeroed with probability p and the others scaled by ``1 / (1 - p)``; x itself when not training.

    The gradient draws the same mask again, so none is kept.

    Args:
        x: a floating-point tensor.
        p: a probability below 1, or 1 to zero everything.
        training: whether to drop at all.

    Raises:
        ValueError: for another p.

    Example:
        >>> weft.dropout(weft.ones(3), 0.5, training=False)
        tensor([1., 1., 1.], dtype=float32)
    """
    tensor_of(x)
    p = probability(p, "p")
    if not training or p == 0:
        return x
    if x.dtype.kind != "f":
        raise TypeError(f"dropout takes a floating-point tensor, not {x.dtype.name}.")
    if p == 1 or x.size == 0:
        return E.multiply(x, 0)
    return dropout_op(x, source(generator).draw(x.size), attrs=(float(p),))
