"""Prekeys: the X25519 keys to which stewards wrap epoch secrets (RFC 7748).

A prekey is signed by the identity of its owner and never derived from it: one key for signing and
another for wrapping, so that the second can be replaced, and deleted, while the first lives on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from gossamer_crypto.errors import IdentityError, Reason
from gossamer_crypto.identity import Identity, PeerId, peer_id_text, verify
from gossamer_crypto.labels import IDENTITY_PREKEY

PREKEY_BYTES: Final = 32
_PRIME = 2**255 - 19
_PROBE = X25519PrivateKey.from_private_bytes(b"\x42" * 32)  # any key: tells small-order points


class PrekeySecret:
    """The private half of a prekey."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        """A new prekey from the operating system's randomness."""
        return cls(X25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The prekey of 32 private bytes; ValueError for another size."""
        return cls(X25519PrivateKey.from_private_bytes(raw))

    def to_bytes(self) -> bytes:
        """The 32 private bytes, for the key file and nothing else."""
        return self._key.private_bytes_raw()

    @property
    def public(self) -> bytes:
        """The 32 public bytes."""
        return self._public

    @property
    def private_key(self) -> X25519PrivateKey:
        """For `wrap`."""
        return self._key

    def sign(self, identity: Identity) -> Prekey:
        """The public half, vouched for by its owner."""
        signature = identity.sign(IDENTITY_PREKEY, self._public)
        return Prekey(identity.peer_id, self._public, signature)

    def __repr__(self) -> str:
        return f"PrekeySecret({self._public.hex()})"


@dataclass(frozen=True, slots=True)
class Prekey:
    """A public X25519 key (32 bytes) and its owner's signature of it (64 bytes). Not verified."""

    owner: PeerId
    public: bytes
    signature: bytes

    def verify(self) -> None:
        """Return if the owner signed this key and it is safe to wrap to.

        Raises IdentityError: BAD_KEY for a wrong size, an encoding that is not canonical, a point
        of small order, or an owner that `check_peer_id` refuses; else BAD_SIGNATURE.
        """
        load_prekey(self.public)
        verify(self.owner, IDENTITY_PREKEY, self.public, self.signature)

    def __repr__(self) -> str:
        return f"Prekey({peer_id_text(self.owner)}, {self.public.hex()})"


def load_prekey(public: bytes) -> X25519PublicKey:
    """`public` as a key that is safe to wrap to; IdentityError (BAD_KEY) as `Prekey.verify`.

    OpenSSL ignores the top bit and reduces modulo p: such a key would have two names. A point of
    small order gives every sender the same shared secret, zero, which anyone can compute.
    """
    if len(public) != PREKEY_BYTES:
        raise IdentityError(Reason.BAD_KEY, f"a prekey has 32 bytes, this one {len(public)}")
    if int.from_bytes(public, "little") >= _PRIME:
        raise IdentityError(Reason.BAD_KEY, "prekey is not a canonical encoding")
    key = X25519PublicKey.from_public_bytes(public)
    try:
        _PROBE.exchange(key)
    except ValueError:
        raise IdentityError(Reason.BAD_KEY, "prekey of small order") from None
    return key
