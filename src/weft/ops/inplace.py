"""In-place ops: records for every elementwise op with a value to put back, and their public methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from weft.ir.node import Node, Where
from weft.ops import elementwise as E
from weft.ops.frontend import Tensor, at_least_one, public, publish, refused, shortcut, tensor_of
from weft.ops.functions import ROWS, SIGNATURES, binary, scaled
from weft.ops.nodes import node
from weft.ops.reduce import cast_to
from weft.ops.registry import OPS, Op, Operand, Saved, cast, inplace

_NOT = ("where", "cast", "copy", "check_index", "philox", "clip")


def _form(op: Op) -> Op:
    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        assert op.build is not None
        return op.build(operands, attrs, where)

    return inplace(f"{op.name}_", op.arity, build)


for _op in list(OPS.values()):
    if _op.kind == "elementwise" and _op.gives != "bool" and _op.name not in _NOT:
        _form(_op)


def _build_copy(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    target, value = operands
    assert isinstance(target, Node)
    return cast(value, target.dtype, where)


def _grad_copy(g: Any, c: Saved) -> Sequence[Any]:
    return None, g


copy_op = inplace("copy_", 2, _build_copy, grad=_grad_copy)
fill_op = inplace("fill_", 2, _build_copy, grad=_grad_copy)


def _build_masked_fill(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    target, mask, value = operands
    return node(E.where, mask, value, target, where=where)


def _grad_masked_fill(g: Any, c: Saved) -> Sequence[Any]:
    return E.where(c.y, 0.0, g), None, E.where(c.y, g, 0.0)


masked_fill_op = inplace("masked_fill_", 3, _build_masked_fill, grad=_grad_masked_fill)


def _build_clip(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    return node(E.clip, *operands, where=where)


clip_op = inplace("clip_", 3, _build_clip)


def _build_relu(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
    (x,) = operands
    return node(E.where, node(E.less_equal, x, 0), 0, x, where=where)


relu_op = inplace("relu_", 1, _build_relu)


# Public methods


def _method(name: str, op: Op, says: str) -> Callable[..., Any]:
    handle, arity = op.handle, op.arity

    def call(*operands: Any, **named: Any) -> Any:
        if len(operands) != arity or named:
            refused(name, operands, named)
        out = handle(None, *operands)
        return out if isinstance(out, Tensor) else refused(name, operands)

    call.__signature__ = SIGNATURES[op.arity]  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = name
    call.__module__ = "weft"
    call.__doc__ = f"""In place: {says[0].lower() if says[1:2] != "`" else says[0]}{says[1:]} Gives the tensor itself.

    Raises:
        TypeError: where the result's type does not fit the tensor's.
        ShapeError: where the result's shape is not the tensor's.
        AutogradError: for a leaf that requires grad, outside `no_grad`.
    """
    return shortcut(call, by_class=True)


_SCALED = ("add", "subtract", "divide", "pow", "fmod")
for _name, _public, _also, _says, _, _ in ROWS:
    if f"{_name}_" in OPS:
        publish(_method(f"{_public}_", OPS[f"{_name}_"], _says), "in place", [f"{a}_" for a in _also], package=False)


def _updated(name: str, x: Any, y: Any) -> Any:
    out = OPS[name].handle(None, tensor_of(x), y)
    return out if isinstance(out, Tensor) else refused(name, (x, y))


@public("in place", package=False)
def add_(x: Any, y: Any, /, *, alpha: Any = 1) -> Any:
    """In place: ``x + alpha * y``. Gives the tensor itself.

    Raises:
        TypeError: where the result's type does not fit the tensor's.
        ShapeError: where the result's shape is not the tensor's.
        AutogradError: for a leaf that requires grad, outside `no_grad`.

    Example:
        >>> weft.tensor([1.0, 2.0]).add_(1)
        tensor([2., 3.], dtype=float32)
    """
    return _updated("add_", x, scaled(y, alpha))


@public("in place", "sub_", package=False)
def subtract_(x: Any, y: Any, /, *, alpha: Any = 1) -> Any:
    """In place: ``x - alpha * y``. As `add_`.

    Example:
        >>> weft.tensor([1.0, 2.0]).sub_(1)
        tensor([0., 1.], dtype=float32)
    """
    return _updated("subtract_", x, scaled(y, alpha))


@public("in place", "div_", package=False)
def divide_(x: Any, y: Any, /) -> Any:
    """In place: ``x / y``. As `add_`.

    Example:
        >>> weft.tensor([1.0, 2.0]).div_(2)
        tensor([0.5, 1. ], dtype=float32)
    """
    return _updated("divide_", x, y)


def raised_in_place(x: Any, y: Any) -> Any:
    """``x **= y``: the number slot."""
    if type(y) is int and y == 2:
        return OPS["square_"].handle(None, x)
    if type(y) is float and y == 0.5:
        return OPS["sqrt_"].handle(None, x)
    return OPS["power_"].handle(None, x, y)


@public("in place", "power_", package=False)
def pow_(x: Any, y: Any, /) -> Any:
    """In place: ``x ** y``. As `add_`.

    Example:
        >>> weft.tensor([1.0, 2.0]).pow_(2)
        tensor([1., 4.], dtype=float32)
    """
    out = raised_in_place(tensor_of(x), y)
    return out if isinstance(out, Tensor) else refused("pow_", (x, y))


@public("in place", package=False)
def addcmul_(x: Any, a: Any, b: Any, /, *, value: float = 1) -> Any:
    """In place: ``x + value * a * b``. As `add_`.

    Example:
        >>> weft.tensor([1.0]).addcmul_(weft.tensor([2.0]), weft.tensor([3.0]))
        tensor([7.], dtype=float32)
    """
    at_least_one(a, b)
    return _updated("add_", x, scaled(binary(E.multiply, "addcmul_", a, b), value, "value"))


@public("in place", package=False)
def addcdiv_(x: Any, a: Any, b: Any, /, *, value: float = 1) -> Any:
    """In place: ``x + value * a / b``. As `add_`.

    Example:
        >>> weft.tensor([1.0]).addcdiv_(weft.tensor([3.0]), weft.tensor([2.0]))
        tensor([2.5], dtype=float32)
    """
    at_least_one(a, b)
    return _updated("add_", x, scaled(binary(E.divide, "addcdiv_", a, b), value, "value"))


@public("in place", package=False)
def lerp_(x: Any, end: Any, weight: Any, /) -> Any:
    """In place: ``x + weight * (end - x)``. As `add_`.

    Example:
        >>> weft.tensor([0.0]).lerp_(weft.tensor([1.0]), 0.5)
        tensor([0.5], dtype=float32)
    """
    return _updated("add_", x, scaled(tensor_of(end, "end") - tensor_of(x), weight, "weight"))


@public("in place", package=False)
def copy_(x: Any, source: Any, /) -> Any:
    """The elements of another tensor, broadcast to this one's shape and cast to its type. Gives the tensor itself.

    Args:
        x: the tensor that is changed.
        source: a tensor, a Python number, or anything `asarray` takes.

    Raises:
        ShapeError: where the source's shape does not broadcast to the tensor's.
        AutogradError: for a leaf that requires grad, outside `no_grad`.

    Example:
        >>> weft.zeros(2).copy_(weft.tensor([1, 2]))
        tensor([1., 2.], dtype=float32)
    """
    if not isinstance(source, Tensor | bool | int | float):
        from weft.ops.creation import asarray

        source = asarray(source)
    return copy_op(tensor_of(x), source)


@public("in place", package=False)
def fill_(x: Any, value: Any, /) -> Any:
    """One value everywhere. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).fill_(3)
        tensor([3., 3.], dtype=float32)
    """
    out = fill_op(tensor_of(x), value)
    return out if isinstance(out, Tensor) else refused("fill_", (x, value))


@public("in place", package=False)
def zero_(x: Any, /) -> Any:
    """Zero everywhere. Gives the tensor itself.

    Example:
        >>> weft.ones(2).zero_()
        tensor([0., 0.], dtype=float32)
    """
    return fill_op(tensor_of(x), 0)


@public("in place", "clamp_", package=False)
def clip_(x: Any, /, min: Any = None, max: Any = None) -> Any:
    """In place: `clip`. Gives the tensor itself.

    Example:
        >>> weft.tensor([-1.0, 2.0]).clamp_(0, 1)
        tensor([0., 1.], dtype=float32)
    """
    if tensor_of(x).dtype.kind == "f" and not (min is None and max is None):
        low = -float("inf") if min is None else min
        high = float("inf") if max is None else max
        return clip_op(x, low, high)
    from weft.ops.functions import clipped

    out = clipped(x, min, max)
    return copy_op(x, cast_to(out, x.dtype)) if isinstance(out, Tensor) else refused("clip_", (x, min, max))


@public("in place", package=False)
def relu_(x: Any, /) -> Any:
    """In place: `relu`. Gives the tensor itself.

    Example:
        >>> weft.tensor([-1.0, 2.0]).relu_()
        tensor([0., 2.], dtype=float32)
    """
    return relu_op(tensor_of(x))


@public("in place", package=False)
def masked_fill_(x: Any, mask: Any, value: Any, /) -> Any:
    """One value wherever a bool mask holds. Gives the tensor itself.

    Example:
        >>> weft.zeros(2).masked_fill_(weft.tensor([True, False]), 7)
        tensor([7., 0.], dtype=float32)
    """
    return masked_fill_op(tensor_of(x), tensor_of(mask, "mask"), value)


@public("elementwise")
def masked_fill(x: Any, mask: Any, value: Any, /) -> Any:
    """x with one value wherever a bool mask holds.

    Example:
        >>> weft.masked_fill(weft.zeros(2), weft.tensor([True, False]), 7)
        tensor([7., 0.], dtype=float32)
    """
    return E.where(tensor_of(mask, "mask"), value, tensor_of(x))
