"""What a static function tells about itself, and the counters."""

from __future__ import annotations

import weft


def test_explanation_tells_signatures_graphs_passes_and_kernels() -> None:
    @weft.static
    def f(x: weft.Tensor, scale: float) -> weft.Tensor:
        return weft.softmax(x * scale, 1)

    f(weft.ones((2, 3)), 2.0)
    f(weft.ones((2, 3)), 3.0)
    explained = f.explain(weft.ones((5, 3)), 2.0)
    assert [s[0] for s in explained.signatures] == ["float32[2, 3], float", "float32[5, 3], float"]
    assert [s[1].split(" from")[0] for s in explained.signatures] == ["first call", "signature changed"]
    assert explained.signatures[0][2][0] == __file__
    assert explained.launches == len(explained.kernels) == 1
    assert len(explained.optimised.nodes) <= len(explained.graph.nodes)
    text = str(explained)
    assert "static test_explanation_tells_signatures_graphs_passes_and_kernels.<locals>.f" in text
    for part in ("Signatures (2", "Graph as recorded", "Graph after optimisation", "Passes", "Program", "Kernels (1"):
        assert part in text
    assert explained.kernels[0].source in text.replace("\n  ", "\n")
    assert "<script" not in explained._repr_html_()
    assert "1 launches, 1 kernels" in repr(explained)


def test_explaining_runs_nothing() -> None:
    total = weft.zeros((1,))

    @weft.static
    def f() -> None:
        total.add_(1)

    f.explain()
    assert total.item() == 0
    f()
    assert total.item() == 1


def test_counters() -> None:
    @weft.static
    def f(x: weft.Tensor) -> weft.Tensor:
        return (x @ x).exp()

    x = weft.ones((4, 4))
    f(x)
    before = weft.stats()
    f(x)
    f(x)
    made = weft.stats() - before
    assert dict(made) == {
        "traces": 0,
        "programs": 0,
        "kernels_compiled": 0,
        "kernels_loaded": 0,
        "kernel_launches": 0,  # exp runs with the product
        "gemm_launches": 2,
        "gemms_skipping_zeros": 0,
        "gemms_by_matrix_unit": 0,
    }
    assert made.kernel_launches == made["kernel_launches"] == 0
    f(weft.ones((5, 5)))
    assert (weft.stats() - before).traces == 1
    weft.stats().reset()
    assert set(weft.stats().values()) == {0}
    assert "traces=0" in repr(weft.stats())
