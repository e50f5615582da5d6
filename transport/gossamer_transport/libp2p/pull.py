"""Fetching offered frames: `GET digest offset` -> `length`, then the frame from there on.

    question   SHA-256 (32 bytes), u64 offset
    answer     u32 length of the whole frame (0: not kept any more), bytes from `offset` on

A link that breaks in the middle costs nothing: the next stream, on whatever link there is then,
asks for the rest. The hash decides at the end.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from libp2p.abc import INetStream

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.errors import NetworkError
from gossamer_transport.libp2p import streams
from gossamer_transport.libp2p.chunks import HASH_BYTES, Offer
from gossamer_transport.libp2p.offers import OfferShelf, PullQuota
from gossamer_transport.libp2p.serving import Serving
from gossamer_transport.libp2p.streams import StreamBrokenError

QUESTION_TIMEOUT_S: Final = 10.0
SERVED_PER_PEER_MAX: Final = 4
FETCHED_PER_PEER_MAX: Final = 2
PATIENCE_S: Final = 60.0
"""A fetch that gains no byte for so long, over however many links, is given up."""

SLOWEST_BYTES_PER_S: Final = 16 * 1024
"""Whoever sends a frame slower than this, on average, gives way to others: room is reserved."""

PIECE_BYTES: Final = 16 * 1024
RETRY_S: Final = 0.2
RETRY_S_MAX: Final = 5.0

log = logging.getLogger("gossamer.transport")

_QUESTION = struct.Struct(f">{HASH_BYTES}sQ")
_LENGTH = struct.Struct(">I")

OpenStream = Callable[[PeerId], Awaitable[INetStream]]


class _Gone(Exception):  # noqa: N818 - a state of the sender, not a fault
    """The sender does not keep that frame any more, or never did."""


class _Partial:
    """What has come of a frame so far; hashed as it comes, for all at once would hold up trio."""

    def __init__(self) -> None:
        self.length = 0
        self._pieces: list[bytes] = []
        self._small = bytearray()  # tiny chunks would cost many times their size one by one
        self._hash = hashlib.sha256()

    def append(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.length += len(chunk)
        if len(chunk) < PIECE_BYTES:
            self._small += chunk
            if len(self._small) < PIECE_BYTES:
                return
            chunk = b""
        self._pieces += [bytes(self._small), chunk]
        self._small.clear()

    def whole(self, digest: bytes) -> bytes | None:
        """Return the frame if it hashes to `digest`."""
        if self._hash.digest() != digest:
            return None
        return b"".join((*self._pieces, self._small))


class PullServer:
    """Serves frames from `shelf` to the peers that they were offered to, while they are members."""

    def __init__(
        self,
        shelf: OfferShelf,
        refuse: Callable[[PeerId, Reason], None],
        member: Callable[[PeerId], bool],
    ) -> None:
        self._shelf = shelf
        self._refuse = refuse
        self._member = member
        self._serving = Serving(self._serve, SERVED_PER_PEER_MAX, refuse)
        self.bytes_sent = 0

    async def serve(self, peer: PeerId, stream: INetStream) -> None:
        """Answer one question, as `Serving.one`."""
        await self._serving.one(peer, stream)

    async def _serve(self, peer: PeerId, stream: INetStream) -> None:
        raw = await streams.read_all(stream, _QUESTION.size, QUESTION_TIMEOUT_S)
        digest, offset = _QUESTION.unpack(raw)
        frame = self._shelf.get(peer, digest, trio.current_time())
        if frame is not None and offset > len(frame):
            self._refuse(peer, Reason.BAD_FRAME)
            frame = None
        await streams.write_all(stream, _LENGTH.pack(len(frame) if frame else 0))
        if frame is not None:
            with streams.moving_deadline() as progress:
                for start in range(offset, len(frame), streams.CHUNK_BYTES):
                    if not self._member(peer):
                        raise StreamBrokenError("the peer was evicted")
                    chunk = frame[start : start + streams.CHUNK_BYTES]
                    await streams.write_now(stream, chunk)
                    self.bytes_sent += len(chunk)
                    progress()
        await streams.close(stream)


class Puller:
    """Fetches what peers offer and hands it to `deliver`.

    refuse: told why an offer was not taken or not kept. wanted: whether frames of a peer are still
    welcome, asked again and again.
    """

    def __init__(
        self,
        quota: PullQuota,
        open_stream: OpenStream,
        deliver: Callable[[PeerId, bytes], None],
        refuse: Callable[[PeerId, Reason], None],
        wanted: Callable[[PeerId], bool],
    ) -> None:
        self._quota = quota
        self._open_stream = open_stream
        self._deliver = deliver
        self._refuse = refuse
        self._wanted = wanted
        self._slots: dict[PeerId, trio.CapacityLimiter] = {}
        self.bytes_received = 0
        self.resumed = 0

    def begin(self, nursery: trio.Nursery, peer: PeerId, offer: Offer) -> None:
        """Fetch `offer` in the background if the quota allows."""
        match self._quota.begin(peer, offer):
            case True:
                nursery.start_soon(self._fetch, peer, offer)
            case False:
                self._refuse(peer, Reason.FLOOD)

    async def _fetch(self, peer: PeerId, offer: Offer) -> None:
        slots = self._slots.setdefault(peer, trio.CapacityLimiter(FETCHED_PER_PEER_MAX))
        try:
            async with slots:
                with trio.fail_after(PATIENCE_S + offer.length / SLOWEST_BYTES_PER_S):
                    frame = await self._whole(peer, offer)
        except (_Gone, trio.TooSlowError):
            log.debug("an offered frame could not be fetched")
            return
        finally:
            self._quota.end(peer, offer)
            statistics = slots.statistics()
            if not statistics.borrowed_tokens and not statistics.tasks_waiting:
                self._slots.pop(peer, None)
        if frame is None:
            self._refuse(peer, Reason.BAD_FRAME)
        elif self._wanted(peer):
            self._deliver(peer, frame)

    async def _whole(self, peer: PeerId, offer: Offer) -> bytes | None:
        """Return the frame of `offer`, over as many streams as it takes; None if it is another."""
        frame = _Partial()
        retry_s = RETRY_S
        gained_at = trio.current_time()
        while frame.length < offer.length:
            before = frame.length
            try:
                await self._resume(peer, offer, frame)
            except (StreamBrokenError, NetworkError) as error:
                log.debug("a pull broke off at %d bytes: %s", frame.length, error)
            if frame.length > before:
                gained_at, retry_s = trio.current_time(), RETRY_S
            if frame.length < offer.length:
                if not self._wanted(peer) or trio.current_time() - gained_at > PATIENCE_S:
                    raise _Gone
                self.resumed += 1
                await trio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)
        return frame.whole(offer.digest)

    async def _resume(self, peer: PeerId, offer: Offer, frame: _Partial) -> None:
        """Append to `frame` what one stream brings."""
        stream = await self._open_stream(peer)
        try:
            await self._ask(peer, stream, offer, frame)
        except BaseException:
            await streams.reset(stream)
            raise
        await streams.close(stream)

    async def _ask(self, peer: PeerId, stream: INetStream, offer: Offer, frame: _Partial) -> None:
        await streams.write_all(stream, _QUESTION.pack(offer.digest, frame.length))
        (length,) = _LENGTH.unpack(await streams.read_all(stream, _LENGTH.size))
        if length != offer.length:
            raise _Gone
        with streams.moving_deadline() as progress:
            while frame.length < length:
                if not self._wanted(peer):
                    raise _Gone
                some = await streams.read_now(
                    stream, min(streams.READ_BYTES, length - frame.length)
                )
                if not some:
                    raise StreamBrokenError("the stream ended early")
                frame.append(some)
                self.bytes_received += len(some)
                progress()
