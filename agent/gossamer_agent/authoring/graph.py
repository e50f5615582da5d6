"""A .tflite file under construction, straight from the flatbuffers schema.

Theory of operation. `File` holds what graphs share: operator codes and buffers. `Graph` is one
subgraph, which becomes one signature; each of its methods appends an operator and returns the
index of the tensor that it makes. Operators are at version 1, which the oldest runtime knows.
Shapes are known while a graph is built, all but the batch, which is None.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from gossamer_agent.errors import ModelError

Shape: TypeAlias = Sequence[int | None]
"""None stands for the batch."""

METADATA_NAME = "gossamer"


def schema_module() -> ModuleType:
    try:
        importlib.import_module("flatbuffers")
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError:
        raise ModelError(
            "authoring a model needs the extra: pip install 'gossamer[authoring]'"
        ) from None


class File:
    """A .tflite file under construction: one graph per signature, shared buffers."""

    def __init__(self, description: str) -> None:
        self.schema: Any = schema_module()
        self.types = {
            np.dtype("f4"): self.schema.TensorType.FLOAT32,
            np.dtype("i4"): self.schema.TensorType.INT32,
            np.dtype("i1"): self.schema.TensorType.INT8,
            np.dtype("?"): self.schema.TensorType.BOOL,
        }
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.description = description
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

    def describe(self, about: Mapping[str, Any]) -> None:
        """Store `about` as JSON in the file's metadata; no runtime looks at it."""
        entry = self.schema.MetadataT()
        entry.name = METADATA_NAME
        entry.buffer = self.buffer(json.dumps(about, separators=(",", ":")).encode())
        self.model.metadata = [entry]

    def add(self, graph: Graph) -> None:
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


class Graph:
    """One subgraph. Every method that makes a tensor returns its index."""

    def __init__(self, file: File, name: str) -> None:
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
        return self.cast(self.operator("GREATER", [x, zero], self.shape(x), "?", "Greater"), "?")

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
        return self.cast(self.slice(dims, 0, 1, "i4"), "i4")

    def concatenate(self, parts: Sequence[int], shape: Shape, axis: int = 0) -> int:
        return self.operator("CONCATENATION", parts, shape, table="Concatenation", axis=axis)

    def flat(self, x: int) -> int:
        """All values of a tensor without a batch, in order."""
        shape = self.shape(x)
        return x if len(shape) == 1 else self.reshape(x, [math.prod(d or 1 for d in shape)])

    def window(
        self, x: int, start: tuple[int, int], size: tuple[int, int], stride: tuple[int, int]
    ) -> int:
        """Rows and columns of x [n, h, w, c] from `start` on, every `stride`-th: [n, *size, c]."""
        channels = self.shape(x)[3]
        shape = [None, *size, channels]
        if stride == (1, 1):
            bounds = [[0, *start, 0], [-1, *size, channels]]
            constants = [self.constant(bound, "i4") for bound in bounds]
            return self.operator("SLICE", [x, *constants], shape, table="Slice")
        ends = [at + (n - 1) * s + 1 for at, n, s in zip(start, size, stride, strict=True)]
        bounds = [[0, *start, 0], [0, *ends, 0], [1, *stride, 1]]
        constants = [self.constant(bound, "i4") for bound in bounds]
        return self.operator(
            "STRIDED_SLICE",
            [x, *constants],
            shape,
            table="StridedSlice",
            beginMask=0b1001,  # the batch and the channels have no bounds
            endMask=0b1001,
        )

    def pad(self, x: int, pads: Sequence[tuple[int, int]]) -> int:
        """Zeros before and after each dimension; x itself where there are none."""
        if not any(map(any, pads)):
            return x
        shape = [d if d is None else d + sum(p) for d, p in zip(self.shape(x), pads, strict=True)]
        return self.operator("PAD", [x, self.constant(pads, "i4")], shape, table="Pad")

    def transpose(self, x: int, order: Sequence[int]) -> int:
        shape = [self.shape(x)[axis] for axis in order]
        return self.operator(
            "TRANSPOSE", [x, self.constant(list(order), "i4")], shape, table="Transpose"
        )

    def reverse_first(self, x: int) -> int:
        """x with its first dimension reversed; more axes at once go wrong in the old runtime."""
        axis = self.constant([0], "i4")
        return self.operator("REVERSE_V2", [x, axis], self.shape(x), table="ReverseV2")

    def pool(self, kind: str, x: int, size: tuple[int, int]) -> int:
        """AVERAGE or MAX over blocks of x [n, h, w, c]; what is left over is dropped."""
        _, height, width, channels = self.shape(x)
        assert height is not None
        assert width is not None
        return self.operator(
            f"{kind}_POOL_2D",
            [x],
            [None, height // size[0], width // size[1], channels],
            table="Pool2D",
            padding=self.schema.Padding.VALID,
            strideH=size[0],
            strideW=size[1],
            filterHeight=size[0],
            filterWidth=size[1],
            fusedActivationFunction=self.schema.ActivationFunctionType.NONE,
        )

    def spread(self, x: int, size: tuple[int, int]) -> int:
        """Every row and column of x [n, h, w, c] repeated: [n, h * size[0], w * size[1], c]."""
        _, height, width, channels = self.shape(x)
        assert height is not None
        assert width is not None
        assert channels is not None
        rows = self.reshape(x, [None, height, 1, width * channels])
        rows = self.concatenate([rows] * size[0], [None, height, size[0], width * channels], 2)
        cells = self.reshape(rows, [None, height * size[0] * width, 1, channels])
        cells = self.concatenate(
            [cells] * size[1], [None, height * size[0] * width, size[1], channels], 2
        )
        return self.reshape(cells, [None, height * size[0], width * size[1], channels])

    def less(self, x: int, limit: float) -> int:
        """1.0 where x < limit, else 0.0."""
        bound = self.constant(limit)
        return self.cast(self.operator("LESS", [x, bound], self.shape(x), "?", "Less"), "?")

    def equal(self, a: int, b: int) -> int:
        """1.0 where a == b, else 0.0."""
        return self.cast(self.operator("EQUAL", [a, b], self.shape(a), "?", "Equal"), "?")

    def cast(self, x: int, dtype: str) -> int:
        """x, which is of `dtype`, as float32."""
        types = {
            "inDataType": self.file.types[np.dtype(dtype)],
            "outDataType": self.schema.TensorType.FLOAT32,
        }
        return self.operator("CAST", [x], self.shape(x), "f4", "Cast", **types)
