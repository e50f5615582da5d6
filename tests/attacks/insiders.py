"""Attacks of members: they are let in, so their streams reach deeper."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio
from honest_pair import Target
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX
from libp2p.utils.varint import encode_varint_prefixed
from strangers import MEMBER_ID, MESHSUB, bombs, dribble, flood, is_reset, linked

from gossamer_crypto.identity import Identity
from gossamer_transport.libp2p import (
    HELLO_PROTOCOL,
    frames_protocol,
    gossip_topic,
    pull_protocol,
)
from gossamer_transport.libp2p.chunks import INLINE_BYTES_MAX, Offer, encode_inline, encode_offer
from gossamer_transport.wire import FollowFrame, pack_frame

OFFER_BIT = 1 << 31


@asynccontextmanager
async def inside(target: Target) -> AsyncIterator[tuple[IHost, ID]]:
    """A link as a member."""
    assert target.insider is not None
    async with linked(target, target.insider) as (host, peer):
        yield host, peer


async def frames(target: Target, host: IHost, peer: ID) -> INetStream:
    """The stream on which members send frames."""
    return await host.new_stream(peer, [TProtocol(frames_protocol(target.swarm_id))])


# Frames ------------------------------------------------------------------------------------------


@asynccontextmanager
async def oversized_frame(target: Target) -> AsyncIterator[None]:
    async with inside(target) as (host, peer):
        stream = await frames(target, host, peer)
        await stream.write(struct.pack(">I", 0x7FFFFFFF))
        yield


@asynccontextmanager
async def frame_on_the_wrong_way(target: Target) -> AsyncIterator[None]:
    """A length that must be offered, sent as it is."""
    async with inside(target) as (host, peer):
        stream = await frames(target, host, peer)
        await stream.write(struct.pack(">I", INLINE_BYTES_MAX + 1))
        yield


@asynccontextmanager
async def offer_of_nothing(target: Target) -> AsyncIterator[None]:
    async with inside(target) as (host, peer):
        stream = await frames(target, host, peer)
        await stream.write(struct.pack(">I", OFFER_BIT) + bytes(32))
        yield


@asynccontextmanager
async def lying_offers(target: Target) -> AsyncIterator[None]:
    """Offers whose frame is another, longer, shorter, of another length, or never comes."""
    length = INLINE_BYTES_MAX + 1000
    asked = 0

    async def serve(stream: INetStream) -> None:
        nonlocal asked
        asked += 1
        lie = asked % 5
        with suppress(Exception):
            await stream.read(40)
            if lie == 0:
                await trio.sleep_forever()
            await stream.write(struct.pack(">I", 0xFFFFFFFF if lie == 1 else length))
            size = {2: length, 3: 5 * length, 4: length // 2}.get(lie, 0)
            for _ in range(size // 1000):
                await stream.write(os.urandom(1000))
            await stream.close()

    async with inside(target) as (host, peer):
        host.set_stream_handler(TProtocol(pull_protocol(target.swarm_id)), serve)
        stream = await frames(target, host, peer)
        for _ in range(30):
            await stream.write(encode_offer(Offer(os.urandom(32), length)))
        with trio.fail_after(30):
            while asked < 5:  # noqa: ASYNC110  nobody tells
                await trio.sleep(0.1)
        yield


@asynccontextmanager
async def lying_pulls(target: Target) -> AsyncIterator[None]:
    """Questions for what was never offered, from beyond its end, and half questions."""
    protocol = TProtocol(pull_protocol(target.swarm_id))
    question = hashlib.sha256(b"").digest()
    async with inside(target) as (host, peer):
        for raw in (question + b"\xff" * 8, question + bytes(8), bytes(5000)):
            stream = await host.new_stream(peer, [protocol])
            await stream.write(raw)
            with trio.fail_after(10):
                assert await stream.read(4) == bytes(4)
        halves = [await host.new_stream(peer, [protocol]) for _ in range(6)]
        for stream in halves:
            with suppress(Exception):
                await stream.write(question)
        for stream in halves[-2:]:  # the other four are waited for
            assert await is_reset(stream, 5)
        yield


@asynccontextmanager
async def frame_bombs(target: Target) -> AsyncIterator[None]:
    async with inside(target) as (host, peer):
        stream = await frames(target, host, peer)
        for bomb in bombs(INLINE_BYTES_MAX):
            for _ in range(10):
                await stream.write(encode_inline(bomb))
        yield


@asynccontextmanager
async def frame_flood(target: Target) -> AsyncIterator[None]:
    """Two hundred thousand frames that are well-formed and cheap."""
    frame = encode_inline(pack_frame(FollowFrame(0)))
    async with inside(target) as (host, peer):
        stream = await frames(target, host, peer)
        with suppress(Exception):
            for _ in range(200):
                await stream.write(frame * 1000)
        yield


@asynccontextmanager
async def slow_frame(target: Target) -> AsyncIterator[None]:
    """A frame that comes a byte each second, and questions on pull streams that do, too."""
    protocol = TProtocol(pull_protocol(target.swarm_id))
    async with inside(target) as (host, peer), trio.open_nursery() as nursery:
        stream = await frames(target, host, peer)
        nursery.start_soon(dribble, stream, struct.pack(">I", 1000) + bytes(1000))
        for _ in range(3):
            nursery.start_soon(dribble, await host.new_stream(peer, [protocol]), bytes(40))
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def slow_reader(target: Target) -> AsyncIterator[None]:
    """It follows, and asks for all that is known, but takes nothing of what it is sent."""

    async def never_read(stream: INetStream) -> None:
        await trio.sleep_forever()

    async with inside(target) as (host, peer):
        host.set_stream_handler(TProtocol(frames_protocol(target.swarm_id)), never_read)
        stream = await frames(target, host, peer)
        with trio.move_on_after(6):
            while True:
                await stream.write(encode_inline(pack_frame(FollowFrame(0))))
                question = await host.new_stream(peer, [TProtocol(HELLO_PROTOCOL)])
                await question.write(struct.pack(">I", 3) + b"\x91\x01\x01")
                await trio.sleep(0.1)
        yield


# Gossip and requests -----------------------------------------------------------------------------


@asynccontextmanager
async def gossip_bombs(target: Target) -> AsyncIterator[None]:
    """Published frames under a good signature, whose content is a bomb or too large."""
    assert target.insider is not None
    async with inside(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        for number, bomb in enumerate(bombs(INLINE_BYTES_MAX)):
            await stream.write(published(target, target.insider, number, b"\x92\x11" + bomb[:-2]))
        await stream.write(published(target, target.insider, 100, bytes(INLINE_BYTES_MAX + 1)))
        yield


@asynccontextmanager
async def gossip_flood(target: Target) -> AsyncIterator[None]:
    """Three thousand signed announcements of nothing, the same three hundred again and again."""
    assert target.insider is not None
    async with inside(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        messages = [
            published(target, target.insider, n, b"\x91\x10" + bytes(n)) for n in range(300)
        ]
        with suppress(Exception):
            for _ in range(10):
                for message in messages:
                    await stream.write(message)
        yield


def published(target: Target, author: Identity, number: int, data: bytes) -> bytes:
    """An RPC with one message that `author` signed, ready to be written."""
    message = rpc_pb2.Message(
        from_id=MEMBER_ID + author.peer_id,
        seqno=struct.pack(">Q", number),
        data=data,
        topicIDs=[gossip_topic(target.swarm_id)],
    )
    key = create_new_key_pair(author.seed()).private_key
    message.signature = key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    return encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString())


@asynccontextmanager
async def hello_flood(target: Target) -> AsyncIterator[None]:
    async with inside(target) as (host, peer):
        await flood(host, peer)
        yield


@asynccontextmanager
async def inside_window_ignorer(target: Target) -> AsyncIterator[None]:
    """300 MB behind a frame that was refused, as fast as they go."""
    async with inside(target) as (host, peer):
        stream = await host.new_stream(peer, [TProtocol(pull_protocol(target.swarm_id))])
        stream.muxed_stream.send_window = 1 << 40  # type: ignore[attr-defined]
        sent = 0
        with suppress(Exception):
            while sent < 300 << 20:
                await stream.write(bytes(60_000))
                sent += 60_000
        assert sent < 300 << 20
        yield
