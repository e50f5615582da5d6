"""Whether a device trusts the majority that it sees."""

from __future__ import annotations

import pytest

from gossamer_agent.standpoint import (
    APART_RADII,
    DOUBT_ROUNDS,
    JUMP,
    PATIENCE_IN_DISCORD_ROUNDS,
    PATIENCE_ROUNDS,
    PULLED,
    PULLED_BACK,
    SPLIT,
    Outlook,
    Place,
    Standpoint,
)

TOGETHER, APART, GIVING_IN = Outlook.TOGETHER, Outlook.APART, Outlook.GIVING_IN


PULL_ROUNDS = 5  # so many rounds in a row tell a pull from chance


def at(
    most: float,
    *,
    near: float = 0.0,
    radius: float = 1.0,
    farthest: float = 1.0,
    pull: float = 0.0,
) -> Place:
    return Place(most=most, near=near, radius=radius, farthest=farthest, pull=pull)


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


def test_whose_own_steps_lead_away_round_after_round_stands_apart() -> None:
    standpoint = Standpoint()
    seen = [standpoint.see(at(1.0, pull=PULLED + 0.1)) for _ in range(PULL_ROUNDS + 1)]
    assert seen == [TOGETHER] * (PULL_ROUNDS - 1) + [APART] * 2


def test_a_pull_is_seen_by_the_mean_of_some_rounds() -> None:
    standpoint = Standpoint()
    for pull in (0.9, -0.4) * 9:
        assert standpoint.see(at(1.0, pull=pull)) is TOGETHER
    standpoint = Standpoint()
    assert {standpoint.see(at(1.0, pull=PULLED)) for _ in range(40)} == {TOGETHER}


def test_honest_devices_with_other_data_do_not_pull() -> None:
    standpoint = Standpoint()
    assert {standpoint.see(at(1.0, pull=-0.6)) for _ in range(40)} == {TOGETHER}


def pulled() -> Standpoint:
    standpoint = Standpoint()
    while standpoint.see(at(1.0, pull=0.8)) is TOGETHER:
        pass
    return standpoint


def test_who_was_pulled_away_is_back_when_its_steps_lead_away_no_more() -> None:
    standpoint = pulled()
    assert standpoint.see(at(1.0, pull=PULLED_BACK + 0.1)) is APART
    assert standpoint.see(at(1.0, pull=PULLED_BACK)) is TOGETHER


def test_other_neighbours_need_not_be_nearer_to_who_was_pulled_away() -> None:
    """It stood where the majority was: only the way its data pull can tell it is back."""
    assert pulled().see(at(7.0, pull=0.0)) is TOGETHER


def test_what_was_seen_while_apart_is_no_evidence() -> None:
    """Nothing was merged: who comes back must be pulled as often again."""
    standpoint = pulled()
    assert standpoint.see(at(1.0, pull=0.8)) is APART
    assert standpoint.see(at(1.0, pull=0.0)) is TOGETHER
    seen = [standpoint.see(at(1.0, pull=0.8)) for _ in range(PULL_ROUNDS)]
    assert seen == [TOGETHER] * (PULL_ROUNDS - 1) + [APART]


def test_a_pull_that_is_met_everywhere_is_given_in_to() -> None:
    standpoint = Standpoint()
    place = at(1.0, pull=0.8)
    rounds = PULL_ROUNDS - 1 + PATIENCE_ROUNDS + DOUBT_ROUNDS + PULL_ROUNDS - 1
    seen = [standpoint.see(place) for _ in range(rounds + 1)]
    together = [TOGETHER] * (PULL_ROUNDS - 1)
    gave_in = [APART] * PATIENCE_ROUNDS + [GIVING_IN] * DOUBT_ROUNDS
    assert seen == [*together, *gave_in, *together, APART]


def test_a_rest_makes_former_pulls_forgotten() -> None:
    standpoint = pulled()
    standpoint.forget()
    seen = [standpoint.see(at(1.0, pull=0.8)) for _ in range(PULL_ROUNDS)]
    assert seen == [TOGETHER] * (PULL_ROUNDS - 1) + [APART]


def test_not_a_number_is_apart() -> None:
    assert Standpoint().see(at(float("nan"))) is APART
