"""Linear algebra, under the names of the array API's and PyTorch's ``linalg``; the functions are those of `weft` itself."""

from __future__ import annotations

from typing import Any

from weft.ops.frontend import called, tensor_of
from weft.ops.linalg import diagonal, inner, kron, matmul, multi_dot, outer, tensordot, trace, vdot, vecdot
from weft.ops.norms import linalg_norm as norm
from weft.ops.norms import matrix_norm
from weft.ops.norms import norm as vector_norm


@called
def matrix_transpose(x: Any, /) -> Any:
    """The last two axes exchanged: a view, ``x.mT``.

    Example:
        >>> weft.linalg.matrix_transpose(weft.zeros(2, 3, 4)).shape
        (2, 4, 3)
    """
    return tensor_of(x).mT


__all__ = [
    "diagonal",
    "inner",
    "kron",
    "matmul",
    "matrix_norm",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "tensordot",
    "trace",
    "vdot",
    "vecdot",
    "vector_norm",
]
