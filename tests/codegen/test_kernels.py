"""Generated kernels against NumPy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from weft import dtypes
from weft.dtypes import bool_, float16, float32, int64

from .nest import Nest, to_bfloat16

rng = np.random.default_rng(0)
NUMERIC = [d for d in dtypes.ALL if d not in (dtypes.bool_, dtypes.float16, dtypes.bfloat16)]
NUMPY = [d for d in dtypes.ALL if d is not dtypes.bfloat16]


def data(shape: tuple[int, ...], dtype: dtypes.DType = float32) -> np.ndarray:
    """Random numbers of any type."""
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype.name)
        return rng.integers(info.min, info.max, shape, dtype.name, endpoint=True)
    return rng.standard_normal(shape).astype(dtype.numpy)


@pytest.mark.parametrize("n", [0, 1, 5, 64, 1000])
@pytest.mark.parametrize("pieces", [1, 3])
def test_map_over_one_loop(n: int, pieces: int) -> None:
    k = Nest("map", "o", (n,))
    a, b, c = (k.load(data((n,))) for _ in range(3))
    k.store(np.empty(n, "f"), k.apply("add", k.apply("multiply", a, b, dtype=float32), c, dtype=float32))
    k.run(pieces)


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (4, 0), (2, 3, 5), (2, 1, 3, 7), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("pieces", [1, 4])
def test_map_with_strided_and_broadcast_operands(shape: tuple[int, ...], pieces: int) -> None:
    n = len(shape)
    k = Nest("map", "o" * n, shape)
    a = k.load(data(shape[::-1]).T)
    b = k.load(data((*shape[:-1], 1)))
    c = k.load(data((1,) * (n - 1) + shape[-1:]))
    d = k.load(data((*shape[:-1], 2 * shape[-1]))[..., ::-2])
    s = k.scalar(2.5, float32)
    v = k.apply(
        "add", k.apply("multiply", a, b, dtype=float32), k.apply("multiply", c, d, dtype=float32), dtype=float32
    )
    k.store(np.empty(shape, "f"), k.apply("subtract", v, s, dtype=float32))
    k.store(np.empty(shape[::-1], "f").T, v)
    k.run(pieces)


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_map_with_transposed_operands_goes_tile_by_tile(pieces: int) -> None:
    k = Nest("map", "ooo", (3, 70, 90))
    a = k.load(data((3, 90, 70)).transpose(0, 2, 1))
    b = k.load(data((3, 70, 90)))
    k.store(np.empty((3, 70, 90), "f"), k.apply("add", a, b, dtype=float32))
    k.store(np.empty((3, 90, 70), "f").transpose(0, 2, 1), b)
    k.run(pieces)


@pytest.mark.parametrize("dtype", NUMPY, ids=repr)
@pytest.mark.parametrize("shape", [(2, 40, 67), (1, 3, 700), (1, 700, 3), (3, 33, 1), (2, 5, 5)], ids=str)
def test_strided_operands_of_every_type(shape: tuple[int, ...], dtype: dtypes.DType) -> None:
    """Through tiles: transposed, and with gaps; nothing is read beyond an operand's memory."""
    b, m, n = shape
    k = Nest("map", "ooo", shape)
    transposed = k.load(data((b, n, m), dtype).transpose(0, 2, 1))
    gaps = k.load(data((b, n, 2 * m - 1), dtype)[:, :, ::2].transpose(0, 2, 1))
    backwards = k.load(data((b, n, m), dtype).transpose(0, 2, 1)[:, ::-1, ::-1])
    less = k.apply("less", transposed, gaps, dtype=bool_)
    k.store(np.empty(shape, dtype.numpy), k.apply("where", less, transposed, backwards, dtype=dtype))
    k.store(np.empty(shape, dtype.numpy), gaps)
    for pieces in (1, 3):
        k.run(pieces)


@pytest.mark.parametrize("dtype", [dtypes.float64, float32, float16, dtypes.int8], ids=repr)
@pytest.mark.parametrize("shape", [(2, 40, 67), (1, 3, 5000), (2, 5000, 3), (3, 33, 1), (1, 130, 128)], ids=str)
def test_transposed_copies(shape: tuple[int, ...], dtype: dtypes.DType) -> None:
    """Written row by row, or at once where a tile has whole rows; in a region of a buffer too."""
    b, m, n = shape
    for out in (np.empty(shape, dtype.numpy), np.empty((b, m, n + 3), dtype.numpy)[:, :, 2:-1]):
        k = Nest("map", "ooo", shape)
        k.store(out, k.load(data((b, n, m), dtype).transpose(0, 2, 1)))
        for pieces in (1, 3, 7):
            k.run(pieces)


def test_large_copies_pass_the_caches() -> None:
    k = Nest("map", "oo", (2050, 2080))
    k.store(np.empty((2050, 2080), "f"), k.load(data((2080, 2050)).T))
    k.run(3)


@pytest.mark.parametrize("dtype", NUMPY, ids=repr)
def test_map_of_every_type(dtype: dtypes.DType) -> None:
    k = Nest("map", "o", (100,))
    a, b = k.load(data((100,), dtype)), k.load(data((100,), dtype))
    less = k.apply("less", a, b, dtype=bool_)
    k.store(np.empty(100, bool), less)
    chosen = k.apply("where", less, a, b, dtype=dtype)
    k.store(np.empty(100, dtype.numpy), chosen)
    if dtype.kind != "b":
        for op in ("add", "subtract", "multiply"):
            k.store(np.empty(100, dtype.numpy), k.apply(op, a, b, dtype=dtype))
    k.run(2)


@pytest.mark.parametrize("dtype", NUMPY, ids=repr)
def test_scalar_of_every_type(dtype: dtypes.DType) -> None:
    k = Nest("map", "o", (10,))
    value = {"b": True, "i": -3, "u": 200, "f": 1.1}[dtype.kind]
    if dtype is dtypes.uint64:
        value = 2**64 - 5
    k.store(np.empty(10, dtype.numpy), k.scalar(value, dtype))
    k.run()


def test_sixteen_bit_values_round_after_every_op() -> None:
    k = Nest("map", "o", (1000,))
    a, b, c = (k.load(data((1000,), float16)) for _ in range(3))
    k.store(np.empty(1000, np.float16), k.apply("add", k.apply("multiply", a, b, dtype=float16), c, dtype=float16))
    k.run()
    k = Nest("map", "o", (1000,))
    a, b, c = (k.load(to_bfloat16(data((1000,))), dtypes.bfloat16) for _ in range(3))
    v = k.apply("add", k.apply("multiply", a, b, dtype=dtypes.bfloat16), c, dtype=dtypes.bfloat16)
    k.store(np.empty(1000, np.uint16), v)
    k.store(np.empty(1000, np.float32), k.apply("cast", v, dtype=float32))
    k.run()


def test_in_place_and_several_stores() -> None:
    k = Nest("map", "oo", (5, 40))
    x = data((5, 40))
    a, b = k.load(x), k.load(data((5, 40)))
    v = k.apply("add", a, b, dtype=float32)
    k.store(x, v)
    k.store(np.empty((5, 40), "f"), k.apply("multiply", v, a, dtype=float32))
    k.run(3)


def test_index_and_gather() -> None:
    k = Nest("map", "oo", (6, 7))
    table = data((50, 3))
    rows = k.apply("check_index", k.load(rng.integers(-50, 50, (6, 1))), k.scalar(50, int64), dtype=int64)
    columns = k.index(0, (0, 0))
    k.store(np.empty((6, 7), "f"), k.load_at(table, rows, columns))
    k.store(np.empty((6, 7), np.int64), k.index(5, (-2, 1)))
    k.store(np.empty((6, 7), np.int64), k.index(5, (7, 3)))
    k.run(3)


def test_index_out_of_range_is_reported() -> None:
    k = Nest("map", "o", (100,))
    index = np.arange(100)
    index[70] = 100
    i, n = k.load(index), k.scalar(100, int64)
    k.store(np.empty(100, "f"), k.load_at(data((100,)), k.apply("check_index", i, n, dtype=int64)))
    k.run(1, status=3)
    index[70] = -101
    k.values[0][70] = -101
    k.run(1, status=3)


def test_twelve_buffers() -> None:
    k = Nest("map", "o", (333,))
    v = k.load(data((333,)))
    for _ in range(11):
        v = k.apply("add", v, k.load(data((333,))), dtype=float32)
    k.store(np.empty(333, "f"), v)
    k.run(2)


FORMS = [
    ("row", "or"),
    ("reduce", "or"),
    ("row", "r"),
    ("reduce", "r"),
    ("row", "oor"),
    ("outer", "ri"),
    ("outer", "ori"),
]
#: Forms whose operands lie across.
ACROSS_FORMS = [("strips", "or"), ("strips", "oor"), ("outer", "ri"), ("outer", "ori")]


def sizes_of(dims: str, r: int) -> tuple[int, ...]:
    """Loop sizes with ``r`` reduced elements."""
    return tuple({"o": 3, "r": r, "i": 37}[d] for d in dims)


def across(sizes: tuple[int, ...], dtype: dtypes.DType = float32) -> np.ndarray:
    """Numbers that lie along the last loop but one."""
    return np.swapaxes(data((*sizes[:-2], sizes[-1], sizes[-2]), dtype), -1, -2)


@pytest.mark.parametrize(("form", "dims"), ACROSS_FORMS)
@pytest.mark.parametrize("r", [1, 7, 33, 250, 700, 2300, 4200])
def test_reductions_of_what_lies_across(form: str, dims: str, r: int) -> None:
    sizes = tuple(r if d == "r" else 3 if d == "o" and at < len(dims) - 2 else 45 for at, d in enumerate(dims))
    at = dims.find("r")
    kept = tuple(1 if d == at else n for d, n in enumerate(sizes))
    reductions = (("sum", float32), ("prod", float32), ("max", float32), ("m2", float32), ("argmin", int64))
    for op, dtype in reductions:
        k = Nest(form, dims, sizes)
        k.store(np.empty(kept, dtype.numpy), k.reduce(op, k.load(across(sizes)), dtype))
        k.run(1)
        k.run(3)
    k = Nest(form, dims, sizes)
    x = k.load(across(sizes))
    product = k.apply("multiply", x, k.load(across(sizes)), dtype=float32)
    for value in (x, product):
        for op, dtype in reductions:
            k.store(np.empty(kept, dtype.numpy), k.reduce(op, value, dtype))
    k.run(2)


@pytest.mark.parametrize(("form", "dims"), ACROSS_FORMS)
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_reductions_of_every_type_across(form: str, dims: str, dtype: dtypes.DType) -> None:
    sizes = tuple(300 if d == "r" else 3 if d == "o" and at < len(dims) - 2 else 45 for at, d in enumerate(dims))
    at = dims.find("r")
    kept = tuple(1 if d == at else n for d, n in enumerate(sizes))
    given = across(sizes, float32 if dtype is dtypes.bfloat16 else dtype)
    if dtype is dtypes.bfloat16:
        given = np.swapaxes(np.ascontiguousarray(np.swapaxes(to_bfloat16(given), -1, -2)), -1, -2)
    for op in ("max", "argmin", "any", *(["m2"] if dtype.kind == "f" else [])):
        k = Nest(form, dims, sizes)
        x = k.load(given, dtype)
        result = int64 if op == "argmin" else bool_ if op == "any" else dtype
        out = np.uint16 if result is dtypes.bfloat16 else result.numpy
        k.store(np.empty(kept, out), k.reduce(op, x, result))
        k.run(2)


@pytest.mark.parametrize("r", [2, 3, 4, 8, 11, 31, 32])
def test_short_rows_side_by_side(r: int) -> None:
    """Rows one after another in memory, of which one operand is the same for all, and one changes from row to row."""
    sizes = (3, 300, r)
    k = Nest("strips", "oor", sizes)
    x, weight, row = k.load(data(sizes)), k.load(data((1, 1, r))), k.load(data((3, 300, 1)))
    y = k.apply("multiply", k.apply("multiply", x, weight, dtype=float32), row, dtype=float32)
    for value in (x, y):
        for op, dtype in (("sum", float32), ("max", float32), ("prod", float32), ("m2", float32), ("argmax", int64)):
            result = k.reduce(op, value, dtype)
            result = k.apply("add", result, row, dtype=float32) if dtype is float32 else result
            k.store(np.empty((3, 300, 1), dtype.numpy), result)
    k.run(1)
    k.run(3)


@pytest.mark.parametrize(("form", "dims"), FORMS)
@pytest.mark.parametrize("r", [0, 1, 7, 33, 700, 4096, 9000])
def test_reductions(form: str, dims: str, r: int) -> None:
    sizes = sizes_of(dims, r)
    at = dims.find("r")
    kept = tuple(1 if d == at else n for d, n in enumerate(sizes))
    k = Nest(form, dims, sizes)
    x, y = k.load(data(sizes)), k.load(data(sizes))
    product = k.apply("multiply", x, y, dtype=float32)
    for op in ("sum", "max", "min", "prod"):
        k.store(np.empty(kept, "f"), k.reduce(op, x, float32))
    for op in ("sum", "m2"):
        k.store(np.empty(kept, "f"), k.reduce(op, product, float32))
    k.store(np.empty(kept, "f"), k.reduce("m2", x, float32))
    k.store(np.empty(kept, np.int64), k.reduce("argmax", product, int64))
    k.store(np.empty(kept, np.int64), k.reduce("argmin", x, int64))
    less = k.apply("less", x, k.scalar(-3.0, float32), dtype=bool_)
    k.store(np.empty(kept, bool), k.reduce("any", less, bool_))
    k.store(np.empty(kept, bool), k.reduce("all", less, bool_))
    k.run(1)
    k.run(4)


@pytest.mark.parametrize(("form", "dims"), [("row", "or"), ("reduce", "or"), ("outer", "ori")])
@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_reductions_of_every_type(form: str, dims: str, dtype: dtypes.DType) -> None:
    sizes = sizes_of(dims, 300)
    at = dims.find("r")
    kept = tuple(1 if d == at else n for d, n in enumerate(sizes))
    k = Nest(form, dims, sizes)
    x = k.load(to_bfloat16(data(sizes)), dtype) if dtype is dtypes.bfloat16 else k.load(data(sizes, dtype))
    out = np.uint16 if dtype is dtypes.bfloat16 else dtype.numpy
    for op in ("max", "min", *(("sum", "prod") if dtype.kind != "b" else ())):
        k.store(np.empty(kept, out), k.reduce(op, x, dtype))
    if dtype.kind == "b":
        k.store(np.empty(kept, np.int64), k.reduce("sum", x, int64))
    if dtype.kind == "f":
        k.store(np.empty(kept, out), k.reduce("m2", x, dtype))
    for op in ("argmax", "argmin"):
        k.store(np.empty(kept, np.int64), k.reduce(op, x, int64))
    for op in ("any", "all"):
        k.store(np.empty(kept, bool), k.reduce(op, x, bool_))
    k.run(2)


SCANNED = ("sum", "prod", "linear")


@pytest.mark.parametrize("op", SCANNED)
@pytest.mark.parametrize("dtype", NUMPY, ids=repr)
@pytest.mark.parametrize("reverse", [False, True])
def test_scans_of_every_type(op: str, dtype: dtypes.DType, reverse: bool) -> None:
    """In memory as they are, and computed; along rows, over rows, and in few long rows shared out by blocks."""
    if dtype.kind == "b":
        return
    for dims, sizes, span in (
        ("or", (3, 700), 1000),
        ("or", (2, 9001), 2),
        ("ori", (2, 300, 37), 0),
        ("ri", (5, 1500), 0),
    ):
        k = Nest("scan", dims, sizes)
        given = [k.load(data(sizes, dtype)) for _ in range(1 + (op == "linear"))]
        k.store(np.empty(sizes, dtype.numpy), k.scan(op, *given, dtype=dtype, reverse=reverse, span=span))
        k.run(1)
        k.run(3)


@pytest.mark.parametrize("op", SCANNED)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 15, 16, 17, 511, 512, 530, 2048, 2049, 4100])
def test_scans_of_values_and_what_is_made_of_them(op: str, n: int) -> None:
    for dims, sizes in (("r", (n,)), ("or", (2, n)), ("ri", (n, 19))):
        for reverse in (False, True):
            k = Nest("scan", dims, sizes)
            x = k.load(data((*sizes[:-1], 2 * sizes[-1]))[..., ::2])
            y = k.load(data(sizes))
            product = k.apply("multiply", x, y, dtype=float32)
            v = k.scan(op, *(product, y)[: 1 + (op == "linear")], dtype=float32, reverse=reverse, span=1)
            k.store(np.empty(sizes, "f"), k.apply("add", v, x, dtype=float32))
            k.store(np.empty(sizes, "f"), v)
            k.store(np.empty(sizes, "f"), product)
            k.run(1)
            k.run(2)


def test_a_scan_in_place_and_past_the_caches() -> None:
    array = data((2, 5000))
    k = Nest("scan", "or", (2, 5000))
    k.store(array, k.scan("sum", k.load(array), dtype=float32, span=2))
    k.run(2)
    k = Nest("scan", "or", (5, 900_001))
    k.store(np.empty((5, 900_001), "f"), k.scan("sum", k.load(data((5, 900_001))), dtype=float32))
    k.run(2)


@pytest.mark.parametrize(("form", "dims"), [("row", "or"), ("reduce", "or"), ("outer", "ri")])
def test_extremes_with_nan_infinity_and_ties(form: str, dims: str) -> None:
    sizes = sizes_of(dims, 500)
    at = dims.find("r")
    kept = tuple(1 if d == at else n for d, n in enumerate(sizes))
    for values in ([-np.inf], [np.inf], [0.0, 1.0], [np.nan, 1.0, 2.0], [np.nan], [-np.inf, np.nan]):
        k = Nest(form, dims, sizes)
        x = k.load(rng.choice(np.float32(values), sizes))
        for op in ("argmax", "argmin"):
            k.store(np.empty(kept, np.int64), k.reduce(op, x, int64))
        for op in ("max", "min"):
            k.store(np.empty(kept, "f"), k.reduce(op, x, float32))
        k.run(2)


@pytest.mark.parametrize("form", ["row", "reduce"])
def test_reduction_of_strided_and_row_level_values(form: str) -> None:
    k = Nest(form, "or", (5, 600))
    x, row = k.load(data((600, 5)).T), k.load(data((5, 1)))
    k.store(np.empty((5, 1), "f"), k.reduce("sum", x, float32))
    k.store(np.empty((10, 1), "f")[::2], k.reduce("sum", row, float32))
    scaled = k.apply("multiply", x, row, dtype=float32)
    total = k.reduce("max", scaled, float32)
    k.store(np.empty((5, 1), "f"), k.apply("add", total, row, dtype=float32))
    k.run(2)


@pytest.mark.parametrize("step", [2, 3, -1, -2])
@pytest.mark.parametrize("r", [1, 2, 8, 9, 16, 17, 511, 513, 2300])
def test_reductions_of_elements_that_lie_apart(step: int, r: int) -> None:
    """The last element of the last row is the last that may be read."""
    for op, dtype in (("sum", float32), ("max", float32), ("m2", float32), ("argmin", int64)):
        k = Nest("reduce", "or", (3, r))
        k.store(
            np.empty((3, 1), dtype.numpy), k.reduce(op, k.load(data((3, abs(step) * (r - 1) + 1))[:, ::step]), dtype)
        )
        k.run(2)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=repr)
def test_reductions_of_every_second_element_of_every_type(dtype: dtypes.DType) -> None:
    given = data((4, 2 * 700 - 1), float32 if dtype is dtypes.bfloat16 else dtype)
    given = (to_bfloat16(given) if dtype is dtypes.bfloat16 else given)[:, ::2]
    for op in ("max", "argmin", "any"):
        k = Nest("reduce", "or", (4, 700))
        result = int64 if op == "argmin" else bool_ if op == "any" else dtype
        out = np.uint16 if result is dtypes.bfloat16 else result.numpy
        k.store(np.empty((4, 1), out), k.reduce(op, k.load(given, dtype), result))
        k.run(2)


def softmax(n: int, dtype: dtypes.DType = float32, op: str = "multiply", in_place: bool = False) -> Nest:
    """The shape of a softmax, over five rows of n."""
    k = Nest("row", "or", (5, n))
    source = data((5, n), dtype)
    x = k.load(source)
    shifted = k.apply("subtract", x, k.reduce("max", x, dtype), dtype=dtype)
    power = k.apply(op, *([shifted] if op == "dear" else [shifted, shifted]), dtype=dtype)
    total = k.reduce("sum", power, dtype)
    k.store(source if in_place else np.empty((5, n), dtype.numpy), k.apply("divide", power, total, dtype=dtype))
    return k


@pytest.mark.parametrize("n", [0, 1, 3, 100, 512, 513, 5000])
@pytest.mark.parametrize("dtype", [float32, float16, dtypes.float64], ids=repr)
def test_reductions_that_depend_on_each_other(n: int, dtype: dtypes.DType) -> None:
    softmax(n, dtype).run(3)


@pytest.mark.parametrize("rows", [1, 16, 37])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 16, 17, 31, 32, 33, 53, 64])
@pytest.mark.parametrize("dtype", [*NUMERIC, float16], ids=repr)
def test_short_rows_go_together(n: int, rows: int, dtype: dtypes.DType) -> None:
    """Every reduction, values at row level of memory and of indices, and operands that lie in any way; in any pieces."""
    k = Nest("row", "or", (rows, n), short=True)
    x, turned = k.load(data((rows, n), dtype)), k.load(data((n, rows), dtype).T)
    row, column = k.load(data((rows, 1), dtype)), k.load(data((1, n), dtype))
    label = k.apply("check_index", k.load(rng.integers(0, n, (rows, 1))), k.scalar(n, int64), dtype=int64)
    chosen = k.apply("less", k.index(0, (0, 1)), label, dtype=bool_)
    v = k.apply("where", chosen, x, k.apply("add", turned, column, dtype=dtype), dtype=dtype)
    for op in ("sum", "max", "min", "prod"):
        v = k.apply("subtract", v, k.apply("multiply", k.reduce(op, v, dtype), row, dtype=dtype), dtype=dtype)
    k.store(np.empty((rows, n), dtype.numpy), v)
    k.store(np.empty((n, rows), dtype.numpy).T, x)
    k.store(np.empty((rows, 1), bool), k.reduce("any", k.apply("less", v, row, dtype=bool_), bool_))
    k.store(np.empty((rows, 1), dtype.numpy), k.reduce("sum", row, dtype))
    for pieces in (1, 3):
        k.run(pieces)


def test_short_rows_in_place() -> None:
    k = Nest("row", "or", (37, 10), short=True)
    x = data((37, 10))
    v = k.load(x)
    total = k.reduce("sum", v, float32)
    k.store(x, k.apply("divide", v, total, dtype=float32))
    k.store(np.empty((37, 1), "f"), total)
    k.run(2)


def test_a_label_out_of_range_is_found_among_short_rows() -> None:
    for bad in (3, 36):
        k = Nest("row", "or", (37, 10), short=True)
        labels = np.zeros((37, 1), np.int64)
        labels[bad] = 10
        label = k.apply("check_index", k.load(labels), k.scalar(10, int64), dtype=int64)
        x = k.apply(
            "where",
            k.apply("less", k.index(0, (0, 1)), label, dtype=bool_),
            k.load(data((37, 10))),
            k.scalar(0, float32),
            dtype=float32,
        )
        k.store(np.empty((37, 1), "f"), k.reduce("sum", x, float32))
        k.run(2, status=3)


@pytest.mark.parametrize("n", [1, 100, 5000])
@pytest.mark.parametrize("in_place", [False, True])
def test_an_expensive_value_is_kept_in_the_output(n: int, in_place: bool) -> None:
    compiled = softmax(n, op="dear", in_place=in_place).run(2)
    assert compiled.source.count("to_float32(to_float32(") == 1


@pytest.mark.parametrize("n", [1, 31, 100, 2049, 4096])
@pytest.mark.parametrize("near", [False, True])
def test_an_expensive_value_of_another_type_than_the_output_waits_on_the_stack(n: int, near: bool) -> None:
    k = Nest("row", "or", (5, n), near=near)
    dear = k.apply("dear", k.apply("cast", k.load(data((5, n), float16)), dtype=float32), dtype=float32)
    part = k.apply("divide", dear, k.reduce("sum", dear, float32), dtype=float32)
    k.store(np.empty((5, n), float16.numpy), k.apply("cast", part, dtype=float16))
    assert k.run(3).source.count("to_float32(to_float32(") == 2 - near


@pytest.mark.parametrize("again", ["later", "in memory"])
def test_an_operand_that_is_needed_again_is_not_overwritten(again: str) -> None:
    k = Nest("row", "or", (5, 700))
    source = data((5, 700))
    x = k.load(source)
    dear = k.apply("dear", x, dtype=float32)
    total = k.reduce("sum", dear, float32)
    if again == "later":
        dear = k.apply("add", dear, x, dtype=float32)
    else:
        total = k.apply("add", total, k.reduce("max", x, float32), dtype=float32)
    k.store(source, k.apply("divide", dear, total, dtype=float32))
    compiled = k.run(2)
    assert compiled.source.count("to_float32(to_float32(") == 2


def test_in_place_row_kernel() -> None:
    k = Nest("row", "or", (5, 700))
    x = data((5, 700))
    v = k.load(x)
    mean = k.apply("divide", k.reduce("sum", v, float32), k.scalar(700, float32), dtype=float32)
    centred = k.apply("subtract", v, mean, dtype=float32)
    variance = k.reduce("sum", k.apply("multiply", centred, centred, dtype=float32), float32)
    k.store(x, k.apply("divide", centred, variance, dtype=float32))
    k.store(np.empty((5, 1), "f"), mean)
    k.run(2)


def test_row_kernel_that_stores_on_the_way() -> None:
    k = Nest("row", "or", (4, 900))
    v = k.apply("add", k.load(data((4, 900))), k.load(data((1, 900))), dtype=float32)
    k.store(np.empty((4, 900), "f"), v)
    k.store(np.empty((4, 1), "f"), k.reduce("sum", v, float32))
    k.run(2)


def test_reduction_over_gathered_elements() -> None:
    k = Nest("reduce", "or", (4, 900))
    i = k.apply("check_index", k.load(rng.integers(-30, 30, (4, 900))), k.scalar(30, int64), dtype=int64)
    k.store(np.empty((4, 1), "f"), k.reduce("sum", k.load_at(data((30,)), i), float32))
    k.run(2)


@pytest.mark.parametrize("dims", ["ri", "ori"])
@pytest.mark.parametrize("r", [1, 7, 33, 700])
def test_an_outer_reduction_of_what_it_stores_over(dims: str, r: int) -> None:
    sizes = (*(3 for _ in dims[:-2]), r, 300)
    kept = (*sizes[:-2], 1, 300)
    array = data(sizes)
    k = Nest("outer", dims, sizes)
    x = k.load(array)
    y = k.apply("multiply", x, k.scalar(-2.0, float32), dtype=float32)
    for value in (x, y):
        for op, dtype in (("min", float32), ("sum", float32), ("m2", float32), ("argmin", int64)):
            k.store(np.empty(kept, dtype.numpy), k.reduce(op, value, dtype))
    k.store(array, y)
    k.run(1)
    k.run(3)


@pytest.mark.parametrize("shape", [(2, 600, 2500), (3, 600, 4500)], ids=["few-blocks", "many-blocks"])
def test_wide_outer_reduction_spans_tiles(shape: tuple[int, int, int]) -> None:
    k = Nest("outer", "ori", shape)
    x = k.load(data(shape))
    k.store(np.empty((shape[0], 1, shape[2]), "f"), k.reduce("sum", x, float32))
    k.run(5)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("shape", [(1, 7), (9, 1), (300, 40), (777, 2100), (0, 5)])
def test_columns_of_a_row_kernel(shape: tuple[int, int], pieces: int) -> None:
    """Rows less their sum times a factor, the sums over all rows of two values and a maximum, and what is made of these."""
    k = Nest("columns", "or", shape)
    x, factor, weight = k.load(data(shape)), k.load(data((shape[0], 1))), k.load(data((1, shape[1])))
    row = k.apply("multiply", k.reduce("sum", x, float32), factor, dtype=float32)
    y = k.apply("subtract", x, row, dtype=float32)
    total, best = k.across("sum", y, float32), k.across("max", x, float32)
    k.store(np.empty(shape, "f"), y)
    k.store(np.empty((shape[0], 1), "f"), row)
    k.store(
        np.empty((1, shape[1]), "f"),
        k.apply("subtract", total, k.apply("add", best, weight, dtype=float32), dtype=float32),
    )
    k.store(np.empty((1, shape[1]), "f"), k.across("sum", x, float32))
    k.run(pieces)


@pytest.mark.parametrize("dtype", [dtypes.float64, float16, int64], ids=str)
def test_columns_of_other_types(dtype: dtypes.DType) -> None:
    k = Nest("columns", "or", (270, 33))
    x = k.load(data((270, 33), dtype))
    y = k.apply("subtract", x, k.reduce("max", x, dtype), dtype=dtype)
    for op in ("sum", "min") if dtype.kind == "f" else ("sum", "prod", "max"):
        k.store(np.empty((1, 33), dtype.numpy), k.across(op, y, dtype))
    k.run(2)


@pytest.mark.parametrize("gathered", [False, True])
def test_columns_of_special_values_and_of_what_does_not_go_by_vectors(gathered: bool) -> None:
    """Groups cut short, negative zeros, NaN and infinities; the sums need what each row has of its own, a bool among it."""
    shape = (261, 531)
    k = Nest("columns", "or", shape)
    a = data(shape)
    a[:, :3], a[5, 3], a[6, 4], a[259, 5] = -0.0, np.nan, np.inf, -np.inf
    x = k.load(a)
    if gathered:
        table = k.load_at(data((shape[1],)), k.index(0, (0, 1)))
        x = k.apply("add", x, table, dtype=float32)
    top = k.reduce("max", x, float32)
    big = k.apply("less", k.load(data((shape[0], 1))), top, dtype=dtypes.bool_)
    y = k.apply("where", big, x, k.apply("subtract", x, top, dtype=float32), dtype=float32)
    for op in ("sum", "prod", "max", "min"):
        k.store(np.empty((1, shape[1]), "f"), k.across(op, y, float32))
    k.run(2)


def test_columns_beside_a_store_in_place() -> None:
    k = Nest("columns", "or", (300, 50))
    a = data((300, 50))
    x = k.load(a)
    y = k.apply("dear", k.apply("subtract", x, k.reduce("max", x, float32), dtype=float32), dtype=float32)
    z = k.apply("divide", y, k.reduce("sum", y, float32), dtype=float32)
    k.store(a, z)
    k.store(np.empty((1, 50), "f"), k.across("sum", z, float32))
    k.store(np.empty((1, 50), "f"), k.across("sum", y, float32))
    k.run(2)
