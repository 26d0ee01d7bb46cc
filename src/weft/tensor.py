"""The tensor's methods and operators. The type itself is native; what is here is hung onto it.

Methods that are functions come from the table of public functions, those that give Python its value from `weft.values`; the
rest, which are about the tensor itself (its type, its memory, its place on the tape), are written here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from weft import _native, dtypes, values
from weft.autograd import engine
from weft.autograd.node import retain
from weft.dtypes import as_dtype
from weft.errors import AutogradError, ShapeError, worded
from weft.ops import elementwise as E
from weft.ops import inplace, linalg
from weft.ops.creation import check_device
from weft.ops.frontend import axis_of, boolean, method_table, public, shortcut, tensor_of
from weft.ops.functions import raised
from weft.ops.indexing import getitem, setitem
from weft.ops.registry import OPS
from weft.ops.shape import expanded, resolved, transposed

Tensor = _native.Tensor

# Type


def to(
    self: Any, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, non_blocking: bool = False
) -> Any:
    """The tensor in another type; itself where it has that type already.

    Floats become integers by dropping the fraction, held to the integer type's range (NaN is 0); bool is ``x != 0``.

    Args:
        args: a dtype, a device ("cpu"), or a tensor whose type is taken.
        dtype, device: the same by name.
        copy: copy even where nothing changes.

    Raises:
        TypeError: for what is no type.
        ValueError: for a device that there is not.

    Example:
        >>> weft.tensor([1.5, -1.5]).to(weft.int64)
        tensor([ 1, -1], dtype=int64)
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype = a.dtype
        elif isinstance(a, str) and a not in dtypes.BY_NAME:
            device = a
        elif a is not None and not isinstance(a, bool):
            dtype = a
    check_device(device)
    kind = self.dtype if dtype is None else as_dtype(dtype)
    if kind is not self.dtype:
        return E.cast_(self, attrs=kind)
    return E.copy(self) if copy else self


def _caster(name: str, dtype: dtypes.DType) -> Callable[..., Any]:
    def call(self: Any) -> Any:
        return self if self.dtype is dtype else E.cast_(self, attrs=dtype)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"The tensor in the type {dtype.name}; itself where it has that type already. See `Tensor.to`."
    return call


CASTS = {
    "float": dtypes.float32,
    "double": dtypes.float64,
    "half": dtypes.float16,
    "bfloat16": dtypes.bfloat16,
    "int": dtypes.int32,
    "long": dtypes.int64,
    "short": dtypes.int16,
    "char": dtypes.int8,
    "byte": dtypes.uint8,
    "bool": dtypes.bool_,
}


@public("type and memory", "cast", method=False)
def astype(x: Any, dtype: Any, *, copy: bool = False) -> Any:
    """The tensor in another type. See `Tensor.to`.

    Example:
        >>> weft.astype(weft.tensor([1, 0]), weft.bool_)
        tensor([ True, False], dtype=bool)
    """
    return to(tensor_of(x), as_dtype(dtype), copy=copy)


def type_as(self: Any, other: Any) -> Any:
    """The tensor in the type of another.

    Example:
        >>> weft.tensor([1]).type_as(weft.tensor([1.0]))
        tensor([1.], dtype=float32)
    """
    return to(self, tensor_of(other, "other").dtype)


# Memory


@public("type and memory")
def clone(x: Any) -> Any:
    """A copy, contiguous and on the tape.

    Example:
        >>> weft.clone(weft.tensor([1.0]))
        tensor([1.], dtype=float32)
    """
    return E.copy(tensor_of(x))


def contiguous(self: Any) -> Any:
    """The tensor itself if its elements lie row by row in memory without gaps, else a copy.

    Example:
        >>> weft.zeros(2, 3).T.contiguous().is_contiguous()
        True
    """
    return self if self.is_contiguous() else E.copy(self)


def detach(self: Any) -> Any:
    """A tensor over the same memory that is not on the tape.

    Example:
        >>> weft.ones(1, requires_grad=True).detach().requires_grad
        False
    """
    out = _native.strided(self, tuple(self.shape), tuple(self.strides), 0)
    recorder = _native.recording()
    if recorder is not None and not recorder.values_allowed:  # a static function gives a new one at each call
        out.symbol = recorder.symbol_of(self)
    elif self.symbol is not None:
        out.symbol = self.symbol
    return out


def detach_(self: Any) -> Any:
    """Takes the tensor itself off the tape: it becomes a leaf that does not require grad. Gives the tensor itself."""
    if self.base is not None:
        raise AutogradError("detach_ cannot take a view off the tape that its base is on; use detach().")
    self.grad_fn = None
    self.requires_grad = False
    return self


class Size(int):
    """A number of elements that can also be called, so that ``x.size`` is NumPy's and ``x.size(0)`` PyTorch's."""

    shape: tuple[int, ...]

    def __call__(self, axis: int | None = None, *, dim: int | None = None) -> Any:
        axis = dim if axis is None else axis
        return self.shape if axis is None else self.shape[axis_of(axis, len(self.shape))]


_size: Any = Tensor.size


def size(self: Any) -> Size:
    """The number of elements; called, the shape, or with an axis the size of that axis."""
    n = Size(_size.__get__(self))
    n.shape = self.shape
    return n


def numel(self: Any) -> int:
    """The number of elements.

    Example:
        >>> weft.zeros(2, 3).numel()
        6
    """
    return _size.__get__(self)


def dim(self: Any) -> int:
    """The number of axes."""
    return self.ndim


def cpu(self: Any) -> Any:
    """The tensor itself: it is on the CPU."""
    return self


def stride(self: Any, axis: int | None = None) -> Any:
    """The strides, in elements, or that of one axis."""
    return self.strides if axis is None else self.strides[axis_of(axis, self.ndim)]


def element_size(self: Any) -> int:
    """The size of an element in bytes."""
    return self.itemsize


def is_floating_point(self: Any) -> bool:
    """Whether the type is a floating-point one."""
    return self.dtype.kind == "f"


def data(self: Any) -> Any:
    """A tensor over the same memory that is not on the tape, as `detach`; assigning to it copies values in."""
    return detach(self)


def _set_data(self: Any, value: Any) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != tuple(self.shape) or value.dtype is not self.dtype:
        raise ShapeError(f"x.data takes a tensor of x's own shape and type, {self.dtype.name}{list(self.shape)}.")
    inplace.copy_op(detach(self), detach(value))


# Shape


def expand_as(self: Any, other: Any) -> Any:
    """The tensor expanded to another's shape."""
    return expanded(self, tuple(other.shape), "expand_as")


def view_as(self: Any, other: Any) -> Any:
    """A view with another tensor's shape."""
    return self.view(tuple(other.shape))


def reshape_as(self: Any, other: Any) -> Any:
    """The same elements in another tensor's shape."""
    return OPS["reshape"](self, attrs=(resolved(self, tuple(other.shape)),))


def _t(self: Any) -> Any:
    if self.ndim != 2:
        raise ShapeError(
            f"x.T is for tensors of two axes, and this one has {self.ndim}; x.mT exchanges the last two, permute orders all."
        )
    return transposed(self, 0, 1)


def _mt(self: Any) -> Any:
    if self.ndim < 2:
        raise ShapeError(f"x.mT needs at least two axes, and this tensor has {self.ndim}.")
    return transposed(self, self.ndim - 2, self.ndim - 1)


def t(self: Any) -> Any:
    """A matrix transposed; a tensor of fewer axes as it is."""
    return self if self.ndim < 2 else _t(self)


# The tape


def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
    """Sets whether gradients with respect to the tensor are wanted. Gives the tensor itself.

    Raises:
        AutogradError: for a type without gradients, or a computed tensor that is no longer to require them.

    Example:
        >>> weft.zeros(2).requires_grad_().requires_grad
        True
    """
    requires_grad = boolean(requires_grad, "requires_grad")
    if requires_grad and self.dtype.kind != "f":
        raise AutogradError(f"Only floating-point tensors can require grad, not {self.dtype.name}.")
    if not requires_grad and self.grad_fn is not None:
        raise AutogradError("A computed tensor requires grad as long as what it was computed from does; use detach().")
    self.requires_grad = requires_grad
    return self


def backward(self: Any, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False) -> None:
    """Adds the gradient of this tensor to the ``.grad`` of every leaf that it was computed from.

    Args:
        gradient: the gradient to begin with, of this tensor's shape; 1 for a single element.
        retain_graph: keep what was saved, to go through the graph again.
        create_graph: put the gradients themselves on the tape.

    Raises:
        AutogradError: without a graph, through one already freed, or where a saved value was modified.

    Example:
        >>> x = weft.tensor([2.0, 3.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([4., 6.], dtype=float32)
    """
    engine.backward(self, gradient, retain_graph, create_graph)


def retain_grad(self: Any) -> None:
    """Asks that ``.grad`` of a computed tensor is kept by `backward` as a leaf's is."""
    if not self.requires_grad:
        raise AutogradError("retain_grad needs a tensor that requires grad.")
    if self.grad_fn is not None:
        retain(self.grad_fn, self.output_nr, weakref.ref(self))


# Hanging it all onto the type


def _slots() -> dict[str, Any]:
    binary = {
        "add": "add",
        "sub": "subtract",
        "mul": "multiply",
        "truediv": "divide",
        "floordiv": "floor_divide",
        "mod": "remainder",
        "lshift": "bitwise_left_shift",
        "rshift": "bitwise_right_shift",
        "and": "bitwise_and",
        "or": "bitwise_or",
        "xor": "bitwise_xor",
    }
    slots: dict[str, Any] = {}
    for slot, name in binary.items():
        slots[f"__{slot}__"] = OPS[name].handle
        slots[f"__i{slot}__"] = OPS[f"{name}_"].handle
    for slot, name in {"neg": "negative", "abs": "abs", "invert": "bitwise_invert"}.items():
        slots[f"__{slot}__"] = OPS[name].handle
    for slot, name in {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }.items():
        slots[f"__{slot}__"] = OPS[name].handle
    slots["__pow__"] = shortcut(raised)
    slots["__ipow__"] = inplace.raised_in_place
    slots["__matmul__"] = shortcut(worded("matmul", linalg.multiplied))
    slots["__pos__"] = lambda x: x
    slots["__divmod__"] = lambda x, y: (x // y, x % y)
    slots["__getitem__"] = shortcut(worded("getitem", getitem))
    slots["__setitem__"] = worded("setitem", setitem)
    return slots


def _to_device(self: Any, device: Any = None, **_: Any) -> Any:
    """Raises: this build runs on the CPU."""
    check_device("cuda" if device is None else device)
    return self


def methods() -> dict[str, Callable[..., Any]]:
    """The methods that are no public functions too, by name."""
    own: tuple[Callable[..., Any], ...] = (
        to, type_as, contiguous, detach, detach_, numel, dim, cpu, stride, element_size, is_floating_point,
        expand_as, view_as, reshape_as, t, requires_grad_, backward, retain_grad, astype,
    )  # fmt: skip
    return {f.__name__: f for f in own} | {name: _caster(name, dtype) for name, dtype in CASTS.items()}


def install() -> None:
    """Give the native type its operators, methods and properties."""
    kind: Any = Tensor
    for slot, function in _slots().items():
        _native.set_slot(slot, function)
    _native.set_matrix_product(OPS["matmul"].handle)
    for name, function in method_table():
        setattr(kind, name, function)
    _native.set_copying(inplace.copy_op.handle)
    for name, function in methods().items():
        call = function if function in _BARE else worded(name, function)
        setattr(kind, name, shortcut(call) if function not in _STATE else call)
    for name, function in values.METHODS.items():
        setattr(kind, name, worded(name, function))
    for name, function in values.CONVERSIONS.items():
        _native.set_slot(name, worded(name.strip("_"), function))
    for name, function in values.SPECIAL.items():
        setattr(kind, f"__{name}__", worded(name, function))
    for name, function in values.QUIET.items():
        setattr(kind, f"__{name}__", function)
    kind.cuda = worded("cuda", _to_device)
    kind.__array_ufunc__ = None  # a NumPy array on the left leaves the operator to the tensor
    kind.size = property(size)
    kind.data = property(data, worded("data", _set_data), doc=data.__doc__)
    kind.T = property(shortcut(worded("T", _t)), doc="A matrix transposed: a view.")
    kind.mT = property(shortcut(worded("mT", _mt)), doc="The last two axes exchanged: a view.")


#: Methods that do so little, and are never known from a call before, that a wrapper would be most of it.
_BARE = {detach, numel, dim, cpu, element_size, is_floating_point}
#: Methods that are about more of a tensor than its type and layout.
_STATE = {
    detach, detach_, numel, dim, cpu, stride, element_size, is_floating_point, requires_grad_, backward, retain_grad,
}  # fmt: skip


__all__ = ["Tensor", "install"]
