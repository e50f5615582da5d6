"""The queue between the network and the agent: bounded, dropping the oldest. Pure."""

from __future__ import annotations

from collections import deque

from gossamer_crypto.identity import PeerId
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received


class Inbox:
    """Frames that arrived and were not yet received. dropped: lost to the bound."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._items: deque[Received] = deque()
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, received: Received) -> None:
        """Append `received`; drop the oldest until the bounds of `Limits` hold."""
        self._items.append(received)
        self._bytes += len(received.frame)
        while (
            len(self._items) > self._limits.receive_frames_max
            or self._bytes > self._limits.receive_bytes_max
        ):
            self.pop()
            self.dropped += 1

    def pop(self) -> Received:
        """Return the oldest; IndexError if there is none."""
        received = self._items.popleft()
        self._bytes -= len(received.frame)
        return received

    def forget(self, peer: PeerId) -> None:
        """Drop everything that came from `peer`."""
        self._items = deque(item for item in self._items if item.peer != peer)
        self._bytes = sum(len(item.frame) for item in self._items)
