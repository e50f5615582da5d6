"""How large the ball around an input is that holds most of the votes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.balls import squared_balls, third_ball
from gossamer_agent.merge.result import ONE_VOTE

VOTES = st.integers(0, 5) | st.integers(1, ONE_VOTE)


def points(*places: float) -> np.ndarray:
    return np.array(places, np.float64)[:, None]


def squares_of(rows: np.ndarray) -> np.ndarray:
    return ((rows[:, None] - rows[None]) ** 2).sum(axis=2)


def by_definition(distances: np.ndarray, votes: np.ndarray) -> float:
    """The smallest distance such that the votes within are more than half of all."""
    enough = [d for d in distances if 2 * sum(votes[distances <= d]) > sum(votes)]
    return float(min(enough))


@st.composite
def swarms(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """1 to 12 rows of small integers, many of them equally far from each other; their votes."""
    count = draw(st.integers(1, 12))
    places = st.lists(st.integers(-9, 9), min_size=2 * count, max_size=2 * count)
    votes = draw(st.lists(VOTES, min_size=count, max_size=count).filter(any))
    rows = np.array(draw(places), np.float64).reshape(count, 2)
    return rows, np.array(votes, np.int64)


@settings(max_examples=200, deadline=None)
@given(swarms())
def test_equals_the_definition(case: tuple[np.ndarray, np.ndarray]) -> None:
    rows, votes = case
    squares = squares_of(rows)
    expected = [by_definition(line, votes) for line in squares]
    assert squared_balls(squares, votes).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(swarms(), st.randoms(use_true_random=False))
def test_the_order_of_inputs_does_not_matter(case: tuple[np.ndarray, np.ndarray], random) -> None:
    rows, votes = case
    order = random.sample(range(len(rows)), len(rows))
    balls = squared_balls(squares_of(rows), votes)
    again = squared_balls(squares_of(rows[order]), votes[order])
    assert again.tolist() == balls[order].tolist()


@pytest.mark.parametrize(
    ("count", "neighbours"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (8, 4), (9, 4)]
)
def test_of_equal_votes_it_holds_half_of_the_others(count: int, neighbours: int) -> None:
    line = points(*range(count))
    votes = np.full(count, ONE_VOTE)
    assert squared_balls(squares_of(line), votes)[0] == neighbours**2


def test_copies_do_not_make_the_ball_of_a_liar_small() -> None:
    """Five of nine in one place, but with one vote together."""
    rows = points(50, 50, 50, 50, 50, 0, 1, 2, 3)
    votes = np.array([*[ONE_VOTE // 5] * 5, *[ONE_VOTE] * 4])
    balls = np.sqrt(squared_balls(squares_of(rows), votes))
    assert balls[:5].min() >= 48
    assert balls[5:].max() == 2
    counted = np.sqrt(squared_balls(squares_of(rows), np.full(9, ONE_VOTE)))
    assert counted[:5].max() == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_a_majority_bounds_the_ball_of_each_of_its_own(count: int, seed: int) -> None:
    """Wherever the minority is, nobody who agrees has a larger ball than their diameter."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 3))
    agreed = count // 2 + 1
    rows[agreed:] *= rng.choice([0, 0.1, 1, 50], (count - agreed, 1))
    squares = squares_of(rows)
    balls = squared_balls(squares, np.full(count, ONE_VOTE))
    assert balls[:agreed].max() <= squares[:agreed, :agreed].max()


@pytest.mark.parametrize(
    ("others", "radius"),
    [
        ((), 0),
        ((7,), 0),
        ((4, 7), 0),
        ((4, 5, 7), 4),
        ((4, 5, 6, 7, 9), 4),
        ((7, 4, 5, 6, 9, 8), 5),
    ],
)
def test_a_third_of_the_rows_is_counted_with_the_own_one(
    others: tuple[float, ...], radius: float
) -> None:
    rows = np.array([[0.0], *([other] for other in others)], np.float32)
    assert third_ball(rows, 0) == radius
