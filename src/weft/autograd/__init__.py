"""Automatic differentiation: the tape, user-defined functions, and checks against finite differences."""

from weft.autograd.engine import backward, grad
from weft.autograd.function import Function
from weft.autograd.gradcheck import gradcheck, gradgradcheck

__all__ = ["Function", "backward", "grad", "gradcheck", "gradgradcheck"]
