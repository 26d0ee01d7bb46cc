"""Scheduling: an optimised graph becomes a list of kernel calls and products over planned buffers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from weft import dtypes
from weft.codegen import tiles
from weft.dtypes import DType
from weft.ir import kernel as K
from weft.ir.graph import Graph
from weft.ir.node import Where
from weft.ops.attention import number_of
from weft.passes.across import join_rows
from weft.passes.attention import GRADIENTS, Attention, Matrix, pitch_of, slopes, weights
from weft.passes.fuse import Fusion
from weft.passes.groups import Constraints, Group, Layout, Retry, Sinks
from weft.passes.launches import beside, by_group, launches
from weft.passes.lower import Call, Nest, Place, finish, lower, place_of
from weft.passes.memory import Memory, arena, gaps, in_place, ordered
from weft.passes.updates import Updates, reads


@dataclass(slots=True)
class KernelCall:
    """Run a kernel: by itself, or ``"before"`` or ``"after"`` the rows of the product that is next to it.

    ``phases``: (units, smallest chunk) of each of its functions.
    """

    kernel: K.Kernel
    buffers: list[tuple[int, int]]  # (buffer of the program, byte offset): the kernel's, then its scratch
    params: list[int]
    patches: list[tuple[int, int]]  # (parameter, scalar of the program)
    phases: list[tuple[int, int]]
    work: int
    where: Where
    nodes: list[str]
    #: What each check_index of the body checks, by position: (attributes of the node, where it was recorded).
    checks: dict[int, tuple] = field(default_factory=dict)
    along: str = ""


@dataclass(slots=True)
class Product:
    """``c = a @ b``: matrices of m x k and k x n elements, for each index of the batch.

    The ``leaders`` kernels before it are its prologue and make rows of a, the ``followers`` after it, kernels and products, are
    its epilogue and run on whole rows of c, or by elements; the ``beside`` launches before those run at the same time
    (`weft.passes.launches`).
    """

    dtype: DType
    batch: tuple[int, ...]
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    where: Where
    leaders: int = 0
    followers: int = 0
    whole_rows: bool = False
    #: How many of the launches before it run beside it.
    beside: int = 0
    #: (buffer, bytes) of temporary memory that nothing else uses meanwhile: operands may be packed there.
    spare: tuple[int, int] | None = None
    along: str = ""

    @property
    def work(self) -> int:
        return prod(self.batch) * self.m * self.n * self.k


@dataclass(slots=True)
class Output:
    """A result: a new tensor in buffer ``buffer``, or an input itself (``slot``) or a view of one (``layout`` too)."""

    shape: tuple[int, ...]
    dtype: DType
    buffer: int = -1
    slot: int = -1
    layout: Layout | None = None


@dataclass(slots=True)
class Schedule:
    """What runs, in order. ``buffers``: ("input", slot), ("output", k), ("temp", byte offset in the arena)."""

    graph: Graph
    buffers: list[tuple[str, int]] = field(default_factory=list)
    arena: int = 0
    instrs: list[KernelCall | Product | Attention] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)

    @property
    def kernels(self) -> list[K.Kernel]:
        """The kernels called, each once."""
        found: dict[K.Kernel, None] = {}
        for i in self.instrs:
            if not isinstance(i, Product):
                found.update(dict.fromkeys([i.kernel] if isinstance(i, KernelCall) else i.kernels))
        return list(found)

    @property
    def launches(self) -> list[list[KernelCall | Product | Attention]]:
        """The instructions that run together: a kernel, or a product with its prologue and epilogue."""
        made: list[list[KernelCall | Product | Attention]] = []
        led = False
        for instr in self.instrs:
            if led or (not isinstance(instr, Attention) and instr.along == "after"):
                made[-1].append(instr)
            else:
                made.append([instr])
            led = isinstance(instr, KernelCall) and instr.along == "before"
        return made

    def __str__(self) -> str:
        launches = self.launches
        lines = [f"{len(launches)} launches, {self.arena} temporary bytes"]
        names = [f"{kind}{n}" if kind != "temp" else f"temp@{n}" for kind, n in self.buffers]
        numbered = [
            (f"{i:3}" if not k else "  +", instr) for i, of in enumerate(launches) for k, instr in enumerate(of)
        ]
        for i, instr in numbered:
            if isinstance(instr, Product):
                size = "x".join(str(s) for s in (*instr.batch, instr.m, instr.k, instr.n))
                a, b, c = (names[x[0]] for x in (instr.a, instr.b, instr.c))
                meanwhile = f", beside the {instr.beside} before" if instr.beside else ""
                lines.append(f"{i} matmul {size} {instr.dtype.name}: {c} = {a} @ {b}{meanwhile}")
            elif isinstance(instr, Attention):
                size = "x".join(str(s) for s in (*instr.batch, *instr.sizes))
                out = ", ".join(names[b] for b in instr.results if b is not None)
                given = (instr.q, instr.k, instr.v, instr.g, instr.mask)
                of = [names[x[0]] for x in given if x is not None]
                kind = "causal attention" if instr.causal else "attention"
                lines.append(f"{i} {kind} {size} {instr.dtype.name}: {out} = ({', '.join(of)})")
            else:
                kernel = instr.kernel
                sizes = "x".join(str(n) for n in instr.params[: len(kernel.dims)])
                stored = {s.buffer for s in kernel.body if isinstance(s, K.Store | K.StoreAt)}
                of = [names[b] for b, _ in instr.buffers[: len(kernel.buffers)]]
                out = ", ".join(n for k, n in enumerate(of) if k in stored)
                lines.append(
                    f"{i} {kernel.form} {kernel.dims}[{sizes}]: {out} = {' '.join(instr.nodes)} ({', '.join(of)})"
                )
        return "\n".join(lines)


def schedule(graph: Graph) -> Schedule:
    """Schedule a graph: group its nodes, lower the groups, decide who writes where and when, and plan the memory."""
    constraints = Constraints()
    sinks = Sinks(graph)
    for _ in range(100):
        try:
            return _Scheduler(graph, sinks, constraints).result
        except Retry:
            continue
    raise AssertionError("the schedule does not settle")


def _home(place: Place, updates: Updates) -> Place:
    """The place whose memory a place is."""
    while (next_ := updates.memory.get(place, place)) != place:
        place = next_
    return place


class _Scheduler:
    def __init__(self, graph: Graph, sinks: Sinks, constraints: Constraints) -> None:
        self.graph, self.sinks = graph, sinks
        constraints.begin()
        self.fusion = Fusion(graph, sinks, constraints)
        self.nests: dict[Group, Nest] = {}
        again = False  # only once all groups have said what they need: a large graph would not settle in time
        for group in self.fusion.groups:
            if group.kind == "loops":
                try:
                    nest = lower(graph, sinks, self.fusion, group, constraints)
                except Retry:
                    again = True
                    continue
                if nest.stores:
                    self.nests[group] = nest
        if again:
            raise Retry
        join_rows(sinks, self.fusion, self.nests)
        updates = Updates(graph, sinks, self.fusion, self.nests, constraints)
        self.launches = launches(graph, self.fusion.groups, self.nests, updates, lambda place: _home(place, updates))
        self.launch_of = by_group(self.launches.values())
        order = ordered(
            self.fusion.groups,
            self.nests,
            updates.rank,
            bool(graph.writes),
            self._uses(updates),
            [launch.members for launch in self.launches.values()],
        )
        order, self.beside = beside(self.fusion.groups, order, self.launches, self.nests)
        self.result = Schedule(graph)
        self._plan(order, updates)
        self._emit(order)

    def _uses(self, updates: Updates) -> list[set[Place]]:
        """The temporaries that each group reads or writes."""
        found = []
        for group in self.fusion.groups:
            found.append({home for home in (_home(place, updates) for place in self._places(group)) if home[0] == "n"})
        return found

    def _plan(self, order: list[Group], updates: Updates) -> None:
        """Give every place its memory, and every memory its buffer."""
        self.made: dict[Place, Memory] = {}
        self.memory: dict[Place, Memory] = {}
        self.scratch: dict[Group, list[Memory]] = {}
        self.spare: dict[Group, tuple[int, int]] = {}
        self.calls: dict[Group, Call] = {}
        # What runs beside each group that has something beside it.
        alongside = {
            group: [other for launch in launches for other in launch]
            for product, launches in self.beside.items()
            for group in self._members(product)
        }
        for at, group in enumerate(order):
            for place in self._places(group):
                if place not in self.memory:
                    memory = self.memory[place] = self._made(_home(place, updates))
                    memory.places.append(place)
                self.memory[place].touch(at)
        for at, group in enumerate(order):
            nest = self.nests.get(group)
            if nest is not None and group.update is None:
                launch = self.launch_of.get(group)
                barred = {id(self.made[place]) for place in launch.barred if place in self.made} if launch else set()
                barred |= {
                    id(self.memory[place]) for other in alongside.get(group, ()) for place in self._places(other)
                }
                in_place(nest, at, self.memory, barred)
        result = self.result
        numbers: dict[int, int] = {}
        self.numbers = numbers

        def number(m: Memory) -> int:
            found = numbers.get(id(m))
            if found is None:
                found = numbers[id(m)] = len(result.buffers)
                result.buffers.append((m.kind, m.number))
            return found

        self.number = number
        used = list({id(m): m for m in self.memory.values() if m.kind == "temp"}.values())
        # What runs together lives together: from here on, time is counted in launches.
        start = [0] * len(order)
        going_on = {group for launch in self.launches.values() for group in launch.members[1:]}
        for group, others in alongside.items():
            going_on |= {group, *others[1:]}
        for at, group in enumerate(order):
            start[at] = start[at - 1] if group in going_on else at
        for m in used:
            m.first, m.last = start[m.first], start[m.last]
        for at, group in enumerate(order):
            nest = self.nests.get(group)
            if nest is not None:
                call = self.calls[group] = finish(nest, lambda place: number(self.memory[place]))
                self.scratch[group] = [Memory("temp", 0, n) for n in scratch_bytes(call)]
                for m in self.scratch[group]:
                    m.touch(start[at])
                used += self.scratch[group]
        result.arena = self._placed(used, order, start)
        for m in used:
            k = number(m)
            result.buffers[k] = ("temp", m.offset)
        aside = {other for others in alongside.values() for other in others}
        products = [
            (start[at], group)
            for at, group in enumerate(order)
            if group.kind == "matmul" and self._along(group) == "" and group not in aside
        ]
        found = gaps(used, [at for at, _ in products], result.arena)
        for (_, group), (offset, nbytes) in zip(products, found, strict=True):
            if nbytes:
                self.spare[group] = len(result.buffers), nbytes
                result.buffers.append(("temp", offset))
        for k, node in enumerate(self.graph.outputs):
            if k in self.sinks.aliases:
                slot, layout = self.sinks.aliases[k]
                result.outputs.append(Output(node.shape, node.dtype, slot=slot, layout=layout))
            else:
                result.outputs.append(Output(node.shape, node.dtype, number(self._made(("out", k)))))

    def _made(self, place: Place) -> Memory:
        found = self.made.get(place)
        if found is None:
            kind, what = place
            if kind == "in":
                found = Memory("input", what, 0)  # type: ignore[arg-type]
            elif kind == "out":
                node = self.graph.outputs[what]  # type: ignore[index]
                found = Memory("output", what, node.size * node.dtype.itemsize)  # type: ignore[arg-type]
            else:
                found = Memory("temp", 0, what.size * what.dtype.itemsize)  # type: ignore[union-attr]
            self.made[place] = found
        return found

    def _members(self, product: Group) -> list[Group]:
        launch = self.launches.get(product)
        return launch.members if launch else [product]

    def _places(self, group: Group) -> list[Place]:
        return [*reads(group, self.nests.get(group)), *self._writes(group)]

    def _writes(self, group: Group) -> list[Place]:
        nest = self.nests.get(group)
        if nest is not None:
            return [s.place for s in nest.stores if s.place is not None]
        return [("n", node) for node in group.made]

    def _emit(self, order: list[Group]) -> None:
        for group in order:
            if group.kind == "matmul":
                self.result.instrs.append(self._product(group))
            elif group.kind == "attention":
                self.result.instrs.append(self._attention(group))
            elif group.kind == "nonzero":
                self.result.instrs.append(self._nonzero(group))
            elif group in self.calls:
                self.result.instrs.append(self._kernel(group))

    def _kernel(self, group: Group) -> KernelCall:
        nest, call = self.nests[group], self.calls[group]
        buffers = call.buffers + [(self.number(m), 0) for m in self.scratch[group]]
        nodes = [s.op or s.name for s in nest.steps if s.name in ("apply", "reduce", "scan", "loadat")]
        if group.update is not None:
            nodes.append(group.node.op)
        return KernelCall(
            call.kernel,
            buffers,
            call.params,
            call.patches,
            phases(call.kernel, call.sizes, nest.cost),
            prod(call.sizes) * nest.cost,
            group.node.where,
            nodes or ["copy"],
            {at: (s.node.attrs, s.node.where) for at, s in enumerate(nest.steps) if s.op == "check_index" and s.node},
            self._along(group),
        )

    def _placed(self, used: list[Memory], order: list[Group], start: list[int]) -> int:
        """Place the temporaries; gives the bytes they take.

        The temporaries of a launch that goes on to further products live all at once, and what they leave may be too
        little to pack the first one's operand into; room for that is made where it costs less than new memory would.
        """
        size = arena(used)
        rooms = []
        for at, group in enumerate(order):
            launch = self.launches.get(group)
            if launch is not None and any(follower.kind == "matmul" for follower in launch.followers):
                _, b = group.node.inputs
                rooms.append(Memory("temp", 0, tiles.packed_bytes(b.dtype, *b.shape[-2:])))
                rooms[-1].touch(start[at])
        if not rooms:
            return size
        roomy = arena([*used, *rooms])
        return roomy if roomy - size < max(m.nbytes for m in rooms) else arena(used)

    def _along(self, group: Group) -> str:
        launch = self.launch_of.get(group)
        if launch is None or launch.product is group:
            return ""
        return "before" if group in launch.leaders else "after"

    def _nonzero(self, group: Group) -> KernelCall:
        node = group.node
        (n,) = node.inputs[0].shape
        kernel = K.Kernel("nonzero", "o", (dtypes.bool_, dtypes.int64), ())
        place, offset, _ = place_of(group.ports[0])
        buffers = [(self.number(self.memory[place]), offset), (self.number(self.memory["n", node]), 0)]
        return KernelCall(kernel, buffers, [n], [], [(n, max(n, 1))], n, node.where, ["nonzero"])

    def _product(self, group: Group) -> Product:
        node = group.node
        a, b = (self._matrix(port, node.dtype) for port in group.ports)
        (m, k), n = node.inputs[0].shape[-2:], node.shape[-1]
        size = m * n
        strides = []
        for s in reversed(node.shape[:-2]):
            strides.append(size)
            size *= s
        c = (self.number(self.memory["n", node]), 0, tuple(reversed(strides)), n, 1)
        product = Product(node.dtype, node.shape[:-2], m, n, k, a, b, c, node.where, along=self._along(group))
        if launch := self.launches.get(group):
            product.leaders, product.followers = len(launch.leaders), len(launch.followers)
            product.whole_rows = launch.whole_rows
        product.beside = len(self.beside.get(group, ()))
        product.spare = self.spare.get(group)
        return product

    def _attention(self, group: Group) -> Attention:
        node = group.node
        q, k, v, *rest = group.ports
        dtype = node.dtype
        g = rest.pop(0) if node.op != "attention" else None
        mask = self._matrix(rest[0], rest[0].node.dtype) if rest else None
        mask_dtype = rest[0].node.dtype if rest else None
        (rows, width), (keys, value_width) = q.node.shape[-2:], v.node.shape[-2:]
        causal, scale = node.attrs
        factor, pitch = number_of(scale), pitch_of(keys)
        made = {n.op: self.number(self.memory["n", n]) for n in group.made}
        masking = (mask_dtype, *mask[-2:]) if mask and mask_dtype else None
        return Attention(
            dtype,
            causal,
            node.shape[:-2],
            (rows, keys, width, value_width),
            pitch,
            self._matrix(q, dtype),
            self._matrix(k, dtype),
            self._matrix(v, dtype),
            self._matrix(g, dtype) if g else None,
            mask,
            mask_dtype,
            (made.get("attention"), *(made.get(op) for op in GRADIENTS)),
            weights(dtype, keys, pitch, factor, masking, g is not None),
            slopes(dtype, keys, pitch, factor, masking) if g else None,
            node.where,
        )

    def _matrix(self, port: object, dtype: DType) -> Matrix:
        place, offset, strides = place_of(port)  # type: ignore[arg-type]
        rows, columns = port.node.shape[-2:]  # type: ignore[attr-defined]
        row, column = strides[-2:]
        if columns == 1:  # the stride of an axis of one element may be anything: take one that looks row-major
            column = 1
        if rows == 1:
            row = columns * column
        if place not in self.memory:
            self.memory[place] = self._made(place)
        return self.number(self.memory[place]), offset * dtype.itemsize, strides[:-2], row, column


#: The least work, in additions, that is worth a chunk of its own: some 5 to 10 microseconds, twice what waking a thread takes.
CHUNK_WORK = 200_000

#: What combining a partial result, likely another thread's, costs in additions.
PARTIAL_COST = 4


def phases(kernel: K.Kernel, sizes: tuple[int, ...], cost: int) -> list[tuple[int, int]]:
    """(units, smallest chunk) for each function of a kernel with loops of the given sizes and cost of an element."""
    total = prod(sizes)

    def of(units: int, elements: int) -> tuple[int, int]:
        each = max(1, elements // units * cost) if units else 1
        return units, max(1, CHUNK_WORK // each)

    if kernel.form == "map":
        if any(isinstance(i, K.StoreAt) for i in kernel.body):
            return [(total, max(total, 1))]
        return [of(total, total)]
    if kernel.form == "outer":
        rows = prod(sizes[:-2])
        length, kept = sizes[-2:]
        blocks = rows * -(-length // K.OUTER_BLOCK)
        units = blocks * -(-kept // K.outer_tile(blocks))
        return [of(units, total), of(rows * kept, PARTIAL_COST * kept * blocks)]
    if kernel.form == "scan" and kernel.dims.endswith("i"):
        return [of(prod(sizes[:-2]) * -(-sizes[-1] // K.SCAN_TILE), total)]
    rows = prod(sizes[:-1])
    if kernel.form == "scan":
        if not K.scratch(kernel):
            return [of(rows, total)]
        blocks = -(-sizes[-1] // K.BLOCK)
        span = K.scan_span(rows, sizes[-1])
        if span == blocks:
            return [(0, 1), (0, 1), of(rows, total)]
        return [of(rows * blocks, total), of(rows, rows * blocks), of(rows * -(-blocks // span), total)]
    if kernel.form == "columns":
        blocks = -(-rows // K.OUTER_BLOCK)
        return [of(blocks, total), of(sizes[-1], sizes[-1] * blocks)]
    if kernel.form == "row":
        return [of(rows, total)]
    blocks = -(-sizes[-1] // K.BLOCK)
    # a row of one block is finished by the first phase
    units = prod(sizes[:-2]) * -(-sizes[-2] // K.STRIP) if kernel.form == "strips" else rows
    return [of(units * blocks, total), of(rows if blocks != 1 else 0, rows * blocks)]


def scratch_bytes(call: Call) -> list[int]:
    """The sizes of a kernel's partial-result buffers."""
    types = K.scratch(call.kernel)
    if not types:
        return []
    *outer, last = call.sizes
    if call.kernel.form in ("outer", "columns"):
        *outer, length = outer
        n = -(-length // K.OUTER_BLOCK) * last
    elif call.kernel.form == "scan" and K.scan_span(prod(outer), last) == -(-last // K.BLOCK):
        n = 0  # whole rows are shared out
    else:
        n = -(-last // K.BLOCK)
    n *= prod(outer)
    return [n * t.itemsize for t in types]
