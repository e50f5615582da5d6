"""Where an agent keeps its own feed.

This package stores sealed entries and hands them back; it opens no envelope and judges no peer.
The two implementations are `gossamer_agent.store.memory` (simulations, tests) and
`gossamer_agent.store.sqlite` (devices).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from gossamer_agent.errors import StoreError
from gossamer_agent.exit_codes import ExitCode
from gossamer_crypto.envelope import Envelope, Head
from gossamer_crypto.feed import FIRST_PREV


class DamagedStoreError(StoreError):
    """What the store holds is not what was written: bits flipped or entries were lost."""

    exit_code = ExitCode.LOG_BROKEN


class FeedStore(Protocol):
    """One feed of one author and incarnation, append-only.

    Every failure is one `StoreError`. After a failed `append` it is unknown whether the entry was
    kept: the store is dead from then on, and whoever opens it again must read `head()` first.
    """

    __slots__ = ()

    def append(self, envelope: Envelope) -> None:
        """Keep the next entry; it is durable on return.

        Raises StoreError when the entry does not continue the feed or cannot be written.
        """

    def head(self) -> Head | None:
        """Return the newest entry's head, or None for an empty feed."""

    def entries(self, since_seq: int = 0) -> Iterator[Envelope]:
        """Yield the entries from `since_seq` on, in order of seq, as they are now."""

    def close(self) -> None:
        """Give the store back; closing twice is harmless, any later use is a StoreError."""


def check_continues(head: Head | None, envelope: Envelope) -> None:
    """Raise StoreError unless `envelope` is the entry right after `head`.

    A gap or a second entry with a known seq would be a fork of our own feed, for which every
    follower shuts us out.
    """
    header = envelope.header
    seq = 0 if head is None else head.header.seq + 1
    if header.seq != seq:
        raise StoreError(f"the feed's next entry is {seq}, not {header.seq}: read the head again")
    prev = FIRST_PREV if head is None else head.entry_hash
    if header.prev != prev:
        raise StoreError(f"entry {seq} does not follow the stored head: read the head again")
    if head is not None and _feed_of(head) != _feed_of(envelope.head):
        raise StoreError(f"entry {seq} belongs to another author, incarnation or swarm")


def _feed_of(head: Head) -> tuple[bytes, int, bytes]:
    return (head.header.author, head.header.incarnation, head.header.swarm)
