"""How the learning rate changes from round to round."""

from __future__ import annotations

import math
from typing import Final

CONSTANT: Final = "constant"
COSINE: Final = "cosine"
SCHEDULES: Final = (CONSTANT, COSINE)

LOWEST: Final = 0.01
"""A cosine falls to this share of the rate: with a rate of 0 a device would say nothing new."""


def rate_factor(schedule: str, round_: int, period: int) -> float:
    """What the learning rate of a round, counted from 1, is multiplied by: LOWEST to 1.

    Cosine annealing with warm restarts (Loshchilov, Hutter 2017): it falls from 1 in the first
    round of a period to LOWEST in the last,

        LOWEST + (1 - LOWEST) / 2 * (1 + cos(pi * t / (period - 1))),   t = (round - 1) mod period

    and then starts again. Without a server there is no last round: a period is all the horizon
    that there is, and every device counts its own rounds. A period of 1 is a constant rate.
    """
    if schedule == CONSTANT or period <= 1:
        return 1.0
    done = (max(round_, 1) - 1) % period
    return LOWEST + (1.0 - LOWEST) / 2.0 * (1.0 + math.cos(math.pi * done / (period - 1)))
