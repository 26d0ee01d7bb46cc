"""The digits example: what a training step launches, what it needs, and what a second process need not do again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import weft
from weft.examples import demo, digits


@pytest.fixture(scope="module")
def samples() -> list[tuple[weft.Tensor, weft.Tensor]]:
    weft.manual_seed(0)
    train_part, _ = digits.split()
    return list(digits.batches(train_part, 1))


def test_the_split_is_fixed_and_complete() -> None:
    train_part, test_part = digits.split()
    assert (len(train_part), len(test_part)) == (1437, 360)
    again, _ = digits.split()
    assert np.array_equal(train_part.tensors[0].numpy(), again.tensors[0].numpy())
    labels = np.concatenate([train_part.tensors[1].numpy(), test_part.tensors[1].numpy()])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


#: (kernels, matrix products) launched by a step. Forward 3 products, backward 5: the images need no gradient. An eager layer's
#: bias is added with its product. In a program, the last layer's product and the first of the backward ones follow the second
#: layer's, and six of the kernels run with a product.
LAUNCHES = {"eager": (27, 8), "lazy": (5, 6), "static": (5, 6)}


@pytest.mark.parametrize("mode", digits.MODES)
def test_launches_of_a_training_step(mode: str, samples: list[tuple[weft.Tensor, weft.Tensor]]) -> None:
    training = digits.prepare(mode)
    for images, labels in samples[:2]:
        training.train_step(images, labels).item()
    before = weft.stats()
    training.train_step(*samples[2]).item()
    made = weft.stats() - before
    assert (made.kernel_launches, made.gemm_launches) == LAUNCHES[mode]
    assert made.traces == made.programs == made.kernels_compiled == made.kernels_loaded == 0


def test_static_needs_no_more_memory_than_eager(samples: list[tuple[weft.Tensor, weft.Tensor]]) -> None:
    peaks = {}
    for mode in ("eager", "static"):
        training = digits.prepare(mode)
        for images, labels in samples[:3]:
            training.train_step(images, labels).item()
        start = weft.memory_stats()["live_bytes"]
        weft.reset_peak_memory()
        training.train_step(*samples[3]).item()
        peaks[mode] = weft.memory_stats()["peak_bytes"] - start
    assert peaks["static"] <= peaks["eager"]


def test_a_second_process_compiles_nothing_and_never_imports_llvm(tmp_path: Path) -> None:
    code = (
        "import sys, weft; from weft.examples import digits\n"
        "for mode in digits.MODES: digits.train(mode, 1)\n"
        "print(weft.stats().kernels_compiled, 'llvmlite.binding' in sys.modules)"
    )
    seen = []
    for _ in range(2):
        environment = {**os.environ, "WEFT_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.split())
    assert int(seen[0][0]) > 0
    assert seen == [[seen[0][0], "True"], ["0", "False"]]


def measured(mode: str, step: float, cold: float, warm: float) -> demo.Measured:
    return demo.Measured(mode, times=[step] * 20, cold=cold, warm=warm)


def test_break_even() -> None:
    eager = measured("eager", 2.0, 10.0, 1.0)
    # 20 + (n - 1) is below 10 + 2 (n - 1) from n = 12 on; they are equal at 11.
    assert demo.break_even(measured("static", 1.0, 20.0, 0.5), eager, cold=True) == 11
    assert demo.break_even(measured("static", 1.0, 20.0, 0.5), eager, cold=False) == 1
    assert demo.break_even(measured("lazy", 3.0, 20.0, 2.0), eager, cold=True) is None
