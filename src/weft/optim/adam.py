"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft import dtypes
from weft.errors import constructed, describe
from weft.ops.frontend import number as plain_number
from weft.ops.movement import slice_
from weft.ops.registry import OPS
from weft.optim.optimizer import Optimizer, number
from weft.optim.updates import adam_, approach_, approach_square_, descend_
from weft.record.recorder import host_number


@constructed
class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradients and of their squares, as PyTorch's.

    ``betas`` are how much of each mean is kept at a step; both are corrected for having begun at zero. ``weight_decay``
    adds ``weight_decay * p`` to the gradient.

    Each parameter's state is ``exp_avg`` and ``exp_avg_sq``, of its own shape and type, and ``step``, how many
    updates it had (float64).

    Source: D. P. Kingma, J. Ba: Adam: A Method for Stochastic Optimization. ICLR 2015, algorithm 1.

    Example:
        >>> import weft
        >>> p = weft.tensor([1.0], requires_grad=True)
        >>> opt = weft.optim.Adam([p], lr=0.25)
        >>> (p * 3).sum().backward()
        >>> opt.step()
        >>> p.item()
        0.75
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        betas = group["betas"]
        if (
            not isinstance(betas, list | tuple)
            or len(betas) != 2
            or not all(0 <= plain_number(b, "A beta") < 1 for b in betas)
        ):
            raise ValueError(
                f"{type(self).__name__}'s betas must be two numbers from 0 up to 1, not {describe(betas)}."
            )

    def make_state(self, group: dict[str, Any]) -> None:
        # The steps of a group's parameters are one tensor, so that one kernel works out all their corrections.
        params = group["params"]
        steps = self._steps = getattr(self, "_steps", {})
        steps[id(group)] = counts = OPS["full"](0, attrs=((len(params),), dtypes.float64))
        for k, p in enumerate(params):
            self.state[p] = {
                "step": _element(counts, k),
                "exp_avg": OPS["full"](0, attrs=(tuple(p.shape), p.dtype)),
                "exp_avg_sq": OPS["full"](0, attrs=(tuple(p.shape), p.dtype)),
            }

    def update(self, group: dict[str, Any], params: list[Any], grads: list[Any]) -> None:
        steps = self._steps[id(group)]
        if len(params) == len(group["params"]):
            OPS["add_"](steps, 1.0)
        else:
            for p in params:
                OPS["add_"](self.state[p]["step"], 1.0)
        lr, eps = number(group, "lr"), number(group, "eps")
        beta1, beta2 = (host_number(lambda k=k: float(group["betas"][k])) for k in (0, 1))  # type: ignore[misc]
        step_sizes = OPS["divide"](lr, OPS["subtract"](1.0, OPS["power"](beta1, steps)))
        roots = OPS["sqrt"](OPS["subtract"](1.0, OPS["power"](beta2, steps)))
        # Operators, not ops, between numbers: Python's arithmetic and that of recorded numbers are both in float64.
        rest1, rest2 = 1.0 - beta1, 1.0 - beta2
        order = {id(p): k for k, p in enumerate(group["params"])}
        decay = number(group, "weight_decay") if group["weight_decay"] != 0 else None
        for p, g in zip(params, grads, strict=True):
            k, state = order[id(p)], self.state[p]
            if decay is not None:
                g = self.decayed(p, g, decay, lr)
            approach_(state["exp_avg"], g, rest1)
            approach_square_(state["exp_avg_sq"], g, beta2, rest2)
            adam_(p, state["exp_avg"], state["exp_avg_sq"], _element(step_sizes, k), _element(roots, k), eps)

    def decayed(self, p: Any, g: Any, weight_decay: Any, lr: Any) -> Any:
        """Apply weight decay; gives the gradient to go on with."""
        return OPS["add"](g, OPS["multiply"](p, weight_decay))


@constructed
class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves, by ``lr * weight_decay`` of their value, before each step.

    Source: I. Loshchilov, F. Hutter: Decoupled Weight Decay Regularization. ICLR 2019, algorithm 2.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)

    def decayed(self, p: Any, g: Any, weight_decay: Any, lr: Any) -> Any:
        descend_(p, p, lr * weight_decay)
        return g


def _element(t: Any, k: int) -> Any:
    """Element ``k`` of a vector, as a zero-dimensional view."""
    return OPS["reshape"](slice_(t, attrs=((k,), (1,), (1,))), attrs=((),))


__all__ = ["Adam", "AdamW"]
