"""Results of static functions that share memory, with one another or with tensors from outside, are as those of eager calls."""

from typing import Any

import pytest

import weft


def whole_and_part(x: Any) -> Any:
    a = x * 2
    return a, a[1:]


def parts(x: Any) -> Any:
    a = x * 2
    return a.T, a[0], a[1:]


def part_of_part(x: Any) -> Any:
    a = x * 2
    b = a[1:]
    return b, b.T, b[0]


def twice(x: Any) -> Any:
    a = (x * 2).T
    return a, a, {"again": a}


def detached(x: Any) -> Any:
    a = x * 2
    d = a.detach()
    return a, d, d[1:], a[1:]


def only_detached(x: Any) -> Any:
    d = (x * 2).detach()
    return d[0], d[1:]


def written(x: Any) -> Any:
    a = x.clone()
    a[0] = a[1] * 3
    return a[1:], a


def of_argument(x: Any) -> Any:
    return x[1:], x.T, x.detach(), x, x.detach()[1:]


FUNCTIONS = [whole_and_part, parts, part_of_part, twice, detached, only_detached, written, of_argument]


def tensors(result: Any) -> list[Any]:
    return [v for r in result for v in (r.values() if isinstance(r, dict) else (r,))]


def outcome(function: Any, needs: bool, changed: int, held: Any) -> Any:
    """What is seen after one of the results was changed in place by something that requires grad."""
    p = weft.tensor(3.0, requires_grad=True)
    leaf = weft.arange(12, dtype=weft.float32).reshape(3, 4).clone()
    leaf.requires_grad_(needs)
    x = leaf * 1
    results = tensors(function(x))
    same = [[a is b for b in results] for a in results]
    before = [(t.requires_grad, t.is_leaf) for t in results]
    if changed < len(results):
        try:
            with held():
                results[changed].mul_(p)
        except weft.AutogradError as e:
            return same, before, str(e).split("\n", 1)[0]
    total = sum((k + 1) * (t * t).sum() for k, t in enumerate(results))
    if total.requires_grad:
        total.backward()
    grads = [None if t.grad is None else t.grad.tolist() for t in (p, leaf)]
    return same, before, [t.tolist() for t in results], x.tolist(), grads, [t.requires_grad for t in results]


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_results_that_share_memory(function: Any, needs: bool) -> None:
    static = weft.static(function)
    for changed in range(6):
        for held in (weft.enable_grad, weft.no_grad):
            assert outcome(static, needs, changed, held) == outcome(function, needs, changed, held)


def test_what_is_detached_is_no_argument() -> None:
    x = weft.ones(3, requires_grad=True)
    w = weft.ones((3, 4), requires_grad=True)
    for f, t in ((lambda x: x.detach(), x), (lambda x: w.detach(), w), (lambda x: w[1:].detach(), w)):
        static = weft.static(f)
        first, second = static(x), static(x)
        assert first is not second
        assert not first.requires_grad
        assert first.base is None
        first.fill_(2)
        assert (
            second.tolist() == first.tolist() == (t if t is x or first.ndim == 1 or len(first) == 3 else t[1:]).tolist()
        )
        second.requires_grad_()
        assert not static(x).requires_grad


def test_a_gradient_may_be_a_detached_argument() -> None:
    p = weft.ones(3, requires_grad=True)

    @weft.static
    def f(x: Any) -> None:
        p.grad = x.detach()

    x = weft.ones(3, requires_grad=True)
    for _ in range(2):
        f(x)
        assert not p.grad.requires_grad
        assert p.grad._storage_id == x._storage_id


@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_results_without_a_gradient_have_no_part_in_others(used: tuple[int, ...]) -> None:
    def outcome(static: bool) -> Any:
        w, x = weft.tensor([2.0, 3.0], requires_grad=True), weft.tensor([0.0, 1.0], requires_grad=True)

        def f(x: Any) -> Any:
            return -x.sum(), weft.sqrt(x).sum(), (x * w).sum()

        function = weft.static(f) if static else f
        for _ in range(2):
            made = function(x)
            sum(made[k] for k in used).backward()
        return [None if t.grad is None else t.grad.numpy().tobytes() for t in (x, w)]

    assert outcome(True) == outcome(False)


def test_many_results_count_what_is_not_there_as_zero() -> None:
    w, x = weft.ones(2, requires_grad=True), weft.tensor([0.0, 1.0], requires_grad=True)

    @weft.static
    def f(x: Any) -> Any:
        return x.sum(), weft.sqrt(x).sum(), (x * w).sum(), (x * 4).sum()

    f(x)[0].backward()
    assert x.grad.tolist() == [1, 1]
    assert w.grad is None
    made = f(x)
    (made[2] + made[3]).backward()
    assert str(x.grad[0].item()) == "nan"
    assert x.grad[1].item() == 6
    assert w.grad.tolist() == [0, 1]
    x.grad = None
    sum(f(x)).backward()
    assert x.grad[1].item() == 6.5
