"""A door for the stream protocols of libp2p's own services: members may, guests may not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container

from libp2p.abc import INetStream

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId
from gossamer_transport.libp2p.peer_ids import peer_of
from gossamer_transport.libp2p.streams import reset
from gossamer_transport.libp2p.switch import Refuse

StreamHandler = Callable[[INetStream], Awaitable[None]]


def uncounted(peer: PeerId | None, reason: Reason) -> None:
    """Count nothing: for who keeps no book of refusals."""


def members_only(
    handler: StreamHandler, admits: Container[PeerId], refuse: Refuse
) -> StreamHandler:
    """Return `handler` for streams of peers in `admits`; those of others are reset and refused."""

    async def guarded(stream: INetStream) -> None:
        peer = peer_of(stream.muxed_conn.peer_id)
        if peer is not None and peer in admits:
            await handler(stream)
            return
        refuse(peer, Reason.NOT_A_MEMBER)
        await reset(stream)

    return guarded
