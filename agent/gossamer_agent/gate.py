"""The last check of a merge: candidate against current parameters on local hold-out data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gossamer_agent.learner import Score, Targets


def one_sidedness(targets: Targets, classes: int) -> float | None:
    """How unevenly labels int32 [n] are spread over `classes` of them: 0 evenly, 1 one class only.

    It is (S - 1/C) / (1 - 1/C), S the sum of the squared shares of the C classes (Simpson 1949).
    None for targets of a regression and where there are fewer than two classes.
    """
    if targets.ndim != 1 or classes < 2:
        return None
    shares = np.bincount(targets, minlength=classes) / max(len(targets), 1)
    even = 1.0 / classes
    return max(0.0, (float((shares * shares).sum()) - even) / (1.0 - even))


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
    device that refused it would drift off, go on refusing, and be missed by the others, who learn
    from nobody else what it knows. So a candidate is catastrophic only if it is worse than the
    current parameters and its loss is above

        guessing_share * blind + spread * sqrt(1 / samples + one_sidedness)

    blind: the loss of blind guessing, ln(classes) nats. The second part is what the mean loss of
    such a hold-out is uncertain by: rows err by about `spread` nats, and rows of one class err
    together, however many they are, because a swarm that hardly met a class yet is wrong about all
    of it. It is left out where a score says itself what blind guessing costs, as of a regression:
    its unit is not nats. Poison that has the better of a merge costs far more than either part.

    With fewer than `samples_min` samples one hard one would decide: then only finiteness is asked
    for. After `patience` refusals in a row the next finite candidate passes: liars who stay that
    long are for the merge to bear.
    """

    guessing_share: float = 1.5
    spread: float = 2.0
    samples_min: int = 3
    patience: int = 8

    def __post_init__(self) -> None:
        if not 1.0 <= self.guessing_share < math.inf:
            raise ValueError(f"guessing_share {self.guessing_share} is below 1 or not finite")

    def decide(
        self,
        current: Score,
        candidate: Score,
        classes: int,
        *,
        refused: int = 0,
        one_sided: float | None = None,
    ) -> Verdict:
        """Compare mean losses on the same hold-out data. refused: how many in a row were before.

        one_sided: `one_sidedness` of the hold-out labels, None where they are not known.

        Current parameters without a finite loss lose to any candidate that has one. Raises
        ValueError for fewer than two classes where the score names no loss of blind guessing.
        """
        catastrophe = self._catastrophe(candidate, classes, one_sided)
        current_loss, candidate_loss = current.loss, candidate.loss
        if not math.isfinite(candidate_loss):
            return Verdict(False, "candidate loss is not finite")
        if not math.isfinite(current_loss):
            return Verdict(True, "current loss is not finite")
        if candidate.samples < self.samples_min:
            return Verdict(True, f"{candidate.samples} hold-out samples are too few to judge by")
        limit = max(current_loss, catastrophe)
        if candidate_loss > limit:
            if refused >= self.patience:
                return Verdict(True, f"loss {candidate_loss:.3f}, after {refused} refusals a trial")
            return Verdict(False, f"loss {candidate_loss:.3f} is above {limit:.3f}")
        return Verdict(True, f"loss {candidate_loss:.3f}, before {current_loss:.3f}")

    def _catastrophe(self, candidate: Score, classes: int, one_sided: float | None) -> float:
        """The loss from which on a candidate is one."""
        if candidate.blind is not None:
            return self.guessing_share * candidate.blind
        if classes < 2:
            raise ValueError(f"{classes} classes: at least two are needed")
        limit = self.guessing_share * math.log(classes)
        if one_sided is None:
            return limit
        return limit + self.spread * math.sqrt(1.0 / max(candidate.samples, 1) + one_sided)
