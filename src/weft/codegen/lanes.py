"""Reductions into lanes: the fixed order that `weft.ir.kernel.Kernel` describes, as explicit LLVM vectors.

For each reduction ``op`` there are, to be called from generated source over a stack array of lanes ``a``::

    start_op(a)                         every lane at the identity
    add_op(a, q)                        sum and prod: the lanes of a run, taken into those of a block
    reduce_op(a, x, n, later)           the n elements from x on, the first of which belongs to lane 0 of a run; what lies
                                        ``later`` elements further may be fetched meanwhile
    finish_op(a)                        the lanes combined
    combine_op(x, y)                    two partial results made one

argmax and argmin keep the best value in a[0] and its position in k[0]::

    start_op(a, k)
    reduce_op(a, k, at, x, n, later)    the n elements from x on, at most a block, that follow those before; ``at`` is the
                                        position of the first
    better_op(x, y)                     whether the later of two partial results, x, wins

m2 needs its first elements twice, a whole block at once, and gives two numbers, which are left in a[0] and a[1]::

    block_m2(a, x, n, later)            the mean and m2 of the n elements from x on

Reductions of rows of elements are in `weft.codegen.columns`.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llvmlite import ir

from weft.codegen import types
from weft.codegen.types import counting, declared, intrinsic
from weft.ir.kernel import BLOCK, FOLDED, LANES, RUN, RUNS
from weft.runtime import loader

I64 = ir.IntType(64)
F64 = ir.DoubleType()
I32 = ir.IntType(32)
BYTES = ir.IntType(8).as_pointer()

#: Bytes of a cache line.
LINE = 64
#: How many bytes ahead a stream is fetched, by what the names of processors begin with. AMD's fetch the rest of a page by
#: themselves, and slower if asked for what lies in a later one.
AHEAD = {"znver": 1536, "": 8192}
#: How much further to fetch something where nothing is to be.
NEAR = I64(0)


def is_float(value: Any) -> bool:
    """Whether an LLVM value, or each element of a vector value, is a floating-point number."""
    scalar = value.type.element if isinstance(value.type, ir.VectorType) else value.type
    return isinstance(scalar, ir.FloatType | ir.DoubleType)


def combined(b: Any, op: str, signed: bool, x: Any, y: Any) -> Any:
    """The combination of two partial results, numbers or vectors; for max and min, NaN wins."""
    if op == "any":
        return b.or_(x, y)
    if op == "all":
        return b.and_(x, y)
    if op == "sum":
        return b.fadd(x, y) if is_float(x) else b.add(x, y)
    if op == "prod":
        return b.fmul(x, y) if is_float(x) else b.mul(x, y)
    larger = b.select(wins(b, op, signed, y, x), y, x)
    return b.select(b.fcmp_unordered("uno", y, y), y, larger) if is_float(x) else larger


def wins(b: Any, op: str, signed: bool, x: Any, y: Any) -> Any:
    """Whether ``x`` is preferred to ``y``, which comes before it; max and min leave a NaN ``x`` to the caller."""
    sign = ">" if op.endswith("max") else "<"
    if is_float(x):
        if op.startswith("arg"):  # x > y, or x is NaN and y is not
            return b.and_(b.fcmp_unordered(sign, x, y), b.fcmp_ordered("ord", y, y))
        return b.fcmp_ordered(sign, x, y)
    return b.icmp_signed(sign, x, y) if signed else b.icmp_unsigned(sign, x, y)


def identity(op: str, dtype: Any, value: Any) -> Any:
    """The LLVM constant that a reduction starts from."""
    if op in ("sum", "any"):
        return value(0)
    if op in ("prod", "all"):
        return value(1)
    if isinstance(dtype, types.Float):
        return value(float("-inf") if op.endswith("max") else float("inf"))
    return value(dtype.minval if op.endswith("max") else dtype.maxval)


def splat(constant: Any, width: int = LANES) -> Any:
    """A vector constant with the given constant in every lane."""
    return ir.Constant(ir.VectorType(constant.type, width), [constant.constant] * width)


def iota(value: Any) -> Any:
    """The vector constant 0, 1, 2, ..."""
    return ir.Constant(ir.VectorType(value, LANES), list(range(LANES)))


def splat_value(b: Any, value: Any, width: int = LANES) -> Any:
    """A vector with the given number in every lane."""
    vector = ir.VectorType(value.type, width)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    return b.shuffle_vector(one, one, ir.Constant(ir.VectorType(I32, width), [0] * width))


def widened(b: Any, x: Any, to: Any) -> Any:
    """A number or vector of elements in the type of partial results: float32 may become float64."""
    return x if x.type == to else b.fpext(x, to)


def _pointer(b: Any, pointer: Any, value: Any) -> Any:
    return b.bitcast(pointer, ir.VectorType(value, LANES).as_pointer())


def _load(b: Any, pointer: Any, value: Any, align: int) -> Any:
    x = b.load(_pointer(b, pointer, value))
    x.align = align
    return x


def fetched(b: Any, pointer: Any) -> None:
    """Have the cache line at a pointer fetched."""
    kind = ir.FunctionType(ir.VoidType(), [BYTES, I32, I32, I32])
    prefetch = declared(b.module, kind, "llvm.prefetch.p0")
    b.call(prefetch, [b.bitcast(pointer, BYTES), I32(0), I32(2), I32(1)])  # to read, into the second-level cache, data


def whole_lines() -> bool:
    """Whether this processor's vectors are cache lines: then there is one instruction for each line, and room for another."""
    return "+avx512f" in loader.features()


def by_processor(numbers: Mapping[str, int]) -> int:
    """The first of some numbers whose key this processor's name begins with."""
    return next(n for cpu, n in numbers.items() if loader.target()[0].startswith(cpu))


def _looking_ahead(b: Any, later: Any, loop: Callable[[Any], list[Any]]) -> list[Any]:
    """What a loop makes: ``loop(later)``, which fetches that much further, or ``loop(None)`` if ``later`` is 0.

    Vectors that are shorter than cache lines need no fetching: it takes longer than without.
    """
    nothing = isinstance(later, ir.Constant) and not later.constant
    if nothing or not whole_lines():
        return loop(None)
    made: list[list[Any]] = []
    ends = []
    with b.if_else(b.icmp_signed("!=", later, I64(0))) as ways:
        for way, given in zip(ways, (later, None), strict=True):
            with way:
                made.append(loop(given))
                ends.append(b.block)
    result = []
    for values in zip(*made, strict=True):
        phi = b.phi(values[0].type)
        for value, end in zip(values, ends, strict=True):
            phi.add_incoming(value, end)
        result.append(phi)
    return result


def _ahead(b: Any, pointer: Any, later: Any) -> None:
    """Fetch what lies ``later`` elements after the LANES elements at a pointer, if it is not None."""
    if later is not None:
        for line in range(0, LANES, max(1, LINE // size_of(pointer.type.pointee))):
            fetched(b, b.gep(pointer, [b.add(later, I64(line))]))


def _store(b: Any, vector: Any, pointer: Any) -> None:
    b.store(vector, _pointer(b, pointer, vector.type.element)).align = 64


def frozen(b: Any, loaded: Any) -> Any:
    """What was loaded, in a form of which LLVM does not say that it is what memory holds. Else a choice between it and
    something else that is stored in the same place becomes a store by a mask, which takes 18 cycles a vector on Zen 4."""
    made = ir.Instruction(b.block, loaded.type, "freeze", [loaded])
    b._insert(made)
    return made


def size_of(value: Any) -> int:
    """The bytes of an LLVM number type."""
    return 8 if isinstance(value, ir.DoubleType) else 4 if isinstance(value, ir.FloatType) else value.width // 8


def _tail(b: Any, source: Any, value: Any, count: Any, others: Any) -> Any:
    """The vector of the last ``count`` < LANES elements at ``source``, with those of ``others`` in the other lanes."""
    size = size_of(value)
    if size >= 4:
        vector = ir.VectorType(value, LANES)
        number = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(value), f"i{8 * size}")
        mask = b.icmp_unsigned("<", iota(I32), splat_value(b, b.trunc(count, I32)))
        name = f"llvm.masked.load.v{LANES}{number}.p0"
        fnty = ir.FunctionType(vector, [vector.as_pointer(), I32, mask.type, vector])
        masked = declared(b.module, fnty, name)
        return b.call(masked, [_pointer(b, source, value), I32(size), mask, others])
    with b.goto_entry_block():
        copy = b.alloca(ir.ArrayType(value, LANES))
    copy.align = 64
    copy = b.bitcast(copy, value.as_pointer())
    _store(b, others, copy)
    with counting(b, I64(0), count, I64(1)) as k:
        b.store(b.load(b.gep(source, [k])), b.gep(copy, [k]))
    return _load(b, copy, value, 64)


def looped(b: Any, count: Any, carried: list[Any], step: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """A loop over [0, count) that carries values from one iteration to the next; their final values."""
    before = b.block
    head, inside, after = (b.append_basic_block(n) for n in ("lanes", "lanes.body", "lanes.end"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(I64(0), before)
    phis = [b.phi(c.type) for c in carried]
    for phi, c in zip(phis, carried, strict=True):
        phi.add_incoming(c, before)
    b.cbranch(b.icmp_signed("<", i, count), inside, after)
    b.position_at_end(inside)
    new = step(i, phis)
    i.add_incoming(b.add(i, I64(1)), b.block)
    for phi, c in zip(phis, new, strict=True):
        phi.add_incoming(c, b.block)
    b.branch(head)
    b.position_at_end(after)
    return phis


def _guarded(b: Any, condition: Any, values: list[Any], then: Callable[[], list[Any]]) -> list[Any]:
    """``then()`` if the condition holds, else ``values``."""
    before = b.block
    with b.if_then(condition):
        new = then()
        inside = b.block
    result = []
    for old, value in zip(values, new, strict=True):
        phi = b.phi(old.type)
        phi.add_incoming(old, before)
        phi.add_incoming(value, inside)
        result.append(phi)
    return result


#: Bytes of running results that are held in registers together with those of the block: four vectors of AVX2.
HELD = 128

#: What a reduction does with LANES more elements, the i-th such vector, and the values that it carries.
Step = Callable[[Any, Any, list[Any]], list[Any]]


def _taken(
    b: Any, source: Any, value: Any, count: Any, carried: list[Any], others: Any, step: Step, later: Any = NEAR
) -> list[Any]:
    """Take ``count`` elements from ``source`` on, LANES at a time; ``others`` stand for what is missing in the last vector."""
    whole = b.udiv(count, I64(LANES))
    size = size_of(value)

    def all_whole(later: Any) -> list[Any]:
        def some(i: Any, carried: list[Any]) -> list[Any]:
            at = b.gep(source, [b.mul(i, I64(LANES))])
            _ahead(b, at, later)
            return step(i, _load(b, at, value, size), carried)

        return looped(b, whole, carried, some)

    carried = _looking_ahead(b, later, all_whole)
    rest = b.urem(count, I64(LANES))

    def tail() -> list[Any]:
        at = b.gep(source, [b.mul(whole, I64(LANES))])
        return step(whole, _tail(b, at, value, rest, others), carried)

    return _guarded(b, b.icmp_signed("!=", rest, I64(0)), carried, tail)


def _steps(held: int) -> int:
    """How many steps of a run to write without a loop, of results that take so many bytes: all of them, or a few.

    The end of a loop may be guessed wrongly. But where the run's and the block's results do not both fit in registers, LLVM
    takes one result after another through the whole run, and memory is read out of order, in half the speed.
    """
    return RUN // LANES if held <= HELD else 2


def _by_runs(
    b: Any,
    op: str,
    source: Any,
    value: Any,
    count: Any,
    carried: list[Any],
    others: Any,
    terms: Callable[[Any], list[Any]],
    later: Any = NEAR,
) -> list[Any]:
    """Sums or products of ``terms`` of the elements, run by run, combined with what is ``carried``, in its type and lanes."""
    start = splat(value(1 if op == "prod" else 0))
    runs = b.udiv(count, I64(RUN))
    rest = b.urem(count, I64(RUN))

    def step(_: Any, x: Any, old: list[Any]) -> list[Any]:
        return [combined(b, op, False, o, term) for o, term in zip(old, terms(x), strict=True)]

    def ended(carried: list[Any], inside: list[Any]) -> list[Any]:
        return [
            combined(b, op, False, old, widened(b, _folded(b, op, False, x, old.type.count), old.type))
            for old, x in zip(carried, inside, strict=True)
        ]

    def run(i: Any, carried: list[Any], later: Any) -> list[Any]:
        first = b.mul(i, I64(RUN))

        def some(j: Any, inside: list[Any]) -> list[Any]:
            for k in range(steps):
                at = b.gep(source, [b.add(first, b.add(b.mul(j, I64(steps * LANES)), I64(k * LANES)))])
                _ahead(b, at, later)
                inside = step(None, _load(b, at, value, size_of(value)), inside)
            return inside

        steps = _steps(len(carried) * LANES * size_of(value))
        return ended(carried, looped(b, I64(RUN // LANES // steps), [start] * len(carried), some))

    def last() -> list[Any]:
        at = b.gep(source, [b.mul(runs, I64(RUN))])
        return ended(carried, _taken(b, at, value, rest, [start] * len(carried), others, step))

    before = carried
    carried = _looking_ahead(b, later, lambda later: looped(b, runs, before, lambda i, c: run(i, c, later)))
    return _guarded(b, b.icmp_signed("!=", rest, I64(0)), carried, last)


class _Extremes:
    """The largest (or smallest) of many elements, run by run: ``op`` is max or min.

    Asking each vector for NaN costs as much as the comparisons. So whole runs are taken as if there was none, while a flag
    gathers whether there was; if so, what they gave is void.
    """

    def __init__(self, b: Any, op: str, signed: bool, value: Any, identity: Any, later: Any) -> None:
        self.b, self.op, self.signed, self.value, self.later = b, op, signed, value, later
        self.none = splat(identity)
        size = 8 * size_of(value)
        #: Flags for the pairs of elements of a vector, not zero where one is NaN; integers need none.
        self.clear = [splat(ir.IntType(size)(0), LANES // 2)] * isinstance(value, ir.FloatType | ir.DoubleType)

    def careful(self, source: Any, count: Any, best: Any) -> Any:
        """``best`` and ``count`` elements, lane by lane: NaN wins."""

        def step(_: Any, x: Any, carried: list[Any]) -> list[Any]:
            return [combined(self.b, self.op, self.signed, carried[0], x)]

        return _taken(self.b, source, self.value, count, [best], self.none, step)[0]

    def step(self, source: Any, at: Any, carried: list[Any], later: Any) -> list[Any]:
        """The best and the flags so far, ``carried``, and the vector at element ``at`` of ``source``."""
        b, half = self.b, LANES // 2
        best, *found = carried
        place = b.gep(source, [at])
        _ahead(b, place, later)
        x = _load(b, place, self.value, size_of(self.value))
        best = b.select(wins(b, self.op, self.signed, x, best), x, best)
        if found:
            low, high = (
                b.shuffle_vector(x, x, ir.Constant(ir.VectorType(I32, half), list(range(first, first + half))))
                for first in (0, half)
            )
            # added up, as LLVM would narrow their disjunction to bits, which takes more instructions
            found = [b.add(found[0], b.sext(b.fcmp_unordered("uno", low, high), found[0].type))]
        return [best, *found]

    def flagged(self, found: Any) -> Any:
        """Whether there was a NaN."""
        b = self.b
        some = b.bitcast(b.icmp_signed("!=", found, ir.Constant(found.type, None)), ir.IntType(LANES // 2))
        return b.icmp_signed("!=", some, some.type(0))

    def run(self, source: Any, i: Any, carried: list[Any], later: Any) -> list[Any]:
        """The best and the flags so far, ``carried``, and the i-th whole run from ``source`` on."""
        for k in range(0, RUN, LANES):
            carried = self.step(source, self.b.add(self.b.mul(i, I64(RUN)), I64(k)), carried, later)
        return carried

    def of(self, source: Any, count: Any, best: Any) -> Any:
        """``best`` and ``count`` elements, lane by lane."""
        b = self.b
        vectors = b.udiv(count, I64(LANES))
        whole = b.mul(vectors, I64(LANES))

        # vector by vector: without a loop, the loads of a run would come out of order, and memory is read slower then
        def each(later: Any) -> list[Any]:
            start = [best, *self.clear]
            return looped(b, vectors, start, lambda i, c: self.step(source, b.mul(i, I64(LANES)), c, later))

        found, *nan = _looking_ahead(b, self.later, each)
        if nan:
            (found,) = _guarded(b, self.flagged(*nan), [found], lambda: [self.careful(source, whole, best)])
        rest = b.urem(count, I64(LANES))
        at = b.gep(source, [whole])
        return _guarded(b, b.icmp_signed("!=", rest, I64(0)), [found], lambda: [self.careful(at, rest, found)])[0]

    def first(self, source: Any, count: Any) -> tuple[Any, Callable[[], Any]]:
        """The best of ``count`` elements, at most a block, and what writes where the first such is.

        That one looks for the run first, among what the runs gave.
        """
        b = self.b
        with b.goto_entry_block():
            runs = b.alloca(ir.ArrayType(self.value, LANES * (BLOCK // RUN)))
        runs.align = 64
        runs = b.bitcast(runs, self.value.as_pointer())
        whole, rest = b.udiv(count, I64(RUN)), b.urem(count, I64(RUN))

        def step(i: Any, carried: list[Any], later: Any) -> list[Any]:
            found, *nan = self.run(source, i, [self.none, *carried[1:]], later)
            _store(b, found, b.gep(runs, [b.mul(i, I64(LANES))]))
            return [b.select(wins(b, self.op, self.signed, found, carried[0]), found, carried[0]), *nan]

        def last() -> list[Any]:
            found = self.careful(b.gep(source, [b.mul(whole, I64(RUN))]), rest, self.none)
            _store(b, found, b.gep(runs, [b.mul(whole, I64(LANES))]))
            return [combined(b, self.op, self.signed, best, found)]

        best, *nan = _looking_ahead(
            b,
            self.later,
            lambda later: looped(b, whole, [self.none, *self.clear], lambda i, c: step(i, c, later)),
        )
        (best,) = _guarded(b, b.icmp_signed("!=", rest, I64(0)), [best], last)
        void = self.flagged(*nan) if nan else ir.IntType(1)(0)
        if nan:
            (best,) = _guarded(b, void, [best], lambda: [self.careful(source, count, self.none)])
        best = _tree(b, self.op, self.signed, best)

        def position() -> Any:
            stored = b.udiv(b.add(count, I64(RUN - 1)), I64(RUN))

            def run() -> list[Any]:
                lane = _first(b, runs, self.value, b.mul(stored, I64(LANES)), best, self.none)
                return [b.mul(b.udiv(lane, I64(LANES)), I64(RUN))]

            several = b.and_(b.icmp_unsigned(">", stored, I64(1)), b.not_(void))
            (at,) = _guarded(b, several, [I64(0)], run)
            left = b.sub(count, at)
            size = b.select(b.or_(void, b.icmp_unsigned("<", left, I64(RUN))), left, I64(RUN))
            return b.add(at, _first(b, b.gep(source, [at]), self.value, size, best, self.none))

        return best, position


def _first(b: Any, source: Any, value: Any, count: Any, best: Any, others: Any) -> Any:
    """The position of the first of ``count`` elements that equals ``best``, or is NaN; if best is not NaN, none is."""
    every = splat_value(b, best)
    whole = b.udiv(count, I64(LANES))
    number = ir.IntType(LANES)

    def matching(x: Any) -> Any:
        """A bit for each lane, the first being the lowest."""
        if is_float(x):
            return b.bitcast(b.or_(b.fcmp_ordered("==", x, every), b.fcmp_unordered("uno", x, x)), number)
        return b.bitcast(b.icmp_unsigned("==", x, every), number)

    before = b.block
    head, inside, last, after = (b.append_basic_block(n) for n in ("first", "first.body", "first.last", "first.end"))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(I64)
    i.add_incoming(I64(0), before)
    b.cbranch(b.icmp_unsigned("<", i, whole), inside, last)
    b.position_at_end(inside)
    here = matching(_load(b, b.gep(source, [b.mul(i, I64(LANES))]), value, size_of(value)))
    i.add_incoming(b.add(i, I64(1)), b.block)
    b.cbranch(b.icmp_unsigned("!=", here, number(0)), after, head)
    b.position_at_end(last)
    # a lane without elements comes after all that have
    rest = _tail(b, b.gep(source, [b.mul(whole, I64(LANES))]), value, b.urem(count, I64(LANES)), others)
    there = matching(rest)
    end = b.block
    b.branch(after)
    b.position_at_end(after)
    bits = b.phi(number)
    bits.add_incoming(here, inside)
    bits.add_incoming(there, end)
    return b.add(b.mul(i, I64(LANES)), b.zext(b.cttz(bits, ir.IntType(1)(0)), I64))


class _Reduction:
    """The intrinsics of one reduction."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.arg = op.startswith("arg")

    def start(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        _store(b, splat(identity(self.op, dtype, context.get_data_type(dtype))), args[0])
        return context.get_dummy_value()

    def reduce(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[-3].dtype
        value = context.get_data_type(dtype)
        signed = getattr(dtype, "signed", False)
        source, count, later = args[-3:]
        carried = [_load(b, args[0], context.get_data_type(signature.args[0].dtype), 64)]
        # the identity in the lanes without elements changes nothing there: a sum that started from +0 is never -0
        others = splat(identity(self.op, dtype, value))
        if self.op in ("sum", "prod"):
            final = _by_runs(b, self.op, source, value, count, carried, others, lambda x: [x], later)
        elif self.op in ("max", "min"):
            extremes = _Extremes(b, self.op, signed, value, identity(self.op, dtype, value), later)
            final = [extremes.of(source, count, *carried)]
        else:
            # exact in any order
            final = _taken(
                b, source, value, count, carried, others, lambda _, x, c: [combined(b, self.op, signed, c[0], x)], later
            )
        for vector, lanes in zip(final, args, strict=False):
            _store(b, vector, lanes)
        return context.get_dummy_value()

    def finish(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        value = context.get_data_type(dtype)
        signed = getattr(dtype, "signed", False)
        x = _load(b, args[0], value, 64)
        return _tree(b, self.op, signed, x)

    def start_position(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        dtype = signature.args[0].dtype
        b.store(identity(self.op, dtype, context.get_data_type(dtype)), args[0])
        b.store(I64(0), args[1])
        return context.get_dummy_value()

    def reduce_position(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        """The best value, as max and min find it; then, if it is better than what was there before, where it is."""
        a, k, at, source, count, later = args
        dtype = signature.args[-3].dtype
        value = context.get_data_type(dtype)
        signed = getattr(dtype, "signed", False)
        op = self.op.removeprefix("arg")
        best, position = _Extremes(b, op, signed, value, identity(op, dtype, value), later).first(source, count)
        with b.if_then(wins(b, self.op, signed, best, b.load(a))):
            b.store(best, a)
            b.store(b.add(at, position()), k)
        return context.get_dummy_value()

    def add(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, q = (_load(b, p, context.get_data_type(t.dtype), 64) for p, t in zip(args, signature.args, strict=True))
        _store(b, combined(b, self.op, False, a, widened(b, q, a.type)), args[0])
        return context.get_dummy_value()

    def combine(self, context: Any, b: Any, signature: Any, args: Any) -> Any:
        signed = getattr(signature.args[0], "signed", False)
        if self.arg:
            return wins(b, self.op, signed, *args)
        return combined(b, self.op, signed, *args)


def _folded(b: Any, op: str, signed: bool, x: Any, lanes: int) -> Any:
    """The lanes of a vector combined, each with the one half the width further, until so many are left."""
    width = x.type.count
    while width > lanes:
        width //= 2
        low, high = (
            b.shuffle_vector(x, x, ir.Constant(ir.VectorType(I32, width), list(range(at, at + width))))
            for at in (0, width)
        )
        x = combined(b, op, signed, low, high)
    return x


def _tree(b: Any, op: str, signed: bool, x: Any) -> Any:
    """The lanes of a vector combined to one number."""
    if op in ("sum", "prod") or not is_float(x):
        return b.extract_element(_folded(b, op, signed, x, 1), I32(0))
    # The last choices in a vector too: between two numbers LLVM would jump, and which is larger is anybody's guess.
    width = max(2, 16 // size_of(x.type.element))
    x = _folded(b, op, signed, x, width)
    half = width // 2
    while half:
        lanes = ir.Constant(ir.VectorType(I32, width), [half + k % half for k in range(width)])
        x = combined(b, op, signed, x, b.shuffle_vector(x, x, lanes))
        half //= 2
    return b.extract_element(x, I32(0))


def _intrinsics(op: str) -> dict[str, Any]:
    r = _Reduction(op)
    typers: list[Callable[..., Any]]
    if r.arg:

        def start(typingctx: Any, a: Any, k: Any) -> Any:
            return types.void(a, k), r.start_position

        def reduce(typingctx: Any, a: Any, k: Any, at: Any, x: Any, n: Any, later: Any) -> Any:
            return types.void(a, k, types.int64, x, types.int64, types.int64), r.reduce_position

        def better(typingctx: Any, x: Any, y: Any) -> Any:
            return types.boolean(x, x), r.combine

        typers = [start, reduce, better]
    else:

        def start(typingctx: Any, a: Any) -> Any:  # type: ignore[misc]
            return types.void(a), r.start

        def reduce(typingctx: Any, a: Any, x: Any, n: Any, later: Any) -> Any:  # type: ignore[misc]
            return types.void(a, x, types.int64, types.int64), r.reduce

        def finish(typingctx: Any, a: Any) -> Any:
            return a.dtype(a), r.finish

        def combine(typingctx: Any, x: Any, y: Any) -> Any:
            return x(x, x), r.combine

        def add(typingctx: Any, a: Any, q: Any) -> Any:
            return types.void(a, q), r.add

        typers = [start, reduce, finish, combine, *([add] if op in RUNS else [])]

    made = {}
    for typer in typers:
        typer.__name__ += f"_{op}"
        made[typer.__name__] = intrinsic(typer)
    return made


@intrinsic
def block_m2(typingctx: Any, a: Any, x: Any, n: Any, later: Any) -> Any:
    """The mean and m2 of a block of elements, into a[0] and a[1]."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        a, source, count, later = args
        value = context.get_data_type(x.dtype)
        start = splat(value(0.0))
        none = splat(F64(0.0), FOLDED)
        size = b.uitofp(count, F64)
        few = b.select(b.icmp_unsigned("<", count, I64(RUN)), count, I64(RUN))
        (total,) = _by_runs(b, "sum", source, value, few, [none], start, lambda x: [x])
        # negated, as x + -s can be one instruction with the load of x, and x - s cannot
        mean = b.fdiv(_tree(b, "sum", False, total), b.sitofp(b.neg(few), F64))
        minus = mean if value == F64 else b.fptrunc(mean, value)
        every = splat_value(b, minus)
        shift = b.fneg(minus)
        shifts = splat_value(b, shift)

        def terms(x: Any) -> list[Any]:
            d = b.fadd(x, every)
            return [d, b.fmul(d, d)]

        found = _by_runs(b, "sum", source, value, count, [none, none], shifts, terms, later)
        d, q = (_tree(b, "sum", False, total) for total in found)
        results = moments(b, d, q, widened(b, shift, F64), size)
        for k, result in enumerate(results):
            b.store(result, b.gep(a, [I64(k)]))
        return context.get_dummy_value()

    return types.void(a, x, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def elements_ahead(typingctx: Any, size: Any) -> Any:
    """How many elements of so many bytes further a stream is fetched."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return I64(by_processor(AHEAD) // size.literal_value)

    return types.int64(size), codegen


@intrinsic
def fetched_from(typingctx: Any, n: Any, least: Any) -> Any:
    """Whether what lies further is fetched of n elements: there are so many, and this processor's vectors are cache lines."""

    def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
        return b.icmp_signed(">=", *args) if whole_lines() else ir.IntType(1)(0)

    return types.boolean(types.int64, types.int64), codegen


def moments(b: Any, d: Any, q: Any, shift: Any, size: Any) -> tuple[Any, Any]:
    """The mean and m2 of ``size`` elements whose deviations from a shift sum to d, and their squares to q."""
    off = b.fdiv(d, size)
    m2 = b.fsub(q, b.fmul(d, off))
    none = ir.Constant(m2.type, 0.0 if m2.type == F64 else [0.0] * m2.type.count)
    return b.fadd(shift, off), b.select(b.fcmp_ordered("<", m2, none), none, m2)


NAMESPACE: dict[str, Any] = {"block_m2": block_m2, "elements_ahead": elements_ahead, "fetched_from": fetched_from}
for _op in ("sum", "prod", "max", "min", "any", "all", "argmax", "argmin"):
    NAMESPACE.update(_intrinsics(_op))
