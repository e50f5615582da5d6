"""The epoch ring: who is given a secret, for how long, and what a bad steward cannot hide."""

from __future__ import annotations

import pytest

from gossamer_crypto.epoch import EpochKeys, epoch_commitment, wrap_info
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EpochError, Reason, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.invite import Invite
from gossamer_crypto.prekey import PrekeySecret
from gossamer_crypto.roster import Roster, RosterKind
from gossamer_crypto.roster_entry import epoch_payload, sign_roster_entry
from gossamer_crypto.wrap import unwrap_secret, wrap_secret

STEWARD, SECOND, ANNA, BEN = (Identity.from_seed(bytes([number]) * 32) for number in range(1, 5))
PREKEYS = {
    who.peer_id: PrekeySecret.from_bytes(bytes([64 + number]) * 32)
    for number, who in enumerate((STEWARD, SECOND, ANNA, BEN))
}
GENESIS = Genesis(
    "greenhouse", (STEWARD.peer_id, SECOND.peer_id), b"c" * 32, b"m" * 32, b"", b"n" * 32
)


def secret(epoch: int) -> bytes:
    return bytes([100 + epoch]) * 32


def add(roster: Roster, who: Identity) -> None:
    prekey = PREKEYS[who.peer_id].sign(who)
    roster.extend(roster.make_add(STEWARD, prekey, STEWARD.peer_id))


def renew(roster: Roster) -> None:
    roster.extend(roster.make_epoch(STEWARD, secret(roster.epoch + 1)))


def founded(*others: Identity) -> Roster:
    roster = Roster(GENESIS)
    for who in (STEWARD, *others):
        add(roster, who)
    renew(roster)
    return roster


def ring_of(who: Identity) -> EpochRing:
    return EpochRing(who.peer_id, [PREKEYS[who.peer_id]])


def test_every_member_is_given_the_same_secret() -> None:
    roster = founded(ANNA)
    for who in (STEWARD, ANNA):
        ring = ring_of(who)
        keys: EpochKeys = ring
        assert (keys.current, keys.secret(0), keys.secret(1)) == (0, None, None)
        assert ring.follow(roster)
        assert not ring.follow(roster)
        assert (keys.current, keys.secret(1)) == (1, secret(1))


def test_current_and_previous_are_accepted_and_all_are_archived() -> None:
    roster, ring = founded(ANNA), ring_of(ANNA)
    ring.follow(roster)
    ring.retire_previous()
    for _ in range(2):
        renew(roster)
        assert ring.follow(roster)
    assert [ring.secret(epoch) for epoch in range(5)] == [None, None, secret(2), secret(3), None]
    assert [ring.archived(epoch) for epoch in (1, 2, 3, 4)] == [*map(secret, (1, 2, 3)), None]
    ring.retire_previous()
    assert ring.secret(2) is None
    assert ring.secret(3) == secret(3)
    renew(roster)
    ring.follow(roster)
    assert ring.secret(3) == secret(3)


def test_a_joiner_cannot_read_what_was_before_it() -> None:
    roster = founded(ANNA)
    add(roster, BEN)
    renew(roster)
    ring = ring_of(BEN)
    assert ring.follow(roster)
    assert (ring.current, ring.archived(1), ring.secret(2)) == (2, None, secret(2))


def test_the_evicted_cannot_unwrap_the_next_epoch() -> None:
    roster, ring = founded(ANNA, BEN), ring_of(ANNA)
    ring.follow(roster)
    roster.extend(roster.make_remove(STEWARD, ANNA.peer_id))
    renew(roster)
    assert not ring.follow(roster)
    assert (ring.current, ring.secret(2), ring.archived(2)) == (1, None, None)
    entry = roster.entries[-1]
    for peer, wrapped in entry.wraps.items():
        for claimed in (peer, ANNA.peer_id):
            info = wrap_info(roster.swarm_id, 2, claimed, entry.prev)
            with pytest.raises(EpochError):
                unwrap_secret(wrapped, PREKEYS[ANNA.peer_id], info)


def test_an_invite_and_the_roster_together_decrypt_nothing() -> None:
    roster = founded(ANNA)
    invite = Invite(roster.swarm_id, (STEWARD.peer_id,), ("/ip4/192.0.2.1/tcp/4001",), b"t" * 16)
    guesses = [invite.token * 2, invite.token_id * 2, invite.swarm_id]
    ring = EpochRing(BEN.peer_id, [PrekeySecret.from_bytes(guess) for guess in guesses])
    assert not ring.follow(roster)
    assert (ring.current, ring.secret(1), ring.archived(1)) == (0, None, None)
    commitment = roster.entries[-1].commitment
    for guess in guesses:
        assert epoch_commitment(guess, roster.swarm_id, 1) != commitment
        for wrapped in roster.entries[-1].wraps.values():
            assert guess not in wrapped


def crooked(roster: Roster, victim: PeerId, given: bytes | None) -> bytes:
    """An epoch that gives everybody one secret but `victim` another, or nothing readable."""
    epoch = roster.epoch + 1
    wraps = {}
    for peer, member in roster.members.items():
        info = wrap_info(roster.swarm_id, epoch, peer, roster.head_hash)
        told = given if peer == victim else secret(epoch)
        wraps[peer] = bytes(80) if told is None else wrap_secret(told, member.prekey.public, info)
    commitment = epoch_commitment(secret(epoch), roster.swarm_id, epoch)
    return sign_roster_entry(
        STEWARD,
        swarm=roster.swarm_id,
        index=len(roster),
        prev=roster.head_hash,
        kind=RosterKind.EPOCH,
        payload=epoch_payload(epoch, commitment, wraps),
    )


@pytest.mark.parametrize(
    ("given", "reason"), [(b"x" * 32, Reason.BAD_COMMITMENT), (None, Reason.UNDECRYPTABLE)]
)
def test_a_steward_that_gives_one_member_another_secret_is_noticed(
    given: bytes | None, reason: Reason
) -> None:
    roster, victim, other = founded(ANNA, BEN), ring_of(ANNA), ring_of(BEN)
    victim.follow(roster)
    other.follow(roster)
    roster.extend(crooked(roster, ANNA.peer_id, given))
    assert other.follow(roster)
    with pytest.raises(EpochError) as caught:
        victim.follow(roster)
    assert caught.value.reason is reason
    assert (victim.current, victim.secret(1), victim.secret(2)) == (1, secret(1), None)
    renew(roster)
    assert victim.follow(roster)
    assert (victim.current, victim.secret(3), victim.archived(2)) == (3, secret(3), None)


def test_older_prekeys_still_open_what_was_wrapped_to_them() -> None:
    roster = founded(ANNA)
    newer = PrekeySecret.from_bytes(b"N" * 32)
    roster.extend(roster.make_add(STEWARD, newer.sign(ANNA), STEWARD.peer_id))
    renew(roster)
    both = EpochRing(ANNA.peer_id, [newer, PREKEYS[ANNA.peer_id]])
    assert both.follow(roster)
    assert (both.archived(1), both.secret(2)) == (secret(1), secret(2))
    late = EpochRing(ANNA.peer_id, [newer])
    assert late.follow(roster)
    assert (late.archived(1), late.secret(2)) == (None, secret(2))
    for ring in (EpochRing(ANNA.peer_id, []), EpochRing(ANNA.peer_id, [PREKEYS[BEN.peer_id]])):
        with pytest.raises(EpochError):
            ring.follow(roster)
        assert ring.current == 0


def test_after_a_fork_the_epochs_are_those_of_the_branch_that_is_followed() -> None:
    roster = founded(ANNA)
    start = [entry.raw for entry in roster.entries]
    forks = []
    for steward, told in ((STEWARD, b"1" * 32), (SECOND, b"2" * 32)):
        branch = Roster(GENESIS)
        for raw in start:
            branch.extend(raw)
        branch.extend(branch.make_epoch(steward, told))
        forks.append((branch.head_hash, branch.entries[-1].raw, told))
    (_, low, right), (_, high, wrong) = sorted(forks)
    ring = ring_of(ANNA)
    roster.extend(high)
    ring.follow(roster)
    assert ring.secret(2) == wrong
    roster.extend(low)
    assert roster.forked
    assert ring.follow(roster)
    assert (ring.current, ring.secret(1), ring.secret(2)) == (2, secret(1), right)
    with pytest.raises(RosterError):
        roster.extend(high)
    assert not ring.follow(roster)


def test_no_text_form_shows_a_secret() -> None:
    ring = ring_of(ANNA)
    ring.follow(founded(ANNA))
    assert secret(1).hex() not in repr(ring)
