"""The command line: ``weft demo``, ``weft info``, ``weft cache``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from weft import __version__

#: The square product that tuning measures, and how many of them make one measurement.
TUNED_SIZE, TUNED_RUNS = 384, 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit code: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="weft", description="A tensor engine: eager, lazy and static, with the same bits."
    )
    parser.add_argument("--version", action="version", version=f"weft {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser(
        "demo", help="train a classifier of handwritten digits in all three modes and compare them"
    )
    demo.add_argument(
        "--epochs", type=_epochs, default=40, metavar="N", help="passes over the training data (40; at least 2)"
    )
    demo.add_argument(
        "--report", type=Path, default=Path("weft-report.html"), metavar="PATH", help="where the report goes"
    )
    demo.add_argument(
        "--no-progress",
        action="store_true",
        help="show no progress bars",
    )
    demo.set_defaults(run=_demo)

    cache = commands.add_parser("cache", help="list, measure or clear the compiled kernels kept on disk")
    cache.add_argument("what", choices=("list", "size", "clear"))
    cache.set_defaults(run=_cache)

    info = commands.add_parser("info", help="show versions, CPU features, threads and the cache")
    info.add_argument(
        "--tune", action="store_true", help="measure the tiles of matrix products and keep the fastest for this machine"
    )
    info.set_defaults(run=_info)

    given = parser.parse_args(arguments)
    try:
        return given.run(given)
    except KeyboardInterrupt:
        print("\nInterrupted; nothing was left running.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _epochs(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 2, not {text}")
    return int(text)


def _demo(given: argparse.Namespace) -> int:
    try:
        from weft.examples import demo
    except ImportError as error:
        if error.name not in ("rich", "tqdm"):
            raise
        print(f"weft demo needs {error.name}; install what it needs with: pip install 'weft[demo]'", file=sys.stderr)
        return 1
    if not given.report.parent.is_dir():
        print(f"weft demo: {given.report.parent} is not a directory.", file=sys.stderr)
        return 2
    return demo.run(epochs=given.epochs, report=given.report, progress=not given.no_progress)


def _cache(given: argparse.Namespace) -> int:
    from weft.runtime import cache

    entries = cache.entries()
    if given.what == "clear":
        size = cache.size()
        try:
            cache.clear()
        except OSError as error:
            print(f"The kernel cache {cache.directory()} cannot be cleared: {error.strerror}.", file=sys.stderr)
            return 1
        print(f"Removed {len(entries)} kernels ({_bytes(size)}) from {cache.directory()}")
    elif given.what == "size":
        print(f"{len(entries)} kernels, {_bytes(cache.size())} of {_bytes(cache.capacity())}, in {cache.directory()}")
    else:
        for e in entries:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(e.used))
            print(f"{used}  {e.size:>9,}  {e.key[:12]}  {e.name}")
        if not entries:
            print(f"No kernels in {cache.directory()}")
    return 0


def _info(given: argparse.Namespace) -> int:
    rows = information()
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    return _tune() if given.tune else 0


def _tune() -> int:
    """Measure the tiles of matrix products, keep the fastest of each type, and show them all."""
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print("weft info --tune needs rich; install it with: pip install rich", file=sys.stderr)
        return 1
    import weft
    from weft.codegen import tiles

    table = Table("type", "rows", "columns", "compiled in", "speed", "")
    for dtype in (weft.float32, weft.float64):
        x = weft.ones((TUNED_SIZE, TUNED_SIZE), dtype=dtype)
        work = 2 * TUNED_SIZE**3 * TUNED_RUNS
        _ = x @ x  # builds the program

        def run(x: weft.Tensor = x) -> None:
            for _ in range(TUNED_RUNS):
                _ = x @ x

        for i, trial in enumerate(tiles.tune(dtype, run)):
            note = "in use" if trial.chosen else ""
            note = f"{note}{', ' if note else ''}the model's choice" if i == 0 else note
            speed, compiled = f"{work / trial.seconds / 1e9:.0f} GFLOP/s", f"{trial.compiled:.0f} ms"
            table.add_row(dtype.name, str(trial.shape.rows), str(trial.shape.columns), compiled, speed, note)
    Console().print(table)
    return 0


def information() -> list[tuple[str, str]]:
    """What ``weft info`` shows: (name, value) pairs."""
    import weft
    from weft.runtime import cache, loader

    cpu, features = loader.target()
    on = [f[1:] for f in features.split(",") if f.startswith("+")]
    known = [
        f
        for f in ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bf16", "amx-tile", "neon", "sve")
        if f in on
    ]
    return [
        ("weft", __version__),
        ("python", f"{platform.python_version()} ({platform.system()} {platform.machine()})"),
        ("numpy", _version("numpy")),
        ("llvmlite", _version("llvmlite")),
        ("CPU", f"{cpu} ({', '.join(known) or 'no vector extensions known to Weft'})"),
        ("threads", f"{weft.get_num_threads()} of {os.cpu_count()} processors"),
        ("tiles", _tiles()),
        ("matrix unit", _matrix_unit()),
        ("cache", str(cache.directory())),
        ("cache size", f"{_bytes(cache.size())} of {_bytes(cache.capacity())}, {len(cache.entries())} kernels"),
    ]


def _tiles() -> str:
    """The tiles of matrix products that the next process will use, and who chose them."""
    import weft
    from weft.codegen import choice

    said = []
    for dtype in (weft.float32, weft.float64):
        chosen = choice.known(dtype) or choice.modelled(dtype)
        said.append(f"{dtype.name} {chosen.shape.rows} x {chosen.shape.columns} ({chosen.origin})")
    return ", ".join(said)


def _matrix_unit() -> str:
    """What the CPU's matrix unit is used for."""
    from weft import _native, config

    if _native.has_matrix_unit():
        return "AMX, for large products of float32 and 16-bit floats"
    return "none that can be used" if config.current().matrix_unit else "not used, as WEFT_MATRIX_UNIT says"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _bytes(n: int) -> str:
    value = float(n)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main())
