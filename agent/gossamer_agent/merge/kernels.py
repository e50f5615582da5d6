"""Coordinate-wise order statistics of K rows of float32, without stacking or copying the rows.

Theory of operation. Rows are cut into blocks that fit the cache; a comparator network
(`networks.py`) runs over each block with elementwise minimum and maximum. All kernels select
values; they are exact, and their result does not depend on the order of the rows: the sign of a
zero, the only thing in which two equal values can differ, is made positive. Inputs must be finite
(NaN has no rank); `rules.merge` sees to that.

The weighted median sorts votes along with values. A float64 holds a float32 with 29 bits of
mantissa to spare, so the votes of a row are written into these bits: one number to compare, and
after sorting each wire still knows whose votes it carries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.networks import Network, compile_network

Vector: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = Sequence[Vector] | Vector
Votes: TypeAlias = npt.NDArray[np.int64]

BLOCK: Final = 16384
"""Coordinates per block: 64 KiB of float32. No result depends on it."""

KEY_BLOCK: Final = 8192
"""The same for the float64 keys of the weighted median, of which more are alive at once."""

_VOTE_BITS: Final = 29
_VOTE_MASK: Final = np.int64((1 << _VOTE_BITS) - 1)
# Stands for zero in a vote-carrying key, whose spare bits would otherwise make a denormal. It is
# too small to change any float32 it is added to: the smallest of these is 2^-149.
_ZERO: Final = np.float64(2.0**-260)


def coordinate_median(rows: Rows) -> Vector:
    """Lower median of each coordinate: rank (K - 1) // 2 of K rows.

    `rows` is float32[K, d] or a sequence of K float32[d], all finite; the result is a new
    float32[d] without negative zeros. Raises ValueError for no rows or rows of unlike shape.
    """
    rows = check_rows(rows)
    network = compile_network(len(rows), ((len(rows) - 1) // 2,))
    out = np.empty_like(rows[0])
    scratch = np.empty((network.scratch, min(BLOCK, out.size)), np.float32)
    for block in blocks(out.size, BLOCK):
        result = out[block]
        slots = [row[block] for row in rows] + [buffer[: result.size] for buffer in scratch]
        target = network.results[0]
        if target < len(rows):
            result[...] = slots[target]
        else:
            slots[target] = result
        _run(network, slots)
        result += np.float32(0)
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
    scratch = np.empty((network.scratch, min(BLOCK, out.size)), np.float32)
    for block in blocks(out.size, BLOCK):
        result = out[block]
        slots = [row[block] for row in rows] + [buffer[: result.size] for buffer in scratch]
        _run(network, slots)
        result[...] = 0
        for slot in network.results:
            result += slots[slot]
        result /= np.float32(kept)
    return out


def weighted_lower_median(rows: Rows, votes: Votes) -> Vector:
    """Smallest value of each coordinate at which the votes of it and of all below reach half.

    `votes` is int64[K], none negative, their sum between 1 and 2^29 - 1; rows without a vote do
    not count. Shapes as in `coordinate_median`. The result is exact: it is a value of the rows.
    """
    rows = check_rows(rows)
    weights = [int(vote) for vote in votes]
    if len(weights) != len(rows) or min(weights) < 0 or not 0 < sum(weights) <= _VOTE_MASK:
        raise ValueError(f"no votes for {len(rows)} rows: {weights}")
    rows = [row for row, weight in zip(rows, weights, strict=True) if weight]
    weights = [weight for weight in weights if weight]
    first, last = _reachable_ranks(weights)
    network = compile_network(len(rows), tuple(range(last + 1)))
    out = np.empty_like(rows[0])
    size = min(KEY_BLOCK, out.size)
    keys = np.empty((len(rows) + network.scratch, size), np.float64)
    counts = np.empty((2, size), np.int64)
    for block in blocks(out.size, KEY_BLOCK):
        result = out[block]
        slots = [buffer[: result.size] for buffer in keys]
        for slot, row, weight in zip(slots, rows, weights, strict=False):
            _write_keys(row[block], weight, slot)
        _run(network, slots)
        ranked = [slots[slot] for slot in network.results]
        _pick(ranked, first, (sum(weights) + 1) // 2, counts[:, : result.size], result)
    return out


def blocks(size: int, length: int) -> Iterator[slice]:
    """Slices of at most `length` that cover `size` coordinates in order."""
    for start in range(0, size, length):
        yield slice(start, min(start + length, size))


def check_rows(rows: Rows) -> Sequence[Vector]:
    """The rows as a list of float32[d]; ValueError when there are none or their shapes differ."""
    rows = list(rows)
    if not rows:
        raise ValueError("no rows")
    if any(row.dtype != np.float32 or row.ndim != 1 or row.size != rows[0].size for row in rows):
        raise ValueError("rows must be float32 vectors of one length")
    return rows


def _run(network: Network, slots: Sequence[npt.NDArray[Any]]) -> None:
    minimum, maximum = np.minimum, np.maximum
    for is_maximum, left, right, out in network.operations:
        (maximum if is_maximum else minimum)(slots[left], slots[right], out=slots[out])


def _write_keys(values: Vector, votes: int, keys: npt.NDArray[np.float64]) -> None:
    keys[...] = values
    keys += _ZERO
    bits = keys.view(np.int64)
    bits |= np.int64(votes)


def _reachable_ranks(weights: Sequence[int]) -> tuple[int, int]:
    """The lowest and highest rank at which the running sum of votes can first reach half."""
    half = (sum(weights) + 1) // 2
    lowest, highest = (
        next(rank for rank, total in enumerate(accumulate(order)) if total >= half)
        for order in (sorted(weights, reverse=True), sorted(weights))
    )
    return lowest, highest


def _pick(
    ranked: Sequence[npt.NDArray[np.float64]],
    first: int,
    half: int,
    counts: npt.NDArray[np.int64],
    result: Vector,
) -> None:
    """Write the value at which the votes in `ranked`, ascending from rank 0, reach `half`."""
    running, short = counts
    bits = [key.view(np.int64) for key in ranked]
    chosen = bits[first].copy()
    running[...] = -half
    for rank, key in enumerate(bits[:-1]):
        np.bitwise_and(key, _VOTE_MASK, out=short)
        running += short
        if rank >= first:
            # All ones while votes are missing, then zero for good: takes one step of rank up, or
            # stays. A masked copy would do the same ten times slower.
            np.right_shift(running, 63, out=short)
            short &= key ^ bits[rank + 1]
            chosen ^= short
    chosen &= ~_VOTE_MASK
    np.subtract(chosen.view(np.float64), _ZERO, out=result, casting="same_kind")
