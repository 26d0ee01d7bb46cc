"""Module: finding parts, changing them, saving and loading, printing."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest

import weft
from weft import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.scale = nn.Parameter(weft.ones((3,)))
        self.register_buffer("seen", weft.zeros((1,)))
        self.register_buffer("scratch", weft.zeros((2,)), persistent=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: weft.Tensor) -> weft.Tensor:
        return self.drop(self.inner(x)) * self.scale


def values(t: weft.Tensor) -> np.ndarray:
    return t.detach().numpy()


def test_parameters_and_buffers_are_found_by_name() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == ["scale", "inner.weight", "inner.bias"]
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "inner", "drop"]
    assert list(net.state_dict()) == ["scale", "seen", "inner.weight", "inner.bias"]
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == ["net.scale"]


def test_a_shared_parameter_counts_once() -> None:
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    both = nn.Sequential(a, b)
    assert len(list(both.parameters())) == 3
    assert list(both.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert net.drop.training
    assert net.eval() is net
    assert not net.drop.training
    assert net.train().drop.training


def test_apply_goes_children_first() -> None:
    seen: list[str] = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Dropout", "Net"]


def test_assigning_a_plain_tensor_over_a_parameter_is_an_error() -> None:
    net = Net()
    with pytest.raises(TypeError, match=r"Net\.scale is a Parameter"):
        net.scale = weft.ones((3,))
    net.scale = None
    assert "scale" not in net.state_dict()


@pytest.mark.parametrize("name", ["", "a.b", "forward"])
def test_names_that_cannot_be_registered(name: str) -> None:
    with pytest.raises(KeyError):
        Net().register_buffer(name, weft.zeros((1,)))


def test_requires_grad_and_zero_grad() -> None:
    net = Net().eval()
    net(weft.ones((2, 4))).sum().backward()
    assert net.scale.grad is not None
    net.zero_grad(set_to_none=False)
    assert values(net.scale.grad).tolist() == [0, 0, 0]
    net.zero_grad()
    assert net.scale.grad is None
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())


def test_to_changes_the_type_of_floating_parts() -> None:
    net = Net()
    before = values(net.inner.weight).copy()
    net.to(weft.float64)
    assert {p.dtype for p in net.parameters()} == {weft.float64}
    assert net.seen.dtype is weft.float64
    assert np.array_equal(values(net.inner.weight), before.astype(np.float64))
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert net.to("cpu", "float32") is net
    assert net.scale.dtype is weft.float32
    with pytest.raises(ValueError, match="no device 'cuda'"):
        net.to(device="cuda")
    with pytest.raises(TypeError, match="floating-point type only"):
        net.to(weft.int32)


def test_state_round_trip() -> None:
    a, b = Net(), Net()
    assert not np.array_equal(values(a.inner.weight), values(b.inner.weight))
    assert b.load_state_dict(a.state_dict()) == ([], [])
    for name, t in a.state_dict().items():
        assert values(b.state_dict()[name]).tobytes() == values(t).tobytes()
    assert b.inner.weight.requires_grad
    assert b.inner.weight.data_ptr() != a.inner.weight.data_ptr()


def test_state_loads_from_numpy_arrays() -> None:
    net = nn.Linear(2, 1)
    net.load_state_dict({"weight": np.array([[1.0, 2.0]], np.float32), "bias": np.array([3.0], np.float32)})
    assert net(weft.tensor([10.0, 100.0])).item() == 213.0


def test_state_that_does_not_fit_changes_nothing() -> None:
    net = Net()
    before = {k: values(v).copy() for k, v in net.state_dict().items()}
    state = dict(Net().state_dict())
    state["inner.bias"] = weft.zeros((5,))
    state["extra"] = weft.zeros((1,))
    del state["scale"]
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "The state does not fit Net:\n  missing: scale\n  unexpected: extra\n"
        "  inner.bias has shape [5], the module's has [3]"
    )
    for name, t in net.state_dict().items():
        assert np.array_equal(values(t), before[name])
    del state["inner.bias"]
    assert net.load_state_dict(state, strict=False) == (["scale", "inner.bias"], ["extra"])


def test_printing() -> None:
    model = nn.Sequential(
        OrderedDict(hidden=nn.Linear(2, 3), act=nn.ReLU(), inner=nn.Sequential(nn.Linear(3, 1, bias=False)))
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (hidden): Linear(in_features=2, out_features=3, bias=True)\n"
        "  (act): ReLU()\n"
        "  (inner): Sequential(\n"
        "    (0): Linear(in_features=3, out_features=1, bias=False)\n"
        "  )\n"
        ")"
    )


def test_sequential_is_a_sequence() -> None:
    a, b, c = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    model = nn.Sequential(a, b)
    assert model.append(c) is model
    assert len(model) == 3
    assert list(model) == [a, b, c]
    assert model[0] is a
    assert model[-1] is c
    part = model[1:]
    assert isinstance(part, nn.Sequential)
    assert list(part) == [b, c]
    with pytest.raises(IndexError, match="of 3 modules has no module 3"):
        model[3]
    model[1] = nn.Tanh()
    assert isinstance(model[1], nn.Tanh)


def test_module_list_counts_its_parameters() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

    assert len(list(Deep().parameters())) == 6
    assert next(iter(Deep().state_dict())) == "layers.0.weight"


def test_deepcopy_is_independent() -> None:
    a = Net()
    b = copy.deepcopy(a)
    with weft.no_grad():
        b.scale.fill_(5.0)
    assert values(a.scale).tolist() == [1, 1, 1]
    assert isinstance(b.scale, nn.Parameter)
    assert b.scale.requires_grad


def test_parameter_takes_a_tensor() -> None:
    with pytest.raises(TypeError, match="not a list"):
        nn.Parameter([1.0])
    assert not nn.Parameter(weft.ones((1,)), requires_grad=False).requires_grad
    assert str(nn.Parameter(weft.zeros((2,)))).startswith("Parameter containing:\ntensor([0., 0.]")


def test_forward_must_be_defined() -> None:
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(1)
