"""LLVM assembly, written as text: functions over pointers, 64-bit integers and vectors of one float type.

llvmlite's builder makes an object of every instruction, type and constant and takes as long to print them as LLVM takes to
make machine code of the result. Here an instruction is a line that is written once: its value is numbered, its types are
strings. What can be said is what `weft.codegen.microkernel` needs.

Source: LLVM Language Reference Manual, https://llvm.org/docs/LangRef.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

I64, POINTER, BIT = "i64", "ptr", "i1"


class Value:
    """A value: its type, and its name or, of a constant, what it is."""

    __slots__ = ("kind", "name")

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def number(n: int) -> Value:
    """A 64-bit integer."""
    return Value(I64, str(n))


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of ``lanes`` elements of a type, "float32" or "float64", and whether the CPU has fused multiply-adds."""

    dtype: str
    lanes: int
    fused: bool

    @property
    def size(self) -> int:
        """Bytes of an element."""
        return 4 if self.dtype == "float32" else 8

    @property
    def scalar(self) -> str:
        return "float" if self.dtype == "float32" else "double"

    @property
    def kind(self) -> str:
        return self.of(self.scalar)

    @property
    def suffix(self) -> str:
        """What names of intrinsics say of the type."""
        return f"v{self.lanes}f{8 * self.size}"

    def of(self, scalar: str, lanes: int | None = None) -> str:
        """The type of a vector of as many, or of ``lanes``, elements of another type."""
        return f"<{lanes or self.lanes} x {scalar}>"

    def narrowed(self, lanes: int) -> Vectors:
        """Vectors of so many elements, or as these are if that is fewer."""
        return replace(self, lanes=min(lanes, self.lanes))


def declarations(*used: Vectors) -> str:
    """The intrinsics that functions call which use such vectors."""
    text = (
        "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)\n"
        "declare i64 @llvm.smin.i64(i64, i64)\ndeclare i64 @llvm.smax.i64(i64, i64)\n"
    )
    for vectors in dict.fromkeys(used):
        v, suffix = vectors.kind, vectors.suffix
        text += f"declare {v} @llvm.fma.{suffix}({v}, {v}, {v})\n"
        text += f"declare {v} @llvm.masked.load.{suffix}.p0(ptr, i32, {vectors.of(BIT)}, {v})\n"
        text += f"declare void @llvm.masked.store.{suffix}.p0({v}, ptr, i32, {vectors.of(BIT)})\n"
    return text


class Function:
    """A function without a result that is being written, block after block.

    ``arguments`` are its arguments' types by name; pointers named in ``own`` point to memory that no other reaches.
    """

    def __init__(self, vectors: Vectors, name: str, arguments: Mapping[str, str], own: Sequence[str] = ()) -> None:
        self.vectors = vectors
        self.args = [Value(kind, f"%{label}") for label, kind in arguments.items()]
        self.here = "entry"
        self._names = self._blocks = 0
        listed = []
        for label, kind in arguments.items():
            attribute = " noalias" if label in own else " zeroext" if kind == BIT else ""
            listed.append(f"{kind}{attribute} %{label}")
        self._lines = [f"define void @{name}({', '.join(listed)}) {{", "entry:"]
        self._phis: dict[str, int] = {}  # where those lines are, by their values' names

    def text(self) -> str:
        """The function as it has been written."""
        return "\n".join([*self._lines, "}\n"])

    def new(self, kind: str, instruction: str) -> Value:
        """An instruction's value."""
        value = Value(kind, f"%{self._names}")
        self._names += 1
        self._lines.append(f"{value.name} = {instruction}")
        return value

    def do(self, instruction: str) -> None:
        """An instruction without a value."""
        self._lines.append(instruction)

    # Blocks

    def label(self, name: str) -> str:
        """A name for a block."""
        self._blocks += 1
        return f"{name}.{self._blocks}"

    def begin(self, block: str) -> None:
        """What follows is in this block."""
        self._lines.append(f"{block}:")
        self.here = block

    def jump(self, block: str) -> None:
        self.do(f"br label %{block}")

    def fork(self, condition: Value, yes: str, no: str) -> None:
        self.do(f"br {condition}, label %{yes}, label %{no}")

    def phi(self, kind: str) -> Value:
        """A value that depends on which block came before, said later by `incoming`."""
        value = self.new(kind, "")
        self._phis[value.name] = len(self._lines) - 1
        return value

    def incoming(self, phi: Value, *given: tuple[Value, str]) -> None:
        listed = ", ".join(f"[ {value.name}, %{block} ]" for value, block in given)
        self._lines[self._phis.pop(phi.name)] = f"{phi.name} = phi {phi.kind} {listed}"

    def joined(self, *given: tuple[str, Sequence[Value]]) -> list[Value]:
        """Values that depend on which of some blocks came before."""
        result = [self.phi(value.kind) for value in given[0][1]]
        for n, phi in enumerate(result):
            self.incoming(phi, *((values[n], block) for block, values in given))
        return result

    def turns(
        self,
        begins: Value,
        first: Value,
        start: Sequence[Value],
        body: Callable[[Value, list[Value]], tuple[Value, Value, list[Value]]],
    ) -> list[Value]:
        """Run ``body(state, values)``, if it begins, until it says that there is no other turn; the last values. It gives the
        state of the turn that follows, whether there is one, and its values."""
        before, turn, end = self.here, self.label("turn"), self.label("end")
        self.fork(begins, turn, end)
        self.begin(turn)
        state, values = self.phi(first.kind), [self.phi(value.kind) for value in start]
        following, more, new = body(state, values)
        last = self.here
        self.fork(more, turn, end)
        self.incoming(state, (first, before), (following, last))
        for phi, given, later in zip(values, start, new, strict=True):
            self.incoming(phi, (given, before), (later, last))
        self.begin(end)
        return self.joined((before, start), (last, new))

    def loop(
        self, count: Value, start: Sequence[Value], body: Callable[[Value, list[Value]], list[Value]]
    ) -> list[Value]:
        """Run ``body(number, values)`` for 0 ... count - 1, each turn with the values of the one before; the last values."""

        def turn(at: Value, values: list[Value]) -> tuple[Value, Value, list[Value]]:
            new = body(at, values)
            following = self.integer("add", at, number(1))
            return following, self.less(following, count), new

        return self.turns(self.less(number(0), count), number(0), start, turn)

    def repeat(self, count: Value, start: Sequence[Value], body: Callable[[list[Value]], list[Value]]) -> list[Value]:
        """A loop whose turns need not know their number: counted down, which takes an instruction less."""

        def turn(left: Value, values: list[Value]) -> tuple[Value, Value, list[Value]]:
            new = body(values)
            fewer = self.integer("sub", left, number(1))
            return fewer, self.new(BIT, f"icmp ne {fewer}, 0"), new

        return self.turns(self.less(number(0), count), count, start, turn)

    def either(self, condition: Value, made: Callable[[], Sequence[Value]], given: Sequence[Value]) -> list[Value]:
        """What is made if the condition holds, else what is given."""
        before, here, after = self.here, self.label("here"), self.label("after")
        self.fork(condition, here, after)
        self.begin(here)
        new = made()
        end = self.here
        self.jump(after)
        self.begin(after)
        return self.joined((before, given), (end, new))

    # Integers and addresses

    def integer(self, what: str, x: Value, y: Value) -> Value:
        return self.new(x.kind, f"{what} {x}, {y.name}")

    def times(self, x: Value, n: int) -> Value:
        return number(0) if n == 0 else x if n == 1 else self.integer("mul", x, number(n))

    def less(self, x: Value, y: Value) -> Value:
        return self.new(BIT, f"icmp slt {x}, {y.name}")

    def at(self, base: Value, offset: Value | int) -> Value:
        """The address so many elements on."""
        if isinstance(offset, int):
            offset = number(offset)
        if offset.name == "0":
            return base
        return self.new(POINTER, f"getelementptr {self.vectors.scalar}, {base}, {offset}")

    def byte(self, base: Value, offset: Value) -> Value:
        """The address so many bytes on."""
        return self.new(POINTER, f"getelementptr i8, {base}, {offset}")

    def opaque(self, value: Value) -> Value:
        """The value, of which LLVM then knows nothing."""
        return self.new(value.kind, f'call {value.kind} asm "", "=r,0"({value})')

    # Elements and vectors

    def element(self, at: Value) -> Value:
        return self.new(self.vectors.scalar, f"load {self.vectors.scalar}, {at}, align {self.vectors.size}")

    def load(self, at: Value, mask: Value | None = None) -> Value:
        """The vector at an address; lanes that the mask leaves out are not read, and zero."""
        v = self.vectors
        if mask is None:
            return self.new(v.kind, f"load {v.kind}, {at}, align {v.size}")
        name = f"@llvm.masked.load.{v.suffix}.p0"
        return self.new(v.kind, f"call {v.kind} {name}({at}, i32 {v.size}, {mask}, {v.kind} zeroinitializer)")

    def load_first(self, count: int, at: Value) -> Value:
        """The vector of so many elements at an address."""
        v = self.vectors
        return self.new(v.of(v.scalar, count), f"load {v.of(v.scalar, count)}, {at}, align {v.size}")

    def store(self, value: Value, at: Value, stream: bool = False) -> None:
        """``stream``: past the caches, a vector, at an address that is a multiple of its size."""
        if stream:
            size = self.vectors.size * self.vectors.lanes
            self.do(f"store {value}, {at}, align {size}, !nontemporal !{{i32 1}}")
        else:
            self.do(f"store {value}, {at}, align {self.vectors.size}")

    def store_some(self, value: Value, at: Value, mask: Value) -> None:
        """The lanes of a vector that the mask has."""
        v = self.vectors
        self.do(f"call void @llvm.masked.store.{v.suffix}.p0({value}, {at}, i32 {v.size}, {mask})")

    def broadcast(self, value: Value) -> Value:
        """A vector with a number in every lane."""
        kind = self.vectors.of(value.kind)
        one = self.new(kind, f"insertelement {kind} poison, {value}, i64 0")
        return self.new(kind, f"shufflevector {one}, {kind} poison, {self.vectors.of('i32')} zeroinitializer")

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """The vector of these lanes of x and, from as many on as x has, of y."""
        listed = ", ".join(f"i32 {lane}" for lane in lanes)
        kind = self.vectors.of(self.vectors.scalar, len(lanes))
        return self.new(kind, f"shufflevector {x}, {y}, <{len(lanes)} x i32> <{listed}>")

    def mask(self, count: Value) -> Value:
        """Which lanes are among the first ``count``."""
        # Numbers as long as the elements: what is compared then is the mask.
        kind = f"i{8 * self.vectors.size}"
        if kind != count.kind:
            count = self.new(kind, f"trunc {count} to {kind}")
        listed = ", ".join(f"{kind} {lane}" for lane in range(self.vectors.lanes))
        return self.new(self.vectors.of(BIT), f"icmp sgt {self.broadcast(count)}, <{listed}>")

    def add(self, x: Value, y: Value) -> Value:
        return self.new(x.kind, f"fadd {x}, {y.name}")

    def multiply_add(self, x: Value, y: Value, sum_: Value) -> Value:
        """x * y + sum, rounded once if the CPU can."""
        if not self.vectors.fused:
            return self.add(self.new(x.kind, f"fmul {x}, {y.name}"), sum_)
        return self.new(x.kind, f"call {x.kind} @llvm.fma.{self.vectors.suffix}({x}, {y}, {sum_})")

    def zero(self) -> Value:
        return Value(self.vectors.kind, "zeroinitializer")

    def prefetch(self, at: Value, write: bool = True, level: int = 1) -> None:
        """Bring what is going to be written, or read, into a cache: the nearest or, at level 2, the next."""
        self.do(f"call void @llvm.prefetch.p0({at}, i32 {write:d}, i32 {4 - level}, i32 1)")

    def barrier(self) -> None:
        """LLVM moves nothing from one side of it to the other."""
        self.do('call void asm sideeffect "", ""()')
