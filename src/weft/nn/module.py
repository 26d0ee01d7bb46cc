"""The base of all layers and models.

A module's parameters, buffers and children are its ordinary attributes: `Module` recognises them by what they are, so that
reading one is an attribute look-up and nothing more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from weft import _native, dtypes
from weft.errors import EXPLAINED, WeftError, constructed, describe, kind_of, reworded
from weft.nn.parameter import Parameter
from weft.ops.creation import check_device
from weft.record.recorder import note_read


class StateDictError(WeftError, RuntimeError):
    """A state dictionary that does not fit a module."""


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base of layers and models. A subclass assigns parameters and other modules to attributes and defines ``forward``.

    Example:
        >>> import weft
        >>> from weft import nn
        >>> class Net(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.inner = nn.Linear(4, 2)
        ...     def forward(self, x):
        ...         return weft.tanh(self.inner(x))
        >>> Net()(weft.ones((3, 4))).shape
        (3, 2)
        >>> [name for name, _ in Net().named_parameters()]
        ['inner.weight', 'inner.bias']
    """

    _training: bool = True
    #: Of each buffer, whether it is part of ``state_dict()``. None until there is one.
    _buffers: dict[str, bool] | None = None

    @property
    def training(self) -> bool:
        """Whether layers such as `Dropout` behave as in training. A static function notices a change, and is traced again."""
        if _native.recording() is not None:
            note_read(self, "_training")
        return self._training

    @training.setter
    def training(self, value: bool) -> None:
        self._training = bool(value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("weft.") and "__init__" in cls.__dict__:
            constructed(cls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except EXPLAINED as error:
            said = self._said(error, args, kwargs)
            if said is None:
                raise
            raise said from None

    def _said(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exception | None:
        """An error of a call in words: one about its arguments, or one of a layer of Weft's. None to leave it as it is."""
        if hasattr(error, "_weft_bare"):
            return None
        function, trace = type(self).forward, error.__traceback__
        at_the_call = trace is not None and trace.tb_next is None and str(error).startswith(function.__qualname__)
        if at_the_call or type(self).__module__.startswith("weft."):
            return reworded(error, type(self).__name__, function, (self, *args), kwargs)
        return None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's result. To be written by the subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward().")

    # Registration

    def __setattr__(self, name: str, value: Any) -> None:
        now = self.__dict__.get(name)
        if isinstance(now, Parameter) and value is not None and not isinstance(value, Parameter):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter; assign a weft.nn.Parameter or None to it, not "
                f"{type(value).__name__}. To change its values, write into it: with weft.no_grad(): m.{name}.copy_(x)."
            )
        object.__setattr__(self, name, value)

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Add a parameter under a name that may be computed; None stands for one that is switched off."""
        self._check_name(name)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"register_parameter takes a weft.nn.Parameter or None, not {kind_of(parameter)}.")
        setattr(self, name, parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a tensor that is part of the module's state but is not trained; it is an attribute from then on."""
        self._check_name(name)
        if tensor is not None and not isinstance(tensor, _native.Tensor):
            raise TypeError(f"register_buffer takes a tensor or None, not {kind_of(tensor)}.")
        if self._buffers is None:
            self._buffers = {}
        self._buffers[name] = persistent
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name that may be computed."""
        self._check_name(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module takes a weft.nn.Module or None, not {kind_of(module)}.")
        setattr(self, name, module)

    register_module = add_module

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(
                f"{describe(name)} cannot name a part of a module: a name is a non-empty string without dots."
            )
        if name not in self.__dict__ and hasattr(type(self), name):
            raise KeyError(f"{type(self).__name__} has an attribute {name!r} already.")

    # Walking

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one, each once, with their names."""
        seen: set[int] = set()
        for name, value in self.__dict__.items():
            if isinstance(value, Module) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one."""
        return (m for _, m in self.named_children())

    def named_modules(self, memo: set[int] | None = None, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with their dotted names (its own is ``prefix``)."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        memo.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (m for _, m in self.named_modules())

    def _named(self, own: Callable[[Module], Iterator[tuple[str, Any]]], prefix: str, recurse: bool) -> Iterator[Any]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, value in own(module):
                if id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once, with their dotted names."""
        return self._named(Module._own_parameters, prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """All buffers, each once, with their dotted names."""
        return self._named(Module._own_buffers, prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def _own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        return ((k, v) for k, v in self.__dict__.items() if isinstance(v, Parameter))

    def _own_buffers(self) -> Iterator[tuple[str, Any]]:
        return ((k, v) for k in self._buffers or () if (v := self.__dict__.get(k)) is not None)

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call a function with every module inside, children first, then with this one. Gives this module."""
        if not callable(function):
            raise TypeError(f"apply takes a function of a module, not {kind_of(function)}.")
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # Changing

    def train(self, mode: bool = True) -> Self:
        """Set whether this module and all inside it behave as in training. Gives this module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Make this module and all inside it behave as in use, not training. Gives this module."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set whether the parameters require grad. Gives this module."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for p in self.parameters():
            clear_grad(p, set_to_none)

    def to(self, *args: Any, dtype: Any = None, device: Any = None) -> Self:
        """Cast floating-point parameters and buffers to another floating-point type. Gives this module.

        A dtype or a device ("cpu" is the only one) may be given without its name. The parameters become new tensors where
        the type changes, so make optimisers and static functions after this call.
        """
        for given in args:
            if isinstance(given, str) and given not in dtypes.BY_NAME:
                device = given
            else:
                dtype = given
        check_device(device)
        if dtype is None:
            return self
        wanted = dtypes.as_dtype(dtype)
        if not wanted.is_floating_point:
            raise TypeError(f"A module's parameters can be cast to a floating-point type only, not to {wanted.name}.")
        made: dict[int, Any] = {}
        for module in self.modules():
            for name, t in [*module._own_parameters(), *module._own_buffers()]:
                if not t.dtype.is_floating_point or t.dtype is wanted:
                    continue
                if id(t) not in made:
                    cast = t.detach().to(wanted)
                    made[id(t)] = (Parameter(cast, t.requires_grad) if isinstance(t, Parameter) else cast, t)
                setattr(module, name, made[id(t)][0])
        return self

    def float(self) -> Self:
        """`to` float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """`to` float64."""
        return self.to(dtypes.float64)

    # State

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Any]:
        """Parameters and persistent buffers by dotted name. They share memory with the module's own; copy them to keep them."""
        state: OrderedDict[str, Any] = OrderedDict()
        for name, t in self._state(prefix):
            state[name] = t.detach()
        return state

    def _state(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, p in self._own_parameters():
            yield prefix + name, p
        for name, b in self._own_buffers():
            if self._buffers is not None and self._buffers[name]:
                yield prefix + name, b
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield from value._state(f"{prefix}{name}.")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy values, tensors or NumPy arrays by dotted name, into the parameters and buffers.

        Raises `StateDictError` that lists every missing and unexpected name (unless ``strict`` is false) and every shape that
        does not fit, and then changes nothing.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict takes a dictionary of tensors by name, not {kind_of(state_dict)}.")
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        values = {}
        for name, t in own.items():
            if name not in state_dict:
                continue
            value = state_dict[name]
            if not isinstance(value, _native.Tensor):
                value = _native.from_numpy(value)
            if tuple(value.shape) != tuple(t.shape):
                problems.append(f"{name} has shape {list(value.shape)}, the module's has {list(t.shape)}")
            values[name] = value
        if problems:
            raise StateDictError(f"The state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems))
        with _native.GradScope(False):
            for name, value in values.items():
                own[name].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    # Printing

    def extra_repr(self) -> str:
        """What stands between the parentheses after the class's name. A subclass may define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr().splitlines()
        inside = [
            f"({name}): " + repr(value).replace("\n", "\n  ")
            for name, value in self.__dict__.items()
            if isinstance(value, Module)
        ]
        if not inside and len(extra) <= 1:
            return f"{type(self).__name__}({''.join(extra)})"
        return f"{type(self).__name__}(\n  " + "\n  ".join([*extra, *inside]) + "\n)"


def clear_grad(p: Any, set_to_none: bool) -> None:
    """Forget a tensor's gradient, or fill it with zeros."""
    if set_to_none:
        p.grad = None
    elif (g := p.grad) is not None:
        if g.grad_fn is not None:
            p.grad = g = g.detach()
        g.zero_()


__all__ = ["IncompatibleKeys", "Module", "StateDictError"]
