"""Attacks on a running host, each with an honest pair beside it; and what libp2p must not change.

The attackers are hosts of plain libp2p, but for the patches of yamux, which are of the class.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import inspect
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.rsa import create_new_key_pair as create_rsa_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify import identify
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.security.secio import transport as secio
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from libp2p.stream_muxer.mplex.mplex import MPLEX_PROTOCOL_ID as MPLEX
from libp2p.stream_muxer.mplex.mplex import Mplex
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.utils.varint import encode_varint_prefixed, read_varint_prefixed_bytes_limited
from multiaddr import Multiaddr

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.errors import NetworkError
from gossamer_transport.libp2p import Libp2pNetwork, gossip_topic, hardening

MESHSUB = TProtocol("/meshsub/1.2.0")

# Everything that is patched, overridden or leaned on. A changed hash means: read that function
# again, decide whether our version of it still holds, run this file, and only then write it down.
READ_BY_US = {
    hardening.REPLACED["Yamux._read_data_body"]: "54cc06c91ba6ee15",
    hardening.REPLACED["Yamux._write_frame"]: "16ff969cdd0d2b1b",
    hardening.REPLACED["Yamux._measure_rtt_loop"]: "86222ce6e35836fd",
    hardening.REPLACED["MultiselectCommunicator.read"]: "c99c62a961c70223",
    hardening.REPLACED["update_peerstore_from_identify"]: "aee0031d9166bd17",
    Yamux.handle_incoming: "ad15ff6943feac20",
    Yamux._cleanup_on_error: "4fed61a999a34989",
    Yamux.start: "bd1a114758a61e42",
    hardening.REPLACED["YamuxStream.write"]: "d87f74dfb53ab194",
    hardening.REPLACED["YamuxStream._auto_tune_and_send_window_update"]: "6ebcbd822fe7f996",
    YamuxStream.read: "ca585f2199fd4e83",
    Swarm.__init__: "44f87a9ea1a14852",
    Swarm.run: "15ac9440b4fed110",
    Swarm._handle_inbound_connection: "0800fdf9770ed8e6",
    Swarm._do_handle_inbound_connection: "c22fdfd5289f671c",
    Swarm.upgrade_inbound_raw_conn: "e24c4285f494767a",
    Swarm.add_conn: "d469d71b3ed1f4df",
    Swarm.dial_addr: "d8224e38e702f063",
    SwarmConn._handle_muxed_stream: "fb51f8a3e37c9800",
    SwarmConn.close: "442c6259a8e9e45e",
    AutoConnector.maybe_connect: "018fac95eafc2413",
    BasicHost.__init__: "6a81506e92fbd211",
    BasicHost.run: "49d086030a367765",
    BasicHost._schedule_identify: "d24ee6400132b4af",
    BasicHost._identify_peer: "a8e37ea32f624529",
    BasicHost._swarm_stream_handler: "cec985884b1ba269",
    Pubsub.continuously_read_stream: "ac0c4ad87ca39288",
    Pubsub._handle_dead_peer: "10026d998d3016b4",
    Pubsub.handle_dead_peer_queue: "8071f96dbabdc7c8",
    Pubsub._handle_new_peer: "305ba4224e6151d7",
    Pubsub._next_seqno: "518c47aeb8ac58f8",
    Pubsub.message_all_peers: "d219135b2f978ce2",
    Pubsub.stream_handler: "4be06aba2f448b7b",
    Pubsub.push_msg: "1531483ab4d77674",
    Pubsub.validate_msg: "9bc61633d2338dc5",
    Pubsub.notify_subscriptions: "2fb1385e4bbf3c0a",
    Pubsub.handle_subscription: "c200deee0f0a965c",
    GossipSub._check_equivocation: "4fc307cdaab33ada",
    GossipSub._get_peers_to_send: "1d2d334126ca87ec",
    GossipSub.publish: "b978282af46297f7",
    GossipSub.handle_rpc: "bb6f7311e2958a22",
    GossipSub.handle_iwant: "cae61a447ac52c39",
    GossipSub.handle_prune: "c61235b1862b7fab",
    GossipSub.heartbeat: "5e68bdb5a65be44f",
    read_varint_prefixed_bytes_limited: "75623a1c5c4e2c39",
}


def source_hash(function: Any) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:16]


def test_libp2p_is_the_version_that_was_read() -> None:
    assert importlib.metadata.version("libp2p") == hardening.PINNED


@pytest.mark.parametrize("function", READ_BY_US, ids=lambda function: function.__qualname__)
def test_libp2p_did_not_change_underneath(function: Any) -> None:
    assert source_hash(function) == READ_BY_US[function]


def test_another_version_is_refused() -> None:
    hardening.check_version(hardening.PINNED)
    with pytest.raises(NetworkError, match=r"libp2p 0\.9\.0 .* 0\.8\.1"):
        hardening.check_version("0.9.0")


def test_patches_are_in_place() -> None:
    hardening.install()
    hardening.install()
    for owner, name, replacement in hardening.PATCHES:
        assert getattr(owner, name) is replacement
    assert identify.AGENT_VERSION.startswith("gossamer/")


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)
    gc.collect()  # plain hosts leave sockets open: let that show in the test that made them


@asynccontextmanager
async def attacker(**settings: Any) -> AsyncIterator[IHost]:
    key_pair = settings.pop("key_pair", None) or create_new_key_pair()
    noise = NoiseTransport(key_pair, noise_privkey=create_x25519_key_pair().private_key)
    host = new_host(key_pair=key_pair, **{"sec_opt": {NOISE: noise}} | settings)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield host


async def connect(host: IHost, network: Libp2pNetwork) -> ID:
    info = info_from_p2p_addr(Multiaddr(network.addresses()[0]))
    await host.connect(info)
    return info.peer_id


def connect_id(network: Libp2pNetwork) -> ID:
    return info_from_p2p_addr(Multiaddr(network.addresses()[0])).peer_id


async def assert_honest(networks: list[Libp2pNetwork]) -> None:
    """Both can still send and publish to each other."""
    for sender, receiver in (networks, networks[::-1]):
        mark = os.urandom(8)
        await sender.send(receiver.peer_id, b"direct" + mark)
        await sender.publish(b"published" + mark)
        got = {(await receiver.receive()).frame for _ in range(2)}
        assert got == {b"direct" + mark, b"published" + mark}


async def wait_for(condition: Callable[[], object]) -> None:
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - libp2p has no event for most of it
            await trio.sleep(0.02)


Attack = Callable[[Libp2pNetwork], Awaitable[None]]


def survive(loopback: SimpleNamespace, attack: Attack, *reasons: Reason) -> None:
    """Run `attack` against one of an honest pair, before and after which they exchange frames."""

    async def scenario() -> None:
        async with loopback.linked(2) as networks:
            await assert_honest(networks)
            await attack(networks[0])
            for reason in reasons:
                await loopback.until(lambda reason=reason: networks[0].refused[reason])
            await assert_honest(networks)
            assert [network.restarts for network in networks] == [0, 0]

    run(scenario)


async def meshsub(network: Libp2pNetwork, raw: bytes) -> None:
    """Send `raw` on a fresh pubsub stream, and see the link go."""
    async with attacker() as host:
        peer = await connect(host, network)
        stream = await host.new_stream(peer, [MESHSUB])
        await stream.write(raw)
        await wait_for(lambda: not host.get_network().get_connections(peer))


def message(network: Libp2pNetwork, **fields: Any) -> bytes:
    topic = gossip_topic(network._options.swarm_id)
    rpc = rpc_pb2.RPC(publish=[rpc_pb2.Message(topicIDs=[topic], **fields)])
    return encode_varint_prefixed(rpc.SerializeToString())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestAttacks:
    def test_garbage_rpc(self, loopback: SimpleNamespace) -> None:
        garbage = encode_varint_prefixed(b"\xff" * 400)
        survive(loopback, lambda network: meshsub(network, garbage), Reason.BAD_FRAME)

    def test_length_prefix_of_a_terabyte(self, loopback: SimpleNamespace) -> None:
        prefix = bytes([0x80] * 5 + [0x20])  # varint of 2^40
        survive(loopback, lambda network: meshsub(network, prefix), Reason.TOO_LARGE)

    def test_message_of_a_stranger(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            async with attacker() as host:
                peer = await connect(host, network)
                stream = await host.new_stream(peer, [MESHSUB])
                await stream.write(
                    message(network, data=b"x", from_id=host.get_id().to_bytes(), seqno=bytes(8))
                )
                await loopback.until(lambda: network.refused[Reason.NOT_A_MEMBER])

        survive(loopback, attack)

    def test_message_with_a_bad_key_and_one_in_the_name_of_a_member(
        self, loopback: SimpleNamespace
    ) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            async with attacker() as host:
                peer = await connect(host, network)
                stream = await host.new_stream(peer, [MESHSUB])
                rsa_like = bytes.fromhex("1220") + os.urandom(32)
                fields = {"data": b"x", "seqno": bytes(8), "signature": bytes(64)}
                await stream.write(message(network, from_id=rsa_like, key=b"bad", **fields))
                victim = bytes.fromhex("002408011220") + network.peers()[0]
                await stream.write(message(network, from_id=victim, key=b"bad", **fields))
                await loopback.until(lambda: network.refused[Reason.BAD_KEY])
                await trio.sleep(0.2)

        survive(loopback, attack)

    def test_handler_that_raises(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            async def handler(peer: PeerId, question: bytes) -> bytes:
                raise RuntimeError("a bug of ours")

            network.serve("/test/1", handler, request_bytes_max=100)
            async with attacker() as host:
                peer = await connect(host, network)
                stream = await host.new_stream(peer, [TProtocol("/test/1")])
                await stream.write(struct.pack(">I", 3) + b"why")
                with pytest.raises(Exception, match=r".*"):
                    while await stream.read(100):
                        pass
                    raise EOFError

        survive(loopback, attack)

    def test_sync_validator_that_raises(self, loopback: SimpleNamespace) -> None:
        async def scenario() -> None:
            async with loopback.linked(2) as (alice, bob):
                pubsub = bob._gossip._pubsub

                def validator(*_: object) -> bool:
                    raise RuntimeError("a bug of ours")

                topic = gossip_topic(loopback.swarm_id)
                pubsub.set_topic_validator(topic, validator, False)
                await alice.publish(b"dropped")
                await loopback.until(lambda: bob.refused[Reason.BAD_FRAME])
                pubsub.remove_topic_validator(topic)
                await assert_honest([alice, bob])

        run(scenario)

    @pytest.mark.parametrize("security", ["plaintext", "secio", "tls"])
    def test_other_security_is_refused(self, loopback: SimpleNamespace, security: str) -> None:
        key_pair = create_new_key_pair()
        transports: dict[str, dict[TProtocol, Any]] = {
            "plaintext": {PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)},
            "secio": {TProtocol(secio.ID): secio.Transport(key_pair)},
            "tls": {TLS: TLSTransport(key_pair)},
        }

        async def attack(network: Libp2pNetwork) -> None:
            async with attacker(key_pair=key_pair, sec_opt=transports[security]) as host:
                with pytest.raises(Exception, match=r".*"), trio.fail_after(5):
                    await connect(host, network)
                assert len(network.links()) == 1

        survive(loopback, attack)

    def test_other_muxer_and_other_keys_are_refused(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            rsa = create_rsa_key_pair()
            for settings in ({"muxer_opt": {MPLEX: Mplex}}, {"key_pair": rsa}):
                async with attacker(**settings) as host:
                    with suppress(Exception), trio.fail_after(5):
                        await connect(host, network)
                    await trio.sleep(0.3)
                    assert len(network.links()) == 1

        survive(loopback, attack, Reason.BAD_KEY)

    def test_sender_that_ignores_the_window(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            async def never_reads(stream: INetStream) -> None:
                await trio.sleep_forever()

            network.host.set_stream_handler(TProtocol("/test/1"), never_reads)
            async with attacker() as host:
                peer = await connect(host, network)
                stream = await host.new_stream(peer, [TProtocol("/test/1")])
                stream.muxed_stream.send_window = 1 << 30  # type: ignore[attr-defined]
                with pytest.raises(Exception, match=r".*"):
                    for _ in range(60):
                        await stream.write(bytes(1 << 20))

        survive(loopback, attack, Reason.FLOOD)

    def test_streams_without_end(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            async with attacker() as host:
                peer = await connect(host, network)
                connection = host.get_network().get_connections(peer)[0]
                for _ in range(200):  # opened, and no word on any of them
                    await connection.muxed_conn.open_stream()
                await loopback.until(lambda: network.refused[Reason.FLOOD] > 100)
                theirs = [
                    link for link in network._live.connections() if link.peer not in network.peers()
                ]
                assert len(theirs[0].connection.get_streams()) <= 70

        survive(loopback, attack)

    def test_five_hundred_half_open_connections(self, loopback: SimpleNamespace) -> None:
        async def scenario() -> None:
            async with loopback.linked(1) as (alice,):
                address = alice.addresses()[0]
                port = int(address.split("/")[4])
                sockets = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(500)]
                try:
                    members = {alice.peer_id, loopback.identity(1).peer_id}
                    alice._door.admits = members
                    async with loopback.open(loopback.identity(1), members) as bob:
                        begun_at = trio.current_time()
                        await bob.dial(address)
                        assert trio.current_time() - begun_at < 4
                        await loopback.until(lambda: bob.peer_id in alice.peers())
                        assert len(alice.host.get_network()._doors) <= 128
                finally:
                    for socket in sockets:
                        await trio.aclose_forcefully(socket)
                assert alice.refused[Reason.FLOOD] > 300

        run(scenario)

    def test_a_second_dial_replaces_the_first(self, loopback: SimpleNamespace) -> None:
        """A peer that lost power dials again before we noticed; one that plays gains nothing."""

        async def attack(network: Libp2pNetwork) -> None:
            key_pair = create_new_key_pair()
            async with AsyncExitStack() as stack:
                for _ in range(4):
                    host = await stack.enter_async_context(attacker(key_pair=key_pair))
                    await connect(host, network)
                    await loopback.until(lambda: len(network.links()) == 2)
                stream = await host.new_stream(connect_id(network), [MESHSUB])
                await stream.write(b"\0")
                assert len(network.links()) == 2

        survive(loopback, attack)

    def test_megabytes_before_the_handshake(self, loopback: SimpleNamespace) -> None:
        async def attack(network: Libp2pNetwork) -> None:
            port = int(network.addresses()[0].split("/")[4])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(b"\xff\xff\xff\x7f" + bytes(8 << 20))
                    await stream.receive_some(1000)
                    while await stream.receive_some(1000):
                        pass

        survive(loopback, attack)

    def test_silent_peer_is_gone(
        self, loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A peer whose packets stop, as after SIGSTOP, though its socket stays open."""
        assert hardening.PING_INTERVAL_S + hardening.PING_TIMEOUT_S < 40
        monkeypatch.setattr(hardening, "PING_INTERVAL_S", 0.3)
        monkeypatch.setattr(hardening, "PING_TIMEOUT_S", 1.0)

        async def scenario() -> None:
            async with loopback.linked(2) as (alice, bob), Ether(alice) as ether:
                members = {*alice._door.admits, loopback.identity(7).peer_id}
                alice._door.admits = members
                async with loopback.open(loopback.identity(7), members) as carol:
                    await carol.dial(ether.address)
                    await loopback.until(lambda: carol.peer_id in alice.peers())
                    await trio.sleep(2)
                    assert alice.peers() == tuple(sorted([bob.peer_id, carol.peer_id]))
                    assert all(link.round_trip_s for link in alice.links())
                    ether.frozen = True
                    await loopback.until(lambda: alice.peers() == (bob.peer_id,), 4)
                    await loopback.until(lambda: not carol.peers(), 4)
                await assert_honest([alice, bob])

        run(scenario)


class Ether:
    """A TCP relay in front of a network that can stop to pass bytes on."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self._target = network.addresses()[0]
        self.frozen = False

    async def __aenter__(self) -> Ether:
        self._manager = trio.open_nursery()
        nursery = await self._manager.__aenter__()
        self._nursery = nursery
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, self._carry, listeners)
        port = listeners[0].socket.getsockname()[1]
        parts = self._target.split("/")
        self.address = "/".join([*parts[:4], str(port), *parts[5:]])
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(*exc)

    async def _carry(self, client: trio.SocketStream) -> None:
        port = int(self._target.split("/")[4])
        server = await trio.open_tcp_stream("127.0.0.1", port)
        async with server, trio.open_nursery() as nursery:
            nursery.start_soon(self._one_way, client, server, nursery.cancel_scope)
            nursery.start_soon(self._one_way, server, client, nursery.cancel_scope)

    async def _one_way(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65536):
                while self.frozen:  # noqa: ASYNC110
                    await trio.sleep(0.05)
                await sink.send_all(data)
        if not self.frozen:
            scope.cancel()
