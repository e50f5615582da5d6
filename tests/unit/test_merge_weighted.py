"""The weighted median against definitions: equal bits for all votes, ties and orders of rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer_agent.merge import weighted
from gossamer_agent.merge.kernels import BLOCK, blocks, coordinate_median
from gossamer_agent.merge.weighted import selection, weighted_lower_median

AWKWARD = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 1.0, -1.0, 3.4e38, -3.4e38, 1e-30], np.float32
)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.fixture(params=["circuit", "sort"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test runs both ways: by circuit where there is one, and always by sorting."""
    if request.param == "sort":
        monkeypatch.setattr(weighted, "compile_quantiles", lambda votes, shares: None)
    return str(request.param)


def awkward_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random values, many of them equal, mixed with those on which kernels trip."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-8, 8, (count, size)).astype(np.float32) / 4
    mask = rng.random(rows.shape) < 0.4
    rows[mask] = rng.choice(AWKWARD, int(mask.sum()))
    return rows


def positive_zeros(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, np.float32(0), values)


def by_definition(
    rows: np.ndarray, votes: np.ndarray, share: tuple[int, int] = (1, 2)
) -> np.ndarray:
    """The smallest value of a coordinate such that votes of values up to it are half of all."""
    part, whole = share
    quantile = np.full(rows.shape[1], np.inf, np.float32)
    for candidate in rows:
        below = ((rows <= candidate) * votes[:, None]).sum(axis=0)
        reached = whole * below >= part * votes.sum()
        quantile = np.where(reached, np.minimum(quantile, candidate), quantile)
    return positive_zeros(quantile)


def quantile(rows: np.ndarray, votes: np.ndarray, share: tuple[int, int]) -> np.ndarray:
    """What `selection` selects; all rows have votes."""
    length, select = selection(votes.tolist(), rows.shape[1], (share,))
    result = np.full(rows.shape[1], np.nan, np.float32)
    for block in blocks(result.size, length):
        (result[block],) = select([row[block] for row in rows])
    return positive_zeros(result)


def by_repetition(rows: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """The lower median of rows each of which occurs as often as it has votes."""
    repeated = np.sort(np.repeat(rows, votes, axis=0), axis=0)
    return positive_zeros(repeated[(len(repeated) - 1) // 2])


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def many_votes(count: int, seed: int) -> np.ndarray:
    """Votes as they occur, from clones among equals to all unlike; sometimes none for a row."""
    rng = np.random.default_rng(seed)
    votes = np.full(count, 65536)
    clones = int(rng.integers(1, count + 1))
    kind = seed % 4
    if kind == 0:
        votes[:clones] //= clones
    elif kind == 1:
        votes = rng.integers(30_000, 65_537, count)
    elif kind == 2:
        votes = rng.integers(0, 4, count)
    else:
        votes = rng.integers(1, 1 << 20, count) ** 2 // (1 << 17)
    votes[rng.integers(count)] += 1
    return rng.permutation(votes)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", range(1, 34))
def test_equals_the_definition(count: int) -> None:
    rows = awkward_rows(count, 300, seed=count)
    for seed in range(4):
        votes = many_votes(count, seed)
        assert same_bits(weighted_lower_median(rows, votes), by_definition(rows, votes))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8])
def test_all_ways_in_which_values_can_tie(count: int) -> None:
    """Every column of three values, for votes of every kind."""
    rows = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=count)), np.float32).T
    for seed in range(12):
        votes = many_votes(count, seed)
        assert same_bits(weighted_lower_median(rows, votes), by_definition(rows, votes))


@pytest.mark.usefixtures("way")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_the_median_of_repeated_rows_in_any_order(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 6)))
    rows = data.draw(hnp.arrays(np.float32, shape, elements=FINITE))
    votes = np.array(data.draw(st.lists(st.integers(1, 9), min_size=shape[0], max_size=shape[0])))
    order = data.draw(st.permutations(range(shape[0])))
    expected = by_repetition(rows, votes)
    assert same_bits(weighted_lower_median(rows[order], votes[order]), expected)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_block_edges(size: int) -> None:
    rows = awkward_rows(5, size)
    votes = np.array([3, 1, 2, 2, 1])
    assert same_bits(weighted_lower_median(rows, votes), by_definition(rows, votes))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("votes", [[(1 << 29) - 3, 1, 1], [(1 << 28) - 1, 1 << 28], [1, 1 << 28]])
def test_votes_as_large_as_they_may_be(votes: list[int]) -> None:
    rows = awkward_rows(len(votes), 100)
    assert same_bits(
        weighted_lower_median(rows, np.array(votes)), by_definition(rows, np.array(votes))
    )


@pytest.mark.usefixtures("way")
def test_one_row_with_nearly_all_votes() -> None:
    rows = awkward_rows(9, 100)
    votes = np.array([(1 << 29) - 9, *[1] * 8])
    assert same_bits(weighted_lower_median(rows, votes), by_definition(rows, votes))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_equal_votes_give_the_median(count: int) -> None:
    rows = awkward_rows(count, 300)
    votes = np.full(count, 65536)
    assert same_bits(weighted_lower_median(rows, votes), coordinate_median(rows))


@pytest.mark.usefixtures("way")
def test_rows_without_votes_do_not_count_but_have_peaks() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 100)).astype(np.float32)
    votes = np.array([0, 5, 0, 7, 2, 0])
    peaks = np.full(6, 9e9, np.float32)
    median = weighted_lower_median(rows, votes, peaks=peaks)
    assert same_bits(median, weighted_lower_median(rows[[1, 3, 4]], votes[[1, 3, 4]]))
    np.testing.assert_array_equal(peaks, np.abs(rows - median).max(axis=1))


@pytest.mark.usefixtures("way")
def test_inputs_are_left_alone_and_may_be_strided() -> None:
    rows = awkward_rows(5, 64)
    kept, votes = rows.copy(), np.array([3, 1, 2, 2, 1])
    rows.flags.writeable = False
    median = weighted_lower_median(tuple(rows[:, ::2]), votes)
    assert same_bits(median, by_definition(rows[:, ::2], votes))
    assert same_bits(rows, kept)


@pytest.mark.usefixtures("way")
def test_exactly_half_of_the_votes_decide_for_the_lower_value() -> None:
    rows = np.array([[1.0], [2.0]], np.float32)
    assert weighted_lower_median(rows, np.array([2, 2]))[0] == 1
    assert weighted_lower_median(rows, np.array([2, 3]))[0] == 2


@pytest.mark.parametrize("votes", [[0, 0], [1, -1], [1], [1, 1, 1], [1 << 29, 1]])
def test_impossible_votes_are_refused(votes: list[int]) -> None:
    with pytest.raises(ValueError, match="no votes"):
        weighted_lower_median(np.zeros((2, 3), np.float32), np.array(votes))


# Other shares than half --------------------------------------------------------------------------

SHARES = [(2, 5), (3, 5), (1, 3), (9, 10), (1, 1000), (1, 1)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 12, 21, 33])
def test_every_share_equals_the_definition(count: int, share: tuple[int, int]) -> None:
    rows = awkward_rows(count, 300, seed=count)
    for seed in range(4):
        votes = np.maximum(many_votes(count, seed), 1)
        assert same_bits(quantile(rows, votes, share), by_definition(rows, votes, share))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("share", [(2, 5), (3, 5)])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_every_tie_with_every_small_vote(count: int, share: tuple[int, int]) -> None:
    """All columns of three values for all votes of one to three: exact shares are among them."""
    rows = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=count)), np.float32).T
    for weights in itertools.combinations_with_replacement((1, 2, 3), count):
        votes = np.array(weights)
        assert same_bits(quantile(rows, votes, share), by_definition(rows, votes, share))


@pytest.mark.usefixtures("way")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_shares_are_in_order_whatever_the_votes(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 6)))
    rows = data.draw(hnp.arrays(np.float32, shape, elements=FINITE))
    votes = np.array(data.draw(st.lists(st.integers(1, 9), min_size=shape[0], max_size=shape[0])))
    low, middle, high = (quantile(rows, votes, share) for share in ((2, 5), (1, 2), (3, 5)))
    assert ((low <= middle) & (middle <= high)).all()
    assert same_bits(middle, weighted_lower_median(rows, votes))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("share", [(2, 5), (3, 5)])
@pytest.mark.parametrize("votes", [[(1 << 29) - 3, 1, 1], [(1 << 28) - 1, 1 << 28], [1, 1 << 28]])
def test_shares_of_votes_as_large_as_they_may_be(votes: list[int], share: tuple[int, int]) -> None:
    rows, weights = awkward_rows(len(votes), 100), np.array(votes)
    assert same_bits(quantile(rows, weights, share), by_definition(rows, weights, share))
