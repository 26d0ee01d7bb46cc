"""Functions that move elements: values against NumPy, and which of them are views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import in_every_mode

A = np.arange(24, dtype=np.float32).reshape(2, 3, 4)

#: (name, of a tensor, of an array): what gives a view of A.
VIEWS: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("reshape", lambda x: x.reshape(6, 4), lambda a: a.reshape(6, 4)),
    ("reshape -1", lambda x: weft.reshape(x, (-1, 2)), lambda a: a.reshape(-1, 2)),
    ("view", lambda x: x.view(4, 6), lambda a: a.reshape(4, 6)),
    ("flatten", lambda x: x.flatten(), lambda a: a.reshape(-1)),
    ("flatten part", lambda x: x.flatten(1, 2), lambda a: a.reshape(2, 12)),
    ("flatten dim", lambda x: x.flatten(start_dim=0, end_dim=1), lambda a: a.reshape(6, 4)),
    ("ravel", lambda x: x.ravel(), lambda a: a.reshape(-1)),
    ("unflatten", lambda x: x.unflatten(2, (2, -1)), lambda a: a.reshape(2, 3, 2, 2)),
    ("permute", lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
    ("permute_dims", lambda x: weft.permute_dims(x, (1, 0, 2)), lambda a: a.transpose(1, 0, 2)),
    ("transpose", lambda x: x.transpose(0, 2), lambda a: a.swapaxes(0, 2)),
    ("transpose all", lambda x: x.transpose(), lambda a: a.transpose()),
    ("transpose tuple", lambda x: x.transpose((1, 2, 0)), lambda a: a.transpose(1, 2, 0)),
    ("swapaxes", lambda x: x.swapaxes(-1, 0), lambda a: a.swapaxes(-1, 0)),
    ("moveaxis", lambda x: weft.moveaxis(x, 0, -1), lambda a: np.moveaxis(a, 0, -1)),
    ("movedim", lambda x: x.movedim((0, 1), (1, 2)), lambda a: np.moveaxis(a, (0, 1), (1, 2))),
    ("mT", lambda x: x.mT, lambda a: a.swapaxes(-1, -2)),
    ("T", lambda x: x[0].T, lambda a: a[0].T),
    ("t", lambda x: x[0].t(), lambda a: a[0].T),
    ("squeeze", lambda x: x[:, :1].squeeze(), lambda a: a[:, :1].squeeze()),
    ("squeeze axis", lambda x: x[:1, :1].squeeze(1), lambda a: a[:1, :1].squeeze(1)),
    ("squeeze other", lambda x: x.squeeze(dim=1), lambda a: a),
    ("unsqueeze", lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    ("unsqueeze last", lambda x: weft.expand_dims(x, -1), lambda a: a[..., None]),
    ("broadcast_to", lambda x: weft.broadcast_to(x, (5, 2, 3, 4)), lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
    ("expand", lambda x: x[:, :1].expand(-1, 3, -1), lambda a: np.broadcast_to(a[:, :1], (2, 3, 4))),
    ("expand_as", lambda x: x[:1].expand_as(x), lambda a: np.broadcast_to(a[:1], (2, 3, 4))),
    ("flip", lambda x: x.flip(1), lambda a: np.flip(a, 1)),
    ("flip all", lambda x: weft.flip(x), lambda a: np.flip(a)),
    ("narrow", lambda x: x.narrow(2, 1, 2), lambda a: a[:, :, 1:3]),
    ("reshape of a slice", lambda x: x[:, ::2].reshape(2, 2, 2, 2), lambda a: a[:, ::2].reshape(2, 2, 2, 2)),
]
#: What gives a new tensor.
COPIES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("reshape of a transpose", lambda x: x.mT.reshape(6, 4), lambda a: a.swapaxes(1, 2).reshape(6, 4)),
    ("concat", lambda x: weft.concat([x, x * 2], 1), lambda a: np.concatenate([a, a * 2], 1)),
    ("cat dim", lambda x: weft.cat((x, x[:, :1]), dim=1), lambda a: np.concatenate([a, a[:, :1]], 1)),
    ("concat flat", lambda x: weft.concat([x, x[0]], axis=None), lambda a: np.concatenate([a, a[0]], axis=None)),
    ("concat many", lambda x: weft.concat([x[:, k] for k in (0, 1, 2) * 6]), lambda a: np.concatenate(
        [a[:, k] for k in (0, 1, 2) * 6])),
    ("stack", lambda x: weft.stack([x[0], x[1]], -1), lambda a: np.stack([a[0], a[1]], -1)),
    ("stack one", lambda x: weft.stack([x]), lambda a: a[None]),
    ("tile", lambda x: weft.tile(x, 2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
    ("tile more", lambda x: x[0].tile((2, 2, 1)), lambda a: np.tile(a[0], (2, 2, 1))),
    ("repeat", lambda x: x.repeat(1, 2, 1), lambda a: np.tile(a, (1, 2, 1))),
    ("repeat_interleave", lambda x: x.repeat_interleave(2, dim=1), lambda a: np.repeat(a, 2, 1)),
    ("repeat_interleave flat", lambda x: weft.repeat_interleave(x, 3), lambda a: np.repeat(a, 3)),
    ("roll", lambda x: weft.roll(x, 1, 2), lambda a: np.roll(a, 1, 2)),
    ("roll two", lambda x: x.roll((1, -1), (0, 1)), lambda a: np.roll(a, (1, -1), (0, 1))),
    ("roll flat", lambda x: x.roll(5), lambda a: np.roll(a, 5)),
    ("pad", lambda x: weft.pad(x, [(0, 0), (1, 2), (0, 3)], 7), lambda a: np.pad(
        a, [(0, 0), (1, 2), (0, 3)], constant_values=7)),
    ("pad last", lambda x: weft.pad(x, (1, 2)), lambda a: np.pad(a, [(0, 0), (0, 0), (1, 2)])),
    ("tril", lambda x: weft.tril(x, 1), lambda a: np.tril(a, 1)),
    ("triu", lambda x: x.triu(diagonal=-1), lambda a: np.triu(a, -1)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "function", "reference"), VIEWS, ids=[v[0] for v in VIEWS])
def test_views(name: str, function: Callable[[Any], Any], reference: Callable[[Any], Any]) -> None:
    x = weft.from_numpy(A.copy())
    (got,) = in_every_mode(function, x)
    np.testing.assert_array_equal(got.numpy(), reference(A))
    assert got._storage_id == x._storage_id, "not a view"
    got = got[...] if name not in ("broadcast_to", "expand", "expand_as") else None
    if got is not None:
        got.add_(100)  # the change is seen through x
        assert (x.numpy() != A).sum() == got.size


@pytest.mark.parametrize(("name", "function", "reference"), COPIES, ids=[c[0] for c in COPIES])
def test_copies(name: str, function: Callable[[Any], Any], reference: Callable[[Any], Any]) -> None:
    x = weft.from_numpy(A.copy())
    (got,) = in_every_mode(function, x)
    np.testing.assert_array_equal(got.numpy(), reference(A))
    assert got._storage_id != x._storage_id


def test_parts() -> None:
    x = weft.from_numpy(A.copy())
    for got, want in (
        (weft.split(x, 2, 2), np.split(A, 2, 2)),
        (x.split([1, 2], dim=1), np.split(A, [1], 1)),
        (x.chunk(2, 1), np.array_split(A, 2, 1)),
        (weft.chunk(x, 5, dim=2), np.split(A, 4, 2)),
        (weft.unbind(x, 1), [A[:, k] for k in range(3)]),
        (list(x), list(A)),
        (weft.broadcast_tensors(x, x[0, 0]), np.broadcast_arrays(A, A[0, 0])),
        (weft.meshgrid(weft.arange(2), weft.arange(3)), np.meshgrid(np.arange(2), np.arange(3))),
        (weft.meshgrid(weft.arange(2), weft.arange(3), indexing="ij"), np.meshgrid([0, 1], [0, 1, 2], indexing="ij")),
    ):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_array_equal(g.numpy(), w)
    assert weft.split(x, 2, 2)[1]._storage_id == x._storage_id


def test_empty_and_scalar_shapes() -> None:
    assert weft.zeros(0, 3).reshape(3, 0).shape == (3, 0)
    assert weft.zeros(0, 3).reshape(-1, 3).shape == (0, 3)
    assert weft.tensor(1.0).reshape(1, 1).shape == (1, 1)
    assert weft.tensor(1.0).flatten().shape == (1,)
    assert weft.concat([weft.zeros(0, 2), weft.ones(1, 2)]).tolist() == [[1, 1]]
    assert weft.zeros(0).flip(0).shape == (0,)
    assert weft.split(weft.zeros(0), 2)[0].shape == (0,)
    assert weft.roll(weft.zeros(0), 1).shape == (0,)


def test_concat_promotes() -> None:
    assert weft.concat([weft.ones(1, dtype=weft.int8), weft.ones(1)]).dtype is weft.float32


def test_size_is_a_number_and_a_method() -> None:
    x = weft.zeros(2, 3)
    assert (x.size, x.size(), x.size(-1), x.numel(), x.dim(), len(x)) == (6, (2, 3), 3, 6, 2, 2)
    assert (x.stride(), x.stride(0), x.element_size()) == ((3, 1), 3, 4)
    assert (weft.ones(2) / x.size).tolist() == pytest.approx([1 / 6] * 2)
