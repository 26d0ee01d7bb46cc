"""Data sets: samples by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft import _native
from weft.errors import constructed, kind_of
from weft.ops.frontend import called, sizes_of
from weft.ops.random import randperm


class Dataset:
    """Base of data sets: a subclass defines ``__getitem__(index)``, which gives one sample, and ``__len__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__().")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__().")


@constructed
class TensorDataset(Dataset):
    """Samples that are the rows of tensors: sample ``i`` is the tuple of row ``i`` of each.

    Example:
        >>> import weft
        >>> data = weft.data.TensorDataset(weft.ones((4, 2)), weft.arange(4))
        >>> len(data), data[3][1].item()
        (4, 3)
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset needs at least one tensor.")
        for t in tensors:
            if not isinstance(t, _native.Tensor) or t.ndim == 0:
                raise TypeError("TensorDataset takes tensors with at least one axis.")
        if len({t.shape[0] for t in tensors}) > 1:
            sizes = ", ".join(str(t.shape[0]) for t in tensors)
            raise ValueError(f"TensorDataset needs tensors with equally many rows; these have {sizes}.")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def batch(self, index: Any) -> tuple[Any, ...]:
        """The samples at the positions in an int64 tensor, stacked."""
        return self[index]


@constructed
class Subset(Dataset):
    """The samples of a data set at the given positions."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


@called
def random_split(dataset: Any, lengths: Sequence[int], generator: Any = None) -> list[Any]:
    """Split a data set at random into parts of the given lengths, which add up to its own.

    A `TensorDataset` splits into TensorDatasets, any other data set into `Subset` objects.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(f"random_split takes a data set, not {kind_of(dataset)}.")
    lengths = sizes_of((lengths,))
    if sum(lengths) != len(dataset) or min(lengths, default=0) < 0:
        raise ValueError(
            f"random_split needs lengths that add up to {len(dataset)}; {list(lengths)} add up to {sum(lengths)}."
        )
    order = randperm(len(dataset), generator=generator)
    parts: list[Any] = []
    start = 0
    for n in lengths:
        index = order[start : start + n]
        start += n
        whole = isinstance(dataset, TensorDataset)
        parts.append(TensorDataset(*dataset.batch(index)) if whole else Subset(dataset, index.tolist()))
    return parts


__all__ = ["Dataset", "Subset", "TensorDataset", "random_split"]
