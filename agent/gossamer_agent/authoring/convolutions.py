"""Convolutions as matrix products of shifted inputs, with their gradients; see `layers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gossamer_agent.authoring.graph import Graph
from gossamer_agent.authoring.layers import Dims, Layer, Parameter, Trace, check_image
from gossamer_agent.errors import ModelError


@dataclass(frozen=True, slots=True)
class Window:
    """Where a kernel of a convolution lies, [rows, columns] each; zero padding (before, after)."""

    size_in: tuple[int, int]
    size_out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]

    @classmethod
    def of(
        cls, size_in: Dims, kernel: tuple[int, int], stride: tuple[int, int], *, same: bool
    ) -> Window:
        """`same` pads as TensorFlow does: the output has ceil(in / stride) rows and columns."""
        outs, pads = [], []
        for have, k, s in zip(size_in, kernel, stride, strict=True):
            count = -(-have // s) if same else (have - k) // s + 1
            if count < 1:
                raise ModelError(f"a kernel of {k} does not fit into {have} inputs")
            total = max((count - 1) * s + k - have, 0) if same else 0
            outs.append(count)
            pads.append((total // 2, total - total // 2))
        rows, columns = size_in
        return cls((rows, columns), (outs[0], outs[1]), kernel, stride, (pads[0], pads[1]))

    def taps(self, g: Graph, x: int) -> list[int]:
        """For each place of the kernel the inputs that it meets: [n, *size_out, c] each."""
        padded = g.pad(x, [(0, 0), *self.pads, (0, 0)])
        return [
            g.window(padded, (row, column), self.size_out, self.stride)
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]

    def error_taps(self, g: Graph, error: int) -> list[int]:
        """For each place of the reversed kernel the output errors that reach an input."""
        pads = []
        for have, count, k, s, (before, _) in zip(
            self.size_in, self.size_out, self.kernel, self.stride, self.pads, strict=True
        ):
            lead = k - 1 - before
            pads.append((lead, max(have + k - 1 - lead - count * s, 0)))
        spread = g.pad(self._dilated(g, error), [(0, 0), *pads, (0, 0)])
        return [
            g.window(spread, (row, column), self.size_in, (1, 1))
            for row in range(self.kernel[0])
            for column in range(self.kernel[1])
        ]

    def _dilated(self, g: Graph, error: int) -> int:
        """stride - 1 zeros after every row and column."""
        (rows, columns), (down, right) = self.size_out, self.stride
        channels = g.shape(error)[3]
        assert channels is not None
        if right > 1:
            cells = g.reshape(error, [None, rows * columns, 1, channels])
            cells = g.pad(cells, [(0, 0), (0, 0), (0, right - 1), (0, 0)])
            error = g.reshape(cells, [None, rows, columns * right, channels])
        if down > 1:
            lines = g.reshape(error, [None, rows, 1, columns * right * channels])
            lines = g.pad(lines, [(0, 0), (0, 0), (0, down - 1), (0, 0)])
            error = g.reshape(lines, [None, rows * down, columns * right, channels])
        return error


@dataclass(frozen=True, slots=True)
class Conv(Layer):
    """A convolution over x [n, h, w, c] as one matmul over shifted copies (im2col): any batch.

    Its kernel is [filters, rows * columns * c].
    """

    filters: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    same: bool = True
    relu: bool = False
    bias: bool = True

    def _window(self, shape: Sequence[int | None]) -> Window:
        rows, columns = (int(d or 0) for d in shape[:2])
        return Window.of((rows, columns), self.kernel, self.stride, same=self.same)

    def output(self, *shapes: Dims) -> Dims:
        check_image(shapes[0], "a convolution")
        return (*self._window(shapes[0]).size_out, self.filters)

    def parameters(self, *shapes: Dims) -> tuple[Parameter, ...]:
        into = self.kernel[0] * self.kernel[1] * shapes[0][2]
        kernel = Parameter("kernel", (self.filters, into), fan_in=into)
        return (kernel, Parameter("bias", (self.filters,))) if self.bias else (kernel,)

    def forward(self, g: Graph, trace: Trace) -> int:
        window = self._window(g.shape(trace.inputs[0])[1:])
        columns = _columns(g, window.taps(g, trace.inputs[0]))
        trace.kept = [columns]
        rows = g.matmul(columns, trace.parameters[0], transpose_b=True)
        if self.bias:
            rows = g.binary("Add", rows, trace.parameters[1], relu=self.relu)
        elif self.relu:
            rows = g.unary("RELU", rows)
        return g.reshape(rows, [None, *window.size_out, self.filters])

    def before_activation(self, g: Graph, trace: Trace, error: int) -> int:
        return g.binary("Mul", error, g.is_positive(trace.output)) if self.relu else error

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        channels = int(g.shape(trace.inputs[0])[3] or 0)
        window = self._window(g.shape(trace.inputs[0])[1:])
        places = self.kernel[0] * self.kernel[1]
        kernel = g.reshape(trace.parameters[0], [self.filters, places, channels])
        kernel = g.reverse_first(g.transpose(kernel, [1, 0, 2]))
        kernel = g.reshape(kernel, [places * self.filters, channels])
        rows = g.matmul(_columns(g, window.error_taps(g, error)), kernel)
        return [g.reshape(rows, [None, *window.size_in, channels])]

    def gradients(self, g: Graph, trace: Trace, error: int) -> list[int]:
        rows = g.reshape(error, [None, self.filters])
        kernel = g.flat(g.matmul(rows, trace.kept[0], transpose_a=True))
        return [kernel, g.sum(rows, [0])] if self.bias else [kernel]


def _columns(g: Graph, taps: list[int]) -> int:
    """Taps [n, h, w, c] side by side: [n * h * w, taps * c]."""
    shape = g.shape(taps[0])
    width = int(shape[3] or 0) * len(taps)
    joined = taps[0] if len(taps) == 1 else g.concatenate(taps, [*shape[:3], width], 3)
    return g.reshape(joined, [None, width])


@dataclass(frozen=True, slots=True)
class DepthwiseConv(Layer):
    """A convolution of each channel by itself; its kernel is [rows * columns, c]."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    same: bool = True
    bias: bool = True

    def _window(self, shape: Sequence[int | None]) -> Window:
        rows, columns = (int(d or 0) for d in shape[:2])
        return Window.of((rows, columns), self.kernel, self.stride, same=self.same)

    def output(self, *shapes: Dims) -> Dims:
        check_image(shapes[0], "a depthwise convolution")
        return (*self._window(shapes[0]).size_out, shapes[0][2])

    def parameters(self, *shapes: Dims) -> tuple[Parameter, ...]:
        places, channels = self.kernel[0] * self.kernel[1], shapes[0][2]
        kernel = Parameter("kernel", (places, channels), fan_in=places)
        return (kernel, Parameter("bias", (channels,))) if self.bias else (kernel,)

    def forward(self, g: Graph, trace: Trace) -> int:
        trace.kept = self._window(g.shape(trace.inputs[0])[1:]).taps(g, trace.inputs[0])
        total = _weighted(g, trace.kept, trace.parameters[0])
        return g.binary("Add", total, trace.parameters[1]) if self.bias else total

    def input_errors(self, g: Graph, trace: Trace, error: int) -> list[int]:
        window = self._window(g.shape(trace.inputs[0])[1:])
        return [_weighted(g, window.error_taps(g, error), g.reverse_first(trace.parameters[0]))]

    def gradients(self, g: Graph, trace: Trace, error: int) -> list[int]:
        channels = int(g.shape(error)[3] or 0)
        rows = [g.sum(g.binary("Mul", tap, error), [0, 1, 2]) for tap in trace.kept]
        kernel = g.concatenate(rows, [len(rows) * channels])
        return [kernel, g.sum(error, [0, 1, 2])] if self.bias else [kernel]


def _weighted(g: Graph, taps: list[int], kernel: int) -> int:
    """Sum of taps [n, h, w, c], each times its row of kernel [taps, c]."""
    channels = int(g.shape(kernel)[1] or 0)
    values = g.flat(kernel)
    total = -1
    for place, tap in enumerate(taps):
        part = g.binary("Mul", tap, g.slice(values, place * channels, channels))
        total = part if place == 0 else g.binary("Add", total, part)
    return total
