"""The shipped nets in float64 numpy: an oracle that knows nothing of the model files.

It shares with them the order of the parameters and the initialisation, and no code: convolutions
are sums over shifted products instead of one product of gathered columns, and gradients of single
samples are batches of one instead of formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Dense:
    into: int
    out: int
    relu: bool = False


@dataclass(frozen=True)
class Conv:
    """Stride 1, same size, ReLU; kernel [out, rows * columns * into]."""

    into: int
    out: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Pool:
    """Averages of blocks that divide the image."""

    rows: int
    columns: int


Step: TypeAlias = Dense | Conv | Pool


@dataclass(frozen=True)
class NumpyNet:
    """steps, and the image (h, w, c) that a sample is for convolutions.

    frozen: parameters of the first `len(frozen)` steps that have some, which are not learned.
    """

    steps: tuple[Step, ...]
    image: tuple[int, int, int] | None = None
    regression: bool = False
    frozen: tuple[tuple[Array, Array], ...] = ()

    def loss_grad(self, weights: Array, x: Array, y: Array) -> tuple[float, Array, Array]:
        """-> mean loss, its gradient [P], outputs [n, k]; weights float64 [P]."""
        values, offset, inputs, outputs = x.astype(float), 0, [], []
        if self.image:
            values = values.reshape(-1, *self.image)
        layers: list[tuple[Step, Array, Array]] = []
        fixed = list(self.frozen)
        learned = []
        for step in self.steps:
            kernel, bias = np.zeros(0), np.zeros(0)
            if isinstance(step, Dense) and values.ndim > 2:
                values = values.reshape(len(values), -1)
            if not isinstance(step, Pool):
                learned.append(not fixed)
                if fixed:
                    kernel, bias = fixed.pop(0)
                else:
                    size = step.out * columns_of(step)
                    kernel = weights[offset : offset + size].reshape(step.out, -1)
                    bias = weights[offset + size : offset + size + step.out]
                    offset += size + step.out
            else:
                learned.append(False)
            layers.append((step, kernel, bias))
            inputs.append(values)
            values = forward(step, kernel, bias, values)
            outputs.append(values)
        assert offset == len(weights)
        loss, error = self._head(values, y)
        parts: list[Array] = []
        for index in reversed(range(len(layers))):
            step, kernel, _ = layers[index]
            error = error.reshape(outputs[index].shape)
            if isinstance(step, Conv) or (isinstance(step, Dense) and step.relu):
                error = error * (outputs[index] > 0)
            if learned[index]:
                parts = [*gradients(step, inputs[index], error), *parts]
            if not any(learned[:index]):
                break
            error = backward(step, kernel, inputs[index], error)
        return loss, np.concatenate(parts), values

    def _head(self, values: Array, y: Array) -> tuple[float, Array]:
        if self.regression:
            wrong = values - y
            return float((wrong**2).mean()), 2 * wrong / wrong.size
        exps = np.exp(values - values.max(1, keepdims=True))
        chances = exps / exps.sum(1, keepdims=True)
        rows = np.arange(len(y))
        loss = float(-np.log(chances[rows, y]).mean())
        chances[rows, y] -= 1
        return loss, chances / len(y)

    def outputs(self, weights: Array, x: Array) -> Array:
        """Logits or predictions [n, k]."""
        width = self.steps[-1].out if isinstance(self.steps[-1], Dense) else 0
        y = np.zeros((len(x), width)) if self.regression else np.zeros(len(x), int)
        return self.loss_grad(weights, x, y)[2]


def columns_of(step: Dense | Conv) -> int:
    return step.into if isinstance(step, Dense) else step.into * step.rows * step.columns


def shifted(step: Conv, x: Array) -> list[tuple[tuple[int, int], Array]]:
    """Place of the kernel and the inputs that it meets, for every place."""
    top, left = (step.rows - 1) // 2, (step.columns - 1) // 2
    sides = ((top, step.rows - 1 - top), (left, step.columns - 1 - left))
    padded = np.pad(x, ((0, 0), *sides, (0, 0)))
    height, width = x.shape[1:3]
    return [
        ((row, column), padded[:, row : row + height, column : column + width])
        for row in range(step.rows)
        for column in range(step.columns)
    ]


def forward(step: Step, kernel: Array, bias: Array, x: Array) -> Array:
    if isinstance(step, Pool):
        n, h, w, c = x.shape
        blocks = x.reshape(n, h // step.rows, step.rows, w // step.columns, step.columns, c)
        mean: Array = blocks.mean((2, 4))
        return mean
    if isinstance(step, Dense):
        y: Array = x @ kernel.T + bias
        return np.maximum(y, 0) if step.relu else y
    total = np.zeros((*x.shape[:3], step.out)) + bias
    places = kernel.reshape(step.out, step.rows, step.columns, step.into)
    for (row, column), part in shifted(step, x):
        total += part @ places[:, row, column].T
    return np.maximum(total, 0)


def gradients(step: Step, x: Array, error: Array) -> list[Array]:
    """Of kernel and bias, flat."""
    if isinstance(step, Dense):
        return [(error.T @ x).ravel(), error.sum(0)]
    assert isinstance(step, Conv)
    kernel = np.zeros((step.out, step.rows, step.columns, step.into))
    for (row, column), part in shifted(step, x):
        kernel[:, row, column] = np.tensordot(error, part, ((0, 1, 2), (0, 1, 2)))
    return [kernel.ravel(), error.sum((0, 1, 2))]


def backward(step: Step, kernel: Array, x: Array, error: Array) -> Array:
    if isinstance(step, Dense):
        passed: Array = error @ kernel
        return passed
    if isinstance(step, Pool):
        share = error / (step.rows * step.columns)
        return share.repeat(step.rows, 1).repeat(step.columns, 2)
    places = kernel.reshape(step.out, step.rows, step.columns, step.into)
    top, left = (step.rows - 1) // 2, (step.columns - 1) // 2
    height, width = x.shape[1:3]
    total = np.zeros((len(x), height + step.rows - 1, width + step.columns - 1, step.into))
    for row in range(step.rows):
        for column in range(step.columns):
            spot = total[:, row : row + height, column : column + width]
            spot += error @ places[:, row, column]
    return total[:, top : top + height, left : left + width]


def dense_net(layers: Sequence[int], *, regression: bool = False) -> NumpyNet:
    """Dense layers with ReLU between."""
    last = len(layers) - 2
    steps = [Dense(layers[i], layers[i + 1], relu=i < last) for i in range(last + 1)]
    return NumpyNet(tuple(steps), regression=regression)


def sgd(
    net: NumpyNet,
    weights: Array,
    x: Array,
    y: Array,
    *,
    steps: int,
    batch: int,
    rate: float,
    rng: np.random.Generator,
) -> Array:
    """Plain SGD over reshuffled passes; float64 [P]."""
    weights = weights.astype(float)
    order = np.concatenate([rng.permutation(len(x)) for _ in range(steps * batch // len(x) + 1)])
    for rows in order[: steps * batch].reshape(steps, batch):
        weights = weights - rate * net.loss_grad(weights, x[rows], y[rows])[1]
    return weights
