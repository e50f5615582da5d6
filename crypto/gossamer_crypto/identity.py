"""Ed25519 identities (RFC 8032) that refuse the keys which OpenSSL lets through.

OpenSSL loads any 32 bytes as a public key. For a point of small order anyone can forge signatures
that verify, and a non-canonical encoding gives one key two names. Every public key therefore passes
`check_peer_id` before it is used, and the loaded key is cached, because a peer verifies thousands
of entries of the same few authors. The verifier is OpenSSL's cofactorless one and no other: a
signature that is valid in one library and invalid in the next would split the swarm.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NewType, Self

import base58
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from gossamer_crypto.errors import IdentityError, Reason

PeerId = NewType("PeerId", bytes)
"""The 32 bytes of an Ed25519 public key. Peers are ordered by these bytes."""

PEER_ID_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

_LOADED_KEYS_MAX = 4096
_PRIME = 2**255 - 19
_CURVE_D = -121665 * pow(121666, -1, _PRIME) % _PRIME

# The eight points whose order divides eight, in each encoding that a lenient decoder accepts.
SMALL_ORDER_ENCODINGS: Final = frozenset(
    bytes.fromhex(low + sign)
    for low, signs in (
        ("00" * 31, ("00", "80")),
        ("01" + "00" * 30, ("00", "80")),
        ("ec" + "ff" * 30, ("7f", "ff")),
        ("ed" + "ff" * 30, ("7f", "ff")),
        ("ee" + "ff" * 30, ("7f", "ff")),
        ("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc", ("05", "85")),
        ("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03", ("7a", "fa")),
    )
    for sign in signs
)

# Multihash "identity" of 36 bytes, holding the protobuf {1: Ed25519, 2: 32 bytes} of libp2p.
_LIBP2P_PREFIX = bytes.fromhex("002408011220")
_TEXT_CHARS_MAX = 64


class Identity:
    """A device's signing key. Its public half is the `peer_id`."""

    __slots__ = ("_key", "_peer_id")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._peer_id = PeerId(key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls) -> Self:
        """A new identity from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """The identity of a 32-byte private seed (RFC 8032, 5.1.5); ValueError for another size."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def peer_id(self) -> PeerId:
        return self._peer_id

    def seed(self) -> bytes:
        """The 32 private bytes, for the key file and for the network's own handshake."""
        return self._key.private_bytes_raw()

    def sign(self, label: bytes, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of `label || message`, with a label of `labels.LABELS`."""
        return self._key.sign(label + message)

    def __repr__(self) -> str:
        return f"Identity({peer_id_text(self._peer_id)})"


def check_peer_id(raw: bytes) -> PeerId:
    """`raw` as a PeerId, if it is the canonical encoding of a point that is safe to verify with.

    Raises IdentityError (BAD_KEY) unless `raw` has 32 bytes, is none of the 14 encodings of points
    of small order, has y < p, and lies on the curve.
    """
    _public_key(raw)
    return PeerId(raw)


def verify(peer_id: PeerId, label: bytes, message: bytes, signature: bytes) -> None:
    """Return if `signature` is the one of `peer_id` over `label || message`.

    Raises IdentityError: BAD_KEY for what `check_peer_id` refuses, else BAD_SIGNATURE (which
    includes a wrong length and S >= L, so that a signature has no second form).
    """
    try:
        _public_key(peer_id).verify(signature, label + message)
    except InvalidSignature:
        raise IdentityError(Reason.BAD_SIGNATURE, "signature does not verify") from None


def peer_id_text(peer_id: PeerId) -> str:
    """The name that libp2p gives this key: base58 of its identity multihash, `12D3KooW...`."""
    return base58.b58encode(_LIBP2P_PREFIX + peer_id).decode("ascii")


def parse_peer_id(text: str) -> PeerId:
    """The inverse of `peer_id_text`; IdentityError (BAD_KEY) for what it cannot have written."""
    if len(text) > _TEXT_CHARS_MAX:
        raise IdentityError(Reason.BAD_KEY, "peer id is too long")
    try:
        raw = base58.b58decode(text)
    except ValueError:
        raise IdentityError(Reason.BAD_KEY, "peer id is not base58") from None
    if not raw.startswith(_LIBP2P_PREFIX):
        raise IdentityError(Reason.BAD_KEY, "peer id is not that of an Ed25519 key")
    peer_id = check_peer_id(raw.removeprefix(_LIBP2P_PREFIX))
    if peer_id_text(peer_id) != text:  # base58 decoders skip white space
        raise IdentityError(Reason.BAD_KEY, "peer id has extra characters")
    return peer_id


@lru_cache(maxsize=_LOADED_KEYS_MAX)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    if len(raw) != PEER_ID_BYTES:
        raise IdentityError(Reason.BAD_KEY, f"a key has 32 bytes, this one {len(raw)}")
    if raw in SMALL_ORDER_ENCODINGS:
        raise IdentityError(Reason.BAD_KEY, "point of small order")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _PRIME:
        raise IdentityError(Reason.BAD_KEY, "not a canonical encoding")
    if not _is_on_curve(y):
        raise IdentityError(Reason.BAD_KEY, "not a point of the curve")
    return Ed25519PublicKey.from_public_bytes(raw)


def _is_on_curve(y: int) -> bool:
    """Whether x^2 = (y^2 - 1) / (d y^2 + 1) has a root (RFC 8032, 5.1.3), by Euler's criterion."""
    y_squared = y * y % _PRIME
    numerator, denominator = y_squared - 1, _CURVE_D * y_squared + 1
    return pow(numerator * denominator, (_PRIME - 1) // 2, _PRIME) in (0, 1)
