"""Generated source to LLVM code.

The source is a small part of Python: annotated assignments, counting loops, ``while``, ``if``, elements of pointers,
arithmetic, and calls of the intrinsics in a namespace. Every variable has the type that its annotation gives it, so nothing
is inferred: a statement is translated as it is read. Each variable has a place in the frame, which LLVM turns into registers.

A loop over ``lanes(start, stop, width)`` computes so many elements at once: what its body assigns are vectors, and elements at
positions that contain the counter are contiguous in memory. The last elements, fewer than a vector's, follow in short vectors
and then one by one, by the same statements. In the loop, ``take_op(a, x)`` reduces: the element at ``start + k`` goes to lane
``k % width`` of the array a. And ``fetch(p, i)`` brings the cache lines of a vector's elements from ``p[i]`` on to the
second-level cache. A variable that a loop inside assigns again must be a vector before that loop: ``every(type, x)`` is
one with the number in every element.

A number written in the source takes the type of what it meets. Arithmetic is in the wider of two types; booleans are numbers
there, as in Python. Integers wrap, and no operation on floats is contracted, reassociated or assumed to be finite.

Imports llvmlite: imported only when a kernel must be compiled.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from llvmlite import ir

from weft.codegen import types
from weft.codegen.emit import Function
from weft.codegen.lanes import combined, frozen, size_of, splat_value
from weft.codegen.types import declared

#: A number or pointer of the source: its LLVM value and its type; or a number that is written there and has no type yet.
Value: TypeAlias = "tuple[Any, Any] | int | float"

TYPES = {name: getattr(types, name) for name in ("boolean", "float32", "float64")} | {
    f"{kind}{bits}": getattr(types, f"{kind}{bits}") for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}
_LLVM = {
    t: ir.FloatType() if t is types.float32 else ir.DoubleType() if t is types.float64 else ir.IntType(t.bitwidth)
    for name, t in TYPES.items()
    if name != "boolean"
} | {types.boolean: ir.IntType(1)}
I32, I64 = ir.IntType(32), ir.IntType(64)


def source_type(name: str) -> Any:
    """The type that generated source calls ``name``; a trailing ``*`` makes it a pointer."""
    return types.CPointer(TYPES[name[:-1]]) if name.endswith("*") else TYPES[name]


def llvm_type(kind: Any) -> Any:
    """The LLVM type of values of a type."""
    return _LLVM[kind.dtype].as_pointer() if isinstance(kind, types.CPointer) else _LLVM[kind]


def splat(b: Any, value: Any, width: int) -> Any:
    """A vector with the number in every lane."""
    if isinstance(value, ir.Constant):
        return ir.Constant(ir.VectorType(value.type, width), [value.constant] * width)
    return splat_value(b, value, width)


def is_vector(value: Any) -> bool:
    """Whether an LLVM value is a vector."""
    return isinstance(value.type, ir.VectorType)


class _Context:
    """What the intrinsics ask of the target."""

    @staticmethod
    def get_data_type(kind: Any) -> Any:
        """The LLVM type of values of a type."""
        return llvm_type(kind)

    @staticmethod
    def get_abi_sizeof(kind: Any) -> int:
        """The bytes of a number of an LLVM type."""
        return 8 if isinstance(kind, ir.DoubleType) else 4 if isinstance(kind, ir.FloatType) else kind.width // 8

    @staticmethod
    def get_dummy_value() -> Any:
        """What an intrinsic without a value returns."""
        return None

    @staticmethod
    def cast(builder: Any, value: Any, given: Any, wanted: Any) -> Any:
        """A value in another type."""
        return converted(builder, value, given, wanted)


def converted(b: Any, value: Any, given: Any, wanted: Any) -> Any:
    """A number in another type: any in a boolean or a float; integers in integers, which wrap."""
    given, wanted = types.unliteral(given), types.unliteral(wanted)
    if given == wanted:
        return value
    to = llvm_type(wanted)
    size = getattr(to, "width", 0)
    if isinstance(value.type, ir.VectorType):
        to = ir.VectorType(to, value.type.count)
    real = isinstance(given, types.Float)
    if wanted is types.boolean:
        zero = ir.Constant(value.type, None)
        return b.fcmp_unordered("!=", value, zero) if real else b.icmp_unsigned("!=", value, zero)
    signed = getattr(given, "signed", False)
    if isinstance(wanted, types.Float):
        if real:
            return b.fpext(value, to) if wanted.bitwidth > given.bitwidth else b.fptrunc(value, to)
        return b.sitofp(value, to) if signed else b.uitofp(value, to)
    if real:
        raise TypeError(f"a {given} becomes a {wanted} only where the source says so")
    if size <= llvm_type(given).width:
        return b.trunc(value, to)
    return b.sext(value, to) if signed else b.zext(value, to)


_ARITHMETIC: dict[type, tuple[str, str]] = {
    ast.Add: ("fadd", "add"),
    ast.Sub: ("fsub", "sub"),
    ast.Mult: ("fmul", "mul"),
    ast.Div: ("fdiv", ""),
    ast.BitAnd: ("", "and_"),
    ast.BitOr: ("", "or_"),
    ast.BitXor: ("", "xor"),
}
_BITWISE = (ast.BitAnd, ast.BitOr, ast.BitXor)
_SIGNS: dict[type, str] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


#: Bytes of a cache line.
LINE = 64
#: Elements that are computed at once of those that a loop over vectors leaves.
NARROW = 8


class _Lanes:
    """A loop over vectors: its counter, how many elements they have, the lanes of reductions, and what variables are.

    A vector that a loop inside assigns again has a place.
    """

    def __init__(self, counter: str, width: int) -> None:
        self.counter, self.width = counter, width
        self.sums: dict[str, tuple[Any, Any]] = {}
        self.values: dict[str, Any] = {}
        self.places: dict[str, Any] = {}

    def positions(self, b: Any, first: Any) -> Any:
        """The counter's values, one for each element."""
        numbers = ir.Constant(ir.VectorType(I64, self.width), list(range(self.width)))
        return b.add(splat_value(b, first, self.width), numbers)


class _Translation:
    """One function being translated."""

    def __init__(self, function: Function, module: ir.Module, namespace: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.types = {name: source_type(dtype) for name, dtype in function.variables.items()}
        arguments = {name: source_type(dtype) for name, dtype in function.arguments.items()}
        kind = ir.FunctionType(ir.VoidType(), [llvm_type(t) for t in arguments.values()])
        self.function = ir.Function(module, kind, f"{function.name}.body")
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.known: dict[str, Value] = {}  # arguments, and what is assigned once: stack arrays
        self.places: dict[str, Any] = {}  # of the variables
        self.lanes: _Lanes | None = None  # the loop over vectors that is being translated
        self.counter, self.first = "", I64(0)  # of what a loop over vectors leaves: the counter, and where it begins
        self.stored: set[str] = set()  # the pointers through which something is stored
        for argument, (name, dtype) in zip(self.function.args, arguments.items(), strict=True):
            self.known[name] = argument, dtype
            if isinstance(dtype, types.CPointer):
                argument.add_attribute("noalias")

    # Statements

    def whole(self, statements: Sequence[ast.stmt]) -> None:
        """Translate the function's body."""
        for node in ast.walk(ast.Module(list(statements), [])):
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                self.stored.add(ast.unparse(node.value))
        self.run(statements)

    def run(self, statements: Sequence[ast.stmt]) -> None:
        """Translate statements in order."""
        for statement in statements:
            translate: Callable[[Any], None] = getattr(self, f"_{type(statement).__name__.lower()}")
            translate(statement)

    def _annassign(self, s: ast.AnnAssign) -> None:
        assert isinstance(s.target, ast.Name)
        assert s.value is not None
        self.assign(s.target.id, self.value(s.value))

    def _augassign(self, s: ast.AugAssign) -> None:
        assert isinstance(s.target, ast.Name)
        self.assign(s.target.id, self.binary(s.op, self.read(s.target.id), self.value(s.value)))

    def _assign(self, s: ast.Assign) -> None:
        (target,) = s.targets
        value = self.value(s.value)
        if isinstance(target, ast.Name):
            if target.id in self.types:
                self.assign(target.id, value)
                return
            if target.id in self.known:
                raise TypeError(f"{target.id} has no type and is assigned twice")
            self.known[target.id] = value
            return
        assert isinstance(target, ast.Subscript)
        at, dtype, width = self.element(target)
        number = self.typed(value, dtype)
        if width:
            store = self.b.store(number if is_vector(number) else splat(self.b, number, width), at)
            store.align = size_of(number.type.element if is_vector(number) else number.type)
        else:
            self.b.store(number, at)

    def _expr(self, s: ast.Expr) -> None:
        assert isinstance(s.value, ast.Call)
        assert isinstance(s.value.func, ast.Name)
        name = s.value.func.id
        if name == "fetch":
            self.fetch(*s.value.args)
        elif name.startswith("take_"):
            self.take(name.removeprefix("take_"), *s.value.args)
        else:
            self.call(s.value)

    def _return(self, s: ast.Return) -> None:
        self.b.ret_void()
        self.b.position_at_end(self.b.append_basic_block("after"))

    def _if(self, s: ast.If) -> None:
        condition = self.typed(self.value(s.test), types.boolean)
        if not s.orelse:
            with self.b.if_then(condition):
                self.run(s.body)
            return
        with self.b.if_else(condition) as (then, otherwise):
            with then:
                self.run(s.body)
            with otherwise:
                self.run(s.orelse)

    def _while(self, s: ast.While) -> None:
        self.loop(lambda: self.typed(self.value(s.test), types.boolean), lambda: self.run(s.body))

    def _for(self, s: ast.For) -> None:
        """``for i in range(...)``, upwards; in ``interleaved(...)``, several vectors of elements are computed side by side."""
        assert isinstance(s.target, ast.Name)
        assert isinstance(s.iter, ast.Call)
        assert isinstance(s.iter.func, ast.Name)
        name, each = s.target.id, s.iter.func.id
        if each == "lanes":
            self.over_lanes(name, s.iter.args, s.body)
            return
        bounds = [self.typed(self.value(a), types.int64) for a in s.iter.args]
        start, stop = bounds[:2] if len(bounds) > 1 else (I64(0), bounds[0])
        step = bounds[2] if len(bounds) > 2 else I64(1)
        self.types[name] = types.int64
        self.assign(name, (start, types.int64))
        self.carry(s.body)

        def inside() -> None:
            self.run(s.body)
            self.assign(name, (self.b.add(self.typed(self.read(name), types.int64), step), types.int64))
            if each == "interleaved":
                self.b.module.latches.append(self.b.block)

        self.loop(lambda: self.b.icmp_signed("<", self.typed(self.read(name), types.int64), stop), inside)

    def loop(self, condition: Callable[[], Any], inside: Callable[[], None]) -> None:
        """Do ``inside`` as long as the condition holds."""
        b = self.b
        head, body, after = (b.append_basic_block(n) for n in ("loop", "loop.body", "loop.end"))
        b.branch(head)
        b.position_at_end(head)
        b.cbranch(condition(), body, after)
        b.position_at_end(body)
        inside()
        b.branch(head)
        b.position_at_end(after)

    def carry(self, body: Sequence[ast.stmt]) -> None:
        """Give places to the vectors that ``body``, which is a loop's inside a loop over vectors, assigns again."""
        lanes = self.lanes
        if lanes is None:
            return
        for s in ast.walk(ast.Module(list(body), [])):
            if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name):
                vector = lanes.values.pop(s.target.id, None)
                if vector is not None:
                    with self.b.goto_entry_block():
                        place = lanes.places[s.target.id] = self.b.alloca(vector.type)
                    self.b.store(vector, place)

    def over_lanes(self, name: str, bounds: Sequence[ast.expr], body: Sequence[ast.stmt]) -> None:
        """``for name in lanes(first, last, width)``."""
        b = self.b
        first, last, size = bounds
        assert isinstance(size, ast.Constant)
        assert isinstance(size.value, int)
        start, stop = (self.typed(self.value(a), types.int64) for a in (first, last))
        self.types[name] = types.int64
        self.assign(name, (start, types.int64))
        place = self.places[name]
        lanes = _Lanes(name, size.value)
        for taken in ast.walk(ast.Module(list(body), [])):
            if isinstance(taken, ast.Call) and isinstance(taken.func, ast.Name) and taken.func.id.startswith("take_"):
                array = ast.unparse(taken.args[0])
                source, dtype = self.lanes_of(array, I64(0), lanes.width)
                with b.goto_entry_block():
                    lanes.sums[array] = b.alloca(ir.VectorType(llvm_type(dtype), lanes.width)), dtype
                b.store(b.load(source), lanes.sums[array][0])
        self.counter, self.first = name, b.add(start, b.and_(b.sub(stop, start), I64(-lanes.width)))
        known = isinstance(start, ir.Constant) and isinstance(stop, ir.Constant)
        full = known and (stop.constant - start.constant) % lanes.width == 0  # nothing is left for short vectors
        for width in (lanes.width,) if full else (lanes.width, NARROW, 1):
            end = b.add(start, b.and_(b.sub(stop, start), I64(-width)))
            self.lanes = lanes if width == lanes.width else _Lanes(name, width) if width > 1 else None

            def inside(width: int = width) -> None:
                self.run(body)
                b.store(b.add(b.load(place), I64(width)), place)
                b.module.finished.append(b.block)

            self.loop(lambda end=end: b.icmp_signed("<", b.load(place), end), inside)  # type: ignore[misc]
            if width == lanes.width:
                for array, (sums, _) in lanes.sums.items():
                    b.store(b.load(sums), self.lanes_of(array, I64(0), width)[0])
        self.lanes = None

    def lanes_of(self, array: str, at: Any, width: int) -> tuple[Any, Any]:
        """The lanes of a reduction from ``at`` on, in memory, as one vector or number, and their type."""
        pointer, kind = self.known[array]  # type: ignore[misc]
        place = self.b.gep(pointer, [at])
        if width > 1:
            place = self.b.bitcast(place, ir.VectorType(llvm_type(kind.dtype), width).as_pointer())
        return place, kind.dtype

    def take(self, op: str, array: ast.expr, x: ast.expr) -> None:
        """``take_op(array, x)``."""
        b, name = self.b, ast.unparse(array)
        width = self.lanes.width if self.lanes else 1
        if self.lanes and self.lanes.sums:
            place, dtype = self.lanes.sums[name]
        else:  # what is left begins with lane 0
            place, dtype = self.lanes_of(name, b.sub(b.load(self.places[self.counter]), self.first), width)
        value = self.typed(self.value(x), dtype)
        if width > 1 and not is_vector(value):
            value = splat(b, value, width)
        old, align = b.load(place), size_of(llvm_type(dtype))
        old.align = align
        b.store(combined(b, op, getattr(dtype, "signed", False), old, value), place).align = align

    def fetch(self, array: ast.expr, at: ast.expr) -> None:
        """``fetch(array, at)``."""
        if self.lanes is None:
            return
        b, lanes = self.b, self.lanes
        self.lanes = None
        pointer, kind = self.value(array)  # type: ignore[misc]
        start = b.gep(pointer, [self.typed(self.value(at), types.int64)])
        self.lanes = lanes
        byte = ir.IntType(8).as_pointer()
        call = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        prefetch = declared(b.module, call, "llvm.prefetch.p0")
        start = b.bitcast(start, byte)
        for line in range(0, lanes.width * size_of(llvm_type(kind.dtype)), LINE):
            b.call(prefetch, [b.gep(start, [I64(line)]), I32(0), I32(2), I32(1)])

    # Variables

    def assign(self, name: str, value: Value) -> None:
        """Give a variable a value, in its type."""
        dtype = self.types[name]
        number = self.typed(value, dtype)
        if self.lanes and name in self.lanes.places:
            self.b.store(number, self.lanes.places[name])
            return
        if self.lanes and is_vector(number):
            self.lanes.values[name] = number
            return
        place = self.places.get(name)
        if place is None:
            with self.b.goto_entry_block():
                place = self.places[name] = self.b.alloca(llvm_type(dtype), name=name)
        self.b.store(number, place)

    def read(self, name: str) -> Value:
        """The value that a name stands for."""
        if self.lanes:
            if name == self.lanes.counter:
                return self.lanes.positions(self.b, self.b.load(self.places[name])), types.int64
            if name in self.lanes.values:
                return self.lanes.values[name], self.types[name]
            if name in self.lanes.places:
                return self.b.load(self.lanes.places[name]), self.types[name]
        if name in self.places:
            return self.b.load(self.places[name]), self.types[name]
        if name in self.known:
            return self.known[name]
        found = self.namespace[name]
        if not isinstance(found, int | float):
            raise TypeError(f"{name} is not a number")
        return found

    def element(self, s: ast.Subscript) -> tuple[Any, Any, int]:
        """The place in memory that a subscript means, the type of what is there, and of how many elements; 0: of one."""
        pointer, kind = self.value(s.value)  # type: ignore[misc]
        lanes, self.lanes = self.lanes, None  # positions are those of the first of the elements
        at = self.b.gep(pointer, [self.typed(self.value(s.slice), types.int64)])
        self.lanes = lanes
        if lanes and any(isinstance(n, ast.Name) and n.id == lanes.counter for n in ast.walk(s.slice)):
            vector = ir.VectorType(llvm_type(kind.dtype), lanes.width)
            return self.b.bitcast(at, vector.as_pointer()), kind.dtype, lanes.width
        return at, kind.dtype, 0

    # Expressions

    def typed(self, value: Value, wanted: Any) -> Any:
        """The LLVM value of a number in a type."""
        if isinstance(value, tuple):
            return converted(self.b, *value, wanted)
        if isinstance(wanted, types.Float):
            return llvm_type(wanted)(float(value))
        return llvm_type(wanted)(int(value) & ((1 << llvm_type(wanted).width) - 1))

    def value(self, e: ast.expr) -> Value:
        """The value of an expression."""
        match e:
            case ast.Constant(value=bool() | int() | float() as number):
                return number
            case ast.Name(id=name):
                return self.read(name)
            case ast.Subscript():
                at, dtype, width = self.element(e)
                loaded = self.b.load(at)
                if width:
                    loaded.align = size_of(llvm_type(dtype))
                return frozen(self.b, loaded) if ast.unparse(e.value) in self.stored else loaded, dtype
            case ast.BinOp():
                return self.binary(e.op, self.value(e.left), self.value(e.right))
            case ast.UnaryOp(op=ast.USub()):
                return self.negative(self.value(e.operand))
            case ast.Compare(ops=[sign]):
                return self.compare(_SIGNS[type(sign)], self.value(e.left), self.value(e.comparators[0]))
            case ast.BoolOp(op=ast.And()):
                first, *more = (self.typed(self.value(v), types.boolean) for v in e.values)
                for v in more:
                    first = self.b.and_(first, v)
                return first, types.boolean
            case ast.IfExp():
                condition = self.typed(self.value(e.test), types.boolean)
                x, y, dtype = self.alike(self.value(e.body), self.value(e.orelse))
                if is_vector(condition) and not is_vector(x):
                    x, y = (splat(self.b, v, condition.type.count) for v in (x, y))
                return self.b.select(condition, x, y), dtype
            case ast.Call():
                return self.call(e)
        raise TypeError(f"generated source must not contain {ast.unparse(e)}")

    def alike(self, x: Value, y: Value) -> tuple[Any, Any, Any]:
        """Two numbers in one type, and the type."""
        kinds = [v[1] for v in (x, y) if isinstance(v, tuple)]
        if not kinds:
            kinds = [types.float64 if any(isinstance(v, float) for v in (x, y)) else types.int64]
        dtype = max(kinds, key=lambda t: (isinstance(t, types.Float), t.bitwidth if t is not types.boolean else 1))
        return *self.together([self.typed(v, dtype) for v in (x, y)]), dtype

    def together(self, values: Sequence[Any]) -> list[Any]:
        """Numbers as vectors if one of them is."""
        widths = [v.type.count for v in values if is_vector(v)]
        return [splat(self.b, v, widths[0]) if widths and not is_vector(v) else v for v in values]

    def binary(self, op: ast.operator, x: Value, y: Value) -> Value:
        """Arithmetic on two numbers."""
        a, c, dtype = self.alike(x, y)
        if dtype is types.boolean and not isinstance(op, _BITWISE):
            a, c, dtype = (*(converted(self.b, v, dtype, types.int64) for v in (a, c)), types.int64)
        name = _ARITHMETIC[type(op)][not isinstance(dtype, types.Float)]
        return getattr(self.b, name)(a, c), dtype

    def negative(self, x: Value) -> Value:
        """-x."""
        if not isinstance(x, tuple):
            return -x
        value, dtype = x
        if isinstance(dtype, types.Float):
            return self.b.fneg(value), dtype
        return self.binary(ast.Sub(), 0, x)

    def compare(self, sign: str, x: Value, y: Value) -> Value:
        """Whether one number is equal to, less or greater than another."""
        a, c, dtype = self.alike(x, y)
        if isinstance(dtype, types.Float):
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        else:
            compare = self.b.icmp_signed if getattr(dtype, "signed", False) else self.b.icmp_unsigned
        return compare(sign, a, c), types.boolean

    def every(self, kind: ast.expr, x: ast.expr) -> Value:
        """``every(type, number)``."""
        dtype = TYPES[ast.unparse(kind)]
        number = self.typed(self.value(x), dtype)
        return splat(self.b, number, self.lanes.width) if self.lanes else number, dtype

    def call(self, e: ast.Call) -> Value:
        """A call of an intrinsic."""
        assert isinstance(e.func, ast.Name)
        if e.func.id == "every":
            return self.every(*e.args)
        intrinsic = self.namespace[e.func.id]
        given = [
            found
            if isinstance(a, ast.Name) and isinstance(found := self.namespace.get(a.id), types.Type)
            else self.value(a)
            for a in e.args
        ]
        kinds = [_kind(v, intrinsic.prefer_literal) for v in given]
        found = intrinsic.definition(None, *kinds)
        if found is None:
            raise TypeError(f"{e.func.id} does not take {', '.join(map(str, kinds))}")
        signature, generate = found
        values = [
            None if isinstance(v, types.Type) else self.typed(v, types.unliteral(t))
            for v, t in zip(given, signature.args, strict=True)
        ]
        numbers = [k for k, t in enumerate(signature.args) if isinstance(types.unliteral(t), types.Number)]
        if not numbers:
            numbers = [k for k, t in enumerate(signature.args) if isinstance(t, types.Boolean)]
        for k, v in zip(numbers, self.together([values[k] for k in numbers]), strict=True):
            values[k] = v
        return generate(_Context, self.b, signature, values), types.unliteral(signature.return_type)


def _kind(value: Any, literal: bool) -> Any:
    """The type as which an intrinsic sees an argument; ``literal``: it wants to know integers that are written."""
    if isinstance(value, types.Type):
        return types.NumberClass(value)
    if isinstance(value, tuple):
        return value[1]
    if isinstance(value, float):
        return types.float64
    return types.literal(value) if literal else types.int64


def translated(function: Function, module: ir.Module, namespace: Mapping[str, Any]) -> ir.Function:
    """Translate one function into the module; its LLVM function, whose arguments are those of the source.

    The module has lists ``latches`` and ``finished``, to which the last blocks of loops are added that LLVM is to interleave,
    and to leave as they are.
    """
    (tree,) = ast.parse(function.source).body
    assert isinstance(tree, ast.FunctionDef)
    translation = _Translation(function, module, namespace)
    translation.whole(tree.body)
    if not translation.b.block.is_terminated:
        translation.b.unreachable()  # after the last return
    return translation.function
