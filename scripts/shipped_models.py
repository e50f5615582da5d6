"""What ships: each model as a net to author, and as an oracle in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scripts.numpy_nets import Conv, Dense, NumpyNet, Pool, Step, dense_net

from gossamer_agent.authoring import Net, kinds
from gossamer_agent.authoring.net import quantised

BACKBONE = Path(__file__).resolve().parent / "backbones" / "digits_0_to_4.npz"
BACKBONE_CLASSES = 5
FILTERS = (16, 32)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Shipped:
    """about: one line for models.json; described: whether the file holds its layer table. Files
    that were shipped before there was one keep their bytes, because swarms are pinned to them.
    """

    about: str
    net: Net
    oracle: NumpyNet
    described: bool = True


def backbone() -> Net:
    """The net that is trained on the digits 0 to 4 by scripts/train_backbone.py."""
    return kinds.cnn((8, 8), FILTERS, (), BACKBONE_CLASSES, flat=True)


def backbone_weights() -> Array:
    with np.load(BACKBONE) as kept:
        weights: Array = kept["weights"]
    return weights


def _dense(about: str, *layers: int) -> Shipped:
    return Shipped(about, kinds.dense(layers), dense_net(layers), described=False)


def _text() -> Shipped:
    about = "hashed n-grams of a text, 1024 buckets, two classes: a spam filter"
    return Shipped(about, kinds.dense((1024, 2)), dense_net((1024, 2)))


def _cnn_steps(classes: int) -> tuple[Step, ...]:
    first, second = FILTERS
    return (
        Conv(1, first, 3, 3),
        Pool(2, 2),
        Conv(first, second, 3, 3),
        Pool(2, 2),
        Dense(second * 4, classes),
    )


def _cnn() -> Shipped:
    net = kinds.cnn((8, 8), FILTERS, (), 10, flat=True)
    about = "images of 8 x 8, ten classes: two convolutions with average pools"
    return Shipped(about, net, NumpyNet(_cnn_steps(10), (8, 8, 1)))


def _conv1d() -> Shipped:
    net = kinds.conv1d(24, 24, (24, 32), (), 10)
    steps = (Conv(24, 24, 1, 5), Pool(1, 2), Conv(24, 32, 1, 5), Pool(1, 2), Dense(192, 10))
    about = "24 frames of 24 log-mel bands or sensor channels, ten classes: convolutions over time"
    return Shipped(about, net, NumpyNet(steps, (1, 24, 24)))


def _regression() -> Shipped:
    net = kinds.regression(8, (32,), 1)
    about = "eight sensor values to one number"
    return Shipped(about, net, dense_net((8, 32, 1), regression=True))


def _transfer() -> Shipped:
    body, weights = backbone(), backbone_weights()
    net = kinds.transfer(body, weights, 10)
    frozen = []
    parts = list(body.learned())
    for (_, _, at, kernel), (_, _, then, bias) in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        values, scales = quantised(weights[at : at + kernel.size].reshape(kernel.shape))
        frozen.append((values * scales, weights[then : then + bias.size]))
    oracle = NumpyNet(_cnn_steps(10), (8, 8, 1), frozen=tuple(frozen))
    about = "images of 8 x 8, ten classes: int8 convolutions trained on the digits 0 to 4, own head"
    return Shipped(about, net, oracle)


SHIPPED: dict[str, Callable[[], Shipped]] = {
    "softmax": lambda: _dense("64 values, ten classes: one dense layer", 64, 10),
    "mlp": lambda: _dense("64 values, ten classes: 64 hidden units", 64, 64, 10),
    "mlp-wide": lambda: _dense("64 values, ten classes: 400 hidden units", 64, 400, 10),
    "cnn": _cnn,
    "conv1d": _conv1d,
    "text": _text,
    "regression": _regression,
    "transfer": _transfer,
}
