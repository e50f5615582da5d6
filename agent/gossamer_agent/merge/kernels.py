"""Coordinate-wise order statistics of K rows of float32, without stacking or copying the rows.

Theory of operation. Rows are cut into blocks that fit the cache; a comparator network
(`networks.py`) runs over each block with elementwise minimum and maximum. All kernels select
values; they are exact, and their result does not depend on the order of the rows: the sign of a
zero, the only thing in which two equal values can differ, is made positive. Inputs must be finite
(NaN has no rank); `rules.merge` sees to that.

What comes after a median is made of the differences to it, and their largest sizes (`exact.py`)
can be had in the same pass, while the rows are in the cache: pass `peaks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.networks import Network, compile_network

Vector: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = Sequence[Vector] | Vector
Votes: TypeAlias = npt.NDArray[np.int64]

BLOCK: Final = 16384
"""Coordinates per block: 64 KiB of float32. No result depends on it."""

_GAP: Final = 16
"""Values between two buffers: a line of the cache."""

_WORKING_SET: Final = 3_500_000
"""Bytes of all buffers of a block together; less than the 4 MB of a vector of 10^6 parameters."""


def coordinate_median(rows: Rows, *, peaks: Vector | None = None) -> Vector:
    """Lower median of each coordinate: rank (K - 1) // 2 of K rows.

    `rows` is float32[K, d] or a sequence of K float32[d], all finite; the result is a new
    float32[d] without negative zeros. `peaks`, float32[K], receives the largest size of each row's
    differences to the median. Raises ValueError for no rows or rows of unlike shape.
    """
    rows = check_rows(rows)
    network = compile_network(len(rows), ((len(rows) - 1) // 2,))
    out = np.empty_like(rows[0])
    buffers = network.scratch if peaks is None else max(network.scratch, len(rows))
    scratch = buffers_of(buffers, min(BLOCK, out.size))
    if peaks is not None:
        peaks[...] = 0
    for block in blocks(out.size, BLOCK):
        result = out[block]
        parts = [row[block] for row in rows]
        slots = parts + [buffer[: result.size] for buffer in scratch]
        target = network.results[0]
        if target < len(rows):
            result[...] = slots[target]
        else:
            slots[target] = result
        run_network(network, slots)
        result += np.float32(0)
        if peaks is not None:
            raise_peaks(peaks, subtract(parts, result, scratch))
    return out


def trimmed_mean(rows: Rows, trim: int) -> Vector:
    """Mean of each coordinate after its `trim` lowest and `trim` highest values were dropped.

    Shapes as in `coordinate_median`. The rest is added from low to high, so that the result has
    the same bits for every order of the rows. Raises ValueError unless 0 <= 2 trim < K.
    """
    rows = check_rows(rows)
    if not 0 <= 2 * trim < len(rows):
        raise ValueError(f"cannot drop {trim} of {len(rows)} rows at both ends")
    kept = len(rows) - 2 * trim
    network = compile_network(len(rows), tuple(range(trim, trim + kept)))
    out = np.empty_like(rows[0])
    scratch = buffers_of(network.scratch, min(BLOCK, out.size))
    for block in blocks(out.size, BLOCK):
        result = out[block]
        slots = [row[block] for row in rows] + [buffer[: result.size] for buffer in scratch]
        run_network(network, slots)
        result[...] = 0
        for slot in network.results:
            result += slots[slot]
        result /= np.float32(kept)
    return out


def blocks(size: int, length: int) -> Iterator[slice]:
    """Slices of at most `length` that cover `size` coordinates in order."""
    for start in range(0, size, length):
        yield slice(start, min(start + length, size))


def block_length(bytes_each: int) -> int:
    """Coordinates per block, at most BLOCK, where the buffers take so many bytes for each."""
    return min(BLOCK, max(_WORKING_SET // bytes_each // 512, 1) * 512)


def buffers_of(count: int, length: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Buffers [count, length] that do not touch each other.

    numpy 1.26 takes an operand that ends where the result begins for one that overlaps it, and then
    leaves out the vector instructions: half as long again for a median.
    """
    return np.empty((count, length + _GAP), dtype)[:, :length]


def check_rows(rows: Rows) -> Sequence[Vector]:
    """The rows as a list of float32[d]; ValueError when there are none or their shapes differ."""
    rows = list(rows)
    if not rows:
        raise ValueError("no rows")
    if any(row.dtype != np.float32 or row.ndim != 1 or row.size != rows[0].size for row in rows):
        raise ValueError("rows must be float32 vectors of one length")
    return rows


def run_network(network: Network, slots: Sequence[npt.NDArray[Any]]) -> None:
    """Run the program over a block of each slot: K inputs and its scratch buffers."""
    minimum, maximum = np.minimum, np.maximum
    for is_maximum, left, right, out in network.operations:
        (maximum if is_maximum else minimum)(slots[left], slots[right], out=slots[out])


def subtract(parts: Sequence[Vector], reference: Vector, buffer: Vector) -> Vector:
    """`parts - reference` for a block of K rows, written to the first of `buffer` float32[>= K, n].

    One array of K rows, because one call of numpy for all rows costs a fraction of K calls.
    """
    differences = buffer[: len(parts), : reference.size]
    for part, difference in zip(parts, differences, strict=True):
        np.subtract(part, reference, out=difference)
    return differences


def raise_peaks(peaks: Vector, differences: Vector) -> None:
    """Raise `peaks` float32[K] to the largest size in each row of `differences` float32[K, n]."""
    np.maximum(peaks, np.maximum.reduce(differences, axis=1), out=peaks)
    np.maximum(peaks, -np.minimum.reduce(differences, axis=1), out=peaks)
