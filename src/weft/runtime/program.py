"""A schedule becomes a native Program: kernels are compiled or loaded, and their addresses filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from weft import _native, config
from weft.codegen import Compiled, compile_kernels, tiles
from weft.ir.kernel import Store, StoreAt
from weft.ir.node import Node, Where

if TYPE_CHECKING:
    from weft.passes.schedule import Matrix, Schedule

#: Work, in additions, from which a program runs without the GIL: some microseconds.
RELEASE_WORK = 200_000

#: Multiply-adds of a product in the time of a kernel's addition.
PRODUCT_WORK = 4


def assemble(schedule: Schedule, name: str) -> tuple[Any, list[Compiled]]:
    """The native Program of a schedule, and its kernels' machine code, each kernel once."""
    spec, compiled = specification(schedule, name)
    return _native.Program(spec), compiled


def specification(schedule: Schedule, name: str) -> tuple[dict[str, Any], list[Compiled]]:
    """What `_native.Program` is made from."""
    from weft.passes.attention import Attention
    from weft.passes.schedule import KernelCall  # a layer above

    kernels = schedule.kernels
    compiled = compile_kernels(kernels)
    code = dict(zip(kernels, compiled, strict=True))
    grain = config.current().grain
    instrs: list[tuple] = []
    sites: dict[int, Any] = {}
    work = 0
    for instr in schedule.instrs:
        work += instr.work
        if isinstance(instr, KernelCall):
            made = code[instr.kernel]
            phases = [
                (address, units, chunk if chunk == units or not grain else grain)
                for address, (units, chunk) in zip(made.entries, instr.phases, strict=True)
            ]
            if instr.kernel.fallible:
                sites[len(instrs)] = instr.checks
            instrs.append(
                ("kernel", made.name, phases, instr.buffers, instr.params, instr.patches, instr.kernel.fallible)
            )
        elif isinstance(instr, Attention):
            tiles.ensure(instr.dtype)
            calls = [(c and (code[c.kernel].entries[0], c.params)) for c in (instr.weights, instr.slopes)]
            size = instr.mask_dtype.itemsize if instr.mask_dtype else 0
            operands = (instr.q, instr.k, instr.v, instr.g, instr.mask)
            head = (instr.dtype.code, instr.causal, instr.batch, instr.sizes, instr.pitch)
            instrs.append(("attention", *head, *operands, size, instr.results, *calls))
        else:
            tiles.ensure(instr.dtype, instr.m, instr.n, instr.work)
            at = len(instrs)
            before, after = schedule.instrs[at - instr.leaders : at], schedule.instrs[at + 1 : at + 1 + instr.followers]
            costs = [PRODUCT_WORK * sum(i.work for i in part) for part in (before, after)]
            along = (instr.leaders, costs[0], instr.followers, costs[1], instr.whole_rows, instr.beside)
            sizes = (instr.dtype.code, instr.batch, instr.m, instr.n, instr.k)
            instrs.append(("gemm", *sizes, instr.a, instr.b, instr.c, along, *([instr.spare] if instr.spare else [])))
    graph = schedule.graph
    spec: dict[str, Any] = {
        "name": name,
        "inputs": len(graph.inputs),
        "scalars": ["f" if d.kind == "f" else "i" for d in graph.scalars],
        "buffers": schedule.buffers,
        "arena": schedule.arena,
        "instrs": instrs,
        "outputs": [_output(schedule, k) for k in range(len(schedule.outputs))],
        "writes": _writes(schedule),
        "sites": sites,
        "release": work >= RELEASE_WORK,
    }
    return spec, compiled


def _output(schedule: Schedule, k: int) -> tuple:
    out = schedule.outputs[k]
    if out.layout is not None:
        strides, offset = out.layout
        return "alias", out.slot, out.dtype.code, out.shape, strides, offset
    if out.slot >= 0:
        return "input", out.slot
    strides_: list[int] = []
    step = 1
    for n in reversed(out.shape):
        strides_.append(step)
        step *= max(n, 1)
    return "fresh", out.buffer, out.dtype.code, out.shape, tuple(reversed(strides_)), 0


def _writes(schedule: Schedule) -> list[tuple]:
    """(input, op, the first instruction that changes it) for each input that is written."""
    from weft.passes.attention import Attention
    from weft.passes.schedule import KernelCall

    first: dict[int, int] = {}
    for at, instr in enumerate(schedule.instrs):
        changed: list[int] = []
        if isinstance(instr, KernelCall):
            for step in instr.kernel.body:
                if isinstance(step, Store | StoreAt):
                    changed.append(instr.buffers[step.buffer][0])
        elif isinstance(instr, Attention):
            changed = [b for b in instr.results if b is not None]
        else:
            matrix: Matrix = instr.c
            changed.append(matrix[0])
        for b in changed:
            kind, slot = schedule.buffers[b]
            if kind == "input":
                first.setdefault(slot, at)
    end = len(schedule.instrs)
    return [(w.slot, w.op, first.get(w.slot, end)) for w in schedule.graph.writes]


def index_error(site: Any, status: int) -> IndexError:
    """The exception for an index out of range: ``site`` says what the check at position ``status - 1`` checks."""
    attrs, where = (site or {}).get(status - 1, ((), None))
    what, size = attrs or ("its axis", None)
    if isinstance(what, int):
        bare = f"An index is out of range for axis {what}, which has size {size}."
    elif size is None:
        bare = f"An index is out of range for {what}."
    else:
        bare = f"{what} is out of range: it must be from 0 to {size - 1}."
    error = IndexError(f"{bare}\n  recorded at {where[0]}:{where[1]}" if where else bare)
    error._weft_bare = bare  # type: ignore[attr-defined]
    error._weft_check = attrs  # type: ignore[attr-defined]
    return error


def checks(nodes: Iterable[Node], recorded: Mapping[Node, Where] | None = None) -> list[tuple[Any, Where]]:
    """What the checks of indices among some nodes check, and where they were recorded: by ``recorded``, or first of all."""
    recorded = recorded or {}
    return [(node.attrs, recorded.get(node, node.where)) for node in nodes if node.op == "check_index"]


def recorded_at(error: IndexError, checks: Iterable[tuple[Any, Where]]) -> IndexError:
    """The error with the lines of those checks that may have raised it, given all checks of the recording.

    Equal graphs share their nodes and programs, which know one line for all of them.
    """
    check = getattr(error, "_weft_check", None)
    found = dict.fromkeys(f"{where[0]}:{where[1]}" for attrs, where in checks if where and attrs == check)
    return IndexError(f"{error._weft_bare}\n  recorded at {' or '.join(found)}") if found else error  # type: ignore[attr-defined]


_native.set_index_error(index_error)
