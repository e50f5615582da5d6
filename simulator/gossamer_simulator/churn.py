"""Who is away when: peers leave for some rounds and come back with all their state."""

from __future__ import annotations

import numpy as np

ROUNDS_AWAY_MAX = 4
CHURN_MAX = 0.7
"""One round between absences of 2.5 on average is the least: 2.5 of 3.5 rounds away."""


def absences(rng: np.random.Generator, churn: float, rounds: int) -> list[tuple[int, int]]:
    """Spans of rounds [first, end) in which one peer is offline; about `churn` of all rounds.

    An absence lasts 1 to 4 rounds (2.5 on average), so it begins in churn / (2.5 (1 - churn)) of
    the rounds in which the peer is there.
    """
    mean_away = (1 + ROUNDS_AWAY_MAX) / 2
    begins = churn / (mean_away * (1.0 - churn))
    spans, round_ = [], 1  # everybody is there at the start
    while round_ < rounds:
        if rng.random() < begins:
            away = int(rng.integers(1, ROUNDS_AWAY_MAX + 1))
            spans.append((round_, min(round_ + away, rounds)))
            round_ += away
        round_ += 1
    return spans
