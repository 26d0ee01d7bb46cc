"""A table of bounded size for what is made once and found often: programs by their graphs, plans by their layouts.

Such tables are found by sizes and layouts, of which a process that runs for long may see ever new ones.
"""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A dictionary that keeps at least the ``most`` entries used last, and at most twice as many.

    There are two generations. Whatever is used is in the younger one or moves there; when that is full it becomes the older
    one, and what the older one still held is forgotten. A look-up of what is used often is one look-up of a dictionary,
    where keeping an order would cost as much again.

    Example:
        >>> table = Recent(2)
        >>> for k in range(5):
        ...     table[k] = str(k)
        ...     _ = table.get(0)
        >>> table.get(0), table.get(1), len(table)
        ('0', None, 3)
    """

    __slots__ = ("_most", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """The entry of a key, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self[key] = found
        return found

    def __setitem__(self, key: K, value: V) -> None:
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def values(self) -> list[V]:
        """All entries, the younger generation last."""
        return [*self._old.values(), *self._young.values()]


__all__ = ["Recent"]
