"""Opens the network of a device over libp2p, with the ways of finding others that it is set to use.

The only module of the agent that imports `gossamer_transport.libp2p`, and late: it costs a second.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import trio

from gossamer_agent.device.folder import Device
from gossamer_agent.node.outside import Outside, SwarmNetwork
from gossamer_agent.store.state import ADDRESSES, StateStore
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_crypto.roster import Roster
from gossamer_transport.address_book import Provenance
from gossamer_transport.errors import NetworkError
from gossamer_transport.limits import Limits

if TYPE_CHECKING:
    from gossamer_transport.libp2p import Libp2pNetwork, Libp2pOptions
    from gossamer_transport.libp2p.dialer import Dialer
    from gossamer_transport.libp2p.relay import RelayService


@asynccontextmanager
async def open_libp2p(
    device: Device, roster: Roster, limits: Limits, state: StateStore
) -> AsyncIterator[Outside]:
    """Listen as the device's settings say, until the block ends. NetworkError."""
    # libp2p's modules take a second to load: nobody must wait for that in the trio thread.
    await trio.to_thread.run_sync(_load)
    from gossamer_transport.libp2p import open_network  # noqa: PLC0415
    from gossamer_transport.libp2p.dialer import Dialer  # noqa: PLC0415
    from gossamer_transport.libp2p.kademlia import kademlia_service  # noqa: PLC0415
    from gossamer_transport.libp2p.mdns import mdns_service  # noqa: PLC0415
    from gossamer_transport.libp2p.relay import RelayService, dial_through_relay  # noqa: PLC0415

    options = libp2p_options(device)
    chance = np.random.default_rng()
    opened: list[Libp2pNetwork] = []

    def found(peer: PeerId, addresses: Sequence[str]) -> None:
        for network in opened:
            network.book.learn_all(peer, addresses, Provenance.HEARSAY)

    def refused(peer: PeerId | None, reason: Reason) -> None:  # noqa: ARG001  told apart nowhere
        for network in opened:
            network.refused[reason] += 1

    relay = RelayService(options, roster, device.config.network.relays, rng=chance, refuse=refused)

    def addresses() -> tuple[str, ...]:
        own: list[str] = []
        with suppress(NetworkError):  # the host is just being restarted
            own += [text for network in opened for text in network.addresses()]
        return (*own, *relay.addresses())

    services = (
        mdns_service(options, found),
        kademlia_service(options, roster, addresses, found, refuse=refused),
        relay.serve,
    )
    async with open_network(device.identity, options, limits, roster, on_host=services) as network:
        opened.append(network)
        network.dial_circuit = dial_through_relay
        network.book.restore(state.items(ADDRESSES))
        dialer = Dialer(network, network.book, lambda: roster.members, chance)
        yield _outside(network, dialer, relay, addresses)


@asynccontextmanager
async def open_probe(device: Device, roster: Roster) -> AsyncIterator[SwarmNetwork]:
    """A network that only dials: on any free port, so that no agent is in its way."""
    await trio.to_thread.run_sync(_load)
    from gossamer_transport.libp2p import open_network  # noqa: PLC0415

    options = replace(libp2p_options(device), listen=("/ip4/127.0.0.1/tcp/0",), advertise=())
    async with open_network(device.identity, options, Limits(), roster) as network:
        yield network


def libp2p_options(device: Device) -> Libp2pOptions:
    """The device's settings in the words of the transport."""
    from gossamer_transport.libp2p import Libp2pOptions  # noqa: PLC0415

    settings = device.config.network
    return Libp2pOptions(
        swarm_id=device.genesis.swarm_id,
        listen=settings.listen,
        advertise=settings.advertise,
        relay_service=settings.relay,
        kademlia=settings.kademlia,
        mdns_interfaces=settings.mdns or None,
    )


def _load() -> None:
    import gossamer_transport.libp2p  # noqa: F401, PLC0415


def _outside(
    network: Libp2pNetwork,
    dialer: Dialer,
    relay: RelayService,
    addresses: Callable[[], Sequence[str]],
) -> Outside:
    def learn(peer: PeerId, texts: Sequence[str], own_word: bool) -> None:
        provenance = Provenance.OWN_WORD if own_word else Provenance.HEARSAY
        network.book.learn_all(peer, texts, provenance)

    return Outside(
        network=network,
        addresses=addresses,
        learn_addresses=learn,
        keep_linked=dialer.run,
        failures=dialer.failures,
        relay_failures=relay.failures,
        address_rows=lambda: network.book.snapshot().items(),
    )
