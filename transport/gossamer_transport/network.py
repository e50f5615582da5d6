"""The network: everything that the agent needs of the outside world, in eight methods.

Implementations: `memory` (tests), libp2p, and the simulator's. `testing.NetworkConformance` runs on
all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from gossamer_crypto.identity import PeerId


@dataclass(frozen=True, slots=True)
class Received:
    """A frame as it came, and the peer at the other end of the link: not always its author."""

    peer: PeerId
    frame: bytes


class Network(Protocol):
    """Links to other peers. Frames are opaque; whoever receives one checks everything in it.

    What an implementation promises, and the agent relies on:

    * A frame arrives whole or not at all, and unaltered on an honest link. It may be lost, may
      arrive twice, and may overtake others. Nothing tells the sender that it arrived.
    * `Received.peer` is authenticated: no other peer can send in its name.
    * A frame above the size cap is never delivered. The receiver's queue is bounded and drops the
      oldest frame, so a slow agent loses frames but never memory.
    * Every async method is a trio checkpoint and may be cancelled; a cancelled `receive` loses
      nothing.
    * After `aclose` every method but `peer_id` and `aclose` raises `NetworkError`, and so does a
      `receive` that waits.
    """

    __slots__ = ()

    @property
    def peer_id(self) -> PeerId:
        """The own identity on this network."""
        ...

    def peers(self) -> tuple[PeerId, ...]:
        """Return the peers with a link now, in PeerId order, without the own one."""
        ...

    async def send(self, peer: PeerId, frame: bytes) -> None:
        """Hand `frame` to the link to `peer`. It arrives at most once, but for duplication.

        Raises:
            Unreachable: there is no link to `peer`; the own id counts as such.
            NetworkError: `frame` is above the size cap, or the network is closed.
        """
        ...

    async def publish(self, frame: bytes) -> None:
        """Send `frame`, a small control message, to all peers. Those without a link miss it.

        Raises:
            NetworkError: as `send`.
        """
        ...

    async def receive(self) -> Received:
        """Wait for the next frame. At most one task may wait.

        Raises:
            NetworkError: the network is, or has just been, closed.
        """
        ...

    async def disconnect(self, peer: PeerId) -> None:
        """Cut the link to `peer`, for both sides, and refuse it for as long as this is open.

        Its frames that are not yet received are dropped. Unknown peers are refused in advance.
        """
        ...

    async def aclose(self) -> None:
        """Cut all links. Closing twice is the same as once."""
        ...

    async def __aenter__(self) -> Self:
        """Return the network itself."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the network."""
        ...
