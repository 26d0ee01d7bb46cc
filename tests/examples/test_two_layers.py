"""A training step of two layers, the update written by hand: what it launches, and that its modes agree."""

from __future__ import annotations

import numpy as np

import weft


def trained(static: bool) -> tuple[list[np.ndarray], tuple[int, int]]:
    """Parameters after three steps, and (kernels, matrix products) launched by the last."""
    rng = np.random.default_rng(0)
    shapes = ((1000, 100), (100,), (100, 10), (10,))
    w1, b1, w2, b2 = parameters = [
        weft.from_numpy((0.05 * rng.standard_normal(s)).astype(np.float32)).clone() for s in shapes
    ]
    for p in parameters:
        p.requires_grad = True
    x = weft.from_numpy(rng.standard_normal((64, 1000), dtype=np.float32))
    y = weft.from_numpy(rng.standard_normal((64, 10), dtype=np.float32))

    def step(x: weft.Tensor, y: weft.Tensor) -> weft.Tensor:
        loss = ((weft.relu(x @ w1 + b1) @ w2 + b2 - y) ** 2).mean()
        loss.backward()
        with weft.no_grad():
            for p in parameters:
                p.sub_(p.grad * 0.01)
                p.grad = None
        return loss

    run = weft.static(step) if static else step
    for _ in range(2):
        run(x, y)
    before = weft.stats()
    run(x, y).item()
    made = weft.stats() - before
    return [p.detach().numpy() for p in parameters], (made.kernel_launches, made.gemm_launches)


def test_launches() -> None:
    """Five products: two forward, three backward, of which the second layer's follows the first's. Four kernels run with them.
    Left are the loss, and the two layers' sums over the batch, each with what is computed from the same rows."""
    parameters, launches = trained(static=True)
    assert launches == (3, 4)
    for got, want in zip(parameters, trained(static=False)[0], strict=True):
        assert np.array_equal(got, want)
