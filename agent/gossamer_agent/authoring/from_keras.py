"""A Keras model as a net of ours, layer by layer.

Theory of operation. Keras only reads the .keras file; what a layer computes and how its gradient
goes back is then written by `layers`, as for any other net. So the file has the same operators and
a free batch size, and what cannot be trained on a device is known by name before anything is made.
TensorFlow's converter is not used: the gradients of about half of the layers do not pass it.

Dropout and noise take no part, as when a model answers. Batch normalisation keeps the statistics of
the file; its scale and offset are learned. Layers with trainable = False become constants.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from gossamer_agent.authoring.keras_rules import (
    RULES,
    UnsupportedError,
    activation,
)
from gossamer_agent.authoring.layers import (
    Add,
    Dense,
    Dims,
    Floats,
    Layer,
)
from gossamer_agent.authoring.net import INPUT, Net
from gossamer_agent.contract import CLASSIFICATION, REGRESSION
from gossamer_agent.errors import ModelError

_IDLE: Final = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "SpatialDropout1D",
        "SpatialDropout2D",
    }
)
_SAMPLES: Final = 4
_TOLERANCE: Final = 1e-4


@dataclass(slots=True)
class Converted:
    """net and its first parameters float32 [P], those of the Keras model; steps: (layer, what
    became of it) for the report; samples: random inputs, and answers: what Keras says to them, in
    front of a last `head` (softmax, sigmoid or ""); warnings: lines for the user.
    """

    net: Net
    first: Floats
    steps: list[tuple[str, str]]
    samples: Floats
    answers: Floats
    head: str
    warnings: tuple[str, ...] = ()

    def check(self, logits: Floats) -> float:
        """The largest difference to Keras, relative to its largest answer. ModelError if large."""
        scale = max(1.0, float(np.abs(self.answers).max()))
        error = float(np.abs(_comparable(logits, self.head) - self.answers).max()) / scale
        if not error <= _TOLERANCE:
            raise ModelError(f"the converted model differs from Keras by {error:.1e}; not written")
        return error


def convert(path: Path, task: str | None = None, *, int8: bool = False) -> Converted:
    """Read a .keras file and make a net of it.

    task: "classification" or "regression", by default what the last layer says; int8: store frozen
    kernels as int8. Raises ModelError that names every layer that cannot be converted.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    model = _load(path)
    conversion = Conversion(int8=int8)
    try:
        end = conversion.walk(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    if conversion.problems:
        raise ModelError(f"{path}: cannot be converted: " + "; ".join(conversion.problems))
    net = conversion.finish(end, task)
    rng = np.random.default_rng(0)
    x = rng.random((_SAMPLES, *net.input_shape)).astype(np.float32)
    return Converted(
        net,
        np.concatenate([np.zeros(0, np.float32), *conversion.learned]),
        conversion.steps,
        x,
        conversion.answers(model, x),
        conversion.head,
        _unused_statistics(model),
    )


def _unused_statistics(model: Any) -> tuple[str, ...]:
    """A line if batch normalisation was never trained: as constants 0 and 1 it does nothing."""
    names = [
        layer.name
        for layer in model.layers
        if type(layer).__name__ == "BatchNormalization"
        and not np.any(layer.moving_mean)
        and np.all(np.asarray(layer.moving_variance) == 1)
    ]
    if not names:
        return ()
    return (
        f"batch normalisation {', '.join(names[:3])}{' ...' if names[3:] else ''} has the mean 0"
        " and variance 1 of a model that was never trained, and keeps them: a deep net may learn"
        " nothing. Train it in Keras for a while first (docs/models.md)",
    )


def _sentences(line: str, most: int = 200) -> str:
    """The whole sentences of a long line, as far as they fit."""
    if len(line) <= most:
        return line
    return line[: line.rfind(". ", 0, most) + 1] or f"{line[:most]}..."


def _load(path: Path) -> Any:
    # Both keep TensorFlow from talking about itself; the second one makes sums repeatable too.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        keras = importlib.import_module("keras")
    except ImportError:
        raise ModelError(
            "converting a Keras model needs the extras: pip install 'gossamer[authoring,keras]'"
        ) from None
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        # Keras raises whatever its deserialisation meets.
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path}: Keras cannot read it: {_sentences(line)}") from None
    if not model.built or not hasattr(model, "inputs") or len(model.inputs) != 1:
        raise ModelError(f"{path}: only a built Sequential or functional model with one input fits")
    if len(model.outputs) != 1:
        raise ModelError(f"{path}: has {len(model.outputs)} outputs; one is possible")
    return model


@dataclass(slots=True)
class Conversion:
    """One walk over a model, from its output back to its input and forth again."""

    int8: bool
    net: Net = field(default_factory=lambda: Net((), description="gossamer net from Keras"))
    learned: list[Floats] = field(default_factory=list)
    steps: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)  # id of an operation -> node
    head: str = ""  # softmax or sigmoid, if the model ends with it

    def walk(self, model: Any) -> int:
        """Convert all operations in order; -> the last node."""
        shape = tuple(model.inputs[0].shape[1:])
        if any(d is None for d in shape) or not shape:
            raise ModelError(f"the input must have fixed dimensions, not {shape}")
        self.net.input_shape = tuple(int(d) for d in shape)
        self.net.int8 = self.int8
        end = model.outputs[0]._keras_history
        for call in _in_order(model):
            self._convert(call, is_last=call.operation is end.operation)
        return self.places.get(id(end.operation), INPUT)

    def _convert(self, call: _Call, *, is_last: bool) -> None:
        operation = call.operation
        kind, name = type(operation).__name__, operation.name
        if kind == "InputLayer":
            self.places[id(operation)] = INPUT
            return
        try:
            if kind not in RULES and kind not in _IDLE and kind != "Add":
                raise UnsupportedError("is not supported; see docs/models.md for what is")
            if id(operation) in self.places:
                raise UnsupportedError("is used more than once")
            sources = [self.places[id(t._keras_history.operation)] for t in call.reads]
            node = self._place(operation, kind, sources, is_last=is_last)
        except (ModelError, KeyError, AttributeError) as error:
            if not isinstance(error, KeyError):  # what it reads from failed, and was named
                self.problems.append(f"layer {name!r} ({kind}) {error}")
            return
        self.places[id(operation)] = node

    def _place(self, operation: Any, kind: str, sources: list[int], *, is_last: bool) -> int:
        said = self._activation_of(operation)
        if is_last and said in ("softmax", "sigmoid"):
            self.head = said
            said = "linear"
        if kind in _IDLE:
            self.steps.append((operation.name, f"{kind}: left out, as when the model answers"))
            return sources[0]
        if kind == "Add":
            return self.add(operation, Add(), sources)
        node = RULES[kind](self, operation, sources[0])
        if said != "linear" and kind not in ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"):
            node = self.add(operation, activation(said), [node], suffix=f"_{said}")
        return node

    def _activation_of(self, operation: Any) -> str:
        if type(operation).__name__ == "Softmax":
            return "softmax"
        function = getattr(operation, "activation", None)
        return "linear" if function is None else str(getattr(function, "__name__", function))

    # What the rules use --------------------------------------------------------------------------

    def shape(self, node: int) -> Dims:
        return self.net.input_shape if node == INPUT else self.net.shapes[node]

    def add(
        self,
        operation: Any,
        layer: Layer,
        sources: Sequence[int],
        values: Sequence[Any] = (),
        *,
        suffix: str = "",
    ) -> int:
        """Append a layer with these first values; frozen if Keras does not train it."""
        name = operation.name.replace(".", "_").replace("/", "_") + suffix
        arrays = [np.asarray(value, np.float32) for value in values]
        frozen = bool(arrays) and not getattr(operation, "trainable", True)
        node = self.net.add(name, layer, sources, arrays if frozen else None)
        if not frozen:
            self.learned += [array.ravel() for array in arrays]
        count = sum(array.size for array in arrays)
        held = f", {count} values " + ("frozen" if frozen else "learned") if count else ""
        shape = " x ".join(map(str, self.shape(node)))
        self.steps.append((name, f"{type(layer).__name__} -> {shape}{held}"))
        return node

    # The end -------------------------------------------------------------------------------------

    def finish(self, end: int, task: str | None) -> Net:
        if end != len(self.net.nodes) - 1 or end == INPUT:
            raise ModelError("the model's last layer must come after all others, and compute")
        outputs = self.net.outputs
        guessed = REGRESSION if outputs == 1 and not self.head else CLASSIFICATION
        self.net.task = task or guessed
        if self.net.task == REGRESSION:
            if self.head:
                raise ModelError(f"the model ends with {self.head}, so it is no regression")
            return self.net
        if outputs == 1:
            self._two_classes()
        elif self.head == "sigmoid":
            raise ModelError(
                f"the model ends with {outputs} independent sigmoids; one class of several is"
                " learned here: end it with softmax or without activation"
            )
        elif self.head == "softmax":
            self.steps.append(("softmax", "left out: the loss has it; answers are logits"))
        return self.net

    def _two_classes(self) -> None:
        """One sigmoid as a softmax over (0, z)."""
        node = self.net.nodes[-1]
        if not isinstance(node.layer, Dense) or node.frozen is not None:
            raise ModelError("a sigmoid at the end must be that of a trained dense layer")
        values = [self.learned.pop() for _ in range(2 if node.layer.bias else 1)][::-1]
        self.net.nodes.pop()
        self.net.shapes.pop()
        self.net.add(node.name, Dense(2, bias=node.layer.bias), node.inputs)
        for value in values:
            self.learned.append(np.concatenate([np.zeros_like(value), value]))
        self.steps.append((node.name, "one sigmoid became two classes, 0 and 1"))

    def answers(self, model: Any, x: Floats) -> Floats:
        """What Keras computes in front of a last softmax or sigmoid, of softmax up to a shift."""
        keras = importlib.import_module("keras")
        y = np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), np.float64)
        if self.head == "softmax":
            y = np.log(np.maximum(y, 1e-30))
        elif self.head == "sigmoid":
            odds = np.log(np.maximum(y, 1e-30)) - np.log(np.maximum(1 - y, 1e-30))
            y = np.concatenate([np.zeros_like(odds), odds], axis=1)
        return y.astype(np.float32)


def _comparable(logits: Floats, head: str) -> Floats:
    """Logits in the form of `answers`."""
    if head != "softmax":
        return logits
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    chances: Floats = (shifted - np.log(np.exp(shifted).sum(1, keepdims=True))).astype(np.float32)
    return chances


@dataclass(frozen=True, slots=True)
class _Call:
    """One use of an operation: a Sequential calls its layers once more than it has them."""

    operation: Any
    reads: list[Any]


def _in_order(model: Any) -> list[_Call]:
    """All calls that the output depends on, each after what it reads."""
    order: list[_Call] = []
    seen: set[tuple[int, int]] = set()
    stack: list[tuple[Any, bool]] = [(model.outputs[0]._keras_history, False)]
    while stack:
        history, is_done = stack.pop()
        node = history.operation._inbound_nodes[history.node_index]
        if is_done:
            order.append(_Call(history.operation, list(node.input_tensors)))
        elif (id(history.operation), history.node_index) not in seen:
            seen.add((id(history.operation), history.node_index))
            stack.append((history, True))
            stack += [(tensor._keras_history, False) for tensor in reversed(node.input_tensors)]
    return order


def supported() -> list[str]:
    """Names of the Keras layers that can be converted, for the report and the documents."""
    return sorted([*RULES, *_IDLE, "Add", "InputLayer"])
