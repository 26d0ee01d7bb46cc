"""Recording: tensors that stand for graph nodes, with in-place updates and views turned into values.

While a recorder is active on a thread, an op makes a node instead of running. Memory is modelled by *cells*: a cell is one
storage as the recording sees it, holding the node of its current value. A tensor is a chain of movement ops from its
cell's root. Writing through a tensor gives the cell a new value (the old one with a region replaced), so every view of
that storage sees it; nothing in the graph is ever modified.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from weft import _native, dtypes
from weft.dtypes import DType
from weft.errors import TraceError, where_in_user_code
from weft.ir.node import Node, make
from weft.ops.movement import contiguous_strides
from weft.ops.registry import Op, Operand

if TYPE_CHECKING:
    from weft import Tensor

#: (movement op, attrs): one step of the way from a cell's root to a tensor.
Step = tuple[Op, Any]
Chain = tuple[Step, ...]

#: The tensor whose data each leaf node of a recording stands for.
leaves: WeakKeyDictionary[Node, Tensor] = WeakKeyDictionary()
_tokens = itertools.count()
_orders = itertools.count()


class Cell:
    """One storage as a recording sees it."""

    __slots__ = (
        "__weakref__",
        "cache",
        "dirty",
        "error",
        "leaf",
        "node",
        "order",
        "recorder",
        "root",
        "storage",
        "version",
    )

    def __init__(self, recorder: Recorder, node: Node, root: Tensor | None) -> None:
        self.recorder = recorder
        self.node = node
        self.leaf = None if root is None else node
        self.root = root  # the real tensor whose layout the node's value has, if the storage is real
        self.version = 0
        self.order = next(_orders)
        self.dirty = root is None  # whether the storage's own memory lacks the value
        self.cache: dict[Chain, tuple[int, Node]] = {}
        self.storage: Any = None  # gives a tensor over the storage, while that lives
        self.error: IndexError | None = None  # why there is no value

    def settle(self, real: Tensor) -> None:
        """The storage takes over the memory of a tensor that holds its value, if it has not yet."""
        t = self.storage()
        if t is not None and t._pending is not None:
            _native.resolve(t, real)

    def drop(self) -> None:
        """Let the graph go. Results remember their cell, and would keep the tensors that the graph began with."""
        self.node = None  # type: ignore[assignment]
        self.leaf = self.root = None
        self.cache.clear()

    def check(self) -> None:
        """Raise if the value could not be computed."""
        if self.error is not None:
            raise IndexError(*self.error.args)

    def forget(self) -> None:
        """The storage's own memory holds its value: recordings need not be asked any more."""
        t = self.storage() if self.storage is not None else self.root
        if t is not None:
            t._pending = None


class View:
    """The symbol of a tensor in a recording: the way to it from its cell's root.

    It holds only as long as the storage is modelled by that cell. ``weak`` is set on a zero-dimensional tensor that stands
    for a Python number (bool, int or float).
    """

    __slots__ = ("cell", "chain", "weak")

    def __init__(self, cell: Cell, chain: Chain, weak: type | None = None) -> None:
        self.cell = cell
        self.chain = chain
        self.weak = weak


class Recorder:
    """Base of the recording modes. ``with recorder.active():`` makes it the active one on this thread."""

    #: What to call the mode in messages.
    mode = "recording"
    #: Whether the values of real tensors may be looked at meanwhile.
    values_allowed = False
    #: Held while an op is recorded.
    lock: Any = nullcontext()

    def __init__(self) -> None:
        self.finished = False
        self.differentiates = False  # gradients were found meanwhile
        self.cells: dict[int, Cell] = {}  # real storages, by identity

    def active(self) -> Any:
        """A context manager in which this thread's ops go to the recorder."""
        return _native.RecordingScope(self)

    # Reading

    def met(self, operands: Sequence[Any]) -> None:
        """Called with the operands of each op."""

    def value(self, t: Tensor) -> Node:
        """The node of a tensor's current value."""
        cell, chain = self.locate(t)
        if not chain:
            return cell.node
        known = cell.cache.get(chain)
        if known is None or known[0] != cell.version:
            node = cell.node
            for op, attrs in chain:
                node = self.build(op, [node], attrs)
            known = cell.cache[chain] = (cell.version, node)
        return known[1]

    def locate(self, t: Tensor) -> tuple[Cell, Chain]:
        """The cell that a tensor's memory belongs to, and the way from its root to the tensor."""
        cell = t._pending
        if cell is not None:
            cell.check()
        if cell is None:
            cell = self.cells.get(t._storage_id)
            if cell is None:
                cell = self.capture(t)
        elif cell.recorder is not self:
            cell = self.adopt(t, cell)
        symbol = t.symbol
        if symbol is not None and symbol.cell is cell:
            return cell, symbol.chain
        return cell, self.chain_of_real(cell, t)

    def symbol_of(self, t: Tensor) -> View:
        """The symbol of another tensor over the same elements."""
        cell, chain = self.locate(t)
        return t.symbol if t.symbol is not None and t.symbol.cell is cell else View(cell, chain)

    def adopt(self, t: Tensor, cell: Cell) -> Cell:
        """Take in a tensor that belongs to another recording."""
        cell.recorder.check_open(t)
        realize = getattr(cell.recorder, "flush", None)
        if realize is None:
            raise TraceError(
                f"A tensor of shape {list(t.shape)} belongs to another trace that is still open on this or another thread."
            )
        realize()
        return self.cells.get(t._storage_id) or self.capture(t)

    def check_open(self, t: Tensor) -> None:
        """Raise if the recording that a tensor belongs to has ended."""
        if self.finished:
            raise TraceError(
                f"A tensor of shape {list(t.shape)} made while {self.mode} was used after that trace had ended. "
                "Return it from the function, or write it into an existing tensor with copy_."
            )

    def capture(self, t: Tensor) -> Cell:
        """Begin to follow a real tensor's storage."""
        root = self.root_of(t)
        cell = Cell(self, self.leaf(root), root)
        self.cells[root._storage_id] = cell
        return cell

    def root_of(self, t: Tensor) -> Tensor:
        """The tensor whose layout the storage is modelled with: the base of a view where that is contiguous."""
        base = t.base
        return base if base is not None and base.is_contiguous() else t

    def leaf(self, t: Tensor) -> Node:
        """A node for the data that a real tensor has now."""
        shape, strides = tuple(t.shape), tuple(t.strides)
        node = make("input", (), (("leaf", next(_tokens)), strides), shape, t.dtype, where_in_user_code())
        leaves[node] = t
        return node

    def build(self, op: Op, operands: Sequence[Operand], attrs: Any) -> Node:
        """The node of a primitive op."""
        assert op.build is not None
        return op.build(operands, attrs, where_in_user_code())

    def chain_of_real(self, cell: Cell, t: Tensor) -> Chain:
        from weft.ops.movement import as_strided, reshape

        root = cell.root
        assert root is not None
        if t is root or (t.offset == root.offset and t.shape == root.shape and t.strides == root.strides):
            return ()
        if not root.is_contiguous():
            raise TraceError(
                f"Two views of one non-contiguous array are used {self.mode}, with shapes {list(root.shape)} and "
                f"{list(t.shape)}; Weft cannot relate them. Make one of them contiguous first, with x.contiguous()."
            )
        attrs = (t.offset - root.offset, tuple(t.strides), tuple(t.shape))
        low = attrs[0] + sum(min(0, (n - 1) * s) for n, s in zip(attrs[2], attrs[1], strict=True))
        high = attrs[0] + sum(max(0, (n - 1) * s) for n, s in zip(attrs[2], attrs[1], strict=True))
        if t.size and (low < 0 or high >= root.size):
            raise TraceError(
                f"Two tensors used {self.mode} share memory, but neither holds the other (shapes {list(root.shape)} and "
                f"{list(t.shape)}); pass the tensor that both are views of."
            )
        if t.is_contiguous() and t.size == root.size:
            return ((reshape, (tuple(t.shape),)),)
        return ((as_strided, attrs),)

    # Making tensors

    def fresh(self, node: Node, strides: tuple[int, ...] | None = None) -> Tensor:
        """A new tensor, with memory of its own, of a node's value; contiguous, if no strides are given."""
        t = virtual(node.dtype, node.shape, contiguous_strides(node.shape) if strides is None else strides)
        cell = Cell(self, node, None)
        cell.storage = _native.weak_storage(t)
        t._pending = cell
        t.symbol = View(cell, ())
        self.made(cell)
        return t

    def weak(self, node: Node, kind: type) -> Tensor:
        """A zero-dimensional tensor that takes part in promotion as a Python number does."""
        t = self.fresh(node)
        t.symbol.weak = kind
        return t

    def made(self, cell: Cell) -> None:
        """Called with each new cell."""

    def realize(self, t: Tensor, cell: Cell) -> None:
        """Called when Python needs the value of a recorded tensor."""
        self.check_open(t)
        raise TraceError(
            f"The value of a tensor of shape {list(t.shape)} was needed while {self.mode}, when it has none yet. "
            "Choose with weft.where(condition, a, b) instead of an if, keep numbers in tensors instead of calling .item() or "
            "int(), and do what needs a value (printing, NumPy) outside the function."
        )

    def alias(self, t: Tensor, step: Step, layout: tuple[tuple[int, ...], tuple[int, ...], int]) -> Tensor:
        """A view of a tensor."""
        cell, chain = self.locate(t)
        shape, strides, offset = layout
        out = _native.strided(t, shape, strides, offset)
        out.symbol = View(cell, (*chain, step))
        out.base = t.base if t.base is not None else t
        return out

    # Writing

    def write(self, t: Tensor, value: Node, op: str) -> None:
        """The tensor, and with it every view of its storage, takes a new value."""
        cell, chain = self.locate(t)
        if chain:
            layout = layout_of_chain(cell.node.shape, chain)
            if layout is None:
                raise TraceError(
                    f"{op} cannot write through this view while {self.mode}; use the tensor it views instead."
                )
            shape, strides, offset = layout
            if shape == cell.node.shape and strides == contiguous_strides(shape) and offset == 0:
                cell.node = value
            else:
                base = cell.node
                cell.node = make(
                    "assign", (base, value), (offset, strides), base.shape, base.dtype, where_in_user_code()
                )
        else:
            cell.node = value
        cell.version += 1
        cell.dirty = True
        self.written(cell, t, op)

    def written(self, cell: Cell, t: Tensor, op: str) -> None:
        """Called after each write."""


def layout_of_chain(shape: tuple[int, ...], chain: Chain) -> tuple[tuple[int, ...], tuple[int, ...], int] | None:
    """Where a chain of movement ops looks, in the row-major elements of a tensor of the given shape."""
    strides, offset = contiguous_strides(shape), 0
    for op, attrs in chain:
        assert op.view is not None
        layout = op.view(shape, strides, attrs)
        if layout is None:
            return None
        shape, strides, step = layout
        offset += step
    return shape, strides, offset


def virtual(dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
    """A tensor without data, of any strides: where some are negative, a view into memory that holds all elements."""
    below = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0)
    if not below or 0 in shape:
        return _native.virtual(dtype, shape, contiguous_strides(shape) if 0 in shape else strides)
    above = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0)
    return _native.strided(_native.virtual(dtype, (above - below + 1,)), shape, strides, -below)


def note_read(owner: Any, name: str) -> None:
    """A static function that is being traced depends on an attribute of an object outside the graph.

    It is traced again when a call finds that the attribute has another value.
    """
    notes = getattr(_native.recording(), "attributes_read", None)
    if notes is not None:
        notes[id(owner), name] = (owner, name, getattr(owner, name))


def host_number(read: Callable[[], float]) -> Any:
    """A Python number that a static function must not take for a constant, such as a learning rate.

    Gives ``read()``; while a static function is traced, a zero-dimensional tensor that stands for it, and ``read`` is called
    again at each replay.
    """
    recorder = _native.recording()
    make_number = getattr(recorder, "host_number", None)
    return read() if make_number is None else make_number(read)


def forbid_value(t: Tensor) -> None:
    """Raise where Python asks for any tensor's value while a static function is traced: it would become a constant."""
    recorder = _native.recording()
    if recorder is not None and not recorder.values_allowed:
        recorder.realize(t, t._pending)


class PlanRecorder(Recorder):
    """Records one op over placeholder tensors, to make the program that runs it eagerly."""

    mode = "compiling an op"

    def placeholder(self, slot: int, like: Any) -> Tensor:
        """A tensor that stands for input ``slot``, with the type and layout of ``like``."""
        strides = tuple(like.strides)
        return self.fresh(make("input", (), (slot, strides), tuple(like.shape), like.dtype), strides)

    def capture(self, t: Tensor) -> Cell:
        raise TraceError(
            f"An op's own function used a tensor of shape {list(t.shape)} that is not among its operands; pass it as one."
        )


#: The type in which a Python number of each class is handed to a program.
SCALAR_DTYPES = {bool: dtypes.bool_, int: dtypes.int64, float: dtypes.float64}


def scalar_leaf(slot: int, dtype: DType) -> Node:
    """The node of run-time number ``slot``."""
    return make("scalar", (), (slot,), (), dtype)


__all__ = [
    "SCALAR_DTYPES",
    "Cell",
    "Chain",
    "PlanRecorder",
    "Recorder",
    "View",
    "forbid_value",
    "host_number",
    "layout_of_chain",
    "leaves",
    "note_read",
    "scalar_leaf",
    "where_in_user_code",
]
