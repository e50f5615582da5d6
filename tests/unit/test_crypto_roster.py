"""The roster: who may write it, what it admits, and forks that end alike everywhere."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason, RosterError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.prekey import Prekey, PrekeySecret
from gossamer_crypto.roster import (
    MEMBERS_MAX,
    ROSTER_ENTRY_BYTES_MAX,
    Roster,
    RosterEntry,
    RosterKind,
    parse_roster_entry,
)
from gossamer_crypto.roster_entry import add_payload, epoch_payload, sign_roster_entry

ROOT = Path(__file__).parents[2]
IDENTITIES = [Identity.from_seed(bytes([number]) * 32) for number in range(1, 8)]
STEWARD, SECOND, ANNA, BEN, CLEO, *_ = IDENTITIES
GENESIS = Genesis(
    name="greenhouse",
    stewards=(STEWARD.peer_id, SECOND.peer_id),
    contract=b"c" * 32,
    model_sha256=b"m" * 32,
    policy=b"",
    nonce=b"n" * 32,
)
SWARM = GENESIS.swarm_id


def prekey(identity: Identity, turn: int = 0) -> Prekey:
    seed = hashlib.sha256(identity.peer_id + bytes([turn])).digest()
    return PrekeySecret.from_bytes(seed).sign(identity)


def founded(*members: Identity) -> Roster:
    roster = Roster(GENESIS)
    for member in (STEWARD, *members):
        roster.extend(roster.make_add(STEWARD, prekey(member), STEWARD.peer_id))
    return roster


def copy(roster: Roster) -> Roster:
    again = Roster(GENESIS)
    for entry in roster.entries:
        again.extend(entry.raw)
    return again


def picture(roster: Roster) -> tuple[object, ...]:
    return (len(roster), roster.head_hash, roster.epoch, dict(roster.members))


def refusal(roster: Roster, raw: bytes) -> Reason:
    before = picture(roster)
    with pytest.raises(RosterError) as caught:
        roster.extend(raw)
    assert picture(roster) == before
    return caught.value.reason


def test_the_steward_adds_itself_first() -> None:
    roster = Roster(GENESIS)
    assert (len(roster), roster.head_hash, roster.epoch) == (0, SWARM, 0)
    assert STEWARD.peer_id not in roster
    entry = roster.extend(roster.make_add(STEWARD, prekey(STEWARD), STEWARD.peer_id))
    assert entry is not None
    assert (entry.index, entry.kind, entry.prev) == (0, RosterKind.ADD, SWARM)
    assert STEWARD.peer_id in roster
    assert roster.head_hash == entry.hash
    assert roster.members[STEWARD.peer_id].since == 0


def test_members_come_stay_and_go() -> None:
    roster = founded(ANNA)
    roster.extend(roster.make_add(SECOND, prekey(BEN), ANNA.peer_id))
    assert roster.inviter_of(BEN.peer_id) == ANNA.peer_id
    roster.extend(roster.make_add(STEWARD, prekey(BEN, 1), ANNA.peer_id))
    assert roster.members[BEN.peer_id].prekey == prekey(BEN, 1)
    assert roster.members[BEN.peer_id].since == 2
    kept = roster.members
    removal = roster.extend(roster.make_remove(STEWARD, BEN.peer_id))
    assert BEN.peer_id in kept
    assert BEN.peer_id not in roster
    assert roster.was_removed(BEN.peer_id)
    assert roster.removal_of(BEN.peer_id) == removal
    assert roster.inviter_of(BEN.peer_id) == ANNA.peer_id
    assert roster.inviter_of(CLEO.peer_id) is None
    assert not roster.was_removed(ANNA.peer_id)
    assert picture(copy(roster)) == picture(roster)


def test_the_removed_never_come_back() -> None:
    roster = founded(ANNA)
    roster.extend(roster.make_remove(STEWARD, ANNA.peer_id))
    for turn in (0, 1):
        raw = roster.make_add(STEWARD, prekey(ANNA, turn), STEWARD.peer_id)
        assert refusal(roster, raw) is Reason.BAD_ROSTER
    assert refusal(roster, roster.make_remove(STEWARD, ANNA.peer_id)) is Reason.BAD_ROSTER


def test_only_stewards_write() -> None:
    roster = founded(ANNA)
    raw = roster.make_add(ANNA, prekey(BEN), ANNA.peer_id)
    assert refusal(roster, raw) is Reason.NOT_A_STEWARD
    assert refusal(roster, roster.make_remove(ANNA, STEWARD.peer_id)) is Reason.NOT_A_STEWARD
    assert refusal(roster, roster.make_epoch(ANNA, bytes(32))) is Reason.NOT_A_STEWARD
    good = roster.make_remove(STEWARD, ANNA.peer_id)
    assert refusal(roster, good[:-1] + bytes([good[-1] ^ 1])) is Reason.BAD_SIGNATURE
    assert not roster.forked


def test_what_may_not_be_said_is_refused() -> None:
    roster = founded(ANNA)
    stolen = Prekey(BEN.peer_id, prekey(ANNA).public, prekey(ANNA).signature)
    other = Roster(Genesis("other", GENESIS.stewards, b"c" * 32, b"m" * 32, b"", b"n" * 32))
    ahead = copy(roster)
    ahead.extend(ahead.make_add(STEWARD, prekey(BEN), STEWARD.peer_id))
    for raw, reason in (
        (roster.make_add(STEWARD, prekey(BEN), CLEO.peer_id), Reason.BAD_ROSTER),
        (roster.make_add(STEWARD, prekey(ANNA, 1), ANNA.peer_id), Reason.BAD_ROSTER),
        (roster.make_add(STEWARD, stolen, STEWARD.peer_id), Reason.BAD_SIGNATURE),
        (roster.make_remove(STEWARD, BEN.peer_id), Reason.BAD_ROSTER),
        (other.make_add(STEWARD, prekey(STEWARD), STEWARD.peer_id), Reason.WRONG_SWARM),
        (ahead.make_remove(STEWARD, BEN.peer_id), Reason.BROKEN_CHAIN),
    ):
        assert refusal(roster, raw) is reason


def epoch_entry(roster: Roster, epoch: int, peers: list[PeerId]) -> bytes:
    payload = epoch_payload(epoch, bytes(32), {peer: bytes(80) for peer in peers})
    return sign_roster_entry(
        STEWARD,
        swarm=SWARM,
        index=len(roster),
        prev=roster.head_hash,
        kind=RosterKind.EPOCH,
        payload=payload,
    )


def test_an_epoch_is_the_next_and_for_each_member() -> None:
    roster = founded(ANNA)
    everyone = [STEWARD.peer_id, ANNA.peer_id]
    for epoch, peers in (
        (0, everyone),
        (2, everyone),
        (2**64 - 1, everyone),
        (1, everyone[:1]),
        (1, [*everyone, BEN.peer_id]),
        (1, []),
    ):
        assert refusal(roster, epoch_entry(roster, epoch, peers)) is Reason.BAD_ROSTER
    roster.extend(epoch_entry(roster, 1, everyone))
    assert roster.epoch == 1


def test_what_is_held_already_is_no_news() -> None:
    roster = founded(ANNA, BEN)
    for entry in roster.entries:
        assert roster.extend(entry.raw) is None
    assert not roster.forked


def branches() -> tuple[Roster, list[bytes], list[bytes]]:
    """A common beginning, and two branches that two stewards signed after it."""
    roster = founded(ANNA)
    one, two = copy(roster), copy(roster)
    one.extend(one.make_add(STEWARD, prekey(BEN), STEWARD.peer_id))
    one.extend(one.make_epoch(STEWARD, b"1" * 32))
    two.extend(two.make_remove(SECOND, ANNA.peer_id))
    two.extend(two.make_epoch(SECOND, b"2" * 32))
    two.extend(two.make_add(SECOND, prekey(CLEO), SECOND.peer_id))
    first, second = ([entry.raw for entry in branch.entries[2:]] for branch in (one, two))
    return roster, first, second


def test_a_fork_ends_alike_in_whatever_order_it_comes() -> None:
    start, one, two = branches()
    lower = min((one, two), key=lambda branch: parse_roster_entry(branch[0]).hash)
    expected = copy(start)
    for raw in lower:
        expected.extend(raw)
    for first, second in permutations((one, two)):
        roster = copy(start)
        for raw in [*first, *second]:
            try:
                roster.extend(raw)
            except RosterError as error:
                assert error.reason is Reason.FORK
        assert roster.forked
        assert picture(roster) == picture(expected)


@settings(max_examples=30)
@given(st.permutations(range(5)))
def test_a_fork_ends_alike_though_entries_come_in_any_order_and_again(order: list[int]) -> None:
    start, one, two = branches()
    lower = min((one, two), key=lambda branch: parse_roster_entry(branch[0]).hash)
    roster = copy(start)
    for _ in range(4):
        for number in order:
            try:
                roster.extend([*one, *two][number])
            except RosterError as error:
                assert error.reason in (Reason.FORK, Reason.BROKEN_CHAIN)
    assert [entry.raw for entry in roster.entries[2:]] == lower


def test_signing_again_is_no_fork() -> None:
    roster = founded(ANNA)
    raw = roster.entries[-1].raw
    assert roster.extend(raw[:-64] + bytes(64)) is None
    assert not roster.forked


def test_a_fork_that_may_not_be_said_is_not_followed() -> None:
    start = founded(ANNA)
    bad = start.make_remove(SECOND, CLEO.peer_id)
    turn = 0
    while True:
        raw = start.make_add(STEWARD, prekey(BEN, turn), STEWARD.peer_id)
        if parse_roster_entry(raw).hash > parse_roster_entry(bad).hash:
            break
        turn += 1
    start.extend(raw)
    assert refusal(start, bad) is Reason.BAD_ROSTER
    assert start.forked


def test_after_gives_what_the_other_lacks() -> None:
    roster = founded(ANNA, BEN)
    entries = tuple(roster.entries)
    assert roster.after(0, SWARM) == entries
    assert roster.after(2, entries[1].hash) == entries[2:]
    assert roster.after(3, roster.head_hash) == ()
    assert roster.after(2, entries[0].hash) == entries


@given(st.integers(), st.binary(max_size=40))
def test_after_is_safe_with_any_count_and_hash(count: int, head_hash: bytes) -> None:
    roster = founded(ANNA)
    assert roster.after(count, head_hash) == tuple(roster.entries)
    assert roster.after(count, roster.head_hash) in ((), tuple(roster.entries))


@given(st.binary(max_size=400))
def test_any_bytes_raise_a_roster_error(raw: bytes) -> None:
    with pytest.raises(RosterError):
        parse_roster_entry(raw)


ENTRIES = [
    *founded(ANNA).entries,
    parse_roster_entry(founded(ANNA).make_remove(STEWARD, ANNA.peer_id)),
    parse_roster_entry(founded(ANNA).make_epoch(STEWARD, b"e" * 32)),
]


@given(st.sampled_from(ENTRIES), st.data())
def test_altered_bytes_are_refused_and_change_nothing(
    entry: RosterEntry, data: st.DataObject
) -> None:
    raw = bytearray(entry.raw)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    assume(raw != entry.raw)
    roster = founded(ANNA)
    before = picture(roster)
    with suppress(RosterError):
        assert roster.extend(bytes(raw)) is None
    assert picture(roster) == before


@pytest.mark.parametrize(
    "raw",
    [
        b"\x90" * ROSTER_ENTRY_BYTES_MAX,
        b"\x91" * ROSTER_ENTRY_BYTES_MAX,
        b"\xdd\xff\xff\xff\xff",
        b"\x92\xc6\xff\xff\xff\xff",
        msgspec.msgpack.encode((b"\x91" * (ROSTER_ENTRY_BYTES_MAX - 80), bytes(64))),
        msgspec.msgpack.encode((b"\x97\x01" + b"\x90" * 200_000, bytes(64))),
    ],
    ids=["empties", "nested", "huge-array", "huge-bin", "nested-body", "empties-body"],
)
def test_crafted_bytes_are_refused_at_once(raw: bytes) -> None:
    best = min(timed(raw) for _ in range(3))
    assert best < 0.01


def test_the_largest_shape_of_an_epoch_is_read_at_once() -> None:
    roster = founded()
    peers = [PeerId(number.to_bytes(32, "big")) for number in range(MEMBERS_MAX)]
    entry = parse_roster_entry(epoch_entry(roster, 1, peers))
    assert len(entry.wraps) == MEMBERS_MAX
    more = [*peers, PeerId(b"\xff" * 32)]
    best = min(timed(epoch_entry(roster, 1, more)) for _ in range(3))
    assert best < 0.01


def timed(raw: bytes) -> float:
    start = time.perf_counter()
    with pytest.raises(RosterError):
        parse_roster_entry(raw)
    return time.perf_counter() - start


def test_size_is_looked_at_first() -> None:
    with pytest.raises(RosterError) as caught:
        parse_roster_entry(bytes(ROSTER_ENTRY_BYTES_MAX + 1))
    assert caught.value.reason is Reason.TOO_LARGE


@pytest.mark.slow
def test_a_full_roster_admits_nobody_and_is_read_within_seconds() -> None:
    roster = Roster(GENESIS)
    crowd = [
        Identity.from_seed(number.to_bytes(32, "big")) for number in range(100, 99 + MEMBERS_MAX)
    ]
    for member in (STEWARD, *crowd):
        roster.extend(roster.make_add(STEWARD, prekey(member), STEWARD.peer_id))
    assert len(roster.members) == MEMBERS_MAX
    raw = roster.make_add(STEWARD, prekey(ANNA), STEWARD.peer_id)
    assert refusal(roster, raw) is Reason.BAD_ROSTER
    roster.extend(roster.make_add(STEWARD, prekey(crowd[0], 1), STEWARD.peer_id))
    largest = roster.extend(roster.make_epoch(STEWARD, bytes(32)))
    assert largest is not None
    assert len(largest.raw) <= ROSTER_ENTRY_BYTES_MAX
    start = time.perf_counter()
    assert picture(copy(roster)) == picture(roster)
    assert time.perf_counter() - start < 4


def test_the_vector_of_the_specification() -> None:
    roster = Roster(GENESIS)
    raw = roster.make_add(STEWARD, prekey(STEWARD), STEWARD.peer_id)
    payload = add_payload(prekey(STEWARD), STEWARD.peer_id)
    body = msgspec.msgpack.encode((1, SWARM, 0, SWARM, 1, STEWARD.peer_id, payload))
    digest = hashlib.sha256(b"gossamer/v1/roster-entry\0" + body).digest()
    signature = STEWARD.sign(b"gossamer/v1/roster\0", digest)
    assert raw == msgspec.msgpack.encode((body, signature))
    assert parse_roster_entry(raw).hash == digest
    assert digest.hex() in (ROOT / "docs/spec/roster.md").read_text(encoding="utf-8")
