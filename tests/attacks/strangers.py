"""Attacks of peers who are no members: hosts of plain libp2p, and pubsub written by hand."""

from __future__ import annotations

import gc
import itertools
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest
import trio
from honest_pair import Target
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH
from libp2p.network.stream.exceptions import StreamError
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.peer.peerstore import create_signed_peer_record
from libp2p.pubsub.pb import rpc_pb2
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secio import transport as secio
from libp2p.stream_muxer.exceptions import MuxedStreamError
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from gossamer_crypto.identity import Identity
from gossamer_transport.libp2p import HELLO_PROTOCOL, JOIN_PROTOCOL, gossip_topic

MESHSUB = TProtocol("/meshsub/1.2.0")
MEMBER_ID = bytes.fromhex("002408011220")  # before the key: libp2p's id of an Ed25519 identity
CONNECT_S = 20.0
T = TypeVar("T")
IDENTITIES = 20


def run(attack: Callable[[], Awaitable[T]], timeout_s: float = 100.0) -> T:
    """Run hosts of libp2p; what they leave open is collected here, where it is known."""

    async def bounded() -> T:
        with trio.fail_after(timeout_s):
            return await attack()

    try:
        return trio.run(bounded)
    finally:
        gc.collect()


@asynccontextmanager
async def plain_host(identity: Identity | None = None, **settings: Any) -> AsyncIterator[IHost]:
    """A host of libp2p as it comes, but for Noise as its only security unless set otherwise."""
    key_pair = create_new_key_pair(None if identity is None else identity.seed())
    noise = NoiseTransport(key_pair, noise_privkey=create_x25519_key_pair().private_key)
    transports = settings.pop("security", lambda _: {NOISE: noise})
    host = new_host(key_pair=key_pair, sec_opt=transports(key_pair), **settings)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


@asynccontextmanager
async def linked(
    target: Target, identity: Identity | None = None
) -> AsyncIterator[tuple[IHost, ID]]:
    """A host with a link to the target."""
    async with plain_host(identity) as host:
        yield host, await connect(host, target)


async def connect(host: IHost, target: Target) -> ID:
    info = info_from_p2p_addr(Multiaddr(target.address))
    with trio.fail_after(CONNECT_S):
        await host.connect(info)
    return info.peer_id


async def is_reset(stream: INetStream, within_s: float = 45.0) -> bool:
    """Whether the other side ends the stream in time. What it says before is thrown away."""
    with trio.move_on_after(within_s):
        with suppress(Exception):
            while await stream.read(65536):
                pass
        return True
    return False


# Pubsub -----------------------------------------------------------------------------------------


@asynccontextmanager
async def garbage_rpc(target: Target) -> AsyncIterator[None]:
    async with linked(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        await stream.write(encode_varint_prefixed(b"\xff" * 400))
        yield


@asynccontextmanager
async def rpc_of_a_terabyte(target: Target) -> AsyncIterator[None]:
    """Only its length is sent: the varint of 2^40."""
    async with linked(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        await stream.write(bytes([0x80] * 5 + [0x20]))
        yield


@asynccontextmanager
async def forged_messages(target: Target) -> AsyncIterator[None]:
    """A key that is none, the name of a member with a bad signature, and a stranger's message."""
    async with linked(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        for number in range(100):
            fields: dict[str, Any] = {"data": b"x", "seqno": struct.pack(">Q", number)}
            signed = fields | {"signature": bytes(64)}
            rsa_like = bytes.fromhex("1220") + os.urandom(32)
            for sender in (rsa_like, MEMBER_ID + target.peer):
                await stream.write(rpc_with(target, from_id=sender, key=b"bad", **signed))
            await stream.write(rpc_with(target, from_id=host.get_id().to_bytes(), **fields))
        yield


@asynccontextmanager
async def gossip_tables(target: Target) -> AsyncIterator[None]:
    """Control messages about topics without end, whose names are long: 120 MB of them."""

    def about(number: int) -> str:
        return f"{number:06}" + "x" * 1000

    topics = map(about, itertools.count())
    async with linked(target) as (host, peer):
        stream = await host.new_stream(peer, [MESHSUB])
        with suppress(MuxedStreamError, StreamError), trio.move_on_after(15):
            for _ in range(600):
                rpc = rpc_pb2.RPC()
                for _ in range(66):
                    rpc.control.prune.add(topicID=next(topics), backoff=1 << 40)
                    rpc.control.ihave.add(topicID=next(topics), messageIDs=[os.urandom(20)])
                    rpc.control.graft.add(topicID=next(topics))
                rpc.control.iwant.add(messageIDs=[os.urandom(20) for _ in range(500)])
                rpc.control.idontwant.add(messageIDs=[os.urandom(20) for _ in range(500)])
                await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        yield


@asynccontextmanager
async def peer_exchange(target: Target) -> AsyncIterator[None]:
    """Signed records of peers that the target should dial, at addresses of our choice."""
    called = 0

    async def count(stream: trio.SocketStream) -> None:
        nonlocal called
        called += 1
        async with stream:
            await trio.sleep(10)

    async with linked(target) as (host, peer), trio.open_nursery() as nursery:
        (decoy,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, count, [decoy])
        address = Multiaddr(f"/ip4/127.0.0.1/tcp/{decoy.socket.getsockname()[1]}")
        stream = await host.new_stream(peer, [MESHSUB])
        rpc = rpc_pb2.RPC()
        for topic in (gossip_topic(target.swarm_id), "other"):
            prune = rpc.control.prune.add(topicID=topic)
            for _ in range(8):
                key_pair = create_new_key_pair()
                known = ID.from_pubkey(key_pair.public_key)
                record = create_signed_peer_record(known, [address], key_pair.private_key)
                prune.peers.add(peerID=known.to_bytes(), signedPeerRecord=record.marshal_envelope())
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        await trio.sleep(3)
        assert called == 0, f"the agent dialled {called} addresses that a stranger named"
        yield
        nursery.cancel_scope.cancel()


def subscription(target: Target) -> bytes:
    """The RPC of one who wants to hear the swarm's topic, ready to be written."""
    wanted = rpc_pb2.RPC.SubOpts(subscribe=True, topicid=gossip_topic(target.swarm_id))
    return encode_varint_prefixed(rpc_pb2.RPC(subscriptions=[wanted]).SerializeToString())


def rpc_with(target: Target, **fields: Any) -> bytes:
    """One published message, ready to be written."""
    message = rpc_pb2.Message(topicIDs=[gossip_topic(target.swarm_id)], **fields)
    return encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString())


# Dials -------------------------------------------------------------------------------------------


@asynccontextmanager
async def plaintext_dial(target: Target) -> AsyncIterator[None]:
    """Security by nothing: with the defaults of py-libp2p anybody could be anybody."""
    async with _refused_dial(
        target, lambda key_pair: {PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)}
    ):
        yield


@asynccontextmanager
async def secio_dial(target: Target) -> AsyncIterator[None]:
    async with _refused_dial(
        target, lambda key_pair: {TProtocol(secio.ID): secio.Transport(key_pair)}
    ):
        yield


@asynccontextmanager
async def _refused_dial(target: Target, security: Any) -> AsyncIterator[None]:
    async with plain_host(security=security) as host:
        with pytest.raises(Exception, match=r".*"), trio.fail_after(5):
            await connect(host, target)
        assert not host.get_network().get_connections()
        yield


# Memory ------------------------------------------------------------------------------------------


@asynccontextmanager
async def window_ignorer(target: Target) -> AsyncIterator[None]:
    """300 MB on a stream that nobody reads, whatever window was granted."""
    async with linked(target) as (host, peer):
        sent = await _pour(host, peer, 300 << 20)
        assert sent < 300 << 20, "all of it was taken"
        yield


@asynccontextmanager
async def eight_window_ignorers(target: Target) -> AsyncIterator[None]:
    """As many strangers as are let in, twice each, and each stays just below what is allowed."""

    async def fill(identity: Identity, task_status: Any) -> None:
        async with linked(target, identity) as (host, peer):
            await _pour(host, peer, (8 << 20) - (1 << 16))
            task_status.started()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for identity in [Identity.generate() for _ in range(8)]:
            for _ in range(2):
                await nursery.start(fill, identity)
        yield
        nursery.cancel_scope.cancel()


async def _pour(host: IHost, peer: ID, size: int) -> int:
    """Write to a stream that the target does not read; how much of it was taken."""
    chunk = bytes(60_000)
    sent = 0
    with suppress(Exception):
        stream = await host.new_stream(peer, [IDENTIFY])  # it only answers there
        stream.muxed_stream.send_window = 1 << 40  # type: ignore[attr-defined]
        while sent < size:
            await stream.write(chunk)
            sent += len(chunk)
    return sent


@asynccontextmanager
async def identify_bombs(target: Target) -> AsyncIterator[None]:
    """Twenty identities, one after another, that claim 60,000 addresses and 20,000 protocols."""
    address = Multiaddr("/ip4/10.1.1.1/tcp/1").to_bytes()
    for attempt in range(IDENTITIES):
        bomb = Identify(
            listen_addrs=[address[:-2] + struct.pack(">H", number) for number in range(60_000)],
            protocols=[f"/{attempt}/{number}" for number in range(20_000)],
        )
        raw = encode_varint_prefixed(bomb.SerializeToString())
        assert len(raw) < 1 << 20

        async def answer(stream: INetStream, raw: bytes = raw) -> None:
            with suppress(Exception):
                await stream.write(raw)
                await stream.close()

        async with plain_host() as host:
            host.set_stream_handler(IDENTIFY, answer)
            peer = await connect(host, target)
            with suppress(Exception), trio.move_on_after(5):
                stream = await host.new_stream(peer, [ID_PUSH])
                await answer(stream)
                await is_reset(stream)
    yield


# Requests ----------------------------------------------------------------------------------------


@asynccontextmanager
async def lying_requests(target: Target) -> AsyncIterator[None]:
    """Lengths of 4 GB, of nothing, and of more than what follows."""
    async with linked(target) as (host, peer):
        for protocol in (HELLO_PROTOCOL, JOIN_PROTOCOL):
            streams = []
            for raw in (b"\xff\xff\xff\xff" + bytes(5000), bytes(4), struct.pack(">I", 1025)):
                stream = await host.new_stream(peer, [TProtocol(protocol)])
                await stream.write(raw)
                streams.append(stream)
            for stream in streams:
                assert await is_reset(stream, 10)
        yield


@asynccontextmanager
async def request_bombs(target: Target) -> AsyncIterator[None]:
    """MessagePack that claims or nests more than it is."""
    async with linked(target) as (host, peer):
        for bomb in bombs(1024):
            for protocol in (HELLO_PROTOCOL, JOIN_PROTOCOL):
                stream = await host.new_stream(peer, [TProtocol(protocol)])
                with suppress(Exception):
                    await stream.write(struct.pack(">I", len(bomb)) + bomb)
                assert await is_reset(stream, 10)
        yield


def bombs(size: int) -> list[bytes]:
    """Frames of `size` bytes or less that a careless decoder would choke on."""
    return [
        b"\x91" * size,  # lists in lists
        b"\x98" * size,  # eight in each
        b"\xdd\xff\xff\xff\xff" + b"\x90" * (size - 5),  # a list of 4 billion lists
        b"\xdf\xff\xff\xff\xff" + b"\xc0" * (size - 5),  # a map of as many
        b"\x94\x01\xc6\xff\xff\xff\xff" + bytes(size - 7),  # a bin of 4 GB
        b"\x94\x01\xdb\xff\xff\xff\xff" + bytes(size - 7),  # a str of 4 GB
        b"\x92\x03\xc9\xff\xff\xff\xff\x01" + bytes(size - 8),  # an ext of 4 GB
        b"\x94\x01\xcb\x7f\xf8" + bytes(6),  # NaN
        b"",
    ]


@asynccontextmanager
async def request_flood(target: Target) -> AsyncIterator[None]:
    async with linked(target) as (host, peer):
        await flood(host, peer)
        yield


async def flood(host: IHost, peer: ID, requests: int = 400) -> None:
    """Ask HELLO as fast as streams can be opened, many at once."""
    question = struct.pack(">I", 100) + bytes(100)

    async def ask() -> None:
        for _ in range(requests // 8):
            with suppress(Exception):
                stream = await host.new_stream(peer, [TProtocol(HELLO_PROTOCOL)])
                await stream.write(question)
                await is_reset(stream, 5)
                await stream.reset()

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)


@asynccontextmanager
async def ping_flood(target: Target) -> AsyncIterator[None]:
    """Pings without a pause for six seconds, and nobody who waits for the answers."""
    async with linked(target) as (host, peer):
        with trio.move_on_after(6):
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(_ping, host, peer)
        yield


async def _ping(host: IHost, peer: ID) -> None:
    with suppress(Exception):
        stream = await host.new_stream(peer, [PING])

        async def drain() -> None:
            await is_reset(stream, 30)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            while True:
                await stream.write(os.urandom(32 * 500))


# Slow --------------------------------------------------------------------------------------------


@asynccontextmanager
async def slow_requests(target: Target) -> AsyncIterator[None]:
    """Streams that never say what they are for, and questions that come a byte at a time."""
    async with linked(target) as (host, peer), trio.open_nursery() as nursery:
        connection = host.get_network().get_connections(peer)[0]
        for _ in range(20):
            await connection.muxed_conn.open_stream()
        for protocol in (HELLO_PROTOCOL, JOIN_PROTOCOL):
            for _ in range(6):
                stream = await host.new_stream(peer, [TProtocol(protocol)])
                nursery.start_soon(dribble, stream, struct.pack(">I", 1000) + bytes(1000))
        yield
        nursery.cancel_scope.cancel()


async def dribble(stream: INetStream, data: bytes) -> None:
    """Write a byte each second."""
    with suppress(Exception):
        for number in data:
            await stream.write(bytes([number]))
            await trio.sleep(1)
