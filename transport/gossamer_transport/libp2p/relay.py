"""Circuit relay v2: reach peers behind NAT through an agent that is not.

Theory of operation. A relay (`relay = true`) lets linked peers reserve a place and carries streams
to them, within `RELAY_LIMITS`. An agent behind NAT reserves at its relays, keeps the reservations
alive (they end with the link to the relay) and advertises `/.../p2p/<relay>/p2p-circuit`. Whoever
dials that gets a stream from the relay, on which Noise and yamux run as on a socket: the relay sees
cipher text, and cannot pose as either end. Nobody reserves or dials over a relayed link.

libp2p has the messages, the limits and the dialogue. What is ours, because it was found wanting
there: a place is reserved for the peer that asks, and not for whom it names (one peer could take
all places); a circuit that carries no data ends in time too; the end of a circuit ends no other one
of the same peer; the end of its stream is the end of the relayed link, as that of a socket.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

import numpy as np
import trio
from libp2p.abc import IHost, INetStream
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.host.exceptions import StreamFailure
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import IOException
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.stream.exceptions import StreamEOF, StreamError
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.pb.circuit_pb2 import PeerId as CircuitPeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.tools.anyio_service.context import background_trio_service
from multiaddr import Multiaddr

from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_transport.address_book import Address, AddressError, parse_address
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p.dial import why
from gossamer_transport.libp2p.members_only import members_only, uncounted
from gossamer_transport.libp2p.options import Libp2pOptions
from gossamer_transport.libp2p.peer_ids import id_of
from gossamer_transport.libp2p.streams import CHUNK_BYTES, StreamBrokenError, reset, write_all
from gossamer_transport.libp2p.switch import Refuse

log = logging.getLogger("gossamer.transport")

HOP_PROTOCOL: Final = str(PROTOCOL_ID)
"""Spoken to relays; only members may."""

STOP_PROTOCOL: Final = "/libp2p/circuit/relay/0.2.0/stop"
"""Spoken by relays to those who have a reservation."""

RELAY_LIMITS: Final = RelayLimits(
    duration=3600,  # seconds of one circuit; the dialer makes a new one
    data=256 * 1024 * 1024,  # bytes of one circuit, both directions
    max_circuit_conns=8,  # circuits to one peer at a time
    max_reservations=32,
    reservation_ttl=600,  # seconds, unless renewed; the places of those who left are free again
)

RENEW_S: Final = 240.0
RETRY_S_MIN: Final = 2.0
RETRY_S_MAX: Final = 60.0
ASK_S: Final = 20.0  # one exchange with a relay, with dialling it
RELAYS_MAX: Final = 3
NOT_FOR_US: Final = "the relay does not relay, or not for us"


class RelayService:
    """One device's part in relaying: serves others, or is served at `relays`, or both.

    `serve` is to be entered with every new host. `relays` are addresses with `/p2p/<relay>` of at
    most three relays, members or not; others must be in `admits` to be served or to bring circuits.
    The relay's clock is not believed: a reservation is renewed every 4 minutes.

    Raises:
        NetworkError: an address among `relays` is not that of a relay, or there are too many.
    """

    def __init__(
        self,
        options: Libp2pOptions,
        admits: Container[PeerId],
        relays: Sequence[str] = (),
        *,
        rng: np.random.Generator,
        refuse: Refuse = uncounted,
        limits: RelayLimits = RELAY_LIMITS,
        renew_s: float = RENEW_S,
    ) -> None:
        if len(relays) > RELAYS_MAX:
            raise NetworkError(
                f"{len(relays)} relays are configured, at most {RELAYS_MAX} are used"
            )
        self._relays = tuple(_relay_address(text) for text in relays)
        self._serves = options.relay_service
        self._admits = admits
        self._refuse = refuse
        self._rng = rng
        self._limits = limits
        self._renew_s = renew_s
        self._held: dict[Address, str] = {}
        self._failures: dict[str, str] = {}

    def addresses(self) -> tuple[str, ...]:
        """Return the circuit addresses at which this device can be dialled now."""
        return tuple(self._held.values())

    def failures(self) -> Mapping[str, str]:
        """Return why there is no reservation, by the relay's address."""
        return MappingProxyType(dict(self._failures))

    @asynccontextmanager
    async def serve(self, host: IHost) -> AsyncIterator[None]:
        """Take part with `host`: accept circuits to it, keep reservations, relay if so configured.

        With neither relays nor `relay_service` this does nothing.
        """
        if not self._relays and not self._serves:
            yield
            return
        protocol = _Circuits(host, limits=self._limits, allow_hop=self._serves)
        async with background_trio_service(protocol), trio.open_nursery() as nursery:
            await protocol.event_started.wait()
            self._guard(host, protocol)
            for relay in self._relays:
                nursery.start_soon(self._keep_reservation, host, relay)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    def _guard(self, host: IHost, protocol: _Circuits) -> None:
        """Put doors before the handlers that `protocol` has set."""
        if self._serves:
            door = members_only(protocol._handle_hop_stream, self._admits, self._refuse)
            host.set_stream_handler(TProtocol(HOP_PROTOCOL), door)
        bringers = _Either({relay.relay for relay in self._relays}, self._admits)
        stop = members_only(protocol._handle_stop_stream, bringers, self._refuse)
        host.set_stream_handler(TProtocol(STOP_PROTOCOL), stop)

    async def _keep_reservation(self, host: IHost, relay: Address) -> None:
        retry_s = RETRY_S_MIN
        try:
            while True:
                try:
                    await _reserve(host, relay)
                except Unreachable as error:
                    self._held.pop(relay, None)
                    self._failures[str(relay)] = str(error)
                    await trio.sleep(float(self._rng.uniform(RETRY_S_MIN / 2, retry_s)))
                    retry_s = min(2 * retry_s, RETRY_S_MAX)
                    continue
                retry_s = RETRY_S_MIN
                self._failures.pop(str(relay), None)
                self._held[relay] = _circuit_text(relay, host)
                if await _lost_link(host, relay, self._renew_s):
                    self._held.pop(relay, None)
        finally:
            self._held.pop(relay, None)


class _Either(Container[PeerId]):
    """Who is in one or in the other, at the time of asking."""

    def __init__(self, one: Container[object], other: Container[PeerId]) -> None:
        self._one = one
        self._other = other

    def __contains__(self, peer: object) -> bool:
        return peer in self._one or peer in self._other


async def dial_through_relay(host: IHost, address: Address, peer: PeerId) -> None:
    """Link `host` to `peer`, which proves that it is that peer, through `address.relay`.

    Raises:
        Unreachable: why there is no link, in one line.
        ValueError: `address` is not a circuit address.
    """
    if address.relay is None:
        raise ValueError("not a circuit address")
    libp2p_id = id_of(peer)
    via = f"/p2p/{peer_id_text(address.relay)}/p2p-circuit/p2p/{libp2p_id}"
    request = HopMessage(type=HopMessage.CONNECT, peer=CircuitPeerId(id=libp2p_id.to_bytes()))
    try:
        with trio.fail_after(ASK_S):
            stream = await _ask(host, address, request)
            try:
                raw = _raw_connection(_Wire(stream), Multiaddr(via), True)
                await host.upgrade_outbound_connection(raw, libp2p_id)
            except BaseException:
                await reset(stream)
                raise
    except Unreachable:
        raise
    except Exception as error:
        raise Unreachable(why(error)) from error


async def _reserve(host: IHost, relay: Address) -> None:
    try:
        with trio.fail_after(ASK_S):
            stream = await _ask(host, relay, HopMessage(type=HopMessage.RESERVE))
    except trio.TooSlowError:
        raise Unreachable("the relay does not answer") from None
    await reset(stream)


async def _ask(host: IHost, address: Address, request: HopMessage) -> INetStream:
    """Return the stream on which the relay of `address` agreed to `request`; else Unreachable."""
    assert address.relay is not None
    relay = id_of(address.relay)
    network = host.get_network()
    assert isinstance(network, Swarm)
    if not network.get_connections(relay):
        listener = Multiaddr(f"/{address.family}/{address.host}/tcp/{address.port}")
        try:
            await network.dial_addr(listener, relay)
        except Exception as error:
            raise Unreachable(f"the relay: {why(error)}") from error
    try:
        stream = await host.new_stream(relay, [PROTOCOL_ID])
    except StreamFailure as error:
        raise Unreachable(NOT_FOR_US) from error
    except Exception as error:
        raise Unreachable(f"the relay: {why(error)}") from error
    try:
        await write_delimited_msg(stream, request)
        answer = await read_delimited_msg(stream, HopMessage)
    except BaseException as error:
        await reset(stream)
        if not isinstance(error, Exception):
            raise
        raise Unreachable(NOT_FOR_US) from error
    if answer.type != HopMessage.STATUS or int(answer.status) != StatusCode.OK:
        await reset(stream)
        raise Unreachable(_refusal(answer.status))
    return stream


def _refusal(status: int) -> str:
    match status:
        case StatusCode.NO_RESERVATION:
            return "the peer has no reservation at the relay"
        case StatusCode.RESOURCE_LIMIT_EXCEEDED | StatusCode.RESERVATION_REFUSED:
            return "the relay is full"
        case StatusCode.PERMISSION_DENIED:
            return NOT_FOR_US
        case _:
            return "the relay could not reach the peer"


async def _lost_link(host: IHost, relay: Address, within_s: float) -> bool:
    """Watch the links on which the reservation hangs; False if one lasts for `within_s`."""
    assert relay.relay is not None
    connections = host.get_network().get_connections(id_of(relay.relay))
    with trio.move_on_after(within_s):
        for connection in connections:
            if isinstance(connection.muxed_conn, Yamux):
                await connection.muxed_conn.event_closed.wait()
        return True
    return False


def _relay_address(text: str) -> Address:
    try:
        address = parse_address(text)
    except AddressError as error:
        raise NetworkError(f"relay address {text!r}: {error.detail}") from None
    if address.peer is None or address.relay is not None:
        raise NetworkError(f"relay address {text!r} must end with /p2p/<peer id of the relay>")
    return Address(address.family, address.host, address.port, relay=address.peer)


def _circuit_text(relay: Address, host: IHost) -> str:
    return f"{relay}/p2p/{host.get_id().to_string()}"


class _Circuits(CircuitV2Protocol):
    """libp2p's end of both protocols, repaired as the module's text says."""

    async def _handle_reserve(self, stream: INetStream, _: HopMessage) -> None:
        own_place = HopMessage(
            type=HopMessage.RESERVE,
            peer=CircuitPeerId(id=stream.muxed_conn.peer_id.to_bytes()),
        )
        await super()._handle_reserve(stream, own_place)

    async def handle_incoming_connection(self, stream: INetStream, _: bytes) -> None:
        """Upgrade a circuit to this host; return when it has ended.

        Who it is from is proved by the handshake. What the relay says about it is not used.
        """
        via = Multiaddr(f"/p2p/{stream.muxed_conn.peer_id}/p2p-circuit")
        wire = _Wire(stream)
        try:
            await self.host.upgrade_inbound_connection(_raw_connection(wire, via, False), via)
            await wire.closed.wait()
        finally:
            await reset(stream)

    async def _relay_data(
        self,
        src_stream: INetStream,
        dst_stream: INetStream,
        peer_id: ID,
        deadline: float | None = None,
        circuit_data_limit: list[int] | None = None,
    ) -> None:
        """Carry one direction until it ends, then end the other one too."""
        assert deadline is not None  # libp2p gives both unless a limit is 0
        assert circuit_data_limit is not None
        try:
            with trio.move_on_after(max(0.0, deadline - time.monotonic())):
                while circuit_data_limit[0] > 0:
                    data = await src_stream.read(min(CHUNK_BYTES, circuit_data_limit[0]))
                    circuit_data_limit[0] -= len(data)
                    await write_all(dst_stream, data)
        except (StreamEOF, StreamError, StreamBrokenError):
            pass
        finally:
            await reset(src_stream)
            await reset(dst_stream)
            self._active_relays.pop(peer_id, None)


def _raw_connection(wire: _Wire, via: Multiaddr, initiator: bool) -> RawConnection:
    return RawConnection(wire, initiator, ConnectionType.RELAYED, [via])


class _Wire(ReadWriteCloser):
    """A stream with the manners of a socket: b"" at its end, IOException when it broke."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream
        self.closed = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        try:
            return await self._stream.read(n)
        except StreamEOF:
            return b""
        except Exception as error:
            self.closed.set()
            raise IOException("the circuit broke") from error

    async def write(self, data: bytes) -> None:
        try:
            await write_all(self._stream, data)
        except StreamBrokenError as error:
            self.closed.set()
            raise IOException("the circuit broke") from error

    async def close(self) -> None:
        self.closed.set()
        await reset(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        """Nothing: the socket's other end is the relay."""
        return None
