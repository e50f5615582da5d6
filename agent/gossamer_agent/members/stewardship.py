"""What a steward does: it admits who holds an invite, removes members and renews the epoch.

Theory of operation. The roster lives in the state store, one row per entry, and so do the invites
with the names of those who used them. Every act is one transaction: it reads the roster as it is
now, makes the next entries, and writes them together with the invite that they use up. So an
eviction from the command line and an admission by the running agent queue up instead of signing two
entries with one index, and a crash leaves all of an act or nothing.

Whoever joins, leaves or changes its key ends the epoch: a new member must be given a secret, and a
former one must not have the next. A secret is 32 fresh random bytes and is not kept here; a steward
unwraps its own copy from the roster like any other member.

Asking twice is harmless: a device that lost the answer asks again with the same token and gets it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from gossamer_agent.errors import AgentError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.members.invites import (
    OpenInvite,
    drop_invite,
    keep_invite,
    load_invite,
    load_invites,
)
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.state import FORKS, Rows, StateStore
from gossamer_crypto.epoch import SECRET_BYTES
from gossamer_crypto.errors import PeerError, Reason, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.invite import Invite
from gossamer_crypto.join import (
    JoinAnswer,
    JoinRefusal,
    JoinRequest,
    RotateRequest,
    parse_join_request,
    parse_rotate_request,
)
from gossamer_crypto.prekey import Prekey
from gossamer_crypto.roster import MEMBERS_MAX, Roster, RosterEntry, parse_roster_entry

ROSTER: Final = "roster"
INVITES_MAX: Final = 256
USES_MAX: Final = 1024

_TOKEN_BYTES = 16


class StewardError(AgentError):
    """A steward cannot do what was asked, or this device is none."""

    exit_code = ExitCode.MEMBERSHIP


class Stewardship:
    """The acts of one steward, each one transaction on `state`; safe from any thread.

    refused: how often somebody was not let in, by reason. random_bytes(n): n fresh random bytes.
    Raises StoreError as the state store does.
    """

    def __init__(
        self,
        identity: Identity,
        genesis: Genesis,
        state: StateStore,
        *,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._identity = identity
        self._genesis = genesis
        self._state = state
        self._random_bytes = random_bytes
        self._cached: Roster | None = None
        self.refused: Counter[Reason] = Counter()

    @property
    def is_steward(self) -> bool:
        """Whether the genesis names this device."""
        return self._identity.peer_id in self._genesis.stewards

    # Invites -------------------------------------------------------------------------------------

    def open_invite(self, addresses: Iterable[str], uses: int, expires_at: int | None) -> Invite:
        """Make an invite that admits `uses` devices until `expires_at` (Unix seconds), by way of
        1 to 4 `addresses` of this device.

        Raises StewardError for what no invite can say, and if this device is no steward.
        """
        self._require_steward()
        if not 1 <= uses <= USES_MAX:
            raise StewardError(f"an invite admits 1 to {USES_MAX} devices, not {uses}")
        token = self._random_bytes(_TOKEN_BYTES)
        try:
            invite = Invite(
                swarm_id=self._genesis.swarm_id,
                stewards=(self._identity.peer_id,),  # nobody else knows the token
                addresses=tuple(addresses),
                token=token,
            )
            invite.text()
        except PeerError as error:
            raise StewardError(f"cannot make an invite: {error.detail}") from error
        opened = OpenInvite(invite.token_id, token, uses, expires_at, invite.addresses)
        with self._state.transaction():
            if len(load_invites(self._state)) >= INVITES_MAX:
                raise StewardError(f"{INVITES_MAX} invites are open; close one first")
            keep_invite(self._state, opened)
        return invite

    def invites(self) -> tuple[OpenInvite, ...]:
        """All invites, used up and expired ones as well, in order of token id."""
        return load_invites(self._state)

    def close_invite(self, token_id: bytes) -> bool:
        """Let nobody join with this invite any more; False if there is none."""
        return drop_invite(self._state, token_id)

    # Joining -------------------------------------------------------------------------------------

    def answer_join(self, peer: PeerId, raw: bytes, unix_time: int) -> bytes:
        """Answer a request to join, or to go on under another identity; a packed JoinAnswer.

        `peer` is authenticated. Whatever it sent is answered, never raised for.
        """
        try:
            entries = self._admit(peer, raw, unix_time)
        except _Refused as refused:
            return self._refusal(refused.refusal)
        except StewardError:
            return self._refusal(JoinRefusal.NOT_A_STEWARD)
        return JoinAnswer(None, self._genesis.pack(), entries).pack()

    def _refusal(self, refusal: JoinRefusal) -> bytes:
        self.refused[_REASONS[refusal]] += 1
        return JoinAnswer(refusal, b"", ()).pack()

    def _admit(self, peer: PeerId, raw: bytes, unix_time: int) -> tuple[bytes, ...]:
        self._require_steward()
        request = _parse(raw)
        if isinstance(request, JoinRequest):
            self._proven_invite(peer, request)  # strangers cost no more than this
        with self._acting() as roster:
            if isinstance(request, RotateRequest):
                self._exchange(roster, peer, request)
            else:
                self._join(roster, peer, request, unix_time)
            return tuple(entry.raw for entry in roster.after(0, self._genesis.swarm_id))

    def _proven_invite(self, peer: PeerId, request: JoinRequest) -> OpenInvite:
        if request.peer != peer or request.swarm_id != self._genesis.swarm_id:
            raise _Refused(JoinRefusal.BAD_REQUEST)
        invite = load_invite(self._state, request.token_id)
        # The same answer to a wrong token as to an unknown one: nothing to guess by.
        if invite is None or not request.proves(invite.token, self._identity.peer_id):
            raise _Refused(JoinRefusal.UNKNOWN_INVITE)
        return invite

    def _join(self, roster: Roster, peer: PeerId, request: JoinRequest, unix_time: int) -> None:
        invite = self._proven_invite(peer, request)
        if roster.was_removed(peer):
            raise _Refused(JoinRefusal.REMOVED)
        member = roster.members.get(peer)
        if member is not None and member.prekey.public == request.prekey.public:
            return
        if peer not in invite.used_by:
            if invite.expires_at is not None and unix_time >= invite.expires_at:
                raise _Refused(JoinRefusal.EXPIRED)
            if len(invite.used_by) >= invite.uses:
                raise _Refused(JoinRefusal.USED_UP)
        if member is None and len(roster.members) >= MEMBERS_MAX:
            raise _Refused(JoinRefusal.FULL)
        self._add(roster, request.prekey, None if member is None else member.inviter)
        self._next_epoch(roster)
        if peer not in invite.used_by:
            keep_invite(self._state, replace(invite, used_by=(*invite.used_by, peer)))

    def _exchange(self, roster: Roster, peer: PeerId, request: RotateRequest) -> None:
        """Put a member's new identity in the place of its old one."""
        old, new = request.old, request.new
        addressed = (request.swarm_id, request.steward)
        ours = (self._genesis.swarm_id, self._identity.peer_id)
        if addressed != ours or peer not in (old, new) or old == new:
            raise _Refused(JoinRefusal.BAD_REQUEST)
        if roster.was_removed(new):
            raise _Refused(JoinRefusal.REMOVED)
        if old not in roster:
            if new in roster and roster.was_removed(old):
                return  # it asks again, having lost the answer
            raise _Refused(JoinRefusal.REMOVED if roster.was_removed(old) else _NO_MEMBER)
        if new in roster or old in self._genesis.stewards:  # the genesis cannot be changed
            raise _Refused(JoinRefusal.BAD_REQUEST)
        if self._state.get(FORKS, bytes(old)) is not None:
            raise _Refused(JoinRefusal.REMOVED)  # a new name would wash a ban off
        inviter = roster.members[old].inviter
        self._append(roster, roster.make_remove(self._identity, old))
        self._add(roster, request.prekey, inviter)
        self._next_epoch(roster)

    # Members and epochs --------------------------------------------------------------------------

    def evict(self, peer: PeerId) -> None:
        """Remove a member for ever and begin an epoch whose secret it cannot unwrap.

        Raises StewardError if it is no member, is this device, or this device is no steward.
        """
        self._require_steward()
        if peer == self._identity.peer_id:
            raise StewardError("a steward does not evict itself")
        with self._acting() as roster:
            if peer not in roster:
                gone = "was evicted before" if roster.was_removed(peer) else "is no member"
                raise StewardError(f"{peer_id_text(peer)} {gone}")
            self._append(roster, roster.make_remove(self._identity, peer))
            self._next_epoch(roster)

    def rotate(self) -> int:
        """Begin the next epoch under a fresh secret and return its number.

        Raises StewardError if this device is no steward.
        """
        self._require_steward()
        with self._acting() as roster:
            self._next_epoch(roster)
            return roster.epoch

    def found(self, prekey: Prekey) -> None:
        """Begin the roster: this steward as first member, and epoch 1. Harmless when repeated."""
        self._require_steward()
        with self._acting() as roster:
            if not len(roster):
                self._add(roster, prekey, None)
                self._next_epoch(roster)

    # Plumbing ------------------------------------------------------------------------------------

    @contextmanager
    def _acting(self) -> Iterator[Roster]:
        """The roster as stored, in a transaction; what failed leaves no trace of itself here."""
        with self._state.transaction():
            roster, self._cached = self._cached or Roster(self._genesis), None
            refresh_roster(self._state, roster)
            if roster.was_removed(self._identity.peer_id):
                raise StewardError(f"this steward was removed from {self._genesis.name!r}")
            stored = roster.head_hash
            try:
                yield roster
            finally:
                if roster.head_hash == stored:
                    self._cached = roster
        self._cached = roster

    def _add(self, roster: Roster, prekey: Prekey, inviter: PeerId | None) -> None:
        """Add a member, or its next prekey. inviter: who answers for it, None for us."""
        inviter = inviter or self._identity.peer_id
        self._append(roster, roster.make_add(self._identity, prekey, inviter))

    def _append(self, roster: Roster, raw: bytes) -> None:
        try:
            entry = roster.extend(raw)
        except RosterError as error:
            raise StewardError(f"the roster cannot go on like that: {error.detail}") from error
        assert entry is not None, "a new entry is not held already"
        _write(self._state, entry)

    def _next_epoch(self, roster: Roster) -> None:
        self._append(roster, roster.make_epoch(self._identity, self._random_bytes(SECRET_BYTES)))

    def _require_steward(self) -> None:
        if not self.is_steward:
            raise StewardError(
                f"this device is no steward of {self._genesis.name!r}; "
                f"ask {peer_id_text(self._genesis.stewards[0])}"
            )


_NO_MEMBER = JoinRefusal.NOT_A_MEMBER
_REASONS: Final[Mapping[JoinRefusal, Reason]] = MappingProxyType(
    {
        JoinRefusal.UNKNOWN_INVITE: Reason.BAD_INVITE,
        JoinRefusal.USED_UP: Reason.BAD_INVITE,
        JoinRefusal.EXPIRED: Reason.BAD_INVITE,
        JoinRefusal.REMOVED: Reason.NOT_A_MEMBER,
        JoinRefusal.NOT_A_MEMBER: Reason.NOT_A_MEMBER,
        JoinRefusal.NOT_A_STEWARD: Reason.NOT_A_STEWARD,
        JoinRefusal.FULL: Reason.FLOOD,
        JoinRefusal.BAD_REQUEST: Reason.BAD_REQUEST,
    }
)


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, refusal: JoinRefusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def _parse(raw: bytes) -> JoinRequest | RotateRequest:
    try:
        return parse_join_request(raw)
    except PeerError:
        pass
    try:
        return parse_rotate_request(raw)
    except PeerError:
        raise _Refused(JoinRefusal.BAD_REQUEST) from None


# The stored roster --------------------------------------------------------------------------------


def found_swarm(state: StateStore, identity: Identity, prekey: Prekey, genesis: Genesis) -> Roster:
    """Write the first roster of a swarm: its steward, who adds itself, and epoch 1.

    Harmless when repeated. Raises StewardError if `identity` is no steward of `genesis`.
    """
    Stewardship(identity, genesis, state).found(prekey)
    return load_roster(state, genesis)


def load_roster(state: Rows, genesis: Genesis) -> Roster:
    """The stored roster, every signature verified.

    Raises DamagedStoreError if the rows are no chain of entries that stewards signed.
    """
    roster = Roster(genesis)
    refresh_roster(state, roster)
    return roster


def refresh_roster(state: Rows, roster: Roster) -> tuple[RosterEntry, ...]:
    """Bring `roster` up to what is stored and return the entries that were new to it, in order.

    Raises DamagedStoreError as `load_roster`.
    """
    grown: list[RosterEntry] = []
    for number, raw in enumerate(stored_entries(state)):
        try:
            entry = roster.extend(raw)
        except PeerError as error:
            raise DamagedStoreError(f"{state.path}: roster entry {number}: {error}") from error
        if entry is not None:
            grown.append(entry)
    return tuple(grown)


def stored_entries(state: Rows) -> list[bytes]:
    """The packed entries in order of index. DamagedStoreError where one is missing."""
    rows = state.items(ROSTER)
    for number, (key, _) in enumerate(rows):
        if key != _key(number):
            raise DamagedStoreError(f"{state.path}: roster entry {number} is missing")
    return [raw for _, raw in rows]


def store_roster(state: StateStore, entries: Iterable[RosterEntry]) -> None:
    """Keep entries that were verified, in order; durable on return. Those that are kept already
    cost nothing.

    Two entries with one index are a fork of a steward: the one with the lower hash is kept, and
    nothing that followed the other. Entries that leave a gap are left out; they come again.
    """
    with state.transaction():
        for entry in entries:
            kept = state.get(ROSTER, _key(entry.index))
            if kept == entry.raw:
                continue
            if kept is not None and parse_roster_entry(kept).hash <= entry.hash:
                return
            before = None if entry.index == 0 else state.get(ROSTER, _key(entry.index - 1))
            if entry.index and (before is None or parse_roster_entry(before).hash != entry.prev):
                return
            _write(state, entry)


def _write(state: StateStore, entry: RosterEntry) -> None:
    state.put(ROSTER, _key(entry.index), entry.raw)
    later = entry.index + 1
    while state.get(ROSTER, _key(later)) is not None:
        state.delete(ROSTER, _key(later))
        later += 1


def _key(index: int) -> bytes:
    return index.to_bytes(4, "big")
