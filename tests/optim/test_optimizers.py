"""Optimisers against their formulas in NumPy, and the same bits in the three modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from weft import nn
from weft.optim import SGD, Adam, AdamW, Optimizer


def sgd(
    p: np.ndarray, grads: list[np.ndarray], lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
) -> np.ndarray:
    buffer = None
    for g in grads:
        g = g + weight_decay * p
        if momentum:
            buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        p = p - lr * g
    return p


def adam(
    p: np.ndarray, grads: list[np.ndarray], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False
) -> np.ndarray:
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t, g in enumerate(grads, 1):
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        p = p - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
    return p


CASES = [
    (SGD, sgd, {"lr": 0.1}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.01}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    (Adam, adam, {"lr": 0.1}),
    (Adam, adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, lambda *a, **k: adam(*a, decoupled=True, **k), {"lr": 0.1, "weight_decay": 0.1}),
]
IDS = [f"{c[0].__name__}-{'-'.join(c[2])}" for c in CASES]


@pytest.mark.parametrize(("optimizer", "reference", "settings"), CASES, ids=IDS)
def test_updates_follow_the_formula(optimizer: Any, reference: Callable[..., Any], settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4))
    grads = [rng.standard_normal((3, 4)) for _ in range(5)]
    p = weft.from_numpy(start.copy()).requires_grad_()
    opt = optimizer([p], **settings)
    for g in grads:
        p.grad = weft.from_numpy(g.copy())
        opt.step()
    np.testing.assert_allclose(p.detach().numpy(), reference(start, grads, **settings), rtol=1e-12)


def step_function(opt: Optimizer, model: nn.Module, mode: str) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        opt.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        opt.step()
        return loss.detach()

    if mode == "static":
        return weft.static(step)
    if mode == "eager":
        return step

    def lazily(x: Any, y: Any) -> Any:
        with weft.lazy():
            return step(x, y)

    return lazily


def train(mode: str, optimizer: Any, settings: dict[str, Any]) -> list[bytes]:
    rng = np.random.default_rng(0)
    weft.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 2))
    opt = optimizer(model.parameters(), **settings)
    step = step_function(opt, model, mode)
    seen = []
    for k in range(5):
        x = weft.from_numpy(rng.standard_normal((16, 5)).astype(np.float32))
        y = weft.from_numpy(rng.standard_normal((16, 2)).astype(np.float32))
        if k == 3:  # a schedule: static must see it too
            opt.param_groups[0]["lr"] *= 0.5
        seen.append(step(x, y).numpy().tobytes())
    seen += [p.detach().numpy().tobytes() for p in model.parameters()]
    seen += [t.numpy().tobytes() for s in opt.state_dict()["state"].values() for t in s.values()]
    return seen


@pytest.mark.parametrize(("optimizer", "reference", "settings"), CASES, ids=IDS)
def test_a_training_step_has_the_same_bits_in_every_mode(
    optimizer: Any, reference: Any, settings: dict[str, Any]
) -> None:
    eager = train("eager", optimizer, settings)
    assert train("lazy", optimizer, settings) == eager
    before = weft.stats()
    assert train("static", optimizer, settings) == eager
    assert (weft.stats() - before).traces == 1


@pytest.mark.parametrize(("optimizer", "reference", "settings"), CASES, ids=IDS)
def test_state_round_trip(optimizer: Any, reference: Any, settings: dict[str, Any]) -> None:
    def new() -> tuple[Any, Optimizer]:
        p = weft.ones((3,)).requires_grad_()
        return p, optimizer([p], **settings)

    def step(p: Any, opt: Optimizer) -> None:
        p.grad = weft.tensor([1.0, -2.0, 3.0])
        opt.step()

    a, opt_a = new()
    step(a, opt_a)
    b, opt_b = new()
    with weft.no_grad():
        b.copy_(a)
    opt_b.load_state_dict(opt_a.state_dict())
    step(a, opt_a)
    step(b, opt_b)
    assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()


def test_adam_counts_steps_of_each_parameter() -> None:
    a, b = weft.ones((2,)).requires_grad_(), weft.ones((2,)).requires_grad_()
    opt = Adam([a, b], lr=0.1)
    a.grad = weft.ones((2,))
    opt.step()
    b.grad = weft.ones((2,))
    opt.step()
    assert [opt.state[p]["step"].item() for p in (a, b)] == [2, 1]
    # Adam's first step is lr in the gradient's direction, whenever it happens.
    np.testing.assert_allclose(b.detach().numpy(), 0.9, rtol=1e-6)


def test_momentum_cannot_come_later() -> None:
    p = weft.ones((2,)).requires_grad_()
    opt = SGD([p], lr=0.1)
    opt.param_groups[0]["momentum"] = 0.9
    p.grad = weft.ones((2,))
    with pytest.raises(ValueError, match="its momentum was 0 when it was made"):
        opt.step()


def test_groups_have_settings_of_their_own() -> None:
    a, b = weft.ones((2,)).requires_grad_(), weft.ones((2,)).requires_grad_()
    opt = SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.25)
    a.grad, b.grad = weft.ones((2,)), weft.ones((2,))
    opt.step()
    assert (a[0].item(), b[0].item()) == (0.75, 0.0)
    opt.zero_grad()
    assert a.grad is None
    assert "lr: 1.0" in repr(opt)


def test_step_calls_a_closure() -> None:
    p = weft.ones((1,)).requires_grad_()
    opt = SGD([p], lr=0.5)

    def closure() -> Any:
        opt.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert opt.step(closure).item() == 1.0
    assert p.item() == 0.0


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda p: SGD([], lr=0.1), ValueError, "no parameters"),
        (lambda p: SGD(p, lr=0.1), TypeError, "not a single tensor"),
        (lambda p: SGD([1.0], lr=0.1), TypeError, "not a float"),
        (lambda p: SGD([p, p], lr=0.1), ValueError, "twice"),
        (lambda p: SGD([p * 2], lr=0.1), ValueError, "leaf"),
        (lambda p: SGD([p], lr=-1), ValueError, "lr must be at least 0"),
        (lambda p: SGD([p], lr=0.1, nesterov=True), ValueError, "needs momentum"),
        (lambda p: SGD([{"params": [p], "speed": 3}], lr=0.1), TypeError, "no setting 'speed'"),
        (lambda p: Adam([p], betas=(0.9, 1.0)), ValueError, "from 0 up to 1"),
        (lambda p: Adam([p]).load_state_dict(Adam([p, p + 0]).state_dict()), ValueError, "leaf"),
    ],
)
def test_wrong_calls(make: Callable[[Any], Any], error: type[Exception], says: str) -> None:
    p = weft.ones((2,)).requires_grad_()
    with pytest.raises(error, match=says):
        make(p)


def test_a_state_of_other_shapes_is_refused() -> None:
    opt = Adam([weft.ones((2,)).requires_grad_()])
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 has shape \[3\], not \[2\]"):
        opt.load_state_dict(Adam([weft.ones((3,)).requires_grad_()]).state_dict())
    two = Adam([weft.ones((2,)).requires_grad_(), weft.ones((2,)).requires_grad_()])
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters"):
        opt.load_state_dict(two.state_dict())
