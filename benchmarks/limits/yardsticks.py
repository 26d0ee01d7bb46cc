"""What the machine can do: multiply-adds per second, and bytes read per second, by loops written as LLVM code.

Each runs on several threads at once. Nothing of Weft's is used, so that its code is not compared with itself.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.timing import Candidate, Timing

#: Vector multiply-adds in flight: enough for two units of four cycles' latency; as many as 16 registers hold.
CHAINS = 12
UNROLLED = 4
ITERATIONS = 400_000  # some 10 ms
PASSES = 8  # over the array that is read: starting the threads takes 0.1 ms, one pass 2 ms


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A loop to time, and how much one call of it does."""

    candidate: Candidate
    amount: float

    def rate(self, timing: Timing) -> float:
        """Operations or bytes per second, by the median, as of all contenders: a disturbed machine disturbs all alike."""
        return self.amount / timing.median


def multiply_adds(threads: int) -> Yardstick:
    """Float32 multiplications and additions in registers, fused, on so many threads."""
    width = vector_width()
    function = compiled("multiply_adds", width)
    out = np.zeros((threads, 64), np.float32)
    calls = [partial(function, ITERATIONS, row.ctypes.data) for row in out]
    amount = 2.0 * width * CHAINS * UNROLLED * ITERATIONS * threads
    return Yardstick(at_once(calls, out), amount)


def reading(threads: int, values: int) -> Yardstick:
    """Sums over an array of float32 that is too large for the caches, a part on each thread."""
    width = vector_width()
    function = compiled("reading", width)
    step = width * CHAINS
    n = values // threads // step * step
    array = np.ones(n * threads + 16, np.float32)
    start = array.ctypes.data + -array.ctypes.data % 64
    out = np.zeros((threads, 64), np.float32)
    calls = [partial(function, n, start + 4 * n * k, PASSES, out[k].ctypes.data) for k in range(threads)]
    return Yardstick(at_once(calls, array, out), 4.0 * n * threads * PASSES)


def at_once(calls: list[Callable[[], None]], *keep: Any) -> Candidate:
    """Calls of native code, each on a thread of its own, until all are done.

    The calling thread makes one of them: woken for one each, two threads were often put on one CPU, and took twice as long.
    """
    others = calls[1:]
    executor = ThreadPoolExecutor(max(1, len(others)))

    def run() -> None:
        running = [executor.submit(call) for call in others]
        calls[0]()
        for done in running:
            done.result()

    return Candidate("f()", {"f": run, "keep": keep})


def vector_width() -> int:
    """Float32 lanes of this CPU's vectors."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


@cache
def _engine() -> Any:
    """A compiler for this CPU."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


@cache
def compiled(name: str, width: int) -> Callable[..., None]:
    """One of the loops below as a function; it runs without holding Python's lock."""
    import llvmlite.binding as llvm

    source, arguments = {
        "multiply_adds": (MULTIPLY_ADDS, (ctypes.c_int64, ctypes.c_void_p)),
        "reading": (READING, (ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)),
    }[name]
    engine = _engine()
    module = llvm.parse_assembly(source(width))
    module.verify()
    engine.add_module(module)
    engine.finalize_object()
    return ctypes.CFUNCTYPE(None, *arguments)(engine.get_function_address(name))


def MULTIPLY_ADDS(width: int) -> str:
    """LLVM code of independent chains of multiply-adds."""
    v = f"<{width} x float>"
    constant = {name: f"{v} <{', '.join([f'float {value}'] * width)}>" for name, value in (("half", 0.5), ("one", 1.0))}
    phis, body, last = [], [], [f"%a{c}" for c in range(CHAINS)]
    for u in range(UNROLLED):
        for c in range(CHAINS):
            made = f"%s{u}_{c}"
            body.append(
                f"{made} = call {v} @llvm.fma.v{width}f32({v} {last[c]}, {constant['half']}, {constant['one']})"
            )
            last[c] = made
    for c in range(CHAINS):
        phis.append(f"%a{c} = phi {v} [ zeroinitializer, %entry ], [ {last[c]}, %loop ]")
    stored = [
        f"%p{c} = getelementptr float, ptr %out, i64 {c % 4}\nstore volatile {v} {last[c]}, ptr %p{c}, align 4"
        for c in range(CHAINS)
    ]
    lines = "\n".join
    return f"""
declare {v} @llvm.fma.v{width}f32({v}, {v}, {v})
define void @multiply_adds(i64 %n, ptr %out) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ %n, %entry ], [ %rest, %loop ]
  {lines(phis)}
  {lines(body)}
  %rest = sub i64 %i, 1
  %more = icmp ne i64 %rest, 0
  br i1 %more, label %loop, label %done
done:
  {lines(stored)}
  ret void
}}"""


def READING(width: int) -> str:
    """LLVM code that adds up an array, several times."""
    v = f"<{width} x float>"
    step = width * CHAINS
    phis = [f"%a{c} = phi {v} [ zeroinitializer, %pass ], [ %s{c}, %loop ]" for c in range(CHAINS)]
    body = [
        f"%o{c} = add i64 %i, {c * width}\n%p{c} = getelementptr float, ptr %from, i64 %o{c}\n"
        f"%v{c} = load {v}, ptr %p{c}, align 4\n%s{c} = fadd {v} %a{c}, %v{c}"
        for c in range(CHAINS)
    ]
    stored = [
        f"%q{c} = getelementptr float, ptr %out, i64 {c % 4}\nstore volatile {v} %s{c}, ptr %q{c}, align 4"
        for c in range(CHAINS)
    ]
    lines = "\n".join
    return f"""
define void @reading(i64 %n, ptr %from, i64 %passes, ptr %out) {{
entry:
  br label %pass
pass:
  %k = phi i64 [ %passes, %entry ], [ %left, %next ]
  br label %loop
loop:
  %i = phi i64 [ 0, %pass ], [ %after, %loop ]
  {lines(phis)}
  {lines(body)}
  %after = add i64 %i, {step}
  %more = icmp slt i64 %after, %n
  br i1 %more, label %loop, label %next
next:
  {lines(stored)}
  %left = sub i64 %k, 1
  %again = icmp ne i64 %left, 0
  br i1 %again, label %pass, label %done
done:
  ret void
}}"""
