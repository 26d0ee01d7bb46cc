"""Line 4: a training step of two layers, in one static call, against NumPy by hand, PyTorch, torch.compile and JAX."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import workloads
from benchmarks.limits import yardsticks
from benchmarks.limits.contest import PEERS, Bench, Goal, Limit
from benchmarks.timing import seconds
from benchmarks.workloads import BATCH, TWO_LAYERS, WORKLOADS

SHARE = 0.5


def arithmetic() -> float:
    """Operations of the step's products: of each weight one for the result and one for its gradient; of the second also one
    for the hidden layer's gradient."""
    inputs, hidden, outputs = TWO_LAYERS
    return 2.0 * BATCH * (2 * inputs * hidden + 3 * hidden * outputs)


def two_layers(bench: Bench) -> Iterator[Limit]:
    """The step in Weft's eager and static mode and in each of the peers that is installed, and how long its products alone
    would take at the multiply-add peak of the same run."""
    chosen = WORKLOADS["two_layers"]
    for name in bench.watched(4, [chosen.title]):
        cases = {f"weft {mode}": workloads.weft_case(chosen, mode) for mode in ("static", "eager")}
        for peer in PEERS:
            found = bench.peers[peer](chosen) if peer in bench.peers else None
            if found is not None:
                cases[peer] = found
        peak = yardsticks.multiply_adds(bench.threads)
        goals = (Goal("weft static", PEERS, 1 / SHARE),)
        made = bench.run(4, name, cases, extra={"peak": peak.candidate}, goals=goals)
        what, limit = "4  two layers' training step, static ÷ the best peer", f"≤ {SHARE:.2f}"
        times = {key: made.times[key].median for key in ("weft static", *PEERS) if key in made.times}
        peers = {key: t for key, t in times.items() if key in PEERS}
        floor = arithmetic() / peak.rate(made.times["peak"])
        note = f"  ({', '.join(f'{key} {seconds(t)}' for key, t in times.items())}; at the multiply-add peak {seconds(floor)})"
        if "weft static" not in times or not peers:
            yield Limit(
                what, limit, "a result is wrong" if made.problems else "no peer", False if made.problems else None
            )
            continue
        cost = times["weft static"] / min(peers.values())
        yield Limit(what, limit, f"{cost:.2f}{note}", cost <= SHARE)
