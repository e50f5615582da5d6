"""Frames between us and members, both ways: whatever of it must survive a host.

Small frames go over the stream of `frames`, large ones are offered there and fetched by `pull`. All
of it asks the `Doorkeeper` again and again: with an eviction everything stops that is under way.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol

from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.chunks import (
    INLINE_BYTES_MAX,
    Offer,
    encode_inline,
    encode_offer,
    frame_offer,
)
from gossamer_transport.libp2p.doorkeeper import Doorkeeper
from gossamer_transport.libp2p.frames import FrameReceiver, FrameSender
from gossamer_transport.libp2p.inbox import Inbox
from gossamer_transport.libp2p.members_only import members_only
from gossamer_transport.libp2p.offers import OfferShelf, PullQuota
from gossamer_transport.libp2p.options import frames_protocol, pull_protocol
from gossamer_transport.libp2p.peer_ids import peer_behind
from gossamer_transport.libp2p.pull import Puller, PullServer
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received

HASH_IN_THREAD_BYTES: Final = 512 * 1024
"""A slow device hashes 50 MB/s, and trio should not stand still for more than 10 ms."""

OpenStream = Callable[[PeerId, str], Awaitable[INetStream]]


class Exchange:
    """What goes out and what has come in. open_stream: raises NetworkError when there is no link.

    inbox: of frames that nobody received yet; arrived: set with the next one. nursery: where large
    frames are fetched; offers that come while it is None are not taken.
    """

    def __init__(
        self, limits: Limits, swarm_id: bytes, door: Doorkeeper, open_stream: OpenStream
    ) -> None:
        self._door = door
        self._frames_protocol = frames_protocol(swarm_id)
        self._pull_protocol = pull_protocol(swarm_id)
        member = door.__contains__
        self.inbox = Inbox(limits)
        self.arrived = trio.Event()
        self.nursery: trio.Nursery | None = None
        self._shelf = OfferShelf(limits.receive_bytes_max)
        self._pulls = PullServer(self._shelf, door.refuse, member)
        self._puller = Puller(
            PullQuota(limits.receive_bytes_max),
            lambda peer: open_stream(peer, self._pull_protocol),
            self.deliver,
            door.refuse,
            member,
        )
        self._sender = FrameSender(lambda peer: open_stream(peer, self._frames_protocol), member)
        self._receiver = FrameReceiver(limits, self.deliver, self._fetch, member, door.refuse)

    @property
    def bytes_sent(self) -> int:
        return self._sender.bytes_sent + self._pulls.bytes_sent

    @property
    def bytes_received(self) -> int:
        return self._receiver.bytes_received + self._puller.bytes_received

    @property
    def dropped(self) -> int:
        return self.inbox.dropped + self._sender.dropped

    async def wrap(self, peer: PeerId, frame: bytes) -> bytes:
        """Return what to `put` for `frame`: itself, or its offer, and then it can be fetched."""
        if len(frame) <= INLINE_BYTES_MAX:
            return encode_inline(frame)
        if len(frame) < HASH_IN_THREAD_BYTES:
            offer = frame_offer(frame)
        else:
            offer = await trio.to_thread.run_sync(frame_offer, frame)
        self._shelf.put(peer, offer, frame, trio.current_time())
        return encode_offer(offer)

    def put(self, nursery: trio.Nursery, peer: PeerId, item: bytes) -> None:
        """Queue for `peer` what `wrap` returned; it is written in `nursery`."""
        self._sender.put(nursery, peer, item)

    def deliver(self, peer: PeerId, frame: bytes) -> None:
        """Put a frame of a member into the inbox."""
        if peer in self._door:
            self.inbox.put(Received(peer, frame))
            self.arrived.set()

    def forget(self, peer: PeerId) -> None:
        """Drop what waits for `peer` and what came from it."""
        self.inbox.forget(peer)
        self._sender.forget(peer)
        self._receiver.forget(peer)

    def expire(self, now: float) -> None:
        """Drop offers that nobody fetched in time."""
        self._shelf.expire(now)

    def attach(self, host: IHost) -> None:
        """Route the inbound streams of members."""
        for protocol, handle in (
            (self._frames_protocol, self._receiver.read),
            (self._pull_protocol, self._pulls.serve),
        ):
            by_peer = functools.partial(_for_peer, handle)
            door = members_only(by_peer, self._door, self._door.refuse)
            host.set_stream_handler(TProtocol(protocol), door)

    def _fetch(self, peer: PeerId, offer: Offer) -> None:
        if self.nursery is not None:
            self._puller.begin(self.nursery, peer, offer)


async def _for_peer(
    handle: Callable[[PeerId, INetStream], Awaitable[None]], stream: INetStream
) -> None:
    await handle(peer_behind(stream), stream)
