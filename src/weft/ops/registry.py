"""The op registry: one record says everything about an operation.

A *primitive* op becomes one node of the graph: its record holds the dtype rule, the kernel body, the gradient and the NumPy
reference. A *composite* op is a plain function of other ops; every mode treats it as one entry on the gradient tape, so
that gradients are accumulated in the same order everywhere. Kinds of primitive:

========== ============================================ =====================================
kind       examples                                     lowered to
========== ============================================ =====================================
elementwise add, exp, where, cast                       an expression inside a kernel
movement   reshape, permute, expand, slice              index maps (views when called eagerly)
reduction  reduce_sum, argmax                           a reducing kernel
scan       scan_sum, scan_prod, scan_linear             a scanning kernel
indexed    gather, scatter_add, assign, nonzero         loads and stores at computed positions
matmul     matmul                                       a contraction
attention  attention, attention_dq                      a call of the runtime, in blocks
leaf       iota                                         nothing: an index
========== ============================================ =====================================

An *inplace* op (`add_`, `copy_`) is the functional value that its first operand receives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft import _native, dtypes
from weft.dtypes import DType
from weft.errors import ShapeError
from weft.ir.node import Node, Where, make


@dataclass(frozen=True, slots=True)
class Weak:
    """A Python scalar among an op's operands: it takes the type of the tensors around it."""

    kind: type  # bool, int or float
    make: Callable[[DType], Node]  # the 0-d node of the given type that stands for it
    key: Any = None  # what it makes nodes of, where that is known: equal keys, equal nodes


Operand = Node | Weak
#: What calling a movement op does to a tensor's layout: (shape, strides, attrs) -> (shape, strides, offset), or None where
#: strides cannot express it.
View = Callable[[tuple[int, ...], tuple[int, ...], Any], "tuple[tuple[int, ...], tuple[int, ...], int] | None"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What a gradient rule sees of the forward call: operands, output, attributes, whose gradient is needed, what was kept."""

    operands: tuple[Any, ...]
    out: Any
    attrs: Any
    needs: tuple[bool, ...]
    kept: tuple[Any, ...] = ()

    @property
    def x(self) -> Any:
        return self.operands[0]

    @property
    def y(self) -> Any:
        return self.operands[1]

    @property
    def z(self) -> Any:
        return self.operands[2]


#: Gradient rule: (gradient of the output, what was saved) -> one gradient (or None) for each operand. A gradient may still have
#: the broadcast shape and type; the engine sums and casts it to its operand's.
Grad = Callable[[Any, Saved], Sequence[Any]]


@dataclass(slots=True, eq=False)
class Op:
    """The record of one operation."""

    name: str
    kind: str
    arity: int
    #: (operands, attrs, where) -> node, for a primitive: checks types and shapes, inserts casts and broadcasts.
    build: Callable[[Sequence[Operand], Any, Where], Node] | None = None
    #: Of an elementwise op: a Python expression over x, y, z in the kernel language.
    body: str = ""
    grad: Grad | None = None
    #: NumPy's version, (arrays, attrs) -> array: the tests' oracle.
    reference: Callable[..., Any] | None = None
    #: Rough cost of an elementwise body in flops; 8 and more counts as expensive to compute twice.
    cost: int = 1
    #: Of a composite: the function of tensors.
    function: Callable[..., Any] | None = None
    #: Which operand types an elementwise op takes ("all", "numeric", "float", "integer", "bits", "bool") and gives
    #: ("same", "bool", "float", or a type's name).
    takes: str = "numeric"
    gives: str = "same"
    doc: str = ""
    view: View | None = None
    #: Of a composite with a gradient rule: a function of the same operands that gives the values which the rule finds in
    #: `Saved.kept`. An eager call that goes on the tape computes them with its result; other modes where the rule is applied.
    keeps: Callable[..., tuple[Any, ...]] | None = None
    handle: Any = field(default=None)

    def __post_init__(self) -> None:
        self.handle = _native.OpHandle(self.name, self.arity)

    def __call__(self, *operands: Any, attrs: Any = None) -> Any:
        """Apply the op to tensors and Python scalars, in whatever mode is active."""
        out = self.handle(attrs, *operands)
        if out is NotImplemented:
            bad = next((o for o in operands if not isinstance(o, _native.Tensor | bool | int | float)), 0)
            if bad == 0:
                raise TypeError(f"{self.name} changes its first operand, which must be a tensor, not a Python number.")
            kind = "None" if bad is None else article(type(bad).__name__)
            raise TypeError(f"{self.name} takes tensors and Python numbers, not {kind}.")
        return out


OPS: dict[str, Op] = {}
#: Kernel-language body of each elementwise op.
BODIES: dict[str, str] = {}


def register(op: Op) -> Op:
    """Add a record; a name is registered once."""
    if op.name in OPS:
        raise ValueError(f"An op named {op.name!r} is registered already.")
    OPS[op.name] = op
    if op.kind == "elementwise":
        BODIES[op.name] = op.body
    return op


_TAKES: dict[str, Callable[[DType], bool]] = {
    "all": lambda d: True,
    "numeric": lambda d: d.kind != "b",
    "float": lambda d: d.kind == "f",
    "integer": lambda d: d.kind in "iu",
    "bits": lambda d: d.kind in "biu",
    "bool": lambda d: d.kind == "b",
}


def elementwise(
    name: str,
    arity: int,
    body: str,
    *,
    takes: str = "numeric",
    gives: str = "same",
    grad: Grad | None = None,
    reference: Callable[..., Any] | None = None,
    cost: int = 1,
    doc: str = "",
) -> Op:
    """Register an elementwise op whose operands are promoted to one type and broadcast to one shape."""

    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        dtype = common_dtype(operands)
        if dtype.kind in "biu" and (gives == "float" or takes == "float"):
            dtype = dtypes.default_float
        if not _TAKES[takes](dtype):
            raise TypeError(f"{name} does not take {dtype.name}: it takes {_TAKES_WORDS[takes]}.")
        shape = broadcast_shape(name, [o.shape for o in operands if isinstance(o, Node)])
        args = [broadcast(cast(o, dtype), shape) for o in operands]
        result = dtypes.bool_ if gives == "bool" else dtype if gives in ("same", "float") else dtypes.BY_NAME[gives]
        return make(name, args, (), shape, result, where)

    return register(Op(name, "elementwise", arity, build, body, grad, reference, cost, None, takes, gives, doc))


_TAKES_WORDS = {
    "all": "every type",
    "numeric": "integer and floating-point types",
    "float": "floating-point types",
    "integer": "integer types",
    "bits": "bool and integer types",
    "bool": "bool",
}


def common_dtype(operands: Sequence[Operand]) -> DType:
    """The type that tensors and Python scalars are promoted to together."""
    result: DType | None = None
    for o in operands:
        if isinstance(o, Node):
            result = o.dtype if result is None else dtypes.promote(result, o.dtype)
    for o in operands:
        if isinstance(o, Weak):
            result = dtypes.as_dtype(o.kind) if result is None else dtypes.promote_scalar(result, o.kind)
    assert result is not None
    return result


def broadcast_shape(name: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that ``shapes`` broadcast to by NumPy's rule. Raises ``ShapeError`` where they do not."""
    if len(set(shapes)) == 1:
        return shapes[0]
    ndim = max((len(s) for s in shapes), default=0)
    out = [1] * ndim
    for shape in shapes:
        for d, n in enumerate(shape, ndim - len(shape)):
            if n != 1:
                if out[d] not in (1, n):
                    given = " and ".join(str(list(s)) for s in shapes)
                    raise ShapeError(
                        f"{name} cannot broadcast shapes {given} together: axis {d - ndim} has sizes {out[d]} and {n}."
                    )
                out[d] = n
    return tuple(out)


def cast(operand: Operand, dtype: DType, where: Where = None) -> Node:
    """The operand as a node of the given type."""
    if isinstance(operand, Weak):
        own = _SCALARS[operand.kind]
        if not _narrows(own, dtype):
            return operand.make(dtype)
        operand = operand.make(own)  # 2.5 in an integer tensor: the number is passed as it is and cast by the kernel
    if operand.dtype is dtype:
        return operand
    return make("cast", (operand,), (), operand.shape, dtype, where)


_SCALARS = {bool: dtypes.bool_, int: dtypes.int64, float: dtypes.float64}
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2}


def _narrows(value: DType, target: DType) -> bool:
    """Whether a cast goes from floating-point to integer or bool, or from integer to bool."""
    return _KINDS[value.kind] > _KINDS[target.kind]


def article(name: str) -> str:
    """A word with "a" or "an" before it."""
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def broadcast(node: Node, shape: tuple[int, ...], where: Where = None) -> Node:
    """The node expanded to ``shape``, to which its own shape broadcasts."""
    if node.shape == shape:
        return node
    if len(node.shape) < len(shape):
        padded = (1,) * (len(shape) - len(node.shape)) + node.shape
        node = make("reshape", (node,), (padded,), padded, node.dtype, where)
    return node if node.shape == shape else make("expand", (node,), (shape,), shape, node.dtype, where)


def composite(
    name: str,
    arity: int,
    *,
    grad: Grad | None = None,
    keeps: Callable[..., tuple[Any, ...]] | None = None,
    reference: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Op]:
    """Register a function ``f(*tensors, attrs)`` of other ops as one op; ``attrs`` is hashable, numbers included.

    Eagerly it is traced once for each kind of call and runs as one fused program. Its gradient is that of its function,
    unless ``grad`` gives a better one. What that rule needs of the forward computation besides the result, such as the sum
    of a row, ``keeps(*tensors, attrs)`` gives; made of the same ops as in the function, it is computed once.
    """

    def wrap(function: Callable[..., Any]) -> Op:
        doc = function.__doc__ or ""
        return register(
            Op(name, "composite", arity, None, "", grad, reference, function=function, keeps=keeps, doc=doc)
        )

    return wrap


def inplace(
    name: str, arity: int, value: Callable[[Sequence[Operand], Any, Where], Node], *, grad: Grad | None = None
) -> Op:
    """Register an op that gives its first operand's memory a new value; ``name`` ends in an underscore.

    ``value`` builds the new value, which is cast and broadcast to the operand's type and shape. On the tape the call is an
    entry of the op of the same name without the underscore, if there is one and no ``grad`` is given.
    """

    def build(operands: Sequence[Operand], attrs: Any, where: Where) -> Node:
        target = operands[0]
        assert isinstance(target, Node)
        node = value(operands, attrs, where)
        if _narrows(node.dtype, target.dtype):
            raise TypeError(
                f"{name} would put {node.dtype.name} values into {article(target.dtype.name)} tensor; cast them with "
                f"to(weft.{target.dtype.name}) first, or use the form that makes a new tensor."
            )
        if broadcast_shape(name, [target.shape, node.shape]) != target.shape:
            raise ShapeError(
                f"{name} gives shape {list(node.shape)}, which does not fit into the tensor's own shape {list(target.shape)}."
            )
        return broadcast(cast(node, target.dtype, where), target.shape, where)

    return register(Op(name, "inplace", arity, build, grad=grad))
