"""What processes that `test_processes` starts import."""

from __future__ import annotations


def mean_of_square(n: int) -> float:
    """n squared, the hard way."""
    import weft

    x = weft.full((100_000,), float(n), requires_grad=True)
    (x * x / 2).sum().backward()
    return (x.detach() * x.grad).mean().item()
