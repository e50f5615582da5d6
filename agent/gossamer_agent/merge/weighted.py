"""Coordinate-wise median and quantiles of rows that have votes, which may be unequal.

Theory of operation. Two ways lead to a quantile by votes.

*Circuit.* Minima and maxima alone, as for an unweighted median (`circuits.py`). Its length depends
on the votes: few unlike ones cost nothing. It is taken where there is one.

*Sort.* With a dozen unlike votes and more a circuit grows too long. A float64 holds a float32 with
29 bits of mantissa to spare. The votes of a row are written into these bits: one number to compare,
and after sorting each wire still knows whose votes it carries. Adding them up from the lowest on
tells where each share is reached. The cost hardly depends on the votes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.circuits import Circuit, Share, compile_quantiles
from gossamer_agent.merge.kernels import (
    Rows,
    Vector,
    Votes,
    block_length,
    blocks,
    buffers_of,
    check_rows,
    raise_peaks,
    run_network,
    subtract,
)
from gossamer_agent.merge.networks import compile_network

Select: TypeAlias = Callable[[Sequence[Vector]], Sequence[Vector]]
"""Selects the quantiles of a block of all rows that have votes, zeros of either sign.

They are for reading until the next call: buffers that are used again, or rows themselves.
"""

HALF: Final = (1, 2)

_VOTE_BITS: Final = 29
_VOTE_MASK: Final = np.int64((1 << _VOTE_BITS) - 1)
# Stands for zero in a vote-carrying key, whose spare bits would otherwise make a denormal. It is
# too small to change any float32 it is added to: the smallest of these is 2^-149.
_ZERO: Final = np.float64(2.0**-260)


def weighted_lower_median(rows: Rows, votes: Votes, *, peaks: Vector | None = None) -> Vector:
    """Smallest value of each coordinate at which the votes of it and of all below reach half.

    `votes` is int64[K], none negative, their sum between 1 and 2^29 - 1; rows without a vote do
    not count. `rows`, `peaks` and the result are as in `coordinate_median`; `peaks` covers the rows
    without a vote, too. The result is exact: it is a value of the rows.
    """
    rows = check_rows(rows)
    weights = check_votes(rows, votes)
    voters = [index for index, weight in enumerate(weights) if weight]
    out = np.empty_like(rows[0])
    length, select = selection([weights[index] for index in voters], out.size, (HALF,))
    differences = np.empty((0 if peaks is None else len(rows), min(length, out.size)), np.float32)
    if peaks is not None:
        peaks[...] = 0
    for block in blocks(out.size, length):
        parts = [row[block] for row in rows]
        (median,) = select([parts[index] for index in voters])
        np.add(median, np.float32(0), out=out[block])
        if peaks is not None:
            raise_peaks(peaks, subtract(parts, out[block], differences))
    return out


def check_votes(rows: Sequence[Vector], votes: Votes) -> list[int]:
    """The votes as integers; ValueError unless there is one for each row and their sum fits."""
    weights = [int(vote) for vote in votes]
    if len(weights) != len(rows) or min(weights) < 0 or not 0 < sum(weights) <= _VOTE_MASK:
        raise ValueError(f"no votes for {len(rows)} rows: {weights}")
    return weights


def selection(weights: Sequence[int], size: int, shares: Sequence[Share]) -> tuple[int, Select]:
    """The length of blocks, and what selects from them, for each share, the smallest value of each
    coordinate at which the votes of it and of all below reach this share of all votes.

    weights: the votes of the rows, all positive; size: coordinates of a row; shares: numerators and
    denominators.
    """
    circuit = compile_quantiles(tuple(weights), tuple(shares))
    return _by_sort(weights, shares, size) if circuit is None else _by_circuit(circuit, size)


def _by_circuit(circuit: Circuit, size: int) -> tuple[int, Select]:
    rows, network = circuit
    length = block_length(4 * (network.scratch + len(rows)))
    scratch = buffers_of(network.scratch, min(length, size))

    def select(parts: Sequence[Vector]) -> Sequence[Vector]:
        slots = [parts[row] for row in rows]
        slots += [buffer[: slots[0].size] for buffer in scratch]
        run_network(network, slots)
        return [slots[slot] for slot in network.results]

    return length, select


def _by_sort(weights: Sequence[int], shares: Sequence[Share], size: int) -> tuple[int, Select]:
    count = len(weights)
    targets = [-(-sum(weights) * part // whole) for part, whole in shares]
    windows = [_reachable_ranks(weights, target) for target in targets]
    network = compile_network(count, tuple(range(max(last for _, last in windows) + 1)))
    length = block_length(8 * (network.scratch + count))
    buffers = buffers_of(count + network.scratch, min(length, size), np.float64)
    counts = np.empty((2, min(length, size)), np.int64)
    chosen = np.empty((len(targets), min(length, size)), np.int64)
    results = buffers_of(len(targets), min(length, size))

    def select(parts: Sequence[Vector]) -> Sequence[Vector]:
        here = slice(parts[0].size)
        slots = [buffer[here] for buffer in buffers]
        for slot, part, weight in zip(slots, parts, weights, strict=False):
            _write_keys(part, weight, slot)
        run_network(network, slots)
        ranked = [slots[slot].view(np.int64) for slot in network.results]
        _pick(ranked, targets, windows, counts[:, here], chosen[:, here])
        quantiles = results[:, here]
        np.subtract(chosen[:, here].view(np.float64), _ZERO, out=quantiles, casting="same_kind")
        return list(quantiles)

    return length, select


def _reachable_ranks(weights: Sequence[int], target: int) -> tuple[int, int]:
    """The lowest and highest rank at which the running sum of votes can first reach the target."""
    lowest, highest = (
        next(rank for rank, total in enumerate(accumulate(order)) if total >= target)
        for order in (sorted(weights, reverse=True), sorted(weights))
    )
    return lowest, highest


def _write_keys(values: Vector, votes: int, keys: npt.NDArray[np.float64]) -> None:
    keys[...] = values
    keys += _ZERO
    bits = keys.view(np.int64)
    bits |= np.int64(votes)


def _pick(
    ranked: Sequence[Votes],
    targets: Sequence[int],
    windows: Sequence[tuple[int, int]],
    counts: Votes,
    chosen: Votes,
) -> None:
    """Write the keys at which the votes in `ranked`, ascending from rank 0, reach the targets.

    Keys are seen as integers; those that are chosen come without the votes that they carried.
    """
    running, step = counts
    running[...] = 0
    for choice, (first, _) in zip(chosen, windows, strict=True):
        choice[...] = ranked[first]
    for rank, (key, above) in enumerate(pairwise(ranked)):
        np.bitwise_and(key, _VOTE_MASK, out=step)
        running += step
        for choice, target, (first, last) in zip(chosen, targets, windows, strict=True):
            if first <= rank < last:
                # All ones while votes are missing, then zero for good: takes one step of rank up,
                # or stays. A masked copy would do the same several times slower.
                np.subtract(running, target, out=step)
                step >>= 63
                step &= key ^ above
                np.bitwise_xor(choice, step, out=choice)
    chosen &= ~_VOTE_MASK
