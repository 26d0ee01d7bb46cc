"""Fork, spawn, and the end of a process: no hang, no crash, right answers everywhere."""

from __future__ import annotations

import sys

import pytest

from tests.robustness.helpers import script

#: Work that uses the pool, the matrix product, the tape, lazy and static, and new kernels' programs.
WORK = """
import faulthandler, os, sys, threading, time, warnings
faulthandler.enable()
warnings.simplefilter("ignore")
import numpy as np
import weft
weft.set_num_threads(2)
a = np.random.default_rng(0).standard_normal(300_000).astype(np.float32)
x = weft.from_numpy(a)
m = weft.ones(200, 200)
shared = weft.static(lambda t: (t * 3).sum())

def work(n=5):
    for k in range(n):
        assert np.array_equal((x * 2).numpy(), a * 2)
        assert (m @ m)[0, 0].item() == 200
        w = weft.ones(3, requires_grad=True)
        (w * w).sum().backward()
        assert w.grad.tolist() == [2, 2, 2]
        with weft.lazy():
            y = x + k
        assert np.array_equal(y.numpy(), a + np.float32(k))
        assert shared(weft.ones(k + 2)).item() == 3 * (k + 2)

def fork(f=work):
    pid = os.fork()
    if pid == 0:
        try:
            f()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return pid

def wait(pid, seconds=30):
    end = time.time() + seconds
    while time.time() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, 6)  # says where, with faulthandler
    os.waitpid(pid, 0)
    return "hangs"
"""


def test_fork_after_use() -> None:
    """Parent, child and grandchild all go on, with the pool's threads running before each fork."""
    script(
        WORK
        + """
work()
child = fork()
work()
assert wait(child) == 0
def family():
    work()
    grandchild = fork()
    work()
    assert wait(grandchild) == 0
assert wait(fork(family)) == 0
work()
"""
    )


def test_fork_while_threads_work() -> None:
    """Other threads compile, trace, record and run while the process forks, again and again."""
    script(
        WORK
        + """
sys.setswitchinterval(1e-4)
stop = False
errors = []
def busy(k):
    n = 10 + k
    try:
        while not stop:
            n += 1
            assert (weft.ones(n, k + 1) * 2 + k).sum().item() == n * (k + 1) * (2 + k)
            assert weft.static(lambda t: (t * 3 + k).sum())(weft.ones(n)).item() == n * (3 + k)
            with weft.lazy():
                y = weft.ones(n) + 1
            assert y.sum().item() == 2 * n
            weft.rand(n)
            m @ m
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=busy, args=(k,)) for k in range(4)]
for t in threads: t.start()
found = []
for i in range(25):
    time.sleep(0.003)
    found.append(wait(fork(lambda: (work(2), weft.rand(3)))))
stop = True
for t in threads: t.join()
assert not errors, errors
assert found == [0] * 25, found
""",
        timeout=120,
    )


def test_fork_within_a_trace_and_a_lazy_block() -> None:
    script(
        WORK
        + """
children = []
@weft.static
def f(t):
    y = t * 2
    children.append(fork(lambda: None))
    return y + 1
assert f(weft.ones(2)).tolist() == [3, 3]
with weft.lazy():
    y = weft.ones(2) * 2
    def check():
        assert y.tolist() == [2, 2]
        z = y + 1
        assert z.tolist() == [3, 3]
    children.append(fork(check))
    z = y * 4
assert z.tolist() == [8, 8]
assert [wait(c) for c in children] == [0, 0]
"""
    )


def test_fork_of_another_thread() -> None:
    """The thread that forks is the child's main thread: Ctrl-C reaches it there."""
    script(
        WORK
        + """
work()
found = []
def forks():
    def check():
        import signal
        f = weft.static(lambda x: [x := weft.sin(weft.exp(weft.tanh(x))) for _ in range(40)][-1])
        f(weft.ones(3))
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        big = weft.full((500_000,), 0.5)
        try:
            for _ in range(100):
                f(big)
            raise SystemExit("not interrupted")
        except KeyboardInterrupt:
            work(2)
    found.append(wait(fork(check)))
t = threading.Thread(target=forks)
t.start(); t.join()
assert found == [0], found
"""
    )


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_multiprocessing(method: str) -> None:
    script(
        f"""
        import multiprocessing, warnings
        from tests.robustness.child import mean_of_square
        warnings.simplefilter("ignore")

        if __name__ == "__main__":
            import weft
            weft.ones(300_000) * 2
            context = multiprocessing.get_context("{method}")
            with context.Pool(2) as pool:
                assert pool.map(mean_of_square, range(1, 7)) == [float(n * n) for n in range(1, 7)]
            assert mean_of_square(3) == 9.0
        """,
    )


def test_worker_processes_of_a_loader() -> None:
    """NumPy arrays and tensors cross between processes by pickling."""
    script(
        """
        import pickle, numpy as np, weft
        x = weft.arange(6, dtype=weft.float32).reshape(2, 3)
        for t in (x, x.T, x[:, 1], weft.ones(2, dtype=weft.bfloat16), weft.ones(0, 3)):
            back = pickle.loads(pickle.dumps(t))
            assert back.dtype is t.dtype and tuple(back.shape) == tuple(t.shape)
            assert back.float().tolist() == t.float().tolist()
        p = weft.nn.Parameter(weft.ones(2))
        q = pickle.loads(pickle.dumps(p))
        assert type(q) is type(p) and q.requires_grad
        """
    )


def test_no_threads_or_processes_are_left() -> None:
    script(
        """
        import os, threading, numpy as np, weft
        def tasks():
            return len(os.listdir("/proc/self/task"))
        np.ones((300, 300)) @ np.ones((300, 300))
        before = tasks()
        weft.set_num_threads(4)
        for n in (300_000, 300_001):
            weft.ones(n) * 2
        assert threading.active_count() == 1
        assert tasks() <= before + 3, (before, tasks())
        weft.set_num_threads(1)
        assert tasks() <= before, (before, tasks())
        parents = [open(f"/proc/{p}/stat").read().split()[3] for p in os.listdir("/proc") if p.isdigit()]
        assert str(os.getpid()) not in parents
        """
    )


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("how", ["end", "exit", "error"])
def test_exit_while_threads_run(daemon: bool, how: str) -> None:
    """Threads in the middle of programs, traces and graphs when the main thread ends."""
    ends = {"end": "", "exit": "sys.exit(3)", "error": "raise ZeroDivisionError"}
    script(
        f"""
        import sys, threading, time, weft
        end = time.time() + 0.7
        big = weft.full((400_000,), 0.5)
        churn = weft.static(lambda x: [x := weft.sin(weft.exp(weft.tanh(x))) for _ in range(40)][-1])
        churn(weft.ones(3)); churn(big)
        def run(k):
            n = 5
            while {daemon} or time.time() < end:
                n += 1
                if k == 0:
                    churn(big)
                elif k == 1:
                    weft.static(lambda x: x * 2)(weft.ones(n))
                elif k == 2:
                    with weft.lazy():
                        y = big * n
                    y.numpy()
                else:
                    w = weft.ones(n, requires_grad=True)
                    (w * big[:n]).sum().backward()
        for k in range(4):
            threading.Thread(target=run, args=(k,), daemon={daemon}).start()
        time.sleep(0.3)
        {ends[how]}
        """,
        code={"end": 0, "exit": 3, "error": 1}[how],
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of a thread does not unwind its stack")
@pytest.mark.parametrize("place", ["finaliser", "index", "sequence", "realise", "key", "gradient"])
def test_a_thread_that_python_ends_inside_native_code(place: str) -> None:
    """Before Python 3.14 such a thread is unwound at exit, wherever it is; in C++ frames it sleeps instead."""
    out = script(
        f"""
        import ctypes, threading
        import numpy as np
        import weft
        from weft import _native

        class Array(np.ndarray): pass
        class Index: pass
        class Sequence: pass

        reached = threading.Event()
        def end(*_):
            reached.set()
            ctypes.CDLL(None).pthread_exit(None)  # without the GIL, as when CPython does it
        Array.__del__ = Index.__index__ = Sequence.__iter__ = Sequence.__getitem__ = Sequence.__len__ = end

        def finaliser():  # of what a storage owns: dropped in functions that do not throw
            weft.from_numpy(np.ones(3, np.float32).view(Array))
        def index():
            _native.empty((Index(),), 0)
        def sequence():
            _native.strided(weft.ones(3), Sequence(), (1,))
        def realise():
            with weft.lazy():
                y = weft.ones(3) * 2
            _native.set_realize(end)
            y.numpy()
        def key():
            weft.sum(weft.ones(3), axis=Index())
        def gradient():
            class Double(weft.autograd.Function):
                @staticmethod
                def forward(ctx, x): return x * 2
                backward = end
            Double.apply(weft.ones(3, requires_grad=True)).sum().backward()
        thread = threading.Thread(target={place}, daemon=True)
        thread.start()
        assert reached.wait(30)
        thread.join(0.1)
        print((weft.ones(3) + 1).tolist())
        """
    )
    assert out == "[2.0, 2.0, 2.0]\n"


def test_exit_with_everything_alive() -> None:
    """Tensors, graphs, traces and cycles still there when the interpreter is torn down."""
    script(
        """
        import atexit, weft
        w = weft.ones(3, requires_grad=True)
        y = (w * 2).sum()
        class Cycle: pass
        c = Cycle(); c.self, c.tensor = c, y
        f = weft.static(lambda x: x * w)
        z = f(weft.ones(3))
        with weft.lazy():
            pending = w * 3
        hooked = weft.ones(2)
        atexit.register(lambda: print((hooked * 2).tolist(), pending.tolist()))
        class Late:
            def __init__(self): self.t = weft.ones(2)
            def __del__(self): self.t * 2
        late = Late()
        array = weft.ones(5).numpy()
        """
    )


def test_uninitialised_use_in_a_subinterpreter_is_refused() -> None:
    if sys.version_info < (3, 12):
        pytest.skip("subinterpreters cannot be made without a private module")
    script(
        """
        import _xxsubinterpreters as si
        i = si.create()
        try:
            si.run_string(i, "import weft")
        except Exception as error:
            print(error)
        """
    )
