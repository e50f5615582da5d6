"""The genesis of a swarm: what all its members agree on before they talk.

A flat MessagePack array of one int and six bins. Exactly one encoding is accepted, so two peers
that hold equal fields hold equal bytes and therefore the same swarm id.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from gossamer_crypto.errors import GenesisError, IdentityError, Reason
from gossamer_crypto.identity import PEER_ID_BYTES, PeerId, check_peer_id
from gossamer_crypto.labels import GENESIS

NAME_BYTES_MAX: Final = 64
STEWARDS_MAX: Final = 5
POLICY_BYTES_MAX: Final = 4096
GENESIS_BYTES_MAX: Final = 4608

_VERSION = 1
_Fields = tuple[Literal[1], bytes, bytes, bytes, bytes, bytes, bytes]
_DECODER = msgspec.msgpack.Decoder(_Fields)

# Control, bidirectional and invisible characters, which could disguise a name in a terminal. A
# fixed list: Unicode's categories change between versions of Python and the rule must not.
_DISGUISING = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff]"
)


@dataclass(frozen=True, slots=True)
class Genesis:
    """The immutable terms of one swarm. Every constructor raises GenesisError for what breaks them.

    name: 1..64 bytes of UTF-8 without control or invisible characters; stewards: 1..5 different
    peers; contract: 32 bytes, digest of the model contract; model_sha256: 32 bytes, of the model
    file; policy: at most 4096 bytes, opaque here; nonce: 32 random bytes.
    """

    name: str
    stewards: tuple[PeerId, ...]
    contract: bytes
    model_sha256: bytes
    policy: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_stewards(self.stewards)
        for field, value in (
            ("contract", self.contract),
            ("model_sha256", self.model_sha256),
            ("nonce", self.nonce),
        ):
            if len(value) != 32:
                raise _refused(f"{field} has {len(value)} bytes, not 32")
        if len(self.policy) > POLICY_BYTES_MAX:
            raise _refused(f"policy is longer than {POLICY_BYTES_MAX} bytes")

    def pack(self) -> bytes:
        """The only encoding of these terms, at most `GENESIS_BYTES_MAX` bytes."""
        return msgspec.msgpack.encode(
            (
                _VERSION,
                self.name.encode(),
                b"".join(self.stewards),
                self.contract,
                self.model_sha256,
                self.policy,
                self.nonce,
            )
        )

    @classmethod
    def unpack(cls, raw: bytes) -> Genesis:
        """The inverse of `pack`; GenesisError (TOO_LARGE, BAD_GENESIS) for any other bytes."""
        _, name, stewards, contract, model_sha256, policy, nonce = _decode(raw)
        try:
            text = name.decode()
        except UnicodeDecodeError:
            raise _refused("name is not UTF-8") from None
        keys = range(0, len(stewards), PEER_ID_BYTES)
        genesis = cls(
            name=text,
            stewards=tuple(PeerId(stewards[at : at + PEER_ID_BYTES]) for at in keys),
            contract=contract,
            model_sha256=model_sha256,
            policy=policy,
            nonce=nonce,
        )
        if genesis.pack() != raw:
            raise _refused("not the one encoding")
        return genesis

    @property
    def swarm_id(self) -> bytes:
        """SHA-256 of label and packed bytes: 32 bytes that name the swarm everywhere."""
        return hashlib.sha256(GENESIS + self.pack()).digest()


def _decode(raw: bytes) -> _Fields:
    if len(raw) > GENESIS_BYTES_MAX:
        raise GenesisError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        fields: _Fields = _DECODER.decode(raw)
    except msgspec.DecodeError as error:
        raise _refused(f"not a genesis: {error}") from None
    return fields


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise _refused("name is not Unicode text") from None
    if not 1 <= size <= NAME_BYTES_MAX:
        raise _refused(f"name has {size} bytes, not 1 to {NAME_BYTES_MAX}")
    if _DISGUISING.search(name):
        raise _refused("name has control or invisible characters")


def _check_stewards(stewards: tuple[PeerId, ...]) -> None:
    if not 1 <= len(stewards) <= STEWARDS_MAX:
        raise _refused(f"{len(stewards)} stewards, not 1 to {STEWARDS_MAX}")
    if len(set(stewards)) != len(stewards):
        raise _refused("a steward is named twice")
    try:
        for steward in stewards:
            check_peer_id(steward)
    except IdentityError as error:
        raise _refused(f"steward: {error.detail}") from None


def _refused(detail: str) -> GenesisError:
    return GenesisError(Reason.BAD_GENESIS, detail)
