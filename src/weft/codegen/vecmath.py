"""The functions that generated kernels may call: ``NAMESPACE`` maps a name to an intrinsic.

Every function is generic over the number types. A loop over any of them vectorises, except integer ``pow``, which has a loop
of its own. None calls a library. Floating-point errors are below 2 units in the last place (of the larger operand for
``logaddexp``, whose result may cancel), for all arguments.
"""

from __future__ import annotations

from weft.codegen import basic, convert, erf, explog, hyperbolic, intmath, philox, remainder, trig
from weft.codegen.scalar import NAMESPACE

__all__ = ["NAMESPACE", "basic", "convert", "erf", "explog", "hyperbolic", "intmath", "philox", "remainder", "trig"]
