"""Nets of layers, and the .tflite file of the model contract that one becomes.

Theory of operation. A net is a list of nodes, each a layer with the nodes that it reads, in an
order in which they can be computed. A node's parameters are learned, and then part of the flat
vector, in the order of the nodes; or frozen, and then constants of the file, kernels as int8 with
one scale per row. Errors go back only to where something is learned.

One subgraph per signature; `grad` is first, because a file's first graph can be called without the
overhead of a signature runner. `grad_clipped` is there if all that is learned is dense layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from gossamer_agent.authoring.graph import File, Graph
from gossamer_agent.authoring.layers import Dense, Dims, Floats, Layer, Parameter, Trace
from gossamer_agent.contract import CLASSIFICATION, REGRESSION
from gossamer_agent.errors import ModelError

INPUT: Final = -1
"""The number by which nodes name the net's input."""

_TINY: Final = 1e-12
_INT8_MAX: Final = 127


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A layer in its place. inputs: numbers of nodes before it, or INPUT; frozen: the values of its
    parameters if these are not learned.
    """

    name: str
    layer: Layer
    inputs: tuple[int, ...]
    frozen: tuple[Floats, ...] | None = None


@dataclass(slots=True, eq=False)
class Net:
    """A net under construction; the last node gives the logits or the predictions.

    input_shape: of one sample; int8: store frozen kernels as int8. Raises ModelError for layers
    that do not fit each other.
    """

    input_shape: Dims
    task: str = CLASSIFICATION
    description: str = "gossamer net"
    int8: bool = True
    nodes: list[Node] = field(default_factory=list)
    shapes: list[Dims] = field(default_factory=list)

    def add(
        self,
        name: str,
        layer: Layer,
        inputs: Sequence[int] | None = None,
        frozen: Sequence[Floats] | None = None,
    ) -> int:
        """Append a layer that reads `inputs`, by default what was added last; -> its number."""
        reads = (len(self.nodes) - 1,) if inputs is None else tuple(inputs)
        into = [self._shape(node) for node in reads]
        shape = layer.output(*into)
        kept = None
        if frozen is not None:
            wanted = layer.parameters(*into)
            kept = tuple(
                np.asarray(value, np.float32).reshape(parameter.shape)
                for value, parameter in zip(frozen, wanted, strict=True)
            )
        self.nodes.append(Node(name, layer, reads, kept))
        self.shapes.append(shape)
        return len(self.nodes) - 1

    def _shape(self, node: int) -> Dims:
        return self.input_shape if node == INPUT else self.shapes[node]

    @property
    def outputs(self) -> int:
        """Classes, or outputs of a regression."""
        if not self.nodes or len(self.shapes[-1]) != 1:
            raise ModelError("the last layer must be flat")
        return self.shapes[-1][0]

    def parameters_of(self, number: int) -> tuple[Parameter, ...]:
        """What node `number` learns, or has frozen."""
        node = self.nodes[number]
        return node.layer.parameters(*(self._shape(one) for one in node.inputs))

    def learned(self) -> Iterator[tuple[int, str, int, Parameter]]:
        """(node, name such as "head.kernel", offset in the flat vector, parameter), in order."""
        offset = 0
        for number, node in enumerate(self.nodes):
            if node.frozen is not None:
                continue
            for parameter in self.parameters_of(number):
                yield number, f"{node.name}.{parameter.name}", offset, parameter
                offset += parameter.size

    @property
    def size(self) -> int:
        """P, the length of the flat vector."""
        return sum(parameter.size for *_, parameter in self.learned())

    def layers(self) -> list[tuple[str, int, list[int]]]:
        """[name, offset, shape] of every learned tensor of the flat vector."""
        return [(name, offset, list(p.shape)) for _, name, offset, p in self.learned()]

    def initial(self, seed: int) -> Floats:
        """He initialisation (uniform; He et al. 2015), zero biases: float32 [P]."""
        # random() and sqrt are exact everywhere; normal() may differ in the last bit.
        rng = np.random.default_rng(seed)
        parts = [np.zeros(0)]
        for *_, parameter in self.learned():
            if parameter.fan_in:
                draw = 2 * rng.random(parameter.size) - 1
                parts.append(draw * np.sqrt(6 / parameter.fan_in))
            else:
                parts.append(np.full(parameter.size, parameter.start))
        return np.concatenate(parts).astype(np.float32)

    def file(self, first: Floats, *, described: bool = True) -> bytes:
        """The .tflite file that starts at `first` float32 [P]. described: store the layer table.

        Raises ModelError when the extra `authoring` is not installed.
        """
        if first.shape != (self.size,) or first.dtype != np.float32:
            raise ModelError(f"the first parameters must be float32 ({self.size},)")
        if self.size == 0:
            raise ModelError("the net has nothing to learn")
        file = File(self.description)
        _grad(file, self)
        _infer(file, self)
        _init(file, first)
        if self.has_dense_gradients:
            _grad_clipped(file, self)
        if described:
            file.describe({"format": 1, "layers": self.layers()})
        return file.pack()

    @property
    def has_dense_gradients(self) -> bool:
        """Whether the norm of a sample's gradient is cheap: only dense layers are learned."""
        learning = {number for number, *_ in self.learned()}
        return all(isinstance(self.nodes[number].layer, Dense) for number in learning)

    def _learns(self) -> list[bool]:
        """For each node whether it, or one that it reads from, is learned."""
        own = {number for number, *_ in self.learned()}
        found: list[bool] = []
        for number, node in enumerate(self.nodes):
            behind = any(found[one] for one in node.inputs if one != INPUT)
            found.append(number in own or behind)
        return found


# Passes ------------------------------------------------------------------------------------------


def _forward(g: Graph, net: Net, weights: int, x: int) -> list[Trace]:
    starts: dict[int, list[tuple[int, Parameter]]] = {}
    for number, _, offset, parameter in net.learned():
        starts.setdefault(number, []).append((offset, parameter))
    traces: list[Trace] = []
    for number, node in enumerate(net.nodes):
        if node.frozen is None:
            tensors = [_learned(g, weights, *start) for start in starts.get(number, [])]
        else:
            tensors = [_constant(g, value, int8=net.int8) for value in node.frozen]
        inputs = [x if one == INPUT else traces[one].output for one in node.inputs]
        trace = Trace(inputs, tensors)
        trace.output = node.layer.forward(g, trace)
        traces.append(trace)
    return traces


def _learned(g: Graph, weights: int, offset: int, parameter: Parameter) -> int:
    flat = g.slice(weights, offset, parameter.size)
    return flat if len(parameter.shape) == 1 else g.reshape(flat, parameter.shape)


def _constant(g: Graph, value: Floats, *, int8: bool) -> int:
    """A frozen parameter: kernels as int8 times a scale per row, the rest as float32."""
    if value.ndim == 1 or not int8:
        return g.constant(value)
    values, scales = quantised(value)
    return g.binary("Mul", g.cast(g.constant(values, "i1"), "i1"), g.constant(scales))


def quantised(kernel: Floats) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int8]], Floats]:
    """Symmetric int8 [rows, columns] and the scale of each row [rows, 1]; product near `kernel`."""
    largest = np.abs(kernel).max(axis=1, keepdims=True).astype(np.float32)
    scales = np.where(largest > 0, largest / np.float32(_INT8_MAX), np.float32(1.0))
    return np.rint(kernel / scales).astype(np.int8), scales.astype(np.float32)


def _backward(g: Graph, net: Net, traces: list[Trace], error: int) -> dict[int, int]:
    """Node -> the error in front of its activation, for the nodes on the way to what is learned."""
    learns = net._learns()
    arrived: dict[int, int] = {len(net.nodes) - 1: error}
    errors: dict[int, int] = {}
    for number in reversed(range(len(net.nodes))):
        node = net.nodes[number]
        if not learns[number] or number not in arrived:
            continue
        inside = node.layer.before_activation(g, traces[number], arrived[number])
        errors[number] = inside
        if not any(one != INPUT and learns[one] for one in node.inputs):
            continue
        for one, part in zip(
            node.inputs, node.layer.input_errors(g, traces[number], inside), strict=True
        ):
            if one != INPUT and learns[one]:
                before = arrived.get(one)
                arrived[one] = part if before is None else g.binary("Add", before, part)
    return errors


def _joined(g: Graph, net: Net, traces: list[Trace], errors: dict[int, int]) -> int:
    """The flat gradient [P]."""
    parts: list[int] = []
    for number in sorted({number for number, *_ in net.learned()}):
        parts += net.nodes[number].layer.gradients(g, traces[number], errors[number])
    return g.concatenate(parts, [net.size])


# Signatures --------------------------------------------------------------------------------------


def _batch_inputs(g: Graph, net: Net) -> tuple[int, int, int]:
    weights = g.input("weights", [net.size])
    x = g.input("x", [None, *net.input_shape])
    if net.task == REGRESSION:
        return weights, x, g.input("y", [None, net.outputs])
    return weights, x, g.input("y", [None], "i4")


def _grad(file: File, net: Net) -> None:
    g = Graph(file, "grad")
    weights, x, y = _batch_inputs(g, net)
    traces = _forward(g, net, weights, x)
    answer = traces[-1].output
    if net.task == REGRESSION:
        n = g.batch_size(x)
        wrong = g.binary("Sub", answer, y)
        g.output("loss", g.binary("Div", _squares(g, wrong, net), n))
        error = g.binary("Div", g.binary("Mul", wrong, g.constant(2 / net.outputs)), n)
    else:
        onehot, n = g.one_hot(y, net.outputs), g.batch_size(x)
        g.output("loss", g.binary("Div", _entropy(g, answer, onehot), n))
        error = g.binary("Div", g.binary("Sub", g.softmax(answer), onehot), n)
    g.output("grad", _joined(g, net, traces, _backward(g, net, traces, error)))
    file.add(g)


def _infer(file: File, net: Net) -> None:
    g = Graph(file, "infer")
    weights, x = g.input("weights", [net.size]), g.input("x", [None, *net.input_shape])
    g.output("logits", _forward(g, net, weights, x)[-1].output)
    file.add(g)


def _init(file: File, first: Floats) -> None:
    g = Graph(file, "init")
    # A runtime refuses a graph whose output is a bare constant.
    g.output("weights", g.binary("Mul", g.constant(first), g.constant([1.0])))
    file.add(g)


def _grad_clipped(file: File, net: Net) -> None:
    """Per-sample clipping without per-sample gradients.

    A dense layer's gradient is the outer product of its input a and its output's error d, so its
    squared norm with the bias is |d|^2 (1 + |a|^2) (Goodfellow 2015).
    """
    g = Graph(file, "grad_clipped")
    weights, x, y = _batch_inputs(g, net)
    clip = g.input("clip", [])
    traces = _forward(g, net, weights, x)
    answer = traces[-1].output
    if net.task == REGRESSION:
        wrong = g.binary("Sub", answer, y)
        g.output("loss_sum", _squares(g, wrong, net))
        first = g.binary("Mul", wrong, g.constant(2 / net.outputs))
    else:
        onehot = g.one_hot(y, net.outputs)
        g.output("loss_sum", _entropy(g, answer, onehot))
        first = g.binary("Sub", g.softmax(answer), onehot)
    errors = _backward(g, net, traces, first)
    learned = sorted({number for number, *_ in net.learned()})
    one = g.constant([1.0])
    squares = [
        _gradient_square(g, net.nodes[n].layer, traces[n].inputs[0], errors[n], one)
        for n in learned
    ]
    total = squares[0]
    for square in squares[1:]:
        total = g.binary("Add", total, square)
    norms = g.unary("SQRT", total)
    floor = g.extreme("MAXIMUM", norms, g.constant([_TINY]))
    scale = g.extreme("MINIMUM", g.binary("Div", clip, floor, like=floor), one)
    scaled = {number: g.binary("Mul", errors[number], scale) for number in learned}
    g.output("grad_sum", _joined(g, net, traces, scaled))
    g.output("norms", g.reshape(norms, [None]))
    file.add(g)


def _gradient_square(g: Graph, layer: Layer, x: int, error: int, one: int) -> int:
    """Squared norm of a dense layer's gradient of each sample, [n, 1]."""
    assert isinstance(layer, Dense)
    errors, inputs = _square_sum(g, error), _square_sum(g, x)
    return g.binary("Mul", errors, g.binary("Add", inputs, one) if layer.bias else inputs)


def _entropy(g: Graph, logits: int, onehot: int) -> int:
    """Cross-entropy, summed over the batch."""
    likelihood = g.sum(g.binary("Mul", onehot, g.log_softmax(logits)), [0, 1])
    return g.unary("NEG", likelihood, "Neg")


def _squares(g: Graph, wrong: int, net: Net) -> int:
    """Squared error, the mean over outputs, summed over the batch."""
    total = g.sum(g.binary("Mul", wrong, wrong), [0, 1])
    return g.binary("Mul", total, g.constant(1 / net.outputs))


def _square_sum(g: Graph, x: int) -> int:
    """Squared norm of each row, [n, 1]."""
    return g.sum(g.binary("Mul", x, x), [1], keep=True)
