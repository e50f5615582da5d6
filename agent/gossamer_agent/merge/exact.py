"""Distances between vectors that have the same bits on every CPU.

Theory of operation. A long float sum depends on the order of its terms, and that order differs
between CPUs, BLAS builds and numpy versions. So every difference `row - reference` is rounded to
whole multiples of a power of two, at most 2^19 of them. Products of these integers, summed over
blocks short enough for the sum to stay below 2^53, are exact in float64 in whatever order a BLAS
takes them (and with fused multiply-add), and blocks are summed in int64. What follows on K x K
scalars is done with + - * / and square root, which IEEE 754 rounds correctly, or with integers. No
exp, log or pow: these differ in the last bit between C libraries. See docs/adr/0001.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.kernels import (
    Rows,
    Vector,
    Votes,
    block_length,
    blocks,
    check_rows,
    raise_peaks,
    subtract,
)

Scalars: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]

GRID_BITS: Final = 19
"""The largest difference of a row becomes an integer of at most 2^19."""
BLOCK_MAX: Final = 1 << 15
"""Coordinates per product: 2^15 terms of at most 2^38 sum to at most 2^53."""

# Rows up to which K products of a matrix and a vector, half of all inner products, take less time
# than one symmetric product, which packs its operands first (OpenBLAS on x86-64: 4.3 against 7.5 ns
# per coordinate for 9 rows, 12.6 against 13.0 for 16).
_TRIANGLE_MAX: Final = 16

_EXPONENT_MIN: Final = -100  # A grid finer than 2^-119 would leave the range of float32.


@dataclass(frozen=True, slots=True)
class Gram:
    """Inner products of differences: `products[i, j] * 2**-(shifts[i] + shifts[j])`, exactly."""

    products: Integers
    shifts: Integers

    def inner(self) -> Scalars:
        """Inner products float64[K, K]; their diagonal holds the squared norms."""
        return _scale(self.products, -(self.shifts[:, None] + self.shifts[None, :]))

    def squared_distances(self) -> Scalars:
        """Squared distances float64[K, K] between rows; exactly 0 between equal rows."""
        inner = self.inner()
        norms = np.diagonal(inner)
        squares: Scalars = np.maximum(norms[:, None] + norms[None, :] - 2.0 * inner, 0.0)
        return squares


def exact_gram(
    rows: Rows, reference: Vector, *, peaks: Vector | None = None, block: int | None = None
) -> Gram:
    """Inner products of the differences of K rows to a reference.

    `rows` is float32[K, d] or K vectors float32[d], `reference` float32[d], all finite and below
    1e30 in size. `peaks` float32[K] are the largest sizes of each row's differences, where they are
    known already (`coordinate_median`). The relative error against real numbers is about 1e-6 of
    the squared norms; the bits do not depend on the CPU, on `block` (at most BLOCK_MAX) or on the
    order of the rows.
    """
    grid = _Grid(rows, reference, peaks, block)
    count = len(grid.rows)
    products = np.zeros((count, count), np.int64)
    upper = np.zeros((count, count), np.float64)
    for integers in grid:
        if count > _TRIANGLE_MAX:
            np.matmul(integers, integers.T, out=upper)
        else:
            for index, row in enumerate(integers):
                np.dot(integers[index:], row, out=upper[index, index:])
        products += upper.astype(np.int64)
    return Gram(np.triu(products) + np.triu(products, 1).T, grid.shifts)


def peak_of(row: Vector, reference: Vector) -> np.float32:
    """The largest size of the differences of one row float32[d] to the reference."""
    (row,) = check_rows([row])
    return np.float32(_Differences([row], reference, block_length(4)).peaks()[0])


def distances_to(rows: Rows, reference: Vector, *, block: int | None = None) -> Scalars:
    """Euclidean distance float64[K] of each row to the reference, on the grid of `exact_gram`."""
    grid = _Grid(rows, reference, None, block)
    squares = np.zeros(len(grid.rows), np.int64)
    for integers in grid:
        squares += np.einsum("ij,ij->i", integers, integers).astype(np.int64)
    return np.sqrt(_scale(squares, -2 * grid.shifts))


def median_by_votes(values: Scalars, votes: Votes) -> float:
    """The lower median of K scalars, each counted as often as it has votes."""
    order = np.argsort(values, kind="stable")
    running = np.cumsum(votes[order])
    return float(values[order[np.searchsorted(2 * running, running[-1])]])


class _Differences:
    """Iterates over blocks of the differences of rows to a reference, float32[K, block].

    The array is reused from block to block.
    """

    def __init__(self, rows: Sequence[Vector], reference: Vector, block: int) -> None:
        self.rows = rows
        self.reference = check_rows([reference, rows[0]])[0]
        self._block = block
        self._buffer = np.empty((len(rows), min(block, reference.size)), np.float32)

    def __iter__(self) -> Iterator[Vector]:
        for block in blocks(self.reference.size, self._block):
            parts = [row[block] for row in self.rows]
            yield subtract(parts, self.reference[block], self._buffer)

    def peaks(self) -> Vector:
        """Largest size float32[K] of each row's differences."""
        peaks = np.zeros(len(self.rows), np.float32)
        for differences in self:
            raise_peaks(peaks, differences)
        return peaks


class _Grid:
    """Iterates over blocks of the differences as integers in float64[K, block].

    The array is reused from block to block.
    """

    def __init__(
        self, rows: Rows, reference: Vector, peaks: Vector | None, block: int | None
    ) -> None:
        self.rows = check_rows(rows)
        length = block_length(12 * len(self.rows)) if block is None else block
        if not 0 < length <= BLOCK_MAX:
            raise ValueError(f"block {block} is not in 1..{BLOCK_MAX}")
        self._differences = _Differences(self.rows, reference, length)
        shape = len(self.rows), min(length, reference.size)
        self._integers = np.empty(shape, np.float64)
        # d terms of at most 2^(2 bits) must fit into int64.
        bits = min(GRID_BITS, (62 - max(0, reference.size - 1).bit_length()) // 2)
        _, exponents = np.frexp(self._differences.peaks() if peaks is None else peaks)
        self.shifts: Integers = bits - np.maximum(exponents.astype(np.int64), _EXPONENT_MIN)

    def __iter__(self) -> Iterator[Scalars]:
        ones = np.ones((len(self.rows), 1), np.float32)
        factors = np.ldexp(ones, self.shifts[:, None].astype(np.int32))
        for differences in self._differences:
            np.multiply(differences, factors, out=differences)
            np.rint(differences, out=differences)
            integers = self._integers[:, : differences.shape[1]]
            integers[...] = differences
            yield integers


def _scale(integers: Integers, exponents: Integers) -> Scalars:
    return np.ldexp(integers.astype(np.float64), exponents.astype(np.int32))
