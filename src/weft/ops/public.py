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
from weft.ops.frontend import PUBLIC, Public

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

__all__ = ["FAMILIES", "PUBLIC", "Public"]
