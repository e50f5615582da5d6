"""The mean of rows by votes, after each value was drawn to where most rows agree.

Theory of operation. For each coordinate let m be the median by votes and w the range of its middle
fifth, from the .4 to the .6 quantile. A row's difference to m counts at most `REACH` times w. Where
rows disagree widely that hardly binds (1.5 standard deviations of a normal spread), so that rows
with unusual data are heard, which a median alone would not do. Where most rows agree, as on inputs
that no honest device ever saw, it binds tightly: there a few rows that agree on something else, a
backdoor, move nothing.

Everything is elementwise float32 in the order of the rows: the same bits on every CPU.

Source: Winsorised means, Tukey 1962; the scale is chosen so that up to two fifths of the votes
cannot stretch it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.exact import Scalars
from gossamer_agent.merge.kernels import Rows, Vector, Votes, blocks, check_rows, subtract
from gossamer_agent.merge.result import canonicalise
from gossamer_agent.merge.weighted import HALF, check_votes, selection

REACH: Final = 3
"""Ranges of the middle fifth that a value may lie from the median and still count in full."""

_QUANTILES: Final = ((2, 5), HALF, (3, 5))


def winsorised_mean(rows: Rows, votes: Votes) -> tuple[Vector, Scalars]:
    """The mean float32[P] of K rows float32[P], and how much of each row counted in full.

    votes: int64[K], none negative, their sum between 1 and 2^29 - 1. The second result, float64[K],
    is the share of a row's coordinates that were not drawn in; 0 for a row without a vote. Raises
    ValueError for no rows, rows of unlike shape, or other votes.
    """
    rows = check_rows(rows)
    weights = check_votes(rows, votes)
    voters = [index for index, weight in enumerate(weights) if weight]
    voting = [weights[index] for index in voters]
    shares = np.array([weight / sum(voting) for weight in voting], np.float32)[:, None]
    out = np.empty_like(rows[0])
    length, select = selection(voting, out.size, _QUANTILES)
    buffers = _Buffers(len(voters), min(length, out.size))
    whole = np.zeros(len(rows), np.int64)
    for block in blocks(out.size, length):
        parts, total = [rows[index][block] for index in voters], out[block]
        low, centre, high = select(parts)
        terms, outside = _drawn_in(parts, centre, (low, high), buffers)
        for index, row in zip(voters, outside, strict=True):
            whole[index] += row.size - np.count_nonzero(row)
        terms *= shares
        total[...] = terms[0]
        for term in terms[1:]:
            total += term
        total += centre
    canonicalise(out)
    return out, whole / out.size


class _Buffers:
    """For blocks of so many rows: one array for all, so that one call of numpy does for K."""

    def __init__(self, count: int, length: int) -> None:
        self.differences = np.empty((count, length), np.float32)
        self.drawn = np.empty((count, length), np.float32)
        self.outside = np.empty((count, length), np.bool_)
        self.bound = np.empty(length, np.float32)


def _drawn_in(
    parts: Sequence[Vector], centre: Vector, middle: tuple[Vector, Vector], buffers: _Buffers
) -> tuple[Vector, npt.NDArray[np.bool_]]:
    """The differences to the centre [K, n], drawn in to the reach of the middle fifth, and which
    of them were."""
    here = slice(centre.size)
    drawn, outside = buffers.drawn[:, here], buffers.outside[:, here]
    differences = subtract(parts, centre, buffers.differences)
    low, high = middle
    bound = np.subtract(high, low, out=buffers.bound[here])
    bound *= np.float32(REACH)
    np.minimum(differences, bound, out=drawn)
    np.negative(bound, out=bound)
    np.maximum(drawn, bound, out=drawn)
    np.not_equal(drawn, differences, out=outside)
    return drawn, outside
