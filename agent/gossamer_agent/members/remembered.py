"""What an agent knows of others, carried over a restart: reputation, heads, feed watermarks.

Without it a restart would wash every peer clean and let yesterday's traffic be replayed. These are
caches that are saved now and then, lazily: who loses the last minutes of them loses no promise.

    space         key                    value
    reputation    peer                   score, round of the quarantine or -1, round last heard of
    heads         author [0 or 1]        announce frame (`HeadTable.snapshot`)
    watermarks    position, 4 bytes      announce frame: highest recorded head of one feed
"""

from __future__ import annotations

import struct
from typing import Final

from gossamer_agent.following import Following
from gossamer_agent.members.heads import HeadTable
from gossamer_agent.reputation import ReputationTable, Row
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.state import StateStore
from gossamer_crypto.envelope import Head
from gossamer_crypto.errors import PeerError
from gossamer_transport.wire import AnnounceFrame, pack_frame, unpack_control

REPUTATION: Final = "reputation"
HEADS: Final = "heads"
WATERMARKS: Final = "watermarks"

_REPUTATION = struct.Struct(">dqq")
_FREE = -1  # in place of the round of a quarantine


def save_reputation(state: StateStore, table: ReputationTable) -> None:
    """Keep the whole table. Raises StoreError, as everything here."""
    rows = [
        (peer, _REPUTATION.pack(score, _FREE if since is None else since, seen))
        for peer, score, since, seen in table.snapshot()
    ]
    state.replace_lazily(REPUTATION, rows)


def load_reputation(state: StateStore, table: ReputationTable, round_: int) -> None:
    """Restore the table for an agent that goes on at `round_`.

    Rounds count from 0 again after the own feed was lost; a quarantine that was begun later than
    `round_` begins there, or it would last for as long as the lost feed did.
    """
    rows: list[Row] = []
    for peer, value in state.items(REPUTATION):
        if len(value) != _REPUTATION.size:
            raise DamagedStoreError(f"{state.path}: a row of {REPUTATION!r} has another format")
        score, since, seen = _REPUTATION.unpack(value)
        quarantined_at = None if since == _FREE else min(since, round_)
        rows.append((peer, score, quarantined_at, min(seen, round_)))
    table.restore(rows)


def save_heads(state: StateStore, heads: HeadTable) -> None:
    """Keep the newest heads and the evidence of forks."""
    state.replace_lazily(HEADS, heads.snapshot())


def load_heads(state: StateStore, heads: HeadTable) -> None:
    """Restore what `save_heads` kept; every signature is verified again."""
    heads.restore(state.items(HEADS))


def save_watermarks(state: StateStore, following: Following) -> None:
    """Keep how far each feed was read, those we follow last."""
    rows = [
        (position.to_bytes(4, "big"), pack_frame(AnnounceFrame(head)))
        for position, head in enumerate(following.watermarks())
    ]
    state.replace_lazily(WATERMARKS, rows)


def load_watermarks(state: StateStore, following: Following) -> None:
    """Restore what `save_watermarks` kept, before anybody is followed."""
    following.restore([_head(state, raw) for _, raw in state.items(WATERMARKS)])


def _head(state: StateStore, raw: bytes) -> Head:
    try:
        frame = unpack_control(raw)
        if isinstance(frame, AnnounceFrame):
            frame.head.verify()
            return frame.head
    except PeerError as error:
        raise DamagedStoreError(f"{state.path}: a row of {WATERMARKS!r}: {error}") from error
    raise DamagedStoreError(f"{state.path}: a row of {WATERMARKS!r} is no head")
