"""`Network` over libp2p: what the agent sees of the swarm on real sockets.

Theory of operation. A supervisor keeps one `LiveHost` running and builds the next one, with the
same identity on the same port, when it fails. Everything that must survive is held here: the inbox,
the address book, the shelf of offered frames, pulls under way, buckets and counters. `send` and
`publish` only queue. Inbound streams come to `_on_frames`, `_on_pull` or a served protocol, which
ask first whether the peer may. Whatever a peer does wrong ends in `_refuse`: it is counted by
reason and costs at most that peer's link.

The services of `on_host` (discovery, relay) run for as long as each host does.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.stream_muxer.yamux.yamux import Yamux

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_transport.address_book import Address, AddressBook, Provenance
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import dial, hardening, requests, streams
from gossamer_transport.libp2p.chunks import (
    INLINE_BYTES_MAX,
    Offer,
    encode_inline,
    encode_offer,
    frame_offer,
)
from gossamer_transport.libp2p.frames import FrameReceiver, FrameSender
from gossamer_transport.libp2p.gossip import (
    PUBLISHED_BYTES_MAX,
    Gossip,
    GossipLeash,
    gossiping,
)
from gossamer_transport.libp2p.guests import Admission, GuestBook
from gossamer_transport.libp2p.host import LiveHost, OnHost, build_host, id_of, peer_of, running
from gossamer_transport.libp2p.inbox import Inbox
from gossamer_transport.libp2p.offers import OfferShelf, PullQuota
from gossamer_transport.libp2p.options import (
    Libp2pOptions,
    frames_protocol,
    gossip_topic,
    pull_protocol,
)
from gossamer_transport.libp2p.pull import Puller, PullServer
from gossamer_transport.limits import Limits
from gossamer_transport.network import Network, Received

RESTART_S: Final = 0.5
RESTART_S_MAX: Final = 30.0
STABLE_S: Final = 60.0
"""A host that ran for so long is restarted at once when it fails."""

HASH_IN_THREAD_BYTES: Final = 512 * 1024
"""A slow device hashes 50 MB/s, and trio should not stand still for more than 10 ms."""

SWEEP_S: Final = 5.0

DialCircuit = Callable[[IHost, Address, PeerId], Awaitable[None]]

log = logging.getLogger("gossamer.transport")


@dataclass(frozen=True, slots=True)
class Link:
    """A connection: to whom, where, for how long, and the last round trip if it was measured."""

    peer: PeerId
    address: str
    member: bool
    since_s: float
    round_trip_s: float | None


class Libp2pNetwork(Network):
    """One device's links. `open_network` makes it; it implements `network.Network`.

    refused: bytes and connections of peers that were refused, by reason. bytes_sent,
    bytes_received: of frames, without the overhead of libp2p. frames_sent: handed to a link or the
    topic. dropped: frames lost to full queues of ours. restarts: hosts that failed and were
    replaced. dial_circuit: how to dial an address through a relay; set by whoever brings one.
    """

    def __init__(
        self,
        identity: Identity,
        options: Libp2pOptions,
        limits: Limits,
        admits: Container[PeerId],
        on_host: Sequence[OnHost],
    ) -> None:
        self._identity = identity
        self._options = options
        self._limits = limits
        self._admits = admits
        self._on_host = on_host
        self._listen = options.listen
        self._live: LiveHost | None = None
        self._gossip: Gossip | None = None
        self._nursery: trio.Nursery | None = None
        self._scope = trio.CancelScope()
        self._closed = False
        self._ended = trio.Event()
        self._arrived = trio.Event()
        self._inbox = Inbox(limits)
        self._book = AddressBook(identity.peer_id)
        self._banned: set[PeerId] = set()
        self._guests = GuestBook(options.guests_max)
        self._servers: dict[str, requests.Server] = {}
        self._shelf = OfferShelf(limits.receive_bytes_max)
        self._pulls = PullServer(self._shelf, self._refuse)
        self._puller = Puller(
            PullQuota(limits.receive_bytes_max),
            self._open_pull,
            self._deliver,
            self._refuse,
            self._is_member,
        )
        self._sender = FrameSender(self._open_frames)
        self._receiver = FrameReceiver(
            limits, self._deliver, self._pull, self._is_member, self._refuse
        )
        self._leash = GossipLeash(
            own=identity.peer_id,
            topic=gossip_topic(options.swarm_id),
            member=self._is_member,
            deliver=self._heard,
            refuse=self._refuse,
            now=trio.current_time(),
        )
        self.refused: Counter[Reason] = Counter()
        self.frames_sent = 0
        self.restarts = 0
        self.dial_circuit: DialCircuit | None = None
        self._published_bytes = 0
        self._heard_bytes = 0

    # Network -------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        return self._identity.peer_id

    def peers(self) -> tuple[PeerId, ...]:
        self._require_open()
        if self._live is None:
            return ()
        linked = {connected.peer for connected in self._live.connections()}
        return tuple(sorted(peer for peer in linked if self._is_member(peer)))

    async def send(self, peer: PeerId, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._require_sendable(frame, self._limits.frame_bytes_max)
        live = self._require_link(peer)
        if not self._is_member(peer):
            raise Unreachable(f"peer {peer_id_text(peer)} is not a member")
        if len(frame) > INLINE_BYTES_MAX:
            offer = await _offer(frame)
            live = self._require_link(peer)  # it may have gone meanwhile
            self._shelf.put(peer, offer, frame, trio.current_time())
            item = encode_offer(offer)
        else:
            item = encode_inline(frame)
        self._sender.put(live.nursery, peer, item)
        self.frames_sent += 1

    async def publish(self, frame: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self._require_sendable(frame, min(PUBLISHED_BYTES_MAX, self._limits.frame_bytes_max))
        self._leash.publish(frame)
        self.frames_sent += 1
        self._published_bytes += len(frame)

    async def receive(self) -> Received:
        await trio.lowlevel.checkpoint()
        while True:
            self._require_open()
            if self._inbox:
                return self._inbox.pop()
            self._arrived = trio.Event()
            await self._arrived.wait()

    async def disconnect(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        self._require_open()
        self._banned.add(peer)
        self._forget(peer)
        if self._live is not None:
            await self._live.cut(peer)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._arrived.set()
            self._scope.cancel()
        if self._nursery is not None:
            await self._ended.wait()
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    # What libp2p adds ----------------------------------------------------------------------------

    @property
    def host(self) -> IHost:
        """The live host. It is another one after a restart, so do not keep it: see `on_host`.

        Raises:
            NetworkError: it is just being restarted, or the network is closed.
        """
        return self._require_host().host

    @property
    def bytes_sent(self) -> int:
        return self._sender.bytes_sent + self._pulls.bytes_sent + self._published_bytes

    @property
    def bytes_received(self) -> int:
        return self._receiver.bytes_received + self._puller.bytes_received + self._heard_bytes

    @property
    def dropped(self) -> int:
        return self._inbox.dropped + self._sender.dropped

    @property
    def book(self) -> AddressBook:
        """Where peers can be dialled, as far as it is known. It survives restarts."""
        return self._book

    def known_addresses(self, peer: PeerId) -> tuple[str, ...]:
        """Return the addresses of `peer` in the book, best first."""
        return self._book.addresses(peer)

    def add_addresses(self, peer: PeerId, addresses: Iterable[str]) -> None:
        """Note addresses of `peer` that were heard of; what cannot be dialled is left out."""
        self._book.learn_all(peer, addresses, Provenance.HEARSAY)

    def addresses(self) -> tuple[str, ...]:
        """Return what others should dial, each with the own `/p2p/` id; NetworkError: no host."""
        live = self._require_host()
        own = f"/p2p/{peer_id_text(self.peer_id)}"
        texts = self._options.advertise or live.bound()
        return tuple(text if text.endswith(own) else text + own for text in texts)

    def links(self) -> tuple[Link, ...]:
        """Return all connections, members first, then in PeerId order."""
        self._require_open()
        if self._live is None:
            return ()
        links = []
        for connected in self._live.connections():
            muxed = connected.connection.muxed_conn
            remote = connected.connection.get_transport_addresses()
            round_trip_s = muxed.rtt() if isinstance(muxed, Yamux) else 0.0
            links.append(
                Link(
                    peer=connected.peer,
                    address=str(remote[0]) if remote else "",
                    member=self._is_member(connected.peer),
                    since_s=trio.current_time() - connected.since,
                    round_trip_s=round_trip_s or None,
                )
            )
        return tuple(sorted(links, key=lambda link: (not link.member, link.peer)))

    async def dial(self, address: str) -> PeerId:
        """Return who answers at `address`, a multiaddr that ends with `/p2p/<peer id>`.

        Raises:
            Unreachable: why nobody does, in a few words: "connection refused", "timed out",
                "answers with another identity", "no common protocol", "bad address: ...".
        """
        await trio.lowlevel.checkpoint()
        live = self._require_host()
        parsed, peer = dial.target(address)
        if peer == self.peer_id:
            raise Unreachable("this is our own address")
        if peer in self._banned:
            raise Unreachable("this peer is banned here")
        if self._is_linked(peer):
            return peer
        if parsed.relay is None:
            await dial.dial(live, parsed, peer)
        elif self.dial_circuit is None:
            raise Unreachable("relays are not in use here")
        else:
            await self.dial_circuit(live.host, parsed, peer)
        self._book.learn(peer, str(parsed), Provenance.OWN_WORD)
        return peer

    async def request(
        self,
        peer: PeerId,
        protocol: str,
        payload: bytes,
        *,
        response_bytes_max: int,
        timeout_s: float,
    ) -> bytes:
        """Ask `peer`, member or not, and return its answer.

        Raises:
            Unreachable: no link, no common protocol, no answer in time, or one that is too large.
        """
        await trio.lowlevel.checkpoint()
        live = self._require_link(peer)
        self._guests.touch(peer, trio.current_time())
        stream: INetStream | None = None
        try:
            with trio.fail_after(timeout_s):
                stream = await live.open_stream(peer, protocol)
                answer = await requests.ask(stream, payload, response_bytes_max)
        except trio.TooSlowError:
            raise Unreachable("timed out") from None
        finally:
            if stream is not None:
                await streams.reset(stream)
        self._guests.touch(peer, trio.current_time())
        return answer

    def serve(
        self,
        protocol: str,
        handler: Callable[[PeerId, bytes], Awaitable[bytes]],
        *,
        request_bytes_max: int,
    ) -> None:
        """Answer requests of linked peers, members or not, by `handler`, now and after restarts.

        A handler that raises costs the asker its stream, and is logged.
        """
        self._require_open()
        self._servers[protocol] = requests.Server(handler, request_bytes_max, self._refuse)
        if self._live is not None:
            self._attach(self._live.host)

    # The supervisor ------------------------------------------------------------------------------

    async def _run(self, task_status: Any) -> None:  # trio's stubs have no name for it
        """Keep a host running until `aclose`. NetworkError: the first one cannot be started."""
        started = False
        restart_s = RESTART_S

        def on_start() -> None:
            nonlocal started
            if not started:
                started = True
                task_status.started()

        try:
            with self._scope:
                async with trio.open_nursery() as self._nursery:
                    self._nursery.start_soon(self._sweep)
                    while True:
                        begun_at = trio.current_time()
                        try:
                            await self._run_host(on_start)
                        except Exception as error:
                            if not started:
                                raise
                            log.warning("the libp2p host failed and is restarted: %r", error)
                        self.restarts += 1
                        if trio.current_time() - begun_at > STABLE_S:
                            restart_s = RESTART_S
                        await trio.sleep(restart_s)
                        restart_s = min(2 * restart_s, RESTART_S_MAX)
        finally:
            self._closed = True
            self._arrived.set()
            self._ended.set()

    async def _run_host(self, on_start: Callable[[], None]) -> None:
        host = build_host(self._identity, self._options, self._admit, self._refuse)
        self._attach(host)
        heartbeat_s = self._options.gossip_heartbeat_s
        try:
            async with (
                running(host, self._listen) as live,
                gossiping(host, self._leash, heartbeat_s) as gossip,
            ):
                self._listen = tuple(map(str, host.get_transport_addrs()))
                self._live, self._gossip = live, gossip
                async with live.services(self._on_host):
                    on_start()
                    await trio.sleep_forever()
        finally:
            self._live = self._gossip = None

    def _attach(self, host: IHost) -> None:
        """Route inbound streams of our protocols."""
        swarm = self._options.swarm_id
        host.set_stream_handler(TProtocol(frames_protocol(swarm)), self._on_frames)
        host.set_stream_handler(TProtocol(pull_protocol(swarm)), self._on_pull)
        for protocol, server in self._servers.items():
            handler = functools.partial(self._on_request, server)
            host.set_stream_handler(TProtocol(protocol), handler)

    async def _sweep(self) -> None:
        """Cut guests that overstay, and note members that became guests and the reverse."""
        while True:
            await trio.sleep(SWEEP_S)
            if self._live is None:
                continue
            now = trio.current_time()
            self._shelf.expire(now)
            linked = {connected.peer for connected in self._live.connections()}
            for peer in list(self._guests):
                if peer not in linked or self._is_member(peer):
                    self._guests.leave(peer)
            for peer in linked:
                if not self._is_member(peer) and peer not in self._guests:
                    self._guests.arrive(peer, now, invited=True)
            for peer in self._guests.idle(now):
                if self._gossip is None or not self._gossip.listens(id_of(peer)):
                    log.info("an idle guest was cut")
                    await self._cut(peer)

    # Peers ---------------------------------------------------------------------------------------

    def _is_member(self, peer: PeerId) -> bool:
        return peer in self._admits and peer not in self._banned

    def _is_linked(self, peer: PeerId) -> bool:
        return self._live is not None and any(True for _ in self._live.connections(peer))

    def _admit(self, peer: PeerId, outbound: bool) -> Reason | None:
        """Return why `peer`, whose identity is proved, may not be linked, or None."""
        if peer in self._banned:
            return Reason.BANNED
        if self._is_member(peer):
            return None
        now = trio.current_time()
        if not outbound and (leaving := self._guests.to_make_room(now)) is not None:
            self._guests.leave(leaving)
            self._cut_soon(leaving)
        admission = self._guests.arrive(peer, now, invited=outbound)
        return None if admission is Admission.LET_IN else Reason.NOT_A_MEMBER

    def _refuse(self, peer: PeerId | None, reason: Reason, cut: bool = False) -> None:
        self.refused[reason] += 1
        if cut and peer is not None:
            log.info("a peer was cut: %s", reason)
            self._cut_soon(peer)

    def _cut_soon(self, peer: PeerId) -> None:
        if self._nursery is not None and not self._closed:
            self._nursery.start_soon(self._cut, peer)

    async def _cut(self, peer: PeerId) -> None:
        if self._live is not None:
            await self._live.cut(peer)

    def _forget(self, peer: PeerId) -> None:
        self._inbox.forget(peer)
        self._sender.forget(peer)
        self._receiver.forget(peer)
        self._guests.leave(peer)

    # Streams -------------------------------------------------------------------------------------

    async def _on_frames(self, stream: INetStream) -> None:
        peer = await self._member_behind(stream)
        if peer is not None:
            await self._receiver.read(peer, stream)

    async def _on_pull(self, stream: INetStream) -> None:
        peer = await self._member_behind(stream)
        if peer is not None:
            await self._pulls.serve(peer, stream)

    async def _on_request(self, server: requests.Server, stream: INetStream) -> None:
        peer = _peer_behind(stream)
        self._guests.touch(peer, trio.current_time())
        await server.answer(peer, stream)

    async def _member_behind(self, stream: INetStream) -> PeerId | None:
        """Return the peer of `stream` if it is a member; otherwise reset the stream."""
        peer = _peer_behind(stream)
        if self._is_member(peer):
            return peer
        self._refuse(peer, Reason.NOT_A_MEMBER)
        await streams.reset(stream)
        return None

    async def _open_frames(self, peer: PeerId) -> INetStream:
        protocol = frames_protocol(self._options.swarm_id)
        return await self._require_link(peer).open_stream(peer, protocol)

    async def _open_pull(self, peer: PeerId) -> INetStream:
        protocol = pull_protocol(self._options.swarm_id)
        return await self._require_link(peer).open_stream(peer, protocol)

    def _pull(self, peer: PeerId, offer: Offer) -> None:
        if self._nursery is not None:
            self._puller.begin(self._nursery, peer, offer)

    def _heard(self, origin: PeerId, frame: bytes) -> None:
        self._heard_bytes += len(frame)
        self._deliver(origin, frame)

    def _deliver(self, peer: PeerId, frame: bytes) -> None:
        if self._is_member(peer) and not self._closed:
            self._inbox.put(Received(peer, frame))
            self._arrived.set()

    # Preconditions -------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed:
            raise NetworkError("the network is closed")

    def _require_host(self) -> LiveHost:
        self._require_open()
        if self._live is None:
            raise Unreachable("the network is being restarted")
        return self._live

    def _require_link(self, peer: PeerId) -> LiveHost:
        live = self._require_host()
        if not self._is_linked(peer):
            raise Unreachable(f"no link to peer {peer_id_text(peer)}")
        return live

    def _require_sendable(self, frame: bytes, cap: int) -> None:
        self._require_open()
        if len(frame) > cap:
            raise NetworkError(f"a frame of {len(frame)} bytes is above the cap of {cap}")


async def _offer(frame: bytes) -> Offer:
    if len(frame) < HASH_IN_THREAD_BYTES:
        return frame_offer(frame)
    return await trio.to_thread.run_sync(frame_offer, frame)


def _peer_behind(stream: INetStream) -> PeerId:
    peer = peer_of(stream.muxed_conn.peer_id)
    assert peer is not None, "GuardedSwarm lets nobody else in"
    return peer


@asynccontextmanager
async def open_network(
    identity: Identity,
    options: Libp2pOptions,
    limits: Limits,
    admits: Container[PeerId],
    *,
    on_host: Sequence[OnHost] = (),
) -> AsyncIterator[Libp2pNetwork]:
    """Listen, and take part in the swarm until the block ends.

    admits: who is a member now, asked again and again. on_host: each is called with every host that
    is built and stays entered for as long as it runs; one that raises ends that host.

    Raises:
        NetworkError: an address cannot be listened on, or another version of libp2p is installed.
    """
    hardening.install()
    network = Libp2pNetwork(identity, options, limits, admits, on_host)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(network._run)
            try:
                yield network
            finally:
                with trio.CancelScope(shield=True):
                    await network.aclose()
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from error.__cause__
