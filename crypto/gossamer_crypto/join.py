"""The messages by which a device joins a swarm or goes on under a new identity.

The connection is encrypted and both ends are authenticated before any of this is sent. A request is
a MessagePack array of a body and one or two signatures over its bytes. Format: docs/spec/invite.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

import msgspec

from gossamer_crypto.errors import IdentityError, JoinError, Reason
from gossamer_crypto.genesis import GENESIS_BYTES_MAX
from gossamer_crypto.identity import Identity, PeerId, check_peer_id, verify
from gossamer_crypto.invite import TOKEN_BYTES, Invite
from gossamer_crypto.labels import JOIN, JOIN_PROOF, ROTATE
from gossamer_crypto.prekey import Prekey

JOIN_REQUEST_BYTES_MAX: Final = 1024
JOIN_ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024

_T = TypeVar("_T")
_JoinBody = tuple[Literal[1], Literal[1], bytes, bytes, bytes, bytes, bytes, bytes]
_RotateBody = tuple[Literal[1], Literal[2], bytes, bytes, bytes, bytes, bytes, bytes]
_JOIN_BODY = msgspec.msgpack.Decoder(_JoinBody)
_ROTATE_BODY = msgspec.msgpack.Decoder(_RotateBody)
_SIGNED_ONCE = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_SIGNED_TWICE = msgspec.msgpack.Decoder(tuple[bytes, bytes, bytes])
_Entries = Annotated[list[bytes], msgspec.Meta(max_length=1 << 16)]
_ANSWER = msgspec.msgpack.Decoder(tuple[Literal[1], str, bytes, _Entries])


class JoinRefusal(StrEnum):
    """Why a steward does not admit a device."""

    UNKNOWN_INVITE = "unknown-invite"
    USED_UP = "used-up"
    EXPIRED = "expired"
    REMOVED = "removed"
    NOT_A_STEWARD = "not-a-steward"
    FULL = "full"
    BAD_REQUEST = "bad-request"
    NOT_A_MEMBER = "not-a-member"


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A verified request: the device holds identity and prekey. `proves` tells about the token."""

    swarm_id: bytes
    peer: PeerId
    prekey: Prekey
    token_id: bytes
    proof: bytes

    def proves(self, token: bytes, steward: PeerId) -> bool:
        """Whether it was made for `steward` by somebody who knows `token`; in constant time."""
        expected = _proof(token, self.swarm_id, self.peer, steward, self.prekey)
        return hmac.compare_digest(expected, self.proof)


@dataclass(frozen=True, slots=True)
class RotateRequest:
    """A verified wish of `old` to go on as `new`; the prekey is that of `new`."""

    swarm_id: bytes
    old: PeerId
    new: PeerId
    prekey: Prekey
    steward: PeerId


def make_join_request(identity: Identity, prekey: Prekey, invite: Invite, steward: PeerId) -> bytes:
    """Ask `steward` to admit `identity` on the strength of an invite."""
    peer = identity.peer_id
    body: _JoinBody = (
        1,
        1,
        invite.swarm_id,
        peer,
        prekey.public,
        prekey.signature,
        invite.token_id,
        _proof(invite.token, invite.swarm_id, peer, steward, prekey),
    )
    signed = msgspec.msgpack.encode(body)
    return msgspec.msgpack.encode((signed, identity.sign(JOIN, signed)))


def parse_join_request(raw: bytes) -> JoinRequest:
    """The request in `raw`, its signatures verified. Raises JoinError."""
    signed, signature = _decode(_SIGNED_ONCE, raw)
    _, _, swarm, peer, public, prekey_signature, token_id, proof = _decode(_JOIN_BODY, signed)
    if len(swarm) != 32 or len(token_id) != TOKEN_BYTES or len(proof) != 32:
        raise _refused("a field has the wrong length")
    prekey = Prekey(PeerId(peer), public, prekey_signature)
    try:
        verify(check_peer_id(peer), JOIN, signed, signature)
        prekey.verify()
    except IdentityError as error:
        raise JoinError(error.reason, error.detail) from None
    return JoinRequest(swarm, prekey.owner, prekey, token_id, proof)


def make_rotate_request(
    old: Identity, new: Identity, prekey: Prekey, swarm_id: bytes, steward: PeerId
) -> bytes:
    """Ask `steward` to put `new` in the place of `old`; `prekey` is that of `new`."""
    body: _RotateBody = (
        1,
        2,
        swarm_id,
        old.peer_id,
        new.peer_id,
        prekey.public,
        prekey.signature,
        steward,
    )
    signed = msgspec.msgpack.encode(body)
    return msgspec.msgpack.encode((signed, old.sign(ROTATE, signed), new.sign(ROTATE, signed)))


def parse_rotate_request(raw: bytes) -> RotateRequest:
    """The request in `raw`, all its signatures verified. Raises JoinError."""
    signed, by_old, by_new = _decode(_SIGNED_TWICE, raw)
    _, _, swarm, old, new, public, prekey_signature, steward = _decode(_ROTATE_BODY, signed)
    if len(swarm) != 32:
        raise _refused("a field has the wrong length")
    prekey = Prekey(PeerId(new), public, prekey_signature)
    try:
        verify(check_peer_id(old), ROTATE, signed, by_old)
        verify(check_peer_id(new), ROTATE, signed, by_new)
        prekey.verify()
        check_peer_id(steward)
    except IdentityError as error:
        raise JoinError(error.reason, error.detail) from None
    return RotateRequest(swarm, PeerId(old), prekey.owner, prekey, PeerId(steward))


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """refusal: None if admitted; then genesis (packed) and the whole roster (raw entries)."""

    refusal: JoinRefusal | None
    genesis: bytes
    roster: tuple[bytes, ...]

    def pack(self) -> bytes:
        """The bytes of the answer."""
        refusal = "" if self.refusal is None else str(self.refusal)
        return msgspec.msgpack.encode((1, refusal, self.genesis, self.roster))


def parse_join_answer(raw: bytes) -> JoinAnswer:
    """The answer in `raw`; nothing in it is verified yet. Raises JoinError."""
    if len(raw) > JOIN_ANSWER_BYTES_MAX:
        raise JoinError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        _, refusal, genesis, roster = _ANSWER.decode(raw)
        answer = JoinAnswer(JoinRefusal(refusal) if refusal else None, genesis, tuple(roster))
    except (msgspec.DecodeError, ValueError) as error:
        raise _refused(f"not an answer: {error}") from None
    if len(genesis) > GENESIS_BYTES_MAX or (answer.refusal is None) != bool(genesis):
        raise _refused("not an answer")
    return answer


def _proof(token: bytes, swarm: bytes, joiner: PeerId, steward: PeerId, prekey: Prekey) -> bytes:
    """HMAC-SHA256 (RFC 2104) with fixed-length fields, which need no separators."""
    message = b"".join((JOIN_PROOF, swarm, joiner, steward, prekey.public))
    return hmac.new(token, message, hashlib.sha256).digest()


def _decode(decoder: msgspec.msgpack.Decoder[_T], raw: bytes) -> _T:
    if len(raw) > JOIN_REQUEST_BYTES_MAX:
        raise JoinError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise _refused(f"not a request: {error}") from None


def _refused(detail: str) -> JoinError:
    return JoinError(Reason.BAD_REQUEST, detail)
