"""Finding members through a Kademlia DHT among the agents. An option.

Theory of operation. Every agent provides one content key, the swarm's id, and looks for the other
providers of it now and then. libp2p's DHT is used for that alone: it keeps no values, and no
provider records but those of this key, because a peer may write as many of others as it likes. Its
answers are hearsay. What fails in it ends the DHT, which is begun anew later, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Container, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, cast

import trio
from libp2p.abc import IHost
from libp2p.kad_dht.common import PROTOCOL_ID
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.kad_dht.provider_store import ProviderStore
from libp2p.peer.peerinfo import PeerInfo
from libp2p.tools.anyio_service.context import background_trio_service
from multiaddr import Multiaddr

from gossamer_crypto.identity import PeerId
from gossamer_transport.address_book import ADDRESSES_PER_PEER_MAX, AddressError, parse_address
from gossamer_transport.libp2p.members_only import members_only, uncounted
from gossamer_transport.libp2p.options import Libp2pOptions
from gossamer_transport.libp2p.peer_ids import peer_of
from gossamer_transport.libp2p.switch import Refuse

log = logging.getLogger("gossamer.transport")

FIRST_LOOKUP_S: Final = 5.0
LOOKUP_S: Final = 60.0
LOOKUP_S_MAX: Final = 40.0  # time that one lookup may take
PROVIDERS_MAX: Final = 20
LINKED_MAX: Final = 20  # linked peers that one lookup begins with

Found = Callable[[PeerId, Sequence[str]], None]
Service = Callable[[IHost], AbstractAsyncContextManager[None]]

_SHA256_MULTIHASH = bytes([0x12, 0x20])


def kademlia_service(
    options: Libp2pOptions,
    admits: Container[PeerId],
    addresses: Callable[[], Sequence[str]],
    found: Found,
    *,
    refuse: Refuse = uncounted,
    every_s: float = LOOKUP_S,
) -> Service:
    """Return a service that provides the swarm's id and calls `found` with its other providers.

    Without `options.kademlia` it does nothing. Only peers in `admits` are answered. `addresses` are
    the own ones to provide, asked again for each lookup. The first lookup comes after 5 s, or
    `every_s` if that is shorter. What is found is such that `parse_address` accepts, and hearsay.
    """

    @asynccontextmanager
    async def serve(host: IHost) -> AsyncIterator[None]:
        if not options.kademlia:
            yield
            return
        key = _SHA256_MULTIHASH + options.swarm_id
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, host, key)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def run(host: IHost, key: bytes) -> None:
        while True:
            try:
                dht = _swarm_dht(host, key, addresses)
                door = members_only(dht.handle_stream, admits, refuse)
                host.set_stream_handler(PROTOCOL_ID, door)
                async with background_trio_service(dht):
                    await trio.sleep(min(FIRST_LOOKUP_S, every_s))
                    while True:
                        with trio.move_on_after(LOOKUP_S_MAX):
                            await _look_up(dht, host, key, admits, found)
                        await trio.sleep(every_s)
            except Exception as error:  # of the library, or an ExceptionGroup of such
                log.info("the DHT failed and is begun anew: %r", error)
            finally:
                host.remove_stream_handler(PROTOCOL_ID)
            await trio.sleep(every_s)

    return serve


class _Announced:
    """A host that gives out the addresses of our choice: its own are those it is bound to."""

    def __init__(self, host: IHost, addresses: Callable[[], Sequence[str]]) -> None:
        self._host = host
        self._addresses = addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)

    def get_addrs(self) -> list[Multiaddr]:
        return [Multiaddr(text) for text in self._addresses()[:ADDRESSES_PER_PEER_MAX]]


def _swarm_dht(host: IHost, key: bytes, addresses: Callable[[], Sequence[str]]) -> KadDHT:
    # A member's port on one address each, as in a lab or behind one NAT, is no Sybil here: links
    # are between members. Hence no bound per subnet.
    dht = KadDHT(
        cast(IHost, _Announced(host, addresses)),
        DHTMode.SERVER,
        enable_values=False,
        strict_validation=True,
        max_peers_per_subnet=0,
    )
    store = dht.provider_store
    add_provider = store.add_provider

    def add_ours(other: bytes, provider: PeerInfo) -> None:
        if other == key:
            add_provider(other, provider)

    vars(store)["add_provider"] = add_ours
    return dht


async def _look_up(
    dht: KadDHT, host: IHost, key: bytes, admits: Container[PeerId], found: Found
) -> None:
    members = [peer for peer in host.get_connected_peers() if peer_of(peer) in admits]
    for peer in members[:LINKED_MAX]:
        # What identify said at the time of linking may be out of date; who has no DHT says so.
        await dht.add_peer(peer, skip_server_mode_check=True)
    # A store that knows a provider itself asks nobody, and ours knows us: ask with an empty one.
    asking = ProviderStore(host, dht.peer_routing)
    providers = await asking.find_providers(key, PROVIDERS_MAX)
    await dht.provider_store.provide(key)
    for provider in providers:
        _hand_on(provider, host, found)


def _hand_on(provider: PeerInfo, host: IHost, found: Found) -> None:
    peer = peer_of(provider.peer_id)
    if peer is None:
        return
    addresses: dict[str, None] = {}
    for maddr in provider.addrs[: 4 * ADDRESSES_PER_PEER_MAX]:
        try:
            addresses[str(parse_address(str(maddr)).of(peer))] = None
        except AddressError:
            continue
    if addresses and provider.peer_id != host.get_id():
        found(peer, tuple(addresses)[:ADDRESSES_PER_PEER_MAX])
