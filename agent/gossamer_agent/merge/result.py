"""What goes into a merge and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gossamer_agent.merge.exact import Scalars, distances_to, median_by_votes
from gossamer_agent.merge.kernels import BLOCK, Rows, Vector, Votes, blocks
from gossamer_crypto.identity import PeerId

ONE_VOTE: Final = 1 << 16
"""A whole vote: votes are fixed-point numbers, so that their sums are exact."""

TINY: Final = np.float32(1e-30)
"""What is smaller becomes zero: CPUs disagree on denormals, and a model does not need them."""


@dataclass(frozen=True, slots=True, eq=False)
class MergeInput:
    """The parameters float32[P] that one peer stands for in a merge.

    groups: names of the groups that it is in. The inputs of each group hold at most a third of the
        votes together, where the rule has votes to share. Groups may overlap.
    """

    peer: PeerId
    vector: Vector
    groups: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The result of a merge of K inputs; all arrays are in PeerId order.

    vector: float32[P], finite, without negative zeros or denormals.
    votes: int64[K] in units of ONE_VOTE; 0 for an input that was left out, by the rule or before.
    clip: float64[K], the share of each input's values that counted in full (`gossamer`), the factor
        by which each difference was shortened in the last clip step, or the weight against the
        heaviest; 1 where a rule does none of these, 0 for an input that was left out.
    distances: float64[K], Euclidean distance of each input to `vector`, or (`gossamer`) the radius
        of the ball around it that holds most of the votes; infinite for an input that was left out
        before the rule, because it is not finite or out of bounds.
    radius: the scale to judge the distances by, their vote-weighted lower median or (`gossamer`)
        the smallest; 0 when the inputs give none, because there are too few or most are equal.
    losses: float64[K], mean hold-out loss of each input in nats, nan where the rule did not ask for
        it; None where it asks for none.
    progress: Euclidean distance of the middle of the inputs from genesis; 0 where the rule does not
        ask for it or genesis is not known.
    """

    vector: Vector
    votes: Votes
    clip: Scalars
    distances: Scalars
    radius: float
    losses: Scalars | None = None
    progress: float = 0.0


def unweighted(vector: Vector, rows: Rows) -> Merged:
    """The result of a rule that gives each of its K rows one whole vote and clips none."""
    return voted(vector, rows, np.full(len(rows), ONE_VOTE, np.int64))


def voted(
    vector: Vector,
    rows: Rows,
    votes: Votes,
    *,
    clip: Scalars | None = None,
    losses: Scalars | None = None,
) -> Merged:
    """The result of a rule with votes int64[K]; without `clip`, rows with a vote count in full."""
    canonicalise(vector)
    distances = distances_to(rows, vector)
    if clip is None:
        clip = np.where(votes > 0, 1.0, 0.0)
    radius = median_by_votes(distances, votes)
    return Merged(vector, votes, clip, distances, radius, losses)


def canonicalise(vector: Vector) -> None:
    """Make zeros positive and values below TINY zero, in place: one value, one bit pattern."""
    for block in blocks(vector.size, BLOCK):
        part = vector[block]
        np.copyto(part, np.float32(0), where=np.abs(part) < TINY)
