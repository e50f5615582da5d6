"""Our identities and libp2p's: the same Ed25519 keys, written differently."""

from __future__ import annotations

from libp2p.abc import INetStream
from libp2p.peer.id import ID

from gossamer_crypto.errors import IdentityError
from gossamer_crypto.identity import PeerId, check_peer_id

_ID_PREFIX = bytes.fromhex("002408011220")  # libp2p's id of an Ed25519 key: this, then the key


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
