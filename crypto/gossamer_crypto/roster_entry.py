"""One entry of a roster: a steward's signed word on who is a member and which epoch it is.

On the wire: a MessagePack array [body, signature]; the body is an array of one int-and-bin shape,
and the signature is over the hash of the body's bytes as they came. Format: docs/spec/roster.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from gossamer_crypto.errors import IdentityError, Reason, RosterError
from gossamer_crypto.identity import (
    PEER_ID_BYTES,
    SIGNATURE_BYTES,
    Identity,
    PeerId,
    check_peer_id,
    verify,
)
from gossamer_crypto.labels import ROSTER, ROSTER_ENTRY
from gossamer_crypto.prekey import PREKEY_BYTES, Prekey
from gossamer_crypto.wrap import WRAP_BYTES

ROSTER_ENTRY_BYTES_MAX: Final = 256 * 1024
MEMBERS_MAX: Final = 1024
ROSTER_HASH_BYTES: Final = 32

_Body = tuple[Literal[1], bytes, int, bytes, int, bytes, bytes]
_OUTER = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_BODY = msgspec.msgpack.Decoder(_Body)
_ADD_BYTES = 2 * PEER_ID_BYTES + PREKEY_BYTES + SIGNATURE_BYTES
_EPOCH_FIXED_BYTES = 8 + 32
_ROW_BYTES = PEER_ID_BYTES + WRAP_BYTES
_INDEX_MAX = 2**32 - 1
_NOBODY: Final[Mapping[PeerId, bytes]] = MappingProxyType({})


class RosterKind(IntEnum):
    """What an entry says."""

    ADD = 1
    REMOVE = 2
    EPOCH = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterEntry:
    """A parsed entry; its signature is not checked yet.

    ADD: member, inviter, prekey. REMOVE: member. EPOCH: epoch, commitment (32 bytes) and wraps
    (member -> `WRAP_BYTES` bytes).
    """

    raw: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    swarm: bytes
    index: int
    prev: bytes
    kind: RosterKind
    steward: PeerId
    member: PeerId | None = None
    inviter: PeerId | None = None
    prekey: Prekey | None = None
    epoch: int = 0
    commitment: bytes = b""
    wraps: Mapping[PeerId, bytes] = field(default_factory=lambda: _NOBODY)

    hash: bytes = field(init=False)
    """SHA-256 of label and signed body: 32 bytes. The signature is left out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hash", _hash(self.signed))

    def verify(self) -> None:
        """Return if the steward signed it; RosterError (BAD_SIGNATURE) if not."""
        try:
            verify(self.steward, ROSTER, self.hash, self.signature)
        except IdentityError as error:
            raise RosterError(Reason.BAD_SIGNATURE, error.detail) from None


def parse_roster_entry(raw: bytes) -> RosterEntry:
    """The entry in `raw`. RosterError: TOO_LARGE, or BAD_ROSTER for any other defect of shape."""
    if len(raw) > ROSTER_ENTRY_BYTES_MAX:
        raise RosterError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        signed, signature = _OUTER.decode(raw)
        body: _Body = _BODY.decode(signed)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(f"not a roster entry: {error}") from None
    again = msgspec.msgpack.encode((msgspec.msgpack.encode(body), signature))
    if again != raw:
        raise _refused("not the one encoding")
    _, swarm, index, prev, kind, steward, payload = body
    if len(swarm) != 32 or len(prev) != ROSTER_HASH_BYTES or len(signature) != SIGNATURE_BYTES:
        raise _refused("a field has the wrong length")
    if not 0 <= index <= _INDEX_MAX:
        raise _refused(f"index {index}")
    common = {
        "raw": raw,
        "signed": signed,
        "signature": signature,
        "swarm": swarm,
        "index": index,
        "prev": prev,
        "steward": _peer(steward),
    }
    match kind:
        case RosterKind.ADD:
            return RosterEntry(kind=RosterKind.ADD, **common, **_parse_add(payload))  # type: ignore[arg-type]
        case RosterKind.REMOVE:
            return RosterEntry(kind=RosterKind.REMOVE, member=_peer(payload), **common)  # type: ignore[arg-type]
        case RosterKind.EPOCH:
            return RosterEntry(kind=RosterKind.EPOCH, **common, **_parse_epoch(payload))  # type: ignore[arg-type]
        case _:
            raise _refused(f"no entry is of kind {kind}")


def sign_roster_entry(
    steward: Identity, *, swarm: bytes, index: int, prev: bytes, kind: RosterKind, payload: bytes
) -> bytes:
    """The bytes of a new entry, signed by `steward`."""
    body: _Body = (1, swarm, index, prev, int(kind), steward.peer_id, payload)
    signed = msgspec.msgpack.encode(body)
    return msgspec.msgpack.encode((signed, steward.sign(ROSTER, _hash(signed))))


def add_payload(prekey: Prekey, inviter: PeerId) -> bytes:
    """The payload of an ADD."""
    return inviter + prekey.owner + prekey.public + prekey.signature


def epoch_payload(epoch: int, commitment: bytes, wraps: Mapping[PeerId, bytes]) -> bytes:
    """The payload of an EPOCH, members in PeerId order."""
    rows = [member + wraps[member] for member in sorted(wraps)]
    return b"".join((epoch.to_bytes(8, "big"), commitment, *rows))


def _hash(signed: bytes) -> bytes:
    return hashlib.sha256(ROSTER_ENTRY + signed).digest()


def _parse_add(payload: bytes) -> dict[str, object]:
    if len(payload) != _ADD_BYTES:
        raise _refused(f"the payload of an addition has {_ADD_BYTES} bytes")
    inviter, member = _peer(payload[:32]), _peer(payload[32:64])
    prekey = Prekey(member, payload[64:96], payload[96:])
    return {"inviter": inviter, "member": member, "prekey": prekey}


def _parse_epoch(payload: bytes) -> dict[str, object]:
    count, rest = divmod(len(payload) - _EPOCH_FIXED_BYTES, _ROW_BYTES)
    if len(payload) < _EPOCH_FIXED_BYTES or rest or count > MEMBERS_MAX:
        raise _refused("the payload of an epoch has a wrong length")
    starts = range(_EPOCH_FIXED_BYTES, len(payload), _ROW_BYTES)
    # Keys are not checked here: an entry that names another key than a member's is refused later.
    wraps = {PeerId(payload[at : at + 32]): payload[at + 32 : at + _ROW_BYTES] for at in starts}
    if list(wraps) != sorted(wraps) or len(wraps) != count:
        raise _refused("the members of an epoch are not in order")
    return {
        "epoch": int.from_bytes(payload[:8], "big"),
        "commitment": payload[8:_EPOCH_FIXED_BYTES],
        "wraps": MappingProxyType(wraps),
    }


def _peer(raw: bytes) -> PeerId:
    try:
        return check_peer_id(raw)
    except IdentityError as error:
        raise _refused(error.detail) from None


def _refused(detail: str) -> RosterError:
    return RosterError(Reason.BAD_ROSTER, detail)
