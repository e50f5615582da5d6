"""A feed store that forgets when the process ends."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer_agent.errors import StoreError
from gossamer_agent.store import check_continues
from gossamer_crypto.envelope import Envelope, Head


class MemoryStore:
    """A `FeedStore` in a list."""

    __slots__ = ("_closed", "_entries")

    def __init__(self) -> None:
        self._entries: list[Envelope] = []
        self._closed = False

    def append(self, envelope: Envelope) -> None:
        check_continues(self.head(), envelope)
        self._entries.append(envelope)

    def head(self) -> Head | None:
        self._check_open()
        return self._entries[-1].head if self._entries else None

    def entries(self, since_seq: int = 0) -> Iterator[Envelope]:
        self._check_open()
        return iter(self._entries[max(since_seq, 0) :])

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store in memory is closed")
