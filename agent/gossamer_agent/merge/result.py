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
    """The parameters float32[P] that one peer stands for in a merge."""

    peer: PeerId
    vector: Vector


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """The result of a merge of K inputs; all arrays are in PeerId order.

    vector: float32[P], finite, without negative zeros or denormals.
    votes: int64[K] in units of ONE_VOTE; 0 for an input that was left out.
    clip: float64[K], the factor by which each difference was shortened in the last clip step; 1
        where a rule does not clip, 0 for an input that was left out.
    distances: float64[K], Euclidean distance of each input to `vector`; infinite for an input that
        was left out.
    radius: the vote-weighted lower median of the distances, the scale to judge them by; 0 when the
        inputs give none, because there are too few of them or most are equal.
    """

    vector: Vector
    votes: Votes
    clip: Scalars
    distances: Scalars
    radius: float


def unweighted(vector: Vector, rows: Rows) -> Merged:
    """The result of a rule that gives each of its K rows one whole vote and clips none."""
    votes = np.full(len(rows), ONE_VOTE, np.int64)
    canonicalise(vector)
    distances = distances_to(rows, vector)
    return Merged(vector, votes, np.ones(len(rows)), distances, median_by_votes(distances, votes))


def canonicalise(vector: Vector) -> None:
    """Make zeros positive and values below TINY zero, in place: one value, one bit pattern."""
    for block in blocks(vector.size, BLOCK):
        part = vector[block]
        np.copyto(part, np.float32(0), where=np.abs(part) < TINY)
