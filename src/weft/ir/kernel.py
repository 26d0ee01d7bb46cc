"""A kernel: one canonical loop nest with an expression inside. It knows ranks, never sizes.

The scheduler makes kernels, the code generator turns them into source. Everything that may change from call to call
(sizes, strides, Python numbers) is a run-time parameter; `param_names` fixes the order in which they are passed.

Loops. ``dims`` has one letter for each loop, outermost first::

    "o" * n          map      every loop is independent                 range unit: one element
    "o" * n + "r"    row      the last loop reduces or is read again    range unit: one row
    "o" * n + "r"    reduce   as row, each value read once, in blocks   phase 1: one block; phase 2: one row
    "o" * n + "r"    strips   as reduce, many rows side by side         phase 1: a strip of a block; phase 2: one row
    "o"              nonzero  buffer 1 gets the positions where the bool buffer 0 is true; one chunk, in order
    "o" * n + "ri"   outer    the reduced loop has a kept one inside    phase 1: one tile of a block; phase 2: one element
    "or"             columns  as row, and reduced over the rows too     phase 1: one block of rows; phase 2: one column
    "o" * n + "r"    scan     running results along "r"                 phase 1: one block; 2: one row; 3: a span of blocks
    "o" * n + "ri"   scan     the same, with a kept loop inside         one tile of columns

Access. A string with one letter for each loop says how an operand moves: "c" by one element, "s" by a run-time stride (in
elements), "b" not at all. "c" is for the innermost loop, and for the one before it in strips and outer, where operands may lie
across. What changes along "r" in strips lies across, or there are at most LANES elements along "r".

Body. A list of instructions in which a value is named by the position of the instruction that made it. In row, reduce, strips,
outer and columns kernels a value is at *row level* when it does not change along "r": a load with "b" there, a scalar, the
result of a reduction, or an operation over such values. A store of a row-level value has "b" at "r" and happens once a row.
What comes of an Across is at *column level*: it does not change along "o" but along "r", is known when all rows are done, and
is stored with "b" at "o".
"""

from __future__ import annotations

from dataclasses import dataclass

from weft.dtypes import DType, float64, int64


@dataclass(frozen=True, slots=True)
class Load:
    """Read a buffer at the loop position. Value: the buffer's type (16-bit floats widen to float32)."""

    buffer: int
    access: str


@dataclass(frozen=True, slots=True)
class Index:
    """The int64 number ``base + sum(position * stride)``: what a load from 0, 1, 2, ... would give. No memory is read."""

    access: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number passed as a parameter: a float64's bits for floating types, else an int64."""

    dtype: DType


@dataclass(frozen=True, slots=True)
class LoadAt:
    """Read a buffer at computed int64 indices, one per dimension of the buffer; each has a run-time stride."""

    buffer: int
    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Apply:
    """An elementwise operation of the op registry. ``dtype`` is the result's type; a 16-bit one rounds here."""

    op: str
    args: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True)
class Reduce:
    """Reduce a value along "r" in the fixed order: sum, prod, max, min, any, all, argmax, argmin or m2.

    m2 is the sum of the squared deviations from the mean, which a variance is made of.
    """

    op: str
    arg: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Across:
    """Reduce a value that changes along "r" over the rows of a columns kernel, in the order of outer: one of ACROSS."""

    op: str
    arg: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class Scan:
    """Running results along "r", from the last element to the first if ``reverse``: sum, prod or linear.

    linear, of (a, b), is the recurrence ``y[i] = b[i] + a[i - 1] * y[i - 1]`` that begins with ``y[0] = b[0]``.
    A scan kernel has one, and its values change along "r" like those they are made from.
    """

    op: str
    args: tuple[int, ...]
    dtype: DType
    reverse: bool


@dataclass(frozen=True, slots=True)
class Store:
    """Write a value to a buffer at the loop position. ``buffer`` may also be loaded, with the same access: in-place."""

    buffer: int
    access: str
    arg: int


@dataclass(frozen=True, slots=True)
class StoreAt:
    """Write to a buffer at computed int64 indices (strides as for LoadAt), or add to what is there.

    Positions may collide, so a "map" kernel with a StoreAt runs as one chunk, in loop order.
    """

    buffer: int
    indices: tuple[int, ...]
    arg: int
    accumulate: bool


#: The reductions that an Across may be.
ACROSS = ("sum", "prod", "max", "min")

Instr = Load | Index | Scalar | LoadAt | Apply | Reduce | Across | Scan | Store | StoreAt

#: Elements of a row that are reduced into one partial result before the next block begins ("row" and "reduce").
BLOCK = 2048
#: Elements of a block whose lanes are reduced on their own before the next run begins.
RUN = 256
#: Reductions that gather run by run; others take the elements of a whole block in turn.
RUNS = ("sum", "prod")
#: Interleaved running results inside a run: element k goes to lane k % LANES.
LANES = 32
#: The most elements of a row in the code for short ones: `weft.codegen.short`.
SHORT_LENGTH = 64
#: The most elements of a row whose values may wait on the stack for a later pass.
NEAR_LENGTH = 4096
#: Lanes of a run that are left for the wider type, where the sums are of deviations ("m2").
FOLDED = 8
#: Rows of an "outer" reduction that are reduced into one partial result.
OUTER_BLOCK = 256
#: Rows of such a block that are reduced on their own before the next group begins.
GROUP = 8
#: Kept elements that an "outer" phase-1 unit handles; and where blocks of rows are few, how few and what it handles then, so
#: that there is something to share among threads (see `outer_tile`). Results do not depend on it.
OUTER_TILE, FEW_BLOCKS, FEW_TILE = 4096, 8, 1024
#: The most rows that a "strips" phase-1 unit handles. Results do not depend on it.
STRIP = 256
#: Elements whose running results are made together in a "scan" along the innermost loop: a power of two. The product of
#: eight float32 numbers does not overflow in float64.
SCAN_GROUP = {"sum": 16, "prod": 8}
#: Columns that a unit of a "scan" over rows handles. Results do not depend on it.
SCAN_TILE = 1024
#: Blocks of a row that a unit of a "scan" handles where rows are few and long. Results do not depend on it.
SCAN_SPAN = 16
#: From how many rows on a "scan" along rows shares out whole rows.
SCAN_ROWS = 8


@dataclass(frozen=True, slots=True)
class Kernel:
    """A loop nest: its form, its loops, the types of its buffers, and the body.

    The order of a reduction of R elements is a function of R alone. Inner (Reduce, except in "outer"): the row is cut into
    blocks of BLOCK elements, and a block into runs of RUN. In a run, lane l starts at the identity and takes elements l,
    l + LANES, ... in turn. What the runs gave is combined lane by lane, run after run, from the identity; then the lanes as a
    binary tree (l with l + LANES/2, then l + LANES/4, ...). Outer (Reduce in "outer", Across): the rows are cut into blocks of
    OUTER_BLOCK, and a block into groups of GROUP. A group is reduced in turn from its first row, and the groups in turn from
    the identity. In both, blocks are combined as a binary tree: neighbours, then neighbouring pairs (see `tree`).

    A sum of float32 is float32 within a run or group, float64 from there on, and rounded at the end. arg-reductions keep the
    first index among equals, and the first NaN wins.

    m2, of a block of n elements: a shift s is the mean of its first RUN elements as a sum gives it (outer: of its first
    group), rounded to the elements' type; D and Q are the sums of x - s and of (x - s)**2, in the order of sums, but that a
    run's lanes are folded to FOLDED before they are widened (l with l + LANES/2, then l + LANES/4). As s is the mean of k
    elements that count themselves, Q is at most 1 + n/k times m2, however far s is from the mean. Then the mean is s + D/n, and
    m2 is Q - D * (D/n), or 0 if that is negative, in float64. Two blocks of n and m elements whose means are d apart combine to
    the mean + d * (m/(n + m)) and the m2 of both + d * d * (n * (m/(n + m))), in float64 (T. F. Chan, G. H. Golub and
    R. J. LeVeque, "Algorithms for computing the sample variance", 1983).

    A Scan along the innermost loop works on the same blocks of BLOCK elements, and in a block on groups of SCAN_GROUP. In a
    group, each element of the right half of a pair takes the last of the left half, for neighbours, then pairs of two, and so
    on (J. Sklansky, "Conditional-sum addition logic", 1960). What comes out is combined with what the block's groups before
    gave in turn, from the identity, and that with what the blocks before gave in turn. A floating-point prod knows no blocks
    but goes on: 0 times a block that overflows would be NaN. In "ri", for linear, and for a prod of float64, a Scan takes one
    element after another. Floating-point values are float64 in between and rounded once. A reversed scan is that of the
    elements in the opposite order.
    """

    form: str
    dims: str
    buffers: tuple[DType, ...]
    body: tuple[Instr, ...]
    #: Of a row kernel: rows have from 1 to SHORT_LENGTH elements. The code may rely on it, the bits do not change.
    short: bool = False
    #: Of a row kernel: rows have at most NEAR_LENGTH elements. The code may rely on it, the bits do not change.
    near: bool = False

    @property
    def fallible(self) -> bool:
        """Whether the kernel may find an index out of range, and so takes a status buffer."""
        return any(isinstance(i, Apply) and i.op == "check_index" for i in self.body)


def param_names(kernel: Kernel) -> list[str]:
    """The names of a kernel's int64 parameters in the order they are passed.

    First ``n0, n1, ...``, the size of each loop; then, instruction by instruction (numbered i): for Load and Store
    ``i_s{d}`` for each "s" in the access; for Index ``i_base``, then the same; for LoadAt and StoreAt ``i_s{d}`` for each
    index; for Scalar ``i_value``; for a Scan by blocks ``i_span``, the blocks of a row that a unit takes (see `scan_span`).
    """
    names = [f"n{d}" for d in range(len(kernel.dims))]
    for i, instr in enumerate(kernel.body):
        if isinstance(instr, Index):
            names.append(f"{i}_base")
        if isinstance(instr, Load | Store | Index):
            names += [f"{i}_s{d}" for d, a in enumerate(instr.access) if a == "s"]
        elif isinstance(instr, LoadAt | StoreAt):
            names += [f"{i}_s{d}" for d in range(len(instr.indices))]
        elif isinstance(instr, Scalar):
            names.append(f"{i}_value")
        elif isinstance(instr, Scan) and by_blocks(kernel.dims, instr):
            names.append(f"{i}_span")
    return names


def scratch(kernel: Kernel) -> list[DType]:
    """The types of the partial-result buffers that follow the kernel's own buffers, in order ("reduce", "strips", "outer").

    One for each Reduce: its own type, but float32 for a 16-bit one (a reduction rounds once, at its end), and float64 for a
    floating-point sum. Two for argmax and argmin, the best value's and its index (int64), and for m2, the mean and m2. Each
    holds ``rows * blocks`` elements for "reduce" and "strips", and ``rows * blocks * kept`` for "outer". A fallible kernel's
    status buffer (one int64, 0 while all is well, else 1 + the position of the failing instruction) comes last of all.
    A columns kernel has one for each Across, of ``blocks * columns`` elements.
    A scan along rows has one of ``rows * blocks`` elements, in use where blocks are shared out: totals, then what comes before.
    """
    types: list[DType] = []
    if kernel.form == "columns":
        for instr in kernel.body:
            if isinstance(instr, Across):
                types.append(partial(instr.op, instr.dtype.compute))
        return types
    if kernel.form == "scan":
        return [
            scanned(instr.dtype) for instr in kernel.body if isinstance(instr, Scan) and by_blocks(kernel.dims, instr)
        ]
    if kernel.form not in ("reduce", "strips", "outer"):
        return []
    for instr in kernel.body:
        if isinstance(instr, Reduce):
            if instr.op.startswith("arg"):
                types += [value_dtypes(kernel)[instr.arg].compute, int64]
            elif instr.op == "m2":
                types += [float64, float64]
            else:
                types.append(partial(instr.op, instr.dtype.compute))
    return types


def partial(op: str, dtype: DType) -> DType:
    """The type in which partial results of a reduction of values of this (computing) type are combined."""
    return float64 if op in ("sum", "m2") and dtype.kind == "f" else dtype


def scanned(dtype: DType) -> DType:
    """The type in which a scan of values of this type runs."""
    return float64 if dtype.kind == "f" else dtype


def by_blocks(dims: str, scan: Scan) -> bool:
    """Whether a scan can share out the blocks of a row; its kernel then has three phases, the first two for that."""
    return dims.endswith("r") and (scan.op == "sum" or (scan.op == "prod" and scan.dtype.kind != "f"))


def outer_tile(blocks: int) -> int:
    """How many kept elements a phase-1 unit of an "outer" kernel handles, if it has so many blocks of rows in all."""
    return FEW_TILE if blocks < FEW_BLOCKS else OUTER_TILE


def scan_span(rows: int, length: int) -> int:
    """How many blocks of a row one unit of the last phase of a scan takes: all of them, or where rows are few, some."""
    blocks = -(-length // BLOCK)
    return blocks if rows >= SCAN_ROWS or blocks <= 2 * SCAN_SPAN else SCAN_SPAN


def tree(blocks: int) -> list[tuple[int, int]]:
    """The order in which block results are combined, as pairs (i, j): j is combined into i. The result is left in 0.

    >>> tree(5)
    [(0, 1), (2, 3), (0, 2), (0, 4)]
    """
    pairs, step = [], 1
    while step < blocks:
        pairs += [(i, i + step) for i in range(0, blocks - step, 2 * step)]
        step *= 2
    return pairs


def value_dtypes(kernel: Kernel) -> list[DType]:
    """The type of each instruction's value (Store: of what it stores)."""
    types: list[DType] = []
    for instr in kernel.body:
        if isinstance(instr, Load | LoadAt):
            types.append(kernel.buffers[instr.buffer])
        elif isinstance(instr, Index):
            types.append(int64)
        elif isinstance(instr, Store | StoreAt):
            types.append(types[instr.arg])
        else:
            types.append(instr.dtype)
    return types
