"""Every elementwise op of the registry, over types and layouts, against NumPy and in every mode."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import LAYOUTS, array_of, assert_close, in_every_mode, laid_out, numbers, tensor
from weft import dtypes
from weft.ops.registry import _TAKES, OPS

#: Ops with operands of different types, or none that a user calls; they have tests of their own.
APART = {"cast", "copy", "where", "check_index", "philox"}
ROWS = [op for op in OPS.values() if op.kind == "elementwise" and op.name not in APART]
#: Ops that are tried on every type; the others' kernels differ from these in one instruction.
EVERY_TYPE = {"add", "floor_divide", "remainder", "power", "maximum", "less", "abs", "sign", "bitwise_xor", "divide"}
EVERY_LAYOUT = ("add", "divide", "less", "exp", "negative", "bitwise_xor", "clip", "isnan", "maximum")
SOME_TYPES = (weft.bool_, weft.int32, weft.uint8, weft.float16, weft.float32, weft.float64)
SOME_FLOATS = (weft.bool_, weft.int64, weft.bfloat16, weft.float32, weft.float64)
#: Where an op's operands must lie.
DOMAINS: dict[str, tuple[float, float]] = {
    "log": (0.1, 9), "log2": (0.1, 9), "log10": (0.1, 9), "log1p": (-0.5, 9), "sqrt": (0, 9), "acosh": (1, 9),
    "asin": (-1, 1), "acos": (-1, 1), "atanh": (-0.9, 0.9), "reciprocal": (0.5, 3), "power": (0.3, 3),
    "divide": (0.5, 4), "floor_divide": (1, 9), "remainder": (1, 9), "fmod": (1, 9), "tan": (-1.4, 1.4),
    "bitwise_left_shift": (0, 5), "bitwise_right_shift": (0, 5), "exp": (-5, 5), "nextafter": (0.5, 2),
}  # fmt: skip
#: Units in the last place; float32 and float64 scalar functions are within 2, the references' own error aside.
ULPS = {"power": 8, "tan": 4, "remainder": 64, "fmod": 64, "atan2": 4}


def accepted(op: Any, dtype: weft.DType) -> bool:
    if op.gives == "float" or op.takes == "float":
        return True
    return _TAKES[op.takes](dtype)


def operands(op: Any, dtype: weft.DType, layout: str = "contiguous") -> tuple[list[np.ndarray], list[Any]]:
    low, high = DOMAINS.get(op.name, (-3, 3))
    arrays, tensors = [], []
    for k in range(op.arity):
        array = numbers(dtype, (3, 4), 10 * k + 1, low, high)
        if layout != "contiguous":
            array, t = laid_out(array, layout)
        else:
            t = tensor(array, dtype)
        arrays.append(array)
        tensors.append(t)
    return arrays, tensors


def reference(op: Any, arrays: list[np.ndarray], dtype: weft.DType) -> np.ndarray:
    """NumPy's answer, for floats in more digits than Weft's."""
    if op.gives == "float" or op.takes == "float" or dtype.kind == "f":
        arrays = [a.astype(np.float64) for a in arrays]
        if op.name == "nextafter":
            narrow = np.float32 if dtype.kind != "f" or dtype.is_half else dtype.numpy
            arrays = [a.astype(narrow) for a in arrays]
        if op.name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
            return op.reference(*arrays)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return op.reference(*arrays)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_types(op: Any) -> None:
    """The types an op takes and refuses: the result's type, and its values."""
    for dtype in dtypes.ALL if op.name in EVERY_TYPE else SOME_FLOATS if op.gives == "float" else SOME_TYPES:
        arrays, tensors = operands(op, dtype)
        if not accepted(op, dtype):
            with pytest.raises(TypeError, match="does not take"):
                op(*tensors)
            continue
        (got,) = in_every_mode(op, *tensors)
        if op.gives == "bool":
            assert got.dtype is weft.bool_
        elif dtype.kind != "f" and (op.gives == "float" or op.takes == "float"):
            assert got.dtype is weft.float32
        else:
            assert got.dtype is dtype
        if dtype.is_half and op.name in ("nextafter", "floor_divide", "remainder", "fmod"):
            continue  # computed in float32 and rounded: NumPy's neighbours and quotients are others
        want = reference(op, arrays, dtype)
        ulps = ULPS.get(op.name, 3) if got.dtype.itemsize > 2 or got.dtype.kind != "f" else 1
        assert_close(got, want.astype(bool) if op.gives == "bool" else want, ulps, f"{op.name} of {dtype.name}", 1.0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    """Strided operands of every op, float32 or int32; a handful of ops in the other layouts."""
    for op in ROWS if layout == "strided" else [OPS[name] for name in EVERY_LAYOUT]:
        dtype = weft.float32 if accepted(op, weft.float32) else weft.int32
        arrays, tensors = operands(op, dtype, layout)
        got = op(*tensors)
        want = reference(op, arrays, dtype)
        if op.name == "nextafter":
            want = want.astype(np.float32)
        assert_close(got, want, ULPS.get(op.name, 3), f"{op.name}, {layout}", 1.0)


@pytest.mark.parametrize("op", [op for op in ROWS if op.arity == 2], ids=lambda op: op.name)
def test_broadcasting_and_numbers(op: Any) -> None:
    """A row against a column, and a Python number on either side."""
    dtype = weft.float32 if accepted(op, weft.float32) else weft.int32
    (a, b), _ = operands(op, dtype)
    row, column = a[:1].copy(), b[:, :1].copy()
    want = reference(op, [row, column], dtype)
    (got,) = in_every_mode(op, weft.from_numpy(row), weft.from_numpy(column))
    assert_close(got, want, ULPS.get(op.name, 3), op.name, 1.0)
    number: Any = 1.5 if dtype.kind == "f" else 2
    filled = np.full_like(a, number)
    for left, right, arrays in ((weft.from_numpy(a), number, [a, filled]), (number, weft.from_numpy(b), [filled, b])):
        got = op(left, right)
        assert_close(got, reference(op, arrays, dtype), ULPS.get(op.name, 3), op.name, 1.0)


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.0, np.inf, -np.inf, np.nan, 1e-42, -1e-42, 88.8, -104.0, 3e38]
#: Where Weft's answer to a special operand differs from NumPy's, and why.
EXCUSED = {
    "floor_divide",  # of infinities and zeros: the floor of the quotient, where NumPy gives NaN
    "remainder",
    "exp_nonpositive",  # says nothing of large numbers; the others: test_exp_nonpositive_has_the_bits_of_exp
}


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_special_values(op: Any) -> None:
    """NaN, infinities, signed zeros and subnormals: the same class of number as NumPy, with the same sign."""
    if not accepted(op, weft.float32) or op.name in EXCUSED:
        return
    x = np.array(SPECIAL, dtype=np.float32)
    arrays = [x] if op.arity == 1 else list(np.meshgrid(x, x, indexing="ij"))
    arrays = [np.ascontiguousarray(a) for a in arrays][: op.arity]
    while len(arrays) < op.arity:
        arrays.append(np.ones_like(arrays[0]))
    got = array_of(op(*[weft.from_numpy(a) for a in arrays]))
    with np.errstate(all="ignore"):
        want = np.asarray(op.reference(*arrays))
    if op.gives == "bool":
        np.testing.assert_array_equal(got, want)
        return
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg="NaN")
    there = ~np.isnan(want)
    np.testing.assert_array_equal(np.isinf(got)[there], np.isinf(want)[there], err_msg="infinite")
    np.testing.assert_array_equal(np.signbit(got)[there], np.signbit(want)[there], err_msg="sign")
    finite = np.isfinite(want) & np.isfinite(got)
    np.testing.assert_allclose(got[finite], want[finite], rtol=2e-6, atol=1e-44)


def test_where() -> None:
    condition = weft.tensor([[True], [False]])
    x, y = weft.tensor([1.0, 2.0, 3.0]), weft.tensor([[4], [5]])
    (got,) = in_every_mode(weft.where, condition, x, y)
    np.testing.assert_array_equal(got.numpy(), np.where([[True], [False]], [1.0, 2, 3], [[4], [5]]))
    assert got.dtype is weft.float32
    assert weft.where(condition, 1, 2.5).dtype is weft.float32
    assert weft.where(condition, True, False).dtype is weft.bool_
    assert weft.where(condition, x.to(weft.float16), 1.0).dtype is weft.float16


def test_power_front_end() -> None:
    """The exponents that are computed in another way are so in every mode."""
    x = weft.tensor([0.3, 1.7, 2.9])
    for exponent, same in ((2, weft.square), (0.5, weft.sqrt)):
        (got,) = in_every_mode(lambda t, e=exponent: t**e, x)
        assert (got == same(x)).all()
    assert (2**x).allclose(weft.exp2(x), rtol=1e-6)
    assert (weft.tensor([2, 3]) ** 3).tolist() == [8, 27]
    assert (weft.tensor([2, 1]) ** -1).tolist() == [0, 1]


def test_operators() -> None:
    a, b = np.array([7, -7, 3], dtype=np.int64), np.array([2, 2, -2], dtype=np.int64)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    for name in ("+", "-", "*", "//", "%", "&", "|", "^", "==", "!=", "<", "<=", ">", ">="):
        np.testing.assert_array_equal(eval(f"x {name} y").numpy(), eval(f"a {name} b"), err_msg=name)
        np.testing.assert_array_equal(eval(f"x {name} 3").numpy(), eval(f"a {name} 3"), err_msg=name)
        np.testing.assert_array_equal(eval(f"9 {name} y").numpy(), eval(f"9 {name} b"), err_msg=name)
    np.testing.assert_array_equal((x / y).numpy(), (a / b).astype(np.float32))
    np.testing.assert_array_equal((-x).numpy(), -a)
    np.testing.assert_array_equal((~x).numpy(), ~a)
    np.testing.assert_array_equal(abs(x).numpy(), abs(a))
    assert (+x) is x
    quotient, rest = divmod(x, y)
    np.testing.assert_array_equal(quotient.numpy(), a // b)
    np.testing.assert_array_equal(rest.numpy(), a % b)
    np.testing.assert_array_equal((x << 2).numpy(), a << 2)
    assert (x == None) is False  # noqa: E711 - not a comparison of elements
    assert (x == "text") is False
    assert (x + np.float64(0.5)).dtype is weft.float32
    assert (np.int64(2) * y).tolist() == (2 * b).tolist()
    with pytest.raises(TypeError):
        x + np.ones(3)
    with pytest.raises(TypeError):
        np.ones(3) + x


@pytest.mark.parametrize("left", dtypes.ALL, ids=lambda d: d.name)
def test_promotion(left: weft.DType) -> None:
    """Every pair of types, by the array API's table, which NumPy has but for mixtures with floats and bfloat16."""
    for right in dtypes.ALL:
        x, y = weft.ones(2, dtype=left), weft.ones(2, dtype=right)
        if {left.name, right.name} & {"uint64"} and {left.kind, right.kind} == {"i", "u"}:
            with pytest.raises(TypeError, match="no common integer type"):
                weft.where(weft.tensor([True, False]), x, y)
            continue
        got = weft.where(weft.tensor([True, False]), x, y).dtype
        if weft.bfloat16 in (left, right):
            other = right if left is weft.bfloat16 else left
            assert got is (other if other.kind == "f" and other.itemsize > 2 else weft.float32
                           if other is weft.float16 else weft.bfloat16)  # fmt: skip
        elif left.kind in "biu" and right.kind == "f":
            assert got is right
        elif right.kind in "biu" and left.kind == "f":
            assert got is left
        else:
            assert got.name == np.promote_types(left.numpy, right.numpy).name
    x = weft.ones(2, dtype=left)
    assert (x + 1).dtype is (weft.int64 if left.kind == "b" else left)
    assert (x + 1.0).dtype is (left if left.kind == "f" else weft.float32)


def test_casts() -> None:
    """Every pair of types: NumPy's values where both agree, and held to the range where C would be undefined."""
    for source in dtypes.ALL:
        array = numbers(source, (9,), 3, 0, 3)
        x = tensor(array, source)
        for target in dtypes.ALL:
            (got,) = in_every_mode(lambda t, d=target: t.to(d), x)
            assert got.dtype is target
            want = array.astype(np.float32 if target is weft.bfloat16 else target.numpy)
            assert_close(got, want, 1, f"{source.name} to {target.name}")
    extreme = weft.tensor([np.nan, np.inf, -np.inf, 1e30, -1e30, 300.7, -1.5])
    assert extreme.to(weft.uint8).tolist() == [0, 255, 0, 255, 0, 255, 0]
    assert extreme.to(weft.int8).tolist() == [0, 127, -128, 127, -128, 127, -1]
    assert extreme.to(weft.int64).tolist()[:3] == [0, 2**63 - 1, -(2**63)]
    assert extreme.bool().tolist() == [True] * 7
    assert weft.tensor([65520.0, 1e-8]).half().float().tolist() == [np.inf, 0.0]
    assert weft.tensor([1.00390625 + 2**-9]).to(weft.bfloat16).float().item() == 1.0078125
    assert weft.tensor([300, -1]).to(weft.uint8).tolist() == [44, 255]
    for name, dtype in (("float", weft.float32), ("double", weft.float64), ("int", weft.int32), ("long", weft.int64)):
        assert getattr(weft.ones(2, dtype=weft.int8), name)().dtype is dtype
    x = weft.ones(2)
    assert x.float() is x
    assert x.type_as(weft.ones(1, dtype=weft.int8)).dtype is weft.int8
    assert (
        x.to("float64").dtype is x.to(np.float64).dtype is x.to(weft.ones(1, dtype=weft.float64)).dtype is weft.float64
    )
