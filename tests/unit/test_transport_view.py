from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.identity import PeerId
from gossamer_transport.view import Change, View

PEERS = [PeerId(bytes([number]) * 32) for number in range(12)]
OWN = PEERS[5]


def view(size: int = 4, seed: int = 0) -> View:
    return View(OWN, size, np.random.default_rng(seed))


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
    for _ in range(1000):
        tested = View(OWN, 4, source)
        tested.fill(PEERS)
        chosen.update(tested.following)
    expected = 1000 * 4 / 11
    assert len(chosen) == 11
    assert all(abs(count - expected) < 5 * expected**0.5 for count in chosen.values())


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


@settings(max_examples=25)
@given(calls=calls, size=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_equal_calls_give_equal_views_in_any_order_of_candidates(
    calls: list[tuple[str, list[PeerId], PeerId]], size: int, seed: int
) -> None:
    one, other = view(size, seed), view(size, seed)
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
