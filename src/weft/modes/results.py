"""Where the results of a trace come from: what the program makes, tensors that there were, views of either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weft import _native
from weft.modes.tracing import Argument, StaticRecorder
from weft.ops.movement import contiguous_strides
from weft.record.recorder import Cell, layout_of_chain

if TYPE_CHECKING:
    from weft import Tensor

#: What the base of a view may be besides a result: none, or what it is a view of.
NO_BASE, SOURCE_BASE = -1, -2


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """An output that the program makes: which one, and, where it is a view of that, its layout, first element and base."""

    index: int
    layout: _native.Layout | None = None
    delta: int = 0
    base: int = NO_BASE


@dataclass(frozen=True, slots=True, eq=False)
class ViewOf:
    """An output that is a view of an input tensor: its layout, where it begins in that, in elements, and its base."""

    source: Any
    layout: _native.Layout
    delta: int
    base: int = NO_BASE


@dataclass(frozen=True, slots=True, eq=False)
class Again:
    """An output that is an earlier one, by its number."""

    index: int


class Results:
    """The values that a traced function returned, and where replays find them.

    Results that share memory have the bases that they have in an eager call, for a later change of one in place to reach the
    histories of the others. A base that is no result itself is added at the end: `hidden` counts these.
    """

    def __init__(self, recorder: StaticRecorder, placeholders: Sequence[Tensor], values: Sequence[Any]) -> None:
        self.recorder, self.placeholders = recorder, placeholders
        #: What the program makes.
        self.cells: list[Cell] = []
        self._whole: dict[int, Tensor] = {}  # by the cell's number, the tensor that its output is
        first = self._first = dict[int, int]()  # by tensor, the first place
        self.values: list[Any] = []
        self.places: list[Any] = []
        for v in values:
            self._add(v)
        views = {k: v.base for k, v in enumerate(self.values) if self._is_view(k) and v.base is not None}
        used = Counter(id(b) for b in views.values())
        for b in {id(b): b for b in views.values()}.values():
            if used[id(b)] > 1 and id(b) not in first and isinstance(self.place(b), Made | ViewOf):
                self._add(b)
        self.hidden = len(self.values) - len(values)
        for k, b in views.items():
            if not isinstance(self.place(b), Made | ViewOf):
                self.places[k] = replace(self.places[k], base=SOURCE_BASE)
            elif id(b) in first:
                self.places[k] = replace(self.places[k], base=first[id(b)])

    def _add(self, v: Any) -> None:
        self.values.append(v)
        known = self._first.setdefault(id(v), len(self.places)) if isinstance(v, _native.Tensor) else len(self.places)
        self.places.append(self.place(v) if known == len(self.places) else Again(known))

    def _is_view(self, k: int) -> bool:
        place = self.places[k]
        return isinstance(place, ViewOf) or (isinstance(place, Made) and place.layout is not None)

    def place(self, v: Any) -> Any:
        """Where a value comes from; a view without its base."""
        if not isinstance(v, _native.Tensor):
            return v
        recorder = self.recorder
        cell = v._pending
        if cell is None:
            if v.symbol is None or v.symbol.cell.recorder is not recorder:
                return recorder.sources.get(id(v), v)
            cell = v.symbol.cell
        elif cell.recorder is not recorder:
            cell.recorder.realize(v, cell)
            return v
        layout = layout_of_chain(cell.node.shape, v.symbol.chain)
        if cell.root is not None:
            source = recorder.sources[id(cell.root)]
            root = (
                self.placeholders[source.index]
                if isinstance(source, Argument) and v._pending is not None
                else cell.root
            )
            if v is root:
                return source
            return ViewOf(source, (v.dtype, tuple(v.shape), tuple(v.strides)), v.offset - root.offset)
        if cell not in self.cells:
            self.cells.append(cell)
        k = self.cells.index(cell)
        plain = (cell.node.shape, contiguous_strides(cell.node.shape), 0)
        if layout is None or (layout == plain and self._whole.setdefault(k, v) is v):
            return Made(k)
        shape, strides, offset = layout
        return Made(k, (v.dtype, shape, strides), offset)

    def place_of_gradient(self, g: Any) -> Any:
        """The same of a gradient that is assigned."""
        place = self.place(g)
        if id(g) in self._first and isinstance(place, Made | ViewOf):
            return Again(self._first[id(g)])
        if isinstance(place, ViewOf) and g.base is not None and not isinstance(self.place(g.base), Made | ViewOf):
            return replace(place, base=SOURCE_BASE)
        return place


__all__ = ["NO_BASE", "Again", "Made", "Results", "ViewOf"]
