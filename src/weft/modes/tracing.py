"""Recording one call of a static function: its arguments, the state it reaches, and the gradients it assigns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft import _native, dtypes
from weft.errors import TraceError
from weft.record.recorder import Cell, Chain, Recorder, scalar_leaf

if TYPE_CHECKING:
    from weft import Tensor


@dataclass(frozen=True, slots=True)
class Argument:
    """An input or output that is tensor argument ``index`` of the call."""

    index: int


@dataclass(frozen=True, slots=True, eq=False)
class GradOf:
    """An input that is the ``.grad`` of another tensor, or of an argument."""

    owner: Any


class StaticRecorder(Recorder):
    """Records one call of a static function."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.mode = f"tracing {name}"
        self.sources: dict[int, Any] = {}  # id of the tensor behind a leaf -> where replays find it
        self.kept: list[Any] = []  # so that no id is used twice
        self.given: dict[int, tuple[Argument, Tensor]] = {}  # id of what stands for an argument -> (argument, itself)
        #: .grad assigned so far: id of tensor -> (tensor or Argument, gradient)
        self.grads: dict[int, tuple[Any, Any]] = {}
        self.attributes_read: dict[tuple[int, str], tuple[Any, str, Any]] = {}  # see `note_read`
        self.grads_read: list[tuple[Any, Any]] = []  # (tensor or Argument, .grad found when first looked at)
        self.ops: dict[int, str] = {}
        self.n_scalars = 0  # Python numbers handed over at each call: float arguments, then host numbers
        self.host: list[Callable[[], float]] = []
        self.untaped: list[Tensor] = []  # tensors from outside that were written, and had no history
        self.outside: dict[
            int, tuple[Tensor, bool]
        ] = {}  # tensors met on the tape, by id, and whether they require grad

    def number(self) -> Tensor:
        """A weak scalar for the next Python number handed over at run time."""
        self.n_scalars += 1
        return self.weak(scalar_leaf(self.n_scalars - 1, dtypes.float64), float)

    def host_number(self, read: Callable[[], float]) -> Tensor:
        """A number that Python code outside the graph may change between calls: it is read again at each replay."""
        self.host.append(read)
        return self.number()

    def argument(self, k: int, given: Tensor) -> Tensor:
        """A tensor that stands for argument ``k``."""
        t = _native.alias(given)  # of its own, because the function may reach the argument in another way too
        node = self.leaf(t)
        source = self.sources[id(t)] = Argument(k)
        out = self.fresh(node, tuple(t.strides))
        self.kept += [t, node, out]
        self.given[id(out)] = source, given
        cell = out._pending
        cell.root = t
        cell.dirty = False
        if given.requires_grad:
            out.requires_grad = True
        return out

    def met(self, operands: Sequence[Any]) -> None:
        if not _native.grad_enabled():
            return
        for t in operands:
            if not isinstance(t, _native.Tensor) or t._pending is not None or t.dtype.kind != "f":
                continue
            made_here = t.symbol is not None and t.symbol.cell.recorder is self
            if made_here or any(t is u for u in self.untaped):
                continue
            if t.grad_fn is not None and any(t.base is u for u in self.untaped):  # its history came with its base's
                self.untaped.append(t)
            else:
                self.outside.setdefault(id(t), (t, t.requires_grad))

    def capture(self, t: Tensor) -> Cell:
        cell = super().capture(t)
        self.kept.append(cell.root)
        if id(cell.root) not in self.sources:
            self.sources[id(cell.root)] = cell.root
        return cell

    def chain_of_real(self, cell: Cell, t: Tensor) -> Chain:
        """Refuses a gradient that shares memory with another tensor: later calls may find one that does not."""
        root = cell.root
        assert root is not None
        if t is not root and any(isinstance(self.sources.get(id(u)), GradOf) and u.base is None for u in (t, root)):
            raise TraceError(
                f"A gradient of shape {list(t.shape)} shares memory with another tensor that the function uses; replays could "
                "not tell whether it still does. Give it memory of its own, as in p.grad = p.grad.clone()."
            )
        return super().chain_of_real(cell, t)

    def written(self, cell: Cell, t: Tensor, op: str) -> None:
        self.ops[id(cell)] = op
        if not _native.grad_enabled():
            return
        for outside in (t, t.base):
            if outside is None or outside._pending is not None or any(outside is u for u in self.untaped):
                continue
            if outside.grad_fn is not None:
                raise TraceError(
                    f"{op} would modify in place a tensor of shape {list(outside.shape)} that was computed outside the "
                    f"function and requires grad; replays could not keep its history. Use the form that makes a new tensor, "
                    "or weft.no_grad()."
                )
            if not outside.requires_grad:
                self.untaped.append(outside)

    def end(self) -> None:
        """The trace is over. History is for its time only: a replay gives tensors from outside values, and no history."""
        self.finished = True
        for t in self.untaped:
            t.grad_fn = None
            t.requires_grad = False

    def get_grad(self, t: Tensor) -> Any:
        """What ``t.grad`` is at this point of the trace."""
        owner, real = self.given.get(id(t), (t, t))
        if real._pending is not None:
            return real._grad
        if id(t) not in self.grads:
            found = real._grad
            self.grads[id(t)] = (owner, found)
            self.grads_read.append((owner, found))
            if found is not None:
                self.kept.append(found)
                self.sources[id(found)] = GradOf(owner)
        return self.grads[id(t)][1]

    def set_grad(self, t: Tensor, value: Any) -> None:
        """Note that ``t.grad`` was assigned."""
        owner, real = self.given.get(id(t), (t, t))
        if real._pending is not None:
            real._grad = value
        else:
            self.grads[id(t)] = (owner, value)
