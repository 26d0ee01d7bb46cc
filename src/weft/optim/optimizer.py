"""What all optimisers share: groups of parameters with their settings, and the state kept for each parameter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from weft import _native
from weft.errors import WeftError, describe, kind_of
from weft.nn.module import clear_grad
from weft.ops.frontend import number as plain_number
from weft.record.recorder import host_number


class OptimizerStateError(WeftError, ValueError):
    """A state dictionary that does not fit an optimiser."""


class Optimizer:
    """Base of optimisers.

    ``params`` are tensors, or dicts with an entry "params" and settings of their own. ``param_groups`` is the list of
    groups, each a dict of settings; assigning to a number in it (``opt.param_groups[0]["lr"] = 0.1``) takes effect at the
    next step, also of a static function that was traced before. Whether a setting is used at all (zero or not,
    ``nesterov``) is fixed when a static function is traced.

    ``state`` maps each parameter to its tensors. They are made with the optimiser, not during a step, and updated in place.
    A subclass defines ``make_state`` and ``update``.
    """

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[dict[str, Any]] = []
        self.state: dict[Any, dict[str, Any]] = {}
        if isinstance(params, _native.Tensor):
            raise TypeError(f"{type(self).__name__} takes a list of tensors, not a single tensor; write [p].")
        given = listed(params, type(self).__name__)
        if not given:
            raise ValueError(f"{type(self).__name__} was given no parameters.")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def make_state(self, group: dict[str, Any]) -> None:
        """Make the state of a new group's parameters. To be written by the subclass."""

    def update(self, group: dict[str, Any], params: list[Any], grads: list[Any]) -> None:
        """Update the parameters of a group that have gradients. To be written by the subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define update().")

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Add parameters with settings of their own, such as those of layers that are trained later."""
        if not isinstance(group, dict) or "params" not in group:
            raise TypeError(f"A group of {type(self).__name__}'s parameters is a dict with an entry 'params'.")
        params = group["params"]
        params = [params] if isinstance(params, _native.Tensor) else listed(params, type(self).__name__)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, _native.Tensor):
                raise TypeError(f"{type(self).__name__} optimises tensors, not {kind_of(p)}.")
            if not p.is_leaf:
                raise ValueError(
                    f"{type(self).__name__} optimises leaf tensors; this one of shape {list(p.shape)} was computed."
                )
            if id(p) in known:
                raise ValueError(f"A parameter of shape {list(p.shape)} was given to {type(self).__name__} twice.")
            known.add(id(p))
        unknown = [name for name in group if name != "params" and name not in self.defaults]
        if unknown:
            raise TypeError(f"{type(self).__name__} has no setting {unknown[0]!r}; it has {', '.join(self.defaults)}.")
        made = {**self.defaults, **group, "params": params}
        self.check(made)
        self.param_groups.append(made)
        self.make_state(made)

    def check(self, group: dict[str, Any]) -> None:
        """Raise ``ValueError`` for settings that make no sense."""
        for name in ("lr", "momentum", "weight_decay", "eps"):
            if name in group and not plain_number(group[name], f"{type(self).__name__}'s {name}") >= 0:
                raise ValueError(f"{type(self).__name__}'s {name} must be at least 0, not {group[name]!r}.")

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient. A ``closure`` that computes the loss is called first; gives the loss."""
        loss = None
        if closure is not None:
            if not callable(closure):
                raise TypeError(f"step takes a function that computes the loss, not {kind_of(closure)}.")
            with _native.GradScope(True):
                loss = closure()
        with _native.GradScope(False):
            for group in self.param_groups:
                params, grads = [], []
                for p in group["params"]:
                    g = p.grad
                    if g is not None:
                        params.append(p)
                        grads.append(g)
                if params:
                    self.update(group, params, grads)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                clear_grad(p, set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The state and the settings, with parameters as numbers in the order of the groups. Tensors share memory."""
        numbers: dict[int, int] = {}
        for group in self.param_groups:
            for p in group["params"]:
                numbers[id(p)] = len(numbers)
        groups = [{**g, "params": [numbers[id(p)] for p in g["params"]]} for g in self.param_groups]
        state = {numbers[id(p)]: {k: v.detach() for k, v in s.items()} for p, s in self.state.items()}
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over settings, and copy the state's values into this optimiser's own tensors.

        Raises `OptimizerStateError` where groups, parameters or shapes differ, and then changes nothing.
        """
        if not isinstance(state_dict, dict) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(f"load_state_dict takes what state_dict() gave, not {describe(state_dict)}.")
        groups = state_dict["param_groups"]
        sizes, own_sizes = [len(g["params"]) for g in groups], [len(g["params"]) for g in self.param_groups]
        if sizes != own_sizes:
            raise OptimizerStateError(
                f"The state is of groups of {sizes} parameters, but this {type(self).__name__} has groups of {own_sizes}."
            )
        copies = []
        for group, own in zip(groups, self.param_groups, strict=True):
            for number, p in zip(group["params"], own["params"], strict=True):
                for name, t in self.state.get(p, {}).items():
                    value = state_dict["state"].get(number, {}).get(name)
                    if value is None or tuple(value.shape) != tuple(t.shape):
                        found = "is missing" if value is None else f"has shape {list(value.shape)}, not {list(t.shape)}"
                        raise OptimizerStateError(f"The state's {name} of parameter {number} {found}.")
                    copies.append((t, value))
        for group, own in zip(groups, self.param_groups, strict=True):
            own.update({name: value for name, value in group.items() if name != "params"})
        with _native.GradScope(False):
            for t, value in copies:
                t.copy_(value)

    def __repr__(self) -> str:
        lines = []
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def listed(params: Any, name: str) -> list[Any]:
    """Parameters, or groups of them, as a list."""
    try:
        return list(params)
    except TypeError:
        raise TypeError(f"{name} takes a list of tensors, or of groups of them, not {kind_of(params)}.") from None


def number(group: dict[str, Any], name: str) -> Any:
    """A setting of a group as an operand: a float, or, in a static function, what stands for it at each replay."""
    return host_number(lambda: float(group[name]))


__all__ = ["Optimizer", "OptimizerStateError", "number"]
