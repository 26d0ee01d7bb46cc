"""Joins the native runtime to the Python side: what it calls when it meets something that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft import _native, config, dtypes
from weft.errors import TraceError
from weft.modes import dispatch

if TYPE_CHECKING:
    from weft import Tensor


def install() -> None:
    """Register data types, dispatcher and hooks with the native runtime."""
    _native.set_dtypes(list(dtypes.ALL))
    _native.use_matrix_unit(config.current().matrix_unit)
    _native.set_slow_path(dispatch.slow)
    _native.set_realize(realize)
    _native.set_grad_hook(get_grad, set_grad)


def realize(t: Tensor) -> None:
    """Make a tensor's memory hold its value, because Python needs it."""
    if t._pending is None and t.symbol is not None:
        cell = t.symbol.cell
        if not cell.recorder.finished and cell.recorder is _native.recording() and not cell.recorder.values_allowed:
            cell.recorder.realize(t, cell)
    dispatch.settle(t)
    cell = t._pending
    if (
        cell is not None and cell.dirty
    ):  # a clean one is of another thread that has begun to record with the tensor since
        raise TraceError(f"The value of a tensor of shape {list(t.shape)} is needed, but it has none yet.")


def get_grad(t: Tensor) -> Any:
    """What ``t.grad`` is while this thread records."""
    hook = getattr(_native.recording(), "get_grad", None)
    return t._grad if hook is None else hook(t)


def set_grad(t: Tensor, value: Any) -> None:
    """Assign ``t.grad`` while this thread records."""
    hook = getattr(_native.recording(), "set_grad", None)
    if hook is None:
        t._grad = value
    else:
        hook(t, value)
