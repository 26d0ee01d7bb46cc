"""GradNodes made from Python, and what becomes of large graphs of them."""

import gc
import sys
import weakref

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D


def test_fields_of_a_node_made_in_python(tensor):
    leaf, saved, out = tensor([1.0]), tensor([2.0, 3.0]), tensor([4.0])
    before = N.GradNode("first")
    node = N.GradNode(
        op="custom",
        attrs=(1,),
        operands=(saved, 2.5, None),
        edges=(leaf, None, (before, 3)),
        saved_outputs=(None, out),
        n_outputs=2,
        output_metas=((D.float64, (3,), (1,)), out),
        extra={"any": 1},
    )
    assert (node.op, node.name, node.attrs, node.plan, node.n_outputs) == ("custom", "custom", (1,), None, 2)
    assert node.operands == (saved, 2.5, None)
    assert node.edges == (leaf, None, (before, 3))
    assert node.needs == (True, False, True)
    assert node.versions == (0, None, None, None, 0)
    assert node.saved_outputs[0] is None
    assert node.saved_outputs[1].tolist() == [4.0]
    assert node.output_metas == ((D.float64, (3,), (1,)), (D.float32, (1,), (1,)))
    with pytest.raises(ValueError, match="output 0 has another layout"):
        N.GradNode("n", saved_outputs=(out,), output_metas=(saved,))
    assert node.extra == {"any": 1}
    assert node.seq > before.seq
    assert repr(node) == "<GradNode custom>"
    node.extra = None
    assert node.extra is None
    assert weakref.ref(node)() is node


def test_versions_may_be_given(tensor):
    t = tensor([1.0])
    N.bump_version(t, "add_")
    assert N.GradNode("n", operands=(t,)).versions == (1, None)
    node = N.GradNode("n", operands=(t,), versions=(0, None))
    assert node.versions == (0, None)
    assert node.stale() == 0
    node = N.GradNode("n", saved_outputs=(t,), versions=(1,))
    assert node.stale() is None
    N.bump_version(t, "add_")
    assert node.stale() == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"edges": (3,)}, {"edges": ((1, 2, 3),)}, {"edges": ((1, -1),)}, {"edges": ((1, "x"),)}, {"operands": 3},
        {"saved_outputs": (3,)}, {"versions": (1, 2, 3)}, {"versions": ("x",)}, {"n_outputs": -1}, {"n_outputs": 2**30},
        {"output_metas": (3,)}, {"what": 1},
    ],
    ids=repr,
)  # fmt: skip
def test_wrong_fields_are_refused(fields):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        N.GradNode("n", **fields)


def test_a_million_nodes_are_freed_without_recursion(slow, tensor):
    t, one = tensor([0.0]), tensor([1.0])
    t.requires_grad = True
    for _ in range(1_000_000):
        t = t + one
    assert t.item() == 1e6
    live = N.memory_stats()["live_bytes"]
    del t
    assert N.memory_stats()["live_bytes"] <= live - 64_000


def test_a_chain_through_tuples_and_python_objects_is_freed(tensor):
    class Box:
        pass

    edge = tensor([1.0])
    for i in range(100_000):
        node = N.GradNode("n", edges=(edge if i == 0 else (edge, 0),))
        if i % 2:
            node.extra = Box()
        edge = node
    del edge, node
    gc.collect()


def test_cycles_through_nodes_are_collected(slow, tensor):
    t = tensor([1.0])
    t.requires_grad = True
    out = t + t
    t._grad = out  # as after backward(create_graph=True)
    gone = weakref.ref(t), weakref.ref(out), weakref.ref(out.grad_fn)
    del t, out
    slow.calls.clear()
    gc.collect()
    assert [g() for g in gone] == [None] * 3


def test_nodes_leak_nothing(tensor):
    t, extra = tensor(np.ones(10)), object()
    counts = sys.getrefcount(t), sys.getrefcount(extra), t._storage_refs
    for _ in range(1000):
        node = N.GradNode("n", operands=(t, 1.5), edges=(t,), saved_outputs=(t,), extra=extra)
        assert len(node.operands) == len(node.edges) == 2
        node.release()
        node.release()
        N.GradNode("n", operands=(t,), saved_outputs=(t,))
        with pytest.raises(TypeError):
            N.GradNode("n", operands=(t,), saved_outputs=(t,), edges=(t, 3), extra=extra)
    del node
    assert (sys.getrefcount(t), sys.getrefcount(extra), t._storage_refs) == counts
