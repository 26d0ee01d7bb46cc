"""The table of public functions, complete: importing this imports every family."""

from weft.ops import creation, functions, indexing, inplace, linalg, nnfunc, random, reduce, shape
from weft.ops.frontend import PUBLIC, Public, markdown_table

#: The modules of functions, in the order of the documentation.
FAMILIES = (creation, functions, reduce, shape, indexing, linalg, random, nnfunc, inplace)

__all__ = ["FAMILIES", "PUBLIC", "Public", "markdown_table"]
