"""The merge rules by name, and `merge`, the one way into them.

A rule sees rows that are finite, within bounds and in PeerId order; it need not know whose they
are. `merge` makes it so, whatever peers sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import ConfigError
from gossamer_agent.merge.balance import balance
from gossamer_agent.merge.centered_clipping import centered_clipping
from gossamer_agent.merge.clipped_gossip import clipped_gossip
from gossamer_agent.merge.coordinatewise import mean, median, trimmed_mean
from gossamer_agent.merge.geometric_median import geometric_median
from gossamer_agent.merge.gossamer import gossamer
from gossamer_agent.merge.kernels import Rows, Vector, blocks, check_rows
from gossamer_agent.merge.krum import krum, multi_krum
from gossamer_agent.merge.mixing import BUCKET, bucketing, nnm
from gossamer_agent.merge.result import Merged, MergeInput, unweighted
from gossamer_agent.merge.setting import Setting
from gossamer_agent.merge.ubar import ubar
from gossamer_agent.merge.weighting import median_by_accuracy, median_by_similarity
from gossamer_crypto.identity import PeerId

BOUND: Final = 1e4
"""Default for the largest parameter a peer may send."""

_BOUND_MAX: Final = 1e30
_CHECKED: Final = 1 << 17  # Coordinates checked at a time.
_SIGN: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Rule:
    """A merge rule and what belongs to it.

    With fewer than `inputs_min` usable inputs there is nothing to be robust with, and a peer keeps
    its own vector. uses_losses: it asks for the hold-out loss of inputs, see `Setting.loss_of`.
    version: stands in the record of each merge. Count it up with every change that gives other bits
    for some inputs: an audit then says that older merges cannot be replayed, not that they lie.
    """

    name: str
    merge: Callable[[Rows, Setting], Merged]
    inputs_min: int
    uses_reputation: bool = False
    uses_holdout: bool = False
    uses_losses: bool = False
    version: int = 1


_GOSSAMER: Final = Rule("gossamer", gossamer, 3, version=2, uses_reputation=True, uses_holdout=True)

# The rules that judge all rows alike, so that they can be applied to mixtures of them.
_AGGREGATES: Final = (
    Rule("mean", mean, 1),
    Rule("median", median, 3),
    Rule("trimmed-mean", trimmed_mean, 3),
    Rule("krum", krum, 3),
    Rule("multi-krum", multi_krum, 3),
    Rule("geometric-median", geometric_median, 3),
    Rule("centered-clipping", centered_clipping, 3),
)

# The rules that judge the others by the own row as it is.
_SELF_CENTRED: Final = (
    Rule("clipped-gossip", clipped_gossip, 3),
    Rule("balance", balance, 3),
    Rule("ubar", ubar, 3, uses_losses=True),
    Rule("weighted-median:accuracy", median_by_accuracy, 3, uses_losses=True),
    Rule("weighted-median:similarity", median_by_similarity, 3),
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {rule.name: rule for rule in (_GOSSAMER, *_AGGREGATES, *_SELF_CENTRED)}
)
"""The rules without a prefix."""


def _prefixed(rule: Rule) -> Iterator[Rule]:
    enough = BUCKET * (rule.inputs_min - 1) + 1
    for name, mix, inputs_min in (("nnm", nnm, rule.inputs_min), ("bucketing", bucketing, enough)):
        mixed = partial(mix, aggregate=rule.merge)
        yield Rule(f"{name}+{rule.name}", mixed, inputs_min, version=rule.version)


_ALL: Final[Mapping[str, Rule]] = MappingProxyType(
    {**RULES, **{mixed.name: mixed for rule in _AGGREGATES for mixed in _prefixed(rule)}}
)


def get_rule(name: str) -> Rule:
    """The rule of this name, also "nnm+NAME" or "bucketing+NAME"; ConfigError if there is none."""
    try:
        return _ALL[name]
    except KeyError:
        names, mixable = ", ".join(RULES), ", ".join(rule.name for rule in _AGGREGATES)
        raise ConfigError(
            f"unknown rule {name!r}; choose from {names}; nnm+ or bucketing+ can precede {mixable}"
        ) from None


def rule_names() -> tuple[str, ...]:
    """All names that `get_rule` knows."""
    return tuple(_ALL)


def merge(
    rule_name: str,
    inputs: Sequence[MergeInput],
    own: PeerId,
    *,
    bound: float = BOUND,
    round_: int = 1,
    initial: Vector | None = None,
    loss_of: Callable[[Vector], float] | None = None,
) -> Merged:
    """Merge the vectors float32[P] of several peers, among them `own`, by a named rule.

    round_: the own round, from 1. initial: float32[P], what every member started from, from which
    `gossamer` tells progress. loss_of: mean hold-out loss of parameters, in nats; only a rule
    that `uses_losses` asks for it.

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
    kept = np.flatnonzero(usable).tolist()
    setting = Setting(
        own=kept.index(peers.index(own)),
        round=round_,
        groups=_groups([ordered[index] for index in kept]),
        initial=initial,
        loss_of=loss_of,
    )
    merged = rule.merge([rows[index] for index in kept], setting)
    return merged if usable.all() else _widened(merged, usable)


def is_usable(vector: Vector, bound: float) -> bool:
    """Whether all values of float32[P] are finite and at most `bound` in size."""
    limit = np.float32(bound)
    if float(limit) > bound:
        limit = np.nextafter(limit, np.float32(0))
    # The bits of floats of one sign are ordered as integers: infinity above all numbers, NaN above
    # infinity; with the sign bit, as unsigned ones, above all without. Block by block memory is
    # read once.
    highest = int(limit.view(np.int32))
    signed, unsigned = vector.view(np.int32), vector.view(np.uint32)
    return all(
        np.maximum.reduce(signed[block]) <= highest
        and np.maximum.reduce(unsigned[block]) <= _SIGN | highest
        for block in blocks(vector.size, _CHECKED)
    )


def _groups(inputs: Sequence[MergeInput]) -> tuple[tuple[int, ...], ...]:
    """The rows of each group, in the order of their first rows."""
    groups: dict[bytes, list[int]] = {}
    for row, item in enumerate(inputs):
        for group in item.groups:
            groups.setdefault(group, []).append(row)
    return tuple(tuple(rows) for rows in groups.values())


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
    losses = None
    if merged.losses is not None:
        losses = np.full(usable.size, np.nan)
        losses[usable] = merged.losses
    return Merged(merged.vector, votes, clip, distances, merged.radius, losses, merged.progress)
