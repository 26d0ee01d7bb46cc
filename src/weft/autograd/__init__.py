"""Automatic differentiation: the tape, user-defined functions, and checks against finite differences."""
