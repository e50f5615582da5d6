"""The result of a simulation as typed data: what the summary and the report are made of.

The dataclasses below are the schema of the JSON object that `gossamer simulate --json` writes.
Optional parts are absent when nobody asked for them. Shares and accuracies are 0 to 1; a null
in a series means "not measured in this round".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np

from gossamer_agent.errors import DataError

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Amount: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Series: TypeAlias = tuple[Share | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Test accuracy of the honest peers at the end, and their mean, lowest and highest by round.

    per_peer_last: of each honest peer at the end.
    """

    mean: Share
    min: Share
    max: Share
    per_round: Series
    per_round_min: Series = ()
    per_round_max: Series = ()
    per_peer_last: Series = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRule:
    """The same swarm under the same attack with the plain mean as its merge rule."""

    mean: Share
    per_round: Series = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnData:
    """Accuracy of what honest peers serve, personal parts included, on data like their own.

    With `subject` on the test rows that a peer's subjects recorded, otherwise on all test rows,
    where classes count as among its training rows. per_peer_last: null where there are none such.
    """

    mean: Share
    min: Share
    per_peer_last: Series = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """What the swarm is compared with. local_only: mean over devices that learn alone;
    local_only_own: these on data like their own.
    """

    local_only: Share | None = None
    local_only_own: OwnData | None = None
    central: Share | None = None
    mean_rule: MeanRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes:
    """What honest peers sent: per peer and round on average, in total, and in each round."""

    per_peer_round: Amount
    total: Amount
    per_round: tuple[Amount, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """How many merges honest peers made, and how many of those the gate refused to commit."""

    merges: Count
    refused: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackQuarantine:
    """peers: attackers of a kind; rate: share of their honest observers that shut them out."""

    peers: Count
    rate: Share


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRates:
    """The two rates of `Quarantine` after each round."""

    honest_rate: tuple[Share, ...] = ()
    byzantine_rate: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Shares of (honest observer, peer) pairs in quarantine at the end. honest_rate: wrongly.

    Only observers that judged the peer since it was last let back are counted.
    """

    honest_rate: Share
    byzantine_rate: Share
    by_attack: dict[str, AttackQuarantine] = field(default_factory=dict)
    per_round: QuarantineRates = field(default_factory=QuarantineRates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdoor:
    """How often the trigger of a backdoor works on what honest peers serve; None: there is none."""

    success_rate: Share | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """The honest peer that a framing or an eclipse is after, at the end.

    score: mean among honest observers; quarantined: the share of those who have judged it.
    """

    name: str
    accuracy: Share
    score: Share | None = None
    quarantined: Share = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A peer as others see it; `attack` is None for an honest one."""

    name: str
    attack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reputation:
    """Mean score over honest observers: one row for each round, one column for each peer."""

    peers: tuple[Subject, ...]
    per_round: tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The feeds of all peers, checked from their first to their last entry."""

    entries: Count
    verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One simulation; see the module's docstring.

    rested: share of their rounds that honest peers did not begin, by what made them rest; a round
    may count for several.
    """

    config: dict[str, Any]
    accuracy: Accuracy
    bytes: Bytes
    messages: Count
    own_data: OwnData | None = None
    baselines: Baselines = field(default_factory=Baselines)
    refused: dict[str, Count] = field(default_factory=dict)
    gate: Gate | None = None
    rested: dict[str, Share] = field(default_factory=dict)
    quarantine: Quarantine | None = None
    backdoor: Backdoor = field(default_factory=Backdoor)
    victim: Victim | None = None
    reputation: Reputation | None = None
    ledger: Ledger | None = None
    cpu_seconds: Amount | None = None
    peak_rss_mb: Amount | None = None
    trace_hash: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def rounds(self) -> int:
        return len(self.accuracy.per_round)

    @property
    def refused_total(self) -> int:
        return sum(self.refused.values())

    @property
    def refused_by_count(self) -> list[tuple[str, int]]:
        """(reason, count) of what happened at all, most frequent first, then by name."""
        seen = [(reason, count) for reason, count in self.refused.items() if count]
        return sorted(seen, key=lambda row: (-row[1], row[0]))


def parse_result(raw: Mapping[str, object]) -> Result:
    """The checked result; NumPy numbers and arrays are taken too, NaN and infinity count as null.

    Raises DataError, one line with the place in the object, if it does not fit the schema.
    """
    try:
        result = msgspec.convert(_plain(raw), Result)
    except msgspec.ValidationError as error:
        raise DataError(f"the result of the simulation is malformed: {error}") from None
    for name in ("per_round_min", "per_round_max"):
        if len(getattr(result.accuracy, name)) not in (0, result.rounds):
            raise DataError(
                f"the result of the simulation is malformed: accuracy.{name} "
                f"and accuracy.per_round differ in length"
            )
    if result.reputation is not None:
        peers = len(result.reputation.peers)
        if any(len(row) != peers for row in result.reputation.per_round):
            raise DataError(
                "the result of the simulation is malformed: "
                f"a row of reputation.per_round has not {peers} scores, one for each peer"
            )
    return result


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
