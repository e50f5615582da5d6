"""Which followed peers help this device: for whom to keep the slots of the view.

A peer's usefulness is a moving average of what its replica would do to the own hold-out loss,

    s = s + WEIGHT * (F(x) - F((x + V) / 2) - s)

measured first-hand in merges and never exchanged. The view keeps the better half of its slots by
this score and fills the other half, and every slot that becomes free, by chance. That is
epsilon-greedy with epsilon one half: peers who flatter us can win the slots that chance once gave
them, and never more than half of the view.

It changes whom we follow, not how many votes they have: a loss on few and skewed hold-out data is
a weak signal, and as a vote it punishes honest peers with unusual data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import Final

from gossamer_crypto.identity import PeerId

WEIGHT: Final = 0.2
GAIN_MAX: Final = 1.0
"""Nats: one wild measurement must not outweigh all others."""
PEERS_MAX: Final = 4096
"""So many are remembered; the one that was measured longest ago is forgotten first."""


class Sticky(Enum):
    """Who keeps a slot of the view when others are renewed."""

    STANDING = "random"
    USEFUL = "useful"


class Usefulness:
    """Scores in nats; 0 for peers that were never tried."""

    def __init__(self) -> None:
        self._scores: dict[PeerId, float] = {}

    def observe(self, gains: Iterable[tuple[PeerId, float]]) -> None:
        """Take in measurements; such that are not finite count as the worst."""
        for peer, gain in gains:
            told = min(max(gain, -GAIN_MAX), GAIN_MAX) if math.isfinite(gain) else -GAIN_MAX
            before = self._scores.pop(peer, 0.0)
            self._scores[peer] = before + WEIGHT * (told - before)
            if len(self._scores) > PEERS_MAX:
                del self._scores[next(iter(self._scores))]

    def score(self, peer: PeerId) -> float:
        return self._scores.get(peer, 0.0)
