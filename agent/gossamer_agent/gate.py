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
    """Refuses candidates that are not finite or catastrophic, and nothing else.

    A device has few hold-out samples, and of its own skewed distribution: a good merge of peers
    who saw other classes often looks worse on them than parameters that fit the own data, and a
    device that refused it might drift off and go on refusing. So a candidate is catastrophic
    only if it is worse than the current parameters and its loss is above `guessing_share` times
    that of blind guessing: ln(classes) nats, or what the score says of itself. With fewer than
    `samples_min` samples one hard one would decide: then only finiteness is asked for.

    A hold-out of one class can make every good merge look catastrophic. So after `patience`
    refusals in a row the next finite candidate passes: liars who stay that long are for the merge
    to bear.
    """

    guessing_share: float = 1.5
    samples_min: int = 3
    patience: int = 8

    def __post_init__(self) -> None:
        if not 1.0 <= self.guessing_share < math.inf:
            raise ValueError(f"guessing_share {self.guessing_share} is below 1 or not finite")

    def decide(
        self, current: Score, candidate: Score, classes: int, *, refused: int = 0
    ) -> Verdict:
        """Compare mean losses on the same hold-out data. refused: how many in a row were before.

        Current parameters without a finite loss lose to any candidate that has one. Raises
        ValueError for fewer than two classes where the score names no loss of blind guessing.
        """
        blind = candidate.blind
        if blind is None:
            if classes < 2:
                raise ValueError(f"{classes} classes: at least two are needed")
            blind = math.log(classes)
        current_loss, candidate_loss = current.loss, candidate.loss
        if not math.isfinite(candidate_loss):
            return Verdict(False, "candidate loss is not finite")
        if not math.isfinite(current_loss):
            return Verdict(True, "current loss is not finite")
        if candidate.samples < self.samples_min:
            return Verdict(True, f"{candidate.samples} hold-out samples are too few to judge by")
        limit = max(current_loss, self.guessing_share * blind)
        if candidate_loss > limit:
            if refused >= self.patience:
                return Verdict(True, f"loss {candidate_loss:.3f}, after {refused} refusals a trial")
            return Verdict(False, f"loss {candidate_loss:.3f} is above {limit:.3f}")
        return Verdict(True, f"loss {candidate_loss:.3f}, before {current_loss:.3f}")
