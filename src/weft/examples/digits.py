"""Handwritten digits: one classifier, trained eagerly, lazily, or as a static function. The bits are the same.

Run it with ``python -m weft.examples.digits --mode static``.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import weft
from weft import nn
from weft.data import DataLoader, TensorDataset, digits, random_split

MODES = ("eager", "lazy", "static")
SEED = 0
BATCH = 64
TEST_SAMPLES = 360

#: One training step: images and labels to the loss, a Python number.
Step = Callable[[Any, Any], float]


def split() -> tuple[TensorDataset, TensorDataset]:
    """1,437 samples to train on and 360 to test with: pixels from 0 to 1, labels. Always the same ones."""
    images, labels = digits()
    whole = TensorDataset(images / 16, labels)
    generator = weft.Generator().manual_seed(SEED)
    train_part, test_part = random_split(whole, [len(whole) - TEST_SAMPLES, TEST_SAMPLES], generator)
    return train_part, test_part


def in_mode(mode: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, to be run in one of the three modes."""
    if mode == "static":
        return weft.static(function)
    if mode == "eager":
        return function

    def lazily(*args: Any) -> Any:
        with weft.lazy():
            return function(*args)

    return lazily


@dataclass(slots=True)
class Training:
    """A model with its optimiser, and the functions that train and use it in one mode."""

    model: nn.Module
    optimizer: weft.optim.Optimizer
    train_step: Callable[..., Any]  # (images, labels) to the loss
    predict: Callable[..., Any]  # images to labels


def prepare(mode: str) -> Training:
    """A new model, the same each time."""
    weft.manual_seed(SEED)
    model = nn.Sequential(
        OrderedDict(
            hidden1=nn.Linear(64, 128),
            relu1=nn.ReLU(),
            dropout=nn.Dropout(0.2),
            hidden2=nn.Linear(128, 64),
            relu2=nn.ReLU(),
            scores=nn.Linear(64, 10),
        )
    )
    optimizer = weft.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    loss_function = nn.CrossEntropyLoss()

    def train_step(images: Any, labels: Any) -> Any:
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    def predict(images: Any) -> Any:
        with weft.no_grad():
            return model(images).argmax(axis=1)

    return Training(model, optimizer, in_mode(mode, train_step), in_mode(mode, predict))


def batches(data: TensorDataset, epochs: int) -> Iterator[tuple[Any, Any]]:
    """Batches of ``epochs`` passes over the data, shuffled each time."""
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
    for _ in range(epochs):
        yield from loader


def train(mode: str, epochs: int, around: Callable[[Step], Step] = lambda step: step) -> tuple[Training, float]:
    """Train a new model; gives it and the share of test samples that it gets right.

    ``around`` may wrap the training step, to measure or watch it.
    """
    train_part, test_part = split()
    training = prepare(mode)
    step = around(lambda images, labels: training.train_step(images, labels).item())
    for images, labels in batches(train_part, epochs):
        step(images, labels)
    training.model.eval()
    images, labels = test_part.tensors
    right = training.predict(images) == labels
    return training, right.to(weft.float64).mean().item()


def main() -> None:
    """Train in the mode given on the command line and print the accuracy."""
    parser = argparse.ArgumentParser("python -m weft.examples.digits", description=__doc__)
    parser.add_argument("--mode", choices=MODES, default="eager")
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    _, accuracy = train(given.mode, given.epochs)
    counts = weft.stats()
    print(f"{given.mode}: {accuracy:.2%} of {TEST_SAMPLES} test samples right")
    print(f"kernels compiled: {counts.kernels_compiled}, loaded from disk: {counts.kernels_loaded}")


if __name__ == "__main__":
    main()
