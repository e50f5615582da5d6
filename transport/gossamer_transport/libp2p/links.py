"""What is known of each connection, for whoever looks at the network."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import trio
from libp2p.stream_muxer.yamux.yamux import Yamux

from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.host import Connected, LiveHost


@dataclass(frozen=True, slots=True)
class Link:
    """A connection: to whom, where, for how long, and the last round trip if it was measured."""

    peer: PeerId
    address: str
    member: bool
    since_s: float
    round_trip_s: float | None


def links_of(live: LiveHost, members: Container[PeerId]) -> tuple[Link, ...]:
    """Return all connections, members first, then in PeerId order."""
    links = [_link(connected, connected.peer in members) for connected in live.connections()]
    return tuple(sorted(links, key=lambda link: (not link.member, link.peer)))


def _link(connected: Connected, member: bool) -> Link:
    muxed = connected.connection.muxed_conn
    remote = connected.connection.get_transport_addresses()
    return Link(
        peer=connected.peer,
        address=str(remote[0]) if remote else "",
        member=member,
        since_s=trio.current_time() - connected.since,
        round_trip_s=(muxed.rtt() or None) if isinstance(muxed, Yamux) else None,
    )
