"""The model contract: what every peer of a swarm must agree on to exchange flat parameter vectors.

A genesis pins `Contract.digest()`, so two swarms whose vectors would not fit never mix.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from typing import Final

from gossamer_agent.errors import ModelError

PARAMETERS_MAX: Final = 1 << 26
CLASSES_MAX: Final = 1 << 16
DIMENSIONS_MAX: Final = 8
DIMENSION_MAX: Final = 1 << 20

_LABEL: Final = b"gossamer/v1/contract\0"
CLASSIFICATION: Final = "classification"
REGRESSION: Final = "regression"
# Task -> the fewest classes or outputs that make sense.
_TASKS: Final = {CLASSIFICATION: 2, REGRESSION: 1}


@dataclass(frozen=True, slots=True)
class Contract:
    """Shape and meaning of one model. Raises ModelError for values out of range.

    task: "classification" with labels int32 [n], or "regression" with labels float32 [n, outputs];
    classes: 2..65 536, for regression the number of outputs, 1..65 536; input_shape: of one sample,
    without the batch, 1..8 dimensions; parameters: length P of the flat float32 vector;
    bound: largest magnitude that a parameter may have, finite and positive.
    """

    task: str
    classes: int
    input_shape: tuple[int, ...]
    parameters: int
    bound: float = 1e4

    def __post_init__(self) -> None:
        if self.task not in _TASKS:
            raise ModelError(f"task {self.task!r} is unknown; known: {', '.join(_TASKS)}")
        _check_range("classes", self.classes, _TASKS[self.task], CLASSES_MAX)
        _check_range("parameters", self.parameters, 1, PARAMETERS_MAX)
        _check_range("number of input dimensions", len(self.input_shape), 1, DIMENSIONS_MAX)
        for dimension in self.input_shape:
            _check_range("input dimension", dimension, 1, DIMENSION_MAX)
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ModelError(f"bound must be finite and positive, not {self.bound}")

    def pack(self) -> bytes:
        """The one encoding: big-endian, fixed order, variable parts preceded by their length."""
        task = self.task.encode("ascii")
        return b"".join(
            (
                struct.pack(">B", len(task)),
                task,
                struct.pack(">IB", self.classes, len(self.input_shape)),
                struct.pack(f">{len(self.input_shape)}I", *self.input_shape),
                struct.pack(">Qd", self.parameters, self.bound),
            )
        )

    def digest(self) -> bytes:
        """SHA-256 over label and packing, 32 bytes."""
        return hashlib.sha256(_LABEL + self.pack()).digest()


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ModelError(f"{name} must be {lowest}..{highest}, not {value}")
