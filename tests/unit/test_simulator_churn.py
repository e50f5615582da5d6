from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_simulator.churn import CHURN_MAX, ROUNDS_AWAY_MAX, absences


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def share_away(spans: list[tuple[int, int]], rounds: int) -> float:
    return sum(end - first for first, end in spans) / rounds


@given(seed=st.integers(0, 2**32), churn=st.floats(0, CHURN_MAX), rounds=st.integers(1, 60))
def test_absences_are_short_apart_and_within_the_run(seed: int, churn: float, rounds: int) -> None:
    spans = absences(rng(seed), churn, rounds)
    back = 0  # nobody is away in round 0
    for first, end in spans:
        assert back < first < end <= rounds
        assert end - first <= ROUNDS_AWAY_MAX
        back = end


@pytest.mark.parametrize("churn", [0.02, 0.1, 0.3, 0.5, CHURN_MAX])
def test_peers_are_away_for_the_share_of_rounds_asked_for(churn: float) -> None:
    rounds = 60_000
    assert share_away(absences(rng(), churn, rounds), rounds) == pytest.approx(churn, rel=0.1)


def test_absences_of_all_lengths_occur() -> None:
    spans = absences(rng(), 0.3, 2000)
    assert {end - first for first, end in spans} == {1, 2, 3, 4}


def test_without_churn_nobody_leaves() -> None:
    assert absences(rng(), 0.0, 10_000) == []


def test_a_seed_gives_the_same_absences() -> None:
    assert absences(rng(1), 0.2, 100) == absences(rng(1), 0.2, 100)
    assert absences(rng(1), 0.2, 100) != absences(rng(2), 0.2, 100)
