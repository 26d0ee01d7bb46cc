"""Lazy mode: ops record a graph, and it runs when a value is needed."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from weft import _native, locks
from weft.compiler import Executable, compile_graph
from weft.errors import TraceError, kind_of, where_in_user_code
from weft.ir.node import Node, Where, make, toposort
from weft.ops.registry import Op, Operand
from weft.recent import Recent
from weft.record.canonical import canonical
from weft.record.recorder import Cell, Recorder
from weft.runtime.program import checks, recorded_at

if TYPE_CHECKING:
    from weft import Tensor

#: Programs by their graphs: those of the 512 graphs that ran last, and of up to as many more.
_programs: Recent[Any, Executable] = Recent(512)


@dataclass(frozen=True, slots=True)
class Known:
    """The program of a recording, and which of the recording's leaves it takes; ``nodes`` keeps the key's own alive."""

    program: Any
    slots: list[int]
    nodes: tuple[Node, ...]


#: Programs by what recordings asked for: the identities of the nodes.
_recordings: Recent[Any, Known] = Recent(512)


@dataclass(frozen=True, slots=True)
class Built:
    """A node that an op built, and the checks of indices in it; ``operands`` keeps those of the key alive."""

    node: Node
    checks: tuple[Node, ...]
    operands: tuple[Any, ...]


#: What ops built. A step that is recorded again and again has the same nodes each time, for its leaves are numbered.
_built: Recent[Any, Built] = Recent(16384)
_lock = locks.shared("lazy")


class LazyRecorder(Recorder):
    """What one thread has recorded lazily and not run yet."""

    mode = "recording lazily"
    values_allowed = True
    lock = _lock  # another thread may run the graph between two ops, never within one

    def __init__(self) -> None:
        super().__init__()
        self.live: WeakSet[Cell] = WeakSet()
        self.ops: WeakKeyDictionary[Cell, str] = WeakKeyDictionary()
        self.leaves: dict[Node, Tensor] = {}  # the tensor behind each leaf, in the order met
        self.checked: dict[Node, Where] = {}  # where the user's program makes each check of an index

    def leaf(self, t: Tensor) -> Node:
        strides = tuple(t.strides)
        node = make("input", (), (len(self.leaves), strides), tuple(t.shape), t.dtype)
        self.leaves[node] = t
        return node

    def build(self, op: Op, operands: Sequence[Operand], attrs: Any) -> Node:
        key = (op, attrs, *[id(o) if type(o) is Node else o.key for o in operands])  # type: ignore[union-attr]
        built = _built.get(key)
        if built is None:
            node = super().build(op, operands, attrs)
            built = _built[key] = Built(node, _checks_above(node, operands), tuple(operands))
        for check in built.checks:
            self.checked.setdefault(check, where_in_user_code())
        return built.node

    def capture(self, t: Tensor) -> Cell:
        cell = super().capture(t)
        root = cell.root
        assert root is not None
        cell.storage = _native.weak_storage(root)
        root._pending = cell  # so that an eager write to this storage runs the graphs that read it first
        return cell

    def made(self, cell: Cell) -> None:
        self.live.add(cell)

    def written(self, cell: Cell, t: Tensor, op: str) -> None:
        self.ops[cell] = op

    def adopt(self, t: Tensor, cell: Cell) -> Cell:
        if isinstance(cell.recorder, LazyRecorder):  # another thread's
            cell.recorder.realize(t, cell)
            return self.cells.get(t._storage_id) or self.capture(t)
        return super().adopt(t, cell)

    def realize(self, t: Tensor, cell: Cell) -> None:
        """Make a storage hold its value, and let it go."""
        cell.check()
        self.flush()
        cell.check()

    def flush(self) -> None:
        """Run everything recorded so far that is still wanted.

        Where an index is out of range, everything that does not depend on it is computed all the same. Tensors that do have
        no value, and say so when one is asked of them; tensors that were to be written keep theirs, and the error is raised.
        """
        with _lock, _native.RecordingScope(None):
            real = list(self.cells.values())
            fresh = sorted(self.live, key=lambda c: c.order)
            written = [(c, self.ops.get(c, "write")) for c in real if c.dirty]
            done: list[Any] = []  # takes the program's results
            failed: list[IndexError] = []
            try:
                try:
                    if fresh or written:
                        self.run(fresh, written, done)
                except IndexError:
                    fresh = [c for c in fresh if self.computable(c)]
                    failed = [c.error for c, _ in written if not self.computable(c)]  # type: ignore[misc]
                    self.run(fresh, [(c, op) for c, op in written if c.error is None], done)
                self.end(real, fresh, done)
            except BaseException:
                if done:  # a signal's exception came after the run, which must not happen again
                    self.end(real, fresh, done)
                raise
            if failed:
                raise IndexError(*failed[0].args)

    def run(self, fresh: list[Cell], written: list[tuple[Cell, str]], done: list[Any]) -> None:
        """Compile and run the graph of these cells' values; the list of the fresh ones' is appended to ``done``."""
        outputs = [c.node for c in fresh]
        nodes = (*outputs, *[n for c, _ in written for n in (c.node, c.leaf) if n is not None])
        key = (len(outputs), *map(id, nodes), *[op for _, op in written])
        known = _recordings.get(key)
        if known is None:
            tensors, graph = canonical(outputs, written, leaves=self.leaves)
            program = _programs.get(graph)
            if program is None:
                program = _programs[graph] = compile_graph(graph, "lazy")
            number = {id(t): k for k, t in enumerate(self.leaves.values())}
            known = _recordings[key] = Known(program.program, [number[id(t)] for t in tensors], nodes)
        given = list(self.leaves.values())
        known.program.run([given[k] for k in known.slots], None, done)

    def computable(self, cell: Cell) -> bool:
        """Whether all indices behind a cell's value are in range; else the cell is given the error."""
        found = checks(toposort([cell.node]), self.checked)
        if found:
            try:
                self.run([cell], [], [])
            except IndexError as error:
                cell.error = IndexError(*recorded_at(error, found).args)
        return cell.error is None

    def end(self, real: list[Cell], fresh: list[Cell], done: list[Any]) -> None:
        """Put results into their storages, and let all storages go."""
        for cell, t in zip(fresh, done[0] if done else [], strict=True):
            cell.settle(t)
        for cell in real:
            cell.forget()
        for cell in (*self.live, *real):
            cell.drop()
        self.live.clear()
        self.cells.clear()
        self.leaves.clear()
        self.checked.clear()


class _Recorders(threading.local):
    recorder: LazyRecorder | None = None


_recorders = _Recorders()


class lazy(_native.RecordingScope):
    """Record the ops of a ``with`` block instead of running them; the graph runs, fused, when a value is needed.

    A value is needed by ``.numpy()``, ``.item()``, printing, ``bool()`` and the like, and by an eager op outside the block.
    Whatever the thread has recorded so far runs then, in one program, which is compiled once for each different graph. The
    programs of the 512 graphs that ran last are kept.

    Example:
        >>> import weft
        >>> with weft.lazy():
        ...     x = weft.ones((3,))
        ...     y = (x * 2 + 1).sum()  # nothing has run yet
        >>> y.item()
        9.0
    """

    def __init__(self, *given: Any) -> None:
        if given:
            raise TypeError(
                f"lazy takes no arguments, not {kind_of(given[0])}. Write `with weft.lazy():` before what is to be recorded; "
                "weft.static makes a static function."
            )
        super().__init__(None)

    def __enter__(self) -> lazy:
        if _recorders.recorder is None:
            _recorders.recorder = LazyRecorder()
        active = _native.recording()
        if active is not None and not isinstance(active, LazyRecorder):
            raise TraceError(f"weft.lazy() cannot begin while {active.mode}.")
        try:
            self.begin(_recorders.recorder)
        except BaseException:  # of a signal: nobody would call __exit__
            self.end()
            raise
        return self


def _checks_above(node: Node, operands: Sequence[Operand]) -> tuple[Node, ...]:
    """The checks of indices that an op put between its operands and its result."""
    given = {o for o in operands if isinstance(o, Node)}
    found: dict[Node, None] = {}
    todo = [node]
    while todo:
        x = todo.pop()
        if x not in given and x not in found:
            found[x] = None
            todo += x.inputs
    return tuple(x for x in found if x.op == "check_index")
