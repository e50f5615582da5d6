"""The streams of frames: one outgoing per member, opened with the first frame and kept.

Theory of operation. `send` only fills a bounded `Outbox`; a task per peer empties it into the
stream, so that a slow peer delays nobody. When the stream breaks, what was being written goes once
more, over another stream; without a link the outbox is dropped. Incoming streams are
read by libp2p's task for them, one per peer: a second one replaces the first.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.abc import INetStream

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.errors import NetworkError, WireError
from gossamer_transport.libp2p import streams
from gossamer_transport.libp2p.bucket import Buckets
from gossamer_transport.libp2p.chunks import FrameReader, Offer
from gossamer_transport.libp2p.outbox import Outbox
from gossamer_transport.libp2p.streams import StreamBrokenError
from gossamer_transport.limits import Limits

FRAMES_PER_S: Final = 200.0
FRAMES_BURST: Final = 1024.0
"""What one peer may send. An honest one that catches up stays far below."""

STRIKES_PER_S: Final = 1.0
FLOOD_STRIKES_MAX: Final = 1000
"""Frames beyond the bucket, in a short time, after which a flooder loses the link."""

OPEN_TRIES: Final = 3
RETRY_S: Final = 0.5
READ_BYTES: Final = 64 * 1024

log = logging.getLogger("gossamer.transport")


class FrameSender:
    """The outgoing half: an outbox and a writing task per peer. member: may `peer` still have what
    waits for it, asked before every write.
    """

    def __init__(
        self,
        open_stream: Callable[[PeerId], Awaitable[INetStream]],
        member: Callable[[PeerId], bool],
    ) -> None:
        self._open_stream = open_stream
        self._member = member
        self._outboxes: dict[PeerId, Outbox] = {}
        self._filled: dict[PeerId, trio.Event] = {}
        self.dropped = 0
        self.bytes_sent = 0

    def put(self, nursery: trio.Nursery, peer: PeerId, item: bytes) -> None:
        """Queue `item` for `peer`; start its task in `nursery` if it has none."""
        outbox = self._outboxes.get(peer)
        if outbox is None:
            outbox = self._outboxes[peer] = Outbox()
            self._filled[peer] = trio.Event()
            nursery.start_soon(self._write, peer, outbox)
        before = outbox.dropped
        outbox.put(item)
        self.dropped += outbox.dropped - before
        self._filled[peer].set()

    def forget(self, peer: PeerId) -> None:
        """Drop what waits for `peer`."""
        if peer in self._outboxes:
            self._outboxes[peer].clear()

    async def _write(self, peer: PeerId, outbox: Outbox) -> None:
        """Empty `outbox` until the host ends, the peer is evicted or no stream can be opened."""
        stream: INetStream | None = None
        data = b""
        try:
            while True:
                while not outbox and not data:
                    self._filled[peer] = trio.Event()
                    await self._filled[peer].wait()
                again = bool(data)
                if stream is None:
                    stream = await self._opened(peer)
                if not self._member(peer):
                    return
                data = data or outbox.take(streams.CHUNK_BYTES)
                try:
                    await streams.write_all(stream, data)
                    self.bytes_sent += len(data)
                    data = b""
                except StreamBrokenError as error:
                    log.debug("a stream of frames broke: %s", error)
                    await streams.reset(stream)
                    stream = None
                    if again:  # twice is allowed to arrive, for ever is not to be tried
                        data = b""
        except NetworkError as error:  # no link any more, or the network is being closed
            log.debug("frames were dropped: %s", error)
        finally:
            del self._outboxes[peer], self._filled[peer]
            if stream is not None:
                await streams.reset(stream)

    async def _opened(self, peer: PeerId) -> INetStream:
        for attempt in range(OPEN_TRIES):
            try:
                return await self._open_stream(peer)
            except NetworkError:
                if attempt == OPEN_TRIES - 1:
                    raise
                await trio.sleep(RETRY_S * 2**attempt)
        raise AssertionError


class FrameReceiver:
    """The incoming half. deliver: takes a whole frame. pull: takes an offer. member: may `peer`
    send, asked for every frame. refuse: its third argument says whether the link must go.
    """

    def __init__(
        self,
        limits: Limits,
        deliver: Callable[[PeerId, bytes], None],
        pull: Callable[[PeerId, Offer], None],
        member: Callable[[PeerId], bool],
        refuse: Callable[[PeerId, Reason, bool], None],
    ) -> None:
        self._limits = limits
        self._deliver = deliver
        self._pull = pull
        self._member = member
        self._refuse = refuse
        self._rates: Buckets[PeerId] = Buckets(FRAMES_PER_S, FRAMES_BURST)
        self._strikes: Buckets[PeerId] = Buckets(STRIKES_PER_S, FLOOD_STRIKES_MAX)
        self._reading: dict[PeerId, trio.CancelScope] = {}
        self.bytes_received = 0

    async def read(self, peer: PeerId, stream: INetStream) -> None:
        """Read `stream` to its end; whatever goes wrong, it is reset and nothing is raised."""
        previous = self._reading.get(peer)
        if previous is not None:
            previous.cancel()
        with trio.CancelScope() as scope:
            self._reading[peer] = scope
            try:
                await self._read(peer, stream)
            except WireError as error:
                self._refuse(peer, error.reason, True)
            except StreamBrokenError as error:
                log.debug("a stream of frames broke: %s", error)
            finally:
                if self._reading.get(peer) is scope:
                    del self._reading[peer]
        await streams.reset(stream)

    def forget(self, peer: PeerId) -> None:
        """Stop reading what `peer` sends."""
        if peer in self._reading:
            self._reading[peer].cancel()

    async def _read(self, peer: PeerId, stream: INetStream) -> None:
        reader = FrameReader(self._limits.frame_bytes_max)
        begun_at = trio.current_time()
        while True:
            # Between frames a stream may rest; the frame that has begun must come to its end.
            left_s = begun_at + streams.STALL_S - trio.current_time()
            timeout_s = max(0.0, left_s) if reader.midway else float("inf")
            try:
                data = await streams.read_some(stream, READ_BYTES, timeout_s)
            except StreamBrokenError:
                if reader.midway and trio.current_time() >= begun_at + streams.STALL_S:
                    raise WireError(Reason.BAD_FRAME, "a frame did not end") from None
                raise
            if not data:
                return
            self.bytes_received += len(data)
            was_midway = reader.midway
            items = reader.feed(data)
            if items or not was_midway:
                begun_at = trio.current_time()
            for item in items:
                self._take(peer, item)
            if not self._member(peer):
                self._refuse(peer, Reason.NOT_A_MEMBER, False)
                return

    def _take(self, peer: PeerId, item: bytes | Offer) -> None:
        if not self._member(peer):
            return
        now = trio.current_time()
        if not self._rates.take(peer, now):
            if not self._strikes.take(peer, now):
                raise WireError(Reason.FLOOD, "frames without end")
            self._refuse(peer, Reason.FLOOD, False)
        elif isinstance(item, Offer):
            self._pull(peer, item)
        else:
            self._deliver(peer, item)
