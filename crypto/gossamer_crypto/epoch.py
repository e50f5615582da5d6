"""Epoch secrets, and the keys of one message that are derived from them.

All members of a swarm share the secret of the current epoch. No message uses it directly: a fresh
32-byte salt gives every message its own key, nonce and commitment, so there is no nonce counter
that a restored SD card could run twice. The author is bound in as well: a member who signs
another's ciphertext as its own ends up with keys that do not open it.

Stewards renew the secret by EPOCH entries of the roster. `epoch_ring` follows them.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from gossamer_crypto.identity import PeerId
from gossamer_crypto.labels import ENVELOPE_KEY, EPOCH_COMMIT, WRAP

SECRET_BYTES = 32
_KEY_BYTES, _NONCE_BYTES, _COMMITMENT_BYTES = 32, 12, 32
_NONCE_END = _KEY_BYTES + _NONCE_BYTES
_DERIVED_BYTES = _NONCE_END + _COMMITMENT_BYTES
_SHA256 = SHA256()


class EpochKeys(Protocol):
    """The epoch secrets that this device holds now."""

    __slots__ = ()

    @property
    def current(self) -> int:
        """The epoch in which we publish."""

    def secret(self, epoch: int) -> bytes | None:
        """The 32-byte secret of `epoch`; None if it left the window or was never ours."""


class FixedEpoch(EpochKeys):
    """One epoch that never ends: for swarms without rotation."""

    __slots__ = ("_epoch", "_secret")

    def __init__(self, secret: bytes, epoch: int = 0) -> None:
        """ValueError unless `secret` has 32 bytes and `epoch` fits in 64 unsigned bits."""
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"an epoch secret has {SECRET_BYTES} bytes, not {len(secret)}")
        if not 0 <= epoch < 2**64:
            raise ValueError(f"epoch {epoch} does not fit in 64 bits")
        self._secret = secret
        self._epoch = epoch

    @property
    def current(self) -> int:
        return self._epoch

    def secret(self, epoch: int) -> bytes | None:
        return self._secret if epoch == self._epoch else None

    def __repr__(self) -> str:
        return f"FixedEpoch({self._epoch})"


class MessageKeys(NamedTuple):
    """What seals one message: `key` (32 bytes), `nonce` (12), `commitment` (32, public)."""

    key: bytes
    nonce: bytes
    commitment: bytes

    def __repr__(self) -> str:
        return f"MessageKeys(commitment={self.commitment.hex()})"


def derive_message_keys(
    secret: bytes, swarm: bytes, epoch: int, author: PeerId, salt: bytes
) -> MessageKeys:
    """HKDF-Expand-SHA256 (RFC 5869, 2.3) of `secret` over label, swarm, epoch, author and salt.

    `secret`, `swarm`, `author` and `salt` have 32 bytes each: fixed lengths keep the joined info
    unambiguous. Raises ValueError if they do not.
    """
    if not len(secret) == len(swarm) == len(author) == len(salt) == SECRET_BYTES:
        raise ValueError("secret, swarm, author and salt have 32 bytes each")
    info = b"".join((ENVELOPE_KEY, swarm, epoch.to_bytes(8, "big"), author, salt))
    derived = HKDFExpand(_SHA256, _DERIVED_BYTES, info).derive(secret)
    return MessageKeys(derived[:_KEY_BYTES], derived[_KEY_BYTES:_NONCE_END], derived[_NONCE_END:])


def epoch_commitment(secret: bytes, swarm: bytes, epoch: int) -> bytes:
    """32 public bytes by which members notice that they were given different secrets."""
    info = EPOCH_COMMIT + swarm + epoch.to_bytes(8, "big")
    return HKDFExpand(_SHA256, _COMMITMENT_BYTES, info).derive(secret)


def wrap_info(swarm: bytes, epoch: int, member: PeerId, roster_hash: bytes) -> bytes:
    """What binds a wrapped secret to its place: swarm, epoch, member, roster before it."""
    return WRAP + swarm + epoch.to_bytes(8, "big") + member + roster_hash
