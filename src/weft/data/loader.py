"""Batches of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weft import _native
from weft.errors import constructed, describe, kind_of
from weft.ops.creation import arange, tensor
from weft.ops.frontend import called, integer
from weft.ops.joining import stack
from weft.ops.random import randperm


@constructed
class DataLoader:
    """Batches of a data set, in order or shuffled anew each time it is iterated over.

    Shuffling draws from ``generator``, or from Weft's own (`weft.manual_seed`). The last batch is smaller if the batch size
    does not divide the number of samples, unless ``drop_last``. Batches are made by the data set's ``batch(index)``, where
    it has one, from an int64 tensor of positions; else ``collate_fn`` makes one from a list of samples
    (`default_collate`: samples stacked).

    Example:
        >>> import weft
        >>> data = weft.data.TensorDataset(weft.arange(10))
        >>> [len(x) for (x,) in weft.data.DataLoader(data, batch_size=4)]
        [4, 4, 2]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        generator: Any = None,
    ) -> None:
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(f"DataLoader takes a data set, not {kind_of(dataset)}.")
        if integer(batch_size, "batch_size") < 1:
            raise ValueError(f"DataLoader's batch_size must be at least 1, not {batch_size}.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn
        self.generator = generator

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        order = randperm(n, generator=self.generator) if self.shuffle else arange(n)
        whole = self.collate_fn is None and hasattr(self.dataset, "batch")
        positions = None if whole else order.tolist()
        collate = self.collate_fn or default_collate
        for k in range(len(self)):
            part = slice(k * self.batch_size, min((k + 1) * self.batch_size, n))
            if positions is None:
                yield self.dataset.batch(order[part])
            else:
                yield collate([self.dataset[i] for i in positions[part]])


@called
def default_collate(samples: Sequence[Any]) -> Any:
    """One batch from a list of samples: tensors are stacked, numbers become a tensor, tuples and dicts keep their structure."""
    if not isinstance(samples, list | tuple) or not samples:
        raise TypeError(f"default_collate takes a list of at least one sample, not {describe(samples)}.")
    first = samples[0]
    if isinstance(first, _native.Tensor):
        return stack(list(samples))
    if isinstance(first, bool | int | float):
        return tensor(list(samples))
    if isinstance(first, dict):
        return {key: default_collate([s[key] for s in samples]) for key in first}
    if isinstance(first, tuple | list):
        parts = [default_collate(part) for part in zip(*samples, strict=True)]
        return tuple(parts) if isinstance(first, tuple) else parts
    raise TypeError(
        f"Samples of {type(first).__name__} cannot be made into a batch; pass collate_fn, a function of a list of samples."
    )


__all__ = ["DataLoader", "default_collate"]
