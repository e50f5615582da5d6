"""What the user may set about the libp2p network, and the names that both ends must agree on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SWARM_ID_BYTES: Final = 32
HELLO_PROTOCOL: Final = "/gossamer/hello/1"
JOIN_PROTOCOL: Final = "/gossamer/join/1"


def frames_protocol(swarm_id: bytes) -> str:
    """Return the id of the stream protocol that carries frames and offers."""
    return f"/gossamer/frames/1/{swarm_id.hex()[:16]}"


def pull_protocol(swarm_id: bytes) -> str:
    """Return the id of the stream protocol by which offered frames are fetched."""
    return f"/gossamer/pull/1/{swarm_id.hex()[:16]}"


def gossip_topic(swarm_id: bytes) -> str:
    """Return the GossipSub topic of the swarm's published frames."""
    return f"gossamer/1/{swarm_id.hex()}"


@dataclass(frozen=True, kw_only=True)
class Libp2pOptions:
    """How one device takes part. `dialer`, `mdns`, `kademlia` and `relay` read their own fields.

    listen, advertise: multiaddrs; what is advertised replaces the bound addresses. guests_max: how
    many non-members may be linked. connections_max: all links together. mdns_interfaces: addresses
    of the interfaces to announce on, None for not at all.

    Raises:
        ValueError: `swarm_id` has not 32 bytes, or a bound is not positive.
    """

    swarm_id: bytes
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    advertise: tuple[str, ...] = ()
    guests_max: int = 8
    connections_max: int = 48
    gossip_heartbeat_s: float = 1.0
    relay_service: bool = False
    kademlia: bool = False
    mdns_interfaces: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.swarm_id) != SWARM_ID_BYTES:
            raise ValueError(f"a swarm id has {SWARM_ID_BYTES} bytes")
        if not 0 <= self.guests_max < self.connections_max:
            raise ValueError("guests_max must be at least 0 and less than connections_max")
        if not self.gossip_heartbeat_s > 0:
            raise ValueError("gossip_heartbeat_s must be above 0 s")
