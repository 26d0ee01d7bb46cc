"""The table of public functions: documented, exampled, complete, and light to import."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weft
from weft import values
from weft.ops.public import PUBLIC
from weft.reference import page

SCOPES = ("no_grad", "enable_grad", "set_grad_enabled", "is_grad_enabled", "Generator", "fork_rng", "lazy", "static")
MODULES = (values, sys.modules["weft.tensor"])  # the name weft.tensor is the function's
OWN = [f for m in MODULES for f in vars(m).values() if getattr(f, "__module__", "") == m.__name__ and callable(f)]
DOCUMENTED = [(p.name, p.function) for p in PUBLIC.values()]
DOCUMENTED += [(name, getattr(weft, name)) for name in SCOPES]
DOCUMENTED += [(f"Tensor.{f.__name__}", f) for f in OWN if ">>>" in (f.__doc__ or "")]


@pytest.mark.parametrize(("name", "function"), DOCUMENTED, ids=[d[0] for d in DOCUMENTED])
def test_examples(name: str, function: Any) -> None:
    """Every public function has documentation, and its examples give what it says."""
    text = function.__doc__ or ""
    assert text.strip().split("\n")[0].endswith((".", "`")), "no summary"
    example = doctest.DocTestParser().get_doctest(text, {"weft": weft}, name, None, 0)
    assert example.examples or name.endswith("_"), "no example"
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    assert not said, "".join(said)


def test_names() -> None:
    """Functions and methods are one thing under every name."""
    for p in PUBLIC.values():
        for name in p.names:
            assert getattr(weft, name) is p.function
            assert name in weft.__all__
        for name in p.methods:
            assert getattr(weft.Tensor, name) is p.function
    table = page()
    assert "| `weft.multiply` | `mul` | yes | ``x * y``. |" in table
    assert "| `x.add_` |" in table


def test_page() -> None:
    """The page of functions is the one the table gives."""
    written = Path(__file__).parents[2] / "docs" / "functions.md"
    assert written.read_text() == page(), "run python -m weft.reference > docs/functions.md"


#: What a PyTorch or NumPy user expects to find.
FUNCTIONS = """
abs acos acosh add all allclose any arange argmax argmin asarray asin asinh atan atan2 atanh bernoulli bitwise_and bmm
broadcast_to cat ceil chunk clamp clip clone concat concatenate copysign cos cosh count_nonzero cross_entropy div
diagonal divide dot dropout einsum empty empty_like eq equal erf erfc exp exp2 expand_dims expm1 eye flatten flip
floor floor_divide fmod from_dlpack from_numpy full full_like gather ge gelu greater gt hypot index_add index_select
inner isclose isfinite isinf isnan kron layer_norm le lerp less linspace log log10 log1p log2 log_softmax logaddexp
logical_and logical_not logical_or logical_xor logsumexp lt manual_seed masked_fill masked_select matmul max maximum
mean meshgrid min minimum mm moveaxis movedim mse_loss mul multiply ne neg negative nonzero norm normal not_equal
one_hot ones ones_like outer pad permute permute_dims positive pow prod rand randint randn randperm reciprocal relu
remainder repeat_interleave reshape roll round rsqrt scatter_add sigmoid sign sin sinh softmax split sqrt square
squeeze stack std sub subtract sum swapaxes take take_along_axis tan tanh tensor tensordot tile trace transpose tril
triu trunc unbind unsqueeze var vdot vecdot where zeros zeros_like bool float double half long int short float32
bfloat16 bool_ pi e inf nan newaxis no_grad enable_grad set_grad_enabled is_grad_enabled set_num_threads
get_num_threads static lazy stats
"""
METHODS = """
T abs add add_ all any argmax argmin backward bfloat16 bool chunk clamp clamp_ clone contiguous copy_ cpu cumsum data
detach detach_ device dim div div_ double dtype element_size eq exp expand expand_as fill_ flatten flip float gather
grad grad_fn half index_add_ int is_contiguous is_leaf item itemsize log long mT masked_fill masked_fill_ matmul max
mean min mul mul_ narrow nbytes ndim neg norm normal_ numel numpy permute pow pow_ prod relu relu_ repeat
requires_grad requires_grad_ reshape retain_grad round scatter_add_ shape sigmoid size softmax split sqrt squeeze std
stride strides sub sub_ sum t tanh tile to tolist transpose type_as unbind uniform_ unsqueeze var view view_as where
zero_ zeros_like
"""
#: Names in the lists above that Weft does not have yet, or has as a function only.
ABSENT: set[str] = set()


def test_what_users_expect() -> None:
    assert [n for n in FUNCTIONS.split() if not hasattr(weft, n)] == []
    assert {n for n in METHODS.split() if not hasattr(weft.Tensor, n)} == ABSENT


def test_import_is_light() -> None:
    """``import weft`` brings neither a compiler nor what only the demo uses."""
    code = (
        "import sys, weft\n"
        "bad = [m for m in ('numba', 'llvmlite', 'rich', 'tqdm', 'scipy', 'torch', 'graphviz') if m in sys.modules]\n"
        "assert not bad, bad\n"
        "assert not hasattr(weft, 'creation'), 'a module of functions is a public name'\n"
        "weft.nn, weft.optim, weft.autograd\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_printing() -> None:
    assert (
        repr(weft.tensor([[1.0, 2.0]], requires_grad=True)) == "tensor([[1., 2.]], dtype=float32, requires_grad=True)"
    )
    assert repr(weft.tensor(3)) == "tensor(3, dtype=int64)"
    assert str(weft.tensor([1.5], dtype=weft.bfloat16)) == "tensor([1.5], dtype=bfloat16)"
    assert repr(weft.zeros(0)) == "tensor([], dtype=float32)"
    assert repr(weft.zeros(2, 0)) == "tensor([], shape=(2, 0), dtype=float32)"
    assert repr(weft.ones(1, requires_grad=True) * 2) == "tensor([2.], dtype=float32, grad_fn=<multiply>)"
    assert f"{weft.tensor(2.5):.2f}" == "2.50"
    assert f"{weft.tensor([1])}" == "tensor([1], dtype=int64)"
    seen = []

    @weft.static
    def f(x: Any) -> Any:
        y = x + 1
        seen.extend([repr(x), repr(y), repr(y[0])])
        return y

    f(weft.zeros(2, 3))
    assert seen[0] == "tensor(<input float32[2, 3]>, static)"
    assert seen[1] == "tensor(<add float32[2, 3]>, static)"
    assert seen[2].endswith("float32[3]>, static)")
    assert "grad_fn=<exp" in repr(weft.ones(1, requires_grad=True).exp())
    with weft.lazy():
        assert repr(weft.ones(2) + 1) == "tensor([2., 2.], dtype=float32)"


def test_values_as_python_has_them() -> None:
    x = weft.tensor([3.7])
    assert (x.item(), int(x), float(x), bool(x)) == (pytest.approx(3.7), 3, pytest.approx(3.7), True)
    assert [10, 20, 30][weft.tensor(1)] == 20
    assert x.tolist() == [pytest.approx(3.7)]
    assert 3 in weft.tensor([1, 2, 3])
    assert 5 not in weft.tensor([1, 2, 3])
    assert [t.item() for t in weft.tensor([1, 2])] == [1, 2]
    assert np.asarray(weft.tensor([1, 2]), dtype=np.float64).dtype == np.float64
    assert np.array(weft.tensor([1, 2])).tolist() == [1, 2]
    assert isinstance(hash(x), int)


def test_copies() -> None:
    import copy
    import pickle

    for dtype in weft.dtypes.ALL:
        x = weft.ones(2, 3, dtype=dtype).T
        if dtype.kind == "f":
            x.requires_grad_()
        for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
            assert (y.dtype, y.shape, y.requires_grad) == (x.dtype, x.shape, x.requires_grad)
            assert (y == x).all()
            assert y._storage_id != x._storage_id
        assert pickle.loads(pickle.dumps(dtype)) is dtype
    y = weft.ones(2, requires_grad=True) * 2
    with pytest.raises(weft.AutogradError, match="leaf"):
        copy.deepcopy(y)
    with pytest.raises(weft.AutogradError, match="leaf"):
        pickle.dumps(y)


def test_detaching() -> None:
    x = weft.ones(2, requires_grad=True)
    y = x * 2
    z = y.detach()
    assert not z.requires_grad
    assert z._storage_id == y._storage_id
    assert y.contiguous() is y
    assert y.cpu() is y
    y.detach_()
    assert (y.requires_grad, y.grad_fn) == (False, None)
    with pytest.raises(weft.AutogradError, match="view"):
        (x * 2)[0].detach_()
    with pytest.raises(weft.AutogradError, match="computed"):
        (x * 2).requires_grad_(False)


def test_grad_modes() -> None:
    x = weft.ones(1, requires_grad=True)

    @weft.no_grad()
    def quiet() -> bool:
        return (x * 1).requires_grad

    @weft.no_grad
    def plain() -> bool:
        with weft.enable_grad():
            return (x * 1).requires_grad

    assert (quiet(), plain(), weft.is_grad_enabled()) == (False, True, True)
    with weft.no_grad():
        assert not weft.is_grad_enabled()
        with weft.set_grad_enabled(True):
            assert weft.is_grad_enabled()
        assert not weft.is_grad_enabled()
    weft.set_grad_enabled(False)
    assert not weft.is_grad_enabled()
    weft.set_grad_enabled(True)
    with pytest.raises(KeyError), weft.no_grad():
        raise KeyError
    assert weft.is_grad_enabled()

    @weft.set_grad_enabled(False)
    def never() -> bool:
        return weft.is_grad_enabled()

    assert weft.is_grad_enabled()
    assert never() is False


def test_retain_grad() -> None:
    x = weft.ones(2, requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [6, 6]
    assert x.grad.tolist() == [18, 18]
