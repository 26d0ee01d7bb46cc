"""The Tensor object: attributes, what they refuse, garbage collection, subclasses."""

import gc
import operator
import sys
import weakref

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D


def test_attributes_of_a_new_tensor(kit):
    t = N.empty((2, 3), D.float64)
    assert (t.shape, t.strides, t.dtype, t.ndim, t.size) == ((2, 3), (3, 1), D.float64, 2, 6)
    assert (t.itemsize, t.nbytes, t.offset, t.device) == (8, 48, 0, "cpu")
    assert (t.requires_grad, t.grad, t.grad_fn, t.output_nr, t.is_leaf) == (False, None, None, 0, True)
    assert (t.base, t.symbol, t._pending, t._version, t._last_op) == (None, None, None, 0, "")
    assert t.is_contiguous()
    assert t._storage_refs == 1
    assert t.data_ptr() % 64 == 0
    assert t._layout == (D.float64, (2, 3), (3, 1))
    assert t.shape is N.empty((2, 3), D.float64).shape  # made once for a layout


@pytest.mark.parametrize(
    ("shape", "strides"), [((), ()), ((0,), (1,)), ((3, 0), (1, 1)), ((0, 3), (3, 1)), ((1, 1), (1, 1))]
)
def test_small_shapes(kit, shape, strides):
    t = N.empty(shape, D.int8)
    assert (t.shape, t.strides, t.size) == (shape, strides, int(np.prod(shape)))


def test_elements_as_python_numbers(tensor):
    for dtype in D.ALL:
        if dtype is D.bfloat16:
            continue
        value = True if dtype is D.bool_ else 100 if dtype.is_integer else 1.5
        t = tensor([[value]], dtype.numpy)
        assert t.item() == value
        assert type(t.item()) is type(value)
        assert t.tolist() == [[value]]
    assert N.reinterpret(tensor([0x3FC0], np.uint16), D.bfloat16).item() == 1.5
    assert tensor(2**64 - 1, np.uint64).item() == 2**64 - 1
    assert tensor(np.arange(6).reshape(2, 3)[:, ::-1]).tolist() == [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]
    assert tensor(np.zeros((2, 0))).tolist() == [[], []]
    with pytest.raises(ValueError, match="one element"):
        tensor([1, 2]).item()


def test_conversions(tensor):
    assert bool(tensor([0.5])) is True
    assert bool(tensor(0)) is False
    assert int(tensor(-1.75)) == -1
    assert float(tensor(3, np.int8)) == 3.0
    assert operator.index(tensor(3, np.int64)) == 3
    assert [10, 20, 30][tensor(1, np.uint8)] == 20
    assert len(tensor([[1], [2]])) == 2
    for size in (0, 2):
        with pytest.raises(ValueError, match=r"ambiguous|not one value"):
            bool(tensor([1] * size))
    for bad, message in [
        (lambda: int(tensor([1, 2])), "one element"),
        (lambda: operator.index(tensor(1.0)), "used as an index"),
        (lambda: operator.index(tensor(True, np.bool_)), "used as an index"),
        (lambda: len(tensor(1)), "without axes"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            bad()


def test_attributes_refuse_what_makes_no_sense(tensor):
    t, i = tensor([1.0, 2.0]), tensor([1], np.int32)
    with pytest.raises(RuntimeError, match="floating-point tensors can require gradients; this one is int32"):
        i.requires_grad = True
    with pytest.raises(RuntimeError, match="this one is int32"):
        i.grad_fn = object()
    with pytest.raises(TypeError, match=r"gradient is a weft\.Tensor or None, not int"):
        t.grad = 3
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot have shape \(1,\)"):
        t.grad = i
    with pytest.raises(TypeError, match="base of a view"):
        t.base = 3
    with pytest.raises(OverflowError):
        t.output_nr = -1
    for name in ("grad", "requires_grad", "grad_fn", "base", "symbol", "_pending", "output_nr"):
        with pytest.raises(AttributeError, match=name):
            delattr(t, name)
    t.grad_fn = node = object()
    assert t.requires_grad
    assert not t.is_leaf
    assert t.grad_fn is node
    with pytest.raises(RuntimeError, match="detach"):
        t.requires_grad = False
    with pytest.raises(AttributeError):
        t.unknown = 1


def test_making_tensors_refuses_bad_arguments(kit, tensor):
    with pytest.raises(TypeError, match="not a Weft data type"):
        N.empty((2,), "float32")
    with pytest.raises(TypeError, match="sequence of integers"):
        N.empty(2, D.float32)
    with pytest.raises(TypeError):
        N.empty((1.5,), D.float32)
    with pytest.raises(ValueError, match="negative size"):
        N.empty((-1,), D.float32)
    with pytest.raises(ValueError, match="63 bits"):
        N.empty((2**40, 2**40), D.float32)
    with pytest.raises(ValueError, match="64 bits"):
        N.empty((2**70,), D.float32)
    with pytest.raises(ValueError, match="at most 64"):
        N.empty((1,) * 65, D.float32)
    with pytest.raises(MemoryError):
        N.empty((2**55,), D.float32)
    with pytest.raises(ValueError, match="has 8 bytes; 7 were given"):
        N.from_bytes(b"1234567", D.float32, (2,))
    with pytest.raises(TypeError):
        N.from_bytes(3, D.float32, (2,))
    with pytest.raises(TypeError, match=r"strided takes a weft\.Tensor"):
        N.strided(3, (1,), (1,))
    t = tensor([1, 2, 3, 4])
    for shape, strides, delta in [
        ((5,), (1,), 0),
        ((2,), (1,), 3),
        ((2,), (-1,), 0),
        ((2,), (4,), 0),
        ((1,), (1,), 2**62),
    ]:
        with pytest.raises(ValueError, match=r"outside the tensor's memory|63 bits"):
            N.strided(t, shape, strides, delta)
    bytes_ = N.from_bytes(b"1234", D.int8, (4,))
    for strides in ((-(2**62), -(2**62)), (2**62, 2**62)):  # the ends of 64 bits
        with pytest.raises(ValueError, match=r"outside the tensor's memory|63 bits"):
            N.strided(bytes_, (2, 2), strides)
    with pytest.raises(ValueError, match="differ in size"):
        N.reinterpret(t, D.int8)
    with pytest.raises(TypeError, match=r"weft\.tensor\(data\)"):
        N.Tensor([1, 2])
    with pytest.raises(TypeError):
        N.Tensor(t, 3)
    with pytest.raises(ValueError, match="13 data types, not 1"):
        N.set_dtypes([D.bool_])
    with pytest.raises(ValueError, match="with code 0"):
        N.set_dtypes(list(reversed(D.ALL)))
    kinds: list = list(D.ALL)

    class Clearing:
        itemsize = 1

        @property
        def code(self) -> int:
            kinds.clear()
            return 1

    kinds[0] = Clearing()
    with pytest.raises(ValueError, match="with code 0"):
        N.set_dtypes(kinds)
    with pytest.raises(ValueError, match="not an operator"):
        N.set_slot("__foo__", print)
    with pytest.raises(TypeError, match="cannot be called"):
        N.set_slot("__add__", 3)


def test_views_share_memory_and_versions(tensor):
    t = tensor([[1, 2, 3], [4, 5, 6]])
    column = N.strided(t, (2,), (3,), 1)
    assert column.tolist() == [2.0, 5.0]
    assert N.strided(t, (2,), (-1,), 2).tolist() == [3.0, 2.0]
    assert N.strided(t, (3, 2), (0, 1)).tolist() == [[1.0, 2.0]] * 3
    assert column._storage_id == t._storage_id
    assert t._storage_refs == 2
    N.bump_version(column, "add_")
    assert (t._version, t._last_op) == (1, "add_")
    t.numpy()[1, 1] = 50
    assert column.tolist() == [2.0, 50.0]


def test_set_storage_replaces_the_memory(tensor):
    t, other = tensor([1, 2]), tensor([[3.0], [4.0], [5.0]])
    N.set_storage(t, other)
    assert t.tolist() == [[3.0], [4.0], [5.0]]
    assert other._storage_refs == 2
    N.set_storage(t, t)
    assert other._storage_refs == 2


def test_subclasses_hold_attributes_and_are_collected(tensor):
    class Parameter(N.Tensor):
        def __init__(self, source, name=""):
            self.name = name
            self.requires_grad = True

    p = Parameter(tensor([1, 2]), name="weight")
    assert (p.name, p.requires_grad, p.tolist()) == ("weight", True, [1.0, 2.0])
    assert isinstance(N.alias(p), N.Tensor)
    p.self = p
    gone = weakref.ref(p)
    del p
    gc.collect()
    assert gone() is None


def test_plain_tensors_are_not_tracked_until_they_refer_to_something(tensor):
    fields = {"grad_fn": object(), "symbol": object(), "_pending": object(), "base": tensor(1), "grad": tensor([1])}
    for name, value in fields.items():
        t = tensor([1])
        assert not gc.is_tracked(t)
        setattr(t, name, value)
        assert gc.is_tracked(t)


@pytest.mark.parametrize("name", ["grad_fn", "symbol", "_pending"])
def test_cycles_through_a_tensor_are_collected(tensor, name):
    class Box:
        pass

    t, box = tensor([1.0]), Box()
    box.tensor = t
    setattr(t, name, box)
    gone = weakref.ref(t), weakref.ref(box)
    del t, box
    gc.collect()
    assert [g() for g in gone] == [None, None]


def test_weak_references_die_with_the_tensor(tensor):
    t = tensor([1])
    seen = []
    ref = weakref.ref(t, seen.append)
    del t
    assert seen == [ref]
    assert hash(tensor([1])) != hash(object())
    a = tensor([1])
    assert {a: 1}[a] == 1


def test_reference_counts(tensor):
    value, t = object(), tensor([1.0])
    before = sys.getrefcount(value)
    for name in ("grad_fn", "symbol", "_pending"):
        for _ in range(5):
            setattr(t, name, value)
            assert getattr(t, name) is value
        assert sys.getrefcount(value) == before + 1
        setattr(t, name, None)
        assert sys.getrefcount(value) == before
    dtype = D.float32
    before = sys.getrefcount(dtype)
    for _ in range(1000):
        assert (t.dtype, t.shape, t.strides) == (dtype, (1,), (1,))
        assert t._layout == (dtype, (1,), (1,))
    assert sys.getrefcount(dtype) == before


def test_pending_tensors_are_realized_when_their_values_are_needed(hook, tensor):
    realized = []

    def realize(t):
        realized.append(t)
        N.resolve(t, tensor([[1, 2], [3, 4]]))

    hook(N.set_realize, realize)

    def element(t):
        return N.strided(t, (), (), 1).item()

    for read in (N.Tensor.tolist, N.Tensor.numpy, N.Tensor.data_ptr, np.asarray, np.from_dlpack, element):
        t = N.virtual(D.float32, (2, 2))
        t._pending = value = object()
        assert t._pending is value
        assert not N.is_plain(t)
        assert t.shape == (2, 2)
        read(t)
        assert t._pending is None
        assert t.tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert N.is_plain(t)
    assert len(realized) == 6


def test_reading_without_values_is_an_error(hook, tensor):
    t = N.virtual(D.float32, (2,), (3,))
    assert t._storage_nbytes == 16
    hook(N.set_realize, None)
    for read in (N.Tensor.tolist, N.Tensor.numpy, N.Tensor.data_ptr):
        with pytest.raises(RuntimeError, match="have not been computed"):
            read(t)

    def refuse(t):
        raise LookupError("while tracing")

    hook(N.set_realize, refuse)
    traced = tensor([1.0])
    traced.symbol = "x"
    for unread in (t, traced):
        with pytest.raises(LookupError, match="while tracing"):
            unread.tolist()
    with pytest.raises(ValueError, match="has data already"):
        N.resolve(traced, traced)
    with pytest.raises(ValueError, match="another type or fewer bytes"):
        N.resolve(N.virtual(D.float32, (2,)), tensor([1.0]))


def test_resolve_takes_memory_over_or_shares_it(tensor):
    source = N.empty((4,), D.float32)
    address = source.data_ptr()
    t = N.virtual(D.float32, (4,))
    N.resolve(t, source)
    assert t.data_ptr() == address
    with pytest.raises(RuntimeError):
        source.tolist()
    shared = tensor([1, 2, 3, 4])
    view = N.strided(shared, (2,), (1,), 1)
    t = N.virtual(D.float32, (2,))
    N.resolve(t, view)
    del view, shared
    gc.collect()
    assert t.tolist() == [2.0, 3.0]


def test_grad_hooks_act_while_recording(hook, tensor):
    t, g, calls = tensor([1.0]), tensor([2.0]), []

    def get(t):
        calls.append(("get", t))
        return "recorded"

    def put(t, value):
        calls.append(("set", t, value))

    hook(N.set_grad_hook, get, put)
    t.grad = g
    assert t.grad is g
    N.recording_push("graph")
    try:
        assert N.recording() == "graph"
        assert t.grad == "recorded"
        t.grad = None
        assert t._grad is g
        N.recording_push(None)
        assert N.recording() is None
        assert t.grad is g
        assert N.recording_pop() is None
        assert N.recording() == "graph"
    finally:
        assert N.recording_pop() == "graph"
    assert calls == [("get", t), ("set", t, None)]
    assert N.recording() is None
    with pytest.raises(RuntimeError, match="nothing is being recorded"):
        N.recording_pop()


def test_grad_mode(kit):
    assert N.grad_enabled()
    N.set_grad_enabled(False)
    try:
        assert not N.grad_enabled()
    finally:
        N.set_grad_enabled(True)


def test_a_storage_may_be_watched_without_keeping_it(tensor):
    t = tensor([1, 2, 3])
    part = N.strided(t, (2,), (1,), 1)
    watches = [N.weak_storage(part), N.weak_storage(part), N.weak_storage(t)]
    assert t._storage_refs == 2
    assert watches[0]().tolist() == [2.0, 3.0]
    assert watches[2]()._storage_id == t._storage_id
    del watches[1], part
    assert watches[0]().shape == (2,)
    del t
    assert [w() for w in watches] == [None, None]
    N.weak_storage(tensor([1]))  # the watch outlives the storage, then goes too
    with pytest.raises(TypeError, match="weak_storage"):
        N.weak_storage(3)


def test_epochs_tell_a_view_that_its_history_moved(slow, tensor, hook):
    t = tensor([1.0, 2.0])
    view = N.alias(t)
    view.base = t
    assert (view + view).tolist() == [2.0, 4.0]
    hook(N.set_slow_path, lambda handle, attrs, operands: "slow")
    t._storage_epoch += 1
    assert (t._storage_epoch, view._storage_epoch, view._epoch) == (1, 1, 0)
    assert view + view == "slow"  # which brings the view up to date
    view._epoch = 1
    assert (view + view).tolist() == [2.0, 4.0]
    assert N.alias(t)._epoch == 1
    other = tensor([3.0, 4.0])
    N.set_storage(view, other)
    assert view._epoch == other._epoch == 0
    assert view._meta_id == other._meta_id != tensor([1.0])._meta_id
    with pytest.raises(TypeError):
        t._epoch = "x"
    assert N.next_seq() < N.next_seq() < N.GradNode("n").seq
