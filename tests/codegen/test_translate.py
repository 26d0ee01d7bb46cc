"""The translation of generated source: types, loops, and what it refuses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from weft.codegen.cpu import compile_functions, lowered, optimise
from weft.codegen.emit import Function
from weft.ir.kernel import GROUP
from weft.runtime import loader

ARGUMENTS = {"begin": "int64", "end": "int64", "x": "float32*", "y": "float32*"}


def run(body: str, variables: dict[str, str], x: np.ndarray, y: np.ndarray, begin: int, end: int) -> None:
    """Run statements over two arrays of float32."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    head = ", ".join(f"{name}: {kind!r}" for name, kind in ARGUMENTS.items())
    function = Function("f", f"def f({head}):\n{lines}\n    return\n", ARGUMENTS, variables)
    ((address,),) = loader.load([(compile_functions([function], ["weft_f"]), ["weft_f"])])
    call: Callable[..., None] = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)(address)
    pointers = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
    call(ctypes.addressof(pointers), None, begin, end)


def test_loops_and_branches() -> None:
    x, y = np.arange(10, dtype=np.float32), np.zeros(10, np.float32)
    body = """for i in range(begin, end, 2):
    n: int64 = i
    while n > 0:
        n -= 3
    if n == 0 and i > 3:
        y[i] = -x[i]
    else:
        y[i] = x[i] + 0.5 if x[i] < 5 else inf"""
    run(body, {"n": "int64"}, x, y, 0, 10)
    np.testing.assert_array_equal(y, [0.5, 0, 2.5, 0, 4.5, 0, -6, 0, np.inf, 0])


def test_a_variable_has_the_type_of_its_annotation() -> None:
    x, y = np.array([300, 0.1], np.float32), np.zeros(4, np.float32)
    body = """a: int8 = begin + 100
y[0] = a
b: float64 = x[1]
y[1] = b * b
c: boolean = x[0]
y[2] = c + c
d: uint8 = 0 - 1
d = d - 1
y[3] = d"""
    run(body, {"a": "int8", "b": "float64", "c": "boolean", "d": "uint8"}, x, y, 100, 0)
    np.testing.assert_array_equal(y, np.float32([-56, np.float64(x[1]) ** 2, 2, 254]))


def test_a_loop_inside_a_loop_over_vectors_carries_vectors() -> None:
    x, y = np.arange(60, dtype=np.float32), np.zeros(20, np.float32)
    body = """for j in lanes(begin, end, 8):
    c: float32 = every(float32, 0.5)
    for row in range(0, 3):
        at: int64 = row * 20
        v: float32 = x[at + j]
        c: float32 = c + v
    y[j] = c"""
    run(body, {"at": "int64", "v": "float32", "c": "float32"}, x, y, 0, 19)
    np.testing.assert_array_equal(y, [*(x.reshape(3, 20).sum(0) + np.float32(0.5))[:19], 0])


def test_a_choice_stored_in_place_is_stored_whole() -> None:
    """Not by a mask, which is slow where masks have no registers of their own."""
    source = """def f(begin: int64, end: int64, x: "float32*", y: "float32*"):
    for i in range(begin, end):
        v: float32 = y[i]
        y[i] = v if x[i] > 0 else 0.0
    return
"""
    module = lowered([Function("f", source, ARGUMENTS, {"v": "float32"})], ["weft_f"])
    optimise(module)
    assert "fcmp" in str(module)
    assert "maskmov" not in loader.machine().emit_assembly(module)


@pytest.mark.parametrize("call", ["reduce_sum(a, x, n, {})", "reduce_max(a, x, n, {})", "block_m2(d, x, n, {})"])
@pytest.mark.parametrize(
    ("features", "later", "fetches"),
    [("+avx2,+avx512f", "n", True), ("+avx2,+avx512f", "0", False), ("+avx2", "n", False)],
)
def test_reductions_look_ahead_where_vectors_are_cache_lines(
    call: str, features: str, later: str, fetches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.machine()  # this processor's
    monkeypatch.setattr(loader, "target", lambda: ("", features))
    source = f"""def f(begin: int64, end: int64, x: "float32*", y: "float32*"):
    a = stack(float32, 32)
    d = stack(float64, 2)
    n: int64 = end - begin
    {call.format(later)}
    return
"""
    module = lowered([Function("f", source, ARGUMENTS, {"n": "int64"})], ["weft_f"])
    assert ("call void @llvm.prefetch" in str(module)) == fetches


@pytest.mark.parametrize("features", ["+avx2,+avx512f", "+avx2"])
def test_values_are_computed_without_looking_ahead_where_vectors_are_less(
    features: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.machine()  # this processor's
    monkeypatch.setattr(loader, "target", lambda: ("", features))
    source = """def f(begin: int64, end: int64, x: "float32*", y: "float32*"):
    if fetched_from(end - begin, 7):
        for j in lanes(begin, end, 16):
            fetch(x, j)
    return
"""
    module = lowered([Function("f", source, ARGUMENTS, {})], ["weft_f"])
    optimise(module)
    assert ("call void @llvm.prefetch" in str(module)) == ("avx512f" in features)


@pytest.mark.parametrize(
    ("cpu", "distance"), [("znver4", 1536), ("znver5", 1536), ("sapphirerapids", 8192), ("", 8192)]
)
def test_how_far_streams_are_fetched_ahead_goes_by_the_processor(
    cpu: str, distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.machine()  # this processor's
    monkeypatch.setattr(loader, "target", lambda: (cpu, "+avx2,+avx512f"))
    source = """def f(begin: int64, end: int64, x: "float32*", y: "float32*"):
    x[elements_ahead(4)] = y[begin]
    return
"""
    module = lowered([Function("f", source, ARGUMENTS, {})], ["weft_f"])
    assert f"i64 {distance // 4}" in str(module)


@pytest.mark.parametrize(
    ("cpu", "features", "each"),
    [
        ("znver4", "+avx2,+avx512f", 1 + 4),
        ("znver3", "+avx2", 1 + 3),
        ("sapphirerapids", "+avx2,+avx512f", 1),
        ("haswell", "+avx2", 1 + 3),
    ],
)
def test_how_often_lines_are_asked_for_goes_by_the_processor(
    cpu: str, features: str, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader.machine()  # this processor's
    monkeypatch.setattr(loader, "target", lambda: (cpu, features))
    source = """def f(begin: int64, end: int64, x: "float32*", y: "float32*"):
    n: int64 = end - begin
    ahead_max(y, x, n, begin, n, end)
    return
"""
    module = lowered([Function("f", source, ARGUMENTS, {"n": "int64"})], ["weft_f"])
    assert str(module).count("call void @llvm.prefetch") == each * GROUP


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y[0] = x[0] if x[0] < 1 or x[0] > 2 else 0.0", "must not contain"),
        ("n: int64 = x[0]", "float32 becomes a int64 only where"),
        ("p = stack(float32, 4)\np = stack(float32, 4)", "assigned twice"),
        ("y[0] = sqrt(begin)", "does not take"),
    ],
)
def test_what_it_refuses(body: str, message: str) -> None:
    x = y = np.zeros(4, np.float32)
    with pytest.raises((TypeError, KeyError), match=message):
        run(body, {"n": "int64"}, x, y, 0, 1)
