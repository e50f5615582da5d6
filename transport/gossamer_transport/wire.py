"""Frames: what one peer sends to another, packed as flat msgpack arrays.

    1 entry     [1, header, ciphertext, signature]         a whole entry
    2 head      [2, header, ciphertext_hash, signature]    that an entry exists, provable without it
    3 follow    [3, step]                                  send me what you publish after that step
    4 unfollow  [4]                                        and stop
    5 want      [5, entry_hash]                            send me that entry

A frame that unpacks has the right shape. Nobody has looked at its signature yet.
Format: docs/spec/wire.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, assert_never, cast

from gossamer_crypto.envelope import Envelope, Head, parse_envelope, parse_head
from gossamer_crypto.errors import EnvelopeError, Reason
from gossamer_transport import flat
from gossamer_transport.errors import WireError
from gossamer_transport.limits import Limits

HASH_BYTES = 32

_ENTRY, _HEAD, _FOLLOW, _UNFOLLOW, _WANT = range(1, 6)
_FIELDS_MAX = 4


@dataclass(frozen=True, slots=True)
class EntryFrame:
    """A whole entry of a feed."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class HeadFrame:
    """An entry without its body: it exists, and a `WantFrame` fetches it."""

    head: Head


@dataclass(frozen=True, slots=True)
class FollowFrame:
    """Send me your feed after replica step `step`, and what you publish from now on.

    Step 0 is the replica of the genesis. Sending it twice is the same as once.
    """

    step: int


@dataclass(frozen=True, slots=True)
class UnfollowFrame:
    """Send me nothing any more."""


@dataclass(frozen=True, slots=True)
class WantFrame:
    """Send me the entry with this hash, 32 bytes."""

    entry_hash: bytes


Frame: TypeAlias = EntryFrame | HeadFrame | FollowFrame | UnfollowFrame | WantFrame


def pack_frame(frame: Frame) -> bytes:
    """Return the bytes of `frame`."""
    match frame:
        case EntryFrame(envelope):
            head = envelope.head
            return flat.pack([_ENTRY, head.header_bytes, envelope.ciphertext, head.signature])
        case HeadFrame(head):
            return flat.pack([_HEAD, head.header_bytes, head.ciphertext_hash, head.signature])
        case FollowFrame(step):
            return flat.pack([_FOLLOW, step])
        case UnfollowFrame():
            return flat.pack([_UNFOLLOW])
        case WantFrame(entry_hash):
            return flat.pack([_WANT, entry_hash])
        case _:
            assert_never(frame)


def unpack_frame(raw: bytes, limits: Limits) -> Frame:
    """Return the frame in `raw`.

    Raises:
        WireError: TOO_LARGE, BAD_FRAME, or the reason for which the envelope's shape was refused.
    """
    # SPEC: A receiver MUST check the length of a frame before it decodes it.
    if len(raw) > limits.frame_bytes_max:
        raise WireError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        fields = flat.unpack(
            raw, fields_max=_FIELDS_MAX, bin_bytes_max=min(len(raw), limits.frame_bytes_max)
        )
    except ValueError as error:
        raise WireError(Reason.BAD_FRAME, str(error)) from None
    try:
        return _frame(fields)
    except EnvelopeError as error:
        raise WireError(error.reason, error.detail) from None


def _frame(fields: list[int | bytes]) -> Frame:
    shape = tuple(map(type, fields))
    kind = fields[0] if fields else None
    if shape == (int, bytes, bytes, bytes):
        header, body, signature = cast(tuple[bytes, bytes, bytes], fields[1:])
        if kind == _ENTRY:
            return EntryFrame(parse_envelope(header, body, signature))
        if kind == _HEAD:
            return HeadFrame(parse_head(header, body, signature))
    elif kind == _FOLLOW and shape == (int, int):
        return FollowFrame(cast(int, fields[1]))
    elif kind == _UNFOLLOW and shape == (int,):
        return UnfollowFrame()
    elif kind == _WANT and shape == (int, bytes):
        entry_hash = cast(bytes, fields[1])
        if len(entry_hash) == HASH_BYTES:
            return WantFrame(entry_hash)
    raise WireError(Reason.BAD_FRAME, f"no frame of kind {kind!r} has this shape")
