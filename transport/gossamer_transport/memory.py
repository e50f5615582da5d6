"""Networks in one process, with the faults of real ones: for tests.

Theory of operation. A `MemorySwarm` knows all its networks. Sending puts a frame, with the time at
which it is due, into the receiver's inbox; receiving waits for the earliest one. No background
task exists, so nothing outlives the tests. Latency drawn from a range reorders frames. All times
are trio's: under `trio.testing.MockClock` a latency of an hour costs nothing.

Beyond `Network` it has what a whole agent asks of one: requests to served protocols, addresses
that can be dialled, links, counters. Requests are never lost; they fail where there is no link.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import trio

from gossamer_crypto.errors import PeerError, Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.limits import Limits
from gossamer_transport.network import Network, Received


class MemorySwarm:
    """The links between the networks that `join` hands out; everyone is linked to everyone.

    `latency_s` is the range of one frame's delay; `loss` and `duplicate` are probabilities per
    frame. They may be set while the swarm runs.

    Raises:
        ValueError: a probability is not in [0, 1], or the range of latency is not one.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        latency_s: tuple[float, float] = (0.0, 0.0),
        loss: float = 0.0,
        duplicate: float = 0.0,
        limits: Limits | None = None,
    ) -> None:
        if not 0 <= latency_s[0] <= latency_s[1]:
            raise ValueError("latency_s is a range of seconds, (least, most)")
        if not (0 <= loss <= 1 and 0 <= duplicate <= 1):
            raise ValueError("loss and duplicate are probabilities")
        self.latency_s = latency_s
        self.loss = loss
        self.duplicate = duplicate
        self.limits = limits or Limits()
        self._rng = rng
        self._networks: dict[PeerId, MemoryNetwork] = {}
        self._group: dict[PeerId, int] = {}
        self._sent = 0

    def join(self, peer: PeerId) -> MemoryNetwork:
        """Return a network for `peer`.

        Raises:
            ValueError: `peer` has one that is open.
        """
        if peer in self._networks:
            raise ValueError("this peer has joined already")
        network = MemoryNetwork(self, peer)
        self._networks[peer] = network
        return network

    def partition(self, groups: Sequence[Collection[PeerId]]) -> None:
        """Cut the links between `groups`; peers in none of them form one more group.

        Frames on their way still arrive.
        """
        self._group = {
            peer: number for number, group in enumerate(groups, start=1) for peer in group
        }

    def heal(self) -> None:
        """Restore the links that `partition` cut."""
        self._group = {}

    def _linked(self, one: MemoryNetwork, other: PeerId) -> MemoryNetwork | None:
        """Return the network of `other` if frames of `one` can reach it now."""
        network = self._networks.get(other)
        if network is None or network is one:
            return None
        if self._group.get(one.peer_id, 0) != self._group.get(other, 0):
            return None
        if other in one._refused or one.peer_id in network._refused:
            return None
        return network

    def _carry(self, sender: PeerId, receiver: MemoryNetwork, frame: bytes) -> None:
        for _ in range(1 + (self._rng.random() < self.duplicate)):
            if self._rng.random() < self.loss:
                continue
            delay = self._rng.uniform(*self.latency_s)
            self._sent += 1
            receiver._deliver(trio.current_time() + delay, self._sent, sender, frame)

    def _leave(self, peer: PeerId) -> None:
        del self._networks[peer]


@dataclass(frozen=True, slots=True)
class MemoryLink:
    """A link of a `MemoryNetwork`. Nobody pings in memory."""

    peer: PeerId
    address: str
    member: bool = True
    since_s: float = 0.0
    round_trip_s: float | None = None


class MemoryNetwork(Network):
    """One peer's end of a `MemorySwarm`; implements `network.Network`.

    refused: always empty, the shape is that of other networks. restarts: always 0.
    """

    def __init__(self, swarm: MemorySwarm, peer_id: PeerId) -> None:
        self._swarm = swarm
        self._peer_id = peer_id
        self._inbox: list[tuple[float, int, PeerId, bytes]] = []  # a heap: due, number, ...
        self._inbox_bytes = 0
        self._changed = trio.Event()
        self._refused: set[PeerId] = set()
        self._closed = False
        self._served: dict[str, tuple[Callable[[PeerId, bytes], Awaitable[bytes]], int]] = {}
        self.dropped = 0  # frames lost to the full queue
        self.refused: Counter[Reason] = Counter()
        self.bytes_sent = self.bytes_received = self.frames_sent = self.restarts = 0

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    def peers(self) -> tuple[PeerId, ...]:
        self._require_open()
        known = sorted(self._swarm._networks)
        return tuple(peer for peer in known if self._swarm._linked(self, peer))

    async def send(self, peer: PeerId, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._require_sendable(frame)
        receiver = self._swarm._linked(self, peer)
        if receiver is None:
            raise Unreachable(f"no link to peer {peer.hex()[:16]}")
        self._count(frame)
        self._swarm._carry(self._peer_id, receiver, frame)

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._require_sendable(frame)
        for peer in sorted(self._swarm._networks):
            receiver = self._swarm._linked(self, peer)
            if receiver is not None:
                self._count(frame)
                self._swarm._carry(self._peer_id, receiver, frame)

    async def receive(self) -> Received:
        await trio.lowlevel.checkpoint()
        while True:
            self._require_open()
            due = self._inbox[0][0] if self._inbox else float("inf")
            if due <= trio.current_time():
                return self._pop()
            self._changed = trio.Event()
            with trio.move_on_at(due):
                await self._changed.wait()

    async def disconnect(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        self._refused.add(peer)
        self._forget(peer)

    # Beyond `Network` ------------------------------------------------------------------------

    def addresses(self) -> tuple[str, ...]:
        """The own address, which `dial` understands."""
        return (_address(self._peer_id),)

    async def dial(self, address: str) -> PeerId:
        """Return who is at `address`. Raises Unreachable if nobody is."""
        await trio.lowlevel.checkpoint()
        for peer in self.peers():
            if _address(peer) == address:
                return peer
        raise Unreachable("connection refused")

    def links(self) -> tuple[MemoryLink, ...]:
        return tuple(MemoryLink(peer, _address(peer)) for peer in self.peers())

    def known_addresses(self, peer: PeerId) -> tuple[str, ...]:
        return (_address(peer),)

    def serve(
        self,
        protocol: str,
        handler: Callable[[PeerId, bytes], Awaitable[bytes]],
        *,
        request_bytes_max: int,
        members_only: bool = False,  # noqa: ARG002  here everybody is one
    ) -> None:
        """Answer requests for `protocol` from now on."""
        self._served[protocol] = (handler, request_bytes_max)

    async def request(
        self,
        peer: PeerId,
        protocol: str,
        payload: bytes,
        *,
        response_bytes_max: int,
        timeout_s: float,
    ) -> bytes:
        """Ask `peer` and return its answer.

        Raises:
            Unreachable: there is no link.
            NetworkError: it does not serve this, refuses, answers too much, or too late.
        """
        await trio.lowlevel.checkpoint()
        self._require_open()
        receiver = self._swarm._linked(self, peer)
        if receiver is None:
            raise Unreachable(f"no link to peer {peer.hex()[:16]}")
        handler, request_bytes_max = receiver._served.get(protocol, (None, 0))
        if handler is None or len(payload) > request_bytes_max:
            raise NetworkError(
                "no common protocol" if handler is None else "the request is refused"
            )
        with trio.move_on_after(timeout_s):
            try:
                answer = await handler(self._peer_id, payload)
            except PeerError:
                raise NetworkError("the request is refused") from None
            if len(answer) > response_bytes_max:
                raise NetworkError("the answer is too large")
            return answer
        raise NetworkError("timed out")

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._swarm._leave(self._peer_id)
            self._changed.set()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _deliver(self, due: float, number: int, sender: PeerId, frame: bytes) -> None:
        limits = self._swarm.limits
        heapq.heappush(self._inbox, (due, number, sender, frame))
        self._inbox_bytes += len(frame)
        self.bytes_received += len(frame)
        while (
            len(self._inbox) > limits.receive_frames_max
            or self._inbox_bytes > limits.receive_bytes_max
        ):
            self._pop()
            self.dropped += 1
        self._changed.set()

    def _pop(self) -> Received:
        _, _, peer, frame = heapq.heappop(self._inbox)
        self._inbox_bytes -= len(frame)
        return Received(peer, frame)

    def _forget(self, sender: PeerId) -> None:
        self._inbox = [item for item in self._inbox if item[2] != sender]
        self._inbox_bytes = sum(len(item[3]) for item in self._inbox)
        heapq.heapify(self._inbox)

    def _count(self, frame: bytes) -> None:
        self.frames_sent += 1
        self.bytes_sent += len(frame)

    def _require_open(self) -> None:
        if self._closed:
            raise NetworkError("the network is closed")

    def _require_sendable(self, frame: bytes) -> None:
        self._require_open()
        cap = self._swarm.limits.frame_bytes_max
        if len(frame) > cap:
            raise NetworkError(f"a frame of {len(frame)} bytes is above the cap of {cap}")


def _address(peer: PeerId) -> str:
    return f"/memory/{peer.hex()}"
