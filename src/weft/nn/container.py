"""Modules that hold other modules in order."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Self, overload

from weft.errors import kind_of
from weft.nn.module import Module
from weft.ops.frontend import integer


class _Ordered(Module):
    """Children named "0", "1", ... or as given, read by position."""

    def _items(self) -> list[tuple[str, Module]]:
        return [(k, v) for k, v in self.__dict__.items() if isinstance(v, Module)]

    def __len__(self) -> int:
        return len(self._items())

    def __iter__(self) -> Iterator[Module]:
        return iter([m for _, m in self._items()])

    def _name(self, index: int) -> str:
        items, index = self._items(), integer(index, "A module's position")
        if not -len(items) <= index < len(items):
            raise IndexError(f"{type(self).__name__} of {len(items)} modules has no module {index}.")
        return items[index][0]

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = type(self)()
            for name, module in self._items()[index]:
                part.add_module(name if isinstance(self, Sequential) else str(len(part)), module)
            return part
        return self.__dict__[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name(index), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end. Gives this container."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end. Gives this container."""
        if not isinstance(modules, Iterable):
            raise TypeError(f"A list of modules is needed, not {kind_of(modules)}.")
        for module in modules:
            self.append(module)
        return self


class Sequential(_Ordered):
    """Modules applied one after another: given as arguments, or named, as one ``OrderedDict`` (or dict).

    ``model[0]`` is the first, ``model[:2]`` a Sequential of the first two (the same objects).

    Example:
        >>> import weft
        >>> from weft import nn
        >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        Sequential(
          (0): Linear(in_features=2, out_features=3, bias=True)
          (1): ReLU()
        )
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], OrderedDict | dict):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            for k, module in enumerate(modules):
                self.add_module(str(k), module)

    def forward(self, x: Any) -> Any:
        for module in self._items():
            x = module[1](x)
        return x


class ModuleList(_Ordered):
    """A list of modules whose parameters count as its owner's. It has no ``forward``."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)


__all__ = ["ModuleList", "Sequential"]
