"""The byte stream between two members, as frames and offers of frames. Pure.

    inline   u32 length (bit 31 clear), frame          length <= 64 KiB
    offer    u32 length (bit 31 set), SHA-256 of frame   64 KiB < length <= cap; fetched by `pull`

Numbers are big-endian. A length is checked before any byte behind it is kept.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import WireError

INLINE_BYTES_MAX: Final = 64 * 1024
HASH_BYTES: Final = 32

_LENGTH = struct.Struct(">I")
_OFFER_BIT = 1 << 31


@dataclass(frozen=True, slots=True)
class Offer:
    """A frame of `length` bytes that hashes (SHA-256) to `digest` waits at the sender."""

    digest: bytes
    length: int


def frame_offer(frame: bytes) -> Offer:
    """Return the offer of `frame`."""
    return Offer(hashlib.sha256(frame).digest(), len(frame))


def encode_inline(frame: bytes) -> bytes:
    """Return `frame` behind its length."""
    assert len(frame) <= INLINE_BYTES_MAX
    return _LENGTH.pack(len(frame)) + frame


def encode_offer(offer: Offer) -> bytes:
    """Return the bytes of `offer`."""
    assert INLINE_BYTES_MAX < offer.length < _OFFER_BIT
    return _LENGTH.pack(offer.length | _OFFER_BIT) + offer.digest


class FrameReader:
    """Turns what arrives on a stream, cut anywhere, into frames and offers."""

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    @property
    def midway(self) -> bool:
        """Whether an item has begun and has not ended: the peer owes us bytes."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes | Offer]:
        """Return the items that `data` completes.

        Raises:
            WireError: TOO_LARGE or BAD_FRAME; the stream is of no further use.
        """
        self._buffer += data
        items: list[bytes | Offer] = []
        start = 0
        while (end := self._item_end(start)) is not None:
            items.append(self._item(start, end))
            start = end
        del self._buffer[:start]
        return items

    def _item_end(self, start: int) -> int | None:
        """Return where the item at `start` ends if all of it is there; check its length first."""
        body = start + _LENGTH.size
        if len(self._buffer) < body:
            return None
        (number,) = _LENGTH.unpack_from(self._buffer, start)
        length = number & ~_OFFER_BIT
        if length > self._frame_bytes_max:
            raise WireError(Reason.TOO_LARGE, f"a frame of {length} bytes is announced")
        if (length > INLINE_BYTES_MAX) != bool(number & _OFFER_BIT):
            raise WireError(Reason.BAD_FRAME, f"{length} bytes do not go this way")
        end = body + (HASH_BYTES if number & _OFFER_BIT else length)
        return end if end <= len(self._buffer) else None

    def _item(self, start: int, end: int) -> bytes | Offer:
        (number,) = _LENGTH.unpack_from(self._buffer, start)
        body = bytes(memoryview(self._buffer)[start + _LENGTH.size : end])
        return Offer(body, number & ~_OFFER_BIT) if number & _OFFER_BIT else body
