"""Timelines: which instruction ran when, on which thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.viz import svg


@dataclass(frozen=True, slots=True)
class Span:
    """One instruction of a program: names, start and end in nanoseconds, and the thread that led it."""

    program: str
    name: str
    start: int
    end: int
    thread: int


@dataclass(frozen=True, slots=True)
class Track:
    """What happened from ``start`` to ``end`` (nanoseconds), under a name."""

    name: str
    spans: Sequence[Span]
    start: int
    end: int

    @property
    def duration(self) -> float:
        """Microseconds from start to end."""
        return (self.end - self.start) / 1e3

    @property
    def busy(self) -> float:
        """Microseconds in which instructions ran, those of all threads added up."""
        return sum(s.end - s.start for s in self.spans) / 1e3


WIDTH, LEFT, RIGHT = 960.0, 76.0, 12.0
ROW, GAP, HEAD, FOOT = 26.0, 14.0, 30.0, 46.0


def timeline(tracks: Sequence[Track]) -> str:
    """Tracks below each other over one time axis, as SVG; pointing at a bar names its program and instruction."""
    longest = max(t.duration for t in tracks) or 1.0

    def px(us: float) -> float:
        return LEFT + us / longest * (WIDTH - LEFT - RIGHT)

    parts = []
    y = HEAD
    for track in tracks:
        lanes: list[float] = []  # end of the last bar of each row
        bars = []
        for s in sorted(track.spans, key=lambda s: s.start):
            a, b = (s.start - track.start) / 1e3, (s.end - track.start) / 1e3
            row = next((k for k, end in enumerate(lanes) if end <= a), len(lanes))
            lanes[row : row + 1] = [b]
            product = s.name.startswith(("gemm", "matmul", "attention"))
            note = svg.element(
                "title", f"{s.program}: {s.name}, {b - a:.1f} µs".replace("&", "&amp;").replace("<", "&lt;")
            )
            width = max(px(b) - px(a), 0.8)
            top = y + row * ROW
            kind = "bar gemm" if product else "bar kernel"
            bars.append(svg.element("rect", note, x=px(a), y=top, width=width, height=ROW - 4, class_=kind))
        height = ROW * max(len(lanes), 1)
        parts.append(
            svg.element("rect", x=px(0), y=y - 3, width=px(track.duration) - px(0), height=height + 2, class_="span")
        )
        parts += bars
        parts.append(svg.text(LEFT - 10, y + 15, track.name, class_="label", text_anchor="end"))
        y += height + GAP
    marks = svg.ticks(0.0, longest, 8)
    for v in marks:
        label = svg.tick_label(v, marks[1] - marks[0] if len(marks) > 1 else 1.0)
        parts.append(svg.element("line", x1=px(v), x2=px(v), y1=HEAD - 6, y2=y, class_="grid"))
        parts.append(svg.text(px(v), y + 16, label, class_="tick", text_anchor="middle"))
    parts.append(
        svg.text(
            (LEFT + WIDTH - RIGHT) / 2, y + 36, "time since the step began, µs", class_="label", text_anchor="middle"
        )
    )
    x = LEFT
    for kind, name in (("kernel", "generated kernel"), ("gemm", "matrix product"), ("span", "Python and dispatch")):
        parts.append(
            svg.element("rect", x=x, y=4, width=14, height=12, class_=kind if kind == "span" else f"bar {kind}")
        )
        parts.append(svg.text(x + 20, 14, name, class_="label"))
        x += 40 + 7.2 * len(name)
    names = ", ".join(t.name for t in tracks)
    return svg.picture(WIDTH, y + FOOT, "".join(parts), f"Timeline of one step: {names}")


__all__ = ["Span", "Track", "timeline"]
