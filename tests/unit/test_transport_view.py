from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.identity import PeerId
from gossamer_transport.view import (
    Change,
    View,
    branch_quota,
    branches_of,
    equal_score,
    no_inviter,
)

PEERS = [PeerId(bytes([number]) * 32) for number in range(12)]
OWN = PEERS[5]
STEWARD = PEERS[0]


def view(
    size: int = 4,
    seed: int = 0,
    inviters: Mapping[PeerId, PeerId] | None = None,
    score_of: Callable[[PeerId], float] = equal_score,
) -> View:
    inviter_of = no_inviter if inviters is None else inviters.get
    rng = np.random.default_rng(seed)
    return View(OWN, size, rng, inviter_of=inviter_of, score_of=score_of)


def invited(inviter: PeerId, *peers: PeerId) -> dict[PeerId, PeerId]:
    return dict.fromkeys(peers, inviter)


def test_fill_takes_as_many_as_there_are_slots() -> None:
    tested = view()
    change = tested.fill(PEERS)
    assert change.added == tested.following
    assert change.dropped == ()
    assert len(tested.following) == 4
    assert OWN not in tested.following
    assert list(tested.following) == sorted(tested.following)
    assert tested.fill(PEERS) == Change()


def test_fill_takes_all_if_there_are_too_few_and_the_rest_later() -> None:
    tested = view()
    tested.fill([OWN, PEERS[1], PEERS[1]])
    assert tested.following == (PEERS[1],)
    change = tested.fill(PEERS[:3])
    assert change.added == (PEERS[0], PEERS[2])
    assert tested.following == tuple(PEERS[:3])
    assert view().fill([]) == view().fill([OWN]) == Change()


def test_fill_drops_nobody() -> None:
    tested = view()
    tested.fill(PEERS[:4])
    assert tested.fill(PEERS[6:]) == Change()
    assert tested.following == tuple(PEERS[:4])


def test_turn_over_replaces_one() -> None:
    tested = view()
    tested.fill(PEERS)
    before = set(tested.following)
    change = tested.turn_over(PEERS)
    assert len(change.added) == len(change.dropped) == 1
    assert set(tested.following) == before - set(change.dropped) | set(change.added)
    assert change.added[0] not in before


def test_turn_over_without_anybody_else_keeps_the_view() -> None:
    tested = view()
    tested.fill(PEERS[:4])
    assert tested.turn_over(PEERS[:4]) == Change()
    assert tested.following == tuple(PEERS[:4])


def test_turn_over_of_a_view_with_free_slots_fills_them() -> None:
    tested = view()
    tested.fill(PEERS[:2])
    change = tested.turn_over(PEERS[:4])
    assert change == Change(added=tuple(PEERS[2:4]))


def test_drop_replaces_at_once_and_not_by_the_same_peer() -> None:
    tested = view()
    tested.fill(PEERS[:4])
    change = tested.drop(PEERS[2], [*PEERS[:4], PEERS[7]])
    assert change == Change(added=(PEERS[7],), dropped=(PEERS[2],))
    change = tested.drop(PEERS[7], [PEERS[7]])
    assert change == Change(dropped=(PEERS[7],))
    assert len(tested.following) == 3


def test_dropping_somebody_else_changes_nothing() -> None:
    tested = view()
    tested.fill(PEERS[:4])
    assert tested.drop(PEERS[9], PEERS) == Change()
    assert tested.following == tuple(PEERS[:4])


def test_sampling_is_uniform() -> None:
    source = np.random.default_rng(3)
    chosen: Counter[PeerId] = Counter()
    for _ in range(500):
        tested = View(OWN, 4, source)
        tested.fill(PEERS)
        chosen.update(tested.following)
    expected = 500 * 4 / 11
    assert len(chosen) == 11
    assert all(abs(count - expected) < 5 * expected**0.5 for count in chosen.values())


def test_turning_over_equals_spares_nobody_for_ever() -> None:
    tested = view()
    tested.fill(PEERS)
    first = set(tested.following)
    victims: Counter[PeerId] = Counter()
    for seed in range(200):
        tested = view(seed=seed)
        tested.fill(sorted(first))
        victims.update(tested.turn_over(PEERS).dropped)
    assert set(victims) == first
    assert all(abs(count - 50) < 30 for count in victims.values())


# Ranking by keyed hash ----------------------------------------------------------------------------


def test_repeated_offers_help_nobody() -> None:
    for seed in range(20):
        once, often = view(seed=seed), view(seed=seed)
        assert once.fill(PEERS) == often.fill([*PEERS[8:] * 100, *PEERS, *PEERS[8:] * 100])


def test_a_newcomer_wins_a_slot_or_changes_nothing() -> None:
    """Whoever joins does not change how the others rank."""
    won = 0
    for seed in range(200):
        without, beside = view(size=1, seed=seed), view(size=1, seed=seed)
        without.fill(PEERS[:-1])
        beside.fill(PEERS)
        won += beside.following == (PEERS[-1],)
        assert beside.following in (without.following, (PEERS[-1],))
    assert 5 < won < 40, "one in eleven"


def test_each_slot_draws_its_own_key() -> None:
    """Else the runner-up of the first slot would always win the second."""
    seconds = set()
    for seed in range(40):
        tested = view(size=1, seed=seed)
        tested.fill(PEERS[:4])
        if tested.following == (PEERS[0],):
            seconds.add(tested.drop(PEERS[0], PEERS[:4]).added)
    assert len(seconds) == 3


# Quotas -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "quota"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 2), (8, 3)])
def test_the_quota_is_a_third_rounded_up(size: int, quota: int) -> None:
    assert branch_quota(size) == quota


def test_one_inviters_subtree_has_a_third_of_the_slots() -> None:
    inviters = invited(STEWARD, *PEERS[1:4]) | invited(PEERS[3], *PEERS[6:9])
    inviters |= invited(PEERS[8], *PEERS[9:])  # at one remove
    branch = {PEERS[3], *PEERS[6:]}
    for seed in range(50):
        tested = view(6, seed, inviters)
        tested.fill([peer for peer in PEERS if peer != PEERS[4]])
        assert set(tested.following) >= {STEWARD, *PEERS[1:3]}
        assert len(branch & set(tested.following)) == 2
        assert len(tested.following) == 5, "rather a free slot than one too many of a branch"


def test_whom_a_steward_invited_is_bound_by_no_quota() -> None:
    """The normal case: the founder invited everybody, itself by its own word."""
    tested = view(6, 0, invited(STEWARD, *PEERS))
    tested.fill(PEERS)
    assert len(tested.following) == 6


def test_a_slot_that_a_quota_keeps_free_stops_no_turnover() -> None:
    tested = view(4, 0, invited(STEWARD, *PEERS[1:4]) | invited(PEERS[3], *PEERS[4:]))
    tested.fill(PEERS[3:])
    assert len(tested.following) == 2
    changes = [tested.turn_over(PEERS[3:]) for _ in range(3)]
    assert all(len(change.added) == len(change.dropped) == 1 for change in changes)
    assert len(tested.following) == 2
    assert len(tested.turn_over(PEERS).added) == 2, "somebody else turned up"


def test_dropping_one_of_a_full_branch_makes_room_in_it() -> None:
    tested = view(3, 0, invited(STEWARD, PEERS[1]) | invited(PEERS[1], *PEERS[6:8]))
    tested.fill([PEERS[6]])
    assert tested.fill([PEERS[7]]) == Change()
    assert tested.drop(PEERS[6], PEERS[6:8]) == Change(added=(PEERS[7],), dropped=(PEERS[6],))


def test_the_branch_of_each_member() -> None:
    inviters = invited(STEWARD, STEWARD, *PEERS[1:3]) | invited(PEERS[2], PEERS[6], PEERS[7])
    inviters |= invited(PEERS[7], PEERS[8])
    branches = branches_of([PEERS[8], PEERS[11]], inviters.get)
    assert branches[PEERS[8]] == branches[PEERS[7]] == PEERS[2]
    assert branches[PEERS[11]] == PEERS[11], "nothing is known of it"
    assert branches_of(PEERS, inviters.get)[STEWARD] == STEWARD
    assert branches_of(PEERS, inviters.get)[PEERS[1]] == PEERS[1]


def test_circles_and_long_chains_of_inviters_are_harmless() -> None:
    circle = invited(PEERS[7], PEERS[8]) | invited(PEERS[8], PEERS[9]) | invited(PEERS[9], PEERS[7])
    hanging = circle | invited(PEERS[9], PEERS[1]) | invited(PEERS[1], PEERS[2])
    for peers in (PEERS, PEERS[::-1]):
        branches = branches_of(peers, hanging.get)
        assert {branches[PEERS[number]] for number in (1, 2, 7, 8, 9)} == {PEERS[7]}
    names = [PeerId(number.to_bytes(32, "big")) for number in range(5000)]
    asked: Counter[PeerId] = Counter()

    def inviter_of(peer: PeerId) -> PeerId | None:
        asked[peer] += 1
        number = int.from_bytes(peer, "big")
        return names[number - 1] if number else None

    assert set(branches_of(names[:1:-1], inviter_of).values()) == {names[0], names[1]}
    assert max(asked.values()) == 1


# Sticky good peers --------------------------------------------------------------------------------


def test_the_better_half_stays() -> None:
    victims: set[PeerId] = set()
    for seed in range(60):
        tested = view(size=5, seed=seed, score_of=lambda peer: peer[0])
        tested.fill(PEERS[:5])
        change = tested.turn_over(PEERS)
        assert len(change.added) == 1
        victims.update(change.dropped)
    assert victims == set(PEERS[:3])


def test_scores_are_read_anew() -> None:
    scores = dict.fromkeys(PEERS, 1.0)
    tested = view(size=2, score_of=scores.__getitem__)
    tested.fill(PEERS)
    for _ in range(8):
        one, other = tested.following
        scores[one], scores[other] = 0.9, 0.2
        assert tested.turn_over(PEERS).dropped == (other,)


def test_a_view_of_one_turns_over() -> None:
    tested = view(size=1)
    tested.fill(PEERS)
    assert len(tested.turn_over(PEERS).added) == 1


def test_who_is_dropped_by_name_goes_however_good() -> None:
    tested = view(score_of=lambda peer: peer[0])
    tested.fill(PEERS[:4])
    assert tested.drop(PEERS[3], PEERS).dropped == (PEERS[3],)


def test_a_view_has_a_slot() -> None:
    with pytest.raises(ValueError, match="at least one"):
        view(size=0)


calls = st.lists(
    st.tuples(
        st.sampled_from(["fill", "turn_over", "drop"]),
        st.lists(st.sampled_from(PEERS), max_size=12),
        st.sampled_from(PEERS),
    ),
    max_size=12,
)


inviters = st.dictionaries(st.sampled_from(PEERS), st.sampled_from(PEERS), max_size=12)
"""Any, circles included."""


def in_subtree(peer: PeerId, root: PeerId, inviters: Mapping[PeerId, PeerId]) -> bool:
    for _ in range(len(PEERS) + 1):
        if peer == root:
            return True
        if peer not in inviters:
            return False
        peer = inviters[peer]
    return False


def is_steward(peer: PeerId, inviters: Mapping[PeerId, PeerId]) -> bool:
    return inviters.get(peer, peer) == peer


@settings(max_examples=25)
@given(calls=calls, size=st.integers(1, 8), seed=st.integers(0, 2**32 - 1), inviters=inviters)
def test_what_always_holds(
    calls: list[tuple[str, list[PeerId], PeerId]],
    size: int,
    seed: int,
    inviters: dict[PeerId, PeerId],
) -> None:
    def score_of(peer: PeerId) -> float:
        return float(peer[0] % 3)

    one, other = (view(size, seed, inviters, score_of) for _ in range(2))
    for name, candidates, peer in calls:
        before = set(one.following)
        extra = (peer,) if name == "drop" else ()
        change = getattr(one, name)(*extra, candidates)
        assert change == getattr(other, name)(*extra, set(candidates))
        assert one.following == other.following == tuple(sorted(set(one.following)))
        assert set(one.following) == before - set(change.dropped) | set(change.added)
        assert set(change.added) <= set(candidates) - before - {OWN}
        assert set(change.dropped) <= before
        assert len(one.following) <= size
        if name == "turn_over" and change.dropped:
            assert sum(score_of(p) < score_of(change.dropped[0]) for p in before) <= len(before) / 2
        for root in PEERS:
            if not is_steward(root, inviters):
                held = sum(in_subtree(p, root, inviters) for p in one.following)
                assert held <= branch_quota(size)
