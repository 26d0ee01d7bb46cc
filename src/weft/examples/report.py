"""The demonstration's report: one HTML page with everything in it."""

from __future__ import annotations

import itertools
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from weft.examples import digits
from weft.ir.printer import text
from weft.viz.chart import Line, line_chart, smoothed
from weft.viz.graph import drawn, graph_dot, graphviz_missing, schedule_dot
from weft.viz.page import code, fold, page, table
from weft.viz.timeline import timeline

if TYPE_CHECKING:
    from weft.examples.demo import Measured
    from weft.modes.explain import Explanation


def write(path: Path, found: list[Measured]) -> None:
    """Write the report of what was measured."""
    path.write_text(page("Weft: one program, three modes", "\n".join(_parts(found))), encoding="utf-8")


def _parts(found: list[Measured]) -> list[str]:
    from weft.cli import information
    from weft.examples.demo import NOTE, rows, same_bits, verdict

    static = next(m for m in found if m.mode == "static")
    eager = next(m for m in found if m.mode == "eager")
    assert eager.track is not None
    assert static.track is not None
    train_part, _ = digits.split()
    images, labels = next(digits.batches(train_part, 1))
    static.training.model.train()
    explained = static.training.train_step.explain(images, labels)
    header, *body = rows(found)
    window = len(eager.losses) // 60 + 1
    numbers = [float(k + 1) for k in range(len(eager.losses))]
    by_step = [Line(m.mode, numbers, smoothed(m.losses, window)) for m in found]
    by_time = [
        Line(m.mode, list(itertools.accumulate([0.0, *(t if t == t else m.step for t in m.times[1:])])), line.y)
        for m, line in zip(found, by_step, strict=True)
    ]
    mean = f" Curves are means of the last {window} steps." if window > 1 else ""
    return [
        "<h1>Weft: one program, three modes</h1>",
        "<p>A classifier of handwritten digits (64-128-64-10, ReLU, dropout, cross-entropy, SGD with momentum), trained "
        "eagerly, lazily and as a static function from the same seed.</p>",
        f'<p class="{"good" if same_bits(found) else "bad"}">{escape(verdict(found))}</p>',
        table(header, body),
        f'<p class="note">Time per step is the median, reading the loss included. {escape(NOTE)}</p>',
        "<h2>Loss</h2>",
        f"<p>Over steps the three curves are one: they are drawn wide, narrow and dashed so that all are seen.{mean}</p>",
        line_chart(by_step, "training step", "cross-entropy loss", log_y=True),
        "<p>Over time they are not. The first step, in which there may be something to compile, is left out.</p>",
        line_chart(by_time, "seconds spent in training steps after the first", "cross-entropy loss", log_y=True),
        "<h2>One step on the time axis</h2>",
        f"<p>Eager: {eager.launches} launches in {eager.track.duration:,.0f} µs, of which instructions ran for "
        f"{eager.track.busy:,.0f} µs. Static: {static.launches} launches in {static.track.duration:,.0f} µs, "
        f"{static.track.busy:,.0f} µs of it in instructions. (The fastest of several "
        "steps, with the profiler on.) Point at a bar for its name.</p>",
        f'<div class="scroll">{timeline([eager.track, static.track])}</div>',
        "<h2>The static step's graph</h2>",
        *_graphs(explained),
        table(
            ("pass", "nodes after", "time"),
            [(name, str(n) if n >= 0 else "", f"{ms:.2f} ms") for name, n, ms in explained.passes],
        ),
        "<h2>Kernels</h2>",
        f"<p>The generated source of the {len(explained.kernels)} kernels of the static step.</p>",
        *[fold(f"<code>{escape(k.name)}</code>", code(k.source)) for k in explained.kernels],
        "<h2>Where this ran</h2>",
        table(("", ""), information()),
        '<p class="note">Data: the test set of "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI '
        "Machine Learning Repository, CC BY 4.0.</p>",
    ]


def _graphs(explained: Explanation) -> list[str]:
    """The step as recorded, after the passes, and as scheduled: drawn where Graphviz is there, and listed."""
    missing = graphviz_missing()
    if missing is None:
        how = (
            "Filled boxes are inputs, blue ones reduce, orange ones are matrix products; what leaves the step is bold."
        )
    else:
        how = f"These are listings, because {escape(missing)}."
    before, after, schedule = explained.graph, explained.optimised, explained.executable.schedule
    launches = f"As scheduled: {explained.launches} launches"
    return [
        f"<p>{how}</p>",
        _graph(f"As recorded: {len(before.nodes)} nodes", graph_dot(before), text(before)),
        _graph(f"After the passes over the graph: {len(after.nodes)} nodes", graph_dot(after), text(after)),
        _graph(launches, schedule_dot(schedule), str(schedule), is_open=True),
    ]


def _graph(title: str, source: str, listing: str, is_open: bool = False) -> str:
    picture = drawn(source)
    if picture is None:
        return fold(title, code(listing), is_open)
    return fold(title, f'<div class="scroll graph">{picture}</div>{fold("as a listing", code(listing))}', is_open)


__all__ = ["write"]
