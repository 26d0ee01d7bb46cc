"""The functions that generated kernels may call: ``NAMESPACE`` maps a name to a Numba-callable.

Every function is generic over the number types, branch-free except integer ``pow``, and keeps a loop vectorisable
except float64 ``fmod``, ``remainder`` and ``floor_divide``, which need an exact remainder of any magnitude. Errors are at
most 2 ulp, in all but float64 ``logaddexp`` near a result of 0.
"""

from __future__ import annotations

from weft.codegen import basic, convert, erf, explog, hyperbolic, intmath, philox, trig
from weft.codegen.scalar import NAMESPACE

__all__ = ["NAMESPACE", "basic", "convert", "erf", "explog", "hyperbolic", "intmath", "philox", "trig"]
