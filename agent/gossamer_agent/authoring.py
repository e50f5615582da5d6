"""Author trainable dense nets as .tflite files, straight from the flatbuffers schema.

Theory of operation. A device needs none of this: it runs where models are made, with the extra
`authoring`. TensorFlow's own gradients need operators that the small runtime lacks, so the backward
pass is written out here in built-in operators, each at version 1, which the oldest runtime knows.

One subgraph per signature; `grad` is first, because a file's first graph can be called without the
overhead of a signature runner. A layer's kernel is stored [out, in]: both x @ K^T and d^T @ x then
come from row-major operands, which saves the runtime a transposition of every kernel at every call.
The parameters of a net are the kernels and biases in order, flattened and joined.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import ModelError

Shape: TypeAlias = Sequence[int | None]
"""None stands for the batch."""

_TINY = 1e-12


def dense_net(layers: Sequence[int], seed: int = 0) -> bytes:
    """A .tflite file of a dense net with ReLU between layers and softmax cross-entropy on top.

    layers: sizes from input to classes, such as (64, 64, 10). Signatures: init, infer, grad and
    grad_clipped. Raises ModelError when the extra `authoring` is not installed.
    """
    if len(layers) < 2 or min(layers) < 1:
        raise ModelError(f"a dense net needs at least two positive layer sizes, not {layers}")
    file = _File()
    _grad(file, layers)
    _infer(file, layers)
    _init(file, initial(layers, seed))
    _grad_clipped(file, layers)
    return file.pack()


def parameter_count(layers: Sequence[int]) -> int:
    """Kernels and biases of a dense net."""
    return sum(out * (into + 1) for into, out in itertools.pairwise(layers))


def initial(layers: Sequence[int], seed: int) -> npt.NDArray[np.float32]:
    """He initialisation (uniform; He et al. 2015), zero biases: float32 [P]."""
    # random() and sqrt are exact everywhere; normal() may differ in the last bit between machines.
    rng = np.random.default_rng(seed)
    parts: list[npt.NDArray[np.float64]] = []
    for into, out in itertools.pairwise(layers):
        parts.append((2 * rng.random(out * into) - 1) * np.sqrt(6 / into))
        parts.append(np.zeros(out))
    return np.concatenate(parts).astype(np.float32)


# The signatures ----------------------------------------------------------------------------------


def _grad(file: _File, layers: Sequence[int]) -> None:
    g = _Graph(file, "grad")
    weights, x, y = _batch_inputs(g, layers)
    kernels, inputs, logits = _forward(g, weights, x, layers)
    onehot, n = g.one_hot(y, layers[-1]), g.batch_size(x)
    g.output("loss", g.binary("Div", _loss_sum(g, logits, onehot), n))
    error = g.binary("Div", g.binary("Sub", g.softmax(logits), onehot), n)
    errors = _backward(g, kernels, inputs, error)
    g.output("grad", _joined_gradients(g, inputs, errors, layers))
    file.add(g)


def _infer(file: _File, layers: Sequence[int]) -> None:
    g = _Graph(file, "infer")
    weights, x = g.input("weights", [parameter_count(layers)]), g.input("x", [None, layers[0]])
    g.output("logits", _forward(g, weights, x, layers)[2])
    file.add(g)


def _init(file: _File, first: npt.NDArray[np.float32]) -> None:
    g = _Graph(file, "init")
    # A runtime refuses a graph whose output is a bare constant.
    g.output("weights", g.binary("Mul", g.constant(first), g.constant([1.0])))
    file.add(g)


def _grad_clipped(file: _File, layers: Sequence[int]) -> None:
    """Per-sample clipping without per-sample gradients.

    A dense layer's gradient is the outer product of its input a and its output's error d, so its
    squared norm with the bias is |d|^2 (1 + |a|^2) (Goodfellow 2015).
    """
    g = _Graph(file, "grad_clipped")
    weights, x, y = _batch_inputs(g, layers)
    clip = g.input("clip", [])
    kernels, inputs, logits = _forward(g, weights, x, layers)
    onehot = g.one_hot(y, layers[-1])
    g.output("loss_sum", _loss_sum(g, logits, onehot))
    errors = _backward(g, kernels, inputs, g.binary("Sub", g.softmax(logits), onehot))
    one = g.constant([1.0])
    squares = [
        g.binary("Mul", _square_sum(g, d), g.binary("Add", _square_sum(g, a), one))
        for a, d in zip(inputs, errors, strict=True)
    ]
    total = squares[0]
    for square in squares[1:]:
        total = g.binary("Add", total, square)
    norms = g.unary("SQRT", total)
    floor = g.extreme("MAXIMUM", norms, g.constant([_TINY]))
    scale = g.extreme("MINIMUM", g.binary("Div", clip, floor, like=floor), one)
    scaled = [g.binary("Mul", d, scale) for d in errors]
    g.output("grad_sum", _joined_gradients(g, inputs, scaled, layers))
    g.output("norms", g.reshape(norms, [None]))
    file.add(g)


def _batch_inputs(g: _Graph, layers: Sequence[int]) -> tuple[int, int, int]:
    weights = g.input("weights", [parameter_count(layers)])
    return weights, g.input("x", [None, layers[0]]), g.input("y", [None], "i4")


def _forward(
    g: _Graph, weights: int, x: int, layers: Sequence[int]
) -> tuple[list[int], list[int], int]:
    """-> (kernels, the layers' inputs, logits)."""
    kernels, inputs, offset = [], [x], 0
    for into, out in itertools.pairwise(layers):
        kernel = g.reshape(g.slice(weights, offset, out * into), [out, into])
        bias = g.slice(weights, offset + out * into, out)
        offset += out * (into + 1)
        kernels.append(kernel)
        last = len(kernels) == len(layers) - 1
        product = g.matmul(inputs[-1], kernel, transpose_b=True)
        inputs.append(g.binary("Add", product, bias, relu=not last))
    return kernels, inputs[:-1], inputs[-1]


def _backward(g: _Graph, kernels: Sequence[int], inputs: Sequence[int], error: int) -> list[int]:
    """Errors at the output of every layer, in the order of the layers."""
    errors = [error]
    for layer in reversed(range(1, len(kernels))):
        passed = g.matmul(errors[0], kernels[layer])
        errors.insert(0, g.binary("Mul", passed, g.is_positive(inputs[layer])))
    return errors


def _joined_gradients(
    g: _Graph, inputs: Sequence[int], errors: Sequence[int], layers: Sequence[int]
) -> int:
    parts = []
    for layer, (into, out) in enumerate(itertools.pairwise(layers)):
        kernel = g.matmul(errors[layer], inputs[layer], transpose_a=True)
        parts += [g.reshape(kernel, [out * into]), g.sum(errors[layer], [0])]
    return g.concatenate(parts, [parameter_count(layers)])


def _loss_sum(g: _Graph, logits: int, onehot: int) -> int:
    likelihood = g.sum(g.binary("Mul", onehot, g.log_softmax(logits)), [0, 1])
    return g.unary("NEG", likelihood, "Neg")


def _square_sum(g: _Graph, x: int) -> int:
    """Squared norm of each row, [n, 1]."""
    return g.sum(g.binary("Mul", x, x), [1], keep=True)


# The file ----------------------------------------------------------------------------------------


def _schema() -> ModuleType:
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError:
        raise ModelError(
            "authoring a model needs the extra: pip install 'gossamer[authoring]'"
        ) from None


class _File:
    """A .tflite file under construction: one graph per signature, shared buffers."""

    def __init__(self) -> None:
        self.schema: Any = _schema()
        self.types = {
            np.dtype("f4"): self.schema.TensorType.FLOAT32,
            np.dtype("i4"): self.schema.TensorType.INT32,
            np.dtype("?"): self.schema.TensorType.BOOL,
        }
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.description = "gossamer dense net"
        self.model.buffers = [self.schema.BufferT()]  # the schema reserves buffer 0 for "no data"
        self.model.operatorCodes, self.model.subgraphs, self.model.signatureDefs = [], [], []
        self._codes: dict[str, int] = {}
        self._buffers: dict[bytes, int] = {}

    def code(self, operator: str) -> int:
        """Index of an operator's code, at version 1."""
        if operator not in self._codes:
            code = self.schema.OperatorCodeT()
            code.builtinCode = getattr(self.schema.BuiltinOperator, operator)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = 1
            self._codes[operator] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(code)
        return self._codes[operator]

    def buffer(self, data: bytes) -> int:
        """Index of a buffer with these bytes; equal constants share one."""
        if data not in self._buffers:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(data, np.uint8)
            self._buffers[data] = len(self.model.buffers)
            self.model.buffers.append(buffer)
        return self._buffers[data]

    def add(self, graph: _Graph) -> None:
        signature = self.schema.SignatureDefT()
        signature.signatureKey = graph.subgraph.name
        signature.subgraphIndex = len(self.model.subgraphs)
        signature.inputs = [self._named(*item) for item in graph.inputs]
        signature.outputs = [self._named(*item) for item in graph.outputs]
        self.model.subgraphs.append(graph.subgraph)
        self.model.signatureDefs.append(signature)

    def _named(self, name: str, index: int) -> Any:
        entry = self.schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        return entry

    def pack(self) -> bytes:
        builder = importlib.import_module("flatbuffers").Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class _Graph:
    """One subgraph. Every method that makes a tensor returns its index."""

    def __init__(self, file: _File, name: str) -> None:
        self.file, self.schema = file, file.schema
        self.subgraph = self.schema.SubGraphT()
        self.subgraph.name = name
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.subgraph.inputs, self.subgraph.outputs = [], []
        self.inputs: list[tuple[str, int]] = []
        self.outputs: list[tuple[str, int]] = []

    def tensor(self, shape: Shape, dtype: str = "f4", buffer: int = 0, name: str = "") -> int:
        tensor = self.schema.TensorT()
        tensor.name = name or f"{self.subgraph.name}_{len(self.subgraph.tensors)}"
        tensor.type = self.file.types[np.dtype(dtype)]
        tensor.buffer = buffer
        tensor.shape = [1 if d is None else d for d in shape]
        if None in shape:
            tensor.shapeSignature = [-1 if d is None else d for d in shape]
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def shape(self, index: int) -> list[int | None]:
        tensor = self.subgraph.tensors[index]
        dynamic = tensor.shapeSignature is not None
        return [
            None if d == -1 else d for d in (tensor.shapeSignature if dynamic else tensor.shape)
        ]

    def constant(self, value: Any, dtype: str = "f4") -> int:
        # The format is little-endian whatever machine writes it.
        data = np.asarray(value, np.dtype(dtype).newbyteorder("<"))
        return self.tensor(data.shape, dtype, self.file.buffer(data.tobytes()))

    def input(self, name: str, shape: Shape, dtype: str = "f4") -> int:
        index = self.tensor(shape, dtype, name=f"{self.subgraph.name}_{name}")
        self.subgraph.inputs.append(index)
        self.inputs.append((name, index))
        return index

    def output(self, name: str, index: int) -> None:
        self.subgraph.outputs.append(index)
        self.outputs.append((name, index))

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Shape,
        dtype: str = "f4",
        table: str = "",
        **options: Any,
    ) -> int:
        """Append one operator; `table` names its options in the schema, e.g. "Cast"."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs = self.file.code(name), list(inputs)
        operator.outputs = [self.tensor(shape, dtype)]
        if table:
            operator.builtinOptions = getattr(self.schema, f"{table}OptionsT")()
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, f"{table}Options")
            for key, value in options.items():
                setattr(operator.builtinOptions, key, value)
        self.subgraph.operators.append(operator)
        return int(operator.outputs[0])

    def slice(self, x: int, start: int, length: int, dtype: str = "f4") -> int:
        bounds = [self.constant([start], "i4"), self.constant([length], "i4")]
        return self.operator("SLICE", [x, *bounds], [length], dtype, "Slice")

    def reshape(self, x: int, shape: Shape) -> int:
        target = self.constant([-1 if d is None else d for d in shape], "i4")
        return self.operator("RESHAPE", [x, target], shape, table="Reshape")

    def matmul(
        self, a: int, b: int, *, transpose_a: bool = False, transpose_b: bool = False
    ) -> int:
        rows, columns = self.shape(a)[int(transpose_a)], self.shape(b)[int(not transpose_b)]
        return self.operator(
            "BATCH_MATMUL",
            [a, b],
            [rows, columns],
            table="BatchMatMul",
            adjX=transpose_a,
            adjY=transpose_b,
        )

    def binary(
        self, kind: str, a: int, b: int, *, relu: bool = False, like: int | None = None
    ) -> int:
        """Add, Sub, Mul or Div with broadcasting; the result is shaped as `like`, else as `a`."""
        activation = self.schema.ActivationFunctionType
        fused = activation.RELU if relu else activation.NONE
        shape = self.shape(a if like is None else like)
        return self.operator(kind.upper(), [a, b], shape, table=kind, fusedActivationFunction=fused)

    def extreme(self, name: str, a: int, b: int) -> int:
        """MINIMUM or MAXIMUM, shaped as `a`."""
        return self.operator(name, [a, b], self.shape(a), table="MaximumMinimum")

    def unary(self, name: str, x: int, table: str = "") -> int:
        return self.operator(name, [x], self.shape(x), table=table)

    def sum(self, x: int, axes: Sequence[int], *, keep: bool = False) -> int:
        kept = [d for axis, d in enumerate(self.shape(x)) if axis not in axes]
        shape = [1 if axis in axes else d for axis, d in enumerate(self.shape(x))] if keep else kept
        over = self.constant(list(axes), "i4")
        return self.operator("SUM", [x, over], shape, table="Reducer", keepDims=keep)

    def is_positive(self, x: int) -> int:
        """1.0 where x > 0, else 0.0."""
        zero = self.constant(0.0)
        return self._float(self.operator("GREATER", [x, zero], self.shape(x), "?", "Greater"), "?")

    def softmax(self, x: int) -> int:
        return self.operator("SOFTMAX", [x], self.shape(x), table="Softmax", beta=1.0)

    def log_softmax(self, x: int) -> int:
        return self.operator("LOG_SOFTMAX", [x], self.shape(x), table="LogSoftmax")

    def one_hot(self, y: int, classes: int) -> int:
        values = [self.constant(classes, "i4"), self.constant(1.0), self.constant(0.0)]
        return self.operator("ONE_HOT", [y, *values], [None, classes], table="OneHot", axis=-1)

    def batch_size(self, x: int) -> int:
        """Rows of x as a float, shape [1]."""
        int32 = self.schema.TensorType.INT32
        dims = self.operator("SHAPE", [x], [len(self.shape(x))], "i4", "Shape", outType=int32)
        return self._float(self.slice(dims, 0, 1, "i4"), "i4")

    def concatenate(self, parts: Sequence[int], shape: Shape) -> int:
        return self.operator("CONCATENATION", parts, shape, table="Concatenation", axis=0)

    def _float(self, x: int, dtype: str) -> int:
        types = {
            "inDataType": self.file.types[np.dtype(dtype)],
            "outDataType": self.schema.TensorType.FLOAT32,
        }
        return self.operator("CAST", [x], self.shape(x), "f4", "Cast", **types)
