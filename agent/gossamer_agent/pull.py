"""Where the own data pull a device: to most of its inputs, or to those who stand apart? Pure.

Theory of operation. The inputs of a merge are in two groups: the majority, whose balls are small,
and those who stand apart from it. The local steps since the last merge go where the own data say
the error is less. If honest devices are the majority, the own steps lead away from liars: the
cosine with the way from the majority to those apart is negative, or about zero where these are
honest devices with other data. In a view that liars hold it is positive, round after round. No
majority can forge that, for the own data are no input of theirs. Measured in docs/adr/0016.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from gossamer_agent.merge.exact import Scalars, exact_gram
from gossamer_agent.merge.kernels import Vector

ASIDE: Final = 1.5
"""Whose ball is so many times the smallest one is not of the majority."""
MANY: Final = 3
"""One in so many must stand aside: an honest outlier has one or two of its kind in a view."""


def pull_from_majority(
    before: Vector, after: Vector, rows: Sequence[Vector], own: int, balls: Scalars
) -> float:
    """Cosine of the own step with the way from the majority to those who stand aside.

    0 where fewer than a third of the others stand aside, or all do.

    before, after: float32[P], the own parameters around the local steps. rows: K inputs of a merge
    float32[P]; own: which of them is not in either group. balls: float64[K], radii of the balls
    around them that hold most of the votes, infinite for one that was left out. The same bits on
    every CPU, in whatever order the rows come. Raises ValueError for rows of unlike shape.
    """
    others = np.isfinite(balls)  # who was left out of the merge has no place
    others[own] = False
    aside = others & (balls > ASIDE * balls.min())
    majority = others & ~aside
    if MANY * np.count_nonzero(aside) < np.count_nonzero(others) or not majority.any():
        return 0.0
    members = np.flatnonzero(others)
    weights = np.where(aside, 1.0 / np.count_nonzero(aside), -1.0 / np.count_nonzero(majority))
    weights = np.append(0.0, weights[members])
    inner = exact_gram([after, *(rows[member] for member in members)], before).inner()
    along = math.fsum((inner[0] * weights).tolist())
    step = float(inner[0, 0])
    way = math.fsum((weights[:, None] * weights * inner).ravel().tolist())
    if step <= 0.0 or way <= 0.0:
        return 0.0
    return min(max(along / (math.sqrt(step) * math.sqrt(way)), -1.0), 1.0)
