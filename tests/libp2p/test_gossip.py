"""What peers can do to GossipSub: fill its tables, lead us astray, use up the share of others."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.identity.identify.identify import ID as IDENTIFY
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.peer.peerstore import create_signed_peer_record
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import PUBSUB_SIGNING_PREFIX
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.utils.varint import encode_varint_prefixed
from multiaddr import Multiaddr

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity
from gossamer_transport.libp2p import Libp2pNetwork, gossip_topic, supervisor
from gossamer_transport.libp2p.peer_ids import id_of
from gossamer_transport.network import Received

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
MESHSUB = TProtocol("/meshsub/1.2.0")


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)
    gc.collect()  # plain hosts leave sockets open: let that show in the test that made them


@asynccontextmanager
async def plain_host() -> AsyncIterator[IHost]:
    key_pair = create_new_key_pair()
    noise = NoiseTransport(key_pair, noise_privkey=create_x25519_key_pair().private_key)
    host = new_host(key_pair=key_pair, sec_opt={NOISE: noise})
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


async def stream_to(host: IHost, target: Libp2pNetwork, protocol: str = MESHSUB) -> INetStream:
    info = info_from_p2p_addr(Multiaddr(target.addresses()[0]))
    await host.connect(info)
    return await host.new_stream(info.peer_id, [TProtocol(protocol)])


async def say(stream: INetStream, **fields: Any) -> None:
    await stream.write(encode_varint_prefixed(rpc_pb2.RPC(**fields).SerializeToString()))


def signed(
    origin: Identity, swarm_id: bytes, data: bytes, seqno: bytes | None = None
) -> rpc_pb2.Message:
    """A published message as `origin` would make it."""
    message = rpc_pb2.Message(
        data=data,
        topicIDs=[gossip_topic(swarm_id)],
        from_id=id_of(origin.peer_id).to_bytes(),
        seqno=os.urandom(8) if seqno is None else seqno,
    )
    key = create_new_key_pair(origin.seed()).private_key
    message.signature = key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    return message


def tables(target: Libp2pNetwork) -> int:
    """How much GossipSub remembers about topics, whoever named them."""
    assert target._gossip is not None
    router: Any = target._gossip._pubsub.router
    by_peer = (router.ihave_message_limits, router.graft_flood_tracking)
    return len(router.back_off) + sum(len(topics) for t in by_peer for topics in t.values())


def test_topics_that_a_guest_makes_up_are_not_remembered(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(1) as (alice,), plain_host() as guest:
            stream = await stream_to(guest, alice)
            names = [os.urandom(20).hex() for _ in range(300)]
            for kind in ("ihave", "graft", "prune"):
                entries = [{"topicID": name} for name in names]
                await say(stream, control=rpc_pb2.ControlMessage(**{kind: entries}))
            await trio.sleep(0.5)
            assert alice.links()
            assert tables(alice) < 10

    run(scenario)


def test_control_without_end_is_a_flood(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(1) as (alice,), plain_host() as guest:
            stream = await stream_to(guest, alice)
            graft = rpc_pb2.ControlMessage(graft=[{"topicID": gossip_topic(loopback.swarm_id)}])
            for _ in range(1500):
                await say(stream, control=graft)
            await loopback.until(lambda: alice.refused[Reason.FLOOD])

    run(scenario)


def test_a_prune_does_not_make_us_dial_its_friends(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(1) as (alice,), plain_host() as guest, plain_host() as friend:
            stream = await stream_to(guest, alice)
            record = create_signed_peer_record(
                friend.get_id(), friend.get_addrs(), friend.get_private_key()
            )
            info = rpc_pb2.PeerInfo(
                peerID=friend.get_id().to_bytes(),
                signedPeerRecord=record.marshal_envelope(),
            )
            topic = gossip_topic(loopback.swarm_id)
            prune = rpc_pb2.ControlPrune(topicID=topic, peers=[info], backoff=60)
            await say(stream, control=rpc_pb2.ControlMessage(prune=[prune]))
            await trio.sleep(1.0)
            assert len(alice.links()) == 1
            assert not friend.get_network().get_connections()

    run(scenario)


def test_a_message_is_small_in_all_its_fields(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob), plain_host() as guest:
            stream = await stream_to(guest, alice)
            origin, swarm_id = loopback.identity(1), loopback.swarm_id
            long = signed(origin, swarm_id, b"x", seqno=bytes(100_000))
            padded = signed(origin, swarm_id, b"x")
            padded.key = bytes(100_000)
            await say(stream, publish=[long])
            await say(stream, publish=[padded])
            await say(stream, publish=[signed(origin, swarm_id, b"fine")])
            assert await alice.receive() == Received(bob.peer_id, b"fine")
            assert alice.refused[Reason.BAD_FRAME] + alice.refused[Reason.TOO_LARGE] == 2

    run(scenario)


def test_a_replay_does_not_use_up_the_share_of_its_origin(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob), plain_host() as guest:
            stream = await stream_to(guest, alice)
            old = [signed(loopback.identity(1), loopback.swarm_id, b"old") for _ in range(300)]
            for message in old:
                await say(stream, publish=[message])
            await loopback.until(lambda: alice.refused[Reason.FLOOD])
            for number in range(5):
                await bob.publish(b"new %d" % number)
            fresh = set()
            while len(fresh) < 5:
                received = await alice.receive()
                if received.frame.startswith(b"new"):
                    fresh.add(received.frame)

    run(scenario)


def test_what_is_published_after_a_restart_is_not_taken_for_old(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", 0.05)

    async def fail() -> None:
        raise RuntimeError("a bug of libp2p")

    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):
            for _ in range(15):
                await bob.publish(b"before")
                assert (await alice.receive()).frame == b"before"
            bob._live.nursery.start_soon(fail)
            await loopback.until(lambda: bob.restarts == 1 and bob._live is not None)
            await loopback.until(lambda: not alice.peers())
            await bob.dial(alice.addresses()[0])
            await loopback.until(lambda: loopback.hearers(bob))
            await bob.publish(b"after")
            with trio.fail_after(3):
                assert (await alice.receive()).frame == b"after"

    run(scenario)


def test_what_identify_says_is_little(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        async with loopback.linked(1) as (alice,), plain_host() as guest:
            protocols = [f"/made/up/{number}" for number in range(5000)]
            addresses = [
                Multiaddr(f"/ip4/10.0.{n // 250}.{n % 250}/tcp/1").to_bytes() for n in range(900)
            ]
            said = Identify(protocols=protocols, listen_addrs=addresses).SerializeToString()

            async def identify(stream: INetStream) -> None:
                await stream.write(encode_varint_prefixed(said))
                await stream.close()

            guest.set_stream_handler(IDENTIFY, identify)
            info = info_from_p2p_addr(Multiaddr(alice.addresses()[0]))
            await guest.connect(info)
            await loopback.until(alice.links)
            await trio.sleep(1.0)
            assert remembered(alice, guest.get_id()) < 200

    run(scenario)


def remembered(target: Libp2pNetwork, peer: ID) -> int:
    data = target.host.get_peerstore().peer_data_map.get(peer)  # type: ignore[attr-defined]
    return 0 if data is None else len(data.addrs) + len(data.protocols)
