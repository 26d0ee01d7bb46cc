"""Scalar functions written as maths and emitted as LLVM instructions.

A function of the library takes and returns ``Val``: an LLVM value with the operators of arithmetic. ``@elementwise`` turns
it into an intrinsic, which is generic over the number types and is written straight into the calling loop. So a
function costs no type inference, no call that could stop the loop vectoriser, and its result cannot depend on the code
around it: every operator is one exact IEEE or two's-complement instruction without fast-math flags, and a
multiply-add is fused exactly where the source says ``fma``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llvmlite import ir

from weft.codegen import types
from weft.codegen.types import declared, intrinsic

Number: TypeAlias = bool | int | float
Operand: TypeAlias = "Val | bool | int | float"

_FLOAT = {32: ir.FloatType(), 64: ir.DoubleType()}
#: Bits of the significand after the point, and the exponent's bias.
MANTISSA = {32: 23, 64: 52}
BIAS = {32: 127, 64: 1023}
#: Adding 1.5 * 2**mantissa rounds a small float to an integer and leaves that integer in its low bits.
MAGIC = {32: 1.5 * 2.0**23, 64: 1.5 * 2.0**52}
INF = float("inf")
NAN = float("nan")


class Val:
    """An LLVM value of a float or integer type (``signed`` for integers; one bit, unsigned, for booleans), or a vector."""

    __slots__ = ("b", "signed", "v")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, signed: bool = False):
        self.b, self.v, self.signed = builder, value, signed

    @property
    def element(self) -> ir.Type:
        """The LLVM type, or that of a vector's elements."""
        return self.v.type.element if isinstance(self.v.type, ir.VectorType) else self.v.type

    @property
    def is_float(self) -> bool:
        return isinstance(self.element, ir.FloatType | ir.DoubleType)

    @property
    def width(self) -> int:
        """The number of bits (of one element)."""
        element = self.element
        if self.is_float:
            return 32 if isinstance(element, ir.FloatType) else 64
        return element.width

    def like(self, element: ir.Type) -> ir.Type:
        """``element`` as a type with as many elements as this value has."""
        return ir.VectorType(element, self.v.type.count) if isinstance(self.v.type, ir.VectorType) else element

    def lit(self, number: Number) -> Val:
        """The constant ``number`` in this value's type (integers wrap)."""
        value = float(number) if self.is_float else int(number) & ((1 << self.width) - 1)
        if isinstance(self.v.type, ir.VectorType):
            return self.new(ir.Constant(self.v.type, [value] * self.v.type.count))
        return self.new(ir.Constant(self.v.type, value))

    def of(self, other: Operand) -> Val:
        """``other`` as an operand beside this value; a Python number takes this value's type."""
        if not isinstance(other, Val):
            return self.lit(other)
        if other.v.type != self.v.type:
            raise TypeError(f"operands of types {self.v.type} and {other.v.type}")
        return other

    def new(self, value: ir.Value) -> Val:
        return Val(self.b, value, self.signed)

    def _op(self, other: Operand, on_float: str, on_int: str) -> Val:
        return self.new(getattr(self.b, on_float if self.is_float else on_int)(self.v, self.of(other).v))

    def __add__(self, o: Operand) -> Val:
        return self._op(o, "fadd", "add")

    def __sub__(self, o: Operand) -> Val:
        return self._op(o, "fsub", "sub")

    def __mul__(self, o: Operand) -> Val:
        return self._op(o, "fmul", "mul")

    def __truediv__(self, o: Operand) -> Val:
        return self.new(self.b.fdiv(self.v, self.of(o).v))

    def __radd__(self, o: Operand) -> Val:
        return self.of(o) + self

    def __rsub__(self, o: Operand) -> Val:
        return self.of(o) - self

    def __rmul__(self, o: Operand) -> Val:
        return self.of(o) * self

    def __rtruediv__(self, o: Operand) -> Val:
        return self.of(o) / self

    def __neg__(self) -> Val:
        return self.new(self.b.fneg(self.v)) if self.is_float else self.lit(0) - self

    def __and__(self, o: Operand) -> Val:
        return self.new(self.b.and_(self.v, self.of(o).v))

    def __or__(self, o: Operand) -> Val:
        return self.new(self.b.or_(self.v, self.of(o).v))

    def __xor__(self, o: Operand) -> Val:
        return self.new(self.b.xor(self.v, self.of(o).v))

    def __invert__(self) -> Val:
        return self ^ -1

    def __lshift__(self, o: Operand) -> Val:
        """Shift left; the count must be below the width."""
        return self.new(self.b.shl(self.v, self.of(o).v))

    def __rshift__(self, o: Operand) -> Val:
        """Shift right, arithmetically if signed; the count must be below the width."""
        shift = self.b.ashr if self.signed else self.b.lshr
        return self.new(shift(self.v, self.of(o).v))

    def _compare(self, sign: str, other: Operand) -> Val:
        a, c = self.v, self.of(other).v
        if self.is_float:
            compare = self.b.fcmp_unordered if sign == "!=" else self.b.fcmp_ordered
        else:
            compare = self.b.icmp_signed if self.signed else self.b.icmp_unsigned
        return Val(self.b, compare(sign, a, c))

    def __lt__(self, o: Operand) -> Val:
        return self._compare("<", o)

    def __le__(self, o: Operand) -> Val:
        return self._compare("<=", o)

    def __gt__(self, o: Operand) -> Val:
        return self._compare(">", o)

    def __ge__(self, o: Operand) -> Val:
        return self._compare(">=", o)

    def __eq__(self, o: object) -> Val:  # type: ignore[override]
        return self._compare("==", o)  # type: ignore[arg-type]

    def __ne__(self, o: object) -> Val:  # type: ignore[override]
        return self._compare("!=", o)  # type: ignore[arg-type]

    def bits(self) -> Val:
        """A float's bits as an unsigned integer."""
        return Val(self.b, self.b.bitcast(self.v, self.like(ir.IntType(self.width))))

    def floated(self) -> Val:
        """The float that has these bits."""
        return Val(self.b, self.b.bitcast(self.v, self.like(_FLOAT[self.width])))

    def as_int(self, width: int, signed: bool = False) -> Val:
        """An integer resized: extended as its own sign says, or cut."""
        to = self.like(ir.IntType(width))
        if width > self.width:
            return Val(self.b, (self.b.sext if self.signed else self.b.zext)(self.v, to), signed)
        return Val(self.b, self.b.trunc(self.v, to) if width < self.width else self.v, signed)

    def as_float(self, width: int) -> Val:
        """The nearest float of that width."""
        if not self.is_float:
            return Val(self.b, (self.b.sitofp if self.signed else self.b.uitofp)(self.v, self.like(_FLOAT[width])))
        if width == self.width:
            return self
        return Val(self.b, (self.b.fpext if width == 64 else self.b.fptrunc)(self.v, self.like(_FLOAT[width])))


def where(condition: Val, x: Operand, y: Operand) -> Val:
    """``x`` if the condition holds, else ``y``, without a branch."""
    like = x if isinstance(x, Val) else y
    assert isinstance(like, Val)
    a, c = like.of(x), like.of(y)
    return like.new(like.b.select(condition.v, a.v, c.v))


def call(name: str, *args: Val) -> Val:
    """LLVM's own intrinsic ``llvm.<name>`` over operands of one type."""
    x = args[0]
    t = x.v.type
    kind = x.element.intrinsic_name
    if isinstance(t, ir.VectorType):
        kind = f"v{t.count}{kind}"
    f = declared(x.b.module, ir.FunctionType(t, [t] * len(args)), f"llvm.{name}.{kind}")
    return x.new(x.b.call(f, [x.of(a).v for a in args]))


def fma(x: Val, y: Operand, z: Operand) -> Val:
    """``x * y + z`` with one rounding."""
    return call("fma", x, x.of(y), x.of(z))


def fabs(x: Val) -> Val:
    return call("fabs", x)


def copysign(x: Val, sign: Val) -> Val:
    """|x| with the sign bit of the other."""
    return call("copysign", x, sign)


def sqrt(x: Val) -> Val:
    return call("sqrt", x)


def rint(x: Val) -> Val:
    """The nearest integer, ties to even."""
    return call("rint", x)


def is_nan(x: Val) -> Val:
    return x != x


def polynomial(x: Val, coefficients: Sequence[float]) -> Val:
    """``c[0] + c[1] x + c[2] x**2 + ...`` by Estrin's scheme with fused multiply-adds.

    Terms are paired, then pairs of pairs: few multiplications more than Horner's rule, and a dependency chain so short
    that several iterations of a loop fit into the processor's window.
    """
    terms: list[Operand] = list(coefficients)
    power = x
    while len(terms) > 1:
        pairs: list[Operand] = []
        for i in range(0, len(terms) - 1, 2):
            pairs.append(fma(power, terms[i + 1], terms[i]))
        terms = pairs + terms[len(pairs) * 2 :]
        if len(terms) > 1:
            power = power * power
    return x.of(terms[0])


def _common(args: tuple[Any, ...]) -> Any:
    """The type that the arguments of one function share; ``None`` if there is none.

    The arguments of an operation have one type already, so whatever differs is a number written in an operation's body:
    it takes the type of the others. A float64 beside a float32 can only be such a number.
    """
    plain = [types.unliteral(a) for a in args if not isinstance(a, types.Literal)] or [types.unliteral(a) for a in args]
    if not all(isinstance(a, types.Integer | types.Float | types.Boolean) for a in plain):
        return None
    floats: list[Any] = [a for a in plain if isinstance(a, types.Float)]
    if floats:
        return min(floats, key=lambda a: a.bitwidth)
    integers: list[Any] = [a for a in plain if isinstance(a, types.Integer)]
    return max(integers, key=lambda a: a.bitwidth) if integers else plain[0]


def to_val(builder: ir.IRBuilder, value: ir.Value, typ: Any) -> Val:
    """A value of the source as a ``Val``."""
    return Val(builder, value, getattr(typ, "signed", False))


#: The functions of the library by name; filled by ``elementwise``.
NAMESPACE: dict[str, object] = {}
Signature = Callable[..., "tuple[types.Type, tuple[types.Type, ...]] | None"]


def same(*args: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
    """Signature: any one type in, the same out."""
    common = _common(args)
    return None if common is None else (common, (common,) * len(args))


def floating(*args: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
    """Signature: one floating type in, the same out."""
    common = _common(args)
    return (common, (common,) * len(args)) if isinstance(common, types.Float) else None


def predicate(*args: types.Type) -> tuple[types.Type, tuple[types.Type, ...]] | None:
    """Signature: any one type in, a boolean out."""
    common = _common(args)
    return None if common is None else (types.boolean, (common,) * len(args))


def elementwise(signature: Signature = same, name: str = "") -> Callable[[Callable[..., Val]], Callable[..., Val]]:
    """Register a function of ``Val`` under its name, as an intrinsic; the function itself is returned unchanged.

    ``signature`` maps argument types to (result type, argument types), or to ``None`` if it does not apply.
    """

    def register(function: Callable[..., Val]) -> Callable[..., Val]:
        def typed(context: Any, *args: types.Type) -> Any:
            found = signature(*args)
            if found is None:
                return None
            result, operands = found

            def generate(context: Any, builder: ir.IRBuilder, sig: Any, values: Sequence[ir.Value]) -> ir.Value:
                return function(*(to_val(builder, v, t) for v, t in zip(values, sig.args, strict=True))).v

            return result(*operands), generate

        typed.__name__ = typed.__qualname__ = name or function.__name__.rstrip("_")
        typed.__doc__ = function.__doc__
        NAMESPACE[typed.__name__] = intrinsic(prefer_literal=True)(typed)
        return function

    return register
