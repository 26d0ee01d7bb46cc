"""Which tile the products of a type use, and that no result depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import weft
from weft import config
from weft.codegen import choice, microkernel, tiles
from weft.codegen.choice import Choice
from weft.runtime import cache as disk

LARGE = 512, 512, 512**3


class NewProcess:
    """What a process that begins knows of tiles. It does not measure but count: the second candidate wins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.measured = 0
        monkeypatch.setattr(choice, "measured", self._measured)
        self.begin()

    def begin(self) -> None:
        self.monkeypatch.setattr(tiles, "current", {})
        self.monkeypatch.setattr(tiles, "_settled", set())

    def _measured(self, dtype: weft.DType) -> Choice:
        self.measured += 1
        return Choice(choice.candidates(dtype)[1], choice.MEASURED)


def chosen(dtype: weft.DType) -> Choice:
    found = choice.known(dtype)
    assert found
    return found


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewProcess]:
    """With a cache of its own, and measuring switched on."""
    monkeypatch.setenv("WEFT_CACHE_DIR", str(tmp_path / "cache"))
    with config.override(tune=True):
        yield NewProcess(monkeypatch)
    monkeypatch.undo()
    for dtype in tiles.current:
        tiles.use(dtype, tiles.compile_tiles(dtype, choice.candidates(dtype)[0]))


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64, weft.float16], ids=repr)
def test_results_do_not_depend_on_the_tile(dtype: weft.DType) -> None:
    rng = np.random.default_rng(0)
    sizes = [
        (5, 3, 7),
        (8, 8, 8),
        (13, 30, 17),
        (64, 100, 10),
        (70, 400, 130),
        (33, 1100, 65),
        (150, 64, 300),
        (3, 5, 6, 7),
    ]
    operands = []
    for *batch, m, k, n in sizes:
        a, b = (rng.standard_normal((*batch, *s), np.float32) for s in ((m, k), (k, n), (k, m), (n, k))[:2])
        left, right = (weft.asarray(x).to(dtype) for x in (a, b))
        turned = [weft.asarray(np.ascontiguousarray(x.swapaxes(-1, -2))).to(dtype).mT for x in (a, b)]
        operands += [(left, right), (turned[0], right), (left, turned[1]), tuple(turned)]
    x, y = operands[0]
    _ = x @ y  # sees to it that there are tiles
    kind = dtype.compute
    before = tiles.current[kind]
    found = []
    try:
        for shape in choice.candidates(kind):
            tiles.use(kind, tiles.compile_tiles(kind, shape))
            found.append([(x @ y).numpy().tobytes() for x, y in operands])
    finally:
        tiles.use(kind, tiles.compile_tiles(kind, before))
    assert all(results == found[0] for results in found)
    for start in range(0, len(operands), 4):
        assert len(set(found[0][start : start + 4])) == 1  # nor on layouts


def test_a_large_product_measures_once_on_a_machine(process: NewProcess) -> None:
    model, winner = choice.candidates(weft.float32)[:2]
    tiles.ensure(weft.float32, 64, 64, 64**3)
    tiles.ensure(weft.float32, 1, 4096, 1 << 30)  # not made of tiles
    assert (process.measured, tiles.current[weft.float32]) == (0, model)
    assert chosen(weft.float32) == Choice(model, choice.MODEL)
    tiles.ensure(weft.float32, *LARGE)
    tiles.ensure(weft.float16, *LARGE)  # made of the same tiles
    assert (process.measured, tiles.current[weft.float32]) == (1, winner)
    process.begin()
    tiles.ensure(weft.float32)
    tiles.ensure(weft.float32, *LARGE)
    assert (process.measured, tiles.current[weft.float32]) == (1, winner)
    assert chosen(weft.float32) == Choice(winner, choice.MEASURED)
    assert choice.known(weft.float64) is None


def test_a_product_of_tensors_is_large_by_its_work(process: NewProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "WORTH", 37 * 41 * 43)
    weft.ones((37, 41)) @ weft.ones((41, 42))
    assert process.measured == 0
    weft.ones((37, 41)) @ weft.ones((41, 43))
    assert process.measured == 1


def test_switched_off_nothing_is_measured(process: NewProcess) -> None:
    with config.override(tune=False):
        tiles.ensure(weft.float32, *LARGE)
    assert (process.measured, tiles.current[weft.float32]) == (0, choice.candidates(weft.float32)[0])


def test_a_tile_can_be_set(process: NewProcess) -> None:
    third = choice.candidates(weft.float64)[2]
    with config.override(tiles=(f"float64:{third.rows}x{third.columns}",)):
        assert chosen(weft.float64) == Choice(third, choice.SET)
        tiles.ensure(weft.float64, *LARGE)
    assert (process.measured, tiles.current[weft.float64]) == (0, third)
    assert choice.known(weft.float64) is None  # it is not remembered


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("float32:5x5", "WEFT_TILES is 'float32:5x5'; the tiles of float32 on this CPU are "),
        ("int8:6x16", "it takes entries such as float32:6x16, of float32 and float64"),
        ("6x16", "it takes entries such as float32:6x16, of float32 and float64"),
    ],
)
def test_a_tile_that_there_is_not(process: NewProcess, entry: str, message: str) -> None:
    with config.override(tiles=(entry,)), pytest.raises(ValueError, match=message):
        weft.ones((20, 21)) @ weft.ones((21, 22))


def test_a_damaged_choice_counts_as_none(process: NewProcess) -> None:
    tiles.ensure(weft.float32, *LARGE)
    for path in disk.directory().glob("*.weft"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    process.begin()
    assert choice.known(weft.float32) is None
    tiles.ensure(weft.float32, *LARGE)
    assert process.measured == 2
    assert chosen(weft.float32).origin == choice.MEASURED


def test_without_a_cache_nothing_is_measured(
    process: NewProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WEFT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(weft.CacheWarning, match="will be compiled in every process"):
        tiles.ensure(weft.float32, *LARGE)
    assert (process.measured, tiles.current[weft.float32]) == (0, choice.candidates(weft.float32)[0])


def test_choices_are_kept_by_the_number_of_threads(process: NewProcess) -> None:
    threads = weft.get_num_threads()
    tiles.ensure(weft.float32, *LARGE)
    try:
        weft.set_num_threads(threads + 1)
        assert choice.known(weft.float32) is None
    finally:
        weft.set_num_threads(threads)
    assert chosen(weft.float32).origin == choice.MEASURED


@pytest.mark.parametrize(("registers", "lanes"), [(32, 16), (32, 8), (16, 8), (16, 4), (32, 4), (32, 2), (16, 2)])
def test_the_model_prefers_what_takes_the_fewest_cycles(registers: int, lanes: int) -> None:
    shapes = microkernel.shapes(registers, lanes)
    assert choice.cycles(shapes[0]) == min(map(choice.cycles, shapes))
    plausible = choice.plausible(shapes)
    assert plausible[0] == shapes[0]
    assert 1 < len(plausible) < len(shapes)  # a row of one vector takes a load for each multiply-add


@pytest.mark.parametrize("dtype", [weft.float32, weft.float64], ids=repr)
def test_measuring_chooses_one_of_the_plausible(dtype: weft.DType) -> None:
    found = choice.measured(dtype)
    assert found.shape in choice.plausible(choice.candidates(dtype))
    assert found.origin == choice.MEASURED


def test_one_quick_turn_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    calls = dict.fromkeys(choice.plausible(choice.candidates(weft.float64)), 0)
    model = next(iter(calls))

    def trial(_: weft.DType, shape: microkernel.Shape) -> Callable[[], None]:
        def run() -> None:
            nonlocal clock
            calls[shape] += 1
            disturbed = shape == model or calls[shape] > 2 * choice.CALLS
            clock += choice._tiles(shape) * shape.rows * shape.columns * (1 if disturbed else 0.5)

        return run

    monkeypatch.setattr(choice, "_trial", trial)
    monkeypatch.setattr("time.perf_counter", lambda: clock)
    monkeypatch.setattr(choice, "BUDGET", float("inf"))
    assert choice.measured(weft.float64).shape == model
    assert min(calls.values()) > choice.TURNS


def test_the_model_wins_unless_another_is_clearly_faster() -> None:
    assert choice.best([1.0, 0.97, 0.98], 0.05) == 0
    assert choice.best([1.0, 0.9, 0.8], 0.05) == 2


def test_processes_that_measure_at_once(tmp_path: Path) -> None:
    script = (
        "import hashlib, numpy, weft\n"
        "x = weft.asarray(numpy.random.default_rng(0).standard_normal((512, 512), numpy.float32))\n"
        "print(hashlib.sha256((x @ x).numpy().tobytes()).hexdigest())\n"
        "from weft.codegen import choice\n"
        "print(choice.known(weft.float32).origin)\n"
    )
    environment = {**os.environ, "WEFT_CACHE_DIR": str(tmp_path), "WEFT_TUNE": "1"}
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    printed = {child.communicate(timeout=120)[0] for child in running}
    assert all(child.returncode == 0 for child in running)
    (said,) = printed
    assert said.splitlines()[1] == choice.MEASURED


def test_packed_bytes_count_whole_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tiles, "current", {weft.float32: microkernel.Shape(9, 3, 16), weft.float64: microkernel.Shape(6, 2, 4)}
    )
    monkeypatch.setattr(tiles, "_settled", {weft.float32, weft.float64})
    assert tiles.packed_bytes(weft.float32, 128, 64) == 128 * 96 * 4
    assert tiles.packed_bytes(weft.float32, 128, 96) == 128 * 96 * 4
    assert tiles.packed_bytes(weft.bfloat16, 5, 1) == 5 * 48 * 4  # packed in float32
    assert tiles.packed_bytes(weft.float64, 5, 9) == 5 * 16 * 8
    assert tiles.packed_bytes(weft.int32, 5, 9) == 5 * 9 * 4  # of integers there are no such panels
