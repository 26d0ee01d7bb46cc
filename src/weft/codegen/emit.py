"""Expressions and statements of generated kernels: what one instruction of a `Kernel` becomes in source.

Names in the source: ``v3`` is the value of instruction 3, ``b1`` buffer 1, ``n0`` the size of loop 0, ``s3_0`` the stride
of instruction 3 along loop 0, ``p3`` the number of a Scalar, ``o3`` an offset that changes once a row. A variable's
annotation is its type: what is assigned is converted to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from weft.dtypes import DType, bfloat16, bool_, float16, int64, uint8, uint16
from weft.ir.kernel import (
    ACROSS,
    Across,
    Apply,
    Index,
    Kernel,
    Load,
    LoadAt,
    Reduce,
    Scalar,
    Scan,
    Store,
    StoreAt,
    param_names,
    partial,
    scratch,
    value_dtypes,
)

#: From this cost (in flops) on, a value is worth keeping rather than computing twice.
EXPENSIVE = 8


def storage(dtype: DType) -> DType:
    """The type as which a buffer's elements are read and written: bool as uint8, 16-bit floats as uint16."""
    if dtype is bool_:
        return uint8
    return uint16 if dtype.is_half else dtype


def variable_type(dtype: DType) -> str:
    """The name of the type that a value of this type has in source."""
    return "boolean" if dtype is bool_ else dtype.compute.name


def widened(dtype: DType, text: str) -> str:
    """The value of a buffer element."""
    if dtype is bool_:
        return f"{text} != 0"
    if dtype.is_half:
        return f"f16_to_f32({text})" if dtype is float16 else f"bf16_to_f32({text})"
    return text


def narrowed(dtype: DType, text: str) -> str:
    """The buffer element for a value."""
    if dtype.is_half:
        return f"f32_to_f16({text})" if dtype is float16 else f"f32_to_bf16({text})"
    return text


def packed(body: Body, i: int) -> str:
    """The buffer element for the value of instruction i, which is not rounded again if it was when it was computed."""
    instr, dtype = body.kernel.body[i], body.types[i]
    if dtype is bfloat16 and isinstance(instr, Apply) and instr.op != "copy":
        return f"bf16_bits(v{i})"
    return narrowed(dtype, f"v{i}")


def rounded(dtype: DType, text: str) -> str:
    """The value as it would be after a store and a load: only 16-bit floats change."""
    return widened(dtype, narrowed(dtype, text)) if dtype.is_half else text


@dataclass(slots=True)
class Function:
    """One function of generated source, with its arguments' and variables' types by name (``*`` marks a pointer).

    ``explicit``: its loops over elements are vectors already, and LLVM need not look for what it could vectorise.
    """

    name: str
    source: str
    arguments: dict[str, str]
    variables: dict[str, str]
    explicit: bool = False


@dataclass(slots=True)
class Writer:
    """Source under construction."""

    name: str
    arguments: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    depth: int = 1
    explicit: bool = False

    def line(self, text: str) -> None:
        """Add one line."""
        self.lines.append("    " * self.depth + text)

    def assign(self, name: str, dtype: str, text: str) -> None:
        """Add an assignment to a variable of the given type."""
        if self.variables.setdefault(name, dtype) != dtype:
            raise TypeError(f"{name} of {self.name} cannot be both {self.variables[name]} and {dtype}")
        self.line(f"{name}: {dtype} = {text}")

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Indent what follows under ``header``."""
        self.line(header)
        self.depth += 1
        yield
        self.depth -= 1

    def function(self) -> Function:
        """The finished function."""
        arguments = ", ".join(f"{name}: {dtype}" for name, dtype in self.arguments.items())
        return Function(
            self.name,
            f"def {self.name}({arguments}):\n" + "\n".join(self.lines) + "\n",
            {name: dtype.strip('"') for name, dtype in self.arguments.items()},
            self.variables,
            self.explicit,
        )


class Body:
    """A kernel's instructions, analysed for the emitter.

    ``varies[i]`` says whether value i changes along "r"; ``level[i]`` is the number of reduction passes over the row
    that must be over before value i is known; ``reduces``, ``across`` and ``stores`` are the instructions of those kinds by
    number; ``column[i]`` says whether value i is at column level.
    """

    def __init__(self, kernel: Kernel, bodies: Mapping[str, str]) -> None:
        self.kernel = kernel
        self.bodies = bodies
        self.types = value_dtypes(kernel)
        self.r = kernel.dims.find("r")
        self.varies: list[bool] = []
        self.level: list[int] = []
        self.reduces = {i: instr for i, instr in enumerate(kernel.body) if isinstance(instr, Reduce)}
        self.across = {i: instr for i, instr in enumerate(kernel.body) if isinstance(instr, Across)}
        self.column: list[bool] = []
        self.stores = {i: instr for i, instr in enumerate(kernel.body) if isinstance(instr, Store)}
        for i, instr in enumerate(kernel.body):
            args = operands(instr)
            if any(a >= i for a in args):
                raise ValueError(f"instruction {i} of {kernel} uses a value that is not computed yet")
            level = max((self.level[a] for a in args), default=0)
            varies = any(self.varies[a] for a in args)
            column = isinstance(instr, Across) or any(self.column[a] for a in args)
            if column and (isinstance(instr, Reduce) or (isinstance(instr, Store) and instr.access[:-1].strip("b"))):
                raise ValueError(f"instruction {i} of {kernel} needs a column's result before it is known")
            if isinstance(instr, Across) and (
                kernel.form != "columns" or instr.op not in ACROSS or not varies or any(self.column[a] for a in args)
            ):
                raise ValueError(f"instruction {i} of {kernel} cannot be reduced over the rows")
            if isinstance(instr, Load | Index | Store):
                before = {"strips": self.r - 1, "outer": self.r}.get(kernel.form)
                contiguous = {d for d, a in enumerate(instr.access) if a == "c"}
                if len(instr.access) != len(kernel.dims) or contiguous - {len(kernel.dims) - 1, before}:
                    raise ValueError(f"instruction {i} of {kernel} has an access that does not fit the loops")
                moves = self.r >= 0 and instr.access[self.r] != "b"
                if isinstance(instr, Store) and varies and not moves:
                    raise ValueError(f"instruction {i} of {kernel} stores a changing value at row level")
                if isinstance(instr, Store) and moves and level and kernel.form not in ("row", "columns"):
                    raise ValueError(f"instruction {i} of {kernel} stores elements that need a finished reduction")
                varies = moves
            elif isinstance(instr, StoreAt):
                if kernel.form != "map":
                    raise ValueError(f"instruction {i} of {kernel} stores at computed positions outside a map")
            elif isinstance(instr, Reduce):
                level, varies = level + 1, False
                if level > 1 and kernel.form not in ("row", "columns"):
                    raise ValueError(f"instruction {i} of {kernel} reduces a reduction's result")
            elif isinstance(instr, Scan):
                varies = True
            self.level.append(level)
            self.varies.append(varies)
            self.column.append(column)
        self.loaded = {i.buffer for i in kernel.body if isinstance(i, Load | LoadAt)}
        # A store in place goes where the load reads. Saying so with the same variables lets the loop vectorise.
        loads = {(i.buffer, i.access): k for k, i in reversed(list(enumerate(kernel.body))) if isinstance(i, Load)}
        self.strides_of = [
            loads.get((i.buffer, i.access), k) if isinstance(i, Store) else k for k, i in enumerate(kernel.body)
        ]

    def arguments(self) -> dict[str, str]:
        """The arguments of a kernel function, in order, with their types."""
        result = {"begin": "int64", "end": "int64"}
        for name in param_names(self.kernel):
            head, _, tail = name.partition("_")
            if not tail:
                result[name] = "int64"
            elif tail == "span":
                result[f"span{head}"] = "int64"
            elif tail == "value":
                result[f"p{head}"] = "float64" if self.types[int(head)].kind == "f" else "int64"
            elif tail == "base":
                result[f"base{head}"] = "int64"
            else:
                result[f"s{head}_{tail[1:]}"] = "int64"
        for k, dtype in enumerate(self.kernel.buffers):
            result[f"b{k}"] = f'"{storage(dtype).name}*"'
        for k, dtype in enumerate(scratch(self.kernel)):
            result[f"part{k}"] = f'"{storage(dtype).name}*"'
        if self.kernel.fallible:
            result["status"] = '"int64*"'
        return result

    def writer(self, name: str) -> Writer:
        """A function with this kernel's arguments."""
        w = Writer(name, self.arguments())
        for i, instr in enumerate(self.kernel.body):
            if isinstance(instr, Apply) and instr.op == "check_index":
                w.assign(f"bad{i}", "int64", "0")
        return w

    def finish(self, w: Writer) -> Function:
        """End a function: report indices out of range, the first failing instruction last, so that it is the one seen."""
        for i, instr in reversed(list(enumerate(self.kernel.body))):
            if isinstance(instr, Apply) and instr.op == "check_index":
                with w.block(f"if bad{i}:"):
                    w.line(f"status[0] = {i + 1}")
        w.line("return")
        return w.function()

    def closure(self, targets: Iterable[int], stop: Iterable[int] = ()) -> list[int]:
        """The instructions needed to compute ``targets``, in order, not looking beyond reductions and ``stop``."""
        found: set[int] = set()
        todo = list(targets)
        stop = set(stop)
        while todo:
            i = todo.pop()
            if i not in found:
                found.add(i)
                if i not in stop and not isinstance(self.kernel.body[i], Reduce | Across):
                    todo += operands(self.kernel.body[i])
        return sorted(found)

    def reduction(self, i: int) -> Reduce | Across:
        """Instruction i, a reduction."""
        return self.reduces.get(i) or self.across[i]

    def each(self, which: Iterable[int]) -> str:
        """What a loop that computes ``which`` for each element goes over: "interleaved" where that pays, else "range"."""
        called = [
            name
            for i in which
            if isinstance(instr := self.kernel.body[i], Apply)
            for name in _call.findall(self.bodies.get(instr.op, ""))
        ]
        chains = sum(name in _CHAINS for name in called)
        dear = sum(_COSTS.get(name, 20) >= 20 for name in called)
        return "interleaved" if 0 < chains == dear <= 2 else "range"

    def plain(self, which: Iterable[int]) -> bool:
        """Whether the values ``which`` are computed for vectors of contiguous elements as they are for one."""
        for i in which:
            instr = self.kernel.body[i]
            if isinstance(instr, LoadAt | StoreAt):
                return False
            if isinstance(instr, Load | Store) and instr.access[-1] == "s":
                return False
            if isinstance(instr, Apply) and (
                instr.op == "check_index" or not set(_call.findall(self.bodies.get(instr.op, ""))) <= set(_PLAIN)
            ):
                return False
        return True

    def terms(self, i: int, counters: Mapping[int, str]) -> list[str]:
        """What the given loops, by number with the names of their counters, add to the position of instruction i."""
        instr = self.kernel.body[i]
        if not isinstance(instr, Load | Index | Store):
            return []
        i = self.strides_of[i]
        return [
            f"{name} * s{i}_{d}" if instr.access[d] == "s" else name
            for d, name in counters.items()
            if instr.access[d] != "b"
        ]

    def place(self, w: Writer, which: Iterable[int], counters: Mapping[int, str], prefix: str = "o") -> Place:
        """Assign what the outer loops add to the positions of ``which``, where they do, to ``o{i}``."""
        place = Place(self, prefix, set())
        for i in which:
            if terms := self.terms(i, counters):
                w.assign(f"{prefix}{i}", "int64", " + ".join(terms))
                place.moved.add(i)
        return place

    def value(self, w: Writer, i: int, position: str = "0") -> None:
        """Assign the value of instruction i (not a Reduce or a Store), which for a Load or Index is at ``position``."""
        instr = self.kernel.body[i]
        dtype = self.types[i]
        match instr:
            case Load():
                text = widened(dtype, f"b{instr.buffer}[{position}]")
            case Index():
                text = f"base{i}" if position == "0" else f"base{i} + {position}"
            case Scalar():
                text = f"p{i} != 0" if dtype is bool_ else f"to_{dtype.name}(p{i})" if dtype.is_half else f"p{i}"
            case LoadAt():
                at = " + ".join(f"v{v} * s{i}_{d}" for d, v in enumerate(instr.indices)) or "0"
                text = widened(dtype, f"b{instr.buffer}[{at}]")
            case Apply(op="check_index"):
                index, size = (f"v{a}" for a in instr.args)
                w.line(f"bad{i} |= index_error({index}, {size})")
                text = f"checked_index({index}, {size})"
            case Apply(op="copy"):
                text = f"v{instr.args[0]}"
            case Apply(op="cast"):
                text = f"to_{dtype.name}(v{instr.args[0]})"
            case Apply():
                if not self.bodies.get(instr.op):
                    raise ValueError(f"op {instr.op!r} of {self.kernel} has no kernel body")
                text = rounded(dtype, substituted(self.bodies[instr.op], [f"v{a}" for a in instr.args]))
            case _:
                raise TypeError(f"{instr} has no value of its own")
        w.assign(f"v{i}", variable_type(dtype), text)

    def store(self, w: Writer, i: int, position: str) -> None:
        """Write the value of Store i at ``position``."""
        instr = self.kernel.body[i]
        assert isinstance(instr, Store | StoreAt)
        dtype = self.kernel.buffers[instr.buffer]
        if dtype is not self.types[instr.arg]:
            raise ValueError(f"instruction {i} of {self.kernel} stores {self.types[instr.arg]} in a buffer of {dtype}")
        if isinstance(instr, StoreAt):
            w.assign(f"at{i}", "int64", " + ".join(f"v{v} * s{i}_{d}" for d, v in enumerate(instr.indices)) or "0")
            new = f"v{instr.arg}"
            if instr.accumulate:
                new = f"v{i}"
                old = widened(dtype, f"b{instr.buffer}[at{i}]")
                w.assign(new, variable_type(dtype), f"{old} + v{instr.arg}")
            w.line(f"b{instr.buffer}[at{i}] = {narrowed(dtype, new)}")
            return
        w.line(f"b{instr.buffer}[{position}] = {packed(self, instr.arg)}")


@dataclass(slots=True)
class Place:
    """Where the outer loops stand: which instructions have an offset variable there."""

    body: Body
    prefix: str
    moved: set[int]

    def position(self, i: int, counters: Mapping[int, str]) -> str:
        """The position of instruction i, given the counters of the inner loops."""
        return " + ".join([f"{self.prefix}{i}"] * (i in self.moved) + self.body.terms(i, counters)) or "0"

    def element(
        self, w: Writer, which: Iterable[int], counters: Mapping[int, str], near: Mapping[int, str] | None = None
    ) -> None:
        """Compute those values of ``which`` that an element has, then do the stores among them.

        ``near`` says of loads whose elements were copied to a stack array where they are.
        """
        instrs = self.body.kernel.body
        which = [i for i in which if not isinstance(instrs[i], Scalar | Reduce | Across)]
        stores = [i for i in which if isinstance(instrs[i], Store | StoreAt)]
        for i in which:
            if near and i in near:
                w.assign(f"v{i}", variable_type(self.body.types[i]), widened(self.body.types[i], near[i]))
            elif i not in stores:
                self.body.value(w, i, self.position(i, counters))
        for i in stores:
            self.body.store(w, i, self.position(i, counters))


def operands(instr: object) -> tuple[int, ...]:
    """The values that an instruction uses."""
    match instr:
        case Apply():
            return instr.args
        case Scan():
            return instr.args
        case LoadAt():
            return instr.indices
        case StoreAt():
            return (*instr.indices, instr.arg)
        case Reduce() | Across() | Store():
            return (instr.arg,)
    return ()


_letter = re.compile(r"\b[xyz]\b")


def substituted(body: str, args: list[str]) -> str:
    """An op's body with x, y and z replaced by ``args``."""
    return _letter.sub(lambda match: args["xyz".index(match[0])], body)


_call = re.compile(r"\b(\w+)\(")
_COSTS = {
    **dict.fromkeys(
        ("abs", "fma", "rint", "round", "floor", "ceil", "trunc", "copysign", "signbit", "isnan", "isinf"), 1
    ),
    **dict.fromkeys(("isfinite", "sign", "maximum", "minimum", "clip", "invert", "left_shift", "right_shift"), 2),
    **dict.fromkeys(("sqrt", "reciprocal"), 6),
}


#: Functions that are one long chain of dependent instructions, but of few constants: loops with up to two are interleaved.
_CHAINS = ("exp", "exp2", "exp_nonpositive")


#: Functions that are plain instructions, for vectors too: without branches, tables, or a way that few elements need.
_PLAIN = (
    *(
        "abs",
        "fma",
        "rint",
        "round",
        "floor",
        "ceil",
        "trunc",
        "copysign",
        "signbit",
        "isnan",
        "isinf",
        "isfinite",
        "sign",
    ),
    *(
        "maximum",
        "minimum",
        "clip",
        "sqrt",
        "reciprocal",
        "exp",
        "exp2",
        "exp_nonpositive",
        "expm1",
        "log",
        "log2",
        "log10",
    ),
    *("log1p", "tanh", "erf"),
)


def cost_of(body: str) -> int:
    """A rough cost of an op's body, in additions."""
    return max(1, sum(_COSTS.get(name, 20) for name in _call.findall(body)) + 4 * body.count("/"))


# Reductions

_MINIMUM = {"i": lambda bits: -(1 << (bits - 1)), "u": lambda bits: 0}
_MAXIMUM = {"i": lambda bits: (1 << (bits - 1)) - 1, "u": lambda bits: (1 << bits) - 1}


def accumulator(dtype: DType) -> DType:
    """The type in which values of this type are reduced: bool as uint8, 16-bit floats as float32."""
    return uint8 if dtype is bool_ else dtype.compute


def identity(op: str, dtype: DType) -> str:
    """The value that a reduction in accumulators of the given type starts from, as source."""
    match op:
        case "sum" | "any" | "m2":
            return "0"
        case "prod" | "all":
            return "1"
        case "max" | "argmax" | "min" | "argmin":
            least = op.endswith("max")
            if dtype.kind == "f":
                return f"{'-' * least}inf"
            return str((_MINIMUM if least else _MAXIMUM)[dtype.kind](dtype.itemsize * 8))
    raise ValueError(f"there is no reduction named {op!r}")


def is_arg(reduce: Reduce | Across) -> bool:
    """Whether the reduction finds a position."""
    return reduce.op.startswith("arg")


def reduced_type(body: Body, i: int) -> DType:
    """The type of the elements that Reduce i takes: that of its result, or of its argument if the result is a position."""
    reduce = body.reduction(i)
    return accumulator(body.types[reduce.arg] if is_arg(reduce) else reduce.dtype)


def partial_types(body: Body, i: int) -> list[DType]:
    """The types of the numbers that a partial result of Reduce i consists of: argmax has a position, m2 a mean as well."""
    reduce = body.reduction(i)
    first = partial(reduce.op, reduced_type(body, i))
    return [first, int64] if is_arg(reduce) else [first, first] if reduce.op == "m2" else [first]


def join(body: Body, w: Writer, i: int, mine: Sequence[str], earlier: Sequence[str], sizes: tuple[str, str]) -> None:
    """Assign to ``mine``, a partial result of Reduce i, its combination with an ``earlier`` one.

    ``sizes`` are the numbers of elements that the earlier and the later partial result are of.
    """
    op = body.reduces[i].op
    types = partial_types(body, i)
    if is_arg(body.reduces[i]):
        w.assign("better", "boolean", f"better_{op}({mine[0]}, {earlier[0]})")
        texts = [f"choose(better, {m}, {e})" for m, e in zip(mine, earlier, strict=True)]
    elif op == "m2":
        w.assign("many", "float64", f"to_float64({sizes[0]})")
        w.assign("share", "float64", f"to_float64({sizes[1]}) / to_float64({sizes[0]} + {sizes[1]})")
        w.assign("apart", "float64", f"{mine[0]} - {earlier[0]}")
        squares = f"({earlier[1]} + {mine[1]}) + (apart * apart) * (many * share)"
        texts = [f"{earlier[0]} + apart * share", squares]
    else:
        texts = [f"combine_{op}({earlier[0]}, {mine[0]})"]
    for name, dtype, text in zip(mine, types, texts, strict=True):
        w.assign(name, dtype.name, text)


def reduced_element(body: Body, i: int) -> str:
    """What Reduce i takes from its argument, as source: any and all take whether it is non-zero."""
    reduce = body.reduction(i)
    test = reduce.op in ("any", "all") and body.types[reduce.arg] is not bool_
    return f"v{reduce.arg} != 0" if test else f"v{reduce.arg}"


def reduced_value(body: Body, w: Writer, i: int, text: str) -> None:
    """Assign the value of Reduce i from its finished partial result."""
    dtype = body.types[i]
    if dtype.is_half:  # rounds to float32 first
        text = rounded(dtype, f"to_float32({text})")
    w.assign(f"v{i}", variable_type(dtype), f"{text} != 0" if dtype is bool_ else text)
