"""Counters of what the engine has done in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft import _native, compiler
from weft.modes import static

_start: dict[str, int] = {}


def _totals() -> dict[str, int]:
    from weft import codegen  # not yet imported where nothing was compiled

    native = _native.counters()
    return {
        "traces": static.traces,
        "programs": compiler.programs,
        "kernels_compiled": codegen.counters["kernels_compiled"],
        "kernels_loaded": codegen.counters["kernels_loaded"],
        "kernel_launches": native["kernel_launches"],
        "gemm_launches": native["gemm_launches"],
        "gemms_skipping_zeros": native["gemms_skipping_zeros"],
        "gemms_by_matrix_unit": native["gemms_by_matrix_unit"],
    }


class Stats(Mapping[str, int]):
    """Counts at one moment, as attributes or by name; ``b - a`` is what happened from ``a`` to ``b``.

    ``traces`` of static functions, ``programs`` built, ``kernels_compiled`` here and ``kernels_loaded`` from disk,
    ``kernel_launches`` (an attention is one), ``gemm_launches`` (matrix products); ``gemms_skipping_zeros``: products that
    did not multiply by the zeros of an operand, which a relu or dropout has made; and ``gemms_by_matrix_unit``: products made
    by the CPU's matrix unit. (Of a batch, each matrix counts in the last two.)
    """

    traces: int
    programs: int
    kernels_compiled: int
    kernels_loaded: int
    kernel_launches: int
    gemm_launches: int
    gemms_skipping_zeros: int
    gemms_by_matrix_unit: int

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.__dict__.update(counts)

    def __getitem__(self, name: str) -> int:
        return self.__dict__[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(self.__dict__)

    def __sub__(self, before: Stats) -> Stats:
        return Stats({name: n - before[name] for name, n in self.items()})

    def __repr__(self) -> str:
        return "Stats(" + ", ".join(f"{name}={n}" for name, n in self.items()) + ")"

    def reset(self) -> None:
        """Count from zero again, from now on."""
        _start.update(_totals())


def stats() -> Stats:
    """What the engine has done in this process, or since ``stats().reset()``.

    Example:
        >>> import weft
        >>> before = weft.stats()
        >>> x = weft.ones((4,)) + 1
        >>> (weft.stats() - before).traces
        0
    """
    return Stats({name: n - _start.get(name, 0) for name, n in _totals().items()})


__all__ = ["Stats", "stats"]
