"""Line charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weft.viz import svg


@dataclass(frozen=True, slots=True)
class Line:
    """One curve. The first is drawn wide and every other one dashed, so that three curves that coincide are all seen."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


WIDTH, HEIGHT = 960.0, 340.0
LEFT, RIGHT, TOP, BOTTOM = 62.0, 16.0, 34.0, 46.0


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, *, log_y: bool = False) -> str:
    """A chart of curves with labelled axes and a legend, as SVG. ``log_y`` for a logarithmic scale (values above 0)."""
    value = math.log10 if log_y else float
    xs = [v for line in lines for v in line.x]
    ys = [value(v) for line in lines for v in line.y]
    x0, x1 = min(0.0, *xs), max(xs)
    y0, y1 = min(ys), max(ys)
    y0 = math.floor(y0) if log_y else min(0.0, y0)
    y1 = y1 + (0.04 * (y1 - y0) or 1.0)

    def px(v: float) -> float:
        return LEFT + (v - x0) / ((x1 - x0) or 1.0) * (WIDTH - LEFT - RIGHT)

    def py(v: float) -> float:
        return HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    parts = []
    marks = [float(k) for k in range(math.ceil(y0), math.floor(y1) + 1)] if log_y else svg.ticks(y0, y1, 5)
    for v in marks:
        label = f"{10**v:g}" if log_y else svg.tick_label(v, marks[1] - marks[0] if len(marks) > 1 else 1.0)
        parts.append(svg.element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=py(v), y2=py(v), class_="grid"))
        parts.append(svg.text(LEFT - 8, py(v) + 4, label, class_="tick", text_anchor="end"))
    across = svg.ticks(x0, x1, 8)
    for v in across:
        label = svg.tick_label(v, across[1] - across[0] if len(across) > 1 else 1.0)
        parts.append(svg.element("line", x1=px(v), x2=px(v), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, class_="axis"))
        parts.append(svg.text(px(v), HEIGHT - BOTTOM + 18, label, class_="tick", text_anchor="middle"))
    floor = HEIGHT - BOTTOM
    parts.append(svg.element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"))
    parts.append(svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, class_="label", text_anchor="middle"))
    turn = f"rotate(-90 14 {(TOP + floor) / 2:g})"
    parts.append(svg.text(14, (TOP + floor) / 2, y_label, class_="label", text_anchor="middle", transform=turn))
    legend = LEFT
    for k, line in enumerate(lines):
        look: dict[str, Any] = {"class_": f"line s{k}", "stroke_width": 6.5 if k == 0 and len(lines) > 1 else 2.4}
        if k % 2 == 0 and k > 0:
            look["stroke_dasharray"] = "7 7"
        points = " ".join(f"{px(a):.1f},{py(value(b)):.1f}" for a, b in zip(line.x, line.y, strict=True))
        parts.append(svg.element("polyline", points=points, **look))
        parts.append(svg.element("line", x1=legend, x2=legend + 22, y1=14, y2=14, **look))
        parts.append(svg.text(legend + 28, 18, line.name, class_="label"))
        legend += 52 + 7.2 * len(line.name)
    names = ", ".join(line.name for line in lines)
    return svg.picture(WIDTH, HEIGHT, "".join(parts), f"{y_label} over {x_label}: {names}")


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """The running mean of the last ``window`` values."""
    out: list[float] = []
    total = 0.0
    for k, v in enumerate(values):
        total += v - (values[k - window] if k >= window else 0.0)
        out.append(total / min(k + 1, window))
    return out


__all__ = ["Line", "line_chart", "smoothed"]
