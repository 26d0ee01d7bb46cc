"""A user's program, for type checkers: never run. A line that ends in "error" must be refused."""

from typing import Any, assert_type

import weft
from weft import nn
from weft.nn import functional as F

x = weft.randn(4, 3, requires_grad=True)
y = weft.zeros((4, 3), dtype=weft.float)
assert_type(x, weft.Tensor)
assert_type(x * 2 + y, weft.Tensor)
assert_type(x @ y.T, weft.Tensor)
assert_type(x[0], weft.Tensor)
assert_type(x == y, weft.Tensor)
assert_type(weft.exp(x).sum(axis=-1, keepdims=True), weft.Tensor)
assert_type(weft.sum(x, dim=(0, 1), keepdim=True), weft.Tensor)
assert_type(weft.split(x, 2), list[weft.Tensor])
assert_type(weft.allclose(x, y), bool)
assert_type(weft.einsum("ij,kj->ik", x, y), weft.Tensor)
assert_type(x.reshape(2, -1).permute(1, 0).to(weft.float64).contiguous(), weft.Tensor)
assert_type(x.max(), weft.Tensor)
assert_type(x.float().half(), weft.Tensor)
assert_type(x.shape, tuple[int, ...])
assert_type(weft.linalg.norm(x), Any)
weft.sum(x, axes=3.5)  # error
weft.exp(x, y)  # error
weft.reshap(x, 3)  # error
x.sum(keepdims="yes")  # error
x.transposed()  # error
weft.zeros("3")  # error

model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
optimizer = weft.optim.Adam(model.parameters(), lr=0.01)


@weft.static
def step(images: weft.Tensor, labels: weft.Tensor) -> weft.Tensor:
    loss: weft.Tensor = F.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


assert_type(step(x, weft.asarray([0, 1, 0, 1])), weft.Tensor)
step(x)  # error
with weft.lazy(), weft.no_grad():
    assert_type(step(x, y).item(), Any)
