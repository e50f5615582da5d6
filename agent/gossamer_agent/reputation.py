"""First-hand reputation: who may vote in a merge.

Theory of operation. Each merge tells how large the ball around a peer's parameters is that holds
most of the votes, in units of the smallest such ball. Up to 4 radii is full marks, 8 or more
none: honest peers with very unlike data reach 4, gross poison 10 and more. Near convergence honest
peers differ by many radii, but by little of what all have learnt: within a quarter of the merge's
progress since genesis is full marks too, half of it or more none, and the larger mark counts.

The score is a rolling mean of these marks that falls four times as fast as it rises. Below .35 a
peer is quarantined: it is not followed and has no vote. That ends by time: after `penalty_rounds`
the peer begins anew, as a newcomer whom two or three bad merges put out again, for twice as long,
until it was in good standing for long. What honest software never sends (a bad signature,
non-finite values ...) costs the whole score at once. Two signed entries for one place of a feed,
which anybody can verify, are a ban: that is for good.

A peer that was judged in fewer than NEWCOMER_ROUNDS merges is a newcomer. It votes, but all the
newcomers of a merge hold a third of its votes at most (`gossamer_agent.probation`).

The score gates; it never scales a vote, because as a weight it punishes honest peers with unusual
data. Sending the same as others costs nothing (copies share one vote in the merge): else copying
a peer would be a way to frame it. Nothing here is taken from hearsay: a peer is judged by what it
sent itself and by what it signed. What was seen is remembered beside the score, in bounded memory
(`gossamer_agent.evidence`), so that a standing can be explained. Time is the local round.
"""

# ruff: noqa: A002  (a round is called round everywhere in this project)

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from gossamer_agent.errors import StoreError
from gossamer_agent.evidence import Evidence, EvidenceKind, appended, pack_piece, unpack_ring
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId

START: Final = 0.5
QUARANTINE_BELOW: Final = 0.35
KEEP_FALLING: Final = 0.8
KEEP_RISING: Final = 0.95
FORGIVEN_FROM: Final = 0.9
"""Former quarantines of a peer with this score, 32 merges or more after the last, are forgotten."""
FULL_MARKS_RADII: Final = 4.0
FULL_MARKS_PROGRESS: Final = 0.25
"""Share of the progress since genesis; from twice as much on there are no marks."""
NEWCOMER_ROUNDS: Final = 3
"""Merges in which a peer must be judged before it is no newcomer."""
PENALTY_ROUNDS: Final = 16
RELEASED: Final = "released"
"""Why a peer was admitted again: its penalty is over."""
TIMES_MAX: Final = 7
"""Quarantines that count: none lasts longer than 64 times the first."""

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


class Row(NamedTuple):
    """A stored entry; times are own rounds.

    quarantined_at: when the penalty began, or began again; banned_at: None where it is not.
    judged: merges that gave a mark since it began anew. change: the last change of standing, one
    packed piece of evidence, or nothing. ring: the newest evidence (`gossamer_agent.evidence`).
    times: quarantines that are not forgiven, TIMES_MAX at most.
    """

    peer: bytes
    score: float
    quarantined_at: int | None
    seen_at: int
    banned_at: int | None = None
    judged: int = 0
    change: bytes = b""
    ring: bytes = b""
    times: int = 0


class Standing(StrEnum):
    """Whether a peer may vote."""

    ADMITTED = "admitted"
    QUARANTINED = "quarantined"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class StandingChange:
    """A peer was quarantined, released or banned; `reason` names the offence if there was one."""

    peer: PeerId
    standing: Standing
    round: int
    score: float
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the table knows of one peer.

    judged: merges that gave it a mark since it began anew; times: quarantines that are not
    forgiven; seen_at: own round of the newest evidence; returns_at: own round in which a
    quarantined peer is released; change: the last change of standing, with what led to it;
    evidence: the newest pieces, oldest first.
    """

    peer: PeerId
    standing: Standing
    score: float
    judged: int
    times: int
    seen_at: int
    returns_at: int | None
    change: Evidence | None
    evidence: tuple[Evidence, ...]

    @property
    def newcomer(self) -> bool:
        return self.judged < NEWCOMER_ROUNDS

    @property
    def last_mark(self) -> Evidence | None:
        """The newest piece that was a mark."""
        marks = [piece for piece in self.evidence if not math.isnan(piece.mark)]
        return marks[-1] if marks else None


@dataclass(slots=True)
class _Entry:
    score: float
    quarantined_at: int | None
    seen_at: int
    banned_at: int | None = None
    judged: int = 0
    change: bytes = b""
    ring: bytes = b""
    times: int = 0

    @property
    def standing(self) -> Standing:
        if self.banned_at is not None:
            return Standing.BANNED
        return Standing.ADMITTED if self.quarantined_at is None else Standing.QUARANTINED


class ReputationTable:
    """Scores of the peers this device has heard of itself.

    Holds at most `peers_max`; when full, it forgets first who is in good standing, then who is
    doubtful, then who is in quarantine, then who is banned, and among these the longest unheard of.
    Raises ValueError for limits that are not positive.
    """

    def __init__(self, *, peers_max: int = 4096, penalty_rounds: int = PENALTY_ROUNDS) -> None:
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

    # Learning ------------------------------------------------------------------------------------

    def observe(
        self, peer: PeerId, distance: float, radius: float, round: int, *, progress: float = 0.0
    ) -> StandingChange | None:
        """Score a peer by how far it was from most of the votes of a merge.

        distance: the radius of the ball around its parameters that holds most of the votes;
        radius: the smallest such ball of the merge, the scale (`merge.gossamer`). Without a
        positive finite one nothing is learnt. progress: distance of the merge from genesis, the
        other scale, in the same unit; 0 where it is not known. A distance that is not finite gives
        no marks. Who is in quarantine is not judged.
        """
        if not 0.0 < radius < math.inf or self.is_quarantined(peer):
            return None
        radii = distance / radius
        by_radii = _mark_of(radii, FULL_MARKS_RADII)
        share = distance / progress if progress > 0.0 else math.inf
        by_progress = _mark_of(share, FULL_MARKS_PROGRESS)
        if by_progress > by_radii:
            return self._mark(peer, EvidenceKind.PROGRESS, share, by_progress, round)
        return self._mark(peer, EvidenceKind.DISTANCE, radii, by_radii, round)

    def release(self, round: int) -> list[StandingChange]:
        """End the quarantines whose penalty is over: each peer begins anew, as a newcomer."""
        due = [
            peer
            for peer, entry in self._entries.items()
            if (returns_at := self._returns_at(entry)) is not None and returns_at <= round
        ]
        for peer in sorted(due):
            entry = self._entries[peer]
            entry.quarantined_at, entry.score, entry.judged = None, START, 0
            _change(entry, EvidenceKind.ADMITTED, round, RELEASED)
        return [StandingChange(peer, Standing.ADMITTED, round, START) for peer in sorted(due)]

    def offence(
        self, peer: PeerId, reason: Reason, round: int, detail: str = ""
    ) -> StandingChange | None:
        """Take the whole score for a provable offence; other reasons cost nothing.

        While in quarantine an offence starts the penalty again, which is no change of standing.
        detail: what exactly, for the user.
        """
        if reason not in OFFENCES:
            return None
        entry = self._entry(peer, round)
        entry.score = 0.0
        self._note_offence(entry, reason, detail, round)
        if entry.banned_at is not None:
            return None
        if entry.quarantined_at is None:
            return self._quarantine(peer, entry, round, reason)
        entry.quarantined_at = round
        return None

    def ban(self, peer: PeerId, round: int) -> StandingChange | None:
        """Shut a peer out for good: it signed two entries for one place of its feed.

        Only a fork proof that was verified here may lead to this. None where it is banned already.
        """
        entry = self._entry(peer, round)
        if entry.banned_at is not None:
            return None
        entry.score = 0.0
        entry.banned_at = round
        words = f"{Reason.FORK}: signed two entries for one place of its feed"
        _change(entry, EvidenceKind.BANNED, round, words)
        return StandingChange(peer, Standing.BANNED, round, 0.0, Reason.FORK)

    # Asking --------------------------------------------------------------------------------------

    def standing(self, peer: PeerId) -> Standing:
        """Where the peer stands; ADMITTED for a peer never heard of."""
        entry = self._entries.get(peer)
        return Standing.ADMITTED if entry is None else entry.standing

    def is_quarantined(self, peer: PeerId) -> bool:
        """Whether the peer may not vote: it is in quarantine or banned."""
        return self.standing(peer) is not Standing.ADMITTED

    def is_banned(self, peer: PeerId) -> bool:
        """Whether the peer is shut out for good."""
        return self.standing(peer) is Standing.BANNED

    def score(self, peer: PeerId) -> float:
        """The score in 0..1; START for a peer never heard of."""
        entry = self._entries.get(peer)
        return START if entry is None else entry.score

    def is_newcomer(self, peer: PeerId) -> bool:
        """Whether the peer was judged in fewer than NEWCOMER_ROUNDS merges."""
        entry = self._entries.get(peer)
        return entry is None or entry.judged < NEWCOMER_ROUNDS

    def established(self) -> int:
        """How many peers are admitted and no newcomers."""
        return sum(
            entry.judged >= NEWCOMER_ROUNDS and entry.standing is Standing.ADMITTED
            for entry in self._entries.values()
        )

    def known(self, peer: PeerId) -> Known | None:
        """What is known of one peer, with its evidence; None for a peer never heard of."""
        entry = self._entries.get(peer)
        if entry is None:
            return None
        change = unpack_ring(entry.change)
        return Known(
            peer=peer,
            standing=entry.standing,
            score=entry.score,
            judged=entry.judged,
            times=entry.times,
            seen_at=entry.seen_at,
            returns_at=self._returns_at(entry),
            change=change[0] if change else None,
            evidence=unpack_ring(entry.ring),
        )

    def peers(self) -> list[PeerId]:
        """Whom anything is known of, in PeerId order."""
        return sorted(self._entries)

    # Storing -------------------------------------------------------------------------------------

    def snapshot(self) -> list[Row]:
        """All entries as plain rows, in PeerId order, for a store."""
        return [
            Row(
                peer=bytes(peer),
                score=entry.score,
                quarantined_at=entry.quarantined_at,
                seen_at=entry.seen_at,
                banned_at=entry.banned_at,
                judged=entry.judged,
                change=entry.change,
                ring=entry.ring,
                times=entry.times,
            )
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

    # Inside --------------------------------------------------------------------------------------

    def _mark(
        self, peer: PeerId, kind: EvidenceKind, value: float, mark: float, round: int
    ) -> StandingChange | None:
        """Let one mark move the score, remember it, and see whether a threshold was crossed."""
        entry = self._entry(peer, round)
        keep = KEEP_FALLING if mark <= entry.score else KEEP_RISING
        entry.score = keep * entry.score + (1.0 - keep) * mark
        entry.judged += 1
        entry.ring = appended(entry.ring, Evidence(round, kind, entry.score, value, mark))
        if entry.score >= FORGIVEN_FROM:
            entry.times = 0
        if entry.score < QUARANTINE_BELOW:
            return self._quarantine(peer, entry, round, None)
        return None

    def _quarantine(
        self, peer: PeerId, entry: _Entry, round: int, reason: Reason | None
    ) -> StandingChange:
        entry.quarantined_at = round
        entry.times = min(entry.times + 1, TIMES_MAX)
        _change(entry, EvidenceKind.QUARANTINED, round, reason or EvidenceKind.DISTANCE)
        return StandingChange(peer, Standing.QUARANTINED, round, entry.score, reason)

    def _note_offence(self, entry: _Entry, reason: Reason, detail: str, round: int) -> None:
        """Remember an offence, once a round for each reason: a flood must not wash the ring."""
        words = f"{reason}: {detail}" if detail else str(reason)
        for piece in reversed(unpack_ring(entry.ring)):
            if piece.round != round:
                break
            if piece.kind is EvidenceKind.OFFENCE and piece.words.split(":")[0] == reason:
                return
        entry.ring = appended(
            entry.ring, Evidence(round, EvidenceKind.OFFENCE, entry.score, words=words)
        )

    def _returns_at(self, entry: _Entry) -> int | None:
        if entry.banned_at is not None or entry.quarantined_at is None:
            return None
        return entry.quarantined_at + (self._penalty_rounds << (entry.times - 1))

    def _entry(self, peer: PeerId, round: int) -> _Entry:
        entry = self._entries.get(peer)
        if entry is None:
            if len(self._entries) >= self._peers_max:
                self._forget_one()
            entry = self._entries[peer] = _Entry(START, None, round)
        entry.seen_at = round
        return entry

    def _forget_one(self) -> None:
        def worth(item: tuple[PeerId, _Entry]) -> tuple[bool, bool, bool, int, PeerId]:
            peer, entry = item
            banned, in_quarantine = entry.banned_at is not None, entry.quarantined_at is not None
            return banned, in_quarantine, entry.score < START, entry.seen_at, peer

        del self._entries[min(self._entries.items(), key=worth)[0]]


def _mark_of(distance: float, full: float) -> float:
    """1 up to `full`, none from twice as much on or for no number, a line between."""
    return 0.0 if math.isnan(distance) else min(max(2.0 - distance / full, 0.0), 1.0)


def bad_rounds_until_quarantine(score: float) -> int:
    """How many marks of 0 in a row bring `score` below the line of quarantine."""
    rounds = 0
    while score >= QUARANTINE_BELOW:
        score *= KEEP_FALLING
        rounds += 1
    return rounds


def _change(entry: _Entry, kind: EvidenceKind, round: int, words: str) -> None:
    """Remember a change of standing, in the ring and where nothing pushes it out."""
    piece = Evidence(round, kind, entry.score, words=words)
    entry.change = pack_piece(piece)
    entry.ring = appended(entry.ring, piece)


def _parse(row: Row) -> tuple[PeerId, _Entry]:
    """A stored row as an entry; TypeError or ValueError for what `snapshot` cannot have written."""
    row = Row(*row)
    times = [time for time in (row.quarantined_at, row.banned_at) if time is not None]
    if len(row.peer) != 32 or not 0.0 <= row.score <= 1.0 or min(row.seen_at, row.judged) < 0:
        raise ValueError(row)
    if any(not 0 <= time <= row.seen_at for time in times):
        raise ValueError(row)
    if not 0 <= row.times <= TIMES_MAX:
        raise ValueError(row)
    unpack_ring(row.ring)
    if len(unpack_ring(row.change)) > 1:
        raise ValueError(row)
    entry = _Entry(
        float(row.score),
        row.quarantined_at,
        row.seen_at,
        row.banned_at,
        row.judged,
        row.change,
        row.ring,
        # Older rows do not count them; one that lasts is the first.
        row.times if row.quarantined_at is None else max(row.times, 1),
    )
    return PeerId(bytes(row.peer)), entry
