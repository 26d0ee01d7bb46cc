"""Lowering: a group of loops becomes a nest, and a nest with buffers becomes a `Kernel` with its parameters.

A nest still names memory by what is in it: ("n", node), ("in", slot) or ("out", k). So the memory plan can look at who reads
and writes what, and how. Its loops are canonical: adjacent loops that every access walks through without a jump are one
loop, there is no loop of size 1, and the reduced ones are a single loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from weft.dtypes import DType
from weft.ir import kernel as K
from weft.ir.graph import Graph
from weft.ir.node import Node, const_value
from weft.ops.registry import OPS
from weft.passes.fuse import Fusion
from weft.passes.groups import Constraints, Group, Key, Port, Retry, Sinks
from weft.passes.indexmap import IndexMap, Linear, Space, is_row_major, row_major_strides

#: Rows that a reduction of strips has side by side at least.
NARROW_STRIP = 16
#: Operands that a kernel that reduces transposes at most: each takes up to 32 KiB of its frame.
MOST_TURNED = 2
#: Below which length rows of more than two operands and results are short: `is_short`.
SHORT_OF_MANY = 32

#: What memory holds: ("n", node), ("in", slot), ("out", k).
Place = tuple[str, Node | int]


@dataclass(slots=True)
class Step:
    """One instruction of a nest: what `weft.ir.kernel` has under the same name, with a place for a buffer."""

    name: str
    args: tuple[int, ...] = ()
    op: str = ""
    dtype: DType | None = None
    place: Place | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()  # along the nest's loops; of loadat and storeat: along the buffer's axes
    node: Node | None = None  # of a scalar, and of a check_index for its message
    linear: Linear | None = None
    accumulate: bool = False
    reverse: bool = False


@dataclass(slots=True)
class Nest:
    """A kernel before memory is planned. ``dims`` and ``sizes`` describe its loops as in `Kernel`."""

    group: Group
    form: str = "map"
    dims: str = ""
    sizes: tuple[int, ...] = ()
    steps: list[Step] = field(default_factory=list)
    stores: list[Step] = field(default_factory=list)
    varies: list[bool] = field(default_factory=list)
    depth: list[int] = field(default_factory=list)  # reductions, one inside another, behind each value

    @property
    def fallible(self) -> bool:
        return any(s.op == "check_index" for s in self.steps)

    @property
    def cost(self) -> int:
        """Of one element, in units of about an addition."""
        ops = sum(OPS[s.op].cost if s.name == "apply" else 1 for s in self.steps)
        return ops + len(self.stores)


def lower(graph: Graph, sinks: Sinks, fusion: Fusion, group: Group, constraints: Constraints) -> Nest:
    """The nest of a group of loops. Raises `Retry` where its loops cannot be made canonical."""
    return _Lowering(graph, sinks, fusion, group, constraints).nest


class _Lowering:
    def __init__(self, graph: Graph, sinks: Sinks, fusion: Fusion, group: Group, constraints: Constraints) -> None:
        self.graph, self.sinks, self.fusion, self.group = graph, sinks, fusion, group
        self.space: Space = group.space
        self.nest = Nest(group)
        self.values: dict[Key, int] = {}
        self.known: dict[tuple, int] = {}
        written = self._destinations()  # may divide loops, so before anything else
        resolve = self.space.resolve
        self.items = {
            (node, resolve(m)): inputs and [(x, resolve(i)) for x, i in inputs]
            for (node, m), inputs in group.items.items()
        }
        self.sources = {(node, resolve(m)): port for (node, m), port in group.sources.items()}
        if group.update is not None:
            self._update()
        for (node, m), extra in zip(group.stores, written, strict=True):
            value = self._value((node, resolve(m)))
            self._store(("n", node), self.space.position(resolve(m)), value, node.dtype)
            for place, at, strides in extra:
                self._store(place, self.space.linear(resolve(at), strides), value, node.dtype)
        self._classify()
        self._loops(constraints)

    def _destinations(self) -> list[list[tuple[Place, IndexMap, list[int]]]]:
        """Where each stored node must go besides its own memory: further outputs, and inputs."""
        result = []
        for node, m in self.group.stores:
            extra: list[tuple[Place, IndexMap, list[int]]] = []
            outs = 0
            for kind, k in self.sinks.of.get(node, ()):
                m = self.space.resolve(m)
                if kind == "out":
                    outs += 1
                    if outs > 1:
                        extra.append((("out", k), m, row_major_strides(m.shape)))
                else:
                    given = self.graph.inputs[k]
                    at: IndexMap | None = m
                    strides = list(given.strides)
                    if is_row_major(given.shape, given.strides):
                        strides = row_major_strides(m.shape)
                    elif self._scans and not _same_axes(given.shape, m.shape):
                        at = None  # the scanned loop must not be divided: the value is copied
                    else:
                        at = self.space.reshaped(m, given.shape)
                    if at is not None:
                        extra.append((("in", k), at, strides))
            result.append(extra)
        return result

    @property
    def _scans(self) -> bool:
        return (self.group.form or "").startswith("scan")

    # Values

    def _value(self, key: Key) -> int:
        """The step that computes a value, after those that it needs; without recursion, since chains may be long."""
        values = self.values
        todo = [key]
        while todo:
            top = todo[-1]
            if top in values:
                todo.pop()
                continue
            inputs = self.items[top]
            missing = [k for k in inputs if k not in values] if inputs else ()
            if missing:
                todo.extend(reversed(missing))
                continue
            todo.pop()
            values[top] = self._make(top, inputs)
        return values[key]

    def _make(self, key: Key, inputs: list[Key] | None) -> int:
        node, m = key
        if inputs is None:
            return self._load(node, m)
        op = node.op
        kind = self.fusion.kinds[node]
        if kind == "leaf" and not inputs:
            if op == "iota":
                at = self.space.position(m)
                return self._once(("index", *_terms(at)), Step("index", dtype=node.dtype, linear=at))
            return self._once(("scalar", node), Step("scalar", dtype=node.dtype, node=node))
        if kind == "leaf" or kind == "movement" or op == "copy" or not node.size:
            return self.values[inputs[0]]
        args = tuple(self.values[k] for k in inputs)
        if kind == "gather":
            place, offset, strides = place_of(self.sources[key])
            step = Step("loadat", args, dtype=node.dtype, place=place, offset=offset, strides=strides)
            return self._once(("loadat", place, offset, strides, args), step)
        if kind == "reduction":
            op = op.removeprefix("reduce_")
            return self._once(("reduce", op, args, node.dtype), Step("reduce", args, op, node.dtype))
        if kind == "scan":
            op, (_, reverse) = op.removeprefix("scan_"), node.attrs
            step = Step("scan", args, op, node.dtype, reverse=reverse)
            return self._once(("scan", op, args, node.dtype, reverse), step)
        checked = node if op == "check_index" else None
        return self._once(("apply", op, args, node.dtype), Step("apply", args, op, node.dtype, node=checked))

    def _load(self, node: Node, m: IndexMap) -> int:
        place: Place
        if node.op == "input":
            slot, strides = node.attrs
            place = ("in", slot)
            if is_row_major(node.shape, strides):
                at = self.space.position(m)
            else:
                found = self.space.reshaped(m, node.shape)
                assert found is not None
                at = self.space.linear(found, strides)
        else:
            place = ("n", node)
            at = self.space.position(m)
        return self._once(
            ("load", place, *_terms(at)), Step("load", dtype=node.dtype, place=place, offset=at.offset, linear=at)
        )

    def _once(self, key: tuple, step: Step) -> int:
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = len(self.nest.steps)
            self.nest.steps.append(step)
        return found

    def _store(self, place: Place, at: Linear, value: int, dtype: DType) -> None:
        self.nest.stores.append(Step("store", (value,), dtype=dtype, place=place, offset=at.offset, linear=at))

    def _update(self) -> None:
        """The store of an assign or a scatter, into the memory of its base."""
        update = self.group.update
        assert update is not None
        node = self.group.node
        resolve = self.space.resolve
        value, *index = [self._value((x, resolve(m))) for x, m in update]
        if node.op == "assign":
            offset, strides = node.attrs
            at = self.space.linear(resolve(update[0][1]), strides)
            at.offset += offset
            self._store(("n", node), at, value, node.dtype)
        else:
            self.nest.stores.append(
                Step(
                    "storeat",
                    (value, *index),
                    dtype=node.dtype,
                    place=("n", node),
                    strides=tuple(row_major_strides(node.shape)),
                    accumulate=node.op == "scatter_add",
                )
            )

    # Loops

    def _classify(self) -> None:
        """Which values change along the reduced loops, how deep in reductions they are, and with that the form."""
        nest, space = self.nest, self.space
        reduced = set(space.reduced or ())
        varies, depth = nest.varies, nest.depth
        row = False
        for step in nest.steps:
            inner = max((depth[a] for a in step.args), default=0)
            if step.linear is not None:
                varies.append(not reduced.isdisjoint(step.linear.coefficients))
            elif step.name == "reduce":
                row |= inner > 0
                inner += 1
                varies.append(False)
            elif step.name == "scan":
                varies.append(True)
            else:
                varies.append(any(varies[a] for a in step.args))
            depth.append(inner)
        for store in nest.stores:
            if store.linear is not None and depth[store.args[0]] > 0:
                row |= not reduced.isdisjoint(store.linear.coefficients)
        if self._scans:
            nest.form = "scan"
        elif any(s.name == "reduce" for s in nest.steps):
            nest.form = "outer" if self.group.form == "outer" else "row" if row else "reduce"
        elif space.reduced:
            if all(s.linear and not reduced.isdisjoint(s.linear.coefficients) for s in nest.stores):
                space.kept += space.reduced
                space.reduced = None
            else:
                nest.form = "row"
        if nest.form == "outer" and row:
            raise AssertionError(f"{self.group} needs the result of an outer reduction at each element")

    def _loops(self, constraints: Constraints) -> None:
        nest, space = self.nest, self.space
        walks = [s.linear.coefficients for s in (*nest.steps, *nest.stores) if s.linear is not None]
        kept = joined(space.kept, space.sizes, walks)
        if space.reduced:
            along = joined(space.reduced, space.sizes, walks)
            if len(along) != 1:
                self._retry(constraints)
            if nest.form == "outer" or self.group.form == "scan rows":
                loops, nest.dims = [*kept[:-1], along[0], kept[-1]], "o" * (len(kept) - 1) + "ri"
            else:
                loops, nest.dims = [*kept, along[0]], "o" * len(kept) + "r"
        else:
            loops, nest.dims = self._in_memory_order(kept), "o" * len(kept)
        if not loops:  # one position: as a loop over contiguous elements, of which there is one
            nest.dims, nest.sizes = "o", (1,)
            for step in (*nest.steps, *nest.stores):
                if step.linear is not None:
                    step.strides = (1,)
                    step.offset = step.linear.offset
            return
        nest.sizes = tuple(size for _, size in loops)
        for step in (*nest.steps, *nest.stores):
            if step.linear is not None:
                step.strides = tuple(step.linear.coefficients.get(loop, 0) for loop, _ in loops)
                step.offset = step.linear.offset
        if nest.form == "reduce":
            self._side_by_side()
        elif nest.form == "outer":
            self._swap()
        if nest.form != "map":
            self._straighten(constraints)

    def _side_by_side(self) -> None:
        """Make a reduction one of strips, if the rows that lie next to one another are better reduced together.

        They are where all operands lie across, and where rows are short and can be transposed.
        """
        nest = self.nest
        *kept, length = nest.sizes
        loads = [s for s in nest.steps if s.name == "load" and s.strides[-1]]
        if not kept or length < 2 or nest.fallible or any(s.name in ("loadat", "storeat") for s in nest.steps):
            return
        if any(s.linear is None or s.strides[-1] for s in nest.stores):
            return
        loops = [
            d
            for d in range(len(kept))
            if all(s.strides[d] in (0, 1) for s in loads) and any(s.strides[d] for s in loads)
        ]
        if any(lies_across(s.strides) for s in loads) and loops and kept[loops[0]] >= NARROW_STRIP:
            self._move(loops[0], len(kept) - 1)
        elif length < K.LANES and kept[-1] >= NARROW_STRIP and self._short(loads):
            pass
        else:
            return
        nest.form = "strips"

    @staticmethod
    def _short(loads: list[Step]) -> bool:
        """Whether these operands can be transposed by squares, or need not be."""
        turned = [s for s in loads if s.strides[-2] not in (0, 1)]
        return len(turned) <= MOST_TURNED and all(s.strides[-1] == 1 for s in turned)

    def _swap(self) -> None:
        """Of an outer reduction: have the kept loop last along which the operands lie, if there is one."""
        loops = [
            d
            for d in range(len(self.nest.sizes) - 2)
            if all(
                s.strides[d] == 1 or not (s.strides[d] or s.strides[-1]) for s in self.nest.steps if s.name == "load"
            )
        ]
        if loops and any(s.name == "load" and lies_across(s.strides) for s in self.nest.steps):
            self._move(len(self.nest.sizes) - 1, loops[0])
            self._move(loops[0] + 1, len(self.nest.sizes) - 1)

    def _move(self, loop: int, to: int) -> None:
        """Have a loop elsewhere in the nest."""

        def moved(numbers: tuple[int, ...]) -> tuple[int, ...]:
            rest = [*numbers[:loop], *numbers[loop + 1 :]]
            return (*rest[:to], numbers[loop], *rest[to:])

        self.nest.sizes = moved(self.nest.sizes)
        for step in (*self.nest.steps, *self.nest.stores):
            if step.linear is not None:
                step.strides = moved(step.strides)

    def _readable(self, step: Step) -> bool:
        """Whether a kernel reads an operand that lies across where it is."""
        if self.nest.form == "strips":
            return True
        return self.nest.form == "outer" and step.strides[-2] == 1

    def _straighten(self, constraints: Constraints) -> None:
        """Have operands copied that lie across the inner loop of a kernel that reduces.

        The order of a reduction is fixed, so it would jump from cache line to cache line; a copy goes by tiles, much faster.
        Some kernels do the same with a few operands that are contiguous along the loop before the last.
        """
        known = len(constraints.stored)
        across = [s for s in self.nest.steps if s.name == "load" and lies_across(s.strides)]
        if len(across) <= MOST_TURNED and all(map(self._readable, across)):
            return
        for at, step in enumerate(self.nest.steps):
            if all(step is not s for s in across):
                continue
            seen_as = [
                node for (node, _), value in self.values.items() if value == at
            ]  # the load, then movements of it
            moved = [n for n in seen_as if n.op in ("permute", "slice", "as_strided") and n.size <= seen_as[0].size]
            if moved:
                constraints.stored.add(moved[-1])
            elif seen_as[0].op == "input":
                constraints.stored.add(seen_as[0])
        if len(constraints.stored) > known:
            raise Retry

    def _in_memory_order(self, loops: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The loops of a map, so that it writes forwards, and the last but one is the one along which the operands lie that do
        not lie along the last: then they are read a tile at a time."""
        walks = [s.linear for s in self.nest.stores if s.linear is not None]
        if len(loops) < 2 or len(walks) < len(self.nest.stores):
            return loops
        inputs = [
            s.linear for s in self.nest.stores if s.linear is not None and s.place is not None and s.place[0] == "in"
        ]
        written = (inputs or walks)[0].coefficients  # memory of a node's own is row-major, and may yet prove needless
        loops = sorted(loops, key=lambda loop: -abs(written.get(loop[0], 0)))
        votes = [0] * len(loops)
        for step in self.nest.steps:
            if step.name == "load" and step.linear is not None:
                strides = [abs(step.linear.coefficients.get(loop, 0)) for loop, _ in loops]
                if strides[-1] > 1:
                    votes[strides.index(min(s for s in strides if s))] += 1
        along = votes.index(max(votes))
        if max(votes) and along < len(loops) - 2:
            loops.insert(len(loops) - 2, loops.pop(along))
        return loops

    def _retry(self, constraints: Constraints) -> None:
        """The reduced axes are not one loop: keep rows apart from their reductions, and guests from both; then give
        operands memory."""
        group = self.group
        if self.nest.form == "row" and group.node not in constraints.no_rows:
            constraints.no_rows.add(group.node)
            raise Retry
        if len(group.stores) > 1 and group.node not in constraints.no_guests:
            constraints.no_guests.add(group.node)
            raise Retry
        if self._scans and not constraints.kept.issuperset(group.reductions):
            constraints.stored.update(group.reductions)  # apart from what is made of it
            raise Retry
        wanted = set()
        for node in group.reductions:
            for x in node.inputs:
                while x.op == "reshape":
                    x = x.inputs[0]
                wanted.add(x)
        if wanted <= constraints.kept:
            raise AssertionError(f"the reduced axes of {group} are not one loop")
        constraints.stored |= wanted
        raise Retry


def joined(loops: list[int], sizes: list[int], walks: list[dict[int, int]]) -> list[tuple[int, int]]:
    """Adjacent loops made one where every walk allows it: (the innermost loop of each, the size)."""
    result: list[tuple[int, int]] = []
    for loop in reversed(loops):
        if result:
            inner, n = result[-1]
            if all(w.get(loop, 0) == w.get(inner, 0) * n for w in walks):
                result[-1] = (inner, n * sizes[loop])
                continue
        result.append((loop, sizes[loop]))
    result.reverse()
    return result


def _same_axes(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes differ by axes of size 1 alone."""
    return [n for n in shape if n != 1] == [n for n in other if n != 1]


def lies_across(strides: tuple[int, ...]) -> bool:
    """Whether an operand jumps along the last loop and lies closer together along another."""
    *others, last = map(abs, strides)
    return last > 1 and any(0 < s < last for s in others)


def _terms(at: Linear) -> tuple:
    return at.offset, tuple(sorted(at.coefficients.items()))


def place_of(port: Port) -> tuple[Place, int, tuple[int, ...]]:
    """Where an operand that is memory lies: the place, and its offset and strides along its own axes."""
    base, m, space = port.base, port.map, port.space
    assert base is not None
    assert m is not None
    place: Place = ("in", base.attrs[0]) if base.op == "input" else ("n", base)
    if not base.size:
        return place, 0, (0,) * len(port.node.shape)
    if base.op == "input":
        strides = base.attrs[1]
        if not is_row_major(base.shape, strides):
            found = space.reshaped(m, base.shape)
            assert found is not None
            at = space.linear(found, strides)
        else:
            at = space.position(m)
    else:
        at = space.position(m)
    loops = iter(space.kept)
    return place, at.offset, tuple(0 if n == 1 else at.coefficients.get(next(loops), 0) for n in port.node.shape)


# Kernels


@dataclass(slots=True)
class Call:
    """A kernel with what it is called with. ``buffers``: (program buffer, byte offset) for each of the kernel's."""

    kernel: K.Kernel
    buffers: list[tuple[int, int]]
    params: list[int]
    patches: list[tuple[int, int]]
    sizes: tuple[int, ...]


def finish(nest: Nest, buffer_of: Callable[[Place], int]) -> Call:
    """The kernel of a nest whose places have buffers in the program."""
    numbers: dict[tuple[int, int], int] = {}
    dtypes: list[DType] = []
    body: list[K.Instr] = []
    params: list[int] = list(nest.sizes)
    patches: list[tuple[int, int]] = []

    def buffer(step: Step) -> int:
        assert step.place is not None
        assert step.dtype is not None
        key = (buffer_of(step.place), step.offset * step.dtype.itemsize)
        found = numbers.get(key)
        if found is None:
            found = numbers[key] = len(numbers)
            dtypes.append(step.dtype)
        return found

    def access(step: Step) -> str:
        text = ""
        last = len(step.strides) - 1
        contiguous = {last}
        if nest.form == "strips" or (nest.form == "outer" and step.name == "load" and lies_across(step.strides)):
            contiguous.add(last - 1)
        for d, stride in enumerate(step.strides):
            if stride == 0:
                text += "b"
            elif stride == 1 and d in contiguous:
                text += "c"
            else:
                text += "s"
                params.append(stride)
        return text

    for step in nest.steps:
        assert step.dtype is not None
        match step.name:
            case "load":
                body.append(K.Load(buffer(step), access(step)))
            case "apply":
                body.append(K.Apply(step.op, step.args, step.dtype))
            case "scalar":
                assert step.node is not None
                if step.node.op == "scalar":
                    patches.append((len(params), step.node.attrs[0]))
                    params.append(0)
                else:
                    params.append(scalar_bits(step.node))
                body.append(K.Scalar(step.dtype))
            case "reduce":
                body.append(K.Reduce(step.op, step.args[0], step.dtype))
            case "across":
                body.append(K.Across(step.op, step.args[0], step.dtype))
            case "scan":
                scan = K.Scan(step.op, step.args, step.dtype, step.reverse)
                body.append(scan)
                if K.by_blocks(nest.dims, scan):
                    params.append(K.scan_span(prod(nest.sizes[:-1]), nest.sizes[-1]))
            case "index":
                params.append(step.offset)
                body.append(K.Index(access(step)))
            case "loadat":
                params.extend(step.strides)
                body.append(K.LoadAt(buffer(step), step.args))
    for step in nest.stores:
        if step.name == "store":
            body.append(K.Store(buffer(step), access(step), step.args[0]))
        else:
            params.extend(step.strides)
            body.append(K.StoreAt(buffer(step), step.args[1:], step.args[0], step.accumulate))
    # what is computed in float32 finds no room in operands and results of 16 bits
    near = nest.form == "row" and 0 < nest.sizes[-1] <= K.NEAR_LENGTH and any(dtype.is_half for dtype in dtypes)
    kernel = K.Kernel(nest.form, nest.dims, tuple(dtypes), tuple(body), is_short(nest), near)
    return Call(kernel, list(numbers), params, patches, nest.sizes)


def is_short(nest: Nest) -> bool:
    """Whether the nest is a row kernel of short rows, however many: kernels do not depend on the size of a batch.

    Where a row has many operands and results, copying all of them takes longer than rows that are on their own.
    """
    if nest.form != "row" or nest.dims != "or":
        return False
    copied = sum(s.name in ("load", "store") and all(s.strides) for s in (*nest.steps, *nest.stores))
    return 0 < nest.sizes[1] < (K.SHORT_LENGTH if copied <= 2 else SHORT_OF_MANY)


def scalar_bits(node: Node) -> int:
    """A constant as a kernel parameter: a float64's bits, or an int64. The kernel rounds it to the constant's type."""
    if node.dtype.kind == "f":
        bits: int = node.attrs[0]
        return bits
    value = int(const_value(node))
    return value - (1 << 64) if value >= 1 << 63 else value
