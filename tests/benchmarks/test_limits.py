"""The table of limits: that its lines are measured, that a wrong result is noticed, and what counts as missed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benchmarks.limits import accuracy, attention, contest, modules, products, reductions, rowwise, training, yardsticks

from benchmarks import timing, workloads
from tests.benchmarks.helpers import command


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> contest.Bench:
    """Against NumPy alone, one short round of everything."""
    from benchmarks.peers import numpy_case

    for name in ("REST", "SETTLE", "BURST"):
        monkeypatch.setattr(contest, name, 1e-4)
    return contest.Bench(threads=2, quick=True, rounds=1, peers={"numpy": numpy_case})


def sound(bench: contest.Bench, lines: list[contest.Limit]) -> None:
    assert lines
    assert not [problem for made in bench.done for problem in made.problems]
    assert all(t.rounds and min(t.rounds) > 0 for made in bench.done for t in made.times.values())


def test_squares(bench: contest.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SQUARES", (24, 32))
    monkeypatch.setattr(yardsticks, "ITERATIONS", 1000)
    lines = list(products.squares(bench))
    sound(bench, lines)
    assert "peak" in bench.done[0].times
    assert lines[1].met is None  # there is no PyTorch here


def test_shapes(bench: contest.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SHAPES", ((3, 5, 2), (1, 7, 1), (4, 2, 3, 5)))
    lines = list(products.shapes(bench))
    sound(bench, lines)
    assert len(bench.done) == 3 * 2 * 4


def test_cells_are_chosen_by_words(bench: contest.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "SHAPES", ((3, 5, 2), (33, 5, 2)))
    bench.cells = ("3x5x2", "TN")
    assert list(products.shapes(bench))
    assert [made.name for made in bench.done] == ["3×5×2 float32 TN", "3×5×2 float64 TN"]
    bench.cells = ("4×4×4",)
    assert not list(products.shapes(bench))


def test_a_product_s_operands_lie_as_its_layout_says() -> None:
    shape = (2, 3, 4, 5)
    for layout in products.LAYOUTS:
        chosen = products.product(shape, "float64", layout)
        _, (a, b) = chosen.numpy(chosen.arrays())
        assert (a.shape, b.shape) == ((2, 3, 4), (2, 4, 5))
        assert [x.flags.c_contiguous for x in (a, b)] == [side == "N" for side in layout]


def test_layer(bench: contest.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LAYER", 24)
    lines = list(products.layer(bench))
    sound(bench, lines)
    assert len(lines) == 2


def test_two_layers(bench: contest.Bench) -> None:
    (line,) = training.two_layers(bench)
    sound(bench, [line])
    assert "numpy" in line.figure
    assert "multiply-add peak" in line.figure


def test_reductions(bench: contest.Bench) -> None:
    lines = list(reductions.reductions(bench, 300))
    sound(bench, lines)
    assert len(bench.done) == 15


def test_rows(bench: contest.Bench) -> None:
    lines = list(rowwise.rows(bench, ((9, 33), (40, 17), (8, 24))))
    sound(bench, lines)
    assert [made.name for made in bench.done[:2]] == ["softmax 9×33 forward", "softmax 9×33 gradient"]


def test_attention(bench: contest.Bench) -> None:
    lines = list(attention.attention(bench, (1, 2, 64, 16)))
    sound(bench, lines)
    assert [made.name for made in bench.done] == ["attention 2×64×16 forward", "attention 2×64×16 gradient"]
    assert len(lines) == 3


def test_errors_are_relative_to_the_terms() -> None:
    exact, scale = np.array([4.0, 0.0]), np.array([4.0, 2.0])
    rms, most = accuracy.error(np.array([4.4, 0.0]), exact, scale)
    assert (rms, most) == pytest.approx((0.1 / 2**0.5, 0.1))
    assert accuracy.over([((1.0, 3.0), (2.0, 2.0)), ((1.0, 1.0), (2.0, 4.0))]) == (0.5, 0.75)
    assert accuracy.no_larger("what", {"a": (1.2, 2.0), "b": (0.9, 1.0)}).missed == ("a 1.200",)


@pytest.mark.parametrize("kind", accuracy.PAIRS)
def test_errors_of_products(kind: str) -> None:
    a, b = accuracy.PAIRS[kind](np.random.default_rng(1), 64)
    assert a.dtype == b.dtype == np.float32
    exact, scale = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    condition = np.median(scale / np.abs(exact))
    assert condition > 500 if kind == "cancelling" else condition < 500
    assert all(0 < rms < 10 for rms, _ in accuracy.product_errors((16,)).values())


def test_errors_of_sums() -> None:
    found = accuracy.sum_errors((100, 301), terms=3000)
    assert len(found) == len(accuracy.VALUES) * 2 * 3
    assert all(0 < rms < 10 for rms, _ in found.values())


def test_other_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import weft

    x = weft.ones((3,))
    assert len({accuracy.bits((lambda x: x + 1, lambda: (x,)), mode, 2) for mode in workloads.MODES}) == 1
    threads = weft.get_num_threads()
    odd = (lambda x: x * weft.get_num_threads(), lambda: (x,))
    assert len({accuracy.bits(odd, "eager", n) for n in (1, 2)}) == 2
    assert weft.get_num_threads() == threads


def test_modules(bench: contest.Bench) -> None:
    bench.cells = ("modules",)
    cold, warm = modules.modules(bench)
    assert "float64" in cold.figure
    assert "float32" in warm.figure


def test_wrong_results_are_not_timed(bench: contest.Bench) -> None:
    a = np.ones(3, np.float32)
    cases = {name: contest.case(lambda x, k=k: x * k, [a], np.asarray) for name, k in (("weft eager", 1), ("numpy", 2))}
    made = bench.run(9, "doubled", cases)
    assert list(made.times) == ["weft eager"]
    assert made.problems == ["line 9, doubled: numpy differs from weft eager by up to 1"]


def test_speed_is_that_of_the_fastest_peer() -> None:
    times = {"weft eager": timing.Timing([2.0]), "numpy": timing.Timing([6.0]), "torch": timing.Timing([3.0])}
    made = contest.Contest(2, "x", times)
    assert made.speed("weft eager") == 1.5
    assert made.speed("weft eager", ("numpy",)) == 3.0
    assert made.speed("weft eager", ("jax.jit",)) is None
    assert made.speed("weft static") is None


def test_rounds_that_differ_leave_a_goal_undecided() -> None:
    goal = contest.Goal("weft eager", ("numpy", "torch"), 0.95)
    ours, slow = timing.Timing([1.0] * 8), timing.Timing([9.0] * 8)

    def undecided(*rounds: float) -> bool:
        return goal.undecided({"weft eager": ours, "numpy": timing.Timing(list(rounds)), "torch": slow})

    assert undecided(0.8, 1.2, 0.8, 1.2, 0.8, 1.2, 0.9, 1.1)  # on either side
    assert not undecided(1.1, 1.2, 1.1, 1.2, 1.1, 1.2, 1.1, 1.2)
    assert not undecided(0.8, 0.9, 0.8, 0.9, 0.8, 0.9, 0.8, 0.9)
    assert not goal.undecided({"weft eager": ours})


def test_an_undecided_goal_has_more_rounds(bench: contest.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = {name: timing.Candidate("pass", {}) for name in ("weft eager", "numpy")}
    goals = (contest.Goal("weft eager", ("numpy",), 1.0),)
    monkeypatch.setattr(contest.Goal, "undecided", lambda goal, times: len(times["numpy"].rounds) < 6)
    assert len(bench.time(9, "x", candidates, goals=goals).times["numpy"].rounds) == 1  # a quick look is quick
    bench.quick, bench.rounds = False, 3
    assert len(bench.time(9, "x", candidates).times["numpy"].rounds) == 3
    assert len(bench.time(9, "x", candidates, goals=goals).times["numpy"].rounds) == 6
    monkeypatch.setattr(contest.Goal, "undecided", lambda goal, times: True)
    assert len(bench.time(9, "x", candidates, goals=goals).times["numpy"].rounds) == 3 * contest.BATCHES


def test_a_line_is_met_if_every_cell_is() -> None:
    missed = contest.at_least("what", 1.0, {"a": 1.5, "b": 0.5, "c": 0.25})
    assert missed.met is False
    assert missed.missed == ("c 0.25", "b 0.50")
    assert missed.figure == "worst 0.25 (c); median 0.50; 2 of 3 missed"
    assert contest.at_least("what", 1.0, {"a": 1.0}).met is True
    assert contest.at_least("what", 1.0, {}).met is None


def test_the_yardsticks_do_what_they_are_counted_for() -> None:
    out = np.zeros(32, np.float32)
    width = yardsticks.vector_width()
    yardsticks.compiled("multiply_adds", width)(100, out.ctypes.data)
    np.testing.assert_allclose(out[:width], 2.0)  # of x -> x / 2 + 1
    values = np.ones(yardsticks.CHAINS * width * 5, np.float32)
    yardsticks.compiled("reading", width)(values.size, values.ctypes.data, 2, out.ctypes.data)
    np.testing.assert_array_equal(out[:width], 5.0)


def test_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.limits import command

    import weft

    def interrupted(bench: contest.Bench) -> Iterator[contest.Limit]:
        raise KeyboardInterrupt

    threads = weft.get_num_threads()
    monkeypatch.setattr(
        command, "LINES", {1: lambda bench: [contest.at_least("what", 1.0, {"a": 0.5})], 2: interrupted}
    )
    found = [command.main(["--no-peers", *options]) for options in (["--only", "1"], ["--only", "1", "--check"], [])]
    weft.set_num_threads(threads)
    assert found == [0, 1, 130]
    said = capsys.readouterr()
    assert said.out.count("MISSED") == 3
    assert "a 0.50" in said.out
    assert "Interrupted" in said.err
    monkeypatch.setattr(command, "LINES", {2: products.shapes})
    assert command.main(["--only", "2", "--cells", "9x9x9", "--no-peers", "--threads", str(threads)]) == 2
    assert "No cell" in capsys.readouterr().err


def test_the_command(tmp_path: Path) -> None:
    options = ["--only", "2", "--cells", "8×8×8", "NN", "--quick", "--no-peers", "--json", str(tmp_path / "found")]
    assert "8×8×8 float64 NN" in command("limits", *options)
    found = json.loads((tmp_path / "found").read_text())
    assert [made["name"] for made in found["cells"]] == ["8×8×8 float32 NN", "8×8×8 float64 NN"]
    assert workloads.MODES[0] in next(iter(found["cells"][0]["seconds"]))


@pytest.mark.parametrize("name", ["Products", "Reductions", "Rows", "Attention"])
def test_the_suite(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import suites

    monkeypatch.setattr(reductions, "SIZE", 64)
    suite = getattr(suites, name)
    (method,) = (m for m in vars(suite) if m.startswith("time_"))
    for last in (0, -1):
        chosen = [values[last] for values in suite.params] if name != "Products" else ["8×8×8", "float64", "TT"]
        made = suite()
        made.setup(*chosen)
        getattr(made, method)(*chosen)
