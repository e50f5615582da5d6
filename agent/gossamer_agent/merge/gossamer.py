"""The default rule: shared votes, vote-weighted median, centred clipping around it.

Theory of operation. A bare median has two weaknesses. Colluders who send copies of one central
looking vector outvote honest peers, whose vectors differ; so near-identical vectors share one vote.
And it ignores how far beyond the middle a value lies, which on skewed data is most of what a peer
has to say; so the mean of all differences to the median is added, each clipped to the median
radius, twice. The scale of "near-identical" is the median distance to the plain median, which a
minority cannot stretch.

All scalars come from one exact Gram matrix around the median (`exact.py`). In particular the
clipped centre is the median plus a combination of the differences, so its distances to the rows
follow from the same matrix, and the vectors themselves are passed over only once more, elementwise
in float32 and in the order of the rows. The result therefore has the same bits on every CPU.

Sources: centred clipping, Karimireddy, He, Jaggi 2021; the whole as in the design, section 8a.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from gossamer_agent.merge.exact import Scalars, exact_gram, median_by_votes
from gossamer_agent.merge.kernels import (
    BLOCK,
    Rows,
    Vector,
    Votes,
    blocks,
    check_rows,
    coordinate_median,
    weighted_lower_median,
)
from gossamer_agent.merge.result import ONE_VOTE, Merged, canonicalise

CLIP_STEPS: Final = 2

# Vectors within .35 * 1.35 median radii are near (honest pairs lie about sqrt 2 apart); similarity
# is max(0, 1 - u^2 / 4)^4 with u the distance in this unit, so it ends at twice that.
_REACH_SQUARED: Final = (2 * 0.35 * 1.35) ** 2
_SIMILARITY_ONE: Final = 1 << 30


def gossamer(rows: Rows) -> Merged:
    """Merge K >= 1 finite rows float32[P]; see `Merged` for the result.

    Raises ValueError for no rows or rows of unlike shape.
    """
    rows = check_rows(rows)
    centre = coordinate_median(rows)
    gram = exact_gram(rows, centre)
    inner = gram.inner()
    votes = share_votes(gram.squared_distances(), np.diagonal(inner))
    if (votes != votes[0]).any():
        centre = weighted_lower_median(rows, votes)
        inner = exact_gram(rows, centre).inner()
    coefficients, clip = _clipped_mean(inner, votes)
    vector = _shifted(centre, rows, coefficients)
    distances = _distances(inner, coefficients)
    return Merged(vector, votes, clip, distances, median_by_votes(distances, votes))


def share_votes(squared_distances: Scalars, squared_radii: Scalars) -> Votes:
    """Votes int64[K] from squared pairwise distances float64[K, K] and distances to the median [K].

    n equal vectors have 1/n vote each, a vector that is like no other has a whole one. When most
    vectors equal the median there is no scale, nothing can be told apart and all votes are whole.
    """
    count = squared_radii.size
    scale = float(np.sort(squared_radii)[(count - 1) // 2])
    if scale == 0.0:
        return np.full(count, ONE_VOTE, np.int64)
    closeness = np.maximum(1.0 - squared_distances / (_REACH_SQUARED * scale), 0.0)
    closeness *= closeness
    closeness *= closeness
    similarity = np.rint(closeness * _SIMILARITY_ONE).astype(np.int64).sum(axis=1)
    votes: Votes = (ONE_VOTE * _SIMILARITY_ONE + similarity // 2) // similarity
    return votes


def _clipped_mean(inner: Scalars, votes: Votes) -> tuple[Scalars, Scalars]:
    """Coefficients [K] that the differences have in the clipped centre, and the last clip [K]."""
    weights = votes / float(votes.sum())
    coefficients = np.zeros(votes.size)
    clip = np.ones(votes.size)
    for _ in range(CLIP_STEPS):
        distances = _distances(inner, coefficients)
        radius = median_by_votes(distances, votes)
        clip = radius / np.maximum(distances, radius) if radius > 0.0 else 1.0 * (distances == 0.0)
        step = weights * clip
        # Every builtin or BLAS sum has its own rounding; that of fsum is correct, hence the same.
        coefficients = coefficients * (1.0 - math.fsum(step)) + step
    return coefficients, clip


def _distances(inner: Scalars, coefficients: Scalars) -> Scalars:
    """Distance [K] of each row to the reference plus the combination of the differences."""
    # Unlike a sum, whose order is anyone's choice, a running sum has one order.
    products = np.add.accumulate(coefficients[:, None] * inner, axis=0)[-1]
    norm = math.fsum(coefficients * products)
    distances: Scalars = np.sqrt(np.maximum(np.diagonal(inner) - 2.0 * products + norm, 0.0))
    return distances


def _shifted(centre: Vector, rows: Rows, coefficients: Scalars) -> Vector:
    """`centre + sum of coefficients * (row - centre)`, float32, added in the order of the rows."""
    factors = coefficients.astype(np.float32)
    out = np.empty_like(centre)
    buffer = np.empty(min(BLOCK, centre.size), np.float32)
    for block in blocks(centre.size, BLOCK):
        middle, total = centre[block], out[block]
        difference = buffer[: middle.size]
        total[...] = 0
        for row, factor in zip(rows, factors, strict=True):
            np.subtract(row[block], middle, out=difference)
            difference *= factor
            total += difference
        total += middle
    canonicalise(out)
    return out
