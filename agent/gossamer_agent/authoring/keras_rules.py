"""What each kind of Keras layer is as layers of ours: one rule for each.

A rule takes the conversion, the Keras layer and the node that it reads, and returns the node that
it ends at. UnsupportedError for what cannot be trained on a device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from gossamer_agent.authoring.convolutions import Conv, DepthwiseConv
from gossamer_agent.authoring.layers import (
    ACTIVATIONS,
    Activation,
    Dense,
    Floats,
    Layer,
    Normalise,
    Pad,
    Pool,
    Reshape,
)
from gossamer_agent.errors import ModelError

if TYPE_CHECKING:
    from gossamer_agent.authoring.from_keras import Conversion

Rule: TypeAlias = "Callable[[Conversion, Any, int], int]"


class UnsupportedError(ModelError):
    """A layer cannot be converted; the message is what is wrong with it."""


def array(value: Any) -> Floats:
    keras = importlib.import_module("keras")
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


def _values(layer: Any, kernel: Floats) -> list[Floats]:
    return [kernel, array(layer.bias)] if layer.use_bias else [kernel]


def _pair(value: Any) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise UnsupportedError(otherwise)


def _channels_last(layer: Any) -> None:
    require(layer.data_format == "channels_last", "has channels first; only channels last fits")


def _is_same(layer: Any) -> bool:
    require(layer.padding in ("same", "valid"), f"has padding {layer.padding!r}")
    return bool(layer.padding == "same")


def _dense(c: Conversion, layer: Any, x: int) -> int:
    kernel = array(layer.kernel).T
    return c.add(layer, Dense(layer.units, bias=layer.use_bias), [x], _values(layer, kernel))


def _conv2d(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    require(set(layer.dilation_rate) == {1}, "is dilated")
    require(layer.groups == 1, "has groups")
    kernel = array(layer.kernel)
    rows = kernel.transpose(3, 0, 1, 2).reshape(layer.filters, -1)
    conv = Conv(
        layer.filters,
        _pair(layer.kernel_size),
        _pair(layer.strides),
        same=_is_same(layer),
        bias=layer.use_bias,
    )
    return c.add(layer, conv, [x], _values(layer, rows))


def _conv1d(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    require(set(layer.dilation_rate) == {1}, "is dilated")
    require(layer.groups == 1, "has groups")
    kernel = array(layer.kernel)
    rows = kernel.transpose(2, 0, 1).reshape(layer.filters, -1)
    conv = Conv(
        layer.filters,
        (1, int(layer.kernel_size[0])),
        (1, int(layer.strides[0])),
        same=_is_same(layer),
        bias=layer.use_bias,
    )
    return _over_time(c, layer, conv, x, _values(layer, rows))


def _over_time(
    c: Conversion, layer: Any, ours: Layer, x: int, values: Sequence[Floats] = ()
) -> int:
    """A layer over [n, steps, channels] as one over images of one row."""
    image = c.net.add(f"{layer.name}_in", Reshape((1, *c.shape(x))), [x])
    node = c.add(layer, ours, [image], values)
    return c.net.add(f"{layer.name}_out", Reshape(c.shape(node)[1:]), [node])


def _depthwise(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    require(layer.depth_multiplier == 1, "has a depth multiplier other than 1")
    require(set(layer.dilation_rate) == {1}, "is dilated")
    kernel = array(layer.kernel)
    ours = DepthwiseConv(
        _pair(layer.kernel_size), _pair(layer.strides), same=_is_same(layer), bias=layer.use_bias
    )
    return c.add(layer, ours, [x], _values(layer, kernel.reshape(-1, kernel.shape[2])))


def _separable(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    require(layer.depth_multiplier == 1, "has a depth multiplier other than 1")
    require(set(layer.dilation_rate) == {1}, "is dilated")
    deep, point = array(layer.depthwise_kernel), array(layer.pointwise_kernel)
    ours = DepthwiseConv(
        _pair(layer.kernel_size), _pair(layer.strides), same=_is_same(layer), bias=False
    )
    values = [deep.reshape(-1, deep.shape[2])]
    x = c.add(layer, ours, [x], values, suffix="_depth")
    rows = point.transpose(3, 0, 1, 2).reshape(layer.filters, -1)
    conv = Conv(layer.filters, (1, 1), bias=layer.use_bias)
    return c.add(layer, conv, [x], _values(layer, rows))


def _batch_norm(c: Conversion, layer: Any, x: int) -> int:
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    require(axis in (-1, len(c.shape(x))), "normalises another axis than the last")
    factor = 1 / np.sqrt(array(layer.moving_variance).astype(np.float64) + layer.epsilon)
    ours = Normalise(array(layer.moving_mean), factor.astype(np.float32), layer.scale, layer.center)
    values = [array(layer.gamma)] if layer.scale else []
    return c.add(layer, ours, [x], values + ([array(layer.beta)] if layer.center else []))


def _normalization(c: Conversion, layer: Any, x: int) -> int:
    require(not layer.invert, "is inverted")
    mean, variance = array(layer.mean), array(layer.variance)
    require(mean.size in (1, c.shape(x)[-1]), "normalises other axes than the last")
    factor = 1 / np.maximum(np.sqrt(variance.ravel()), 1e-7)
    return c.add(layer, Normalise(mean.ravel(), factor.astype(np.float32)), [x])


def _rescaling(c: Conversion, layer: Any, x: int) -> int:
    scale = np.asarray(layer.scale, np.float64).ravel()
    offset = np.asarray(layer.offset, np.float64).ravel()
    require(bool((scale != 0).all()), "multiplies by zero")
    mean = (-offset / scale).astype(np.float32)
    return c.add(layer, Normalise(mean, scale.astype(np.float32)), [x])


def _pool(kind: str, *, over_time: bool) -> Rule:
    def rule(c: Conversion, layer: Any, x: int) -> int:
        _channels_last(layer)
        size, strides = tuple(layer.pool_size), tuple(layer.strides)
        require(size == strides, f"has stride {strides}, which is not its size {size}")
        divides = all(have % block == 0 for have, block in zip(c.shape(x), size, strict=False))
        require(divides or not _is_same(layer), "has padding 'same' that adds values")
        if over_time:
            return _over_time(c, layer, Pool(kind, (1, int(size[0]))), x)
        return c.add(layer, Pool(kind, _pair(size)), [x])

    return rule


def _global_pool(kind: str, *, over_time: bool) -> Rule:
    def rule(c: Conversion, layer: Any, x: int) -> int:
        _channels_last(layer)
        shape = c.shape(x)
        if over_time:
            x = c.net.add(f"{layer.name}_in", Reshape((1, *shape)), [x])
            shape = c.shape(x)
        node = c.add(layer, Pool(kind, (shape[0], shape[1])), [x])
        if not layer.keepdims:
            return c.net.add(f"{layer.name}_flat", Reshape(), [node])
        if over_time:
            return c.net.add(f"{layer.name}_out", Reshape(c.shape(node)[1:]), [node])
        return node

    return rule


def _flatten(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    return c.add(layer, Reshape(), [x])


def _reshape(c: Conversion, layer: Any, x: int) -> int:
    size, target = int(np.prod(c.shape(x))), [int(d) for d in layer.target_shape]
    if -1 in target:
        rest = int(np.prod([d for d in target if d != -1]))
        target[target.index(-1)] = size // max(rest, 1)
    return c.add(layer, Reshape(tuple(target)), [x])


def _zero_padding(c: Conversion, layer: Any, x: int) -> int:
    _channels_last(layer)
    (top, bottom), (left, right) = layer.padding
    return c.add(layer, Pad(((int(top), int(bottom)), (int(left), int(right)))), [x])


def activation(name: str) -> Layer:
    known = {"swish": "silu"}.get(name, name)
    if known not in ACTIVATIONS or known == "leaky_relu":
        names = ", ".join(sorted(ACTIVATIONS))
        raise UnsupportedError(f"has activation {name!r}, whose gradient is not there; use {names}")
    return Activation(known)


def _activation_layer(c: Conversion, layer: Any, x: int) -> int:
    name = c._activation_of(layer)
    if name in (c.head, "linear"):
        return x
    return c.add(layer, activation(name), [x])


def _relu(c: Conversion, layer: Any, x: int) -> int:
    require(not layer.threshold, "has a threshold")
    if layer.max_value is None:
        slope = float(layer.negative_slope)
        ours = Activation("leaky_relu", slope) if slope else Activation("relu")
        return c.add(layer, ours, [x])
    require(float(layer.max_value) == 6.0, f"ends at {layer.max_value}; only 6 is possible")
    require(not layer.negative_slope, "has both a slope and a maximum")
    return c.add(layer, Activation("relu6"), [x])


def _leaky_relu(c: Conversion, layer: Any, x: int) -> int:
    return c.add(layer, Activation("leaky_relu", float(layer.negative_slope)), [x])


def _elu(c: Conversion, layer: Any, x: int) -> int:
    require(float(layer.alpha) == 1.0, f"has alpha {layer.alpha}; only 1 is possible")
    return c.add(layer, Activation("elu"), [x])


def _softmax(c: Conversion, layer: Any, x: int) -> int:
    require(layer.axis == -1, "is over another axis than the last")
    require(c.head == "softmax", "stands in the middle of the model")
    return x


RULES: Final[dict[str, Rule]] = {
    "Dense": _dense,
    "Conv1D": _conv1d,
    "Conv2D": _conv2d,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "AveragePooling1D": _pool("AVERAGE", over_time=True),
    "AveragePooling2D": _pool("AVERAGE", over_time=False),
    "MaxPooling1D": _pool("MAX", over_time=True),
    "MaxPooling2D": _pool("MAX", over_time=False),
    "GlobalAveragePooling1D": _global_pool("AVERAGE", over_time=True),
    "GlobalAveragePooling2D": _global_pool("AVERAGE", over_time=False),
    "GlobalMaxPooling1D": _global_pool("MAX", over_time=True),
    "GlobalMaxPooling2D": _global_pool("MAX", over_time=False),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "ZeroPadding2D": _zero_padding,
    "Activation": _activation_layer,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}
