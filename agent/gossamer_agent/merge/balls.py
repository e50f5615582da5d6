"""How far an input is from the majority of the votes: near for all who agree with it.

Krum scores inputs by such distances (Blanchard et al. 2017); the radius alone bounds how far a
minority can move what is inside. A liar has a small ball only if inputs with half of the votes are
near it, and copies, which share one vote, do not help it to that.
"""

from __future__ import annotations

import numpy as np

from gossamer_agent.merge.exact import Scalars, distances_to
from gossamer_agent.merge.kernels import Rows, Votes


def squared_balls(squares: Scalars, votes: Votes) -> Scalars:
    """Squared radius [K] of the ball around each input that holds more than half of the votes.

    squares: float64[K, K], squared distances between inputs; votes: int64[K], their sum positive.
    """
    order = np.argsort(squares, axis=1, kind="stable")
    held = np.cumsum(votes[order], axis=1)
    last = np.argmax(2 * held > held[:, -1:], axis=1)
    rows = np.arange(len(squares))
    balls: Scalars = squares[rows, order[rows, last]]
    return balls


def third_ball(rows: Rows, own: int) -> float:
    """Radius of the ball around row `own` that holds a third of the K rows, itself among them.

    By rows, not by votes: where most of the rows lie, they say which of the others are copies.
    """
    distances = np.sort(distances_to(rows, rows[own]))
    return float(distances[-(-len(rows) // 3) - 1])
