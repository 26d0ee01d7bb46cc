"""Handwritten digits, shipped with the package."""

from __future__ import annotations

import gzip
from importlib import resources
from typing import Any

import numpy as np

from weft import _native


def digits() -> tuple[Any, Any]:
    """1,797 handwritten digits: images, float32 (1797, 64), and labels, int64 (1797,).

    An image is 8 by 8 pixels, row by row; a pixel is the number of dark points, 0 to 16, in a block of 4 by 4 of a scanned
    bitmap. Labels are 0 to 9.

    Source: the test set of "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning
    Repository, licensed CC BY 4.0.

    Example:
        >>> import weft
        >>> images, labels = weft.data.digits()
        >>> images.shape, images.max().item(), labels[:4].tolist()
        ((1797, 64), 16.0, [0, 1, 2, 3])
    """
    data = resources.files("weft.examples").joinpath("digits.csv.gz").read_bytes()
    table = np.array([line.split(b",") for line in gzip.decompress(data).split()], dtype=np.uint8)
    images, labels = table[:, :64].astype(np.float32), table[:, 64].astype(np.int64)
    return _native.from_numpy(images), _native.from_numpy(labels)


__all__ = ["digits"]
