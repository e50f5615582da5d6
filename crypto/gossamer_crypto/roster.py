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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gossamer_crypto.epoch import epoch_commitment, wrap_info
from gossamer_crypto.errors import IdentityError, Reason, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.prekey import Prekey
from gossamer_crypto.roster_entry import (
    MEMBERS_MAX,
    ROSTER_ENTRY_BYTES_MAX,
    RosterEntry,
    RosterKind,
    add_payload,
    epoch_payload,
    parse_roster_entry,
    sign_roster_entry,
)
from gossamer_crypto.wrap import wrap_secret

__all__ = [
    "MEMBERS_MAX",
    "ROSTER_ENTRY_BYTES_MAX",
    "Member",
    "Roster",
    "RosterEntry",
    "RosterKind",
    "parse_roster_entry",
]


@dataclass(frozen=True, slots=True)
class Member:
    """A current member. since: index of the entry that added it; a new prekey changes only that."""

    peer: PeerId
    inviter: PeerId
    prekey: Prekey
    since: int


@dataclass(frozen=True, slots=True)
class _State:
    """What a chain of entries amounts to. `after` makes the next one, or refuses."""

    members: dict[PeerId, Member] = field(default_factory=dict)
    inviters: Mapping[PeerId, PeerId] = field(default_factory=dict)  # removed ones as well
    removals: Mapping[PeerId, RosterEntry] = field(default_factory=dict)
    epoch: int = 0

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
        if entry.epoch != self.epoch + 1:
            raise _refused(f"epoch {entry.epoch} after epoch {self.epoch}")
        if entry.wraps.keys() != self.members.keys():
            raise _refused("an epoch has one wrap for each member and no other")
        return replace(self, epoch=entry.epoch)


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
        return self._entries[-1].hash if self._entries else self._swarm

    def hash_at(self, count: int) -> bytes | None:
        """Hash of the newest of the first `count` entries, which is the `prev` of the one after
        them; None if there are fewer.
        """
        if not 0 <= count <= len(self._entries):
            return None
        return self._entries[count - 1].hash if count else self._swarm

    @property
    def entries(self) -> Sequence[RosterEntry]:
        """All entries in order."""
        return tuple(self._entries)

    @property
    def epoch(self) -> int:
        """The newest epoch announced; 0 before the first."""
        return self._state.epoch

    @property
    def forked(self) -> bool:
        """Whether a steward was seen to sign two rosters."""
        return self._forked

    @property
    def members(self) -> Mapping[PeerId, Member]:
        """The members as of now; a later entry makes another mapping and leaves this one be."""
        return MappingProxyType(self._state.members)

    def was_removed(self, peer: PeerId) -> bool:
        """Whether `peer` was a member and is none any more, for ever."""
        return peer in self._state.removals

    def removal_of(self, peer: PeerId) -> RosterEntry | None:
        """The entry that removed `peer`, if there is one."""
        return self._state.removals.get(peer)

    def inviter_of(self, peer: PeerId) -> PeerId | None:
        """Who invited `peer`, a member or a former one; None for a steward and for anyone else."""
        return None if peer in self._stewards else self._state.inviters.get(peer)

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
        if index < count or entry.prev != self.hash_at(index):
            state = self._state_before_fork(entry)
        self._state = state.after(entry, self._stewards)
        self._entries[index:] = [entry]
        return entry

    def after(self, count: int, head_hash: bytes) -> tuple[RosterEntry, ...]:
        """What one lacks who says that it holds `count` entries up to `head_hash`: all after those
        if we hold the same, else all. Any values are harmless.
        """
        same = self.hash_at(count) == head_hash
        return tuple(self._entries[count if same else 0 :])

    # For stewards. What these return is checked when it is extended with, like anyone's.

    def make_add(self, steward: Identity, prekey: Prekey, inviter: PeerId) -> bytes:
        """The next entry: the owner of `prekey` becomes a member, or has a new prekey."""
        return self._make(steward, RosterKind.ADD, add_payload(prekey, inviter))

    def make_remove(self, steward: Identity, member: PeerId) -> bytes:
        """The next entry: `member` is removed for ever. An epoch should follow."""
        return self._make(steward, RosterKind.REMOVE, member)

    def make_epoch(self, steward: Identity, secret: bytes) -> bytes:
        """The next entry: the next epoch, with `secret` (32 fresh random bytes) for each member."""
        epoch, prev = self.epoch + 1, self.head_hash
        wraps = {
            peer: wrap_secret(
                secret, member.prekey.public, wrap_info(self._swarm, epoch, peer, prev)
            )
            for peer, member in self._state.members.items()
        }
        commitment = epoch_commitment(secret, self._swarm, epoch)
        payload = epoch_payload(epoch, commitment, wraps)
        return self._make(steward, RosterKind.EPOCH, payload)

    def _make(self, steward: Identity, kind: RosterKind, payload: bytes) -> bytes:
        return sign_roster_entry(
            steward,
            swarm=self._swarm,
            index=len(self._entries),
            prev=self.head_hash,
            kind=kind,
            payload=payload,
        )

    def _state_before_fork(self, entry: RosterEntry) -> _State:
        """The state at which `entry` parts from our branch, if it is the one to follow.

        It was verified, so whoever shows it has shown that a steward signed two rosters.
        """
        self._forked = True
        if entry.prev != self.hash_at(entry.index):
            raise RosterError(Reason.FORK, "continues a branch that parts further back")
        if entry.hash > self._entries[entry.index].hash:
            raise RosterError(Reason.FORK, "the branch with the higher hash")
        state = _State()
        for held in self._entries[: entry.index]:
            state = state.after(held, self._stewards)
        return state


def _refused(detail: str) -> RosterError:
    return RosterError(Reason.BAD_ROSTER, detail)
