"""One merge made again from its inputs, and compared with its record, bit for bit."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gossamer_agent.audit.terms import Terms
from gossamer_agent.errors import ConfigError
from gossamer_agent.learner import Vector
from gossamer_agent.merge.result import Merged, MergeInput
from gossamer_agent.merge.rules import Rule, get_rule, merge
from gossamer_agent.records import Contributor, MergeRecord
from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_transport.replica import replica_hash


class UnrepeatableError(Exception):
    """The record does not say enough, or nonsense: no honest agent logged it."""


class OtherVersionError(UnrepeatableError):
    """Made by another version of its rule than this program has: neither proven nor refuted."""


@dataclass(frozen=True, slots=True)
class Input:
    """One row of a merge: as it was logged, and its replica float32[P]."""

    row: Contributor
    vector: Vector


def rule_of(record: MergeRecord) -> Rule:
    """The rule of `record`, if this program has the version that made it.

    Raises OtherVersionError, or UnrepeatableError for a rule that does not exist.
    """
    try:
        rule = get_rule(record.rule)
    except ConfigError as error:
        raise UnrepeatableError(str(error)) from None
    if rule.version != record.rule_version:
        raise OtherVersionError(
            f"made by version {record.rule_version} of rule {rule.name}, this program has"
            f" {rule.version}: cannot be replayed"
        )
    return rule


def remerge(
    record: MergeRecord,
    inputs: Sequence[Input],
    own: PeerId,
    terms: Terms,
    *,
    loss_of: Callable[[Vector], float] | None = None,
) -> Merged:
    """What the rule of `record` makes of the inputs.

    loss_of: in place of the losses that were logged with them. Raises UnrepeatableError.
    """
    rule = rule_of(record)
    try:
        return merge(
            record.rule,
            [MergeInput(item.row.peer, item.vector, item.row.bounds.groups) for item in inputs],
            own,
            bound=terms.contract.bound,
            round_=record.round,
            initial=terms.given,
            loss_of=(loss_of or _logged_losses(inputs)) if rule.uses_losses else None,
        )
    except (ConfigError, ValueError) as error:
        raise UnrepeatableError(str(error)) from None


def differences(record: MergeRecord, merged: Merged) -> list[str]:
    """What of a record is not what the merge gives; words, the most telling first."""
    told = []
    if replica_hash(merged.vector) != record.result_hash:
        told.append(
            f"the result has hash {replica_hash(merged.vector).hex()[:16]},"
            f" not {record.result_hash.hex()[:16]}"
        )
    rows = zip(
        record.contributors,
        merged.votes.tolist(),
        merged.clip.tolist(),
        merged.distances.tolist(),
        [math.nan] * len(merged.votes) if merged.losses is None else merged.losses.tolist(),
        strict=True,
    )
    for row, votes, clip, distance, loss in rows:
        columns = (
            ("votes", votes, row.votes),
            ("clip", clip, row.clip),
            ("distance", distance, row.distance),
            ("loss", loss, row.loss),
        )
        told += [
            f"{name} of {peer_id_text(row.peer)}: {again!r}, not {logged!r}"
            for name, again, logged in columns
            # Since version 3 a record has the float32 next to a clip factor.
            if not (_same(again, logged) or (name == "clip" and _same(_rounded(again), logged)))
        ]
    if not _same(merged.radius, record.radius):
        told.append(f"the radius is {merged.radius!r}, not {record.radius!r}")
    return told


def _same(first: float, second: float) -> bool:
    """Whether both have the same bits; any nan is as good as another."""
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    return struct.pack(">d", first) == struct.pack(">d", second)


def _rounded(value: float) -> float:
    return float(np.float32(value))


def _logged_losses(inputs: Sequence[Input]) -> Callable[[Vector], float]:
    losses = {item.row.replica_hash: item.row.loss for item in inputs}

    def loss_of(vector: Vector) -> float:
        return losses.get(replica_hash(vector), math.nan)

    return loss_of
