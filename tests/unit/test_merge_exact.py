"""Exact scalars: the same integers from numpy in any blocking and from Python's own."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.exact import (
    BLOCK_MAX,
    GRID_BITS,
    Gram,
    distances_to,
    exact_gram,
    median_by_votes,
    peak_of,
)


def vectors(count: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of very different scale, and a reference."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-6, 4, (count, 1))
    reference = rng.normal(size=size).astype(np.float32)
    return (reference + scales * rng.normal(size=(count, size))).astype(np.float32), reference


def python_gram(rows: np.ndarray, reference: np.ndarray) -> tuple[list[list[int]], list[int]]:
    """The same in exact rational arithmetic."""
    integers, shifts = [], []
    for row in rows:
        differences = [np.float32(a - b) for a, b in zip(row, reference, strict=True)]
        shift = GRID_BITS - math.frexp(max(abs(float(value)) for value in differences))[1]
        shifts.append(shift)
        integers.append(
            [round(Fraction(float(value)) * Fraction(2) ** shift) for value in differences]
        )
    products = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in integers] for a in integers]
    return products, shifts


@pytest.mark.parametrize("seed", range(5))
def test_products_are_those_of_python_integers(seed: int) -> None:
    rows, reference = vectors(5, 300, seed)
    gram = exact_gram(rows, reference)
    products, shifts = python_gram(rows, reference)
    assert gram.products.tolist() == products
    assert gram.shifts.tolist() == shifts


@pytest.mark.parametrize("block", [7, 100, 1024, 4999, BLOCK_MAX])
def test_blocks_do_not_matter(block: int) -> None:
    rows, reference = vectors(6, 5000)
    whole, parts = exact_gram(rows, reference), exact_gram(rows, reference, block=block)
    np.testing.assert_array_equal(whole.products, parts.products)
    np.testing.assert_array_equal(whole.shifts, parts.shifts)
    np.testing.assert_array_equal(
        distances_to(rows, reference), distances_to(rows, reference, block=block)
    )


@pytest.mark.parametrize("count", [1, 2, 3, 9, 16, 17, 22])
def test_both_kinds_of_product_and_known_peaks_give_the_same(count: int) -> None:
    rows, reference = vectors(count, 3000, seed=count)
    gram = exact_gram(rows, reference)
    differences = np.float32(rows - reference)
    integers = np.rint(np.ldexp(differences.astype(np.float64), gram.shifts[:, None]))
    assert np.abs(integers).max() <= 2**GRID_BITS
    # Sums of Python integers.
    expected = integers.astype(np.int64).astype(object) @ integers.astype(np.int64).T.astype(object)
    assert gram.products.tolist() == expected.tolist()
    known = exact_gram(rows, reference, peaks=np.abs(differences).max(axis=1))
    np.testing.assert_array_equal(known.products, gram.products)
    np.testing.assert_array_equal(known.shifts, gram.shifts)


def test_order_of_rows_does_not_matter() -> None:
    rows, reference = vectors(9, 20_000)
    order = np.random.default_rng(1).permutation(9)
    squares = exact_gram(rows, reference).squared_distances()
    shuffled = exact_gram(rows[order], reference).squared_distances()
    assert shuffled.tobytes() == squares[np.ix_(order, order)].tobytes()
    distances = distances_to(rows, reference)
    assert distances_to(rows[order], reference).tobytes() == distances[order].tobytes()


def test_sums_do_not_round_where_float64_would() -> None:
    """Values at the largest grid point in every coordinate: the sum needs all 53 bits."""
    rows = np.ones((2, BLOCK_MAX), np.float32)
    rows[:, -1] = np.float32(1 - 2**-19)
    gram = exact_gram(rows, np.zeros(BLOCK_MAX, np.float32), block=BLOCK_MAX)
    # frexp puts 1.0 at 0.5 * 2^1, so that it becomes half of the largest integer.
    one = 2 ** (GRID_BITS - 1)
    assert gram.products[0, 1] == (BLOCK_MAX - 1) * one**2 + round(one * (1 - 2**-19)) ** 2


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_close_to_float64(seed: int) -> None:
    rows, reference = vectors(8, 4810, seed)
    wide = rows.astype(np.float64)
    gram = exact_gram(rows, reference)
    norms = ((wide - reference) ** 2).sum(axis=1)
    squares = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(np.diagonal(gram.inner()), norms, rtol=1e-6)
    tolerance = 1e-6 * (norms[:, None] + norms[None])
    assert (np.abs(gram.squared_distances() - squares) <= tolerance).all()
    np.testing.assert_allclose(distances_to(rows, reference), np.sqrt(norms), rtol=1e-6)


def test_one_huge_value_does_not_hide_distances_between_other_rows() -> None:
    rows, reference = vectors(4, 1000)
    expected = exact_gram(rows, reference).squared_distances()
    hostile = np.vstack([rows, reference])
    hostile[4, 3] = 1e4
    squares = exact_gram(hostile, reference).squared_distances()
    np.testing.assert_array_equal(squares[:4, :4], expected)


def test_equal_rows_are_at_distance_zero() -> None:
    rows, reference = vectors(3, 5000)
    squares = exact_gram(rows[[0, 1, 0, 2]], reference).squared_distances()
    assert squares[0, 2] == squares[2, 0] == 0
    assert (np.diagonal(squares) == 0).all()
    assert np.count_nonzero(squares) == 10


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, 1e-38, 9e29])
def test_extreme_differences(value: float) -> None:
    rows = np.array([[value, 0.0], [0.0, value]], np.float32)
    gram = exact_gram(rows, np.zeros(2, np.float32))
    assert np.isfinite(gram.squared_distances()).all()
    expected = 0.0 if value < 1e-37 else float(np.float32(value))
    np.testing.assert_allclose(distances_to(rows, np.zeros(2, np.float32)), expected, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_squared_distances_are_a_metric_of_sorts(count: int, size: int, seed: int) -> None:
    rows, reference = vectors(count, size, seed)
    squares = exact_gram(rows, reference).squared_distances()
    assert (squares >= 0).all()
    np.testing.assert_array_equal(squares, squares.T)
    assert (np.diagonal(squares) == 0).all()


@pytest.mark.parametrize("block", [0, -1, BLOCK_MAX + 1])
def test_blocks_that_could_round_are_refused(block: int) -> None:
    with pytest.raises(ValueError, match="block"):
        exact_gram(np.zeros((2, 2), np.float32), np.zeros(2, np.float32), block=block)


def test_reference_of_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        exact_gram(np.zeros((2, 2), np.float32), np.zeros(3, np.float32))


def test_inner_scales_by_both_shifts() -> None:
    gram = Gram(np.array([[4, 6], [6, 9]]), np.array([1, -1]))
    np.testing.assert_array_equal(gram.inner(), [[1.0, 6.0], [6.0, 36.0]])


@pytest.mark.parametrize(
    ("values", "votes", "median"),
    [
        ([3.0], [1], 3.0),
        ([1.0, 2.0], [1, 1], 1.0),
        ([3.0, 1.0, 2.0], [1, 1, 1], 2.0),
        ([3.0, 1.0, 2.0], [5, 1, 1], 3.0),
        ([3.0, 1.0, 2.0], [0, 1, 2], 2.0),
        ([4.0, 1.0, 2.0, 3.0], [1, 1, 1, 1], 2.0),
    ],
)
def test_median_by_votes(values: list[float], votes: list[int], median: float) -> None:
    assert median_by_votes(np.array(values), np.array(votes)) == median


@pytest.mark.parametrize("size", [1, 300, 40_000])
def test_peak_is_the_largest_difference(size: int) -> None:
    rows, reference = vectors(2, size)
    for row in rows:
        assert peak_of(row, reference) == np.abs(row - reference).max()
    assert peak_of(reference, reference) == 0
