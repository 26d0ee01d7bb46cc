"""Replays, and what finds them: inputs, results and gradients by their places, state that must still hold, refusals."""

import gc
import weakref

import numpy as np
import pytest

from weft import _native as N
from weft import dtypes as D

NO = (None, 0, -1)


def layout(*shape, strides=None):
    return D.float32, shape, strides or tuple(int(np.prod(shape[k + 1 :])) for k in range(len(shape)))


def adding(kit, n=4, *, write=False):
    """out = input 0 + input 1; with `write`, into input 0."""
    buffers = [("input", 0), ("input", 1), ("input", 0) if write else ("output", 0)]
    spec = {
        "name": "adding",
        "inputs": 2,
        "buffers": buffers,
        "instrs": [kit.kernel("add_f32", n, [0, 1, 2])],
        "outputs": [] if write else [("fresh", 2, D.float32.code, (n,), (1,), 0)],
        "writes": [(0, "add_")] if write else [],
    }
    return N.Program(spec)


def replay(program, **changed):
    given = {
        "arguments": 2,
        "inputs": [("argument", 0, *NO), ("argument", 1, *NO)],
        "outputs": [("made", 0, *NO)],
        "hidden": 0,
        "structure": None,
        "grads": [],
        "replaced": [],
        "attributes": [],
        "grads_read": [],
        "host": [],
        "apart": None,
        "shared": None,
        "failed": None,
        "attach": None,
    }
    return N.Replay(program, **{**given, **changed})


class Calls(N.Replayer):
    def __init__(self, answer, function=None):
        self.answer = answer
        self.function = function
        self.asked = 0

    def replay_of(self, args, kwargs):
        self.asked += 1
        return self.answer(args, kwargs)


def replaying(made, numbers=()):
    return Calls(lambda args, kwargs: (made, args, numbers))


def test_places(kit, tensor):
    x, y, owner, constant = tensor(np.arange(4.0)), tensor(np.ones(4)), tensor(np.zeros(4)), object()
    owner._grad = tensor(np.full(4, 5.0))
    places = [
        ("made", 0, *NO),
        ("made", 0, layout(2, 2, strides=(1, 2)), 0, -1),
        ("argument", 1, *NO),
        ("argument", 0, layout(2), 1, -2),
        ("fixed", constant, *NO),
        ("fixed", y, layout(1), 3, -2),
        ("gradient", owner, *NO),
        ("gradient", owner, layout(3), 1, -2),
    ]
    structure = (list, (None, (tuple, (None,) * 2), (dict, (("a", None), ("b", (tuple, (None,) * 4))))))
    f = replaying(replay(adding(kit), outputs=places, structure=structure))
    for _ in range(2):
        made, (turned, same), rest = f(x, y)
        assert made.tolist() == [1, 2, 3, 4]
        assert turned.tolist() == [[1, 3], [2, 4]]
        assert turned.base is None
        assert same is y
        assert rest["a"].tolist() == [1, 2]
        assert rest["a"].base is x
        fixed, end, grad, part = rest["b"]
        assert fixed is constant
        assert end.tolist() == [1]
        assert end.base is y
        assert grad is owner._grad
        assert part.tolist() == [5, 5, 5]
        assert part.base is grad
    assert f.asked == f._known_calls == 1
    owner._grad = None
    assert f(x, y)[2]["b"][2:] == (None, None)
    assert replay(adding(kit)).inputs([x, y]) == [x, y]


def test_bases_among_the_results(kit, tensor):
    owner = tensor(np.zeros(4))
    part, whole = ("made", 0, layout(2), 1, 3), ("made", 0, *NO)
    places = [part, ("made", 0, layout(2), 0, -1), ("again", 0, *NO), whole]
    f = replaying(replay(adding(kit), outputs=places, hidden=1, structure=(tuple, (None,) * 3)))
    for _ in range(2):
        first, other, same = f(tensor(np.arange(4.0)), tensor(np.ones(4)))
        assert same is first
        assert first.tolist() == [2, 3]
        assert first.base.tolist() == [1, 2, 3, 4]
        assert other.base is None
    places = [("gradient", owner, layout(1), 0, 1), ("gradient", owner, *NO), ("made", 0, layout(1), 0, 0)]
    f = replaying(replay(adding(kit), outputs=places, structure=(tuple, (None,) * 3)))
    none, also_none, made = f(tensor(np.arange(4.0)), tensor(np.ones(4)))  # there is no gradient, which has no views
    assert (none, also_none, made.base) == (None, None, None)


def test_state_that_must_hold(kit, tensor):
    class Owner:
        on = True

    class Hostile:
        def __ne__(self, other):
            raise ZeroDivisionError

    owner, t = Owner(), tensor(np.zeros(4))
    made = replay(
        adding(kit),
        attributes=[(owner, "on", True), (t, "requires_grad", False)],
        grads_read=[(t, None)],
    )
    assert made.holds([t, t])
    owner.on = False
    assert not made.holds([t, t])
    owner.on = True
    t.requires_grad = True
    assert not made.holds([t, t])
    t.requires_grad = False
    t._grad = tensor(np.zeros(4))
    assert not made.holds([t, t])
    assert replay(adding(kit), grads_read=[(t, layout(4))]).holds([t, t])
    assert not replay(adding(kit), grads_read=[(t, layout(4, strides=(2,)))]).holds([t, t])
    owner.on = Hostile()
    with pytest.raises(ZeroDivisionError):
        made.holds([t, t])
    f = replaying(made)
    x = tensor(np.ones(4))
    with pytest.raises(ZeroDivisionError):
        f(x, t), f(x, t)
    with pytest.raises(AttributeError):
        replay(adding(kit), attributes=[(owner, "off", 1)]).holds([t, t])


def test_gradients_and_host_numbers(kit, tensor):
    program = N.Program(
        {
            "name": "shift",
            "inputs": 1,
            "scalars": ["f", "f"],
            "buffers": [("input", 0), ("output", 0)],
            "instrs": [("kernel", "shift", [(kit.address("shift_f32"), 4, 4)], [(0, 0), (1, 0)], [4, 0], [(1, 1)])],
            "outputs": [("fresh", 1, D.float32.code, (4,), (1,), 0)],
        }
    )
    t, given = tensor(np.zeros(4)), []
    made = replay(
        program,
        arguments=1,
        inputs=[("gradient", t, layout(4), 0, -1)],
        outputs=[("argument", 0, *NO)],
        grads=[(t, ("made", 0, *NO))],
        host=[lambda: 2],
        attach=lambda *args: given.append(args),
    )
    f = Calls(lambda args, kwargs: (made, args[:1], args[1:]))
    t._grad = before = tensor(np.arange(4.0))
    x = tensor(np.zeros(4))
    assert f(x, 1.5) is x
    assert t._grad.tolist() == [2, 3, 4, 5]
    outs, inputs, versions, scalars, tensors = given[0]
    assert (outs, inputs, versions, scalars, tensors) == ([x], [before], [0], [1.5, 2.0], [x])
    f(x, 2.5)
    assert t._grad.tolist() == [4, 5, 6, 7]
    t._grad = tensor(np.zeros(8))[::2]
    with pytest.raises(RuntimeError, match="shift reads a gradient that another thread has replaced"):
        f(x, 1.5)
    t._grad = None
    with pytest.raises(RuntimeError, match="shift reads a gradient"):
        f(x, 1.5)
    with pytest.raises(ValueError, match="takes 2 scalars, not 1"):
        Calls(lambda args, kwargs: (made, args, ()))(x)
    t._grad = before
    with pytest.raises(TypeError, match="Python float"):
        Calls(lambda args, kwargs: (made, args, ["1"]))(x)


def test_memory_that_is_written_may_not_be_shared(kit, tensor):
    program = adding(kit, write=True)
    x, y = tensor(np.arange(4.0)), tensor(np.ones(4))
    for shared, error in ((None, ValueError), (lambda a, b: KeyError(a is x), KeyError), (lambda a, b: 3, TypeError)):
        f = replaying(replay(program, outputs=[("argument", 0, *NO)], shared=shared))
        with pytest.raises(error):
            f(x, N.alias(x))
        version = x._version
        for _ in range(2):
            assert f(x, y) is x
        assert x._version == version + 2
    assert x.tolist() == [6, 7, 8, 9]


def test_calls_that_are_recorded_call_the_function(kit, tensor):
    f = Calls(None, function=lambda *args, **kwargs: (args, kwargs))
    x = tensor(np.zeros(4))
    N.recording_push("recorder")
    try:
        assert f(x, k=1) == ((x,), {"k": 1})
    finally:
        N.recording_pop()


def test_answers_that_are_no_replay(kit, tensor):
    x, y = tensor(np.zeros(4)), tensor(np.ones(4))
    made = replay(adding(kit))
    for answer, error in [
        (None, TypeError),
        ((made, (x, y)), TypeError),
        ((3, (x, y), ()), TypeError),
        ((made, (x,), ()), ValueError),
        ((made, (x, 1), ()), TypeError),
        ((made, None, ()), TypeError),
        ((made, (x, y), (1,)), ValueError),
    ]:
        with pytest.raises(error):
            Calls(lambda args, kwargs, answer=answer: answer)(x, y)
    with pytest.raises(ValueError, match="of another call"):
        Calls(lambda args, kwargs: (made, (x, y), ()))(x)
    with pytest.raises(AttributeError, match="replay_of"):
        N.Replayer()(x)


@pytest.mark.parametrize(
    "changed",
    [
        {"inputs": []},
        {"inputs": [("argument", 0, *NO)] * 3},
        {"inputs": [("argument", 2, *NO)] * 2},
        {"inputs": [("argument", -1, *NO)] * 2},
        {"inputs": [("argument", "0", *NO)] * 2},
        {"inputs": [("made", 0, *NO)] * 2},
        {"inputs": [("fixed", 3, *NO)] * 2},
        {"inputs": [("fixed",)] * 2},
        {"inputs": [3, 4]},
        {"inputs": 3},
        {"inputs": [("other", 0, *NO)] * 2},
        {"outputs": [("made", 1, *NO)]},
        {"outputs": [("made", 0, 3, 0, -1)]},
        {"outputs": [("made", 0, None, 2**62, -1)]},
        {"outputs": [("made", 0, None, None, -1)]},
        {"outputs": [("fixed", 3, layout(1), 0, -1)]},
        {"outputs": [("made", 0, layout(1), 0, 1)]},
        {"outputs": [("made", 0, layout(1), 0, -3)]},
        {"outputs": [("made", 0, None, 0, 0)]},
        {"outputs": [("again", 0, *NO)]},
        {"outputs": [("made", 0, *NO), ("again", 2, *NO)]},
        {"inputs": [("again", 0, *NO)] * 2},
        {"hidden": 2},
        {"hidden": -1},
        {"outputs": [("gradient", 3, *NO)]},
        {"grads": [(3, None)]},
        {"grads": [3]},
        {"grads": [()]},
        {"replaced": [None]},
        {"attributes": [(1, 2, 3)]},
        {"attributes": [None]},
        {"grads_read": [(2, None)]},
        {"grads_read": [("x", None)]},
        {"grads": [(-1, None)]},
        {"replaced": [2]},
        {"host": [3]},
        {"apart": [3]},
        {"shared": 3},
        {"failed": 3},
        {"attach": 3},
        {"arguments": -1},
    ],
)
def test_refusals(kit, changed):
    with pytest.raises((TypeError, ValueError, OverflowError)):
        replay(adding(kit), **changed)


def test_more_refusals(kit, tensor):
    with pytest.raises(TypeError, match="takes a Program"):
        replay(3)
    t = tensor(np.zeros(4))
    with pytest.raises(ValueError, match="cannot be an input"):
        replay(adding(kit), inputs=[("gradient", t, *NO)] * 2)
    with pytest.raises((TypeError, ValueError)):
        replay(adding(kit)).inputs([t])
    f = replaying(replay(adding(kit), outputs=[("made", 0, layout(5), 0, -1)]))
    with pytest.raises(ValueError, match="outside the tensor's memory"):
        f(t, N.alias(t))
    f = replaying(replay(adding(kit), outputs=[("argument", 0, layout(4), 1, -2)]))
    with pytest.raises(ValueError, match="outside the tensor's memory"):
        f(t, tensor(np.zeros(4)))


def test_gradients_are_there_though_a_result_cannot_be_given(kit, tensor):
    t, x = tensor(np.zeros(4)), tensor(np.ones(4))
    made = replay(adding(kit), outputs=[("made", 0, layout(5), 0, -1)], grads=[(t, ("made", 0, *NO))])
    with pytest.raises(ValueError, match="outside the tensor's memory"):
        replaying(made)(x, t)
    assert t._grad.tolist() == [1, 1, 1, 1]


def test_unflatten():
    leaf = None
    assert N.unflatten(leaf, [3]) == 3
    assert N.unflatten((tuple, (leaf, (list, (leaf, leaf)), (dict, (("k", leaf),)))), range(4)) == (0, [1, 2], {"k": 3})
    assert N.unflatten((complex, (leaf, leaf)), (1.0, 2.0)) == 1 + 2j
    for structure, values, error in [
        (leaf, [], ValueError),
        (leaf, [1, 2], ValueError),
        ((tuple, (leaf,)), [], ValueError),
        (3, [1], TypeError),
        ((tuple,), [1], TypeError),
        ((tuple, [leaf]), [1], TypeError),
        ((3, (leaf,)), [1], TypeError),
        ((dict, (leaf,)), [1], TypeError),
        ((dict, (([], leaf),)), [1], TypeError),
        (leaf, 3, TypeError),
    ]:
        with pytest.raises(error):
            N.unflatten(structure, values)
    deep = leaf
    for _ in range(100_000):
        deep = (list, (deep,))
    with pytest.raises(RecursionError):
        N.unflatten(deep, [1])


def test_cycles_are_collected(kit, tensor):
    def leave():
        t, other = tensor(np.zeros(4)), tensor(np.zeros(4))
        f = Calls(lambda args, kwargs: (made, args, ()))
        made = replay(
            adding(kit),
            inputs=[("fixed", t, *NO)] * 2,
            attributes=[(f, "asked", 1)],
            failed=lambda error: (f, made, error),
        )
        f(other, t)
        f(other, t)
        t._grad = t
        f.made = made
        return weakref.ref(f), weakref.ref(t)

    gone = leave()
    gc.collect()
    assert [r() for r in gone] == [None, None]
