"""HELLO: two peers that meet compare what they know of the swarm, and the asker catches up.

    request   [1, swarm_id, epoch, roster_len, roster_head, unix_time, version]
    response  [1, swarm_id, epoch, roster_len, roster_head, unix_time, version,
               standing, n, n * roster entry, control frames ...]

Both are flat arrays (`flat`). The entries are packed and signed by stewards, the frames are
announce and addresses frames (`wire`); neither was looked into yet when a response has parsed.
Format: docs/spec/wire.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, cast

from gossamer_crypto.errors import Reason
from gossamer_transport import flat
from gossamer_transport.errors import WireError

HELLO_PROTOCOL_VERSION: Final = 1
HELLO_REQUEST_BYTES_MAX: Final = 1024
HELLO_RESPONSE_BYTES_MAX: Final = 1024 * 1024
HELLO_ROSTER_MAX: Final = 4096  # roster entries in one response
HELLO_FRAMES_MAX: Final = 4096  # control frames in one response
VERSION_CHARS_MAX: Final = 64

_ID_BYTES = 32
_ZERO_ID = bytes(_ID_BYTES)
_REQUEST_SHAPE = (int, bytes, int, int, bytes, int, bytes)
_RESPONSE_SHAPE = (*_REQUEST_SHAPE, int, int)
_FIELDS_MAX = len(_RESPONSE_SHAPE) + HELLO_ROSTER_MAX + HELLO_FRAMES_MAX
_BIN_HEADER_BYTES = 5
_VERSION = re.compile(rb"[\x20-\x7e]{0,64}")


class HelloStanding(IntEnum):
    """What the asker is to whom it asked."""

    STRANGER = 0
    MEMBER = 1
    REMOVED = 2


_STANDINGS = {int(standing): standing for standing in HelloStanding}


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloRequest:
    """What the asker knows. swarm_id and roster_head: 32 bytes; unix_time: seconds; version: the
    program's, up to 64 printable ASCII characters. roster_len and roster_head may name an earlier
    place in the asker's roster than its end, to be sent what comes after that.
    """

    swarm_id: bytes
    epoch: int
    roster_len: int
    roster_head: bytes
    unix_time: int
    version: str

    def pack(self) -> bytes:
        """Return the bytes of this request."""
        return flat.pack(_greeting(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloResponse:
    """The answer: the same of the answerer, what the asker is to it, and what the asker lacks.

    roster: packed entries in order of index, from the place that the asker named, or from 0 where
    the two rosters differ there. frames: packed announce and addresses frames.
    """

    swarm_id: bytes
    epoch: int
    roster_len: int
    roster_head: bytes
    unix_time: int
    version: str
    standing: HelloStanding
    roster: tuple[bytes, ...] = ()
    frames: tuple[bytes, ...] = ()

    @classmethod
    def to_stranger(cls, swarm_id: bytes) -> HelloResponse:
        """Tell somebody who is no member which swarm this is, and no more."""
        return cls(
            swarm_id=swarm_id,
            epoch=0,
            roster_len=0,
            roster_head=_ZERO_ID,
            unix_time=0,
            version="",
            standing=HelloStanding.STRANGER,
        )

    def pack(self) -> bytes:
        """Return the bytes of this response, which `within` keeps below the limit."""
        head = [*_greeting(self), int(self.standing), len(self.roster)]
        return flat.pack([*head, *self.roster, *self.frames])


def within(parts: Iterable[bytes], bytes_max: int, count_max: int) -> tuple[bytes, ...]:
    """Return the first of `parts` that take at most `bytes_max` when packed, `count_max` of them
    at most.
    """
    kept: list[bytes] = []
    for part in parts:
        bytes_max -= len(part) + _BIN_HEADER_BYTES
        if bytes_max < 0 or len(kept) == count_max:
            break
        kept.append(part)
    return tuple(kept)


def parse_hello_request(raw: bytes) -> HelloRequest:
    """Return the request in `raw`.

    Raises:
        WireError: TOO_LARGE, BAD_FRAME, or UNEXPECTED for another version of the protocol.
    """
    fields = _unpack(raw, HELLO_REQUEST_BYTES_MAX, len(_REQUEST_SHAPE))
    if tuple(map(type, fields)) != _REQUEST_SHAPE:
        raise WireError(Reason.BAD_FRAME, "no HELLO request has this shape")
    swarm_id, epoch, roster_len, roster_head, unix_time, version = _parse_greeting(fields)
    return HelloRequest(
        swarm_id=swarm_id,
        epoch=epoch,
        roster_len=roster_len,
        roster_head=roster_head,
        unix_time=unix_time,
        version=version,
    )


def parse_hello_response(raw: bytes) -> HelloResponse:
    """Return the response in `raw`. Raises as `parse_hello_request` does."""
    fields = _unpack(raw, HELLO_RESPONSE_BYTES_MAX, _FIELDS_MAX)
    shape = tuple(map(type, fields))
    fixed = len(_RESPONSE_SHAPE)
    if shape[:fixed] != _RESPONSE_SHAPE or int in shape[fixed:]:
        raise WireError(Reason.BAD_FRAME, "no HELLO response has this shape")
    swarm_id, epoch, roster_len, roster_head, unix_time, version = _parse_greeting(fields)
    standing = _STANDINGS.get(cast(int, fields[7]))
    entries = cast(int, fields[8])
    parts = cast(list[bytes], fields[fixed:])
    if standing is None or entries > min(len(parts), HELLO_ROSTER_MAX):
        raise WireError(Reason.BAD_FRAME, "standing or number of roster entries out of range")
    if len(parts) - entries > HELLO_FRAMES_MAX:
        raise WireError(Reason.BAD_FRAME, "too many frames")
    return HelloResponse(
        swarm_id=swarm_id,
        epoch=epoch,
        roster_len=roster_len,
        roster_head=roster_head,
        unix_time=unix_time,
        version=version,
        standing=standing,
        roster=tuple(parts[:entries]),
        frames=tuple(parts[entries:]),
    )


def _greeting(hello: HelloRequest | HelloResponse) -> list[int | bytes]:
    version = hello.version.encode("ascii", "replace")[:VERSION_CHARS_MAX]
    return [
        HELLO_PROTOCOL_VERSION,
        hello.swarm_id,
        hello.epoch,
        hello.roster_len,
        hello.roster_head,
        hello.unix_time,
        version,
    ]


def _unpack(raw: bytes, bytes_max: int, fields_max: int) -> list[int | bytes]:
    if len(raw) > bytes_max:
        raise WireError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        fields = flat.unpack(raw, fields_max=fields_max, bin_bytes_max=len(raw))
    except ValueError as error:
        raise WireError(Reason.BAD_FRAME, str(error)) from None
    if fields and type(fields[0]) is int and fields[0] != HELLO_PROTOCOL_VERSION:
        raise WireError(Reason.UNEXPECTED, f"protocol version {fields[0]}")
    return fields


def _parse_greeting(fields: list[int | bytes]) -> tuple[bytes, int, int, bytes, int, str]:
    swarm_id, roster_head, version = cast(tuple[bytes, ...], (fields[1], fields[4], fields[6]))
    epoch, roster_len, unix_time = cast(tuple[int, ...], (fields[2], fields[3], fields[5]))
    if len(swarm_id) != _ID_BYTES or len(roster_head) != _ID_BYTES:
        raise WireError(Reason.BAD_FRAME, "swarm id and roster head have 32 bytes")
    if not _VERSION.fullmatch(version):
        raise WireError(Reason.BAD_FRAME, "version is not short printable ASCII")
    return swarm_id, epoch, roster_len, roster_head, unix_time, version.decode("ascii")
