"""Charts, timelines and graphs are well-formed pictures of what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

import weft
from weft.viz import graph, page, svg
from weft.viz.chart import Line, line_chart, smoothed
from weft.viz.timeline import Span, Track, timeline


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0, 0.7, 7, [0.1 * k for k in range(8)]),
        (3, 3, 5, [3]),
        (-1, 1, 4, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, expected: list[float]) -> None:
    assert svg.ticks(low, high, count) == pytest.approx(expected)


def test_chart() -> None:
    picture = line_chart(
        [Line("a < b", [0, 1, 2], [1.0, 0.1, 0.01]), Line("c", [0, 1], [1.0, 0.5])], "x", "y", log_y=True
    )
    root = ElementTree.fromstring(picture)
    shapes = [e for e in root if e.tag.endswith("polyline")]
    assert [len(s.attrib["points"].split()) for s in shapes] == [3, 2]
    texts = [e.text for e in root if e.tag.endswith("text")]
    assert {"a < b", "c", "x", "y", "0.01", "0.1", "1"} <= set(texts)


def test_smoothing_is_a_running_mean() -> None:
    assert smoothed([1.0, 3.0, 5.0, 7.0], 2) == [1.0, 2.0, 4.0, 6.0]
    assert smoothed([1.0, 3.0], 5) == [1.0, 2.0]


def test_timeline() -> None:
    spans = [Span("f", "map_add", 1000, 3000, 1), Span("f", "gemm", 3000, 8000, 1), Span("g", "map_mul", 2000, 4000, 2)]
    track = Track("eager", spans, 0, 10_000)
    assert (track.duration, track.busy) == (10.0, 9.0)
    root = ElementTree.fromstring(timeline([track]))
    bars = [e for e in root if e.attrib.get("class", "").startswith("bar") and len(e)]
    assert [b[0].text for b in bars] == ["f: map_add, 2.0 µs", "g: map_mul, 2.0 µs", "f: gemm, 5.0 µs"]
    assert bars[0].attrib["y"] != bars[1].attrib["y"]  # they overlap in time


def test_page_escapes_what_it_shows() -> None:
    made = page.page("a & b", page.table(("<x>",), [("1 < 2",)]) + page.code("if a < b: pass"))
    assert "&lt;x&gt;" in made
    assert "1 &lt; 2" in made
    assert "<title>a &amp; b</title>" in made


def test_graphs_in_graphviz_language() -> None:
    @weft.static
    def f(x: weft.Tensor) -> weft.Tensor:
        return ((x @ x) * 2).sum()

    explained = f.explain(weft.ones((3, 3)))
    recorded = graph.graph_dot(explained.graph)
    assert 'label="matmul\\nfloat32[3, 3]", class="matmul"' in recorded
    assert "multiply" in recorded
    assert 'class="reduction' in recorded
    assert "output 0" in recorded
    scheduled = graph.schedule_dot(explained.executable.schedule)
    assert scheduled.count("class=") == explained.launches + 1  # the input
    assert 'label="input 0\\nfloat32[3, 3]", class="leaf"' in scheduled
    assert "matrix product, 3×3×3" in scheduled
    if graph.graphviz_missing() is None:
        ElementTree.fromstring(graph.drawn(scheduled))


def test_attention_in_graphviz_language() -> None:
    f = weft.static(lambda x: weft.scaled_dot_product_attention(x, x, x).exp())
    explained = f.explain(weft.ones((3, 4)))
    assert 'label="attention\\nfloat32[3, 4]", class="matmul"' in graph.graph_dot(explained.graph)
    scheduled = graph.schedule_dot(explained.executable.schedule)
    assert 'label="0  attention, 3×3×4×4' in scheduled
    assert scheduled.count(" -> r0") == 1, "one arrow for three operands"
    assert "r0 -> r1" in scheduled
