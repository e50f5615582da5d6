"""Weighted medians: votes by what the receiver measured, and the cap on any of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.coordinatewise import median
from gossamer_agent.merge.kernels import Vector
from gossamer_agent.merge.result import ONE_VOTE
from gossamer_agent.merge.rules import get_rule
from gossamer_agent.merge.setting import Setting
from gossamer_agent.merge.weighting import (
    CAP,
    capped,
    median_by_accuracy,
    median_by_similarity,
    votes_by,
)

weights_of = st.lists(st.floats(0, 2.0**62), min_size=1, max_size=12).map(np.array)


def rows_of(seed: int, count: int = 7, size: int = 60) -> list[Vector]:
    return list(np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32))


@settings(max_examples=50)
@given(weights=weights_of)
def test_no_claim_gives_more_than_the_cap(weights: np.ndarray) -> None:
    """As for a sample count of 2^62 that somebody might claim."""
    limited = capped(weights)
    positive = np.sort(weights[weights > 0])
    if positive.size:
        assert limited.max() <= CAP * positive[(positive.size - 1) // 2]
    votes = votes_by(np.full(weights.size, ONE_VOTE, np.int64), weights)
    assert 0 < votes.max() <= CAP * ONE_VOTE and votes.min() >= 0


def test_a_claim_of_2_to_the_62_changes_no_coordinate_beyond_the_cap() -> None:
    rows = rows_of(1)
    shared = np.full(len(rows), ONE_VOTE, np.int64)
    modest, huge = np.ones(len(rows)), np.ones(len(rows))
    modest[3], huge[3] = CAP, 2.0**62
    assert votes_by(shared, huge).tolist() == votes_by(shared, modest).tolist()


def test_equal_weights_are_the_unweighted_lower_median() -> None:
    rows = rows_of(2)
    expected = median(rows, Setting(own=0)).vector
    for setting in (Setting(own=0), Setting(own=0, loss_of=lambda _: 0.7)):
        merged = median_by_accuracy(rows, setting)
        assert merged.vector.tobytes() == expected.tobytes()
        assert set(merged.votes.tolist()) == {ONE_VOTE}


def test_a_lower_loss_has_more_votes_and_none_more_than_twice_the_median_s() -> None:
    rows = rows_of(3, count=6)
    told = (0.1, 0.25, 0.5, 1.0, 2.0, np.nan)
    losses = {row.tobytes(): loss for row, loss in zip(rows, told, strict=True)}
    merged = median_by_accuracy(rows, Setting(own=0, loss_of=lambda row: losses[row.tobytes()]))
    assert (merged.votes / ONE_VOTE).tolist() == [2, 2, 1, 0.5, 0.25, 0]
    assert merged.losses is not None and np.isnan(merged.losses[5])


def test_copies_of_the_own_row_share_a_vote() -> None:
    rows = rows_of(4, count=9)
    for liar in (5, 6, 7):
        rows[liar] = rows[0]
    merged = median_by_similarity(rows, Setting(own=0))
    copies = merged.votes[[0, 5, 6, 7]].sum()
    assert copies <= CAP * ONE_VOTE * 1.01
    assert get_rule("weighted-median:similarity").inputs_min == 3


def test_who_pulls_the_same_way_weighs_more_than_who_pulls_back() -> None:
    rng = np.random.default_rng(5)
    way = rng.normal(size=200)
    rows = [
        (sign * way + rng.normal(size=200)).astype(np.float32) for sign in (1, 1, 1, -1, -1, 0, 0)
    ]
    votes = median_by_similarity(rows, Setting(own=0)).votes
    assert votes[1:3].min() > votes[3:5].max()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), liars=st.integers(1, 2))
@pytest.mark.parametrize("rule", ["weighted-median:accuracy", "weighted-median:similarity"])
def test_fewer_than_a_third_cannot_leave_the_range_of_the_others(
    rule: str, seed: int, liars: int
) -> None:
    """Even where each of them has the largest weight there is."""
    rows = rows_of(seed, count=7)
    for liar in range(liars):
        rows[liar] = np.full(60, 50.0 + liar, np.float32)
    told = {row.tobytes(): 1e-9 if index < liars else 1.0 for index, row in enumerate(rows)}
    setting = Setting(own=6, loss_of=lambda row: told[row.tobytes()])
    merged = get_rule(rule).merge(rows, setting).vector
    honest = np.array(rows[liars:])
    assert (merged <= honest.max(axis=0)).all() and (merged >= honest.min(axis=0)).all()
