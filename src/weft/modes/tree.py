"""Nested tuples, lists and dicts as a flat list of values and a hashable structure."""

from __future__ import annotations

from typing import Any

from weft import _native

#: The containers again, given their structure, with these values inside.
unflatten = _native.unflatten

#: The structure of a value that is not a container.
LEAF = None
_CONTAINERS = (tuple, list, dict)


def flatten(value: Any) -> tuple[list[Any], Any]:
    """The values inside nested containers, left to right, and the containers' structure."""
    values: list[Any] = []
    return values, _flatten(value, values)


def _flatten(value: Any, values: list[Any]) -> Any:
    kind = type(value)
    if kind is tuple or kind is list:
        return kind, tuple(_flatten(v, values) for v in value)
    if kind is dict:
        return dict, tuple((k, _flatten(v, values)) for k, v in value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a named tuple
        return kind, tuple(_flatten(v, values) for v in value)
    values.append(value)
    return LEAF


_FLAT: dict[int, Any] = {}


def flatten_positional(args: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """`flatten` of a call without keyword arguments; quick where no argument is a container."""
    for a in args:
        if isinstance(a, _CONTAINERS):
            return flatten((args, {}))
    structure = _FLAT.get(len(args))
    if structure is None:
        structure = _FLAT[len(args)] = flatten((args, {}))[1]
    return list(args), structure


def call_arguments(structure: Any, values: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and keyword arguments of a call that `flatten` took apart."""
    args, kwargs = unflatten(structure, values)
    return args, kwargs
