"""A short visit to the network, to ask a steward something: no listening, no gossip, no rounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from gossamer_agent.members.joining import Caller
from gossamer_crypto.identity import Identity, PeerId
from gossamer_transport.limits import Limits


@asynccontextmanager
async def calling(
    identity: Identity, swarm_id: bytes, stewards: Collection[PeerId]
) -> AsyncIterator[Caller]:
    """Open a network as `identity` until the block ends; only `stewards` count as members.

    Raises NetworkError when there is none.
    """
    # Takes a second and 75 MB.
    from gossamer_transport.libp2p.network import open_network  # noqa: PLC0415
    from gossamer_transport.libp2p.options import Libp2pOptions  # noqa: PLC0415

    # Nobody needs to reach us: the loopback keeps the visit out of sight.
    options = Libp2pOptions(swarm_id=swarm_id, listen=("/ip4/127.0.0.1/tcp/0",))
    async with open_network(identity, options, Limits(), frozenset(stewards)) as network:
        yield network
