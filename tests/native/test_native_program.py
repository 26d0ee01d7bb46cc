"""Programs: buffers of every kind, run-time scalars, failures, in-place writes, matrix products, interruption, refusals."""

import gc
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D
from weft.codegen import tiles

F = D.float32.code


def test_buffers_of_every_kind(kit, tensor):
    # temp = x + y; out1 = temp * const; out0 = temp + 2.5, in the second half of a storage whose first half is the temp
    n = 1000
    constant = tensor(np.full(n, 3.0))
    program = N.Program(
        {
            "name": "mixed",
            "inputs": 2,
            "scalars": ["f"],
            "buffers": [
                ("input", 0),
                ("input", 1),
                ("temp", 64),
                ("const", constant),
                ("output", 1),
                ("fresh", 0, 8 * n),
            ],
            "arena": 64 + 4 * n,
            "instrs": [
                kit.kernel("add_f32", n, [0, 1, 2], grain=100),
                kit.kernel("mul_f32", n, [2, 3, 4], grain=100),
                ("kernel", "shift", [(kit.address("shift_f32"), n, 64)], [(2, 0), (5, 4 * n)], [n, 0], [(1, 0)]),
                ("kernel", "copy", [(kit.address("shift_f32"), n, n)], [(2, 0), (5, 0)], [n, 0], []),
            ],
            "outputs": [
                ("fresh", 5, F, (n,), (1,), n),
                ("fresh", 4, F, (n,), (1,), 0),
                ("fresh", 5, F, (2, n), (n, 1), 0),
                ("input", 1),
                ("alias", 0, F, (n // 2,), (-2,), n - 1),
            ],
        }
    )
    assert (program.name, program.inputs, program.arena_bytes) == ("mixed", 2, 64 + 4 * n)
    assert program.instructions == ["add_f32", "mul_f32", "shift", "copy"]
    x, y = np.arange(n, dtype=np.float32), np.ones(n, dtype=np.float32)
    for threads in (1, 3):
        N.set_num_threads(threads)
        assert N.get_num_threads() == threads
        a, b = N.from_numpy(x), N.from_numpy(y)
        out = program.run([a, b], [2.5])
        np.testing.assert_array_equal(out[0].numpy(), x + 1 + 2.5)
        np.testing.assert_array_equal(out[1].numpy(), (x + 1) * 3)
        np.testing.assert_array_equal(out[2].numpy(), [x + 1, x + 3.5])
        assert out[3] is b
        np.testing.assert_array_equal(out[4].numpy(), x[::-2])
        assert out[0]._storage_id == out[2]._storage_id != out[1]._storage_id
        assert out[4]._storage_id == a._storage_id
        assert out[0]._storage_refs == 2


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (2, 3)])
def test_small_sizes(kit, shape):
    t = N.from_numpy(np.ones(shape, dtype=np.float32))
    (out,) = kit.binary("add_f32", t).run([t, t])
    assert out.shape == shape
    np.testing.assert_array_equal(out.numpy(), np.full(shape, 2.0))


def test_overlapping_and_offset_inputs(kit, tensor):
    t = tensor([1, 2, 3, 4, 5])
    head, tail = N.strided(t, (4,), (1,)), N.strided(t, (4,), (1,), 1)
    (out,) = kit.binary("add_f32", head).run([head, tail])
    assert out.tolist() == [3.0, 5.0, 7.0, 9.0]


def test_scalars_keep_their_bits(kit, tensor):
    t = tensor([1.0])
    f, i = kit.shift(t), kit.shift(tensor([1], np.int64), "i")
    for value, expected in [(2.5, 3.5), (True, 2.0), (7, 8.0), (np.float64(0.25), 1.25), (float("inf"), float("inf"))]:
        assert f.run([t], [value])[0].item() == expected
    one = tensor([0], np.int64)
    for value, expected in [(5, 5), (True, 1), (-(2**63), -(2**63)), (2**64 - 1, -1)]:
        assert i.run([one], [value])[0].item() == expected
    for program, x, bad, error in [
        (i, one, 2**64, OverflowError),
        (i, one, -(2**63) - 1, OverflowError),
        (i, one, 1.5, TypeError),
        (f, t, 10**400, OverflowError),
        (f, t, "1", TypeError),
        (f, t, None, TypeError),
    ]:
        with pytest.raises(error, match="shift"):
            program.run([x], [bad])


def test_run_refuses_wrong_arguments(kit, tensor, hook):
    t = tensor([1.0, 2.0])
    program = kit.binary("add_f32", t)
    for inputs, scalars, error, message in [
        ([t], None, ValueError, "takes 2 inputs, not 1"),
        ([t, t, t], None, ValueError, "takes 2 inputs, not 3"),
        ([t, t], [1], ValueError, "takes 0 scalars, not 1"),
        ([t, 3], None, TypeError, r"weft\.Tensor as input, not int"),
        (3, None, TypeError, "iterable"),
        ([t, t], 3, TypeError, "iterable"),
        ([t, N.virtual(D.float32, (2,))], None, RuntimeError, "Input 1 of the program add_f32 has not been computed"),
    ]:
        with pytest.raises(error, match=message):
            program.run(inputs, scalars)
    for into in (3, (), {}):
        with pytest.raises(TypeError, match="to a list, not to"):
            program.run([t, t], None, into)
    checked = kit.binary("add_f32", t, input_layouts=[t._layout, None])
    assert checked.run([t, t])[0].tolist() == [2.0, 4.0]
    with pytest.raises(ValueError, match="was built for"):
        checked.run([tensor([1.0]), t])


GOOD = {
    "name": "p",
    "inputs": 1,
    "buffers": [("input", 0), ("output", 0)],
    "instrs": [("kernel", "k", [(4096, 0, 1)], [(0, 0), (1, 0)], [1], [])],
    "outputs": [("fresh", 1, F, (1,), (1,), 0)],
}


MATRIX = (0, 0, (), 1, 1)
ATTENTION = [
    "attention", F, False, (), (0, 0, 1, 1), 8, MATRIX, MATRIX, MATRIX, None, None, 0, (1, None, None, None),
    (4096, [0, 0]), None,
]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (1, 0, "is of float32 or float64"), (3, (2,), "0 batch strides for 1"), (4, (1, 2, 3), "too few fields"),
        (4, (0, 9, 1, 1), "out of range"), (6, None, "has queries, keys and values"), (6, (9, 0, (), 1, 1), "out of range"),
        (9, MATRIX, "gives its output or"), (10, MATRIX, "a mask's elements have"), (11, 1, "a mask's elements have"),
        (12, (None, None, None, None), "gives its output or"), (12, (7, None, None, None), "a result is a buffer"),
        (13, None, "must be a sequence"), (13, (0, [0, 0]), "address"), (13, (4096, [0]), "has the sizes of two loops"),
        (14, (4096, [0, 0]), "has a kernel of slopes"),
    ],
)  # fmt: skip
def test_a_wrong_attention_is_refused(field, value, message):
    tiles.ensure(D.float32)
    good = [*ATTENTION[:field], value, *ATTENTION[field + 1 :]]
    N.Program(GOOD | {"instrs": [tuple(ATTENTION)]})
    with pytest.raises((ValueError, TypeError), match=message):
        N.Program(GOOD | {"instrs": [tuple(good)]})


def test_what_runs_with_a_product_is_checked():
    tiles.ensure(D.float32)
    spec = {
        "inputs": 1,
        "name": "p",
        "buffers": [("input", 0), ("output", 0)],
        "outputs": [("fresh", 1, F, (4, 4), (4, 1), 0)],
    }
    matrix = (0, 0, (), 4, 1)

    def made(units, along, before=False, fallible=False):
        kernel = ("kernel", "k", [(4096, units, 1)], [(1, 0)], [4], [], fallible)
        product = ("gemm", F, (), 4, 4, 4, matrix, matrix, (1, 0, (), 4, 1), along)
        return N.Program(spec | {"instrs": [kernel, product] if before else [product, kernel]})

    made(16, (0, 0, 1, 1, False))
    made(8, (0, 0, 1, 1, True))
    made(8, (1, 1, 0, 0, True), before=True)
    for units, along, before, fallible, message in (
        (6, (0, 0, 1, 1, True), False, False, "do not divide evenly"),
        (8, (0, 0, 1, 1, False), False, False, "element by element"),
        (8, (0, 0, 2, 1, True), False, False, "there are fewer"),
        (8, (1, 1, 0, 0, True), False, False, "there are fewer"),
        (8, (1, 1, 0, 0, True), True, True, "may fail"),
    ):
        with pytest.raises(ValueError, match=message):
            made(units, along, before, fallible)


def test_a_product_follows_another_row_by_row():
    for dtype in (D.float32, D.float64):
        tiles.ensure(dtype)

    def made(code=F, batch=(), m=4, n=4, k=4, along=(0, 0, 1, 1, True), second=(0, 0, 0, 0, False)):
        strides = (0,) * len(batch)
        right = (0, 0, strides, 4, 1)
        first = ("gemm", F, (), 4, 4, 4, (0, 0, (), 4, 1), (0, 0, (), 4, 1), (1, 0, (), 4, 1), along)
        follower = ("gemm", code, batch, m, n, k, (1, 0, strides, 4, 1), right, (2, 0, strides, 4, 1), second)
        buffers = [("input", 0), ("temp", 0), ("output", 0)]
        spec = {"inputs": 1, "name": "p", "arena": 64, "buffers": buffers, "instrs": [first, follower]}
        return N.Program(spec | {"outputs": [("fresh", 2, F, (4, 4), (4, 1), 0)]})

    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    before = N.counters()
    (y,) = made().run([N.from_numpy(x)])
    np.testing.assert_array_equal(y.numpy(), x @ x @ x)
    assert N.counters()["gemm_launches"] == before["gemm_launches"] + 1
    for wrong in (
        {"code": D.int32.code},
        {"batch": (1,)},
        {"m": 2},
        {"n": 1},
        {"k": 200},
        {"along": (0, 0, 1, 1, False)},
        {"second": (0, 0, 1, 1, True)},
    ):
        with pytest.raises(ValueError, match="a product that follows another has as many rows"):
            made(**wrong)


def test_launches_run_beside_a_product():
    tiles.ensure(D.float32)
    matrix, spec = (0, 0, (), 4, 1), {"inputs": 1, "name": "p", "buffers": [("input", 0), ("output", 0), ("output", 1)]}
    spec["outputs"] = [("fresh", k, F, (4, 4), (4, 1), 0) for k in (1, 2)]

    def made(beside, *before, followers=0):
        first = [("gemm", F, (), 4, 4, 4, matrix, matrix, (1, 0, (), 4, 1), (0, 0, followers, 1, True)), *before]
        second = ("gemm", F, (), 4, 4, 4, matrix, matrix, (2, 0, (), 4, 1), (0, 0, 0, 0, False, beside))
        return N.Program(spec | {"instrs": [*first, second]})

    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    before = N.counters()
    for beside in (0, 1):
        for y in made(beside).run([N.from_numpy(x)]):
            np.testing.assert_array_equal(y.numpy(), x @ x)
    assert N.counters()["gemm_launches"] == before["gemm_launches"] + 4
    fallible = ("kernel", "k", [(4096, 4, 1)], [(1, 0)], [], [], True)
    made(0, fallible)
    for wrong in (
        lambda: made(2),
        lambda: made(1, fallible),
        lambda: made(1, fallible, followers=1),
        lambda: made(1, tuple(ATTENTION)),
    ):
        with pytest.raises(ValueError, match="cannot run beside it"):
            wrong()
    for beside in (-1, 9, "1"):
        with pytest.raises((ValueError, TypeError), match="Program"):
            made(beside)


def test_spare_memory_of_a_product_is_a_part_of_the_arena():
    tiles.ensure(D.float32)
    matrix = (0, 0, (), 4, 1)

    def made(*spare):
        product = ("gemm", F, (), 4, 4, 4, matrix, matrix, (1, 0, (), 4, 1), (0, 0, 0, 0, True), spare)
        buffers = [("input", 0), ("output", 0), ("temp", 64)]
        outputs = [("fresh", 1, F, (4, 4), (4, 1), 0)]
        return N.Program(
            {"inputs": 1, "name": "p", "arena": 128, "buffers": buffers, "outputs": outputs, "instrs": [product]}
        )

    made(2, 64)
    for spare in ((2, 65), (2, 0), (1, 64), (3, 64), (2,)):
        with pytest.raises((ValueError, TypeError), match="Program"):
            made(*spare)


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3}, {"inputs": -1}, {"inputs": "1"}, {"inputs": 2**80}, {"scalars": ["x"]}, {"scalars": 3}, {"arena": -1},
        {"buffers": [("input", 1)]}, {"buffers": [("what", 1)]}, {"buffers": [("temp", 5)]}, {"buffers": [("const", 3)]},
        {"buffers": [("input",)]}, {"buffers": [("input", 0, 0)]}, {"buffers": 3}, {"buffers": [("output", 1)]},
        {"buffers": [("fresh", 0, -1)]}, {"outputs": [("fresh", 0, F, (1,), (1,), 0)]},
        {"outputs": [("fresh", 2, F, (1,), (1,), 0)]}, {"outputs": [("fresh", 1, 13, (1,), (1,), 0)]},
        {"outputs": [("fresh", 1, F, (-1,), (1,), 0)]}, {"outputs": [("fresh", 1, F, (2,), (-1,), 0)]},
        {"outputs": [("fresh", 1, F, (1,), (1,), 2**63 - 1)]}, {"outputs": [("fresh", 1, F, (1,), (1,), -(2**63))]},
        {"outputs": [("alias", 0, F, (1,), (1,), 2**63 - 1)]}, {"outputs": [("alias", 0, F, (1,), (1,), -(2**63))]},
        {"buffers": [("input", 0), ("fresh", 0, 64)], "outputs": [("fresh", 1, D.int8.code, (2**62,), (2,), 2**60 - 1)]},
        {"outputs": [("fresh", 1, F, (1,), (1,), "0")]}, {"outputs": [("input", 1)]}, {"outputs": []},
        {"buffers": [("input", 0), ("fresh", 0, 3)]}, {"instrs": [("what",)]},
        {"instrs": [("kernel", "k", [(0, 1, 1)], [], [], [])]}, {"instrs": [("kernel", "k", [("a", 1, 1)], [], [], [])]},
        {"instrs": [("kernel", "k", [(4096, -1, 1)], [], [], [])]}, {"instrs": [("kernel", "k", [], [(2, 0)], [], [])]},
        {"instrs": [("kernel", "k", [], [], [2**70], [])]}, {"instrs": [("kernel", "k", [], [], [0], [(1, 0)])]},
        {"instrs": [("kernel", "k", [], [], [0], [(0, 0)])]}, {"instrs": [("kernel",)]},
        {"instrs": [("gemm", 0, (), 1, 1, 1, (0, 0, (), 1, 1), (0, 0, (), 1, 1), (1, 0, (), 1, 1))]},
        {"instrs": [("gemm", F, (2,), 1, 1, 1, (0, 0, (), 1, 1), (0, 0, (), 1, 1), (1, 0, (), 1, 1))]},
        {"instrs": [("gemm", F, (), -1, 1, 1, (0, 0, (), 1, 1), (0, 0, (), 1, 1), (1, 0, (), 1, 1))]},
        {"writes": [(1, "x")]}, {"writes": [(0, 3)]}, {"writes": [(0, "x", 9)]}, {"sites": {7: None}}, {"sites": []},
        {"input_layouts": []}, {"input_layouts": [3]},
    ],
    ids=lambda change: repr(change)[:60],
)  # fmt: skip
def test_a_wrong_spec_is_refused(kit, change):
    N.Program(GOOD)
    with pytest.raises((ValueError, TypeError), match=r"Program|data type|shape|layout|sequence|63 bits"):
        N.Program(GOOD | change)


def test_missing_entries_are_named(kit):
    for key in GOOD:
        with pytest.raises(KeyError, match=key):
            N.Program({k: v for k, v in GOOD.items() if k != key})
    with pytest.raises(TypeError):
        N.Program(3)


def test_a_failing_kernel_raises_what_python_makes_of_it(kit, tensor, hook):
    n = 100
    program = N.Program(
        {
            "name": "checked",
            "inputs": 1,
            "buffers": [("input", 0), ("output", 0)],
            "instrs": [
                kit.kernel("check_f32", n, [0], fallible=True),
                kit.kernel("neg_f32", n, [0, 1]),
                kit.kernel("check_f32", n, [1], fallible=True),
            ],
            "outputs": [("fresh", 1, F, (n,), (1,), 0)],
            "writes": [(0, "never")],
            "sites": {0: "first", 2: ("second",)},
        }
    )
    seen = []

    def explain(site, status):
        seen.append((site, status))
        return LookupError(f"{site} {status}")

    hook(N.set_index_error, explain)
    live = N.memory_stats()["live_bytes"]
    good, bad = tensor(np.zeros(n)), tensor(np.full(n, -1.0))
    program.run([good])
    assert good._version == 1
    with pytest.raises(LookupError, match="first 5"):
        program.run([bad])
    with pytest.raises(LookupError, match="second"):
        program.run([tensor(np.ones(n))])
    assert seen == [("first", 5), (("second",), 5)]
    assert bad._version == 0
    hook(N.set_index_error, None)
    with pytest.raises(IndexError, match="check_f32"):
        program.run([bad])
    hook(N.set_index_error, lambda site, status: "no exception")
    with pytest.raises(IndexError, match="check_f32"):
        program.run([bad])
    assert N.memory_stats()["live_bytes"] == live


def test_writes_bump_versions(kit, tensor):
    t = tensor([1.0, 2.0])
    spec = {
        "name": "increment",
        "inputs": 1,
        "buffers": [("input", 0)],
        "instrs": [kit.kernel("shift_f32", 2, [0, 0], [2, int(np.float64(1.0).view(np.int64))])],
        "outputs": [("input", 0)],
        "writes": [(0, "add_", 0)],
    }
    for release in (False, True):
        assert N.Program(spec | {"release": release}).run([t])[0] is t
    assert (t.tolist(), t._version, t._last_op) == ([3.0, 4.0], 2, "add_")
    fixed = np.zeros(2, np.float32)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="add_ cannot change a tensor whose memory is read-only"):
        N.Program(spec).run([N.from_numpy(fixed)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int8, np.uint16, np.int32, np.int64])
def test_matrix_products(kit, dtype):
    for made_of in (D.float32, D.float64):
        tiles.ensure(made_of)
    rng = np.random.default_rng(0)
    a = rng.integers(-4, 5, (3, 1, 7, 5)).astype(dtype)
    b = rng.integers(-4, 5, (2, 6, 5)).astype(dtype)  # used transposed
    code = N.from_numpy(a).dtype.code
    program = N.Program(
        {
            "name": "matmul",
            "inputs": 2,
            "buffers": [("input", 0), ("input", 1), ("output", 0)],
            "instrs": [
                ("gemm", code, (3, 2), 7, 6, 5, (0, 0, (35, 0), 5, 1), (1, 0, (0, 30), 1, 5), (2, 0, (84, 42), 6, 1))
            ],
            "outputs": [("fresh", 2, code, (3, 2, 7, 6), (84, 42, 6, 1), 0)],
        }
    )
    before = N.counters()
    (out,) = program.run([N.from_numpy(a), N.from_numpy(b)])
    expected = np.matmul(a, np.swapaxes(b, -1, -2))
    np.testing.assert_array_equal(out.numpy(), expected)
    after = N.counters()
    assert after["gemm_launches"] == before["gemm_launches"] + 1
    assert after["kernel_launches"] == before["kernel_launches"]
    assert after["program_runs"] == before["program_runs"] + 1


def test_the_timeline(kit, tensor):
    t = tensor([1.0])
    program = kit.binary("add_f32", t)
    N.take_profile()
    N.profile(True)
    start = time.perf_counter_ns()
    program.run([t, t])
    end = time.perf_counter_ns()
    N.profile(False)
    program.run([t, t])
    ((name, instruction, began, ended, thread),) = N.take_profile()
    assert (name, instruction, thread) == ("add_f32", "add_f32", threading.get_ident())
    assert start <= began <= ended <= end
    assert N.take_profile() == []


class Interrupt(Exception):
    pass


@pytest.fixture
def alarm():
    """``alarm(seconds)`` raises `Interrupt` in the main thread then, as Ctrl-C raises KeyboardInterrupt."""

    def raise_interrupt(*_):
        raise Interrupt

    before = signal.signal(signal.SIGUSR1, raise_interrupt)
    timers = []

    def set_alarm(seconds):
        timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1)))
        timers[-1].start()

    yield set_alarm
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGUSR1, before)


def sleeper(kit, n, **extra):
    spec = {
        "name": "sleep",
        "inputs": 1,
        "buffers": [("input", 0), ("output", 0)],
        "instrs": [kit.kernel("sleep_f32", n, [0], grain=1)],
        "outputs": [("fresh", 1, F, (1,), (1,), 0)],
        "release": True,
    }
    return N.Program(spec | extra)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_ends_a_long_run(kit, tensor, alarm, threads):
    N.set_num_threads(threads)
    t, live = tensor([1.0]), N.memory_stats()["live_bytes"]
    alarm(0.1)
    start = time.perf_counter()
    with pytest.raises(Interrupt):
        sleeper(kit, 10_000).run([t])
    assert time.perf_counter() - start < 5
    assert N.memory_stats()["live_bytes"] == live
    assert sleeper(kit, 5).run([t])[0].shape == (1,)


def test_a_run_that_began_to_write_is_finished(kit, tensor, alarm):
    N.set_num_threads(2)
    t = tensor([1.0])
    program = sleeper(kit, 300, writes=[(0, "sleep_", 0)])

    def run():
        program.run([t])
        for _ in range(1000):  # Python sees the signal only here
            time.sleep(0.001)

    alarm(0.05)
    with pytest.raises(Interrupt):
        run()
    assert t._version == 1


def test_other_threads_run_python_meanwhile(kit, tensor):
    N.set_num_threads(1)
    ticks = 0
    done = threading.Event()

    def run():
        sleeper(kit, 200).run([tensor([1.0])])
        done.set()

    worker = threading.Thread(target=run)
    worker.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
    worker.join()
    assert ticks > 20


def test_running_leaks_nothing(kit, tensor):
    t = tensor(np.ones(1000))
    program = kit.binary("add_f32", t, release=True)
    shift = kit.shift(t)
    scalar = 1e300
    gc.collect()
    counts = sys.getrefcount(t), sys.getrefcount(program), sys.getrefcount(scalar)
    gc.collect()  # what other tests left
    live = N.memory_stats()["live_bytes"]
    for _ in range(500):
        program.run([t, t])
        shift.run([t], [scalar])
        with pytest.raises(ValueError, match="inputs"):
            program.run([t])
    gc.collect()
    assert (sys.getrefcount(t), sys.getrefcount(program), sys.getrefcount(scalar)) == counts
    assert t._storage_refs == 1
    assert N.memory_stats()["live_bytes"] == live


def test_memory_statistics(kit):
    gc.collect()  # or what other tests left in cycles could be freed between two of the counts
    N.empty_cache()
    N.reset_peak_memory()
    before = N.memory_stats()
    t = N.empty((1 << 20,), D.float32)
    during = N.memory_stats()
    assert during["live_bytes"] == before["live_bytes"] + (4 << 20)
    assert during["allocations"] == before["allocations"] + 1
    address = t.data_ptr()
    del t
    after = N.memory_stats()
    assert after["live_bytes"] == before["live_bytes"]
    assert after["peak_bytes"] == during["live_bytes"]
    assert after["cached_bytes"] >= 4 << 20
    assert N.empty((1 << 20,), D.float32).data_ptr() == address
    N.empty_cache()
    assert N.memory_stats()["cached_bytes"] < 4 << 20


@pytest.fixture(autouse=True)
def threads():
    """Puts the number of threads back."""
    before = N.get_num_threads()
    yield
    N.set_num_threads(before)


def test_thread_numbers_are_checked(kit):
    for bad in (0, -1, 5000, 10**30):
        with pytest.raises(ValueError, match="between 1 and 1024"):
            N.set_num_threads(bad)
    for bad in ("2", 2.5, None):
        with pytest.raises(TypeError, match=f"set_num_threads takes a whole number, not {type(bad).__name__}"):
            N.set_num_threads(bad)
