"""One hardened libp2p host, from its start to its end; the `Supervisor` builds the next.

Theory of operation. `GuardedSwarm` (libp2p's word for its connection switch) decides who gets in:
before the handshake by `Doors`, after it by the `admit` callback, when the peer's identity is
proved. Every inbound stream passes `_guarded`: too many of them, or a handler that raises, cost the
peer its stream and never the process. `LiveHost` is what the rest of this package sees.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

import trio
from libp2p.abc import IHost, IMuxedConn, INetConn, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.rcmgr import Direction
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from gossamer_crypto.errors import IdentityError, Reason
from gossamer_crypto.identity import Identity, PeerId, check_peer_id, peer_id_text
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import hardening, streams
from gossamer_transport.libp2p.bucket import Buckets
from gossamer_transport.libp2p.doors import Doors
from gossamer_transport.libp2p.options import Libp2pOptions

STREAMS_PER_CONNECTION_MAX: Final = 64
STREAMS_PER_S: Final = 100.0
STREAMS_BURST: Final = 500.0
"""What one peer may open. Whoever catches up with large frames opens one for each."""

UPGRADE_TIMEOUT_S: Final = 8.0
NEGOTIATE_TIMEOUT_S: Final = 10.0
CONNECTIONS_PER_PEER_MAX: Final = 2
CLOSING_S: Final = 3.0

log = logging.getLogger("gossamer.transport")

_ID_PREFIX = bytes.fromhex("002408011220")  # libp2p's id of an Ed25519 key: this, then the key

Admit = Callable[[PeerId, bool], Reason | None]
Refuse = Callable[[PeerId | None, Reason], None]
OnHost = Callable[[IHost], AbstractAsyncContextManager[object]]


def id_of(peer: PeerId) -> ID:
    """Return libp2p's form of `peer`."""
    return ID(_ID_PREFIX + peer)


def peer_of(libp2p_id: ID) -> PeerId | None:
    """Return the peer behind `libp2p_id`, or None if its key is not an acceptable Ed25519 one."""
    raw = libp2p_id.to_bytes()
    if not raw.startswith(_ID_PREFIX):
        return None
    try:
        return check_peer_id(raw.removeprefix(_ID_PREFIX))
    except IdentityError:
        return None


def peer_behind(stream: INetStream) -> PeerId:
    """Return who is at the other end of an inbound stream."""
    peer = peer_of(stream.muxed_conn.peer_id)
    assert peer is not None, "GuardedSwarm lets nobody else in"
    return peer


class GuardedSwarm(Swarm):
    """libp2p's connection switch with a door that silent sockets cannot block."""

    def __init__(self, admit: Admit, refuse: Refuse, **settings: Any) -> None:
        super().__init__(**settings)
        self._doors = Doors()
        self._handshakes: dict[int, trio.CancelScope] = {}
        self._admit = admit
        self._refuse = refuse
        self._sockets: WeakSet[Yamux] = WeakSet()
        self.linked_at: WeakKeyDictionary[INetConn, float] = WeakKeyDictionary()
        self.auto_connector = _NoAutoConnector(self)

    async def hang_up(self) -> None:
        """Close all sockets at once; libp2p says farewell on each in turn, 0.2 s apart, and leaves
        open those that were being closed when it is cancelled.
        """
        with trio.CancelScope(shield=True), trio.move_on_after(CLOSING_S):
            async with trio.open_nursery() as nursery:
                for listener in self.listeners.values():
                    nursery.start_soon(listener.close)
            async with trio.open_nursery() as nursery:
                for muxed in list(self._sockets):
                    nursery.start_soon(hardening.abort, muxed)

    async def _handle_inbound_connection(
        self, read_write_closer: ReadWriteCloser, maddr: Multiaddr
    ) -> None:
        """Upgrade one accepted socket. It is closed when this returns.

        The original keeps one of `max_connections` slots for every socket it ever accepted.
        """
        address = (read_write_closer.get_remote_address() or ("", 0))[0]
        number, dropped = self._doors.enter(address)
        if dropped is not None:
            self._handshakes.pop(dropped).cancel()
            self._refuse(None, Reason.FLOOD)
        muxed: IMuxedConn | None = None
        with trio.CancelScope() as scope:
            self._handshakes[number] = scope
            try:
                raw = RawConnection(read_write_closer, False)
                muxed = await self.upgrade_inbound_raw_conn(raw, maddr)
            except Exception as error:
                log.debug("handshake failed: %r", error)
            finally:
                self._handshakes.pop(number, None)
                self._doors.leave(number)
        if isinstance(muxed, Yamux):
            await muxed.event_closed.wait()

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Register a connection whose peer is authenticated, if `admit` lets it in."""
        peer = peer_of(muxed_conn.peer_id)
        outbound = direction == "outbound"
        reason = Reason.BAD_KEY if peer is None else self._admit(peer, outbound)
        if reason is not None:
            if not outbound:
                self._refuse(peer, reason)
            if isinstance(muxed_conn, Yamux):
                await hardening.abort(muxed_conn)
            raise SwarmException(f"connection refused: {reason}")
        if isinstance(muxed_conn, Yamux):
            self._replace_older(muxed_conn.peer_id, direction)
            self._sockets.add(muxed_conn)
            hardening.on_violation(muxed_conn, lambda why: self._refuse(peer, why))
        connection = await super().add_conn(muxed_conn, direction)
        self.linked_at[connection] = trio.current_time()
        return connection

    def _replace_older(self, libp2p_id: ID, direction: str) -> None:
        """Close what a new connection stands for: a peer that dials twice has lost its first link,
        whatever we know of that. Two that dial each other at once keep both.
        """
        for connection in self.get_connections(libp2p_id):
            muxed = connection.muxed_conn
            same = getattr(connection, "direction", None) == Direction.from_string(direction)
            if same and isinstance(muxed, Yamux):
                self.manager.run_task(hardening.abort, muxed)


class _NoAutoConnector(AutoConnector):
    """libp2p would dial whatever address a peer ever claimed for anybody; our dialer decides."""

    async def maybe_connect(self) -> None:
        await trio.lowlevel.checkpoint()

    def record_disconnect(self, peer_id: ID) -> None:
        """Remember nobody: what would forget them again is what `maybe_connect` leaves out."""


class GuardedHost(BasicHost):
    """libp2p's host, whose identify cannot fail outside of our nurseries."""

    def _schedule_identify(self, peer_id: ID, *, reason: str) -> None:
        if peer_id != self.get_id() and peer_id not in self._identify_inflight:
            self._identify_inflight.add(peer_id)
            _switch(self).manager.run_task(self._identify_guarded, peer_id, reason)

    async def _identify_guarded(self, peer_id: ID, reason: str) -> None:
        with trio.move_on_after(2 * NEGOTIATE_TIMEOUT_S):
            try:
                await self._identify_task_entry(peer_id, reason)
            except Exception as error:
                log.debug("identify failed: %r", error)
        self._identify_inflight.discard(peer_id)


def build_host(
    identity: Identity, options: Libp2pOptions, admit: Admit, refuse: Refuse
) -> GuardedHost:
    """Return a host that speaks TCP, Noise and yamux and nothing else; not yet running."""
    seed = identity.seed()
    key_pair = create_new_key_pair(seed)
    noise = NoiseTransport(key_pair, noise_privkey=create_x25519_key_pair().private_key)
    peerstore = PeerStore()
    peer_id = ID.from_pubkey(key_pair.public_key)
    peerstore.add_key_pair(peer_id, key_pair)
    network = GuardedSwarm(
        admit,
        refuse,
        peer_id=peer_id,
        peerstore=peerstore,
        upgrader=TransportUpgrader({NOISE_PROTOCOL: noise}, {TProtocol(YAMUX_PROTOCOL): Yamux}),
        transports=[TCP()],
        retry_config=RetryConfig(max_retries=0),
        connection_config=_connection_config(options),
    )
    host = GuardedHost(network, negotiate_timeout=int(NEGOTIATE_TIMEOUT_S))
    inner = network.common_stream_handler

    rates: Buckets[PeerId] = Buckets(STREAMS_PER_S, STREAMS_BURST)

    async def guarded(stream: INetStream) -> None:
        if rates.take(peer_behind(stream), trio.current_time()):
            await _guarded(stream, inner, refuse)
        else:
            refuse(peer_behind(stream), Reason.FLOOD)
            await streams.reset(stream)

    network.set_stream_handler(guarded)
    return host


def _connection_config(options: Libp2pOptions) -> ConnectionConfig:
    """Bounds of libp2p. The dialer keeps links up, `guests` prunes, yamux watches for silence."""
    return ConnectionConfig(
        max_connections=options.connections_max,
        high_watermark=options.connections_max,
        low_watermark=0,
        min_connections=0,
        max_connections_per_peer=CONNECTIONS_PER_PEER_MAX,
        auto_connect_interval=3600.0,
        inbound_upgrade_timeout=UPGRADE_TIMEOUT_S,
        outbound_upgrade_timeout=UPGRADE_TIMEOUT_S,
        inbound_stream_protocol_negotiation_timeout=NEGOTIATE_TIMEOUT_S,
        outbound_stream_protocol_negotiation_timeout=NEGOTIATE_TIMEOUT_S,
    )


async def _guarded(
    stream: INetStream, handle: Callable[[INetStream], Awaitable[None]], refuse: Refuse
) -> None:
    connection = getattr(stream, "swarm_conn", None)
    if connection is not None and len(connection.get_streams()) > STREAMS_PER_CONNECTION_MAX:
        refuse(peer_of(stream.muxed_conn.peer_id), Reason.FLOOD)
        await streams.reset(stream)
        return
    try:
        await handle(stream)
    except Exception as error:
        log.info("a stream handler failed: %r", error)
        await streams.reset(stream)


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection and the peer at its other end."""

    peer: PeerId
    connection: INetConn
    since: float  # trio's time


class LiveHost:
    """A running host. `nursery` ends with it."""

    def __init__(self, host: GuardedHost, nursery: trio.Nursery) -> None:
        self.host = host
        self.nursery = nursery

    def connections(self, peer: PeerId | None = None) -> Iterator[Connected]:
        """Yield the open connections, of `peer` only if given."""
        network = _switch(self.host)
        connections = network.get_connections(None if peer is None else id_of(peer))
        for connection in connections:
            other = peer_of(connection.muxed_conn.peer_id)
            if other is not None and not connection.is_closed:
                yield Connected(other, connection, network.linked_at.get(connection, 0.0))

    async def open_stream(self, peer: PeerId, protocol: str) -> INetStream:
        """Return a new stream to `peer` on which both sides have agreed to speak `protocol`.

        Raises:
            Unreachable: no link, no answer in time, or the peer does not speak it.
        """
        stream: INetStream | None = None
        try:
            with trio.fail_after(NEGOTIATE_TIMEOUT_S):
                stream = await self._link(peer).new_stream()
                await MultiselectClient().select_one_of(
                    [TProtocol(protocol)],
                    MultiselectCommunicator(stream),
                    int(NEGOTIATE_TIMEOUT_S),
                )
        except BaseException as error:
            if stream is not None:
                await streams.reset(stream)
            if isinstance(error, Unreachable) or not isinstance(error, Exception):
                raise
            raise Unreachable(_why_no_stream(error)) from error
        stream.set_protocol(TProtocol(protocol))
        return stream

    def _link(self, peer: PeerId) -> INetConn:
        """Return the newest connection: an older one may be dead without our knowing."""
        connections = list(self.connections(peer))
        if not connections:
            raise Unreachable(f"no link to peer {peer_id_text(peer)}")
        return connections[-1].connection

    async def cut(self, peer: PeerId) -> None:
        """Close all connections to `peer` at once."""
        for connected in list(self.connections(peer)):
            await self.cut_connection(connected.connection)

    async def cut_connection(self, connection: INetConn) -> None:
        """Close `connection` at once."""
        if isinstance(connection.muxed_conn, Yamux):
            await hardening.abort(connection.muxed_conn)
        with trio.move_on_after(CLOSING_S), suppress(Exception):
            await connection.close()

    async def hang_up(self) -> None:
        """Close all sockets at once: whatever still writes to a peer ends, also if that stalls."""
        await _switch(self.host).hang_up()

    @asynccontextmanager
    async def services(self, services: Sequence[OnHost]) -> AsyncIterator[None]:
        """Keep `services` entered."""
        async with AsyncExitStack() as stack:
            for service in services:
                await stack.enter_async_context(service(self.host))
            yield

    def bound(self) -> tuple[str, ...]:
        """Return the addresses the host listens on, wildcards resolved to those of interfaces."""
        found: dict[str, None] = {}
        for address in self.host.get_transport_addrs():
            for concrete in expand_wildcard_address(address):
                found[str(concrete)] = None
        return tuple(found)


def _why_no_stream(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "timed out"
    if isinstance(error, MultiselectClientError) and "timed out" in str(error):
        return "timed out"
    if isinstance(error, MultiselectClientError) and "not supported" in str(error):
        return "no common protocol"
    return "the link broke"


@asynccontextmanager
async def running(host: GuardedHost, listen: Sequence[str]) -> AsyncIterator[LiveHost]:
    """Run `host`; leave at once, without waiting for peers.

    Raises:
        NetworkError: one of the addresses cannot be listened on.
    """
    addresses = [_listenable(text) for text in listen]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(host.run(addresses))
        if len(host.get_network().listeners) < len(addresses):
            raise NetworkError(f"cannot listen on {', '.join(listen)}")
        nursery = await stack.enter_async_context(trio.open_nursery())
        live = LiveHost(host, nursery)
        stack.push_async_callback(live.hang_up)
        try:
            yield live
        finally:
            nursery.cancel_scope.cancel()


def _switch(host: GuardedHost) -> GuardedSwarm:
    network = host.get_network()
    assert isinstance(network, GuardedSwarm)
    return network


def _listenable(text: str) -> Multiaddr:
    """Return `text` as an address that is free now: libp2p would share a busy port in silence."""
    try:
        address = Multiaddr(text)
        port = int(address.value_for_protocol("tcp") or 0)
        ip6 = any(protocol.name == "ip6" for protocol in address.protocols())
        ip = address.value_for_protocol("ip6" if ip6 else "ip4")
    except Exception:
        raise NetworkError(
            f"cannot listen on {text}: not an address like /ip4/0.0.0.0/tcp/4001"
        ) from None
    family = socket.AF_INET6 if ip6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            cause = os.strerror(error.errno or errno.EADDRINUSE).lower()
            raise NetworkError(f"cannot listen on {text}: {cause}") from None
    return address
