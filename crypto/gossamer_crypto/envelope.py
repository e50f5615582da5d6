"""Envelopes: one signed and encrypted entry of a feed (docs/spec/envelope.md).

Theory of operation. An envelope is header, ciphertext and signature. The header has a fixed layout
and is the associated data of the AEAD, so that nothing in it can be altered. The signature covers
the header and the *hash* of the ciphertext: a `Head` (header, hash, signature) can be announced
and verified before anybody pays for the body, and a relay without the epoch secret can check and
attribute what it forwards. The entry hash leaves the signature out, so that signing the same
content again is not a second entry.

ChaCha20-Poly1305 does not commit to its key. The commitment in the header does, and is compared
before decrypting: no one can craft a ciphertext that opens to two plaintexts under two secrets.

Receivers hash and verify the bytes that they received; a header is never packed again to check it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from gossamer_crypto.epoch import derive_message_keys
from gossamer_crypto.errors import EnvelopeError, IdentityError, Reason
from gossamer_crypto.identity import SIGNATURE_BYTES, Identity, PeerId, verify
from gossamer_crypto.labels import ENTRY, ENVELOPE_SIG

MAGIC: Final = b"GSMR"
SUITE: Final = 1
HASH_BYTES: Final = 32
TAG_BYTES: Final = 16

_LAYOUT = struct.Struct(">4sBB32sQ32sQQ32s32s32sI")
HEADER_BYTES: Final = _LAYOUT.size
assert HEADER_BYTES == 194

OVERHEAD_BYTES: Final = HEADER_BYTES + TAG_BYTES + SIGNATURE_BYTES
"""What an envelope adds to its plaintext: 274 bytes."""


class Kind(IntEnum):
    """What the plaintext of an entry is."""

    START = 1  # the genesis of the swarm; only at seq 0
    DELTA = 2  # the next step of the author's replica
    KEYFRAME = 3  # a whole replica to start from
    MERGE = 4  # the record of one merge, for auditors
    STANDING = 5  # a peer was quarantined or released
    BAN = 6  # a peer was shut out for good; with the fork proof
    CONFIGURATION = 7  # the settings that the device works with from here on
    LABEL = 8  # the owner gave the model a name


_KINDS = {int(kind): kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Header:
    """The public part of an entry. All integers are unsigned; swarm, author, prev, salt and
    commitment have 32 bytes each; `ciphertext_size` counts the 16 bytes of the AEAD's tag.
    """

    kind: Kind
    swarm: bytes
    epoch: int
    author: PeerId
    incarnation: int
    seq: int
    prev: bytes
    salt: bytes
    commitment: bytes
    ciphertext_size: int

    def pack(self) -> bytes:
        """The 194 bytes of this header; ValueError for a field that does not fit."""
        blocks = (self.swarm, self.author, self.prev, self.salt, self.commitment)
        # struct would silently pad or cut these.
        if {*map(len, blocks)} != {32}:
            raise ValueError("swarm, author, prev, salt and commitment have 32 bytes each")
        try:
            return _LAYOUT.pack(
                MAGIC,
                SUITE,
                self.kind,
                self.swarm,
                self.epoch,
                self.author,
                self.incarnation,
                self.seq,
                self.prev,
                self.salt,
                self.commitment,
                self.ciphertext_size,
            )
        except struct.error as error:
            raise ValueError(f"header field out of range: {error}") from None

    @classmethod
    def unpack(cls, raw: bytes) -> Header:
        """The header in `raw`; EnvelopeError (BAD_HEADER) unless it has exactly this shape.

        The author's key is looked at when the signature is verified, not here.
        """
        if len(raw) != HEADER_BYTES:
            raise EnvelopeError(Reason.BAD_HEADER, f"{len(raw)} bytes, not {HEADER_BYTES}")
        magic, suite, kind_code, *rest = _LAYOUT.unpack(raw)
        if magic != MAGIC:
            raise EnvelopeError(Reason.BAD_HEADER, "not a Gossamer envelope")
        if suite != SUITE:
            raise EnvelopeError(Reason.BAD_HEADER, f"unknown suite {suite}")
        kind = _KINDS.get(kind_code)
        if kind is None:
            raise EnvelopeError(Reason.BAD_HEADER, f"unknown kind {kind_code}")
        header = cls(kind, *rest)
        if header.ciphertext_size < TAG_BYTES:
            raise EnvelopeError(Reason.BAD_HEADER, "ciphertext shorter than its tag")
        return header


@dataclass(frozen=True, slots=True)
class Head:
    """An entry without its body: enough to verify, chain and attribute it.

    Made by `parse_head`, `parse_envelope` or `seal`, which see to it that its parts agree.
    """

    header: Header
    header_bytes: bytes
    ciphertext_hash: bytes
    signature: bytes
    entry_hash: bytes = field(init=False, repr=False, compare=False)
    """SHA-256 over label, header and ciphertext hash: 32 bytes that name the entry."""

    def __post_init__(self) -> None:
        joined = ENTRY + self.header_bytes + self.ciphertext_hash
        object.__setattr__(self, "entry_hash", hashlib.sha256(joined).digest())

    def verify(self) -> None:
        """Return if the author signed this; EnvelopeError (BAD_SIGNATURE) otherwise."""
        message = self.header_bytes + self.ciphertext_hash
        try:
            verify(self.header.author, ENVELOPE_SIG, message, self.signature)
        except IdentityError as error:
            raise EnvelopeError(Reason.BAD_SIGNATURE, error.detail) from None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A whole entry: its head and the ciphertext whose hash the head holds.

    Made by `parse_envelope` or `seal`. A signature says nothing about a ciphertext that was paired
    with its head in any other way.
    """

    head: Head
    ciphertext: bytes

    @property
    def header(self) -> Header:
        return self.head.header

    @property
    def entry_hash(self) -> bytes:
        return self.head.entry_hash

    @property
    def size(self) -> int:
        """Bytes of header, ciphertext and signature together, without framing."""
        return HEADER_BYTES + len(self.ciphertext) + SIGNATURE_BYTES


def parse_head(header_bytes: bytes, ciphertext_hash: bytes, signature: bytes) -> Head:
    """A head in the right shape, not verified. Raises EnvelopeError: BAD_HEADER, or BAD_SIGNATURE
    for a signature that has not 64 bytes.
    """
    header = Header.unpack(header_bytes)
    if len(ciphertext_hash) != HASH_BYTES:
        raise EnvelopeError(Reason.BAD_HEADER, "the ciphertext hash has not 32 bytes")
    if len(signature) != SIGNATURE_BYTES:
        raise EnvelopeError(Reason.BAD_SIGNATURE, "a signature has 64 bytes")
    return Head(header, header_bytes, ciphertext_hash, signature)


def parse_envelope(header_bytes: bytes, ciphertext: bytes, signature: bytes) -> Envelope:
    """An envelope in the right shape, neither verified nor opened. Raises EnvelopeError as
    `parse_head` does, and BAD_HEADER where the ciphertext has not the length the header says.
    """
    head = parse_head(header_bytes, hashlib.sha256(ciphertext).digest(), signature)
    if len(ciphertext) != head.header.ciphertext_size:
        raise EnvelopeError(Reason.BAD_HEADER, "the ciphertext has not the length in the header")
    return Envelope(head, ciphertext)


def seal(
    identity: Identity,
    *,
    secret: bytes,
    swarm: bytes,
    epoch: int,
    kind: Kind,
    incarnation: int,
    seq: int,
    prev: bytes,
    plaintext: bytes,
    salt: bytes,
) -> Envelope:
    """`plaintext` encrypted under the epoch `secret` and signed by `identity`.

    `secret`, `swarm`, `prev` and `salt` have 32 bytes; `salt` must be fresh and random, because key
    and nonce are derived from it. Raises ValueError for a field of the wrong size.
    """
    author = identity.peer_id
    keys = derive_message_keys(secret, swarm, epoch, author, salt)
    header = Header(
        kind=kind,
        swarm=swarm,
        epoch=epoch,
        author=author,
        incarnation=incarnation,
        seq=seq,
        prev=prev,
        salt=salt,
        commitment=keys.commitment,
        ciphertext_size=len(plaintext) + TAG_BYTES,
    )
    header_bytes = header.pack()
    ciphertext = ChaCha20Poly1305(keys.key).encrypt(keys.nonce, plaintext, header_bytes)
    ciphertext_hash = hashlib.sha256(ciphertext).digest()
    signature = identity.sign(ENVELOPE_SIG, header_bytes + ciphertext_hash)
    return Envelope(Head(header, header_bytes, ciphertext_hash, signature), ciphertext)


def open_envelope(envelope: Envelope, secret: bytes) -> bytes:
    """The plaintext. Does not check the signature: call `envelope.head.verify()` first.

    `secret` is the 32-byte secret of the header's epoch. Raises EnvelopeError: BAD_COMMITMENT if
    the author sealed with another secret, UNDECRYPTABLE if the AEAD refuses.
    """
    head = envelope.head
    header = head.header
    keys = derive_message_keys(secret, header.swarm, header.epoch, header.author, header.salt)
    if not hmac.compare_digest(keys.commitment, header.commitment):
        raise EnvelopeError(Reason.BAD_COMMITMENT, "sealed under another epoch secret")
    try:
        return ChaCha20Poly1305(keys.key).decrypt(
            keys.nonce, envelope.ciphertext, head.header_bytes
        )
    except InvalidTag:
        raise EnvelopeError(Reason.UNDECRYPTABLE, "the ciphertext was altered") from None
