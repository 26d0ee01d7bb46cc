"""The table of public functions, complete: importing this imports every family."""

from weft.ops import (
    attention,
    creation,
    cumulative,
    einsum,
    functions,
    generator,
    inplace,
    joining,
    linalg,
    losses,
    nnfunc,
    norms,
    picking,
    random,
    reduce,
    shape,
)
from weft.ops.frontend import PUBLIC, Public, markdown_table

#: What stands above the table in docs/functions.md.
HEAD = """# Functions

Every public function. A name in the second column means the same; "method" says whether tensors have it as a method too.
``dim``, ``keepdim`` and ``input`` are accepted where the array API says ``axis``, ``keepdims`` and ``x``. `help(weft.sum)`
gives shapes, types, errors and an example. This page is made by `python -m weft.ops.public`.

"""


def page() -> str:
    """The page docs/functions.md."""
    return HEAD + markdown_table()


#: The modules of functions, in the order of the documentation.
FAMILIES = (
    creation,
    functions,
    reduce,
    cumulative,
    norms,
    shape,
    joining,
    picking,
    linalg,
    einsum,
    generator,
    random,
    nnfunc,
    attention,
    losses,
    inplace,
)

if __name__ == "__main__":  # python -m weft.ops.public > docs/functions.md
    print(page(), end="")

__all__ = ["FAMILIES", "PUBLIC", "Public", "markdown_table", "page"]
