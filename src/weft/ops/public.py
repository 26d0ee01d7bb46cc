"""The table of public functions, complete: importing this imports every family."""

from weft.ops import (
    creation,
    functions,
    generator,
    inplace,
    joining,
    linalg,
    losses,
    nnfunc,
    picking,
    random,
    reduce,
    shape,
)
from weft.ops.frontend import PUBLIC, Public, markdown_table

#: The modules of functions, in the order of the documentation.
FAMILIES = (creation, functions, reduce, shape, joining, picking, linalg, generator, random, nnfunc, losses, inplace)

__all__ = ["FAMILIES", "PUBLIC", "Public", "markdown_table"]
