"""Many Python threads at once, threads that come and go, and fork."""

import threading

import numpy as np

from weft import _native as N


def together(count, body):
    """Run ``body(i)`` in threads that start together; raise the first exception."""
    errors = []
    barrier = threading.Barrier(count)

    def run(i):
        try:
            barrier.wait()
            body(i)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_eight_threads_run_programs_and_operations(slow, kit):
    before = N.get_num_threads()
    N.set_num_threads(3)
    x = np.arange(20_000, dtype=np.float32)
    shared = N.from_numpy(x)
    big = kit.binary("add_f32", shared, release=True, instrs=[kit.kernel("add_f32", x.size, [0, 1, 2], grain=500)])

    def body(i):
        mine = N.from_numpy(np.full(i + 1, i, dtype=np.float32))
        for k in range(60):
            (out,) = big.run([shared, shared])
            assert np.array_equal(out.numpy(), x + x)
            assert (mine + mine).tolist() == [2.0 * i] * (i + 1)
            assert (mine + float(k)).tolist() == [i + float(k)] * (i + 1)

    together(8, body)
    N.set_num_threads(before)
    assert shared._storage_refs == 1


def test_recording_and_grad_mode_belong_to_a_thread(slow, tensor):
    a = tensor([1.0])
    a.requires_grad = True

    def body(i):
        assert N.grad_enabled()
        assert N.recording() is None
        N.set_grad_enabled(i % 2 == 0)
        N.recording_push(i)
        N.recording_push(None)
        for _ in range(200):
            assert (a + a).requires_grad == (i % 2 == 0)
        N.recording_pop()
        assert N.recording_pop() == i

    together(6, body)
    assert N.grad_enabled()


def test_threads_that_end_leave_nothing_behind(slow, tensor):
    a = tensor(np.ones(1000))
    a + a
    live, launches = N.memory_stats()["live_bytes"], N.counters()["kernel_launches"]
    for _ in range(20):
        together(4, lambda i: [a + a for _ in range(10)])
    assert N.memory_stats()["live_bytes"] == live
    assert N.counters()["kernel_launches"] == launches + 800


def test_tensors_may_die_in_another_thread(slow, tensor):
    live = N.memory_stats()["live_bytes"]
    made = [tensor(np.ones(i + 1)) + 1.0 for i in range(200)]
    together(1, lambda i: made.clear())
    slow.calls.clear()
    assert N.memory_stats()["live_bytes"] == live


def test_resizing_the_pool_while_programs_run(kit):
    before = N.get_num_threads()
    x = np.ones(50_000, dtype=np.float32)
    t = N.from_numpy(x)
    program = kit.binary("add_f32", t, release=True, instrs=[kit.kernel("add_f32", x.size, [0, 1, 2], grain=100)])

    def body(i):
        for k in range(30):
            if i == 0:
                N.set_num_threads(1 + k % 3)
            assert program.run([t, t])[0].numpy().sum() == 100_000

    together(4, body)
    N.set_num_threads(before)


def test_both_processes_work_after_a_fork(kit):
    out = kit.script("""
N.set_num_threads(3)
x = np.arange(100_000, dtype=np.float32)
t, program = N.from_numpy(x), add_program(x.size)
def right():
    return all(np.array_equal(program.run([t, t])[0].numpy(), x + x) for _ in range(20))
assert right()
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        ok = right() and N.get_num_threads() == 3
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if right() else 1)
        ok = ok and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if ok else 1)
    children.append(pid)
assert right()
print([os.waitpid(pid, 0)[1] for pid in children])
""")
    assert out.strip() == "[0, 0, 0]"


def test_fork_while_threads_run_programs(kit):
    out = kit.script("""
N.set_num_threads(2)
x = np.arange(50_000, dtype=np.float32)
t, program = N.from_numpy(x), add_program(x.size)
stop = threading.Event()
def work():
    while not stop.is_set():
        program.run([t, t]); N.empty((100,), D.float32)
workers = [threading.Thread(target=work) for _ in range(3)]
for w in workers: w.start()
codes = []
for _ in range(15):
    pid = os.fork()
    if pid == 0:
        ok = np.array_equal(program.run([t, t])[0].numpy(), x + x)
        os._exit(0 if ok else 1)
    codes.append(os.waitpid(pid, 0)[1])
stop.set()
for w in workers: w.join()
print(sum(codes))
""")
    assert out.strip() == "0"


def test_nothing_hangs_or_complains_at_exit(kit):
    out = kit.script("""
N.set_num_threads(4)
x = np.ones(100_000, dtype=np.float32)
t, program = N.from_numpy(x), add_program(x.size)
program.run([t, t])
kept = [program.run([t, t]) for _ in range(3)]
def forever():
    while True:
        program.run([t, t])
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
print("end")
""", timeout=20)  # fmt: skip
    assert out.strip() == "end"


def test_memory_does_not_grow(kit):
    out = kit.script("""
import resource
x = np.ones(64, dtype=np.float32)
program = add_program(64)
def rounds(n):
    for _ in range(n):
        t = N.from_numpy(x)
        t.symbol = t
        t.symbol = None
        out = program.run([t, t])[0]
        out.grad_fn = N.GradNode("n", operands=(t,), edges=(t,), saved_outputs=(out,))
        view = N.strided(out, (2,), (2,)); view.base = out
        view.numpy(); N.from_dlpack(N.alias(t)); out.tolist()
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
rounds(3000); gc.collect()
before = rss()
rounds(30000); gc.collect()
print(rss() - before)
""")
    assert int(out) < 2 << 20
