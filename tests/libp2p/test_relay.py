"""Circuits between real hosts on loopback."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import trio
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import PeerInfo
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from multiaddr import Multiaddr

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.address_book import AddressBook, Provenance, parse_address
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import hardening
from gossamer_transport.libp2p.dialer import Dialer
from gossamer_transport.libp2p.host import LiveHost, build_host, running
from gossamer_transport.libp2p.network import Libp2pNetwork, open_network
from gossamer_transport.libp2p.options import Libp2pOptions
from gossamer_transport.libp2p.peer_ids import id_of
from gossamer_transport.libp2p.relay import (
    HOP_PROTOCOL,
    RELAY_LIMITS,
    RelayService,
    dial_through_relay,
)
from gossamer_transport.libp2p.streams import read_all, write_all
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received

RELAY, BEHIND, DIALER, OTHER = (Identity.from_seed(bytes([n]) * 32) for n in range(1, 5))
ALL = {identity.peer_id for identity in (RELAY, BEHIND, DIALER, OTHER)}
ECHO = TProtocol("/test/echo/1")
LOOPBACK = "/ip4/127.0.0.1/tcp/0"

pytestmark = pytest.mark.slow

Serve = Callable[[IHost], AbstractAsyncContextManager[None]]


def options(*, relays: bool = False) -> Libp2pOptions:
    return Libp2pOptions(swarm_id=bytes(32), listen=(LOOPBACK,), relay_service=relays)


def admit(peer: PeerId, outbound: bool) -> Reason | None:
    return None


def refuse(peer: PeerId | None, reason: Reason) -> None:
    return None


@asynccontextmanager
async def host_of(
    identity: Identity, *services: Serve, listen: str = LOOPBACK
) -> AsyncIterator[LiveHost]:
    hardening.install()
    host = build_host(identity, options(), admit, refuse)
    host.set_stream_handler(ECHO, echo)
    async with running(host, [listen]) as live, AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service(host))
        yield live


async def echo(stream: INetStream) -> None:
    while data := await stream.read(60_000):
        await write_all(stream, data)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with trio.fail_after(30):
            await scenario()

    trio.run(bounded)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def address_of(live: LiveHost, identity: Identity) -> str:
    return f"{live.bound()[0]}/p2p/{peer_id_text(identity.peer_id)}"


async def until(condition: Callable[[], object], within_s: float = 10) -> None:
    with trio.fail_after(within_s):
        while not condition():  # noqa: ASYNC110 - libp2p has no event for it
            await trio.sleep(0.02)


async def echoed(live: LiveHost, peer: Identity, size: int = 1000) -> bool:
    stream = await live.open_stream(peer.peer_id, ECHO)
    payload = bytes(size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_all, stream, payload)
        back = await read_all(stream, size)
    await stream.reset()
    return back == payload


async def dial(live: LiveHost, text: str) -> None:
    address = parse_address(text)
    assert address.peer is not None
    await dial_through_relay(live.host, address, address.peer)


def link(live: LiveHost, peer: Identity) -> INetConn:
    (connected,) = live.connections(peer.peer_id)
    return connected.connection


@asynccontextmanager
async def trio_of_hosts(
    **limits: int,
) -> AsyncIterator[tuple[LiveHost, LiveHost, LiveHost, RelayService]]:
    """A relay, a peer that has reserved there and listens nowhere, and one that dials."""
    serving = RelayService(
        options(relays=True), ALL, rng=rng(), limits=replace(RELAY_LIMITS, **limits)
    )
    async with host_of(RELAY, serving.serve) as relay:
        reserving = RelayService(options(), ALL, [address_of(relay, RELAY)], rng=rng())
        dialling = RelayService(options(), ALL, rng=rng())
        async with host_of(BEHIND, reserving.serve) as behind, host_of(DIALER, dialling.serve) as d:
            await until(reserving.addresses)
            yield relay, behind, d, reserving


def shortened(failures: Mapping[str, str]) -> dict[str, str]:
    return {text.removesuffix("/p2p-circuit"): why for text, why in failures.items()}


def circuit(service: RelayService) -> str:
    (text,) = service.addresses()
    return text


READ = {
    "_handle_reserve": "d794e2be5efb276f",
    "handle_incoming_connection": "07149e966eb5d9f6",
    "_relay_data": "2edf345c0da2cad0",
    "_handle_connect": "4ad19b34934a7dfc",
    "_handle_hop_stream": "a28ce9cea8920661",
    "_handle_stop_stream": "f2d724a771021990",
}


@pytest.mark.parametrize("name", READ)
def test_the_code_that_we_repair_is_the_code_that_we_read(name: str) -> None:
    """If this fails, libp2p changed: read the method again, then `relay._Circuits`."""
    source = inspect.getsource(getattr(CircuitV2Protocol, name))
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == READ[name]


def test_a_stream_echoes_through_a_relay() -> None:
    async def scenario() -> None:
        async with trio_of_hosts() as (relay, behind, dialer, service):
            text = circuit(service)
            assert text == (
                f"{address_of(relay, RELAY)}/p2p-circuit/p2p/{peer_id_text(BEHIND.peer_id)}"
            )
            await dial(dialer, text)
            connection = link(dialer, BEHIND)
            assert await echoed(dialer, BEHIND, 3_000_000)
            assert await echoed(behind, DIALER)  # the same link, the other way
            assert connection.get_connection_type() is ConnectionType.RELAYED
            (inbound,) = behind.connections(DIALER.peer_id)
            (via,) = inbound.connection.get_transport_addresses()
            assert str(via) == f"/p2p/{peer_id_text(RELAY.peer_id)}/p2p-circuit"
            await connection.close()
            await until(lambda: not list(behind.connections(DIALER.peer_id)))

    run(scenario)


def test_the_relay_sees_cipher_text(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = bytearray()

    async def tap(stream: INetStream, data: bytes) -> None:
        carried.extend(data)
        await write_all(stream, data)

    async def scenario() -> None:
        async with trio_of_hosts() as (_, _, dialer, service):
            await dial(dialer, circuit(service))
            monkeypatch.setattr("gossamer_transport.libp2p.relay.write_all", tap)
            assert await echoed(dialer, BEHIND, 20_000)

    run(scenario)
    assert len(carried) > 40_000
    assert bytes(64) not in carried


def test_why_a_circuit_fails() -> None:
    async def refusal(live: LiveHost, text: str) -> str:
        with pytest.raises(Unreachable) as caught:
            await dial(live, text)
        return str(caught.value)

    async def scenario() -> None:
        async with trio_of_hosts() as (relay, behind, dialer, service):
            end = f"/p2p-circuit/p2p/{peer_id_text(OTHER.peer_id)}"
            text = address_of(relay, RELAY) + end
            assert await refusal(dialer, text) == "the peer has no reservation at the relay"
            text = address_of(behind, BEHIND) + end
            assert await refusal(dialer, text) == "the relay does not relay, or not for us"
            text = f"/ip4/127.0.0.1/tcp/1/p2p/{peer_id_text(OTHER.peer_id)}" + end.replace(
                peer_id_text(OTHER.peer_id), peer_id_text(BEHIND.peer_id)
            )
            assert await refusal(dialer, text) == "the relay: connection refused"
            assert circuit(service)

    run(scenario)


def test_a_relay_cannot_pose_as_the_peer() -> None:
    """It agrees to connect, and then does the handshake itself."""

    async def scenario() -> None:
        async with host_of(RELAY) as liar, host_of(DIALER) as dialer:

            async def pose(stream: INetStream) -> None:
                await read_delimited_msg(stream, HopMessage)
                await write_delimited_msg(
                    stream, HopMessage(type=HopMessage.STATUS, status=StatusCode.OK)
                )
                posing = CircuitV2Protocol(liar.host)
                await posing.handle_incoming_connection(stream, id_of(DIALER.peer_id).to_bytes())

            liar.host.set_stream_handler(TProtocol(HOP_PROTOCOL), pose)
            end = f"/p2p-circuit/p2p/{peer_id_text(BEHIND.peer_id)}"
            with pytest.raises(Unreachable, match="answers with another identity"):
                await dial(dialer, address_of(liar, RELAY) + end)
            assert not list(dialer.connections(BEHIND.peer_id))

    run(scenario)


def test_a_reservation_is_renewed_when_the_relay_comes_back() -> None:
    async def scenario() -> None:
        serving = RelayService(options(relays=True), ALL, rng=rng())
        async with host_of(RELAY, serving.serve) as relay:
            bound, address = relay.bound()[0], address_of(relay, RELAY)
            reserving = RelayService(options(), ALL, [address], rng=rng())
            async with trio.open_nursery() as nursery:
                stop = trio.Event()

                async def behind() -> None:
                    async with host_of(BEHIND, reserving.serve):
                        await stop.wait()

                nursery.start_soon(behind)
                await until(reserving.addresses)
                before = reserving.addresses()
                await relay.cut(BEHIND.peer_id)
                await until(lambda: not reserving.addresses())
                await until(reserving.addresses)  # the link was cut: a new one, at once
                listeners = list(relay.host.get_network().listeners.values())
                for listener in listeners:
                    await listener.close()
                await relay.cut(BEHIND.peer_id)
                refused = {address: "the relay: connection refused"}
                await until(lambda: shortened(reserving.failures()) == refused)
                assert reserving.addresses() == ()
                assert await relay.host.get_network().listen(Multiaddr(bound))
                await until(reserving.addresses)
                assert reserving.addresses() == before
                assert not reserving.failures()
                stop.set()
            assert reserving.addresses() == ()

    run(scenario)


@pytest.mark.parametrize("limits", [{"duration": 1}, {"data": 100_000}])
def test_a_circuit_has_an_end(limits: dict[str, int]) -> None:
    """After its time even if it is idle, and after its bytes; both ends notice."""

    async def scenario() -> None:
        async with trio_of_hosts(**limits) as (_, behind, dialer, service):
            text = circuit(service)
            await dial(dialer, text)
            if "data" in limits:
                with pytest.raises(Exception):  # noqa: B017 - wherever the end meets it
                    await echoed(dialer, BEHIND, 200_000)
            await until(lambda: not list(dialer.connections(BEHIND.peer_id)))
            await until(lambda: not list(behind.connections(DIALER.peer_id)))
            await dial(dialer, text)  # and may begin anew
            assert await echoed(dialer, BEHIND)

    run(scenario)


def test_the_end_of_a_circuit_ends_no_other() -> None:
    async def scenario() -> None:
        async with trio_of_hosts() as (relay, _, dialer, service):
            second = RelayService(options(), ALL, [address_of(relay, RELAY)], rng=rng())
            async with host_of(OTHER, second.serve):
                await until(second.addresses)
                await dial(dialer, circuit(service))
                first = link(dialer, BEHIND)
                await dial(dialer, circuit(second))
                await first.close()
                await until(lambda: not list(dialer.connections(BEHIND.peer_id)))
                assert await echoed(dialer, OTHER)

    run(scenario)


def test_nobody_takes_places_in_the_name_of_others() -> None:
    async def scenario() -> None:
        serving = RelayService(
            options(relays=True), ALL, rng=rng(), limits=replace(RELAY_LIMITS, max_reservations=1)
        )
        async with host_of(RELAY, serving.serve) as relay, host_of(DIALER) as greedy:
            where = Multiaddr(relay.bound()[0])
            await greedy.host.connect(PeerInfo(id_of(RELAY.peer_id), [where]))
            for number in range(5, 10):
                other = Identity.from_seed(bytes([number]) * 32).peer_id
                stream = await greedy.open_stream(RELAY.peer_id, HOP_PROTOCOL)
                await write_delimited_msg(
                    stream,
                    HopMessage(
                        type=HopMessage.RESERVE, peer=CircuitPeerId(id=id_of(other).to_bytes())
                    ),
                )
                answer = await read_delimited_msg(stream, HopMessage)
                assert answer.status == StatusCode.OK  # its own and only place, renewed
            late = RelayService(options(), ALL, [address_of(relay, RELAY)], rng=rng())
            async with host_of(BEHIND, late.serve):
                await until(late.failures)
                assert list(late.failures().values()) == ["the relay is full"]

    run(scenario)


def test_junk_costs_the_stream_only() -> None:
    async def scenario() -> None:
        async with trio_of_hosts() as (_, _, dialer, service):
            for junk in (b"", b"\xff" * 40, b"\x05hello", bytes(100_000)):
                stream = (
                    await dialer.open_stream(RELAY.peer_id, HOP_PROTOCOL)
                    if list(dialer.connections(RELAY.peer_id))
                    else None
                )
                if stream is None:
                    address = parse_address(circuit(service))
                    await dialer.host.connect(
                        PeerInfo(
                            id_of(RELAY.peer_id),
                            [Multiaddr(f"/ip4/{address.host}/tcp/{address.port}")],
                        )
                    )
                    stream = await dialer.open_stream(RELAY.peer_id, HOP_PROTOCOL)
                await stream.write(junk)
                await stream.close()
            await dial(dialer, circuit(service))
            assert await echoed(dialer, BEHIND)

    run(scenario)


@pytest.mark.parametrize(
    "relays",
    [
        ["/ip4/192.0.2.1/tcp/1"],
        ["192.0.2.1:4001"],
        [f"/ip4/192.0.2.1/tcp/1/p2p/{peer_id_text(RELAY.peer_id)}/p2p-circuit"],
        [f"/ip4/192.0.2.1/tcp/{port}/p2p/{peer_id_text(RELAY.peer_id)}" for port in range(1, 5)],
    ],
)
def test_what_is_no_relay_is_refused_in_one_line(relays: Sequence[str]) -> None:
    with pytest.raises(NetworkError, match=r"relay") as caught:
        RelayService(options(), ALL, relays, rng=rng())
    assert "\n" not in str(caught.value)


def test_guests_are_not_served() -> None:
    refused: list[PeerId | None] = []

    def note(peer: PeerId | None, reason: Reason) -> None:
        assert reason is Reason.NOT_A_MEMBER
        refused.append(peer)

    async def scenario() -> None:
        members = {RELAY.peer_id, BEHIND.peer_id}
        serving = RelayService(options(relays=True), members, rng=rng(), refuse=note)
        async with host_of(RELAY, serving.serve) as relay:
            reserving = RelayService(options(), members, [address_of(relay, RELAY)], rng=rng())
            guest = RelayService(options(), ALL, [address_of(relay, RELAY)], rng=rng())
            async with host_of(BEHIND, reserving.serve), host_of(DIALER, guest.serve) as dialer:
                await until(reserving.addresses)
                await until(guest.failures)
                assert guest.addresses() == ()
                with pytest.raises(Unreachable, match="or not for us"):
                    await dial(dialer, circuit(reserving))
                assert set(refused) == {DIALER.peer_id}

    run(scenario)


def test_a_member_behind_nat_gets_frames_and_sends_them() -> None:
    """The whole: networks, a dialer that knows the circuit address only, the relay restarted."""
    limits = Limits()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:

            async def network(identity: Identity, service: RelayService) -> Libp2pNetwork:
                net = await stack.enter_async_context(
                    open_network(
                        identity,
                        options(),
                        limits,
                        ALL,
                        on_host=[service.serve],
                    )
                )
                net.dial_circuit = dial_through_relay
                return net

            relay = await network(RELAY, RelayService(options(relays=True), ALL, rng=rng()))
            reserving = RelayService(options(), ALL, relay.addresses(), rng=rng())
            behind = await network(BEHIND, reserving)
            dialing = await network(DIALER, RelayService(options(), ALL, rng=rng()))
            await until(reserving.addresses)
            book = AddressBook(DIALER.peer_id)
            book.learn(BEHIND.peer_id, circuit(reserving), Provenance.OWN_WORD)
            members = [BEHIND.peer_id]
            dialer = Dialer(dialing, book, lambda: members, rng())
            nursery = await stack.enter_async_context(trio.open_nursery())
            nursery.start_soon(dialer.run)
            await until(lambda: BEHIND.peer_id in dialing.peers())
            assert not dialer.failures()
            frame = bytes(range(256)) * 8192  # 2 MiB: offered and pulled
            await dialing.send(BEHIND.peer_id, frame)
            assert await behind.receive() == Received(DIALER.peer_id, frame)
            await behind.send(DIALER.peer_id, b"back")
            assert await dialing.receive() == Received(BEHIND.peer_id, b"back")
            links = {one.peer: one.address for one in dialing.links()}
            assert "/p2p-circuit" in links[BEHIND.peer_id]
            nursery.cancel_scope.cancel()

    run(scenario)
