"""Order statistics against np.sort: equal bits for every number of rows and every order of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer_agent.merge.kernels import (
    BLOCK,
    buffers_of,
    coordinate_median,
    trimmed_mean,
)

AWKWARD = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 1.0, -1.0, 3.4e38, -3.4e38, 1e-30], np.float32
)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def awkward_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Random values, many of them equal, mixed with those on which kernels trip."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(-8, 8, (count, size)).astype(np.float32) / 4
    mask = rng.random(rows.shape) < 0.4
    rows[mask] = rng.choice(AWKWARD, int(mask.sum()))
    return rows


def positive_zeros(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, np.float32(0), values)


def sorted_median(rows: np.ndarray) -> np.ndarray:
    return positive_zeros(np.sort(rows, axis=0)[(len(rows) - 1) // 2])


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("count", range(1, 66))
def test_median_equals_sort(count: int) -> None:
    rows = awkward_rows(count, 600, seed=count)
    assert same_bits(coordinate_median(rows), sorted_median(rows))


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_median_at_block_edges(size: int) -> None:
    rows = awkward_rows(5, size)
    assert same_bits(coordinate_median(rows), sorted_median(rows))


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 33), st.integers(1, 8)), elements=FINITE),
    st.randoms(use_true_random=False),
)
def test_median_is_the_sorted_one_in_any_order(rows: np.ndarray, random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert same_bits(coordinate_median(shuffled), sorted_median(rows))


@pytest.mark.parametrize("count", [1, 2, 3, 9, 16])
@pytest.mark.parametrize("size", [1, 300, BLOCK + 3])
def test_peaks_are_the_largest_differences_to_the_median(count: int, size: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)
    peaks = np.full(count, 9e9, np.float32)
    median = coordinate_median(rows, peaks=peaks)
    assert same_bits(median, coordinate_median(rows))
    np.testing.assert_array_equal(peaks, np.abs(rows - median).max(axis=1))


def test_median_takes_sequences_and_leaves_inputs_alone() -> None:
    rows = awkward_rows(7, 50)
    kept = rows.copy()
    rows.flags.writeable = False
    assert same_bits(coordinate_median(tuple(rows)), coordinate_median(rows))
    assert same_bits(rows, kept)


def test_median_of_strided_rows() -> None:
    rows = awkward_rows(5, 64)
    assert same_bits(coordinate_median(rows[:, ::2]), coordinate_median(rows[:, ::2].copy()))


def test_median_of_one_row_is_a_copy() -> None:
    row = np.array([-0.0, 2.0], np.float32)
    median = coordinate_median([row])
    median[1] = 3
    assert row[1] == 2
    assert not np.signbit(median[0])


@pytest.mark.parametrize("count", range(1, 20))
def test_trimmed_mean_against_float64(count: int) -> None:
    rows = np.random.default_rng(count).normal(size=(count, 200)).astype(np.float32)
    for trim in range((count + 1) // 2):
        kept = np.sort(rows, axis=0)[trim : count - trim].astype(np.float64)
        np.testing.assert_allclose(trimmed_mean(rows, trim), kept.mean(axis=0), atol=1e-6)


def test_trimmed_mean_has_the_same_bits_in_any_order() -> None:
    rows = np.random.default_rng(1).normal(size=(11, 500)).astype(np.float32)
    shuffled = rows[np.random.default_rng(2).permutation(11)]
    assert same_bits(trimmed_mean(rows, 3), trimmed_mean(shuffled, 3))


@pytest.mark.parametrize("trim", [-1, 2, 3])
def test_trimmed_mean_refuses_to_drop_all(trim: int) -> None:
    with pytest.raises(ValueError, match="cannot drop"):
        trimmed_mean(np.zeros((4, 1), np.float32), trim)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [np.zeros(3, np.float32), np.zeros(4, np.float32)],
        [np.zeros(3, np.float64)],
        np.zeros((2, 2, 2), np.float32),
    ],
)
@pytest.mark.parametrize("kernel", [coordinate_median, lambda rows: trimmed_mean(rows, 0)])
def test_kernels_refuse_what_are_not_rows(rows, kernel) -> None:
    with pytest.raises(ValueError, match="rows"):
        kernel(rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 33), st.integers(0, 2**32 - 1))
def test_median_lies_between_the_extremes(count: int, seed: int) -> None:
    rows = awkward_rows(count, 40, seed)
    median = coordinate_median(rows)
    assert (median >= rows.min(axis=0)).all()
    assert (median <= rows.max(axis=0)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_buffers_do_not_touch(dtype: type) -> None:
    buffers = buffers_of(3, 100, dtype)
    assert buffers.shape == (3, 100)
    assert buffers.dtype == dtype
    ends = [(buffer.ctypes.data, buffer.ctypes.data + buffer.nbytes) for buffer in buffers]
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(ends))
