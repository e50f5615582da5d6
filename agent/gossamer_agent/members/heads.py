"""The newest entry of every feed, as far as neighbours have told: who is alive, who is behind.

Heads are signed, so it does not matter who brought them. Of each author one is kept: the highest
incarnation, and in it the highest seq. Two of them with the same author, incarnation and seq but
another hash prove that the author told two stories; the first such pair of each author is kept as
evidence that anyone can verify.

What is old is recognised before its signature is looked at, so that hearing the same again costs
nothing. Whether an author is a member is for the caller to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

from gossamer_agent.store import DamagedStoreError
from gossamer_crypto.envelope import Head
from gossamer_crypto.errors import PeerError
from gossamer_crypto.identity import PeerId
from gossamer_transport.wire import AnnounceFrame, pack_frame, unpack_control

HEADS_MAX: Final = 4096

Row: TypeAlias = tuple[bytes, bytes]
"""A stored head: key (32 bytes of author, for evidence followed by 0 or 1) and packed frame."""


class HeadNews(Enum):
    """What a head is to the table. The pair behind a FORK is in `HeadTable.forks`."""

    NEW = "new"
    OLD = "old"
    FORK = "fork"


class HeadTable:
    """Newest verified head of each author, `HEADS_MAX` authors at most."""

    __slots__ = ("_forks", "_newest")

    def __init__(self) -> None:
        self._newest: dict[PeerId, Head] = {}
        self._forks: dict[PeerId, tuple[Head, Head]] = {}

    def __len__(self) -> int:
        return len(self._newest)

    @property
    def forks(self) -> Mapping[PeerId, tuple[Head, Head]]:
        """Author -> two heads that it signed for one place of its feed; both verified."""
        return MappingProxyType(self._forks)

    def learn(self, head: Head) -> HeadNews:
        """Take up `head`. A fork is told once for each author; the head that was there stays.

        Raises PeerError, and changes nothing, if its author did not sign it.
        """
        author = head.header.author
        newest = self._newest.get(author)
        if newest is not None:
            if _place(head) < _place(newest) or head.entry_hash == newest.entry_hash:
                return HeadNews.OLD
            if _place(head) == _place(newest) and author in self._forks:
                return HeadNews.OLD
        head.verify()
        if newest is not None and _place(head) == _place(newest):
            self._forks[author] = (newest, head)
            return HeadNews.FORK
        if newest is None and len(self._newest) >= HEADS_MAX:
            return HeadNews.OLD
        self._newest[author] = head
        return HeadNews.NEW

    def newest(self, author: PeerId) -> Head | None:
        """The newest head of `author`, verified; None if none was heard of."""
        return self._newest.get(author)

    def all(self) -> tuple[Head, ...]:
        """The newest heads in PeerId order of their authors."""
        return tuple(self._newest[author] for author in sorted(self._newest))

    def forget(self, author: PeerId) -> None:
        """Drop the head of an author who is no member any more; evidence stays."""
        self._newest.pop(author, None)

    def snapshot(self) -> list[Row]:
        """The table as rows for a store, heads first, then evidence."""
        heads = [(bytes(head.header.author), _packed(head)) for head in self.all()]
        evidence = [
            (author + bytes([number]), _packed(head))
            for author, pair in sorted(self._forks.items())
            for number, head in enumerate(pair)
        ]
        return heads + evidence

    def restore(self, rows: Iterable[Row]) -> None:
        """Replace the table by stored rows.

        Raises DamagedStoreError, and changes nothing, for what `snapshot` cannot have written.
        """
        table = HeadTable()
        pairs: dict[PeerId, dict[int, Head]] = {}
        for number, (key, raw) in enumerate(rows):
            try:
                frame = unpack_control(raw)
                if not isinstance(frame, AnnounceFrame) or frame.head.header.author != key[:32]:
                    raise DamagedStoreError(f"table of heads: row {number} is another's")
                author = frame.head.header.author
                if len(key) == len(author):
                    table.learn(frame.head)
                else:
                    frame.head.verify()
                    pairs.setdefault(author, {})[key[-1]] = frame.head
            except PeerError as error:
                raise DamagedStoreError(f"table of heads: row {number}: {error}") from error
        self._newest = table._newest
        self._forks = {
            author: (pair[0], pair[1]) for author, pair in pairs.items() if pair.keys() == {0, 1}
        }


def _place(head: Head) -> tuple[int, int]:
    return (head.header.incarnation, head.header.seq)


def _packed(head: Head) -> bytes:
    return pack_frame(AnnounceFrame(head))
