"""How `grad` of a trainable .tflite is called: the fast way, and the one that always works.

The signature runner resizes and allocates all tensors at each call, which costs about as much as a
small model's arithmetic. Where `grad` is the file's first graph, an interpreter of its own that is
resized only when the batch size changes saves that.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gossamer_agent.learner import Targets, Vector


class GradientPath(Protocol):
    def __call__(self, weights: Vector, x: Vector, y: Targets) -> tuple[float, Vector]: ...


class DirectGradient:
    """`grad` as the primary graph of an interpreter of its own, resized when the batch changes."""

    def __init__(self, interpreter: Any, runner: Any) -> None:
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        self._interpreter = interpreter
        self._weights, self._x, self._y = (
            int(inputs[name]["index"]) for name in ("weights", "x", "y")
        )
        self._loss, self._gradient = (int(outputs[name]["index"]) for name in ("loss", "grad"))
        self._batch = 0

    def __call__(self, weights: Vector, x: Vector, y: Targets) -> tuple[float, Vector]:
        interpreter = self._interpreter
        if len(y) != self._batch:
            self._batch = 0
            interpreter.resize_tensor_input(self._x, x.shape, strict=True)
            interpreter.resize_tensor_input(self._y, y.shape, strict=True)
            interpreter.allocate_tensors()
            self._batch = len(y)
        interpreter.set_tensor(self._weights, weights)
        interpreter.set_tensor(self._x, x)
        interpreter.set_tensor(self._y, y)
        interpreter.invoke()
        # get_tensor returns copies.
        loss = interpreter.get_tensor(self._loss)
        return float(loss.ravel()[0]), interpreter.get_tensor(self._gradient)


class RunnerGradient:
    """`grad` through the signature runner, for files whose primary graph is another one."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner

    def __call__(self, weights: Vector, x: Vector, y: Targets) -> tuple[float, Vector]:
        out = self._runner(weights=weights, x=x, y=y)
        return float(np.ravel(out["loss"])[0]), out["grad"].copy()


def gradient_path(interpreter: Any, runner: Any) -> GradientPath:
    """The fastest way to `grad`. interpreter: a fresh one; runner: of the signature `grad`."""
    primary = (interpreter.get_input_details(), interpreter.get_output_details())
    signature = (runner.get_input_details(), runner.get_output_details())
    for tensors, named in zip(primary, signature, strict=True):
        if _identities(tensors) != _identities(named.values()):
            return RunnerGradient(runner)
    return DirectGradient(interpreter, runner)


def _identities(details: Any) -> set[tuple[int, str]]:
    return {(int(tensor["index"]), str(tensor["name"])) for tensor in details}
