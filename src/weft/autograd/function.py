"""User-defined operations: a forward and a backward written in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft import _native
from weft.autograd import rules
from weft.autograd.node import PyNode, kind_of
from weft.errors import AutogradError

if TYPE_CHECKING:
    from weft import Tensor


class FunctionContext(PyNode):
    """What ``forward`` leaves for ``backward``. Attributes of any name may be set on it."""

    def __init__(self, function: type[Function], inputs: tuple[Any, ...], edges: tuple[Any, ...]) -> None:
        super().__init__(function.__name__, edges)
        self.function = function
        self.needs_input_grad = tuple(e is not None for e in edges)
        self._shapes = [kind_of(t) for t in inputs]
        self._saved: tuple[Any, ...] = ()
        self._saved_versions: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (or None) for ``backward``, which finds them in ``saved_tensors``."""
        for t in tensors:
            if t is not None and not isinstance(t, _native.Tensor):
                raise TypeError(
                    f"save_for_backward keeps tensors, not {type(t).__name__}; set other values as attributes of ctx."
                )
        self._saved = tensors
        self._saved_versions = tuple(None if t is None else t._version for t in tensors)

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that ``forward`` saved. Raises `AutogradError` once they were freed."""
        if self.released:
            raise AutogradError(
                f"The tensors saved by {self.op.name} were freed by an earlier backward; pass retain_graph=True to it."
            )
        return self._saved

    def modified(self) -> Any:
        for t, version in zip(self._saved, self._saved_versions, strict=True):
            if isinstance(t, _native.Tensor) and t._version != version:
                return t, version
        return None

    def release(self) -> None:
        self._saved = self._saved_versions = ()
        super().release()

    def apply(self, gouts: list[Any], create_graph: bool) -> list[Any]:
        """Run the user's ``backward`` and check what it gives."""
        filled = [rules.zeros(m) if g is None else g for g, m in zip(gouts, self.output_metas, strict=True)]
        made = self.function.backward(self, *filled)
        grads = made if isinstance(made, tuple) else (made,)
        if len(grads) != len(self._shapes):
            raise AutogradError(
                f"{self.op.name}.backward gave {len(grads)} gradients for {len(self._shapes)} inputs of forward; give one for "
                "each, None for those that need none."
            )
        result: list[Any] = []
        for k, (g, meta, edge) in enumerate(zip(grads, self._shapes, self.edges, strict=True)):
            if g is None or edge is None:
                result.append(None)
                continue
            assert meta is not None
            if not isinstance(g, _native.Tensor) or tuple(g.shape) != meta[0]:
                given = f"shape {list(g.shape)}" if isinstance(g, _native.Tensor) else type(g).__name__
                raise AutogradError(
                    f"{self.op.name}.backward gave {given} as the gradient of input {k}, which has shape {list(meta[0])}."
                )
            result.append(rules.fit(g, rules.Absent(*meta)))
        return result


class Function:
    """Base of user-defined differentiable operations. Subclass it, with static ``forward`` and ``backward``; call ``apply``.

    ``forward(ctx, *inputs)`` computes with any tensor operations and gives a tensor or a tuple of tensors;
    ``backward(ctx, *gradients)`` gives one gradient (or None) for each input. ``backward`` runs tensor operations too, so it
    can be differentiated again with ``create_graph=True``.

    Example:
        >>> import weft
        >>> class Cube(weft.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x * x * x
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         (x,) = ctx.saved_tensors
        ...         return g * 3 * x * x
        >>> x = weft.tensor(2.0, requires_grad=True)
        >>> Cube.apply(x).backward()
        >>> x.grad.item()
        12.0
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Any:
        """Compute the outputs. To be written by the subclass."""
        raise NotImplementedError("A subclass of weft.autograd.Function must define forward(ctx, ...).")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Compute the gradients of the inputs. To be written by the subclass."""
        raise NotImplementedError(
            "A subclass of weft.autograd.Function must define backward(ctx, ...) to be differentiated."
        )

    @classmethod
    def apply(cls, *inputs: Any) -> Any:
        """Run ``forward`` and put it on the tape as one entry."""
        enabled = _native.grad_enabled()
        edges = tuple(rules.edge_of(t) if enabled and isinstance(t, _native.Tensor) else None for t in inputs)
        ctx = FunctionContext(cls, inputs, edges)
        with _native.GradScope(False):
            made = cls.forward(ctx, *inputs)
        outs = made if isinstance(made, tuple) else (made,)
        for o in outs:
            if not isinstance(o, _native.Tensor):
                raise TypeError(f"{cls.__name__}.forward must give tensors, not {type(o).__name__}.")
        if not any(e is not None for e in edges):
            return made
        outs = tuple(_own(o, inputs) for o in outs)
        # An output that was saved is kept without its place on the tape, or the entry would keep itself alive.
        ctx._saved = tuple(_detached(t, made, outs) for t in ctx._saved)
        ctx.set_outputs(outs)
        return outs if isinstance(made, tuple) else outs[0]


def _alias(t: Tensor) -> Tensor:
    alias = _native.strided(t, tuple(t.shape), tuple(t.strides), 0)
    alias.symbol = t.symbol
    return alias


def _own(out: Tensor, inputs: tuple[Any, ...]) -> Tensor:
    """An output as a tensor object of its own: forward may hand an input back, of which it is a view then."""
    if not any(out is t for t in inputs):
        return out
    alias = _alias(out)
    alias.base = out.base if out.base is not None else out
    return alias


def _detached(t: Any, made: Any, outs: tuple[Any, ...]) -> Any:
    return _alias(t) if t is not None and any(t is o for o in outs) else t
