"""Answers the local API for a running agent.

Theory of operation. Inference has an interpreter of its own, so it does not wait for training, and
a thread of its own, so that nothing waits for it; only what takes less than a change of threads
does is computed at once. What answers is a snapshot: the parameters that the core
serves, with their round, hash and the head of the feed, taken together with the first question
after the core serves another vector and is at rest; until then the last snapshot answers. It
outlives the core: while the store fails, or the agent asks its neighbours after a restart of its
core, the last snapshot goes on answering.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import trio

from gossamer_agent.api.answering import AnsweringModel
from gossamer_agent.api.backend import Answered, ModelStatus, NotReadyError
from gossamer_agent.receipt import Version, sign_receipt
from gossamer_transport.replica import replica_hash

if TYPE_CHECKING:
    from gossamer_agent.data.reservoir import Added
    from gossamer_agent.data.schema import Schema
    from gossamer_agent.learner import Vector
    from gossamer_agent.node.node import Node

INFERENCES: Final = 1
"""At a time: an interpreter serves one call."""
INLINE_S_MAX: Final = 2e-4
"""CPU time of an inference that the event loop waits for; to a thread and back takes as long."""
_FADING: Final = 0.9
"""Of the longest time of one sample, per inference: one that was unlucky is forgotten."""


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """What answers. served: the vector of the core, of which `version` tells."""

    served: Vector
    version: Version


class NodeBackend:
    """The `Backend` of one node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._intake = node.means.intake
        self._model = AnsweringModel(node.means.learning.learner, node.device.model)
        self._snapshot: Snapshot | None = None
        self._inferring = trio.CapacityLimiter(INFERENCES)
        self._writing = trio.CapacityLimiter(1)
        self._sample_s = math.inf  # CPU time of a sample lately, at most
        self.answers = 0

    @property
    def schema(self) -> Schema:
        return self._intake.schema

    async def infer(self, x: npt.NDArray[np.float32], receipt: bool) -> Answered:
        """Scores of x float32 [n, ...]; probabilities for a classification."""
        snapshot = await self._now()
        if self._is_quick(len(x)):
            scores, personal = self._compute(snapshot, x)
        else:
            scores, personal = await trio.to_thread.run_sync(
                self._compute, snapshot, x, limiter=self._inferring
            )
        self.answers += len(x)
        version = snapshot.version
        signed = None
        if receipt:
            version = Version(
                version.swarm, version.model, version.replica, personal, version.round, version.head
            )
            sign = partial(sign_receipt, self._node.device.identity, version, x, scores)
            signed = await trio.to_thread.run_sync(sign, time.time_ns() // 1_000_000)
        return Answered(scores, version.round, version.replica.hex(), signed)

    async def observe(self, x: npt.NDArray[np.float32], y: npt.NDArray[Any]) -> Added:
        """Into the reservoir."""
        observe = partial(self._intake.observe, x, y, "api")
        added: Added = await trio.to_thread.run_sync(observe, limiter=self._writing)
        return added

    async def model(self) -> ModelStatus:
        """What answers; `ready` is False before anything does."""
        try:
            snapshot = await self._now()
        except NotReadyError:
            snapshot = None
        node, schema = self._node, self.schema
        learner = node.means.learning.learner
        return ModelStatus(
            swarm=node.device.genesis.name,
            model=node.device.config.device.model,
            sha256=learner.model_sha256.hex(),
            task=schema.contract.task,
            input_shape=list(schema.contract.input_shape),
            outputs=schema.contract.classes,
            parameters=learner.contract.parameters,
            labels=list(schema.words),
            inputs=list(schema.names),
            ready=snapshot is not None,
            round=0 if snapshot is None else snapshot.version.round,
            replica=None if snapshot is None else snapshot.version.replica.hex(),
            answers=self.answers,
        )

    async def status(self) -> msgspec.Struct:
        """As the status socket tells it."""
        return await self._node.status()

    async def metrics(self) -> bytes | None:
        """Prometheus text of this node."""
        return await self._node.metrics()

    def health(self) -> tuple[bool, str]:
        """Well unless its store fails, or it does not work yet."""
        state = self._node.life.state
        return self._node.life.runtime is not None, state

    def _compute(
        self, snapshot: Snapshot, x: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], bool]:
        self._intake.notice(x)
        was_ready, begun = self._model.is_ready, time.thread_time()
        answer = self._model.answer(snapshot.served, x)
        if was_ready:  # else the model was loaded as well
            took = (time.thread_time() - begun) / len(x)
            known = 0.0 if math.isinf(self._sample_s) else self._sample_s
            self._sample_s = max(took, known * _FADING)
        return answer

    def _is_quick(self, samples: int) -> bool:
        """Whether nobody would notice that the event loop computes this itself."""
        if not self._model.is_ready or self._inferring.borrowed_tokens:
            return False
        return samples * self._sample_s <= INLINE_S_MAX

    async def _now(self) -> Snapshot:
        """The newest snapshot. Raises NotReadyError before the first."""
        runtime, known = self._node.life.runtime, self._snapshot
        if runtime is None:
            if known is None:
                raise NotReadyError(f"the agent cannot answer yet: {self._node.life.state}")
            return known
        if known is not None and (known.served is runtime.core.served or runtime.at_rest.locked()):
            return known
        async with runtime.at_rest:  # else its parts may be of different rounds
            served, round_, kept = runtime.core.served, runtime.core.round, runtime.kept
        head = None
        if kept is not None:
            head = (kept.header.incarnation, kept.header.seq, kept.entry_hash)
        model = self._node.means.learning.learner.model_sha256
        swarm = self._node.device.genesis.swarm_id
        replica = await trio.to_thread.run_sync(replica_hash, served)
        self._snapshot = Snapshot(served, Version(swarm, model, replica, False, round_, head))
        return self._snapshot
