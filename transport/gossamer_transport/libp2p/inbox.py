"""The queue between the network and the agent: bounded, and nobody fills it for all. Pure."""

from __future__ import annotations

from collections import deque

from gossamer_crypto.identity import PeerId
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received


class Inbox:
    """Frames that arrived and were not yet received, in order. A full one drops the oldest of the
    peer that fills most of it. dropped: lost to that.
    """

    def __init__(self, limits: Limits) -> None:
        self._frames_max = limits.receive_frames_max
        self._bytes_max = limits.receive_bytes_max
        self._frame_cost = max(1, limits.receive_bytes_max // limits.receive_frames_max)
        self._items: deque[Received] = deque()
        self._bytes = 0
        self._filled: dict[PeerId, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, received: Received) -> None:
        """Append `received`; drop others, or itself, until the bounds of `Limits` hold."""
        self._items.append(received)
        self._count(received, 1)
        while len(self._items) > self._frames_max or self._bytes > self._bytes_max:
            greediest = max(self._filled, key=self._filled.__getitem__)
            oldest = next(item for item in self._items if item.peer == greediest)
            self._items.remove(oldest)
            self._count(oldest, -1)
            self.dropped += 1

    def pop(self) -> Received:
        """Return the oldest; IndexError if there is none."""
        received = self._items.popleft()
        self._count(received, -1)
        return received

    def forget(self, peer: PeerId) -> None:
        """Drop everything that came from `peer`."""
        self._bytes -= sum(len(item.frame) for item in self._items if item.peer == peer)
        self._items = deque(item for item in self._items if item.peer != peer)
        self._filled.pop(peer, None)

    def _count(self, received: Received, sign: int) -> None:
        size = len(received.frame)
        self._bytes += sign * size
        filled = self._filled.get(received.peer, 0) + sign * (size + self._frame_cost)
        if filled:
            self._filled[received.peer] = filled
        else:
            self._filled.pop(received.peer, None)
