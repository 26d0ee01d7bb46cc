"""The tensor's methods, operators and printing. The type itself is native; what is here is hung onto it.

Methods that are functions come from the table of public functions; the rest, which are about the tensor itself (its value,
its type, its place on the tape), are written here.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from weft import _native, dtypes
from weft.autograd import engine
from weft.autograd.node import retain
from weft.dtypes import as_dtype
from weft.errors import EXPLAINED, AutogradError, ShapeError, TraceError, explain
from weft.ops import elementwise as E
from weft.ops import inplace, linalg
from weft.ops.creation import check_device
from weft.ops.frontend import axis_of, method_table, public
from weft.ops.functions import raised
from weft.ops.indexing import getitem, setitem
from weft.ops.registry import OPS
from weft.ops.shape import expanded, resolved, transposed

Tensor = _native.Tensor

# Values


def needed(t: Any, what: str, instead: str) -> None:
    """Refuse to give Python a value while a static function is traced."""
    recorder = _native.recording()
    if recorder is not None and not getattr(recorder, "values_allowed", True):
        error = TraceError(
            f"{what} needs the tensor's value, which does not exist yet while {recorder.mode}. {instead}"
        )
        raise explain(error, what, (t,))


_BRANCH = "Choose between values with weft.where(condition, x, y); compute both and select."
_NUMBER = "Keep it a tensor, return it and read it from the result, or pass the number as an argument."


def _method(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A method whose errors name the call."""
    import functools

    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self, *args, **kwargs)
        except EXPLAINED as error:
            raise explain(error, what, (self, *args), kwargs) from None

    return call


def _one(t: Any, what: str) -> Any:
    if t.size != 1:
        raise ValueError(f"{what} takes a tensor of one element, not shape {list(t.shape)}.")
    return _item(t)


_item = Tensor.item
_tolist = Tensor.tolist
_numpy = Tensor.numpy


def item(self: Any) -> Any:
    """The value of a tensor of one element, as a Python number.

    Raises:
        ValueError: for any other number of elements.
        TraceError: while a static function is traced.

    Example:
        >>> weft.tensor([2.5]).item()
        2.5
    """
    needed(self, "item", _NUMBER)
    return _one(self, "item")


def _bool(self: Any) -> bool:
    needed(self, "bool", _BRANCH)
    if self.size != 1:
        raise ValueError(
            f"The truth of a tensor of shape {list(self.shape)} is not one value; use x.any() or x.all() for a condition."
        )
    return bool(_item(self))


def _int(self: Any) -> int:
    needed(self, "int", _NUMBER)
    return int(_one(self, "int"))


def _float(self: Any) -> float:
    needed(self, "float", _NUMBER)
    return float(_one(self, "float"))


def _index(self: Any) -> int:
    needed(
        self, "index", "Index with the tensor itself: x[i] takes integer tensors, and weft.take picks along an axis."
    )
    if self.dtype.kind not in "iu" or self.size != 1:
        raise TypeError(
            f"Only an integer tensor of one element can be used as an index, not {self.dtype.name}{list(self.shape)}."
        )
    return operator.index(_item(self))


def tolist(self: Any) -> Any:
    """The values as nested Python lists; a number for a tensor without axes.

    Example:
        >>> weft.tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
    """
    needed(self, "tolist", _NUMBER)
    return _tolist(self)


def to_numpy(self: Any) -> np.ndarray:
    """A NumPy array over the tensor's memory: a change of one is seen in the other.

    Raises:
        TypeError: for bfloat16, which NumPy lacks.
        RuntimeError: for a tensor that requires grad; call ``detach()`` first.

    Example:
        >>> weft.tensor([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
    """
    return _array(self)


def _array(self: Any, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    needed(self, "numpy", "Return the tensor from the function and convert the result.")
    if self.requires_grad:
        raise AutogradError("A NumPy array has no gradient, and this tensor requires one; use x.detach().numpy().")
    array = _numpy(self)
    if dtype is not None and array.dtype != dtype:
        if copy is False:
            raise ValueError(
                f"A tensor of type {self.dtype.name} cannot be given as {np.dtype(dtype).name} without a copy."
            )
        return array.astype(dtype)
    return array.copy() if copy else array


# Printing


def _repr(self: Any) -> str:
    cell = self._pending
    if cell is not None and not getattr(cell.recorder, "values_allowed", True):
        if cell.recorder.finished:
            return f"tensor(<{self.dtype.name}{list(self.shape)}>, of a trace that has ended)"
        return f"tensor({cell.recorder.value(self)!r}, static)"
    with_grad = ""
    if self.grad_fn is not None:
        with_grad = f", grad_fn=<{getattr(self.grad_fn, 'name', type(self.grad_fn).__name__)}>"
    elif self.requires_grad:
        with_grad = ", requires_grad=True"
    values = self.detach()
    if values.dtype is dtypes.bfloat16:
        with _native.RecordingScope(None):
            values = E.cast_(values, attrs=dtypes.float32)
    text = "[]" if self.size == 0 else np.array2string(_numpy(values), separator=", ", prefix="tensor(")
    shape = f", shape={tuple(self.shape)}" if self.size == 0 and tuple(self.shape) != (0,) else ""
    return f"tensor({text}{shape}, dtype={self.dtype.name}{with_grad})"


def _format(self: Any, spec: str) -> str:
    if not spec:
        return _repr(self)
    if self.ndim:
        raise TypeError(
            f"A tensor of shape {list(self.shape)} cannot be formatted as {spec!r}; only one without axes can."
        )
    return format(item(self), spec)


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
    return to(x, as_dtype(dtype), copy=copy)


def type_as(self: Any, other: Any) -> Any:
    """The tensor in the type of another.

    Example:
        >>> weft.tensor([1]).type_as(weft.tensor([1.0]))
        tensor([1.], dtype=float32)
    """
    return to(self, other.dtype)


# Memory


@public("type and memory")
def clone(x: Any) -> Any:
    """A copy, contiguous and on the tape.

    Example:
        >>> weft.clone(weft.tensor([1.0]))
        tensor([1.], dtype=float32)
    """
    return E.copy(x)


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
    if self.symbol is not None:
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
        error = ShapeError(f"x.data takes a tensor of x's own shape and type, {self.dtype.name}{list(self.shape)}.")
        raise explain(error, "data", (self, value))
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
        error = ShapeError(
            f"x.T is for tensors of two axes, and this one has {self.ndim}; x.mT exchanges the last two, permute orders all."
        )
        raise explain(error, "T", (self,))
    return transposed(self, 0, 1)


def _mt(self: Any) -> Any:
    if self.ndim < 2:
        raise explain(ShapeError(f"x.mT needs at least two axes, and this tensor has {self.ndim}."), "mT", (self,))
    return transposed(self, self.ndim - 2, self.ndim - 1)


def t(self: Any) -> Any:
    """A matrix transposed; a tensor of fewer axes as it is."""
    return self if self.ndim < 2 else _t(self)


def _len(self: Any) -> int:
    if self.ndim == 0:
        raise TypeError("A tensor without axes has no length.")
    return self.shape[0]


def _iter(self: Any) -> Iterator[Any]:
    if self.ndim == 0:
        raise TypeError("A tensor without axes cannot be iterated over.")
    return (getitem(self, k) for k in range(self.shape[0]))


def _contains(self: Any, value: Any) -> bool:
    return bool(E.equal(self, value).any())


# The tape


def requires_grad_(self: Any, requires_grad: bool = True) -> Any:
    """Sets whether gradients with respect to the tensor are wanted. Gives the tensor itself.

    Raises:
        AutogradError: for a type without gradients, or a computed tensor that is no longer to require them.

    Example:
        >>> weft.zeros(2).requires_grad_().requires_grad
        True
    """
    if requires_grad and self.dtype.kind != "f":
        raise AutogradError(f"Only floating-point tensors can require grad, not {self.dtype.name}.")
    if not requires_grad and self.grad_fn is not None:
        raise AutogradError("A computed tensor requires grad as long as what it was computed from does; use detach().")
    self.requires_grad = bool(requires_grad)
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
    try:
        engine.backward(self, gradient, retain_graph, create_graph)
    except EXPLAINED as error:
        raise explain(error, "backward", (self,)) from None


def retain_grad(self: Any) -> None:
    """Asks that ``.grad`` of a computed tensor is kept by `backward` as a leaf's is."""
    if not self.requires_grad:
        raise AutogradError("retain_grad needs a tensor that requires grad.")
    if self.grad_fn is not None:
        retain(self.grad_fn, self.output_nr, weakref.ref(self))


# Copying and pickling


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    if self.grad_fn is not None:
        raise AutogradError("Only leaf tensors can be deep-copied; use x.detach().clone().")
    made = E.copy(detach(self))
    if type(self) is not Tensor:
        made = type(self)(made)
    made.requires_grad = self.requires_grad
    if self.grad is not None:
        made.grad = E.copy(detach(self.grad))
    memo[id(self)] = made
    return made


def _reduce(self: Any) -> Any:
    if self.grad_fn is not None:
        raise AutogradError("Only leaf tensors can be pickled; use x.detach().")
    plain = contiguous(detach(self))
    bits = plain if plain.dtype is not dtypes.bfloat16 else _native.reinterpret(plain, dtypes.uint16)
    return rebuild, (type(self), _numpy(bits).tobytes(), self.dtype.name, tuple(self.shape), self.requires_grad)


def rebuild(kind: type, data: bytes, dtype: str, shape: tuple[int, ...], requires_grad: bool) -> Any:
    """A pickled tensor."""
    made = _native.from_bytes(data, dtypes.BY_NAME[dtype], shape)
    if kind is not Tensor:
        made = kind(made)
    made.requires_grad = requires_grad
    return made


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
    slots["__pow__"] = raised
    slots["__ipow__"] = inplace.raised_in_place
    slots["__matmul__"] = _explained("matmul", linalg.multiplied)
    slots["__pos__"] = lambda x: x
    slots["__divmod__"] = lambda x, y: (x // y, x % y)
    slots["__getitem__"] = _explained("getitem", getitem)
    slots["__setitem__"] = _explained("setitem", setitem)
    return slots


def _explained(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except EXPLAINED as error:
            raise explain(error, name, args) from None

    return call


def _to_device(self: Any, device: Any = None, **_: Any) -> Any:
    """Raises: this build runs on the CPU."""
    check_device("cuda" if device is None else device)
    return self


def install() -> None:
    """Give the native type its operators, methods and properties."""
    kind: Any = Tensor
    for slot, function in _slots().items():
        _native.set_slot(slot, function)
    for name, function in method_table():
        setattr(kind, name, function)
    for function in (
        item, tolist, to, type_as, contiguous, detach, detach_, numel, dim, cpu, stride, element_size, is_floating_point,
        expand_as, view_as, reshape_as, t, requires_grad_, backward, retain_grad,
    ):  # fmt: skip
        setattr(kind, function.__name__, _method(function.__name__, function) if function in _WORDED else function)
    kind.numpy = _method("numpy", to_numpy)
    kind.astype = astype
    kind.cuda = _to_device
    for name, dtype in CASTS.items():
        setattr(kind, name, _caster(name, dtype))
    special: dict[str, Callable[..., Any]] = {
        "bool": _bool,
        "int": _int,
        "float": _float,
        "index": _index,
        "array": _array,
    }
    special |= {"len": _len, "iter": _iter, "format": _format}
    for name, function in special.items():
        setattr(kind, f"__{name}__", _worded_special(name, function))
    kind.__contains__ = _contains
    kind.__repr__ = _repr
    kind.__str__ = _repr
    kind.__deepcopy__ = _deepcopy
    kind.__reduce__ = _reduce
    kind.__array_ufunc__ = None  # a NumPy array on the left leaves the operator to the tensor
    kind.size = property(size)
    kind.data = property(data, _set_data, doc=data.__doc__)
    kind.T = property(_t, doc="A matrix transposed: a view.")
    kind.mT = property(_mt, doc="The last two axes exchanged: a view.")


_WORDED = {item, tolist, to, detach_, requires_grad_, retain_grad}


def _worded_special(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self, *args, **kwargs)
        except EXPLAINED as error:
            raise explain(error, name, (self, *args)) from None

    return call


__all__ = ["Tensor", "install", "rebuild"]
