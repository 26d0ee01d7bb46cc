"""Einstein's notation against NumPy: subscripts, layouts, types, sizes, orders of contraction, kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weft
from tests.ops.helpers import assert_close, in_every_mode, numbers, tensor
from weft import dtypes
from weft.autograd import gradcheck, gradgradcheck
from weft.ops.einsum import SHORT_SUM, contraction_order

Shape = tuple[int, ...]

CASES: list[tuple[str, list[Shape]]] = [
    # products of two matrices, batches, heads
    ("ij,jk->ik", [(3, 4), (4, 5)]), ("ij,jk->ki", [(3, 4), (4, 5)]), ("ij,jk", [(3, 4), (4, 5)]),
    ("ij,kj->ik", [(3, 4), (5, 4)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]), ("ijk,kl->ijl", [(2, 3, 4), (4, 5)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("bhqk,bkhd->bqhd", [(2, 3, 4, 5), (2, 5, 3, 6)]),
    ("bqhd,bkhd->bhqk", [(2, 4, 3, 5), (2, 6, 3, 5)]), ("nchw,oc->nohw", [(2, 3, 4, 5), (6, 3)]),
    # several indices to one axis of a product; some need a copy
    ("ijk,jil->kl", [(3, 4, 5), (4, 3, 6)]), ("aij,jbk->abik", [(2, 3, 4), (4, 5, 6)]),
    ("ajbc,jd->cabd", [(2, 3, 4, 5), (3, 6)]), ("ajb,jcd->bdca", [(2, 3, 4), (3, 5, 6)]),
    # vectors, products without a matrix product
    ("ij,j->i", [(3, 4), (4,)]), ("i,ij->j", [(3,), (3, 4)]), ("i,i->", [(5,), (5,)]), ("i,j->ij", [(3,), (4,)]),
    ("ij,ij->i", [(3, 4), (3, 4)]), ("ij,ij->j", [(3, 4), (3, 4)]), ("ij,ij->", [(3, 4), (3, 4)]),
    ("ij,ji->", [(3, 4), (4, 3)]), ("ij,ij->ij", [(3, 4), (3, 4)]), ("ij,ji->ij", [(3, 4), (4, 3)]),
    ("i,j,k->ijk", [(2,), (3,), (4,)]), ("abc,abc,abc->", [(2, 3, 4)] * 3), (",", [(), ()]), (",ij->ji", [(), (2, 3)]),
    # sums, diagonals, permutations of one operand
    ("ij->", [(3, 4)]), ("ij->j", [(3, 4)]), ("ijk->ki", [(3, 4, 5)]), ("ii->i", [(4, 4)]), ("ii", [(4, 4)]),
    ("iij->j", [(3, 3, 4)]), ("iji->ij", [(3, 4, 3)]), ("iijj->ij", [(3, 3, 4, 4)]), ("abca->bc", [(3, 4, 5, 3)]),
    ("ba", [(3, 4)]), ("ijk->kij", [(2, 3, 4)]), ("", [()]), ("aab,b->", [(3, 3, 4), (4,)]), ("iii->i", [(3, 3, 3)]),
    # sums before products
    ("ij,k->", [(3, 4), (5,)]), ("ij,jk->k", [(3, 4), (4, 5)]), ("ij,kl->jk", [(3, 4), (5, 6)]),
    # ellipsis
    ("...ij,...jk->...ik", [(2, 3, 4), (5, 1, 4, 6)]), ("...,...->...", [(3, 4), (4,)]), ("...i->...", [(3, 4)]),
    ("i...->...", [(3, 4)]), ("i...j->j...i", [(3, 4, 5)]), ("...i,...i", [(2, 3), (3,)]),
    ("a...,b...->ab...", [(2, 3), (4, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    # sizes of 1 broadcast, and of 0
    ("ij,jk->ik", [(3, 1), (4, 5)]), ("ij,ij->ij", [(1, 4), (3, 1)]), ("i,i->i", [(1,), (4,)]), ("ij,jk->ik", [(1, 4), (4, 1)]),
    ("ij,jk->ik", [(3, 0), (0, 5)]), ("ij,jk->ik", [(0, 3), (3, 5)]), ("ij->i", [(3, 0)]), ("ij,ij->j", [(0, 3), (0, 3)]),
    # many operands
    ("ab,bc,cd->ad", [(3, 4), (4, 5), (5, 6)]), ("a,ab,abc->abc", [(2,), (2, 3), (2, 3, 4)]),
    ("a,ab,abc->ac", [(2,), (2, 3), (2, 3, 4)]), ("ea,fb,abcd,gc,hd->efgh", [(2, 2), (3, 3), (2, 3, 4, 5), (4, 4), (5, 5)]),
    ("bi,oi,bo->", [(3, 4), (5, 4), (3, 5)]), ("Ab,bC->CA", [(3, 4), (4, 5)]),
    ("ab,bc,cd,de,ef,fg,gh->ah", [(k, k + 1) for k in range(2, 9)]),
    ("ab,bc,cd,de,ef,fg,gh,hi,ij->aj", [(k, k + 1) for k in range(2, 11)]),
]  # fmt: skip


@pytest.mark.parametrize(("subscripts", "shapes"), CASES, ids=str)
def test_subscripts(subscripts: str, shapes: list[Shape]) -> None:
    arrays = [numbers(weft.float64, s, k) for k, s in enumerate(shapes)]
    (got,) = in_every_mode(lambda *t: weft.einsum(subscripts, *t), *map(weft.from_numpy, arrays))
    want = np.einsum(subscripts, *arrays)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    "subscripts", ["bij,bjk->bik", "ijb,jkb->ikb", "bij,kjb->ki", "ijb,ijb->b", "ijb,jbi->ij", "aba,abc->bc"]
)
def test_layouts(subscripts: str) -> None:
    sizes = {"a": 4, "b": 4, "i": 4, "j": 4, "k": 4, "c": 4}
    terms = subscripts.split("->")[0].split(",")
    arrays = [numbers(weft.float64, [sizes[i] for i in term], k) for k, term in enumerate(terms)]
    plain = [weft.from_numpy(a) for a in arrays]
    (want,) = in_every_mode(lambda *t: weft.einsum(subscripts, *t), *plain)
    for turn in ((2, 1, 0), (1, 2, 0)):
        back = tuple(np.argsort(turn))
        others = [t.permute(*turn).clone().permute(*back) for t in plain]
        wide = [weft.stack([t, t], -1)[..., 0] for t in plain]
        for operands in (others, wide, [t.flip(0).clone().flip(0) for t in plain]):
            (got,) = in_every_mode(lambda *t: weft.einsum(subscripts, *t), *operands)
            np.testing.assert_array_equal(got.numpy(), want.numpy(), "a layout changes the bits")


@pytest.mark.parametrize("dtype", [d for d in dtypes.ALL if d.kind != "b"], ids=lambda d: d.name)
@pytest.mark.parametrize("subscripts", ["ij,jk->ik", "ij,ij->i", "ij,jk->k", "ij,ij->ij"])
def test_types(subscripts: str, dtype: weft.DType) -> None:
    x, y = numbers(dtype, (4, 4), 1), numbers(dtype, (4, 4), 2)
    (got,) = in_every_mode(lambda s, t: weft.einsum(subscripts, s, t), tensor(x, dtype), tensor(y, dtype))
    assert got.dtype is dtype
    if dtype.kind == "f":
        assert_close(
            got, np.einsum(subscripts, x.astype(np.float64), y.astype(np.float64)), 2 if dtype.is_half else 8, scale=30
        )
    else:
        np.testing.assert_array_equal(got.numpy(), np.einsum(subscripts, x, y))


def test_mixed_types() -> None:
    assert weft.einsum("i,i->", weft.ones(2, dtype=weft.int32), weft.ones(2)).dtype is weft.float32
    assert (
        weft.einsum("i,j->ij", weft.ones(2, dtype=weft.float16), weft.ones(2, dtype=weft.bfloat16)).dtype
        is weft.float32
    )


def test_16_bit_sums_are_rounded_once() -> None:
    x = weft.ones(4096, dtype=weft.float16)
    assert weft.einsum("i,i->", x, x).item() == 4096
    assert weft.einsum("i->", x).item() == 4096


def test_special_values() -> None:
    x = np.array([[np.inf, 1.0], [np.nan, 0.0], [-0.0, -0.0]])
    y = np.array([[1.0, -np.inf], [0.0, 2.0], [1.0, 1.0]])
    with np.errstate(invalid="ignore"):
        for subscripts in ("ij,kj->ik", "ij,ij->i", "ij,ij->ij", "ij->i"):
            arrays = (x, y)[: subscripts.count(",") + 1]
            got = weft.einsum(subscripts, *map(weft.from_numpy, arrays))
            np.testing.assert_array_equal(got.numpy(), np.einsum(subscripts, *arrays))


def test_lists() -> None:
    a, b = numbers(weft.float64, (3, 4), 1), numbers(weft.float64, (4, 5), 2)
    x, y = weft.from_numpy(a), weft.from_numpy(b)
    np.testing.assert_allclose(weft.einsum(x, [0, 1], y, [1, 2], [2, 0]).numpy(), (a @ b).T)
    np.testing.assert_allclose(weft.einsum(x, [0, 1], y, [1, 2]).numpy(), a @ b)
    np.testing.assert_allclose(weft.einsum(x, [..., 1], y, [1, 2], [..., 2]).numpy(), a @ b)
    np.testing.assert_allclose(weft.einsum("ij,jk", [x, y]).numpy(), a @ b)


def test_views() -> None:
    """One operand and nothing to sum: the same memory."""
    x = weft.zeros(3, 3)
    weft.einsum("ii->i", x).fill_(1.0)
    weft.einsum("ij->ji", x)[0, 1] = 2.0
    assert x.tolist() == [[1, 0, 0], [2, 1, 0], [0, 0, 1]]


GRADIENTS: list[tuple[str, list[Shape]]] = [
    ("ij,jk->ki", [(2, 3), (3, 2)]), ("bij,bkj->bik", [(2, 2, 3), (2, 2, 3)]), ("ijk,jil->kl", [(2, 3, 2), (3, 2, 2)]),
    ("ij,ij->j", [(2, 3), (2, 3)]), ("i,j->ij", [(2,), (3,)]), ("ii->i", [(3, 3)]),
    ("iij->j", [(2, 2, 3)]), ("ijk->ki", [(2, 3, 2)]),
    ("ij,jk->k", [(2, 3), (3, 2)]), ("ab,bc,cd->ad", [(2, 3), (3, 2), (2, 2)]), ("...ij,...j->...i", [(2, 2, 3), (3,)]),
    ("ij,ij->i", [(1, 3), (2, 1)]), ("aab,b->a", [(2, 2, 3), (3,)]),
]  # fmt: skip


@pytest.mark.parametrize(("subscripts", "shapes"), GRADIENTS, ids=str)
def test_gradients(subscripts: str, shapes: list[Shape]) -> None:
    """To second order; and the first in every mode."""
    inputs = [weft.tensor(numbers(weft.float64, s, k), requires_grad=True) for k, s in enumerate(shapes)]

    def of(*t: Any) -> Any:
        return weft.einsum(subscripts, *t)

    assert gradcheck(of, inputs)
    assert gradgradcheck(of, inputs)
    in_every_mode(lambda *t: weft.grad((of(*t) ** 2).sum(), list(t)), *inputs)


def test_order_of_contraction() -> None:
    """The cheapest for a few, a good one for many."""
    chain = tuple((k, k + 1) for k in range(5))
    sizes = tuple((k, n) for k, n in enumerate((50, 2, 60, 3, 70, 1)))
    assert contraction_order(chain, (0, 5), sizes) == (0, (1, (2, (3, 4))))
    many = tuple((k, k + 1) for k in range(8))
    tree = contraction_order(many, (0, 8), tuple((k, 100 if k % 2 else 2) for k in range(9)))
    assert all(str(pair) in str(tree) for pair in ((0, 1), (2, 3), (4, 5), (6, 7))), "the wide indices go first"


@pytest.mark.parametrize("terms", [1, 3, SHORT_SUM, SHORT_SUM + 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "int64"])
def test_many_short_sums(dtype: str, terms: int) -> None:
    rng = np.random.default_rng(terms)
    x, y = (weft.from_numpy(np.rint(4 * rng.standard_normal((7, 30, terms)))).astype(dtype) for _ in range(2))
    want = np.einsum("bij,bij->ib", *(t.astype("float64").numpy() for t in (x, y)))
    for left in (x, x.movedim(-1, 0).clone().movedim(0, -1)):
        (got,) = in_every_mode(lambda a, b: weft.einsum("bij,bij->ib", a, b), left, y)
        assert_close(got, want if dtype != "int8" else want.astype("int64").astype("int8"), ulps=1)


@pytest.mark.parametrize(
    ("subscripts", "shapes", "launches"),
    [
        ("bhqd,bkhd->bhqk", [(2, 3, 4, 5), (2, 6, 3, 5)], 1),  # strides say it: no copies
        ("bhqk,bkhd->bqhd", [(2, 3, 4, 5), (2, 5, 3, 6)], 1),
        ("ij,jk->ki", [(3, 4), (4, 5)], 1),
        ("ij,ij->i", [(3, 4), (3, 4)], 1),  # rows by columns
        ("ij,ij->i", [(3, 40), (3, 40)], 1),  # multiplied and summed
        ("ij,ij->", [(3, 4), (3, 4)], 1),
        ("ii", [(4, 4)], 1),
        ("ijk,jil->kl", [(3, 4, 5), (4, 3, 2)], 2),  # the smaller operand is copied
        ("ii->i", [(4, 4)], 0),
        ("ijk->kij", [(2, 3, 4)], 0),
    ],
)
def test_launches(subscripts: str, shapes: list[Shape], launches: int) -> None:
    operands = [weft.ones(s) for s in shapes]
    weft.einsum(subscripts, *operands)
    before = weft._native.counters()
    weft.einsum(subscripts, *operands)
    after = weft._native.counters()
    assert sum(after[k] - before[k] for k in ("kernel_launches", "gemm_launches")) == launches
