"""What colluding attackers share: the parameters of every honest peer, as the papers assume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer_agent.learner import Vector
from gossamer_simulator.attackers.vectors import Seen


class Cabal:
    """Omniscience: the engine tells it each honest peer's parameters around its local steps."""

    def __init__(self, initial: Vector, honest: int) -> None:
        self._before: NDArray[np.float32] = np.tile(initial, (honest, 1))
        self._after = self._before.copy()
        self._seen: Seen | None = None

    def watch(self, row: int, before: Vector, after: Vector) -> None:
        """Honest peer number `row` went from `before` to `after` in its local steps."""
        self._before[row] = before
        self._after[row] = after
        self._seen = None

    def seen(self) -> Seen:
        """The state of the honest swarm now. Sums run down the rows: the same on every CPU."""
        if self._seen is None:
            mean = self._after.mean(axis=0)
            sd = np.sqrt(np.square(self._after - mean).mean(axis=0))
            self._seen = Seen(
                honest=self._after, mean=mean, sd=sd, before=self._before.mean(axis=0)
            )
        return self._seen
