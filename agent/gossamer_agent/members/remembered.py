"""What an agent knows of others, carried over a restart: reputation, heads, feed watermarks.

Without it a restart would wash every peer clean and let yesterday's traffic be replayed. These are
caches that are saved now and then, lazily: who loses the last minutes of them loses no promise.

    space         key                    value
    reputation    peer                   version, score, rounds of the quarantine (or -1), last
                                         heard of, of the ban (or -1), times judged, quarantines
                                         not forgiven, size of the last change of standing, this
                                         change, newest evidence (version 2 does not count the
                                         quarantines; older: score, quarantine, last heard of)
    heads         author                 announce frame (`HeadTable.snapshot`)
    watermarks    position, 4 bytes      announce frame: highest recorded head of one feed

What must not be lost, because others rely on it, is durable at once:

    forks         author                 fork proof (`ForkProof.pack`)
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from gossamer_agent.following import Following
from gossamer_agent.forks import ForkWatch
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.reputation import ReputationTable, Row
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.state import FORKS, StateStore
from gossamer_crypto.envelope import Head
from gossamer_crypto.errors import PeerError
from gossamer_crypto.fork_proof import ForkProof
from gossamer_transport.wire import AnnounceFrame, pack_frame, unpack_control

REPUTATION: Final = "reputation"
HEADS: Final = "heads"
WATERMARKS: Final = "watermarks"

_FORMAT = 3
_REPUTATION = struct.Struct(">BdqqqqBB")
_REPUTATION_2 = struct.Struct(">BdqqqqB")  # of versions in which each quarantine was as long
_REPUTATION_1 = struct.Struct(">dqq")  # of versions that knew no bans and kept no evidence
_FREE = -1  # in place of the round of a quarantine or ban


def save_reputation(state: StateStore, table: ReputationTable) -> None:
    """Keep the whole table. Raises StoreError, as everything here."""
    state.replace_lazily(REPUTATION, [(row.peer, _pack(row)) for row in table.snapshot()])


def load_reputation(state: StateStore, table: ReputationTable, round_: int) -> None:
    """Restore the table for an agent that goes on at `round_`.

    Rounds count from 0 again after the own feed was lost; a quarantine that was begun later than
    `round_` begins there, or it would last for as long as the lost feed did. Evidence keeps the
    rounds in which it was seen.
    """
    rows = []
    for peer, value in state.items(REPUTATION):
        try:
            row = _unpack(peer, value)
        except (struct.error, ValueError):
            problem = f"{state.path}: a row of {REPUTATION!r} has another format"
            raise DamagedStoreError(problem) from None
        rows.append(
            row._replace(
                quarantined_at=_no_later(row.quarantined_at, round_),
                seen_at=min(row.seen_at, round_),
                banned_at=_no_later(row.banned_at, round_),
            )
        )
    table.restore(rows)


def _pack(row: Row) -> bytes:
    since = _FREE if row.quarantined_at is None else row.quarantined_at
    banned = _FREE if row.banned_at is None else row.banned_at
    rounds = (since, row.seen_at, banned)
    counts = (row.judged, row.times, len(row.change))
    head = _REPUTATION.pack(_FORMAT, row.score, *rounds, *counts)
    return head + row.change + row.ring


def _unpack(peer: bytes, value: bytes) -> Row:
    if len(value) == _REPUTATION_1.size:
        score, since, seen = _REPUTATION_1.unpack(value)
        return Row(peer, score, None if since == _FREE else since, seen)
    if value[:1] == b"\x02":
        _, score, since, seen, banned, judged, size = _REPUTATION_2.unpack_from(value)
        times, rest = 0, value[_REPUTATION_2.size :]
    else:
        version, score, since, seen, banned, judged, times, size = _REPUTATION.unpack_from(value)
        rest = value[_REPUTATION.size :]
        if version != _FORMAT:
            raise ValueError(version)
    if size > len(rest):
        raise ValueError(size)
    return Row(
        peer=peer,
        score=score,
        quarantined_at=None if since == _FREE else since,
        seen_at=seen,
        banned_at=None if banned == _FREE else banned,
        judged=judged,
        change=rest[:size],
        ring=rest[size:],
        times=times,
    )


def _no_later(time: int | None, round_: int) -> int | None:
    return None if time is None else min(time, round_)


def save_heads(state: StateStore, heads: HeadTable) -> None:
    """Keep the newest heads."""
    state.replace_lazily(HEADS, heads.snapshot())


def load_heads(state: StateStore, heads: HeadTable) -> None:
    """Restore what `save_heads` kept; every signature is verified again."""
    heads.restore(state.items(HEADS))


def save_fork(state: StateStore, proof: ForkProof) -> None:
    """Keep the proof against an author; durable on return."""
    state.put(FORKS, bytes(proof.author), proof.pack())


def load_forks(state: StateStore, forks: ForkWatch) -> None:
    """Restore what `save_fork` kept; every signature is verified again."""
    forks.restore(state.items(FORKS))


def save_watermarks(state: StateStore, following: Following) -> None:
    """Keep how far each feed was read, those we follow last."""
    rows = [
        (position.to_bytes(4, "big"), pack_frame(AnnounceFrame(head)))
        for position, head in enumerate(following.watermarks())
    ]
    state.replace_lazily(WATERMARKS, rows)


def load_watermarks(state: StateStore, following: Following) -> None:
    """Restore what `save_watermarks` kept, before anybody is followed."""
    rows = state.items(WATERMARKS)
    following.restore([stored_head(state.path, WATERMARKS, raw) for _, raw in rows])


def stored_head(path: Path, space: str, raw: bytes) -> Head:
    """The head in a row of `space` in the store at `path`, verified. Raises DamagedStoreError."""
    try:
        frame = unpack_control(raw)
        if isinstance(frame, AnnounceFrame):
            frame.head.verify()
            return frame.head
    except PeerError as error:
        raise DamagedStoreError(f"{path}: a row of {space!r}: {error}") from error
    raise DamagedStoreError(f"{path}: a row of {space!r} is no head")
