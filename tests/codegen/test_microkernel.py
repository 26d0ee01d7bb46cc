"""Generated tiles and packing functions, called by themselves and compared with NumPy."""

from __future__ import annotations

import ctypes
import itertools
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import weft
from weft.codegen import microkernel, tiles
from weft.codegen.microkernel import Shape
from weft.runtime import cache as disk
from weft.runtime import loader

INT, POINTER = ctypes.c_int64, ctypes.c_void_p
TILE = (INT, INT, POINTER, INT, INT, POINTER, INT, POINTER, INT, ctypes.c_bool)
COLUMN = (INT, INT, INT, *[POINTER] * 3, INT, ctypes.c_bool, POINTER, *[INT] * 3)


def functions(dtype: weft.DType, shape: Shape) -> dict[str, int]:
    """A shape's functions: their addresses by name."""
    code = tiles.compile_tiles(dtype, shape)
    assert not loader.called(code.object)
    return dict(zip(code.symbols, loader.load([(code.object, code.symbols)])[0], strict=True))


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
def test_tiles(dtype: weft.DType, number: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    rng = np.random.default_rng(0)
    for k in (0, 1, 2, 7):
        a = rng.integers(-5, 6, (microkernel.MOST_ROWS, k)).astype(dtype.numpy)
        b = rng.integers(-5, 6, (k, shape.columns + 3)).astype(dtype.numpy)
        apart = np.zeros((len(a), k, 3), dtype.numpy)
        apart[..., 0] = a
        layouts = [(a.copy(), k, 1), (a.T.copy(), 1, len(a)), (apart, 3 * k, 3)]
        for rows in {1, 2, shape.rows - 1, shape.rows, *shape.edges[-2:]}:
            edge = ctypes.CFUNCTYPE(None, *TILE, INT)(made[f"edge_{rows}"])
            for left, row, step in layouts:
                for add in (False, True):
                    for columns in range(1, (shape.columns if rows <= shape.rows else shape.lanes) + 1):
                        c = np.full((len(a) + 1, shape.columns + 5), 3, dtype.numpy)
                        expected = c.copy()
                        expected[:rows, :columns] = a[:rows] @ b[:, :columns] + (3 if add else 0)
                        given = (
                            k,
                            0,
                            left.ctypes.data,
                            row,
                            step,
                            b.ctypes.data,
                            b.shape[1],
                            c.ctypes.data,
                            c.shape[1],
                            add,
                        )
                        edge(*given, columns)
                        np.testing.assert_array_equal(c, expected)
                    if rows > shape.rows:
                        continue
                    c[:] = 3
                    ctypes.CFUNCTYPE(None, *TILE)(made[f"tile_{rows}"])(*given)
                    np.testing.assert_array_equal(c, expected)


def test_every_tile_gives_the_same_bits() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((12, 100), np.float32), rng.standard_normal((100, 64), np.float32)
    found = []
    for shape in tiles.candidates(weft.float32):
        made = functions(weft.float32, shape)
        c = np.zeros((2, 8), np.float32)
        for name in ("tile_2", "edge_2"):
            wide = np.zeros((2, 64), np.float32)
            given = [100, 0, a.ctypes.data, 100, 1, b.ctypes.data, 64, wide.ctypes.data, 64, False]
            kinds = TILE if name == "tile_2" else (*TILE, INT)
            ctypes.CFUNCTYPE(None, *kinds)(made[name])(*given, *([5] if name == "edge_2" else []))
            columns = 5 if name == "edge_2" else min(8, shape.columns)
            c[:, :columns] = wide[:, :columns]
            found.append(c[:, :4].tobytes())
    assert len(set(found)) == 1


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
def test_tiles_give_packed_operands_the_same_bits(dtype: weft.DType, number: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    rng = np.random.default_rng(3)
    for k in (0, 1, 7, 8, 9, 37):
        a = rng.standard_normal((k, shape.packed_rows)).astype(dtype.numpy)  # as pack_a and pack_b leave them
        b = rng.standard_normal((k, shape.columns)).astype(dtype.numpy)
        plain = a.T.copy()
        for rows in range(1, shape.rows + 1):
            tile = ctypes.CFUNCTYPE(None, *TILE)(made[f"tile_{rows}"])
            for add in (False, True):
                got, expected = np.ones((2, rows, shape.columns), dtype.numpy)
                common = (b.ctypes.data, shape.columns)
                tile(k, 0, a.ctypes.data, 1, shape.packed_rows, *common, got.ctypes.data, shape.columns, add)
                tile(k, 0, plain.ctypes.data, k, 1, *common, expected.ctypes.data, shape.columns, add)
                np.testing.assert_array_equal(got, expected)
                np.testing.assert_allclose(got, a.T[:rows] @ b + add, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
def test_columns_of_tiles_give_the_same_bits(dtype: weft.DType, number: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    tile = ctypes.CFUNCTYPE(None, *TILE)(made[f"tile_{shape.rows}"])
    column = ctypes.CFUNCTYPE(None, *COLUMN)(made["column"])
    rng = np.random.default_rng(4)
    # Fewer turns than there are after C is fetched, as many, and more, with steps left over.
    late = microkernel.LATE * microkernel.UNROLL
    for k in (0, 1, 7, late, late + 1, 2 * late + 3):
        b = rng.standard_normal((k, shape.columns)).astype(dtype.numpy)
        for count, fetched, add in (
            (0, (0, 0, 0), False),
            (1, (0, 1, 0), True),
            (3, (2, 1, 0), True),
            (2, (2000, 1, 0), False),  # more lines than turns
            (3, (2, 3, 256), False),
            (1, (3, 200, 256), True),
        ):
            a = rng.standard_normal((count, k, shape.packed_rows)).astype(dtype.numpy)
            got = np.ones((count * shape.rows + 1, shape.columns + 3), dtype.numpy)
            expected = got.copy()
            row = got.shape[1]
            column(k, 0, count, a.ctypes.data, b.ctypes.data, got.ctypes.data, row, add, b.ctypes.data, *fetched)
            for t in range(count):
                to = expected[t * shape.rows :].ctypes.data
                tile(k, 0, a[t].ctypes.data, 1, shape.packed_rows, b.ctypes.data, shape.columns, to, row, add)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("k", "first"), [(2, 1), (9, 2), (64, 16), (100, 32), (320, 104)])
def test_two_chains_give_the_bits_of_one_after_the_other(dtype: weft.DType, number: int, k: int, first: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    rng = np.random.default_rng(5)
    packed = rng.standard_normal((k, shape.packed_rows)).astype(dtype.numpy)
    plain = np.ascontiguousarray(packed.T)
    b = rng.standard_normal((k, shape.columns)).astype(dtype.numpy)
    for left, row, step in ((packed, 1, shape.packed_rows), (plain, k, 1), (np.asfortranarray(plain), 1, len(plain))):
        for rows in {1, 2, shape.rows}:
            for columns in (None, shape.columns, shape.columns - 1, 1):
                kind, last = (TILE, ()) if columns is None else ((*TILE, INT), (columns,))
                run = ctypes.CFUNCTYPE(None, *kind)(made[f"{'tile' if columns is None else 'edge'}_{rows}"])
                got, expected = np.ones((2, shape.rows, shape.columns), dtype.numpy)
                for to, chains in ((got, [(0, k, first)]), (expected, [(0, first, 0), (first, k - first, 0)])):
                    for begin, steps, head in chains:
                        at = left.ctypes.data + begin * step * dtype.itemsize, row, step
                        right = b.ctypes.data + begin * b.strides[0], shape.columns
                        run(steps, head, *at, *right, to.ctypes.data, shape.columns, begin > 0, *last)
                np.testing.assert_array_equal(got, expected)
                product = (plain[:rows] @ b)[:, :columns]
                np.testing.assert_allclose(got[:rows, :columns], product, rtol=1e-3, atol=1e-3)
    column, tile = (
        ctypes.CFUNCTYPE(None, *COLUMN)(made["column"]),
        ctypes.CFUNCTYPE(None, *TILE)(made[f"tile_{shape.rows}"]),
    )
    panels = np.stack([packed, packed[::-1]])
    for fetched in ((0, 0, 0), (300, 1, 0), (3, 5, 256)):
        got, expected = np.ones((2, 2 * shape.rows + 1, shape.columns + 3), dtype.numpy)
        where = got.ctypes.data, got.shape[1]
        column(k, first, 2, panels.ctypes.data, b.ctypes.data, *where, False, b.ctypes.data, *fetched)
        for t, panel in enumerate(panels):
            for begin, steps in ((0, first), (first, k - first)):
                at = panel[begin:].ctypes.data, 1, shape.packed_rows, b[begin:].ctypes.data, shape.columns
                tile(steps, 0, *at, expected[t * shape.rows :].ctypes.data, got.shape[1], begin > 0)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize(("k", "first"), [(0, 0), (1, 0), (7, 0), (64, 0), (9, 2), (101, 32)])
def test_a_tile_packs_what_it_reads(dtype: weft.DType, number: int, k: int, first: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    kinds = (INT, INT, POINTER, POINTER, INT, POINTER, POINTER, INT, ctypes.c_bool)
    opening = ctypes.CFUNCTYPE(None, *kinds)(made["opening"])
    tile = ctypes.CFUNCTYPE(None, *TILE)(made[f"tile_{shape.rows}"])
    rng = np.random.default_rng(6)
    a = rng.standard_normal((k, shape.packed_rows)).astype(dtype.numpy)
    b = rng.standard_normal((k, shape.columns + 5)).astype(dtype.numpy)
    for add in (False, True) if first == 0 else (False,):
        packed = np.full((k + 1, shape.columns), -1, dtype.numpy)
        got, expected = np.ones((2, shape.rows + 1, shape.columns + 3), dtype.numpy)
        at, row = (b.ctypes.data, b.shape[1]), got.shape[1]
        opening(k, first, a.ctypes.data, *at, packed.ctypes.data, got.ctypes.data, row, add)
        tile(k, first, a.ctypes.data, 1, shape.packed_rows, *at, expected.ctypes.data, row, add)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(packed[:k], b[:, : shape.columns])
        assert (packed[k] == -1).all()


def aligned(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Zeros, at an address that is a multiple of a cache line."""
    nbytes = shape[0] * shape[1] * dtype.itemsize
    block = np.zeros(nbytes + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + nbytes].view(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("number", range(4))
def test_packing(dtype: weft.DType, number: int) -> None:
    shape = tiles.candidates(dtype)[number]
    made = functions(dtype, shape)
    for name, width in shape.packed.items():
        pack = ctypes.CFUNCTYPE(None, INT, POINTER, INT, INT, POINTER, INT)(made[name])
        for k in (1, 3, 8, 16, 37):
            for lines in range(1, width + 1):
                x = np.arange(1, k * lines + 1, dtype=dtype.numpy).reshape(k, lines)
                strided = np.zeros((k, 2 * lines, 3), dtype.numpy)
                strided[:, ::2, 1] = x
                backwards = x[:, ::-1].copy()
                for start, line, step, _keep in (
                    (x.ctypes.data, 1, lines, x),
                    ((y := x.T.copy()).ctypes.data, k, 1, y),
                    (strided[0, 0, 1:].ctypes.data, 6, 6 * lines, strided),
                    (backwards[0, lines - 1 :].ctypes.data, -1, lines, backwards),
                ):
                    to = aligned((k + 1, width), np.dtype(dtype.numpy))
                    to[:] = -1
                    pack(k, start, line, step, to.ctypes.data, lines)
                    np.testing.assert_array_equal(to[:k, :lines], x)
                    assert (to[k] == -1).all()
                    assert name != "pack_wide" or (to[:k] != -1).all()


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
def test_lines_become_columns(dtype: weft.DType) -> None:
    shape = tiles.candidates(dtype)[0]
    turn = ctypes.CFUNCTYPE(None, INT, POINTER, INT, INT, POINTER, INT, INT, INT)(functions(dtype, shape)["turn"])
    x = np.arange(1, 20 * 41, dtype=dtype.numpy)[: 20 * 40].reshape(20, 40)
    for k in (1, 7, 8, 37):
        for first, last in ((0, 19), (3, 19), (16, 19)):
            lines = [min(first + j, last) for j in range(shape.turned)]
            for given, line, step in ((x, 40, 1), (np.ascontiguousarray(x.T), 1, 20)):
                to = np.zeros((k + 1, shape.turned + 3), dtype.numpy)
                turn(k, given.ctypes.data, line, step, to.ctypes.data, first, last, to.shape[1])
                np.testing.assert_array_equal(to[:k, : shape.turned], x[lines, :k].T)
                assert not to[k].any()
                assert not to[:, shape.turned :].any()


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
def test_rows_are_picked_by_bits(dtype: weft.DType) -> None:
    shape = tiles.candidates(dtype)[0]
    kinds = (INT, POINTER, INT, INT, POINTER, INT, INT, POINTER, POINTER, ctypes.c_bool, POINTER, INT, ctypes.c_bool)
    skip = ctypes.CFUNCTYPE(None, *kinds)(functions(dtype, shape)["skip"])
    rng = np.random.default_rng(4)
    values, panel, partial = (
        rng.integers(-9, 10, s).astype(dtype.numpy) for s in ((6, 70), (64, shape.wide), (6, shape.wide))
    )
    turned = np.ascontiguousarray(values.T)
    masks = np.array([0, 1, 1 << 63, 0b1011, 2**64 - 1, 0xF0F0], np.uint64)
    chosen = (masks[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).astype(bool)
    for everything, cut in itertools.product((0, 0b110), (-1, 1, 2**20 - 1)):
        picked = chosen | (everything >> np.arange(64) & 1).astype(bool)
        for resumed in (False, True):
            for add in (False, True):
                sums = np.where(picked, values[:, :64], 0) @ panel + (partial if resumed else 0)
                for given in ((values.ctypes.data, 70, 1), (turned.ctypes.data, 1, 6)):
                    to = np.full((7, shape.wide + 5), 3, dtype.numpy)
                    expected = to.copy()
                    expected[:6, : shape.wide] = sums + (3 if add else 0)
                    pointers = (partial.ctypes.data, resumed, to.ctypes.data, to.shape[1], add)
                    skip(6, masks.ctypes.data, everything, cut, *given, panel.ctypes.data, *pointers)
                    np.testing.assert_array_equal(to, expected)


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("count", [1, 3, 8, 16, 32, 37, 64])
def test_what_is_not_zero_and_how_large_it_is(dtype: weft.DType, count: int) -> None:
    shape = tiles.candidates(dtype)[0]
    made = functions(dtype, shape)
    nonzero, extent = (
        ctypes.CFUNCTYPE(None, INT, INT, POINTER, INT, POINTER)(made[name]) for name in ("nonzero", "extent")
    )
    copy_wide = ctypes.CFUNCTYPE(None, INT, POINTER, INT, POINTER, POINTER)(made["copy_wide"])
    rng = np.random.default_rng(count)
    x = rng.standard_normal((5, 70)).astype(dtype.numpy)
    x[rng.random(x.shape) < 0.5] = -0.0
    x[1, 0], x[2, :count], x[3, count - 1] = np.nan, 0, np.finfo(dtype.numpy).smallest_subnormal
    words = f"u{dtype.itemsize}"
    for rows in ([0, 1, 2, 3, 4], [2], [0], [3]):
        some = np.ascontiguousarray(x[rows])
        masks, out = np.zeros(len(rows) + 1, np.uint64), np.zeros(2, np.uint64)
        nonzero(len(rows), count, some.ctypes.data, 70, masks.ctypes.data)
        extent(len(rows), count, some.ctypes.data, 70, out.ctypes.data)
        bits = [sum(1 << p for p in range(count) if row[p] != 0) for row in some]
        assert masks.tolist() == [*bits, 0]
        magnitudes = np.abs(some[:, :count]).view(words)
        found = [int(magnitudes.max()), int((magnitudes - magnitudes.dtype.type(1)).min())]
        assert out.tolist() == found
        out[:] = 0
        if count == shape.wide:
            panel = np.full((len(rows) + 1, count), 7, dtype.numpy)
            out[:] = 0
            copy_wide(len(rows), some.ctypes.data, 70, panel.ctypes.data, out.ctypes.data)
            np.testing.assert_array_equal(panel[:-1], some[:, :count])
            assert (panel[-1] == 7).all()
            assert out.tolist() == found


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
@pytest.mark.parametrize("width", [16, 32, 64])
def test_what_is_not_zero_where_rows_lie_side_by_side(dtype: weft.DType, width: int) -> None:
    made = functions(dtype, microkernel.shapes(16, width // dtype.itemsize)[0])
    nonzero_across = ctypes.CFUNCTYPE(None, INT, INT, POINTER, INT, POINTER, POINTER)(made["nonzero_across"])
    rng = np.random.default_rng(width)
    for rows, count in itertools.product((1, 2, 7, 8, 16, 19, 32, 45), (1, 2, 31, 32, 33, 63, 64)):
        x = rng.standard_normal((count, 50)).astype(dtype.numpy)
        x[rng.random(x.shape) < 0.5] = -0.0
        x[count // 2, 0], x[:, rows // 2], x[count - 1, rows - 1] = np.nan, 0, np.finfo(dtype.numpy).smallest_subnormal
        x[:, rows:] = np.inf  # belongs to others
        masks, out = np.full(rows + 1, 7, np.uint64), np.zeros(2, np.uint64)
        nonzero_across(rows, count, x.ctypes.data, 50, masks.ctypes.data, out.ctypes.data)
        assert masks.tolist() == [*(sum(1 << p for p in range(count) if x[p, r] != 0) for r in range(rows)), 7]
        magnitudes = np.abs(x[:, :rows]).view(f"u{dtype.itemsize}")
        assert out.tolist() == [int(magnitudes.max()), int((magnitudes - magnitudes.dtype.type(1)).min())]


@pytest.mark.parametrize(("registers", "lanes"), [(32, 16), (32, 8), (16, 8), (16, 4), (32, 4), (32, 2), (16, 2)])
def test_shapes_fit_the_registers(registers: int, lanes: int) -> None:
    for shape in microkernel.shapes(registers, lanes):
        assert shape.rows * shape.vectors + shape.vectors + 1 <= registers
        assert 1 <= shape.rows <= microkernel.MOST_ROWS
        assert shape.packed_rows % min(lanes, 8) == 0
        assert 0 <= shape.packed_rows - shape.rows < min(lanes, 8)  # no more than must be is wasted
    best = microkernel.shapes(registers, lanes)[0]
    assert best.rows * best.vectors >= 8  # as many as cover the latency of a multiply-add


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("registers", "width"), [(32, 64), (16, 32), (32, 16)])
def test_a_column_fetches_every_line_of_c(dtype: str, registers: int, width: int) -> None:
    size = 4 if dtype == "float32" else 8
    for shape in microkernel.shapes(registers, width // size):
        text = microkernel.build_trial(dtype, shape, True)
        fetched = text.count("@llvm.prefetch.p0(") - text.count("declare void @llvm.prefetch.p0(")
        lines = -(-shape.columns * size // microkernel.LINE)
        assert fetched == shape.rows * lines + 2  # and what comes next, one line in each turn or some


@pytest.mark.parametrize("features", ["+avx512f,+avx,+fma", "+neon", "+avx,+fma", "+sse2"])
def test_modules_for_other_cpus_are_well_formed(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite.binding as llvm

    monkeypatch.setattr(loader, "target", lambda: ("", features))
    for dtype in (weft.float32, weft.float64):
        shape = tiles.candidates(dtype)[0]
        llvm.parse_assembly(microkernel.build(dtype.name, shape, "+sse2" not in features)).verify()


def test_a_second_process_loads_its_tiles(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEFT_CACHE_DIR", str(tmp_path))
    script = (
        "import sys, weft; x = weft.ones((70, 70)); (x @ x).tolist(); s = weft.stats();"
        "print(s.kernels_compiled, s.kernels_loaded, 'llvmlite.binding' in sys.modules)"
    )
    run = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True) for _ in range(2)]
    compiled, loaded, _ = run[0].stdout.split()
    assert int(compiled) >= 1
    assert int(loaded) == 0
    assert run[1].stdout.split() == ["0", compiled, "False"]
    assert [e.name for e in disk.entries() if e.name.startswith("gemm_float32_")]


def test_tiles_are_replaced_while_products_run() -> None:
    rng = np.random.default_rng(2)
    x = weft.asarray(rng.standard_normal((150, 150), np.float32))
    expected = (x @ x).numpy()
    codes = [tiles.compile_tiles(weft.float32, shape) for shape in tiles.candidates(weft.float32)]
    before = codes[0]
    stop = time.monotonic() + 1
    wrong = []

    def multiply() -> None:
        while time.monotonic() < stop and not wrong:
            if not np.array_equal((x @ x).numpy(), expected):
                wrong.append(tiles.current[weft.float32])

    threads = [threading.Thread(target=multiply) for _ in range(2)]
    for t in threads:
        t.start()
    while time.monotonic() < stop:
        for code in codes:
            tiles.use(weft.float32, code)
            time.sleep(0.001)
    for t in threads:
        t.join()
    tiles.use(weft.float32, before)
    assert not wrong
