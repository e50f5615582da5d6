"""What a device's folder says about the standing of others, for people and for programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gossamer_agent.evidence import Evidence, EvidenceKind
from gossamer_agent.forks import ForkWatch, told_of
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.members.remembered import load_forks, load_reputation
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.policy import Policy
from gossamer_agent.reputation import (
    NEWCOMER_ROUNDS,
    START,
    Known,
    ReputationTable,
    Standing,
    bad_rounds_until_quarantine,
)
from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_crypto.roster import Roster
from gossamer_transport.view import branches_of

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device
    from gossamer_crypto.fork_proof import ForkProof

_NO_ROUND = (1 << 63) - 1  # rounds are shown as they were saved


class Piece(msgspec.Struct, kw_only=True):
    """One piece of first-hand evidence; score: after it. Null where nothing was measured."""

    round: int
    kind: str
    score: float
    value: float | None
    mark: float | None
    words: str


class PeerAccount(msgspec.Struct, kw_only=True):
    """One peer. Rounds are this device's own; last_round: of the newest evidence.

    judged: merges that gave it a mark since it began anew; newcomer: fewer than three. mark: of the
    newest merge that judged it, by one of distance_radii, in radii of the tightest half of that
    merge, and distance_progress, as a share of its distance from genesis; the other is null.
    since_round, why: of the last change of standing; times: quarantines that are not forgiven.
    returns_round: when a quarantined peer is released, null for one that votes or never will;
    bad_rounds: marks of 0 in a row until quarantine, for one that votes. subtree: root of the
    branch of inviters that it belongs to, null where it is nobody's; subtree_members: of that
    branch, itself among them. newcomers_bounded: whether this device knows enough others to bound
    the votes of newcomers.
    """

    peer: str
    own: bool
    member: bool
    standing: str
    score: float
    judged: int
    newcomer: bool
    last_round: int | None
    distance_radii: float | None
    distance_progress: float | None
    mark: float | None
    since_round: int | None
    why: str | None
    times: int
    returns_round: int | None
    bad_rounds: int | None
    invited_by: str | None
    subtree: str | None
    subtree_members: int
    newcomers_bounded: bool
    evidence: list[Piece]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The reputation table and the roster of a device. now: own round of its newest evidence."""

    own: PeerId
    table: ReputationTable
    roster: Roster
    now: int
    young: bool  # too few established peers to bound newcomers
    branches: dict[PeerId, PeerId]
    sizes: Counter[PeerId]
    proofs: Mapping[PeerId, ForkProof]

    def account(self, peer: PeerId) -> PeerAccount:
        """All that is known of a peer, heard of or not."""
        known = self.table.known(peer) or _stranger(peer)
        mark, change = known.last_mark, known.change
        admitted = known.standing is Standing.ADMITTED
        branch = self.branches.get(peer, peer)
        inviter = self.roster.inviter_of(peer)
        in_subtree = branch != peer or self.sizes[branch] > 1
        return PeerAccount(
            peer=peer_id_text(peer),
            own=peer == self.own,
            member=peer in self.roster,
            standing=str(known.standing),
            score=known.score,
            judged=known.judged,
            newcomer=known.newcomer,
            last_round=known.seen_at if known.seen_at >= 0 else None,
            distance_radii=_value(mark, EvidenceKind.DISTANCE),
            distance_progress=_value(mark, EvidenceKind.PROGRESS),
            mark=None if mark is None else mark.mark,
            since_round=None if change is None else change.round,
            why=self._why(peer, change),
            times=known.times,
            returns_round=known.returns_at,
            bad_rounds=bad_rounds_until_quarantine(known.score) if admitted else None,
            invited_by=None if inviter is None else peer_id_text(inviter),
            subtree=peer_id_text(branch) if in_subtree else None,
            subtree_members=self.sizes[branch] if in_subtree else 0,
            newcomers_bounded=not self.young,
            evidence=[_piece(piece) for piece in known.evidence],
        )

    def _why(self, peer: PeerId, change: Evidence | None) -> str | None:
        proof = self.proofs.get(peer)
        if proof is not None:
            return told_of(proof)
        return None if change is None else change.words


def read(device: Device) -> Knowledge:
    """Read the folder of a device, whether its agent runs or not. Raises StoreError."""
    table = ReputationTable()
    with closing(device.open_state()) as state:
        load_reputation(state, table, _NO_ROUND)
        roster = load_roster(state, device.genesis)
        forks = ForkWatch(device.genesis.swarm_id, roster, HeadTable())
        load_forks(state, forks)
    now = max((row.seen_at for row in table.snapshot()), default=0)
    for author in sorted(forks.proofs):
        table.ban(author, now)  # proofs are saved at once, the table now and then
    branches = branches_of(sorted({*roster.members, *table.peers()}), roster.inviter_of)
    return Knowledge(
        own=device.peer_id,
        table=table,
        roster=roster,
        now=now,
        proofs=forks.proofs,
        young=table.established() + 1 < Policy.unpack(device.genesis.policy).quorum,
        branches=branches,
        sizes=Counter(branches[peer] for peer in roster.members),
    )


def pack(told: PeerAccount | list[PeerAccount]) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(told)


def show(told: list[PeerAccount]) -> None:
    """Print a table, the worst first."""
    from rich.console import Console  # noqa: PLC0415  takes a tenth of a second
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("peer", "standing"):
        table.add_column(name, no_wrap=True)
    for name in ("score", "merges", "last distance"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("why, since when", overflow="fold")
    for row in sorted(told, key=_badness):
        distance = "-" if row.distance_radii is None else f"{row.distance_radii:.2f} radii"
        if row.distance_progress is not None:
            distance = f"{row.distance_progress:.2f} progress"
        # All ids begin alike; the end tells them apart, and `explain` takes it.
        cells = (f"...{row.peer[-8:]}", row.standing, f"{row.score:.2f}", str(row.judged), distance)
        table.add_row(*cells, Text(_remark(row)))
    Console(highlight=False).print(table)


def _remark(row: PeerAccount) -> str:
    said = [] if row.since_round is None else [f"{row.why}, round {row.since_round}"]
    if row.newcomer and row.standing == Standing.ADMITTED:
        said.append(f"newcomer, {row.judged} of {NEWCOMER_ROUNDS} merges")
    if not row.member:
        said.append("no member any more")
    return "; ".join(said)


def _badness(row: PeerAccount) -> tuple[int, float, str]:
    order = (Standing.BANNED, Standing.QUARANTINED, Standing.ADMITTED)
    return order.index(Standing(row.standing)), row.score, row.peer


def _stranger(peer: PeerId) -> Known:
    return Known(
        peer=peer,
        standing=Standing.ADMITTED,
        score=START,
        judged=0,
        times=0,
        seen_at=-1,
        returns_at=None,
        change=None,
        evidence=(),
    )


def _piece(piece: Evidence) -> Piece:
    return Piece(
        round=piece.round,
        kind=str(piece.kind),
        score=round(piece.score, 6),
        value=_finite(piece.value),
        mark=_finite(piece.mark),
        words=piece.words,
    )


def _value(piece: Evidence | None, kind: EvidenceKind) -> float | None:
    """What was measured, where it was of this kind."""
    return _finite(piece.value) if piece is not None and piece.kind is kind else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
