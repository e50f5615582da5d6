"""Epoch secrets, and the keys of one message that are derived from them.

All members of a swarm share the secret of the current epoch. No message uses it directly: a fresh
32-byte salt gives every message its own key, nonce and commitment, so there is no nonce counter
that a restored SD card could run twice. The author is bound in as well: a member who signs
another's ciphertext as its own ends up with keys that do not open it.

Stewards renew the secret by EPOCH entries of the roster. `EpochRing` follows them.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

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


class EpochRing(EpochKeys):
    """The epochs of a roster that were wrapped to this device."""

    __slots__ = ("_held", "_own", "_prekeys", "_retired")

    def __init__(self, own: PeerId, prekeys: Sequence[PrekeySecret]) -> None:
        """prekeys: ours, newest first; the older ones open what was wrapped before."""
        self._own = own
        self._prekeys = tuple(prekeys)
        self._held: dict[int, _Held] = {}
        self._retired = 0

    def follow(self, roster: Roster) -> bool:
        """Take up the epochs of `roster` that we lack; True if the current one is another now.

        An epoch that a fork of the roster made void is dropped. Raises EpochError (UNDECRYPTABLE,
        BAD_COMMITMENT) if the newest epoch has no good secret for us, a member: then nothing of it
        is taken, and the epochs before it stand. An older one that cannot be opened is passed over:
        its prekey may be long deleted.
        """
        before = self._newest()
        epochs = roster.epochs
        held = {
            epoch: one
            for epoch, one in self._held.items()
            if epoch <= len(epochs) and epochs[epoch - 1].hash == one.entry_hash
        }
        refusal: EpochError | None = None
        for entry in epochs:
            if entry.epoch in held or self._own not in entry.wraps:
                continue
            try:
                held[entry.epoch] = _Held(entry.hash, self._open(entry))
            except EpochError as error:
                refusal = error if entry.epoch == len(epochs) else None
        self._held = held
        if refusal is not None:
            raise refusal
        return self._newest() != before

    @property
    def current(self) -> int:
        """The newest epoch that we hold; 0 if there is none yet."""
        return max(self._held, default=0)

    def secret(self, epoch: int) -> bytes | None:
        """The secret of the current epoch or the one before; None for any other."""
        if epoch not in (self.current, self.current - 1) or epoch <= self._retired:
            return None
        return self.archived(epoch)

    def archived(self, epoch: int) -> bytes | None:
        """The secret of any epoch that we ever held, for reading our own feed only."""
        held = self._held.get(epoch)
        return None if held is None else held.secret

    def retire_previous(self) -> None:
        """End the time in which messages of the previous epoch are still read."""
        self._retired = max(0, self.current - 1)

    def _newest(self) -> tuple[int, _Held | None]:
        return self.current, self._held.get(self.current)

    def _open(self, entry: RosterEntry) -> bytes:
        secret = self._unwrap(entry)
        commitment = epoch_commitment(secret, entry.swarm, entry.epoch)
        if not hmac.compare_digest(commitment, entry.commitment):
            raise EpochError(Reason.BAD_COMMITMENT, f"epoch {entry.epoch}: another secret for us")
        return secret

    def _unwrap(self, entry: RosterEntry) -> bytes:
        info = wrap_info(entry.swarm, entry.epoch, self._own, entry.prev)
        for prekey in self._prekeys:
            try:
                return unwrap_secret(entry.wraps[self._own], prekey, info)
            except EpochError:
                continue
        raise EpochError(Reason.UNDECRYPTABLE, f"epoch {entry.epoch}: no wrap for our prekeys")

    def __repr__(self) -> str:
        return f"EpochRing({self.current})"


class _Held(NamedTuple):
    entry_hash: bytes
    secret: bytes


def epoch_commitment(secret: bytes, swarm: bytes, epoch: int) -> bytes:
    """32 public bytes that fix the secret of an epoch: HKDF-Expand-SHA256 of it over label, swarm
    and epoch. Members that were given different secrets notice.
    """
    info = b"".join((EPOCH_COMMIT, swarm, epoch.to_bytes(8, "big")))
    return HKDFExpand(_SHA256, _COMMITMENT_BYTES, info).derive(secret)


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
