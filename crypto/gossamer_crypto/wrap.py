"""Wraps: an epoch secret sealed to one member's prekey.

HPKE in base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. The
sender is not authenticated by this: the steward's signature of the roster entry does that.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from gossamer_crypto.errors import EpochError, Reason
from gossamer_crypto.prekey import PrekeySecret, load_prekey

WRAP_BYTES: Final = 80
"""Encapsulated key 32, secret 32, tag 16."""

_SECRET_BYTES = 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def wrap_secret(secret: bytes, prekey_public: bytes, info: bytes) -> bytes:
    """The 80 bytes that only the owner of the prekey can turn into `secret` again.

    Raises ValueError unless `secret` has 32 bytes, IdentityError for a prekey that is not safe.
    """
    if len(secret) != _SECRET_BYTES:
        raise ValueError(f"an epoch secret has {_SECRET_BYTES} bytes, not {len(secret)}")
    return _SUITE.encrypt(secret, load_prekey(prekey_public), info=info)


def unwrap_secret(wrapped: bytes, prekey: PrekeySecret, info: bytes) -> bytes:
    """The 32-byte secret. EpochError (UNDECRYPTABLE): not wrapped to this `prekey` and `info`."""
    if len(wrapped) != WRAP_BYTES:
        raise EpochError(Reason.UNDECRYPTABLE, f"a wrap of {len(wrapped)} bytes, not {WRAP_BYTES}")
    try:
        return _SUITE.decrypt(wrapped, prekey.private_key, info=info)
    except (InvalidTag, ValueError):
        raise EpochError(Reason.UNDECRYPTABLE, "not wrapped to this prekey") from None
