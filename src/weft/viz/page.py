"""A self-contained HTML page: no scripts, nothing loaded from elsewhere, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

STYLE = """
:root { --bg: #ffffff; --ink: #1d2430; --soft: #5b6675; --edge: #d9dee5; --panel: #f6f7f9;
  --s0: #b8c4d6; --s1: #e08a2c; --s2: #0f6fc6; --kernel: #0f6fc6; --gemm: #e08a2c; --span: #e9edf2; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171c; --ink: #e4e8ee; --soft: #9aa5b4; --edge: #333b46;
  --panel: #1b1f26; --s0: #5a6577; --s1: #f0a04b; --s2: #5eb1ff; --kernel: #4aa3f5; --gemm: #f0a04b; --span: #2a313b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 32px 24px 80px; }
h1 { font-size: 1.7rem; margin: 0 0 .3em; }
h2 { font-size: 1.2rem; margin: 2.4em 0 .4em; padding-top: .8em; border-top: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 1.4em 0 .3em; }
p { max-width: 72ch; margin: .5em 0; }
.note { color: var(--soft); font-size: .92rem; }
.good { color: #16803c; font-weight: 600; } .bad { color: #c03030; font-weight: 600; }
@media (prefers-color-scheme: dark) { .good { color: #5ccf86; } .bad { color: #ff8080; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8em 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35em .9em .35em 0; text-align: right; border-bottom: 1px solid var(--edge); white-space: nowrap; }
th { white-space: normal; max-width: 8em; color: var(--soft); font-weight: 500; font-size: .9rem; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; }
details { margin: .35em 0; border: 1px solid var(--edge); border-radius: 6px; background: var(--panel); }
summary { cursor: pointer; padding: .45em .8em; }
summary code { font-weight: 600; }
code, pre { font: 13px/1.45 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
pre { margin: 0; padding: .4em .8em .8em; overflow-x: auto; }
svg { max-width: 100%; height: auto; display: block; margin: .6em 0; font-family: inherit; }
svg text { fill: var(--ink); font-size: 13px; }
svg .tick { fill: var(--soft); font-size: 12px; } svg .grid { stroke: var(--edge); stroke-width: 1; }
svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .line { fill: none; stroke-linejoin: round; } svg .s0 { stroke: var(--s0); } svg .s1 { stroke: var(--s1); }
svg .s2 { stroke: var(--s2); } svg .kernel { fill: var(--kernel); } svg .gemm { fill: var(--gemm); }
svg .span { fill: var(--span); }
.graph svg { max-width: none; width: auto; } .graph .node path { stroke: var(--soft); fill: var(--panel); }
.graph .edge path { stroke: var(--soft); fill: none; } .graph .edge polygon { stroke: var(--soft); fill: var(--soft); }
.graph .leaf path { fill: var(--span); } .graph .matmul path { stroke: var(--gemm); stroke-width: 2; }
.graph .reduction path { stroke: var(--kernel); stroke-width: 2; } .graph text { font-size: 11px; }
.graph .result path { stroke-width: 2.5; } .graph .result text { font-weight: 600; }
details details { margin: 0 .8em .8em; }
"""


def page(title: str, body: str) -> str:
    """The whole document."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column holds names, the others numbers."""
    head = "".join(f"<th>{escape(h)}</th>" for h in header)
    lines = ["<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows]
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def fold(summary: str, content: str, is_open: bool = False) -> str:
    """A part that opens when its line is clicked; ``summary`` and ``content`` are HTML."""
    return f"<details{' open' if is_open else ''}><summary>{summary}</summary>{content}</details>"


def code(text: str) -> str:
    """Source text or a listing."""
    return f"<pre>{escape(text)}</pre>"


__all__ = ["code", "fold", "page", "table"]
