"""What waits to be written to one peer: bounded in items and bytes, dropping the oldest. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

ITEMS_MAX: Final = 1024
BYTES_MAX: Final = 2 * 1024 * 1024


class Outbox:
    """A queue of encoded items. dropped: how many had to go for newer ones."""

    def __init__(self, items_max: int = ITEMS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._items: deque[bytes] = deque()
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: bytes) -> None:
        """Append `item`; an item above the bound in bytes still fits an empty queue."""
        self._items.append(item)
        self._bytes += len(item)
        while len(self._items) > 1 and (
            len(self._items) > self._items_max or self._bytes > self._bytes_max
        ):
            self._bytes -= len(self._items.popleft())
            self.dropped += 1

    def take(self, bytes_max: int) -> bytes:
        """Return the oldest items joined: as many as `bytes_max` holds, at least one if any."""
        taken: list[bytes] = []
        size = 0
        while self._items and (not taken or size + len(self._items[0]) <= bytes_max):
            taken.append(self._items.popleft())
            size += len(taken[-1])
        self._bytes -= size
        return b"".join(taken)

    def clear(self) -> None:
        """Forget everything that waits."""
        self._items.clear()
        self._bytes = 0
