"""A tensor's value as Python sees it: numbers, NumPy arrays, text, copies and pickles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from weft import _native, dtypes
from weft.errors import AutogradError, TraceError, explain
from weft.ops import elementwise as E

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


def _one(t: Any, what: str) -> Any:
    if t.size != 1:
        raise ValueError(f"{what} takes a tensor of one element, not shape {list(t.shape)}.")
    return _item(t)


_item = _native.element
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
    return int(_item(self))


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


# As a sequence


def _len(self: Any) -> int:
    if self.ndim == 0:
        raise TypeError("A tensor without axes has no length.")
    return self.shape[0]


def _iter(self: Any) -> Iterator[Any]:
    if self.ndim == 0:
        raise TypeError("A tensor without axes cannot be iterated over.")
    return (self[k] for k in range(self.shape[0]))


def _contains(self: Any, value: Any) -> bool:
    return bool(E.equal(self, value).any())


# Copying and pickling


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    if self.grad_fn is not None:
        raise AutogradError("Only leaf tensors can be deep-copied; use x.detach().clone().")
    made = E.copy(self.detach())
    if type(self) is not Tensor:
        made = type(self)(made)
    made.requires_grad = self.requires_grad
    if self.grad is not None:
        made.grad = E.copy(self.grad.detach())
    memo[id(self)] = made
    return made


def _reduce(self: Any) -> Any:
    if self.grad_fn is not None:
        raise AutogradError("Only leaf tensors can be pickled; use x.detach().")
    plain = self.detach().contiguous()
    bits = plain if plain.dtype is not dtypes.bfloat16 else _native.reinterpret(plain, dtypes.uint16)
    return rebuild, (type(self), _numpy(bits).tobytes(), self.dtype.name, tuple(self.shape), self.requires_grad)


def rebuild(kind: type, data: bytes, dtype: str, shape: tuple[int, ...], requires_grad: bool) -> Any:
    """A pickled tensor."""
    made = _native.from_bytes(data, dtypes.BY_NAME[dtype], shape)
    if kind is not Tensor:
        made = kind(made)
    made.requires_grad = requires_grad
    return made


#: Methods under their names, and what Python calls by itself.
METHODS: dict[str, Callable[..., Any]] = {"tolist": tolist, "numpy": to_numpy}
#: What the native type calls where it cannot read the number itself.
CONVERSIONS: dict[str, Callable[..., Any]] = {
    "item": item,
    "__bool__": _bool,
    "__int__": _int,
    "__float__": _float,
    "__index__": _index,
    "__len__": _len,
}
SPECIAL: dict[str, Callable[..., Any]] = {
    "array": _array,
    "iter": _iter,
    "contains": _contains,
    "format": _format,
}
#: The same, without a user's mistake to word.
QUIET: dict[str, Callable[..., Any]] = {"repr": _repr, "str": _repr, "deepcopy": _deepcopy, "reduce": _reduce}
