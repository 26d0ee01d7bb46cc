"""``python -m benchmarks``: the table of times, and the lines of promised performance. ``python -m benchmarks limits``:
the kernels against the hardware's limits (`benchmarks.limits`).

The exit status is 1 if results disagree; with ``--strict`` also if a promise is missed.
"""

from __future__ import annotations

import argparse
import os
import sys

THREADS = 2


def main() -> int:
    """Read the command line, fix the number of threads of every library, and measure."""
    if sys.argv[1:2] == ["limits"]:
        return limits(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time Weft against other libraries.")
    parser.add_argument(
        "workloads", nargs="*", help="only these (default: all, and the lines that are not about a workload)"
    )
    parser.add_argument("--threads", type=int, default=THREADS, help="threads of every library (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: to see whether it works")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 if a promise is missed")
    parser.add_argument("--no-peers", action="store_true", help="Weft's modes and the C++ triad alone")
    given = parser.parse_args()
    limit_threads(given.threads)

    import weft
    from benchmarks import acceptance, compare, peers
    from benchmarks.workloads import WORKLOADS

    unknown = [name for name in given.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"there is no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    weft.set_num_threads(given.threads)
    libraries = {} if given.no_peers else peers.installed(given.threads)
    rows = compare.measure_all(given.workloads or WORKLOADS, libraries, given.threads, given.quick)
    title = f"weft {weft.__version__}, {', '.join(peers.versions())}; {given.threads} threads; load {os.getloadavg()[0]:.1f}"
    compare.show(title, compare.HEADER, compare.lines(rows.values()))

    found = [*acceptance.ratios(rows), *acceptance.bandwidths(rows)]
    if not given.workloads:
        found += [*acceptance.starting(given.quick), *acceptance.batch_sizes(), *acceptance.memories(given.quick)]
    compare.show(
        "Promises", ("what", "limit", "measured", ""), ([x.what, x.limit, x.figure, x.verdict] for x in found), 4
    )

    disagreements = [d for row in rows.values() for d in row.disagreements]
    for d in disagreements:
        print(f"DISAGREEMENT: {d}", file=sys.stderr)
    missed = given.strict and any(x.met is False for x in found)
    return 1 if disagreements or missed else 0


def limits(arguments: list[str]) -> int:
    """``python -m benchmarks limits``."""
    before = argparse.ArgumentParser(add_help=False)
    before.add_argument("--threads", type=int, default=THREADS)
    limit_threads(before.parse_known_args(arguments)[0].threads)  # libraries read it when they are imported
    from benchmarks.limits import command

    return command.main(arguments)


def limit_threads(n: int) -> None:
    """Have every library use so many threads: most read it when they are imported, JAX counts the CPUs it may run on.

    OpenBLAS's threads spin for 2**28 cycles after a call, a tenth of a second in which whoever comes next has a core less.
    Told to give up after 2**24, 6 ms, they are as fast within a burst of calls.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(n)
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "24")
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes that is left running
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


if __name__ == "__main__":
    sys.exit(main())
