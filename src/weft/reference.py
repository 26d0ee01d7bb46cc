"""The page of all public functions: ``python -m weft.reference > docs/functions.md``."""

from __future__ import annotations

from weft.ops.frontend import Public
from weft.ops.public import PUBLIC

#: What stands above the tables.
HEAD = """# Functions

Every public function. A name in the second column means the same; "method" says whether tensors have it as a method too.
``dim``, ``keepdim`` and ``input`` are accepted where the array API says ``axis``, ``keepdims`` and ``x``. `help(weft.sum)`
gives shapes, types, errors and an example. This page is made by `python -m weft.reference`.

"""


def page() -> str:
    """The page docs/functions.md: a table for each family of functions."""
    families: dict[str, list[Public]] = {}
    for p in PUBLIC.values():
        families.setdefault(p.family, []).append(p)
    lines = []
    for family, functions in families.items():
        lines += [f"## {family.capitalize()}", "", "| function | also | method | |", "|---|---|---|---|"]
        for p in functions:
            also = ", ".join(f"`{n}`" for n in p.also)
            name = f"`weft.{p.name}`" if p.in_package else f"`x.{p.name}`"
            lines.append(f"| {name} | {also} | {'yes' if p.methods else ''} | {p.summary} |")
        lines.append("")
    return HEAD + "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
