"""The trainable tensors of a module."""

from __future__ import annotations

import functools
from typing import Any

from weft import _native
from weft.errors import AutogradError, kind_of, worded
from weft.modes.dispatch import settle
from weft.ops.frontend import boolean


class Parameter(_native.Tensor):
    """A tensor that a `Module` it is assigned to counts among its parameters.

    It shares the memory of ``data``, a floating-point tensor, and requires grad unless told otherwise.

    Example:
        >>> import weft
        >>> w = weft.nn.Parameter(weft.zeros((2, 3)))
        >>> w.requires_grad, w.is_leaf
        (True, True)
    """

    @functools.partial(worded, "Parameter")
    def __new__(cls, data: Any, requires_grad: bool = True) -> Parameter:
        if not isinstance(data, _native.Tensor):
            raise TypeError(f"A Parameter is made from a tensor, not {kind_of(data)}; use weft.tensor(data) first.")
        requires_grad = boolean(requires_grad, "requires_grad")
        if requires_grad and data.dtype.kind != "f":
            raise AutogradError(f"Only floating-point tensors can require grad, not {data.dtype.name}.")
        settle(data)
        self = super().__new__(cls, data)
        if requires_grad:
            self.requires_grad = True
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    __str__ = __repr__

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        copy = memo[id(self)] = type(self)(self.detach().clone(), self.requires_grad)
        return copy

    def __reduce__(self) -> Any:
        return type(self), (self.detach(), self.requires_grad)


__all__ = ["Parameter"]
