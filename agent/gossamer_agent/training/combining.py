"""What a device makes of a merge: take it as it is, or take an adaptive step towards it.

Without a server each device plays the server's part for itself. With m the parameters after its
last committed merge and `merge(V)` the result of the rule, the pseudo-gradient is

    g = m - merge(V)

and the next m is a step along it (Reddi et al., Adaptive Federated Optimization, 2021):

    u = b1 u + (1 - b1) g
    FedAdam:  v = b2 v + (1 - b2) g^2
    FedYogi:  v = v - (1 - b2) g^2 sign(v - g^2)
    m = m - rate * u / (sqrt(v) + t)

u and v start at 0 (the paper's v at t^2 or more) and never leave the device. The rule has been
through with the liars before: they move g by what they move a merge. A step is about `rate` per
value and round; with FedAdam it is never above 2.4 times that, whatever g does, since
u^2 / v <= (1 - b1)^2 / (1 - b2) / (1 - b1^2 / b2) = 5.5 (Cauchy-Schwarz).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gossamer_agent.learner import Vector

REPLACE: Final = "replace"
ADAM: Final = "adam"
YOGI: Final = "yogi"
COMBINES: Final = (REPLACE, ADAM, YOGI)

FIRST: Final = 0.9
SECOND: Final = 0.99
"""Those of the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive:
    """The settings of a step. rate: about the largest change of a value per round; t: > 0."""

    kind: str
    rate: float
    t: float
    first: float = FIRST
    second: float = SECOND


@dataclass(frozen=True, slots=True, eq=False)
class AdaptiveState:
    """u and v, float32 [P]."""

    u: Vector
    v: Vector

    @classmethod
    def at_rest(cls, size: int) -> AdaptiveState:
        return cls(np.zeros(size, np.float32), np.zeros(size, np.float32))


def adaptive_step(
    base: Vector, merged: Vector, state: AdaptiveState, how: Adaptive
) -> tuple[Vector, AdaptiveState]:
    """-> (next parameters float32 [P], next state). base: m; no argument is changed."""
    first, second = np.float32(how.first), np.float32(how.second)
    one = np.float32(1)
    pull = base - merged
    square = pull * pull
    u = first * state.u + (one - first) * pull
    if how.kind == YOGI:
        v = state.v - (one - second) * square * np.sign(state.v - square)
    else:
        v = second * state.v + (one - second) * square
    step = np.float32(how.rate) * u / (np.sqrt(v) + np.float32(how.t))
    return base - step, AdaptiveState(u, v)
