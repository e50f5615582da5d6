"""Invites: the text (or QR code) by which a device finds a steward and may ask to join.

It holds no key of any epoch: whoever finds an invite can ask, and read nothing.
Format: docs/spec/invite.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from gossamer_crypto.errors import IdentityError, InviteError, Reason
from gossamer_crypto.genesis import STEWARDS_MAX
from gossamer_crypto.identity import PEER_ID_BYTES, PeerId, check_peer_id
from gossamer_crypto.labels import INVITE, INVITE_TOKEN

TOKEN_BYTES: Final = 16
ADDRESSES_MAX: Final = 4
ADDRESS_BYTES_MAX: Final = 256
INVITE_CHARS_MAX: Final = 4096

_PREFIX = "gossamer1"
_CHECKSUM_BYTES = 4
_ADDRESS = re.compile(r"(/[!-.0-~]+)+")
_Fields = tuple[Literal[1], bytes, bytes, bytes, bytes]
_DECODER = msgspec.msgpack.Decoder(_Fields)


@dataclass(frozen=True, slots=True)
class Invite:
    """swarm_id: 32 bytes; stewards: 1..5 peers; addresses: 1..4 multiaddrs of at most 256 bytes;
    token: 16 secret bytes. Raises InviteError for anything else.
    """

    swarm_id: bytes
    stewards: tuple[PeerId, ...]
    addresses: tuple[str, ...]
    token: bytes

    def __post_init__(self) -> None:
        if len(self.swarm_id) != 32 or len(self.token) != TOKEN_BYTES:
            raise _refused("swarm id or token has a wrong length")
        if not 1 <= len(self.stewards) <= STEWARDS_MAX:
            raise _refused(f"{len(self.stewards)} stewards, not 1 to {STEWARDS_MAX}")
        if not 1 <= len(self.addresses) <= ADDRESSES_MAX:
            raise _refused(f"{len(self.addresses)} addresses, not 1 to {ADDRESSES_MAX}")
        for address in self.addresses:
            if len(address) > ADDRESS_BYTES_MAX or not _ADDRESS.fullmatch(address):
                raise _refused("an address is no multiaddr, as /ip4/192.168.1.7/tcp/4001")
        try:
            for steward in self.stewards:
                check_peer_id(steward)
        except IdentityError as error:
            raise _refused(f"steward: {error.detail}") from None

    @property
    def token_id(self) -> bytes:
        """What names the token without telling it: 16 bytes."""
        return hashlib.sha256(INVITE_TOKEN + self.token).digest()[:TOKEN_BYTES]

    def text(self) -> str:
        """The invite as one word of lower-case letters and digits."""
        fields: _Fields = (
            1,
            self.swarm_id,
            b"".join(self.stewards),
            "\n".join(self.addresses).encode(),
            self.token,
        )
        packed = msgspec.msgpack.encode(fields)
        coded = base64.b32encode(packed + _checksum(packed)).decode("ascii")
        return _PREFIX + coded.rstrip("=").lower()

    def __repr__(self) -> str:
        return f"Invite({self.swarm_id.hex()[:16]}, {self.token_id.hex()})"


def parse_invite(text: str) -> Invite:
    """The inverse of `Invite.text`, in any case and with any white space in it.

    Raises InviteError (TOO_LARGE, BAD_INVITE).
    """
    if len(text) > INVITE_CHARS_MAX:
        raise InviteError(Reason.TOO_LARGE, f"{len(text)} characters")
    word = "".join(text.split()).lower()
    if not word.startswith(_PREFIX):
        raise _refused(f"it does not begin with {_PREFIX}")
    packed = _checked(word.removeprefix(_PREFIX))
    try:
        fields: _Fields = _DECODER.decode(packed)
        _, swarm_id, stewards, addresses, token = fields
        keys = range(0, len(stewards), PEER_ID_BYTES)
        invite = Invite(
            swarm_id=swarm_id,
            stewards=tuple(PeerId(stewards[at : at + PEER_ID_BYTES]) for at in keys),
            addresses=tuple(addresses.decode("ascii").split("\n")),
            token=token,
        )
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _refused("it is of another version") from None
    if invite.text() != word:
        raise _refused("not the one encoding")
    return invite


def _checked(coded: str) -> bytes:
    try:
        raw = base64.b32decode(coded.upper() + "=" * (-len(coded) % 8))
    except (binascii.Error, ValueError):
        raise _refused("a character is missing or wrong") from None
    packed, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if checksum != _checksum(packed):
        raise _refused("a character is missing or wrong")
    return packed


def _checksum(packed: bytes) -> bytes:
    return hashlib.sha256(INVITE + packed).digest()[:_CHECKSUM_BYTES]


def _refused(detail: str) -> InviteError:
    return InviteError(Reason.BAD_INVITE, detail)
