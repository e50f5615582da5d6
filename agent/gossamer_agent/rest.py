"""What an agent has learnt but not yet published, and how much of it a merge may keep.

A merge replaces what others know of an agent, its replica, and keeps the rest: parameters minus
replica. With one bit per value a replica moves by the mean difference of a block and round, so a
coordinate that lies far beyond it falls behind for many rounds, and what is merged meanwhile is
added to it twice. That can feed on itself where a device has few, one-sided samples. So the rest is
bounded by what a replica can catch up with in a few rounds. It is a precaution: once the merge
itself is served, no gain of it could be measured (docs/adr/0003).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer_agent.learner import Vector
from gossamer_transport.codec import BLOCK, mean_magnitudes

ROUNDS_BEHIND_MAX: Final = 6


def bounded_rest(params: Vector, replica: Vector) -> Vector:
    """params - replica, float32[P], clipped to six times the mean magnitude of each block."""
    rest: Vector = params - replica
    reach = np.repeat(mean_magnitudes(rest) * np.float32(ROUNDS_BEHIND_MAX), BLOCK)[: rest.size]
    return np.clip(rest, -reach, reach, out=rest)
