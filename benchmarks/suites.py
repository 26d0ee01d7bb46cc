"""The asv suite: each workload in each of Weft's modes, with its launches, and what starting costs.

``make asv`` runs it against the working tree; CONTRIBUTING.md tells of the rest. asv takes the classes and their ``time_``,
``track_`` and ``timeraw_`` methods for benchmarks.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from benchmarks import memory, workloads
from benchmarks.limits import attention, products, reductions, rowwise
from benchmarks.processes import first_step  # asv takes a module called processes for a setting
from benchmarks.timing import Candidate
from benchmarks.workloads import MODES, WORKLOADS

THREADS = 2


def function(candidate: Candidate) -> Any:
    """A candidate's statement as a function."""
    names = dict(candidate.names)
    exec(f"def run():\n    return {candidate.statement}", names)
    return names["run"]


class Steps:
    """Each workload in each mode."""

    params = (list(WORKLOADS), list(MODES))
    param_names = ("workload", "mode")
    timeout = 120

    def setup(self, workload: str, mode: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        case = workloads.weft_case(WORKLOADS[workload], mode)
        case.check()
        self.run = function(case.candidate)
        self.run()

    def time_step(self, workload: str, mode: str) -> None:
        self.run()

    def track_launches(self, workload: str, mode: str) -> int:
        """Kernels and matrix products that one call launches."""
        made = self._counted()
        return made.kernel_launches + made.gemm_launches

    def track_kernel_launches(self, workload: str, mode: str) -> int:
        """Generated kernels among them."""
        return self._counted().kernel_launches

    track_launches.unit = track_kernel_launches.unit = "launches"  # type: ignore[attr-defined]

    def _counted(self) -> Any:
        import weft

        before = weft.stats()
        self.run()
        return weft.stats() - before


class Products:
    """Matrix products of the table of limits, eagerly."""

    params = (["×".join(map(str, shape)) for shape in products.SHAPES], list(products.DTYPES), list(products.LAYOUTS))
    param_names = ("shape", "dtype", "layout")

    def setup(self, shape: str, dtype: str, layout: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        chosen = products.product(tuple(map(int, shape.split("×"))), dtype, layout)
        self.run = function(workloads.weft_case(chosen, "eager").candidate)
        self.run()

    def time_product(self, shape: str, dtype: str, layout: str) -> None:
        self.run()


class Reductions:
    """Reductions of the table of limits, eagerly."""

    params = (list(reductions.FUNCTIONS), list(reductions.AXES))
    param_names = ("function", "axes")

    def setup(self, name: str, axes: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        shape = (reductions.SIZE, reductions.SIZE)
        self.x = weft.from_numpy(np.random.default_rng(1).standard_normal(shape, dtype=np.float32)).clone()
        self.function = reductions.array_form(weft, name, reductions.AXES[axes])
        self.function(self.x)

    def time_reduction(self, name: str, axes: str) -> None:
        self.function(self.x)


class Layouts:
    """Reductions of 2048 × 2048 floats that are transposed in memory, and of as many in short rows, eagerly."""

    params = (
        list(reductions.FUNCTIONS),
        ["transposed, first", "transposed, last", "rows of 4", "rows of 16", "rows of 64"],
    )
    param_names = ("function", "layout")

    def setup(self, name: str, layout: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        kind, _, which = layout.rpartition(" ")
        columns = 2048 if kind == "transposed," else int(which)
        array = np.random.default_rng(1).standard_normal((2**22 // columns, columns), dtype=np.float32)
        x = weft.from_numpy(array).clone()
        self.x = x.T if kind == "transposed," else x
        self.function = reductions.array_form(weft, name, 0 if which == "first" else -1)
        self.function(self.x)

    def time_reduction(self, name: str, layout: str) -> None:
        self.function(self.x)


class Cumulative:
    """Running sums and products, eagerly: along each axis of 4096 × 4096 floats, of 2**24 in a row, and of 1000."""

    params = (["cumsum", "cumprod"], ["first", "last", "flat", "small"], ["forward", "gradient"])
    param_names = ("function", "what", "pass")

    def setup(self, name: str, what: str, which: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        shape = {"flat": (1 << 24,), "small": (1000,)}.get(what, (4096, 4096))
        x, g = (weft.from_numpy(a).clone() for a in products.normal((shape, shape), "float32"))
        axis = 0 if what == "first" else -1

        def forward() -> Any:
            return getattr(weft, name)(x, axis)

        def gradient() -> Any:
            return weft.grad(forward(), [x], [g])

        x.requires_grad_(which == "gradient")
        self.run = gradient if which == "gradient" else forward
        self.run()

    def time_running(self, name: str, what: str, which: str) -> None:
        self.run()


class Rows:
    """Row-wise functions of the table of limits, forward and with their gradient."""

    params = ([f.name for f in rowwise.functions(*rowwise.SIZES)], ["forward", "gradient"], ["eager", "static"])
    param_names = ("function", "what", "mode")

    def setup(self, name: str, what: str, mode: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        (chosen,) = (f for f in rowwise.functions(*rowwise.SIZES) if f.name == name)
        *arrays, g = products.normal((*chosen.shapes, chosen.result), "float32")
        static = weft.static if mode == "static" else None
        made = rowwise.tensor_case(weft, chosen.tensors(weft), arrays, g if what == "gradient" else None, static=static)
        self.run = function(made.candidate)
        self.run()

    def time_rows(self, name: str, what: str, mode: str) -> None:
        self.run()


class Attention:
    """Causal attention of eight heads, forward and with its gradient."""

    params = ([128, 512, 2048], ["forward", "gradient"], ["eager", "static"])
    param_names = ("length", "what", "mode")

    def setup(self, length: int, what: str, mode: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        *arrays, g = products.normal(((1, 8, length, 64),) * 4, "float32")
        static = weft.static if mode == "static" else None
        gradient = g if what == "gradient" else None
        self.run = function(
            rowwise.tensor_case(weft, attention.causal(weft), arrays, gradient, static=static).candidate
        )
        self.run()

    def time_attention(self, length: int, what: str, mode: str) -> None:
        self.run()

    def track_peak_memory(self, length: int, what: str, mode: str) -> int:
        """The most bytes that tensors and scratch took in an eager call."""
        return attention.peak((1, 8, length, 64), what == "gradient")

    track_peak_memory.unit = "bytes"  # type: ignore[attr-defined]


class Demo:
    """The demo's training step, dropout included."""

    params = MODES
    param_names = ("mode",)
    timeout = 300

    def setup(self, mode: str) -> None:
        import weft

        weft.set_num_threads(THREADS)
        self.step, self.images, self.labels = memory.prepared(mode)
        for _ in range(3):
            self.step(self.images, self.labels)

    def time_step(self, mode: str) -> None:
        self.step(self.images, self.labels)

    def track_launches(self, mode: str) -> int:
        """Kernels and matrix products that one step launches."""
        import weft

        before = weft.stats()
        self.step(self.images, self.labels)
        made = weft.stats() - before
        return made.kernel_launches + made.gemm_launches

    def track_peak_memory(self, mode: str) -> int:
        """The most bytes that tensors took during a step."""
        return memory.peak(mode)

    def track_growth(self, mode: str) -> int:
        """Bytes by which the process grew over a thousand steps."""
        return memory.growth(mode, 1000)

    def peakmem_step(self, mode: str) -> None:
        self.step(self.images, self.labels)

    track_launches.unit = "launches"  # type: ignore[attr-defined]
    track_peak_memory.unit = track_growth.unit = "bytes"  # type: ignore[attr-defined]


class FirstCall:
    """The demo's first training step."""

    params = MODES
    param_names = ("mode",)
    timeout = 300

    def track_cold(self, mode: str) -> float:
        """In a new process with an empty kernel cache."""
        with tempfile.TemporaryDirectory() as folder:
            return first_step(mode, folder)

    def track_warm(self, mode: str) -> float:
        """In a new process that finds its kernels on disk."""
        with tempfile.TemporaryDirectory() as folder:
            first_step(mode, folder)
            return first_step(mode, folder)

    track_cold.unit = track_warm.unit = "s"  # type: ignore[attr-defined]


class Tracing:
    """A static function's first call when all its kernels are in memory: tracing, optimising, scheduling."""

    params = ("regression", "silu_4k", "layer_norm", "perceptron")
    param_names = ("workload",)
    number = 1
    repeat = 10
    warmup_time = 0

    def setup(self, workload: str) -> None:
        import weft

        workloads.weft_case(WORKLOADS[workload], "static").check()
        chosen = WORKLOADS[workload]
        function, self.arguments = chosen.tensors(weft, chosen.arrays())
        self.function = weft.static(function)

    def time_first_call(self, workload: str) -> None:
        self.function(*self.arguments)


class Import:
    """Importing the package, and NumPy alone for comparison, each in a new process."""

    def timeraw_weft(self) -> str:
        return "import weft"

    def timeraw_numpy(self) -> str:
        return "import numpy"
