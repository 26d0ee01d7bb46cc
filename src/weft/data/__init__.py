"""Data sets, batches, and the digits that the examples use."""

from weft.data.dataset import Dataset, Subset, TensorDataset, random_split
from weft.data.digits import digits
from weft.data.loader import DataLoader, default_collate

__all__ = ["DataLoader", "Dataset", "Subset", "TensorDataset", "default_collate", "digits", "random_split"]
