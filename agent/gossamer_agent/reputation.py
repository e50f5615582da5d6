"""First-hand reputation: who may vote in a merge.

Theory of operation. Each merge tells how far a peer's parameters lay from the centre, in units of
the median radius. Up to 2 radii is full marks, 4 or more none. The score is a rolling mean of
these marks that falls four times as fast as it rises. Below .35 a peer is quarantined: it no longer
votes. It may be followed again after `penalty_rounds`, to be scored, and votes again from .6 on; a
mark of none on the way starts the penalty again. What honest software never sends (a bad signature,
a fork, non-finite values ...) costs the whole score at once.

The score gates; it never scales a vote, because as a weight it punishes honest peers with unusual
data. Sending the same as others costs nothing (copies share one vote in the merge): else copying
a peer would be a way to frame it. Nothing here is taken from hearsay. Time is the local round.
"""

# ruff: noqa: A002  (a round is called round everywhere in this project)

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from gossamer_agent.errors import StoreError
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId

START: Final = 0.5
QUARANTINE_BELOW: Final = 0.35
READMIT_FROM: Final = 0.6
KEEP_FALLING: Final = 0.8
KEEP_RISING: Final = 0.95
FULL_MARKS_RADII: Final = 2.0

OFFENCES: Final = frozenset(
    {
        Reason.TOO_LARGE,
        Reason.BAD_FRAME,
        Reason.BAD_HEADER,
        Reason.BAD_SIGNATURE,
        Reason.REPLAYED,
        Reason.FORK,
        Reason.BAD_COMMITMENT,
        Reason.UNDECRYPTABLE,
        Reason.BAD_DELTA,
        Reason.NON_FINITE,
        Reason.OUT_OF_BOUNDS,
        Reason.REPLICA_MISMATCH,
    }
)
"""Reasons that prove fault; all others can befall an honest peer, and cost nothing."""

Row: TypeAlias = tuple[bytes, float, int | None, int]
"""A stored entry: peer, score, round of the quarantine or None, round last heard of."""


class Standing(StrEnum):
    """Whether a peer may vote."""

    ADMITTED = "admitted"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class StandingChange:
    """A peer was quarantined or readmitted; `reason` names the offence if there was one."""

    peer: PeerId
    standing: Standing
    round: int
    score: float
    reason: Reason | None = None


@dataclass(slots=True)
class _Entry:
    score: float
    quarantined_at: int | None
    seen_at: int


class ReputationTable:
    """Scores of the peers this device has heard of itself.

    Holds at most `peers_max`; when full, it forgets first who is in good standing, then who is
    doubtful, then who is in quarantine, and among these the longest unheard of. Raises ValueError
    for limits that are not positive.
    """

    def __init__(self, *, peers_max: int = 4096, penalty_rounds: int = 16) -> None:
        if peers_max < 1 or penalty_rounds < 1:
            raise ValueError("peers_max and penalty_rounds must be positive")
        self._peers_max = peers_max
        self._penalty_rounds = penalty_rounds
        self._entries: dict[PeerId, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer: PeerId) -> bool:
        """Whether anything was learnt about the peer."""
        return peer in self._entries

    def observe(
        self, peer: PeerId, distance: float, radius: float, round: int
    ) -> StandingChange | None:
        """Score a peer by its distance to the centre of a merge with this median radius.

        Without a positive finite radius there is no scale and nothing is learnt. A distance that
        is not finite gives no marks.
        """
        if not 0.0 < radius < math.inf:
            return None
        mark = min(max(2.0 - distance / (FULL_MARKS_RADII * radius), 0.0), 1.0)
        if math.isnan(distance):
            mark = 0.0
        entry = self._entry(peer, round)
        keep = KEEP_FALLING if mark <= entry.score else KEEP_RISING
        entry.score = keep * entry.score + (1.0 - keep) * mark
        if entry.quarantined_at is None:
            if entry.score < QUARANTINE_BELOW:
                return self._quarantine(peer, entry, round, None)
        elif entry.score >= READMIT_FROM:
            entry.quarantined_at = None
            return StandingChange(peer, Standing.ADMITTED, round, entry.score)
        elif mark == 0.0:
            entry.quarantined_at = round
        return None

    def offence(self, peer: PeerId, reason: Reason, round: int) -> StandingChange | None:
        """Take the whole score for a provable offence; other reasons cost nothing.

        While in quarantine an offence starts the penalty again, which is no change of standing.
        """
        if reason not in OFFENCES:
            return None
        entry = self._entry(peer, round)
        entry.score = 0.0
        if entry.quarantined_at is None:
            return self._quarantine(peer, entry, round, reason)
        entry.quarantined_at = round
        return None

    def is_quarantined(self, peer: PeerId) -> bool:
        """Whether the peer may not vote."""
        entry = self._entries.get(peer)
        return entry is not None and entry.quarantined_at is not None

    def score(self, peer: PeerId) -> float:
        """The score in 0..1; START for a peer never heard of."""
        entry = self._entries.get(peer)
        return START if entry is None else entry.score

    def may_return(self, peer: PeerId, round: int) -> bool:
        """Whether the peer may be followed: not in quarantine, or for `penalty_rounds` in it."""
        entry = self._entries.get(peer)
        if entry is None or entry.quarantined_at is None:
            return True
        return round - entry.quarantined_at >= self._penalty_rounds

    def snapshot(self) -> list[Row]:
        """All entries as plain rows, in PeerId order, for a store."""
        return [
            (bytes(peer), entry.score, entry.quarantined_at, entry.seen_at)
            for peer, entry in sorted(self._entries.items())
        ]

    def restore(self, rows: Iterable[Row]) -> None:
        """Replace the table by stored rows; StoreError, and no change, when one is damaged."""
        entries = {}
        for number, row in enumerate(rows):
            try:
                peer, entry = _parse(row)
            except (TypeError, ValueError):
                raise StoreError(f"reputation table: row {number} is damaged; delete it") from None
            entries[peer] = entry
        self._entries = entries
        while len(self._entries) > self._peers_max:
            self._forget_one()

    def _entry(self, peer: PeerId, round: int) -> _Entry:
        entry = self._entries.get(peer)
        if entry is None:
            if len(self._entries) >= self._peers_max:
                self._forget_one()
            entry = self._entries[peer] = _Entry(START, None, round)
        entry.seen_at = round
        return entry

    def _quarantine(
        self, peer: PeerId, entry: _Entry, round: int, reason: Reason | None
    ) -> StandingChange:
        entry.quarantined_at = round
        return StandingChange(peer, Standing.QUARANTINED, round, entry.score, reason)

    def _forget_one(self) -> None:
        def worth(item: tuple[PeerId, _Entry]) -> tuple[bool, bool, int, PeerId]:
            peer, entry = item
            in_quarantine = entry.quarantined_at is not None
            return in_quarantine, entry.score < START, entry.seen_at, peer

        del self._entries[min(self._entries.items(), key=worth)[0]]


def _parse(row: Row) -> tuple[PeerId, _Entry]:
    """A stored row as an entry; TypeError or ValueError for what `snapshot` cannot have written."""
    peer, score, quarantined_at, seen_at = row
    since = seen_at if quarantined_at is None else quarantined_at
    if len(peer) != 32 or not 0.0 <= score <= 1.0 or not 0 <= since <= seen_at:
        raise ValueError(row)
    return PeerId(bytes(peer)), _Entry(float(score), quarantined_at, seen_at)
