"""The kinds of nets that `gossamer model author` makes; each is one function to a `Net`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from gossamer_agent.authoring.convolutions import Conv
from gossamer_agent.authoring.layers import Dense, Dims, Floats, Pool, Reshape
from gossamer_agent.authoring.net import Net
from gossamer_agent.contract import REGRESSION
from gossamer_agent.errors import ModelError


def dense(layers: Sequence[int], task: str = "classification") -> Net:
    """Dense layers with ReLU between: sizes from input to classes or outputs, as (64, 64, 10)."""
    if len(layers) < 2 or min(layers) < 1:
        raise ModelError(f"a dense net needs at least two positive layer sizes, not {layers}")
    net = Net((layers[0],), task, description="gossamer dense net")
    for number, units in enumerate(layers[1:-1], 1):
        net.add(f"hidden{number}", Dense(units, relu=True))
    net.add("head", Dense(layers[-1]))
    return net


def regression(inputs: int, hidden: Sequence[int], outputs: int) -> Net:
    """Dense layers to `outputs` numbers, with the mean squared error as loss."""
    return dense((inputs, *hidden, outputs), REGRESSION)


def cnn(
    image: Dims,
    filters: Sequence[int],
    hidden: Sequence[int],
    classes: int,
    *,
    kernel: int = 3,
    flat: bool = False,
) -> Net:
    """Small images: blocks of convolution (same size, ReLU) and 2 x 2 average pool, then dense.

    image: (rows, columns) or (rows, columns, channels); flat: samples are rows of h * w * c values.
    """
    if len(image) not in (2, 3) or min(image) < 1:
        raise ModelError(f"an image is rows x columns or rows x columns x channels, not {image}")
    shape = image if len(image) == 3 else (*image, 1)
    net = Net((math.prod(image),) if flat else image, description="gossamer cnn")
    if net.input_shape != shape:
        net.add("image", Reshape(shape), [-1])
    return _convolutions(
        net,
        shape,
        filters=filters,
        kernel=(kernel, kernel),
        pool=(2, 2),
        hidden=hidden,
        classes=classes,
    )


def conv1d(
    frames: int,
    channels: int,
    filters: Sequence[int],
    hidden: Sequence[int],
    classes: int,
    *,
    kernel: int = 5,
) -> Net:
    """Windows of sensor values or log-mel frames [n, frames, channels]: convolutions over time
    (same length, ReLU), each with an average pool of 2, then dense.
    """
    if min(frames, channels) < 1:
        raise ModelError(f"a window is frames x channels, not {frames} x {channels}")
    shape = (1, frames, channels)
    net = Net((frames, channels), description="gossamer 1-d cnn")
    net.add("window", Reshape(shape), [-1])
    return _convolutions(
        net,
        shape,
        filters=filters,
        kernel=(1, kernel),
        pool=(1, 2),
        hidden=hidden,
        classes=classes,
    )


def _convolutions(
    net: Net,
    shape: Dims,
    *,
    filters: Sequence[int],
    kernel: tuple[int, int],
    pool: tuple[int, int],
    hidden: Sequence[int],
    classes: int,
) -> Net:
    if not filters or min(*filters, *kernel) < 1:
        raise ModelError("a convolutional net needs at least one layer of positive filters")
    for number, count in enumerate(filters, 1):
        net.add(f"conv{number}", Conv(count, kernel, relu=True))
        shape = (*shape[:2], count)
        if any(have < block for have, block in zip(shape, pool, strict=False)):
            raise ModelError(f"after {number - 1} pools {shape[:2]} is too small for another")
        net.add(f"pool{number}", Pool("AVERAGE", pool))
        shape = net.shapes[-1]
    net.add("flat", Reshape())
    for number, units in enumerate(hidden, 1):
        net.add(f"hidden{number}", Dense(units, relu=True))
    net.add("head", Dense(classes))
    return net


def transfer(body: Net, weights: Floats, classes: int, hidden: Sequence[int] = ()) -> Net:
    """A new head on a trained net: all of `body` but its head is frozen, kernels as int8.

    weights: float32 [P] of `body`. Raises ModelError if they do not fit.
    """
    if weights.shape != (body.size,):
        raise ModelError(f"the backbone has {body.size} parameters, the weights {weights.shape}")
    values: dict[int, list[Floats]] = {}
    for number, _, offset, parameter in body.learned():
        part = weights[offset : offset + parameter.size].reshape(parameter.shape)
        values.setdefault(number, []).append(part)
    net = Net(body.input_shape, body.task, description="gossamer transfer net")
    for number, node in enumerate(body.nodes[:-1]):
        net.add(f"frozen_{node.name}", node.layer, node.inputs, values.get(number))
    for number, units in enumerate(hidden, 1):
        net.add(f"hidden{number}", Dense(units, relu=True))
    net.add("head", Dense(classes))
    return net


def sizes(layers: Sequence[int]) -> int:
    """Kernels and biases of a dense net."""
    return sum(out * (into + 1) for into, out in itertools.pairwise(layers))
