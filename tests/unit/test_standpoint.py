"""Whether a device trusts the majority that it sees."""

from __future__ import annotations

import pytest

from gossamer_agent.standpoint import (
    APART_RADII,
    DOUBT_ROUNDS,
    JUMP,
    PATIENCE_IN_DISCORD_ROUNDS,
    PATIENCE_ROUNDS,
    SPLIT,
    Outlook,
    Place,
    Standpoint,
)

TOGETHER, APART, GIVING_IN = Outlook.TOGETHER, Outlook.APART, Outlook.GIVING_IN


def at(most: float, *, near: float = 0.0, radius: float = 1.0, farthest: float = 1.0) -> Place:
    return Place(most=most, near=near, radius=radius, farthest=farthest)


def settled(rounds: int = 8) -> Standpoint:
    """A device that was among the others for some rounds, at a distance of 1."""
    standpoint = Standpoint()
    for _ in range(rounds):
        assert standpoint.see(at(1.0)) is TOGETHER
    return standpoint


def test_who_is_among_the_others_merges() -> None:
    standpoint = Standpoint()
    assert standpoint.see(at(1.0)) is TOGETHER
    assert standpoint.see(at(APART_RADII)) is TOGETHER


@pytest.mark.parametrize("distance", [0.0, 1.0, 1e9])
def test_without_a_radius_there_is_nothing_to_tell(distance: float) -> None:
    assert Standpoint().see(at(distance, near=1e-9, radius=0.0)) is TOGETHER


def test_who_stands_apart_waits_gives_in_for_a_while_and_then_takes_it_as_usual() -> None:
    standpoint = Standpoint()
    seen = [standpoint.see(at(9.0)) for _ in range(PATIENCE_ROUNDS + DOUBT_ROUNDS)]
    assert seen == [APART] * PATIENCE_ROUNDS + [GIVING_IN] * DOUBT_ROUNDS
    assert standpoint.see(at(7.0)) is TOGETHER


def test_where_others_do_not_agree_the_wait_is_longer() -> None:
    standpoint = Standpoint()
    seen = [standpoint.see(at(9.0, farthest=9.0)) for _ in range(PATIENCE_IN_DISCORD_ROUNDS + 1)]
    assert seen == [APART] * PATIENCE_IN_DISCORD_ROUNDS + [GIVING_IN]


def test_one_round_among_others_begins_the_count_again() -> None:
    standpoint = Standpoint()
    for _ in range(PATIENCE_ROUNDS):
        standpoint.see(at(9.0))
    standpoint.see(at(1.0))
    assert standpoint.see(at(9.0)) is APART


def test_other_neighbours_of_the_same_kind_are_no_reason_to_come_back() -> None:
    standpoint = settled()
    assert standpoint.see(at(20.0)) is APART
    assert standpoint.see(at(18.0, radius=10.0)) is APART
    assert standpoint.see(at(1.5)) is TOGETHER


def test_honest_neighbours_do_not_jump() -> None:
    assert settled().see(at(JUMP)) is TOGETHER
    assert settled().see(at(JUMP + 0.1, radius=3.0)) is APART


def test_without_a_past_two_groups_are_seen_by_a_third_that_is_near() -> None:
    assert Standpoint().see(at(SPLIT, near=1.0)) is TOGETHER
    assert Standpoint().see(at(SPLIT + 0.1, near=1.0)) is APART
    assert settled().see(at(1.0, near=0.01)) is TOGETHER


def test_not_a_number_is_apart() -> None:
    assert Standpoint().see(at(float("nan"))) is APART
