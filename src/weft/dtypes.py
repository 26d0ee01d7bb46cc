"""Data types and type promotion.

The promotion table is the array API's. Where that standard is silent Weft follows PyTorch: an integer tensor mixed with a
floating-point one takes the floating-point type, and Python scalars are weak (they never widen a tensor, except to the
default floating type when an integer tensor meets a Python float).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weft.errors import describe


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """One element type. Compare with ``is``; the native runtime knows it by ``code``."""

    name: str
    code: int
    kind: str  # "b" bool, "i" signed, "u" unsigned, "f" floating
    itemsize: int

    def __repr__(self) -> str:
        return f"weft.{self.name}"

    def __reduce__(self) -> str:
        return "bool_" if self.kind == "b" else self.name  # the name of a global of this module

    @property
    def is_floating_point(self) -> bool:
        """Whether this is a floating-point type."""
        return self.kind == "f"

    @property
    def is_integer(self) -> bool:
        """Whether this is a signed or unsigned integer type (bool is not)."""
        return self.kind in "iu"

    @property
    def is_half(self) -> bool:
        """Whether values are stored in 16 bits and computed in float32."""
        return self.kind == "f" and self.itemsize == 2

    @property
    def compute(self) -> DType:
        """The type arithmetic is done in: float32 for the 16-bit floating types, else the type itself."""
        return float32 if self.is_half else self

    @property
    def numpy(self) -> np.dtype:
        """The NumPy type of the same layout. NumPy has no bfloat16, so that raises ``TypeError``."""
        if self is bfloat16:
            raise TypeError("NumPy has no bfloat16 type; cast the tensor to float32 first, with x.to(weft.float32).")
        return np.dtype(self.name)


bool_ = DType("bool", 0, "b", 1)
int8 = DType("int8", 1, "i", 1)
int16 = DType("int16", 2, "i", 2)
int32 = DType("int32", 3, "i", 4)
int64 = DType("int64", 4, "i", 8)
uint8 = DType("uint8", 5, "u", 1)
uint16 = DType("uint16", 6, "u", 2)
uint32 = DType("uint32", 7, "u", 4)
uint64 = DType("uint64", 8, "u", 8)
float16 = DType("float16", 9, "f", 2)
bfloat16 = DType("bfloat16", 10, "f", 2)
float32 = DType("float32", 11, "f", 4)
float64 = DType("float64", 12, "f", 8)

#: Every type, by native code.
ALL: tuple[DType, ...] = (
    bool_,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
)
BY_NAME = {d.name: d for d in ALL}
#: Those that NumPy has, by its own types.
BY_NUMPY = {np.dtype(d.name): d for d in ALL if d is not bfloat16}
SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
default_float = float32
default_int = int64


def as_dtype(value: object) -> DType:
    """The Weft type that ``value`` names: a ``DType``, a name, a NumPy type, or Python's bool, int or float."""
    if isinstance(value, DType):
        return value
    if value is bool:
        return bool_
    if value is int:
        return default_int
    if value is float:
        return default_float
    if isinstance(value, str) and value in BY_NAME:
        return BY_NAME[value]
    try:
        name = "" if value is None or isinstance(value, np.ndarray) else np.dtype(value).name  # type: ignore[call-overload]
    except (TypeError, ValueError):
        name = ""
    if name in BY_NAME:
        return BY_NAME[name]
    raise TypeError(f"{describe(value)} is not a Weft data type; the types are {', '.join(BY_NAME)}.")


def of_scalar(value: bool | int | float) -> DType:
    """The default type of a Python scalar."""
    if isinstance(value, bool):
        return bool_
    return default_int if isinstance(value, int) else default_float


def promote(a: DType, b: DType) -> DType:
    """The type of an operation over tensors of types ``a`` and ``b``.

    Raises ``TypeError`` for uint64 with a signed type, which no integer type can hold.
    """
    if a is b:
        return a
    if a.kind == "b":
        return b
    if b.kind == "b":
        return a
    if a.kind == "f" or b.kind == "f":
        if a.kind != b.kind:
            return a if a.kind == "f" else b
        if a.itemsize == b.itemsize:  # float16 with bfloat16
            return float32
        return a if a.itemsize > b.itemsize else b
    if a.kind == b.kind:
        return a if a.itemsize > b.itemsize else b
    signed, unsigned = (a, b) if a.kind == "i" else (b, a)
    if signed.itemsize > unsigned.itemsize:
        return signed
    if unsigned.itemsize == 8:
        raise TypeError(
            f"{a.name} and {b.name} have no common integer type; cast one of them first, for example with x.to(weft.int64)."
        )
    return SIGNED[unsigned.itemsize.bit_length()]


def promote_scalar(a: DType, scalar: type) -> DType:
    """The type of an operation over a tensor of type ``a`` and a Python scalar of the given class."""
    if scalar is float and a.kind != "f":
        return default_float
    if scalar is int and a.kind == "b":
        return default_int
    return a
