"""Where the own steps lead: from the majority, or from those who stand aside of it?"""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.pull import ASIDE, pull_from_majority
from gossamer_agent.standpoint import Outlook, Place, Standpoint

SIZE = 200
BEFORE = np.zeros(SIZE, np.float32)


def along(*places: float) -> list[np.ndarray]:
    """Rows so far along one direction."""
    return [np.full(SIZE, place, np.float32) for place in places]


def balls(majority: int, aside: int) -> np.ndarray:
    return np.array([1.0] * majority + [5.0] * aside)


def test_steps_to_those_aside_are_one_and_to_the_majority_minus_one() -> None:
    rows = [BEFORE, *along(-2.0, -2.1, -1.9, 3.0, 3.1)]
    for step, pull in ((0.5, 1.0), (-0.5, -1.0)):
        found = pull_from_majority(BEFORE, along(step)[0], rows, 0, balls(4, 2))
        assert found == pytest.approx(pull, abs=1e-6)


def test_one_or_two_of_eight_aside_are_outliers_and_no_other_group() -> None:
    step = along(1.0)[0]
    for aside, pull in ((0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0), (7, 1.0)):
        rows = [BEFORE, *along(*[-1.0] * (8 - aside), *[5.0] * aside)]
        found = pull_from_majority(BEFORE, step, rows, 0, balls(9 - aside, aside))
        assert found == pytest.approx(pull, abs=1e-6)


def test_equals_the_cosine_in_float64() -> None:
    rng = np.random.default_rng(5)
    for own in range(7):
        rows = list(rng.normal(size=(7, SIZE)).astype(np.float32))
        before, after = rng.normal(size=(2, SIZE)).astype(np.float32)
        far = rng.random(7) < 0.5
        far[[own - 1, own - 2]] = True, False
        mine = np.arange(7) == own
        wide = np.array(rows, np.float64)
        way = wide[far & ~mine].mean(axis=0) - wide[~far & ~mine].mean(axis=0)
        step = after.astype(np.float64) - before
        expected = step @ way / math.sqrt((step @ step) * (way @ way))
        found = pull_from_majority(before, after, rows, own, np.where(far, 9.0, 1.0))
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("after", "rows", "radii"),
    [
        (0.0, (0.0, 1.0, 1.0, -1.0), (1.0, 1.0, 1.0, 9.0)),  # no step
        (1.0, (0.0, 1.0, 2.0, 3.0), (1.0, 1.0, 1.0, ASIDE)),  # nobody aside
        (1.0, (0.0, 1.0, 2.0, 3.0), (1.0, 9.0, 9.0, 9.0)),  # nobody but the own one is not
        (1.0, (0.0, 1.0, 1.0, 1.0), (1.0, 1.0, 1.0, 9.0)),  # no way
        (1.0, (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
        (1.0, (0.0, 1.0, 2.0, 3.0), (1.0, 1.0, math.nan, 9.0)),
        (1.0, (0.0,), (0.0,)),
    ],
)
def test_where_there_is_nothing_to_tell_it_is_zero(
    after: float, rows: tuple[float, ...], radii: tuple[float, ...]
) -> None:
    with np.errstate(all="raise"):
        assert pull_from_majority(BEFORE, along(after)[0], along(*rows), 0, np.array(radii)) == 0.0


@pytest.mark.parametrize("useless", [np.nan, np.inf, 1e38])
def test_who_was_left_out_of_the_merge_is_in_no_group(useless: float) -> None:
    *rows, last = along(0.0, -1.0, -1.0, 5.0, 0.0)
    radii = np.array([1.0, 1.0, 1.0, 2.0, math.inf])
    last[:] = useless
    with np.errstate(all="raise"):
        found = pull_from_majority(BEFORE, along(1.0)[0], [*rows, last], 0, radii)
    assert found == pull_from_majority(BEFORE, along(1.0)[0], rows, 0, radii[:4])
    assert found == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_equal_bits_whatever_the_order_and_never_more_than_one(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = list((rng.normal(size=(count, SIZE)) * rng.choice([1e-6, 1, 1e6])).astype(np.float32))
    before, after = rng.normal(size=(2, SIZE)).astype(np.float32)
    radii = rng.choice([1.0, 1.2, 3.0, 7.0], count)
    found = pull_from_majority(before, after, rows, 0, radii)
    assert -1.0 <= found <= 1.0
    order = rng.permutation(count)
    mixed = [rows[index] for index in order]
    own = int(np.flatnonzero(order == 0)[0])
    again = pull_from_majority(before, after, mixed, own, radii[order])
    assert struct.pack(">d", again) == struct.pack(">d", found)


def test_a_device_among_liars_stands_apart_after_some_rounds() -> None:
    """They pull its parameters back in each merge, and its own steps lead to the honest again."""
    rng = np.random.default_rng(3)
    standpoint, seen = Standpoint(), []
    for _ in range(5):
        before = rng.normal(size=SIZE).astype(np.float32) / 50
        after = (before + 0.1 + rng.normal(size=SIZE) / 20).astype(np.float32)
        rows = [after, *along(-0.5, -0.5, -0.5, -0.5), *along(0.4, 0.6)]
        radii = balls(5, 2)
        pull = pull_from_majority(before, after, rows, 0, radii)
        assert pull > 0.7
        place = Place(most=1.0, near=1.0, radius=1.0, farthest=5.0, pull=pull)
        seen.append(standpoint.see(place))
    assert seen == [Outlook.TOGETHER] * 4 + [Outlook.APART]
