"""What an agent counts while it runs: rounds, merges, refusals, bytes, and its newest rounds.

It outlives the cores of one process: an agent that opened its store again counts on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import msgspec

from gossamer_agent.events import EvaluateDone, RoundDone
from gossamer_agent.learner import Score, Vector
from gossamer_crypto.errors import Reason

ROUNDS_KEPT: Final = 512
"""Newest rounds whose record is kept, for `status`."""

Judge: TypeAlias = Callable[[Vector], float]
"""(params float32[P]) -> accuracy 0..1 on test data; called in a thread."""


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One round that ended. merged: how many replicas were merged; 0: fewer than the quorum.

    holdout_loss, holdout_accuracy: on the hold-out samples (nats; 0..1), of the parameters that the
    gate chose; None for a round without a gate.
    accuracy: of the served parameters on the test data; None where there are none. bytes_sent:
    by the agent to its followers and followed peers, since the start. seconds: since the start.
    """

    round: int
    merged: int
    committed: bool
    holdout_loss: float | None
    accuracy: float | None
    bytes_sent: int
    seconds: float
    holdout_accuracy: float | None = None


@dataclass(slots=True)
class Tally:
    """Counters of one process. bytes_sent, frames_sent: what links took, not what arrived."""

    refused: Counter[Reason] = field(default_factory=Counter)
    rounds: int = 0
    merges: int = 0
    gate_refusals: int = 0
    bytes_sent: int = 0
    frames_sent: int = 0
    begun_s: float | None = None  # monotonic; set when the first round may begin
    history: deque[RoundRecord] = field(default_factory=lambda: deque(maxlen=ROUNDS_KEPT))

    def sent(self, size: int) -> None:
        self.bytes_sent += size
        self.frames_sent += 1

    def round_done(self, done: RoundDone) -> None:
        self.rounds += 1
        self.merges += done.merged > 0
        self.gate_refusals += done.merged > 0 and not done.committed


def chosen_score(gate: EvaluateDone | None, done: RoundDone) -> Score | None:
    """The hold-out score of what a round went on with; None if it judged nothing."""
    if gate is None or done.merged == 0:
        return None
    return gate.candidate if done.committed else gate.current
