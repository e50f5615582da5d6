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
from typing import Final

import trio
from libp2p.abc import IHost, INetConn, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.protocol_muxer.exceptions import MultiselectClientError
from libp2p.protocol_muxer.multiselect_client import MultiselectClient
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.utils.address_validation import expand_wildcard_address
from multiaddr import Multiaddr

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import hardening, pings, streams
from gossamer_transport.libp2p.bucket import Buckets
from gossamer_transport.libp2p.options import Libp2pOptions
from gossamer_transport.libp2p.peer_ids import id_of, peer_behind, peer_of
from gossamer_transport.libp2p.switch import CLOSING_S, Admit, GuardedSwarm, Refuse

STREAMS_PER_CONNECTION_MAX: Final = 64
STREAMS_PER_S: Final = 100.0
STREAMS_BURST: Final = 500.0
"""What one peer may open. Whoever catches up with large frames opens one for each."""

UPGRADE_TIMEOUT_S: Final = 8.0
NEGOTIATE_TIMEOUT_S: Final = 10.0
CONNECTIONS_PER_PEER_MAX: Final = 2

log = logging.getLogger("gossamer.transport")

OnHost = Callable[[IHost], AbstractAsyncContextManager[object]]


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
    host.set_stream_handler(TProtocol(pings.PROTOCOL), pings.Pings().answer)
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
