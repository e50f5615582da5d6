"""The roster: who is a member, and who holds the epoch secret (docs/spec/roster.md).

Theory of operation. A chain of entries, each signed by a steward that the genesis names; the chain
begins at the swarm id. Members and epoch are a function of the chain alone, so two peers with equal
heads agree on everything. Any peer may hand an entry on; nothing is believed of who hands it.

A steward that signs two entries with one predecessor has forked the roster. Of the two the one with
the lower hash is followed, whichever comes first, so that all peers end on the same branch; that it
happened is remembered in `forked`. What only the other branch said is void, removals included.

The hash of an entry leaves its signature out, and the signature covers the hash: signing again is
not a fork, and verifying costs the same for one member and for a thousand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from gossamer_crypto.envelope import HASH_BYTES
from gossamer_crypto.epoch import epoch_commitment
from gossamer_crypto.errors import IdentityError, Reason, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import (
    PEER_ID_BYTES,
    SIGNATURE_BYTES,
    Identity,
    PeerId,
    peer_id_text,
    verify,
)
from gossamer_crypto.labels import ROSTER, ROSTER_ENTRY
from gossamer_crypto.prekey import PREKEY_BYTES, Prekey
from gossamer_crypto.wrap import WRAP_BYTES, wrap_info, wrap_secret

ROSTER_ENTRY_BYTES_MIN: Final = 200
ROSTER_ENTRY_BYTES_MAX: Final = 256 * 1024
MEMBERS_MAX: Final = 1024


class RosterKind(IntEnum):
    """What an entry does."""

    ADD = 1  # a member, or the next prekey of one
    REMOVE = 2  # a member, for ever
    EPOCH = 3  # a new secret for all members


_INT_MAX = 2**63 - 1
_VERSION = 1
_SIGNATURE_FIELD_BYTES = 2 + SIGNATURE_BYTES  # bin8 header and content, always last
_RECORD_BYTES = PEER_ID_BYTES + WRAP_BYTES
_NO_WRAPS: Mapping[PeerId, bytes] = MappingProxyType({})

# After version and kind: swarm, index, prev, steward; then what the kind needs; then the signature.
_Add = tuple[
    Literal[1], Literal[1], bytes, int, bytes, bytes, bytes, bytes, bytes, bytes, bytes
]  # member, inviter, prekey, signature of the prekey
_Remove = tuple[Literal[1], Literal[2], bytes, int, bytes, bytes, bytes, bytes]  # member
_Epoch = tuple[
    Literal[1], Literal[3], bytes, int, bytes, bytes, int, bytes, bytes, bytes
]  # epoch, commitment, wraps
_DECODERS: Mapping[int, msgspec.msgpack.Decoder[tuple[int | bytes, ...]]] = {
    RosterKind.ADD: msgspec.msgpack.Decoder(_Add),
    RosterKind.REMOVE: msgspec.msgpack.Decoder(_Remove),
    RosterKind.EPOCH: msgspec.msgpack.Decoder(_Epoch),
}
# Lengths of the fields between version and signature; None: an int; -1: looked at elsewhere.
_COMMON = (HASH_BYTES, None, HASH_BYTES, PEER_ID_BYTES)
_LENGTHS: Mapping[int, tuple[int | None, ...]] = {
    RosterKind.ADD: (*_COMMON, PEER_ID_BYTES, PEER_ID_BYTES, PREKEY_BYTES, SIGNATURE_BYTES),
    RosterKind.REMOVE: (*_COMMON, PEER_ID_BYTES),
    RosterKind.EPOCH: (*_COMMON, None, HASH_BYTES, -1),
}


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One entry in the right shape, as `parse_roster_entry` makes it; not verified.

    hash, prev, swarm, commitment: 32 bytes. member: of ADD and REMOVE; inviter, prekey: of ADD;
    epoch, commitment and wraps (peer -> 80 bytes, in order of peers): of EPOCH. What the kind does
    not have is None, zero or empty.
    """

    raw: bytes = field(repr=False)
    hash: bytes
    kind: RosterKind
    swarm: bytes
    index: int
    prev: bytes
    steward: PeerId
    member: PeerId | None = None
    inviter: PeerId | None = None
    prekey: Prekey | None = None
    epoch: int = 0
    commitment: bytes = b""
    wraps: Mapping[PeerId, bytes] = field(default=_NO_WRAPS, repr=False)

    def verify(self) -> None:
        """Return if `steward` signed this; RosterError (BAD_SIGNATURE) otherwise."""
        try:
            verify(self.steward, ROSTER, self.hash, self.raw[-SIGNATURE_BYTES:])
        except IdentityError as error:
            raise RosterError(Reason.BAD_SIGNATURE, error.detail) from None


@dataclass(frozen=True, slots=True)
class Member:
    """A current member. since: index of the entry that added it; a new prekey changes only that."""

    peer: PeerId
    inviter: PeerId
    prekey: Prekey
    since: int


def parse_roster_entry(raw: bytes) -> RosterEntry:
    """The entry in `raw`, neither verified nor applied. RosterError: TOO_LARGE, or BAD_ROSTER for
    bytes that are not the one encoding of an entry.
    """
    if len(raw) > ROSTER_ENTRY_BYTES_MAX:
        raise RosterError(Reason.TOO_LARGE, f"{len(raw)} bytes")
    kind, fields = _decode(raw)
    swarm, index, prev, steward, *rest = fields
    assert isinstance(swarm, bytes)
    assert isinstance(index, int)
    assert isinstance(prev, bytes)
    assert isinstance(steward, bytes)
    body = raw[:-_SIGNATURE_FIELD_BYTES]
    digest = hashlib.sha256(ROSTER_ENTRY + body).digest()
    entry = RosterEntry(raw, digest, kind, swarm, index, prev, PeerId(steward))
    match rest:
        case [bytes(member), bytes(inviter), bytes(public), bytes(signature)]:
            owner = PeerId(member)
            prekey = Prekey(owner, public, signature)
            return replace(entry, member=owner, inviter=PeerId(inviter), prekey=prekey)
        case [bytes(member)]:
            return replace(entry, member=PeerId(member))
        case [int(epoch), bytes(commitment), bytes(packed)]:
            wraps = _unpack_wraps(packed)
            return replace(entry, epoch=epoch, commitment=commitment, wraps=wraps)
    raise AssertionError(kind)


def _decode(raw: bytes) -> tuple[RosterKind, tuple[int | bytes, ...]]:
    # Array header, version and kind are one byte each in the only encoding that is accepted.
    decoder = _DECODERS.get(raw[2]) if len(raw) >= ROSTER_ENTRY_BYTES_MIN else None
    if decoder is None:
        raise _refused("not an entry")
    try:
        fields = decoder.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _refused(f"not an entry: {error}") from None
    kind = RosterKind(raw[2])
    for value, length in zip(fields[2:], (*_LENGTHS[kind], SIGNATURE_BYTES), strict=True):
        if isinstance(value, int):
            if not 0 <= value <= _INT_MAX:
                raise _refused("integer out of range")
        elif length != -1 and len(value) != length:
            raise _refused(f"a field of {len(value)} bytes, not {length}")
    if msgspec.msgpack.encode(fields) != raw:
        raise _refused("not the one encoding")
    return kind, fields[2:-1]


def _unpack_wraps(packed: bytes) -> Mapping[PeerId, bytes]:
    count, rest = divmod(len(packed), _RECORD_BYTES)
    if rest or not 1 <= count <= MEMBERS_MAX:
        raise _refused(f"{len(packed)} bytes of wraps")
    wraps: dict[PeerId, bytes] = {}
    last = b""
    for at in range(0, len(packed), _RECORD_BYTES):
        peer = packed[at : at + PEER_ID_BYTES]
        if peer <= last:
            raise _refused("wraps are not in order")
        last = peer
        wraps[PeerId(peer)] = packed[at + PEER_ID_BYTES : at + _RECORD_BYTES]
    return MappingProxyType(wraps)


def sign_roster_entry(steward: Identity, kind: RosterKind, *fields: int | bytes) -> bytes:
    """An entry of `fields` (swarm, index, prev, then what the kind needs) in its only encoding."""
    swarm, index, prev, *rest = fields
    unsigned = (_VERSION, int(kind), swarm, index, prev, steward.peer_id, *rest)
    body = msgspec.msgpack.encode((*unsigned, bytes(SIGNATURE_BYTES)))[:-_SIGNATURE_FIELD_BYTES]
    signature = steward.sign(ROSTER, hashlib.sha256(ROSTER_ENTRY + body).digest())
    return msgspec.msgpack.encode((*unsigned, signature))


@dataclass(frozen=True, slots=True)
class _State:
    """What a chain of entries amounts to. `after` makes the next one, or refuses."""

    members: Mapping[PeerId, Member] = field(default_factory=dict)
    inviters: Mapping[PeerId, PeerId] = field(default_factory=dict)  # removed ones as well
    removals: Mapping[PeerId, RosterEntry] = field(default_factory=dict)
    epochs: tuple[RosterEntry, ...] = ()

    def after(self, entry: RosterEntry, stewards: Sequence[PeerId]) -> _State:
        match entry.kind:
            case RosterKind.ADD:
                return self._added(entry, stewards)
            case RosterKind.REMOVE:
                return self._removed(entry)
            case RosterKind.EPOCH:
                return self._renewed(entry)

    def _added(self, entry: RosterEntry, stewards: Sequence[PeerId]) -> _State:
        peer, inviter, prekey = entry.member, entry.inviter, entry.prekey
        assert peer is not None
        assert inviter is not None
        assert prekey is not None
        if peer in self.removals:
            raise _refused("was removed, and does not come back")
        held = self.members.get(peer)
        if held is not None and held.inviter != inviter:
            raise _refused("the inviter of a member does not change")
        if held is None:
            # A former member counts: whoever takes its place under a new key keeps its inviter.
            if inviter not in self.inviters and inviter not in stewards:
                raise _refused("the inviter is neither a steward nor was it ever a member")
            if len(self.members) >= MEMBERS_MAX:
                raise _refused(f"there are {MEMBERS_MAX} members already")
        try:
            prekey.verify()
        except IdentityError as error:
            raise RosterError(error.reason, f"prekey: {error.detail}") from None
        since = entry.index if held is None else held.since
        member = Member(peer, inviter, prekey, since)
        # A copy, not a change: other threads may be reading the members of now.
        return replace(
            self,
            members={**self.members, peer: member},
            inviters={**self.inviters, peer: inviter},
        )

    def _removed(self, entry: RosterEntry) -> _State:
        peer = entry.member
        assert peer is not None
        if peer not in self.members:
            raise _refused("removes one that is no member")
        members = {other: member for other, member in self.members.items() if other != peer}
        return replace(self, members=members, removals={**self.removals, peer: entry})

    def _renewed(self, entry: RosterEntry) -> _State:
        if entry.epoch != len(self.epochs) + 1:
            raise _refused(f"epoch {entry.epoch} after epoch {len(self.epochs)}")
        if entry.wraps.keys() != self.members.keys():
            raise _refused("an epoch has one wrap for each member and no other")
        return replace(self, epochs=(*self.epochs, entry))


class Roster:
    """One swarm's roster as far as we know it; `peer in roster` asks who is a member now."""

    __slots__ = ("_entries", "_forked", "_state", "_stewards", "_swarm")

    def __init__(self, genesis: Genesis) -> None:
        self._swarm = genesis.swarm_id
        self._stewards = genesis.stewards
        self._entries: list[RosterEntry] = []
        self._state = _State()
        self._forked = False

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, peer: object) -> bool:
        return peer in self._state.members

    @property
    def swarm_id(self) -> bytes:
        """The 32 bytes at which the chain begins."""
        return self._swarm

    @property
    def head_hash(self) -> bytes:
        """Hash of the newest entry, 32 bytes; the swarm id before the first."""
        return self._hash_at(len(self._entries))

    @property
    def epoch(self) -> int:
        """The newest epoch announced; 0 before the first."""
        return len(self._state.epochs)

    @property
    def forked(self) -> bool:
        """Whether a steward was seen to sign two rosters."""
        return self._forked

    @property
    def members(self) -> Mapping[PeerId, Member]:
        """The members as of now; a later entry makes another mapping and leaves this one be."""
        return MappingProxyType(dict(self._state.members))

    @property
    def epochs(self) -> tuple[RosterEntry, ...]:
        """The EPOCH entries in order: epoch e is at e - 1."""
        return self._state.epochs

    def was_removed(self, peer: PeerId) -> bool:
        """Whether `peer` was a member and is none any more, for ever."""
        return peer in self._state.removals

    def removal_of(self, peer: PeerId) -> RosterEntry | None:
        """The entry that removed `peer`, if there is one."""
        return self._state.removals.get(peer)

    def inviter_of(self, peer: PeerId) -> PeerId | None:
        """Who invited `peer`, a member or a former one; None for anyone else."""
        return self._state.inviters.get(peer)

    def extend(self, raw: bytes) -> RosterEntry | None:
        """Verify and apply an entry; None if it is held already.

        Where a steward forked the roster, the branch with the lower hash is followed: the entry
        then takes the place of ours and of all that came after it. Raises RosterError: as
        `parse_roster_entry`; WRONG_SWARM; BROKEN_CHAIN for one that leaves a gap; NOT_A_STEWARD;
        BAD_SIGNATURE; FORK for one of a branch that is not ours; BAD_KEY or BAD_ROSTER for what
        may not be done. A refusal changes nothing but `forked`.
        """
        entry = parse_roster_entry(raw)
        index, count = entry.index, len(self._entries)
        if entry.swarm != self._swarm:
            raise RosterError(Reason.WRONG_SWARM, "entry of another swarm")
        if index > count:
            raise RosterError(Reason.BROKEN_CHAIN, f"entry {index} after {count} entries")
        if index < count and self._entries[index].hash == entry.hash:
            return None
        if entry.steward not in self._stewards:
            raise RosterError(Reason.NOT_A_STEWARD, peer_id_text(entry.steward))
        entry.verify()
        state = self._state
        if index < count or entry.prev != self._hash_at(index):
            state = self._state_before_fork(entry)
        self._state = state.after(entry, self._stewards)
        self._entries[index:] = [entry]
        return entry

    def after(self, count: int, head_hash: bytes) -> tuple[RosterEntry, ...]:
        """What one lacks who says that it holds `count` entries up to `head_hash`: all after those
        if we hold the same, else all. Any values are harmless.
        """
        same = 0 <= count <= len(self._entries) and self._hash_at(count) == head_hash
        return tuple(self._entries[count if same else 0 :])

    # For stewards. What these return is checked when it is extended with, like anyone's.

    def make_add(self, steward: Identity, prekey: Prekey, inviter: PeerId) -> bytes:
        """The next entry: the owner of `prekey` becomes a member, or has a new prekey."""
        return self._make(
            steward, RosterKind.ADD, prekey.owner, inviter, prekey.public, prekey.signature
        )

    def make_remove(self, steward: Identity, member: PeerId) -> bytes:
        """The next entry: `member` is removed for ever. An epoch should follow."""
        return self._make(steward, RosterKind.REMOVE, member)

    def make_epoch(self, steward: Identity, secret: bytes) -> bytes:
        """The next entry: the next epoch, with `secret` (32 fresh random bytes) for each member."""
        epoch, prev = self.epoch + 1, self.head_hash
        wraps = b"".join(
            peer + wrap_secret(secret, member.prekey.public, self._info(epoch, peer, prev))
            for peer, member in sorted(self._state.members.items())
        )
        commitment = epoch_commitment(secret, self._swarm, epoch)
        return self._make(steward, RosterKind.EPOCH, epoch, commitment, wraps)

    def _info(self, epoch: int, peer: PeerId, prev: bytes) -> bytes:
        return wrap_info(self._swarm, epoch, peer, prev)

    def _make(self, steward: Identity, kind: RosterKind, *fields: int | bytes) -> bytes:
        place = (self._swarm, len(self._entries), self.head_hash)
        return sign_roster_entry(steward, kind, *place, *fields)

    def _hash_at(self, count: int) -> bytes:
        """The hash that the entry at index `count` names as its predecessor."""
        return self._entries[count - 1].hash if count else self._swarm

    def _state_before_fork(self, entry: RosterEntry) -> _State:
        """The state at which `entry` parts from our branch, if it is the one to follow.

        It was verified, so whoever shows it has shown that a steward signed two rosters.
        """
        self._forked = True
        if entry.prev != self._hash_at(entry.index):
            raise RosterError(Reason.FORK, "continues a branch that parts further back")
        if entry.hash > self._entries[entry.index].hash:
            raise RosterError(Reason.FORK, "the branch with the higher hash")
        state = _State()
        for held in self._entries[: entry.index]:
            state = state.after(held, self._stewards)
        return state


def _refused(detail: str) -> RosterError:
    return RosterError(Reason.BAD_ROSTER, detail)
