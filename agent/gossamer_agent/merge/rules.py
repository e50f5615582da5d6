"""The merge rules by name, and `merge`, the one way into them.

A rule sees rows that are finite, within bounds and in PeerId order; it need not know whose they
are. `merge` makes it so, whatever peers sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import ConfigError
from gossamer_agent.merge.gossamer import gossamer
from gossamer_agent.merge.kernels import (
    BLOCK,
    Rows,
    Vector,
    blocks,
    check_rows,
    coordinate_median,
    trimmed_mean,
)
from gossamer_agent.merge.result import Merged, MergeInput, unweighted
from gossamer_crypto.identity import PeerId

BOUND: Final = 1e4
"""Default for the largest parameter a peer may send."""

_BOUND_MAX: Final = 1e30


@dataclass(frozen=True, slots=True)
class Rule:
    """A merge rule and what belongs to it.

    With fewer than `inputs_min` usable inputs there is nothing to be robust with, and a peer keeps
    its own vector.
    """

    name: str
    merge: Callable[[Rows], Merged]
    inputs_min: int
    uses_reputation: bool
    uses_holdout: bool


def _median(rows: Rows) -> Merged:
    return unweighted(coordinate_median(rows), rows)


def _trimmed_mean(rows: Rows) -> Merged:
    """Drops just under a third at both ends, the share of liars that the design assumes."""
    return unweighted(trimmed_mean(rows, (len(rows) - 1) // 3), rows)


def _mean(rows: Rows) -> Merged:
    """The rule of plain gossip averaging: one liar moves it anywhere. For comparison."""
    rows = check_rows(rows)
    total = np.zeros_like(rows[0])
    for row in rows:
        total += row
    total /= np.float32(len(rows))
    return unweighted(total, rows)


RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            Rule("gossamer", gossamer, 3, uses_reputation=True, uses_holdout=True),
            Rule("median", _median, 3, uses_reputation=False, uses_holdout=False),
            Rule("mean", _mean, 1, uses_reputation=False, uses_holdout=False),
            Rule("trimmed-mean", _trimmed_mean, 3, uses_reputation=False, uses_holdout=False),
        )
    }
)


def get_rule(name: str) -> Rule:
    """The rule of this name; ConfigError when there is none."""
    try:
        return RULES[name]
    except KeyError:
        raise ConfigError(
            f"unknown merge rule {name!r}: choose one of {', '.join(RULES)}"
        ) from None


def merge(
    rule_name: str, inputs: Sequence[MergeInput], own: PeerId, *, bound: float = BOUND
) -> Merged:
    """Merge the vectors float32[P] of several peers, among them `own`, by a named rule.

    The order of `inputs` does not matter; the arrays of the result are in PeerId order. Vectors of
    other peers that are not finite or exceed `bound` in size are left out, so the result is finite
    whatever they sent. With fewer usable inputs than the rule needs, the result is the own vector
    with the only vote, and a radius of 0.

    Raises ConfigError for an unknown rule, and ValueError for what no peer can cause: `own` is not
    among the inputs or its vector is unusable, a peer occurs twice, lengths differ, a bound that is
    not in 0..1e30.
    """
    rule = get_rule(rule_name)
    if not 0.0 < bound <= _BOUND_MAX:
        raise ValueError(f"bound {bound} is not in 0..{_BOUND_MAX}")
    ordered = sorted(inputs, key=lambda item: item.peer)
    peers = [item.peer for item in ordered]
    if own not in peers or len(set(peers)) != len(peers):
        raise ValueError("inputs must hold every peer once, and the own one")
    rows = check_rows([item.vector for item in ordered])
    usable = np.array([is_usable(row, bound) for row in rows])
    if not usable[peers.index(own)]:
        raise ValueError("the own vector is not finite or out of bounds")
    if np.count_nonzero(usable) < rule.inputs_min:
        return _kept(rows, peers.index(own))
    if usable.all():
        return rule.merge(rows)
    return _widened(rule.merge([rows[index] for index in np.flatnonzero(usable)]), usable)


def is_usable(vector: Vector, bound: float) -> bool:
    """Whether all values of float32[P] are finite and at most `bound` in size."""
    # NaN propagates through both and compares as false. Block by block memory is read once.
    return all(
        np.maximum.reduce(part) <= bound and np.minimum.reduce(part) >= -bound
        for part in (vector[block] for block in blocks(vector.size, BLOCK))
    )


def _kept(rows: Sequence[Vector], own: int) -> Merged:
    alone = unweighted(rows[own].copy(), [rows[own]])
    return _widened(alone, np.arange(len(rows)) == own)


def _widened(merged: Merged, usable: npt.NDArray[np.bool_]) -> Merged:
    """The result of the usable rows, with a place for each of the others."""
    votes = np.zeros(usable.size, np.int64)
    clip = np.zeros(usable.size)
    distances = np.full(usable.size, np.inf)
    votes[usable] = merged.votes
    clip[usable] = merged.clip
    distances[usable] = merged.distances
    return Merged(merged.vector, votes, clip, distances, merged.radius)
