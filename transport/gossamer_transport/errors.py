"""Errors of the transport: the peer's fault (`WireError`, `CodecError`) and ours (the rest)."""

from __future__ import annotations

from gossamer_crypto.errors import GossamerError, PeerError


class WireError(PeerError):
    """Bytes are not a frame. The only type that `wire.unpack_frame` raises."""


class CodecError(PeerError):
    """A delta or keyframe is malformed or does not fit the replica."""


class DivergedError(GossamerError):
    """Own parameters cannot be published: not finite, or beyond the bound of the contract."""


class NetworkError(GossamerError):
    """The network cannot do what was asked: it is closed, or the frame is too large to send."""


class Unreachable(NetworkError):  # noqa: N818 - the state of a link, as in `trio.WouldBlock`
    """There is no link to that peer now."""
