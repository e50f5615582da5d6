"""The swarm on real sockets: `network.Network` over libp2p, hardened for one version of it.

Nothing outside of this package imports libp2p, which costs a second; so `open_network`, `Link` and
`Libp2pNetwork` are imported when they are first asked for. What is pure here (bucket, chunks,
dedupe, doorkeeper, doors, guests, inbox, offers, options, outbox) knows nothing of sockets; the
rest is a thin shell around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer_transport.libp2p.options import (
    HELLO_PROTOCOL,
    JOIN_PROTOCOL,
    Libp2pOptions,
    frames_protocol,
    gossip_topic,
    pull_protocol,
)

if TYPE_CHECKING:
    from gossamer_transport.libp2p.links import Link
    from gossamer_transport.libp2p.network import Libp2pNetwork, open_network

__all__ = [
    "HELLO_PROTOCOL",
    "JOIN_PROTOCOL",
    "Libp2pNetwork",
    "Libp2pOptions",
    "Link",
    "frames_protocol",
    "gossip_topic",
    "open_network",
    "pull_protocol",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gossamer_transport.libp2p import links, network  # noqa: PLC0415 - see above

    return getattr(links if name == "Link" else network, name)
