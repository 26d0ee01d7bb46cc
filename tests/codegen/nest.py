"""Build a kernel over NumPy arrays, run its machine code, and compute what it should give, in the documented order."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from weft import dtypes
from weft.codegen import Compiled, compile_kernel
from weft.codegen.emit import storage
from weft.dtypes import DType
from weft.ir.interpreter import scan_ordered
from weft.ir.kernel import (
    BLOCK,
    FOLDED,
    GROUP,
    LANES,
    OUTER_BLOCK,
    RUN,
    SCAN_TILE,
    STRIP,
    Across,
    Apply,
    Index,
    Instr,
    Kernel,
    Load,
    LoadAt,
    Reduce,
    Scalar,
    Scan,
    Store,
    by_blocks,
    outer_tile,
    scratch,
)

#: Ops of the tests: body in the kernel language, and the NumPy function.
OPS: dict[str, tuple[str, Callable[..., Any]]] = {
    "add": ("x + y", np.add),
    "subtract": ("x - y", np.subtract),
    "multiply": ("x * y", np.multiply),
    "divide": ("x / y", np.divide),
    "less": ("x < y", np.less),
    "where": ("y if x else z", np.where),
    "and": ("x & y", np.bitwise_and),
    # dear enough by the look of it that the generator keeps its values
    "dear": ("to_float32(to_float32(x * x)) + x", lambda x: x * x + x),
}
BODIES = {name: body for name, (body, _) in OPS.items()}
ENTRY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Round float32 to bfloat16, ties to even, as uint16 bits."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    out = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FC0), out)


def from_bfloat16(x: np.ndarray) -> np.ndarray:
    """The float32 numbers of bfloat16 bits."""
    return (x.astype(np.uint32) << 16).view(np.float32)


def rounded(x: np.ndarray, dtype: DType) -> np.ndarray:
    """Values of the given type, as NumPy holds them in compute type."""
    if dtype is dtypes.float16:
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    if dtype is dtypes.bfloat16:
        return from_bfloat16(to_bfloat16(x.astype(np.float32)))
    return x.astype(dtype.numpy)


class Nest:
    """A kernel under construction, with the value of every instruction computed beside it.

    Arrays have one axis for each loop, of size 1 where they do not move; their strides become the kernel's.
    """

    def __init__(self, form: str, dims: str, sizes: Sequence[int], short: bool = False, near: bool = False) -> None:
        self.form, self.dims, self.sizes, self.short, self.near = form, dims, tuple(sizes), short, near
        self.r = dims.find("r")
        self.body: list[Instr] = []
        self.values: list[Any] = []
        self.types: list[DType] = []
        self.buffers: list[np.ndarray] = []
        self.buffer_types: list[DType] = []
        self.params: list[list[int]] = []
        self.varies: list[bool] = []  # along "r"
        self.columns: set[int] = set()  # values at column level
        self.wanted: dict[int, np.ndarray] = {}

    def _add(self, instr: Instr, value: Any, dtype: DType, params: list[int] | None = None) -> int:
        self.body.append(instr)
        self.values.append(value)
        self.types.append(dtype)
        self.params.append(params or [])
        args = getattr(instr, "args", getattr(instr, "indices", ()))
        if isinstance(instr, Load | Index):
            self.varies.append(self.r >= 0 and instr.access[self.r] != "b")
        else:
            self.varies.append(isinstance(instr, Across | Scan) or any(self.varies[a] for a in args))
        if isinstance(instr, Across) or not self.columns.isdisjoint(args):
            self.columns.add(len(self.body) - 1)
        return len(self.body) - 1

    def buffer(self, array: np.ndarray, dtype: DType | None = None) -> int:
        """The index of an array's buffer; the same array twice is one buffer."""
        for k, known in enumerate(self.buffers):
            if known is array:
                return k
        self.buffers.append(array)
        self.buffer_types.append(dtype or dtypes.as_dtype(array.dtype))
        return len(self.buffers) - 1

    def _access(self, array: np.ndarray, still: int = -1) -> tuple[str, list[int]]:
        access, strides = "", []
        if not array.size:  # NumPy gives an empty array strides of 0, which would mean that it does not move
            array = np.empty([max(n, 2) for n in array.shape], array.dtype)
        for d, (n, s) in enumerate(zip(array.shape, array.strides, strict=True)):
            s //= array.itemsize
            if (n == 1 and self.sizes[d] != 1) or s == 0 or d == still:
                access += "b"
            elif s == 1 and (d == len(self.dims) - 1 or d == self._beside(array)):
                access += "c"
            else:
                access += "s"
                strides.append(s)
        return access, strides

    def _beside(self, array: np.ndarray) -> int:
        """The loop before the last, if an array that is contiguous along it may say so."""
        lies_across = array.strides[-1] not in (0, array.itemsize)
        return len(self.dims) - 2 if self.form == "strips" or (self.form == "outer" and lies_across) else -1

    def _widen(self, array: np.ndarray, dtype: DType) -> np.ndarray:
        if dtype is dtypes.bfloat16:
            return from_bfloat16(array)
        return array.astype(dtype.compute.numpy)

    def load(self, array: np.ndarray, dtype: DType | None = None) -> int:
        k = self.buffer(array, dtype)
        access, strides = self._access(array)
        return self._add(Load(k, access), self._widen(array, self.buffer_types[k]), self.buffer_types[k], strides)

    def load_at(self, array: np.ndarray, *indices: int, dtype: DType | None = None) -> int:
        k = self.buffer(array, dtype)
        value = self._widen(array, self.buffer_types[k])[tuple(self.values[i] for i in indices)]
        strides = [s // array.itemsize for s in array.strides]
        return self._add(LoadAt(k, indices), value, self.buffer_types[k], strides)

    def index(self, base: int, strides: Sequence[int]) -> int:
        """A stride of 0 does not move, one of 1 in the last loop is contiguous."""
        access = "".join(
            "b" if s == 0 else "c" if s == 1 and d == len(self.dims) - 1 else "s" for d, s in enumerate(strides)
        )
        value = np.asarray(base, np.int64)
        for d, (n, s) in enumerate(zip(self.sizes, strides, strict=True)):
            shape = [1] * len(self.sizes)
            shape[d] = n if s else 1
            value = value + (np.arange(shape[d]) * s).reshape(shape)
        value = value.reshape([n if s else 1 for n, s in zip(self.sizes, strides, strict=True)])
        run = [s for s, a in zip(strides, access, strict=True) if a == "s"]
        return self._add(Index(access), value, dtypes.int64, [base, *run])

    def scalar(self, value: Any, dtype: DType) -> int:
        bits = int(np.float64(value).view(np.int64)) if dtype.kind == "f" else int(np.array(value).astype(np.int64))
        shape = [1] * len(self.sizes)
        return self._add(Scalar(dtype), rounded(np.full(shape, value), dtype), dtype, [bits])

    def apply(self, op: str, *args: int, dtype: DType) -> int:
        given = [self.values[a] for a in args]
        with np.errstate(all="ignore"):
            if op in ("cast", "copy"):
                value = given[0]
            elif op == "check_index":
                i, n = given
                value = np.where(i < 0, i + n, i)
                value = np.where((value < 0) | (value >= n), 0, value)
            else:
                value = OPS[op][1](*given)
            return self._add(Apply(op, args, dtype), rounded(np.asarray(value), dtype), dtype)

    def reduce(self, op: str, arg: int, dtype: DType) -> int:
        shape = list(np.broadcast_shapes(self.values[arg].shape))
        shape[self.r] = self.sizes[self.r]
        x = np.broadcast_to(self.values[arg], shape)
        acc = np.dtype(np.uint8) if dtype is dtypes.bool_ else dtype.compute.numpy
        if op in ("any", "all"):
            x = x != 0
        if not op.startswith("arg"):
            x = x.astype(acc)
        value = reduced(op, np.moveaxis(x, self.r, -1), self.form == "outer")
        value = np.expand_dims(value if op.startswith("arg") else value.astype(acc), self.r)
        return self._add(Reduce(op, arg, dtype), rounded(value, dtype), dtype)

    def across(self, op: str, arg: int, dtype: DType) -> int:
        x = np.broadcast_to(self.values[arg], self.sizes).astype(dtype.compute.numpy)
        value = reduced(op, np.moveaxis(x, 0, -1), True)[None].astype(dtype.compute.numpy)
        return self._add(Across(op, arg, dtype), rounded(value, dtype), dtype)

    def scan(self, op: str, *args: int, dtype: DType, reverse: bool = False, span: int = 1000) -> int:
        """``span`` blocks of a row are a unit, where blocks are shared out."""
        shape = list(np.broadcast_shapes(*(self.values[a].shape for a in args)))
        shape[self.r] = self.sizes[self.r]
        before, after = (int(np.prod(n, dtype=np.int64)) for n in (shape[: self.r], shape[self.r + 1 :]))
        flat = (before, shape[self.r], after)
        given = [np.broadcast_to(self.values[a], shape).reshape(flat) for a in args]
        with np.errstate(all="ignore"):
            value = scan_ordered(op, given, self.dims.endswith("i"), dtype, reverse).reshape(shape)
        instr = Scan(op, args, dtype, reverse)
        self.span = span if by_blocks(self.dims, instr) else 0
        return self._add(instr, value.astype(dtype.compute.numpy), dtype, [span] if self.span else [])

    def store(self, array: np.ndarray, arg: int) -> None:
        k = self.buffer(array, self.types[arg])
        still = 0 if arg in self.columns else -1 if self.varies[arg] else self.r
        access, strides = self._access(array, still)
        self._add(Store(k, access, arg), None, self.types[arg], strides)
        value = np.broadcast_to(self.values[arg], array.shape)
        dtype = self.types[arg]
        with np.errstate(over="ignore"):
            self.wanted[k] = to_bfloat16(value) if dtype is dtypes.bfloat16 else value.astype(array.dtype)

    @property
    def kernel(self) -> Kernel:
        return Kernel(self.form, self.dims, tuple(self.buffer_types), tuple(self.body), self.short, self.near)

    def totals(self) -> list[int]:
        """The units of each phase."""
        outer = int(np.prod([n for n, d in zip(self.sizes, self.dims, strict=True) if d == "o"], dtype=np.int64))
        if self.form in ("map", "row"):
            return [outer]
        r = self.sizes[self.r]
        if self.form == "scan":
            if self.dims.endswith("i"):
                return [outer * -(-self.sizes[-1] // SCAN_TILE)]
            blocks = -(-r // BLOCK)
            if not self.span or self.span >= blocks:
                return [0, 0, outer * bool(blocks)] if self.span else [outer]
            return [outer * blocks, outer, outer * -(-blocks // self.span)]
        if self.form in ("reduce", "strips"):
            blocks = -(-r // BLOCK)
            kept = self.sizes[-2] if self.form == "strips" else 1
            units = outer // kept * (-(-kept // STRIP) if self.form == "strips" else 1)
            return [units * blocks, outer if blocks != 1 else 0]
        kept = self.sizes[-1]
        if self.form == "columns":
            return [-(-outer // OUTER_BLOCK), kept]
        blocks = outer * -(-r // OUTER_BLOCK)
        return [blocks * -(-kept // outer_tile(blocks)), outer * kept]

    def run(self, pieces: int = 1, status: int = 0, bodies: dict[str, str] | None = None) -> Compiled:
        """Run the kernel over copies of its arrays, in ``pieces`` chunks given in a scrambled order, and check the bits."""
        compiled = compile_kernel(self.kernel, bodies or BODIES)
        given = [_like(array) for array in self.buffers]
        for k in self.wanted:  # what is not written must stay
            if not any(isinstance(i, Load | LoadAt) and i.buffer == k for i in self.body):
                given[k].view(np.uint8 if given[k].dtype == bool else given[k].dtype)[...] = 1
        pointers = [a.ctypes.data for a in given]
        outer = int(np.prod([n for n, d in zip(self.sizes, self.dims, strict=True) if d == "o"], dtype=np.int64))
        r = self.sizes[self.r]
        parts = []
        for dtype in scratch(self.kernel):
            n = outer * -(-r // (BLOCK if self.form in ("reduce", "strips", "scan") else OUTER_BLOCK))
            n *= self.sizes[-1] if self.form == "outer" else 1
            if self.form == "columns":
                n = -(-outer // OUTER_BLOCK) * r
            parts.append(guarded(n * dtype.itemsize).view(storage(dtype).numpy))
            parts[-1][...] = 77
        pointers += [p.ctypes.data for p in parts]
        found = np.zeros(1, np.int64)
        if self.kernel.fallible:
            pointers.append(found.ctypes.data)
        buffers = (ctypes.c_void_p * len(pointers))(*pointers)
        numbers = [*self.sizes, *(p for params in self.params for p in params)]
        params = (ctypes.c_int64 * len(numbers))(*numbers)
        for entry, total in zip(compiled.entries, self.totals(), strict=True):
            edges = np.linspace(0, total, pieces + 1).astype(int)
            for begin, end in sorted(pairwise(edges), reverse=True):
                ENTRY(entry)(ctypes.addressof(buffers), ctypes.addressof(params), int(begin), int(end))
        assert found[0] == status
        if not status:
            for k, want in self.wanted.items():
                np.testing.assert_array_equal(
                    given[k].view(np.uint16) if want.dtype == np.float16 else given[k],
                    want.view(np.uint16) if want.dtype == np.float16 else want,
                    strict=True,
                )
        return compiled


def guarded(size: int) -> np.ndarray:
    """Zeroed bytes that end where a page ends, the next of which cannot be touched; at odd calls, that begin after one."""
    page = mmap.PAGESIZE
    pages = -(-size // page) or 1
    memory = mmap.mmap(-1, (pages + 2) * page)
    whole = np.frombuffer(memory, np.uint8)
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for at in (0, pages + 1):
        assert protect(whole.ctypes.data + at * page, page, 0) == 0
    _turn[0] = not _turn[0]
    start = page if _turn[0] else (pages + 1) * page - size
    return whole[start : start + size]


_turn = [False]


def _like(array: np.ndarray) -> np.ndarray:
    """A copy with the same strides, negative and zero ones too."""
    low = sum(min(0, (n - 1) * s) for n, s in zip(array.shape, array.strides, strict=True)) if array.size else 0
    high = sum(max(0, (n - 1) * s) for n, s in zip(array.shape, array.strides, strict=True)) if array.size else 0
    memory = guarded((high - low + array.itemsize) if array.size else 0)
    copy = np.ndarray(array.shape, array.dtype, memory, -low, array.strides)
    if array.size:
        copy[...] = array
    return copy


def combine(op: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Two partial results as one."""
    functions = {"sum": np.add, "prod": np.multiply, "any": np.bitwise_or, "all": np.bitwise_and}
    if op in functions:
        return functions[op](x, y)
    return np.maximum(x, y) if op == "max" else np.minimum(x, y)


def reduced(op: str, x: np.ndarray, outer: bool) -> np.ndarray:
    """Reduce the last axis in the order that `Kernel` documents."""
    if op.startswith("arg"):
        if not x.shape[-1]:
            return np.zeros(x.shape[:-1], np.int64)
        return np.argmax(x, -1) if op == "argmax" else np.argmin(x, -1)
    if op in ("sum", "any", "m2"):
        start: Any = 0
    elif op in ("prod", "all"):
        start = 1
    elif x.dtype.kind == "f":
        start = -np.inf if op == "max" else np.inf
    else:
        info = np.iinfo(x.dtype)
        start = info.min if op == "max" else info.max
    if not x.shape[-1]:
        return np.full(x.shape[:-1], start, x.dtype)
    size = OUTER_BLOCK if outer else BLOCK
    pieces = [x[..., at : at + size] for at in range(0, x.shape[-1], size)]
    with np.errstate(all="ignore"):
        if op == "m2":
            return tree([Moments(piece, outer) for piece in pieces], Moments.join).m2
        return tree([block(op, piece, start, outer) for piece in pieces], lambda a, b: combine(op, a, b))


def tree(parts: list[Any], join: Callable[[Any, Any], Any]) -> Any:
    """Neighbours combined, then neighbouring pairs, and so on."""
    while len(parts) > 1:
        parts = [join(*parts[k : k + 2]) if k + 1 < len(parts) else parts[k] for k in range(0, len(parts), 2)]
    return parts[0]


def block(op: str, x: np.ndarray, start: Any, outer: bool, lanes: int = LANES) -> np.ndarray:
    """Reduce one block; ``lanes``: how many of a run are widened."""
    wide = np.float64 if op == "sum" and x.dtype.kind == "f" else x.dtype
    step = 1 if outer else LANES
    acc = np.full((*x.shape[:-1], min(step, lanes)), start, wide)
    for at in range(0, x.shape[-1], GROUP if outer else RUN):
        run = x[..., at : at + (GROUP if outer else RUN)]
        own = run[..., :1] if outer else np.full((*x.shape[:-1], step), start, x.dtype)
        for k in range(int(outer), run.shape[-1], step):
            piece = run[..., k : k + step]
            n = piece.shape[-1]
            own = np.concatenate([combine(op, own[..., :n], piece), own[..., n:]], -1)
        acc = combine(op, acc, folded(op, own, acc.shape[-1]).astype(wide))
    return folded(op, acc, 1)[..., 0]


def folded(op: str, x: np.ndarray, left: int) -> np.ndarray:
    """Lanes combined as a binary tree, until so many are left."""
    while x.shape[-1] > left:
        half = x.shape[-1] // 2
        x = combine(op, x[..., :half], x[..., half:])
    return x


class Moments:
    """The mean and m2 of a block, or of several."""

    def __init__(self, x: np.ndarray, outer: bool) -> None:
        self.n = n = x.shape[-1]
        if outer:
            own = x[..., 0]
            for k in range(1, min(n, GROUP)):
                own = own + x[..., k]
            shift = own / x.dtype.type(min(n, GROUP))
        else:
            shift = (block("sum", x[..., :RUN], 0, outer, FOLDED) / min(n, RUN)).astype(x.dtype)
        apart = x - shift[..., None]
        d, q = (block("sum", y, 0, outer, FOLDED) for y in (apart, apart * apart))
        self.mean = shift.astype(float) + d / n
        self.m2 = np.where(q - d * (d / n) < 0, 0, q - d * (d / n))

    def join(self, other: Moments) -> Moments:
        """Both, by Chan's formulas."""
        share = other.n / (self.n + other.n)
        d = other.mean - self.mean
        self.mean = self.mean + d * share
        self.m2 = self.m2 + other.m2 + d * d * (self.n * share)
        self.n += other.n
        return self
