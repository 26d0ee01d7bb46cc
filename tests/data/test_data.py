"""Data sets, loaders, and the digits."""

from __future__ import annotations

import numpy as np
import pytest

import weft
from weft.data import DataLoader, Dataset, Subset, TensorDataset, default_collate, digits, random_split


def test_digits() -> None:
    images, labels = digits()
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == ((1797, 64), weft.float32, (1797,), weft.int64)
    assert (images.min().item(), images.max().item()) == (0.0, 16.0)
    assert np.bincount(labels.numpy()).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_batches_in_order() -> None:
    data = TensorDataset(weft.arange(10), weft.arange(10) * 10)
    got = [(x.tolist(), y.tolist()) for x, y in DataLoader(data, batch_size=4)]
    assert got == [([0, 1, 2, 3], [0, 10, 20, 30]), ([4, 5, 6, 7], [40, 50, 60, 70]), ([8, 9], [80, 90])]
    assert [len(DataLoader(data, 4)), len(DataLoader(data, 4, drop_last=True))] == [3, 2]
    assert [len(x) for x, _ in DataLoader(data, 4, drop_last=True)] == [4, 4]


def test_shuffling_covers_everything_and_repeats_with_the_seed() -> None:
    loader = DataLoader(TensorDataset(weft.arange(50)), batch_size=7, shuffle=True)

    def epoch() -> list[int]:
        return [i for (x,) in loader for i in x.tolist()]

    weft.manual_seed(5)
    first, second = epoch(), epoch()
    weft.manual_seed(5)
    assert epoch() == first
    assert first != second
    assert sorted(first) == sorted(second) == list(range(50))


class Squares(Dataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"x": weft.tensor([float(index)]), "pair": (index, float(index * index))}


def test_samples_are_collated() -> None:
    batches = list(DataLoader(Squares(), batch_size=3))
    assert batches[0]["x"].tolist() == [[0.0], [1.0], [2.0]]
    assert [t.tolist() for t in batches[1]["pair"]] == [[3, 4], [9.0, 16.0]]
    assert [len(b) for b in DataLoader(Squares(), 2, collate_fn=list)] == [2, 2, 1]
    with pytest.raises(TypeError, match="Samples of str"):
        default_collate(["a"])


def test_splits_are_disjoint_and_complete() -> None:
    data = TensorDataset(weft.arange(10))
    weft.manual_seed(0)
    a, b = random_split(data, [7, 3])
    assert sorted(a.tensors[0].tolist() + b.tensors[0].tolist()) == list(range(10))
    c, d = random_split(Squares(), [4, 1])
    assert isinstance(c, Subset)
    assert sorted([*c.indices, *d.indices]) == list(range(5))
    with pytest.raises(ValueError, match="add up to 10"):
        random_split(data, [7, 4])


@pytest.mark.parametrize("tensors", [(), (weft.ones((2,)), weft.ones((3,))), ("ab",), (weft.tensor(1.0),)])
def test_wrong_tensor_datasets(tensors: tuple[object, ...]) -> None:
    with pytest.raises((TypeError, ValueError), match="TensorDataset"):
        TensorDataset(*tensors)
