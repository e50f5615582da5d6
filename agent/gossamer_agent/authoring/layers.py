"""Layers of a net: what each computes, and how its error goes back, in built-in operators.

Theory of operation. A layer is a value without state. It knows its parameters' shapes, appends its
forward pass to a graph, and, given the error (the loss's derivative) at its output, appends what
its inputs and its parameters get of it. TensorFlow's own gradients need operators that the small
runtime lacks, so all of that is written out here. Dimensions never include the batch.

A kernel is stored [out, in]: both x @ K^T and d^T @ x then come from row-major operands, which
saves the runtime a transposition of every kernel at every call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.authoring.graph import Graph
from gossamer_agent.errors import ModelError

Dims: TypeAlias = tuple[int, ...]
Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of a layer. fan_in: inputs of a unit, for He's initialisation; 0 starts at
    `start` everywhere.
    """

    name: str
    shape: Dims
    fan_in: int = 0
    start: float = 0.0

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(slots=True)
class Trace:
    """Tensors of a layer's forward pass that its way back needs."""

    inputs: list[int]
    parameters: list[int]
    output: int = -1
    kept: list[int] = field(default_factory=list)


class Layer:
    """A layer without parameters that passes its one input on; the others override."""

    def output(self, *shapes: Dims) -> Dims:
        """Dimensions of the output for those of the inputs; ModelError if they do not fit."""
        return shapes[0]

    def parameters(self, *shapes: Dims) -> tuple[Parameter, ...]:
        """The tensors to learn, for inputs of these dimensions."""
        del shapes
        return ()

    def forward(self, g: Graph, trace: Trace) -> int:
        """Append the forward pass; -> the output."""
        raise NotImplementedError

    def before_activation(self, g: Graph, trace: Trace, error: int) -> int:
        """The error in front of a fused activation, from that at the output."""
        del g, trace
        return error

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        """What each input gets of the error that `before_activation` returned."""
        raise NotImplementedError

    def gradients(self, g: Graph, trace: Trace, error: int) -> list[int]:
        """The gradient of each parameter, flat, from the same error."""
        del g, trace, error
        return []


@dataclass(frozen=True, slots=True)
class Dense(Layer):
    """x [n, in] @ K^T + b, perhaps with ReLU."""

    units: int
    relu: bool = False
    bias: bool = True

    def output(self, *shapes: Dims) -> Dims:
        if len(shapes[0]) != 1:
            raise ModelError(f"a dense layer takes flat inputs, not {shapes[0]}; flatten them")
        return (self.units,)

    def parameters(self, *shapes: Dims) -> tuple[Parameter, ...]:
        into = shapes[0][0]
        kernel = Parameter("kernel", (self.units, into), fan_in=into)
        return (kernel, Parameter("bias", (self.units,))) if self.bias else (kernel,)

    def forward(self, g: Graph, trace: Trace) -> int:
        product = g.matmul(trace.inputs[0], trace.parameters[0], transpose_b=True)
        if self.bias:
            return g.binary("Add", product, trace.parameters[1], relu=self.relu)
        return g.unary("RELU", product) if self.relu else product

    def before_activation(self, g: Graph, trace: Trace, error: int) -> int:
        return g.binary("Mul", error, g.is_positive(trace.output)) if self.relu else error

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        return [g.matmul(error, trace.parameters[0])]

    def gradients(self, g: Graph, trace: Trace, error: int) -> list[int]:
        kernel = g.flat(g.matmul(error, trace.inputs[0], transpose_a=True))
        return [kernel, g.sum(error, [0])] if self.bias else [kernel]


def check_image(shape: Dims, what: str) -> None:
    """Raise ModelError unless `shape` is of images; what: the layer that asks."""
    if len(shape) != 3:
        raise ModelError(f"{what} takes (rows, columns, channels), not {shape}")


@dataclass(frozen=True, slots=True)
class Pool(Layer):
    """AVERAGE or MAX of blocks of x [n, h, w, c]; rows and columns left over are dropped.

    Where several inputs of a block are the largest, they share the error equally: one of the
    subgradients, and the same on every runtime (TensorFlow gives all to the first).
    """

    kind: str
    size: tuple[int, int]

    def output(self, *shapes: Dims) -> Dims:
        check_image(shapes[0], "a pooling layer")
        rows, columns, channels = shapes[0]
        if rows < self.size[0] or columns < self.size[1]:
            raise ModelError(f"pooling blocks of {self.size} do not fit into {shapes[0]}")
        return (rows // self.size[0], columns // self.size[1], channels)

    def forward(self, g: Graph, trace: Trace) -> int:
        return g.pool(self.kind, trace.inputs[0], self.size)

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        (x,), y = trace.inputs, trace.output
        block = float(self.size[0] * self.size[1])
        if self.kind == "AVERAGE":
            return [self._spread(g, g.binary("Mul", error, g.constant(1 / block)), x)]
        # What was dropped may equal the zeros that stand there, but its share is zero too.
        largest = g.equal(x, self._spread(g, y, x))
        ties = g.binary("Mul", g.pool("AVERAGE", largest, self.size), g.constant(block))
        share = self._spread(g, g.binary("Div", error, ties), x)
        return [g.binary("Mul", share, largest)]

    def _spread(self, g: Graph, t: int, x: int) -> int:
        """t [n, h, w, c] over the blocks of x, zeros where x was dropped."""
        over = g.spread(t, self.size)
        have, wanted = g.shape(over), g.shape(x)
        rest = [(0, int(w or 0) - int(h or 0)) for h, w in zip(have, wanted, strict=True)]
        return g.pad(over, rest)


@dataclass(frozen=True, slots=True)
class Reshape(Layer):
    """The same values in other dimensions; flat without arguments."""

    dims: Dims = ()

    def output(self, *shapes: Dims) -> Dims:
        size = math.prod(shapes[0])
        dims = self.dims or (size,)
        if math.prod(dims) != size:
            raise ModelError(f"{shapes[0]} cannot be reshaped to {dims}")
        return dims

    def forward(self, g: Graph, trace: Trace) -> int:
        shape = tuple(int(d or 0) for d in g.shape(trace.inputs[0])[1:])
        return g.reshape(trace.inputs[0], [None, *self.output(shape)])

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        return [g.reshape(error, g.shape(trace.inputs[0]))]


@dataclass(frozen=True, slots=True)
class Pad(Layer):
    """Zeros around the rows and columns of x [n, h, w, c]: ((top, bottom), (left, right))."""

    pads: tuple[tuple[int, int], tuple[int, int]]

    def output(self, *shapes: Dims) -> Dims:
        check_image(shapes[0], "padding")
        rows, columns, channels = shapes[0]
        return (rows + sum(self.pads[0]), columns + sum(self.pads[1]), channels)

    def forward(self, g: Graph, trace: Trace) -> int:
        return g.pad(trace.inputs[0], [(0, 0), *self.pads, (0, 0)])

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        rows, columns = (int(d or 0) for d in g.shape(trace.inputs[0])[1:3])
        return [g.window(error, (self.pads[0][0], self.pads[1][0]), (rows, columns), (1, 1))]


@dataclass(frozen=True, slots=True)
class Add(Layer):
    """The sum of two inputs of the same dimensions, as around a residual block."""

    def output(self, *shapes: Dims) -> Dims:
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            raise ModelError(f"only two inputs of the same dimensions can be added, not {shapes}")
        return shapes[0]

    def forward(self, g: Graph, trace: Trace) -> int:
        return g.binary("Add", *trace.inputs)

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        del g, trace
        return [error, error]


@dataclass(frozen=True, slots=True, eq=False)
class Normalise(Layer):
    """(x - mean) * factor with constants of the last dimension [c] or of one value, then perhaps
    learned scale and offset: batch normalisation with frozen statistics, or a fixed rescaling.
    """

    mean: Floats
    factor: Floats
    scale: bool = False
    offset: bool = False

    def parameters(self, *shapes: Dims) -> tuple[Parameter, ...]:
        channels = shapes[0][-1]
        scale = (Parameter("scale", (channels,), start=1.0),) if self.scale else ()
        return scale + ((Parameter("offset", (channels,)),) if self.offset else ())

    def forward(self, g: Graph, trace: Trace) -> int:
        centred = g.binary("Sub", trace.inputs[0], g.constant(self.mean))
        y = g.binary("Mul", centred, g.constant(self.factor))
        trace.kept = [y]
        if self.scale:
            y = g.binary("Mul", y, trace.parameters[0])
        return g.binary("Add", y, trace.parameters[-1]) if self.offset else y

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        scaled = g.binary("Mul", error, trace.parameters[0]) if self.scale else error
        return [g.binary("Mul", scaled, g.constant(self.factor))]

    def gradients(self, g: Graph, trace: Trace, error: int) -> list[int]:
        axes = list(range(len(g.shape(error)) - 1))
        scale = [g.sum(g.binary("Mul", error, trace.kept[0]), axes)] if self.scale else []
        return scale + ([g.sum(error, axes)] if self.offset else [])


@dataclass(frozen=True, slots=True)
class Activation(Layer):
    """relu, relu6, leaky_relu (with `slope`), elu, tanh, sigmoid or silu, value by value."""

    kind: str
    slope: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ACTIVATIONS:
            raise ModelError(f"activation {self.kind!r} is unknown; use {', '.join(ACTIVATIONS)}")

    def forward(self, g: Graph, trace: Trace) -> int:
        (x,) = trace.inputs
        match self.kind:
            case "silu":
                trace.kept = [g.unary("LOGISTIC", x)]
                return g.binary("Mul", x, trace.kept[0])
            case "leaky_relu":
                return g.operator(
                    "LEAKY_RELU", [x], g.shape(x), table="LeakyRelu", alpha=self.slope
                )
            case _:
                return g.unary(ACTIVATIONS[self.kind], x)

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        return [g.binary("Mul", error, self._slope(g, trace))]

    def _slope(self, g: Graph, trace: Trace) -> int:
        y, one = trace.output, g.constant([1.0])
        match self.kind:
            case "relu":
                return g.is_positive(y)
            case "relu6":
                return g.binary("Mul", g.is_positive(y), g.less(y, 6.0))
            case "leaky_relu":
                steep = g.binary("Mul", g.is_positive(y), g.constant([1.0 - self.slope]))
                return g.binary("Add", steep, g.constant([self.slope]))
            case "elu":  # below zero y + 1, which is also the slope; above zero 1
                return g.binary("Add", g.extreme("MINIMUM", y, g.constant([0.0])), one)
            case "tanh":
                return g.binary("Sub", one, g.binary("Mul", y, y), like=y)
            case "sigmoid":
                return g.binary("Mul", y, g.binary("Sub", one, y, like=y))
            case _:  # silu
                (chance,) = trace.kept
                rest = g.binary("Mul", y, g.binary("Sub", one, chance, like=y))
                return g.binary("Add", chance, rest)


ACTIVATIONS = {
    "relu": "RELU",
    "relu6": "RELU6",
    "leaky_relu": "LEAKY_RELU",
    "elu": "ELU",
    "tanh": "TANH",
    "sigmoid": "LOGISTIC",
    "silu": "LOGISTIC",
}
"""Name -> the operator of the runtime behind it."""
