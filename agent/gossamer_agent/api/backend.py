"""What the routes of the local API ask of an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from gossamer_agent.data.reservoir import Added
from gossamer_agent.data.schema import Schema
from gossamer_agent.errors import AgentError
from gossamer_agent.receipt import Receipt


class NotReadyError(AgentError):
    """The agent cannot answer yet; it says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """scores: float32 [n, outputs], probabilities of the classes or the values of a regression;
    round, replica: of the model that answered, replica as hex.
    """

    scores: npt.NDArray[np.float32]
    round: int
    replica: str
    receipt: Receipt | None = None


class ModelStatus(msgspec.Struct, kw_only=True):
    """The model that answers now. ready: there is one; replica: SHA-256 of its parameters, hex;
    labels: words of the classes, if they have any; inputs: names of the features, if they have any;
    answers: inputs that were answered since the start.
    """

    swarm: str
    model: str
    sha256: str
    task: str
    input_shape: list[int]
    outputs: int
    parameters: int
    labels: list[str]
    inputs: list[str]
    ready: bool
    round: int
    replica: str | None
    answers: int


class Backend(Protocol):
    """An agent, for the routes. Raises NotReadyError where it cannot answer yet."""

    @property
    def schema(self) -> Schema:
        """What a sample must be like."""
        ...

    async def infer(self, x: npt.NDArray[np.float32], receipt: bool) -> Answered:
        """Answer x float32 [n, ...], n >= 1. Raises DataError, ModelError, NotReadyError."""
        ...

    async def observe(self, x: npt.NDArray[np.float32], y: npt.NDArray[Any]) -> Added:
        """Keep labelled samples. Raises DataError, StoreError."""
        ...

    async def model(self) -> ModelStatus:
        """The model that answers."""
        ...

    async def status(self) -> msgspec.Struct:
        """As `gossamer status --json`."""
        ...

    async def metrics(self) -> bytes | None:
        """Prometheus text; None if there are none."""
        ...

    def health(self) -> tuple[bool, str]:
        """Whether the agent works as it should, and its state in words."""
        ...
