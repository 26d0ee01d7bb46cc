"""Public contractions: matrix products over any batch, and what is built on them."""

from __future__ import annotations

from typing import Any

from weft.errors import ShapeError
from weft.ops import contraction as C
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, axis_of, public, refused, tensor_of
from weft.ops.movement import permute, reshape
from weft.ops.registry import composite


@composite("matmul_vector", 2)
def _matmul_vector(a: Any, b: Any, attrs: Any) -> Any:
    """A product in which one operand or both are vectors."""
    row, column = a.ndim == 1, b.ndim == 1
    if row:
        a = reshape(a, attrs=((1, *a.shape),))
    if column:
        b = reshape(b, attrs=((*b.shape, 1),))
    out = C.matmul(a, b)
    shape = list(out.shape)
    if column:
        del shape[-1]
    if row:
        del shape[-1 if column else -2]
    return reshape(out, attrs=(tuple(shape),))


def multiplied(a: Any, b: Any) -> Any:
    """``a @ b``: the number slot."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return NotImplemented
    if a.ndim >= 2 and b.ndim >= 2:
        return C.matmul.handle(None, a, b)
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(
            "matmul takes tensors of at least one axis; multiply by a number or scalar tensor with * instead."
        )
    if a.shape[-1] != b.shape[-2 if b.ndim >= 2 else -1]:
        raise ShapeError(
            f"matmul cannot multiply shapes {list(a.shape)} and {list(b.shape)}: the inner sizes {a.shape[-1]} and "
            f"{b.shape[-2 if b.ndim >= 2 else -1]} differ."
        )
    return _matmul_vector.handle(None, a, b)


@public("linear algebra")
def matmul(x: Any, y: Any, /) -> Any:
    """The matrix product ``x @ y``.

    Args:
        x: a tensor [..., m, k], or a vector [k].
        y: a tensor [..., k, n], or a vector [k]. Leading axes broadcast.

    Returns:
        A tensor [..., m, n], without the axis that a vector lacks.

    Raises:
        ShapeError: where the inner sizes differ or the leading axes do not broadcast.
        TypeError: for bool.

    Example:
        >>> weft.matmul(weft.tensor([[1.0, 2.0], [3.0, 4.0]]), weft.tensor([1.0, 1.0]))
        tensor([3., 7.], dtype=float32)
    """
    out = multiplied(x, y)
    return out if out.__class__ is Tensor else refused("matmul", (x, y))


def _exactly(name: str, x: Any, ndim: int) -> Any:
    if tensor_of(x).ndim != ndim:
        axes = f"{ndim} axes" if ndim > 1 else "one axis"
        raise ShapeError(
            f"{name} takes tensors of {axes}, not of shape {list(x.shape)}; matmul takes any number of axes."
        )
    return x


@public("linear algebra")
def mm(x: Any, y: Any, /) -> Any:
    """The product of two matrices [m, k] and [k, n]. See `matmul`.

    Example:
        >>> weft.mm(weft.eye(2), weft.tensor([[1.0], [2.0]]))
        tensor([[1.],
                [2.]], dtype=float32)
    """
    return C.matmul(_exactly("mm", x, 2), _exactly("mm", y, 2))


@public("linear algebra")
def bmm(x: Any, y: Any, /) -> Any:
    """The products of two stacks of matrices [b, m, k] and [b, k, n]. See `matmul`.

    Example:
        >>> weft.bmm(weft.ones((2, 1, 3)), weft.ones((2, 3, 1))).shape
        (2, 1, 1)
    """
    return C.matmul(_exactly("bmm", x, 3), _exactly("bmm", y, 3))


@public("linear algebra")
def dot(x: Any, y: Any, /) -> Any:
    """The sum of the products of two vectors [k].

    Example:
        >>> weft.dot(weft.tensor([1.0, 2.0]), weft.tensor([3.0, 4.0]))
        tensor(11., dtype=float32)
    """
    return multiplied(_exactly("dot", x, 1), _exactly("dot", y, 1))


@public("linear algebra")
def outer(x: Any, y: Any, /) -> Any:
    """The matrix [m, n] of the products of the elements of two vectors [m] and [n].

    Example:
        >>> weft.outer(weft.tensor([1.0, 2.0]), weft.tensor([3.0, 4.0]))
        tensor([[3., 4.],
                [6., 8.]], dtype=float32)
    """
    _exactly("outer", x, 1)
    _exactly("outer", y, 1)
    return E.multiply(reshape(x, attrs=((x.shape[0], 1),)), y)


@public("linear algebra")
def tensordot(x: Any, y: Any, /, axes: Any = 2) -> Any:
    """The sum of products over pairs of axes.

    Args:
        x, y: tensors.
        axes: how many of x's last and y's first axes are paired, or two lists of axes, one for each tensor.

    Returns:
        A tensor of x's other axes followed by y's.

    Raises:
        ShapeError: where paired axes have different sizes.

    Example:
        >>> weft.tensordot(weft.ones((2, 3)), weft.ones((3, 4)), axes=1).shape
        (2, 4)
    """
    tensor_of(x)
    tensor_of(y, "y")
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot cannot pair {axes} axes of tensors with {x.ndim} and {y.ndim} axes.")
        mine, other = list(range(x.ndim - axes, x.ndim)), list(range(axes))
    else:
        pairs = zip((x, y), axes, strict=True)
        mine, other = ([axis_of(d, t.ndim) for d in ([a] if isinstance(a, int) else a)] for t, a in pairs)
    if [x.shape[d] for d in mine] != [y.shape[d] for d in other]:
        raise ShapeError(
            f"tensordot pairs axes {mine} and {other} of shapes {list(x.shape)} and {list(y.shape)}, whose sizes differ."
        )
    free_x = [d for d in range(x.ndim) if d not in mine]
    free_y = [d for d in range(y.ndim) if d not in other]
    k = 1
    for d in mine:
        k *= x.shape[d]
    m = [x.shape[d] for d in free_x]
    n = [y.shape[d] for d in free_y]
    a = reshape(permute(x, attrs=((*free_x, *mine),)), attrs=((_size(m), k),))
    b = reshape(permute(y, attrs=((*other, *free_y),)), attrs=((k, _size(n)),))
    return reshape(C.matmul(a, b), attrs=((*m, *n),))


def _size(shape: list[int]) -> int:
    n = 1
    for s in shape:
        n *= s
    return n
