"""What a process imports and compiles: as little as it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.robustness.helpers import script

#: Trains a small classifier, eagerly and as a static function, and prints what that took.
TRAIN = """
import sys
before = set(sys.modules)
import weft
at_import = set(sys.modules) - before
x, y = weft.rand(64, 8, generator=weft.Generator(0)), weft.arange(64) % 3
result = []
for static in (False, True):
    weft.manual_seed(0)
    model = weft.nn.Sequential(weft.nn.Linear(8, 16), weft.nn.ReLU(), weft.nn.Dropout(0.1), weft.nn.Linear(16, 3))
    optimiser = weft.optim.Adam(model.parameters(), lr=0.01)
    def step(x, y):
        optimiser.zero_grad()
        loss = weft.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        return loss
    f = weft.static(step) if static else step
    for _ in range(5):
        loss = f(x, y)
    result.append(loss.item())
heavy = ("numba", "llvmlite.binding", "weft.codegen.emit", "rich", "tqdm", "torch", "jax", "scipy")
heavy = [m for m in heavy if m in sys.modules]
early = [m for m in ("numba", "llvmlite", "rich", "tqdm", "torch", "jax", "scipy", "multiprocessing") if m in at_import]
print(repr((result, weft.stats().kernels_compiled, weft.stats().kernels_loaded, heavy, early)))
"""


def train(folder: Path) -> Any:
    import ast

    return ast.literal_eval(script(TRAIN, timeout=120, WEFT_CACHE_DIR=str(folder)))


def test_second_process_compiles_nothing(tmp_path: Path) -> None:
    first, compiled, _, _, early = train(tmp_path / "cache")
    assert compiled > 5
    assert early == []
    again, compiled, loaded, heavy, early = train(tmp_path / "cache")
    assert (compiled, heavy, early) == (0, [], [])
    assert loaded > 5
    assert again == first
    assert first[0] == first[1]


def test_import_is_light() -> None:
    """No thread, no cache folder, no warning, nothing printed, and no compiler."""
    out = script(
        """
        import os, sys, threading, warnings
        warnings.simplefilter("error")
        tasks = len(os.listdir("/proc/self/task"))
        import numpy
        with_numpy = len(os.listdir("/proc/self/task"))
        import weft, weft.nn, weft.optim, weft.data
        assert threading.active_count() == 1
        assert len(os.listdir("/proc/self/task")) == with_numpy
        assert not os.path.exists(os.environ["WEFT_CACHE_DIR"])
        assert not {"numba", "llvmlite", "rich", "tqdm", "asyncio", "unittest"} & set(sys.modules)
        """,
        WEFT_CACHE_DIR="/tmp/weft-that-does-not-exist/cache",
    )
    assert out == ""


def test_import_from_another_thread_and_twice() -> None:
    script(
        """
        import threading
        errors = []
        def use():
            try:
                import weft
                assert (weft.ones(3) + 1).tolist() == [2.0, 2.0, 2.0]
                weft.nn.Linear(2, 2)
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=use) for _ in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not errors, errors
        import weft
        f = weft.static(lambda x: [x := weft.sin(x * 2) for _ in range(40)][-1])
        f(weft.ones(5))
        import signal
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        big = weft.full((1_000_000,), 0.5)
        try:
            for _ in range(100):
                f(big)
            raise SystemExit("not interrupted: the main thread is not known")
        except KeyboardInterrupt:
            pass
        """
    )


def test_optimised_and_isolated_modes() -> None:
    """Without assertions and docstrings (-OO) and without the user's site packages, answers are the same."""
    import subprocess
    import sys

    from tests.robustness.helpers import SOURCE, environment

    text = f"""
import sys
sys.path[:0] = [{str(SOURCE)!r}]
import weft
w = weft.ones(3, requires_grad=True)
f = weft.static(lambda x: (w * x).tanh().sum())
f(weft.ones(3)).backward()
print(w.grad.tolist())
"""
    found = {
        subprocess.run(
            [sys.executable, *flags, "-c", text], capture_output=True, text=True, check=True, env=environment()
        ).stdout
        for flags in ([], ["-OO"], ["-X", "dev"], ["-B", "-s"])
    }
    assert len(found) == 1
