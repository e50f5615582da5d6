"""Whose votes are bounded together: every inviter's subtree, and newcomers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.probation import NEWCOMERS, UNBOUNDED, Bounds, bounds_of
from gossamer_agent.reputation import NEWCOMER_ROUNDS, ReputationTable
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


STEWARD, OWN, ALICE, BOB, CAROL, DAVE = (peer(number) for number in range(6))
NOBODY: Mapping[PeerId, PeerId] = {}


def judged(*peers: PeerId, rounds: int = NEWCOMER_ROUNDS) -> ReputationTable:
    table = ReputationTable()
    for round_ in range(rounds):
        for one in peers:
            table.observe(one, 1.0, 1.0, round_)
    return table


def bounds(
    voters: Sequence[PeerId],
    *,
    inviters: Mapping[PeerId, PeerId] = NOBODY,
    table: ReputationTable | None = None,
    reachable: Sequence[PeerId] = (),
    quorum: int = 3,
) -> dict[PeerId, Bounds]:
    return bounds_of(
        voters,
        own=OWN,
        reachable=reachable,
        inviter_of=inviters.get,
        reputation=ReputationTable() if table is None else table,
        quorum=quorum,
    )


def test_in_a_young_agent_s_merges_nobody_is_bounded() -> None:
    """Otherwise a fresh swarm, in which all are newcomers, could not start."""
    assert bounds([OWN, ALICE, BOB]) == {ALICE: UNBOUNDED, BOB: UNBOUNDED}
    assert bounds([ALICE, BOB, CAROL], table=judged(ALICE))[BOB] == UNBOUNDED


def test_newcomers_are_bounded_once_enough_others_are_known() -> None:
    found = bounds([OWN, ALICE, BOB, CAROL, DAVE], table=judged(ALICE, BOB))
    assert found[ALICE] == found[BOB] == UNBOUNDED
    assert found[CAROL] == found[DAVE] == Bounds(newcomer=True)
    assert found[CAROL].groups == (NEWCOMERS,)


def test_a_newcomer_is_one_until_it_was_judged_often_enough() -> None:
    table = judged(ALICE, BOB)
    for round_ in range(NEWCOMER_ROUNDS):
        assert bounds([CAROL], table=table)[CAROL].newcomer, round_
        table.observe(CAROL, 1.0, 1.0, round_)
    assert not bounds([CAROL], table=table)[CAROL].newcomer


def test_liars_in_quarantine_make_nobody_established() -> None:
    """Whoever is in quarantine does not count among those we know well enough."""
    table = judged(ALICE, BOB)
    table.offence(BOB, Reason.BAD_SIGNATURE, 9)
    assert bounds([CAROL], table=table)[CAROL] == UNBOUNDED


def test_who_was_released_from_quarantine_is_a_newcomer_again() -> None:
    """Who lies on and off is bounded like a new name."""
    table = judged(ALICE, BOB, CAROL)
    table.offence(CAROL, Reason.BAD_SIGNATURE, 9)
    assert [change.peer for change in table.release(99)] == [CAROL]
    assert bounds([ALICE, BOB, CAROL], table=table)[CAROL] == Bounds(newcomer=True)


def test_members_invited_by_a_steward_are_no_subtree() -> None:
    inviters = {ALICE: STEWARD, BOB: STEWARD}
    assert set(bounds([STEWARD, ALICE, BOB], inviters=inviters).values()) == {UNBOUNDED}


def test_an_inviter_and_its_guests_are_bounded_together() -> None:
    inviters = {ALICE: STEWARD, BOB: ALICE, CAROL: BOB, DAVE: STEWARD}
    found = bounds([ALICE, BOB, CAROL, DAVE], inviters=inviters)
    assert found[ALICE] == found[BOB] == found[CAROL] == Bounds(branch=ALICE)
    assert found[DAVE] == UNBOUNDED
    assert found[CAROL].groups == (ALICE,)


def test_a_guest_is_bounded_though_it_is_alone_in_the_merge() -> None:
    inviters = {ALICE: STEWARD, BOB: ALICE}
    assert bounds([BOB, DAVE], inviters=inviters)[BOB] == Bounds(branch=ALICE)


def test_an_inviter_is_bounded_as_soon_as_a_guest_of_it_is_known() -> None:
    inviters = {ALICE: STEWARD, BOB: ALICE}
    assert bounds([ALICE, DAVE], inviters=inviters)[ALICE] == UNBOUNDED
    found = bounds([ALICE, DAVE], inviters=inviters, reachable=[BOB])
    assert found[ALICE] == Bounds(branch=ALICE)


def test_the_own_vote_is_in_no_group_though_its_inviter_is() -> None:
    found = bounds([OWN, ALICE, BOB], inviters={ALICE: STEWARD, OWN: ALICE, BOB: ALICE})
    assert OWN not in found
    assert found == {ALICE: Bounds(branch=ALICE), BOB: Bounds(branch=ALICE)}


def test_a_newcomer_in_a_subtree_is_in_both_groups() -> None:
    table = judged(DAVE, STEWARD)
    found = bounds([ALICE, BOB, DAVE], inviters={ALICE: STEWARD, BOB: ALICE}, table=table)
    assert found[BOB].groups == (ALICE, NEWCOMERS)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=12), st.data())
def test_every_inviter_s_subtree_is_in_one_group(numbers: list[int], data: st.DataObject) -> None:
    """However deep the invitations go, and whichever of the members are in the merge."""
    members = [peer(100 + number) for number in range(len(numbers))]
    inviters = {
        member: [STEWARD, *members[:at]][number % (at + 1)]
        for at, (member, number) in enumerate(zip(members, numbers, strict=True))
    }
    voters = sorted(data.draw(st.sets(st.sampled_from(members), min_size=1)))
    found = bounds(voters, inviters=inviters, reachable=members)
    for inviter in members:
        below = {inviter}
        for member in members:  # inviters come before their guests
            if inviters[member] in below:
                below.add(member)
        if len(below) > 1 and below.intersection(voters):
            branches = {found[voter].branch for voter in below.intersection(voters)}
            assert len(branches) == 1
            assert None not in branches
