"""The benchmarks: that they run, and that they notice a wrong result. What they measure is not tested."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.workloads import MODES, WORKLOADS

from benchmarks import compare, peers, timing, workloads
from tests.benchmarks.helpers import command


@pytest.mark.parametrize("name", [name for name in WORKLOADS if name != "silu_8m"])
def test_modes_and_numpy_agree(name: str) -> None:
    workload = WORKLOADS[name]
    expected = workloads.weft_case(workload, "eager").check()
    for mode in MODES[1:]:
        found = workloads.weft_case(workload, mode).check()
        assert not compare.difference(expected, found, exact=True), mode
    peer = peers.numpy_case(workload)
    assert peer is None or not compare.difference(expected, peer.check(), exact=False)


def test_differences_are_found() -> None:
    a = np.ones(3, np.float32)
    nearly = a + np.float32(1e-6)
    assert compare.difference([a], [nearly], exact=False) == ""
    assert "bits" in compare.difference([a], [nearly], exact=True)
    assert "by up to 1" in compare.difference([a], [a * 2], exact=False)
    assert "shapes" in compare.difference([a], [a[:2]], exact=False)


def test_candidates_take_turns() -> None:
    said: list[str] = []
    found = timing.interleave({"a": timing.call(said.append, "a"), "b": timing.call(said.append, "b")}, 3, 1e-6)
    assert [len(t.rounds) for t in found.values()] == [3, 3]
    assert "".join(said).replace("aa", "a").count("ab") >= 2


def test_joined_candidates_follow_one_another_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: said.append("-"))
    candidates = {name: timing.call(said.append, name) for name in "abc"}
    found = timing.interleave(candidates, 4, 1e-6, joined=[("c", "a"), ("x",)])
    assert {name: len(t.rounds) for name, t in found.items()} == {"a": 4, "b": 4, "c": 4}
    turns = ["".join(dict.fromkeys(turn)) for turn in "".join(said).split("-")[1:]]
    assert turns == ["ca", "b", "ac", "b", "ca", "b", "ac", "b"]


def test_ratio_is_of_medians_with_the_spread_of_the_rounds() -> None:
    found = timing.ratio(timing.Timing([2.0, 4.0, 6.0]), timing.Timing([1.0, 4.0, 2.0]))
    assert found.value == 2.0
    assert (found.low, found.high) == (1.5, 2.5)


def test_the_command() -> None:
    said = command("--quick", "--no-peers", "add", "regression")
    assert "weft static" in said
    assert "linear regression step" in said
