"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft import _native
from weft.errors import constructed
from weft.ops.registry import OPS
from weft.optim.optimizer import Optimizer, number
from weft.optim.updates import decay_add_, descend_
from weft.record.recorder import host_number


@constructed
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum where asked for, as PyTorch's.

    With weight decay the gradient is ``g + weight_decay * p``. With momentum a buffer (zeros at first) follows
    ``buffer * momentum + (1 - dampening) * g`` (the first time ``g``, undampened) and takes the gradient's place, or with
    ``nesterov`` ``g + momentum * buffer`` does. The parameter then goes ``lr`` times that way downhill.

    Source: I. Sutskever, J. Martens, G. Dahl, G. Hinton: On the importance of initialization and momentum in deep
    learning. ICML 2013.

    Example:
        >>> import weft
        >>> p = weft.tensor([1.0], requires_grad=True)
        >>> opt = weft.optim.SGD([p], lr=0.5)
        >>> (p * 3).sum().backward()
        >>> opt.step()
        >>> p.item()
        -0.5
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        super().__init__(params, defaults)

    def check(self, group: dict[str, Any]) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ValueError("SGD with nesterov needs momentum, and no dampening.")

    def make_state(self, group: dict[str, Any]) -> None:
        if group["momentum"] == 0:
            return
        for p in group["params"]:
            self.state[p] = {"momentum_buffer": _zeros_like(p)}
            if group["dampening"] != 0:
                # 0 before the first step, which takes the gradient whole, then 1
                self.state[p]["dampened"] = OPS["full"](0, attrs=((), p.dtype))

    def update(self, group: dict[str, Any], params: list[Any], grads: list[Any]) -> None:
        lr = number(group, "lr")
        momentum = number(group, "momentum") if group["momentum"] != 0 else None
        weight_decay = number(group, "weight_decay") if group["weight_decay"] != 0 else None
        for p, g in zip(params, grads, strict=True):
            if weight_decay is not None:
                g = OPS["add"](g, OPS["multiply"](p, weight_decay))
            if momentum is not None:
                if p not in self.state:
                    raise ValueError(
                        "SGD has no buffers, for its momentum was 0 when it was made; make a new one to use momentum."
                    )
                state = self.state[p]
                buffer, new = state["momentum_buffer"], g
                if "dampened" in state:
                    dampening = OPS["multiply"](state["dampened"], host_number(lambda: float(group["dampening"])))
                    new = OPS["multiply"](g, OPS["subtract"](1.0, dampening))
                    OPS["fill_"](state["dampened"], 1.0)
                decay_add_(buffer, new, momentum)
                g = OPS["add"](g, OPS["multiply"](buffer, momentum)) if group["nesterov"] else buffer
            descend_(p, g, lr)


def _zeros_like(p: Any) -> _native.Tensor:
    return OPS["full"](0, attrs=(tuple(p.shape), p.dtype))


__all__ = ["SGD"]
