"""The last check of a merge: candidate against current parameters on local hold-out data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gossamer_agent.learner import Score


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to commit a candidate, and why, in words for the log."""

    commit: bool
    why: str


@dataclass(frozen=True, slots=True)
class HoldoutGate:
    """Refuses candidates that are not finite or catastrophically worse, and nothing else.

    A device has few hold-out samples, and of its own skewed distribution: a good merge of peers
    who saw other classes often looks worse on them for a while. So the candidate may lose up to
    `margin_share` of the loss of blind guessing, ln(classes) nats, against the current parameters.
    With fewer than `samples_min` samples one hard sample could lock a device out of every merge:
    then only finiteness is asked for.
    """

    margin_share: float = 0.5
    samples_min: int = 5

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin_share < math.inf:
            raise ValueError(f"margin_share {self.margin_share} is negative or not finite")

    def decide(self, current: Score, candidate: Score, classes: int) -> Verdict:
        """Compare mean cross-entropy losses in nats on the same hold-out data.

        Current parameters without a finite loss lose to any candidate that has one. Raises
        ValueError for fewer than two classes.
        """
        if classes < 2:
            raise ValueError(f"{classes} classes: at least two are needed")
        current_loss, candidate_loss = current.loss, candidate.loss
        if not math.isfinite(candidate_loss):
            return Verdict(False, "candidate loss is not finite")
        if not math.isfinite(current_loss):
            return Verdict(True, "current loss is not finite")
        if candidate.samples < self.samples_min:
            return Verdict(True, f"{candidate.samples} hold-out samples are too few to judge by")
        margin = self.margin_share * math.log(classes)
        difference = candidate_loss - current_loss
        if difference > margin:
            return Verdict(False, f"loss rises by {difference:.3f}, more than {margin:.3f}")
        return Verdict(True, f"loss changes by {difference:+.3f}, margin {margin:.3f}")
