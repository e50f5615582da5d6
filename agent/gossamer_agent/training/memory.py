"""What learning remembers from round to round on one device, and never sends."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer_agent.learner import Vector
from gossamer_agent.training.combining import AdaptiveState
from gossamer_agent.training.steppers import Moments


@dataclass(slots=True, eq=False)
class LearningMemory:
    """moments: of the local optimiser. adaptive: of the steps towards merges. base: float32 [P],
    the parameters after the last committed merge. proposed: what the newest merge would make of
    both, until the round's training says whether it was committed.
    """

    moments: Moments | None = None
    adaptive: AdaptiveState | None = None
    base: Vector | None = None
    proposed: tuple[Vector, AdaptiveState] | None = None

    def settle(self, *, committed: bool) -> None:
        """Adopt what was proposed, or forget it."""
        if committed and self.proposed is not None:
            self.base, self.adaptive = self.proposed
        self.proposed = None
