"""Exact copies are one input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.copies import distinct
from gossamer_agent.merge.gossamer import gossamer
from gossamer_agent.merge.setting import Setting

SIZE = 300


def honest(count: int, seed: int = 1) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(count, SIZE)).astype(np.float32))


def test_five_copies_among_nine_inputs_give_the_merge_of_the_five_distinct_ones() -> None:
    """Nine inputs of which most are equal would else be a swarm of one."""
    rows = honest(5)
    copied = [rows[0], *(rows[1].copy() for _ in range(4)), rows[2], rows[1], *rows[3:]]
    initial = np.full(SIZE, -3, np.float32)
    alone = gossamer(rows, Setting(own=0, initial=initial))
    merged = gossamer(copied, Setting(own=0, initial=initial))
    assert merged.vector.tobytes() == alone.vector.tobytes()
    assert (merged.radius, merged.progress) == (alone.radius, alone.progress)
    assert merged.progress > 0
    kept = [0, 1, 5, 7, 8]  # of the copies the first
    assert merged.votes[kept].tolist() == alone.votes.tolist()
    assert np.delete(merged.votes, kept).tolist() == [0] * 4
    assert np.delete(merged.clip, kept).tolist() == [0.0] * 4
    assert merged.distances[[1, 2, 3, 4, 6]].tolist() == [alone.distances[1]] * 5
    assert alone.radius > 1, "no copy has made a ball small"


def test_the_own_row_is_kept_and_votes() -> None:
    rows = honest(4)
    found = distinct([rows[2].copy(), rows[0], rows[1], rows[2], rows[3]], Setting(own=3))
    assert (found.kept, found.place.tolist()) == ([1, 2, 3, 4], [2, 0, 1, 2, 3])
    merged = gossamer([rows[2].copy(), rows[0], rows[1], rows[2], rows[3]], Setting(own=3))
    assert merged.votes[0] == 0
    assert merged.votes[3] > 0


def test_a_newcomer_that_copies_does_not_bound_the_vote_of_the_copied() -> None:
    rows = honest(3)
    groups = ((0, 1), (0, 4))
    setting = Setting(own=2, groups=groups)
    found = distinct([rows[0], rows[0], rows[1], rows[0], rows[2]], setting)
    assert found.kept == [2, 3, 4]
    assert found.place.tolist() == [1, 1, 0, 1, 2]
    assert found.setting(setting) == replace(setting, own=0, groups=((2,),))


def test_only_equal_rows_are_copies() -> None:
    row = honest(1)[0]
    late, tiny = row.copy(), row.copy()
    late[-1] += 1
    tiny[100] = np.nextafter(tiny[100], np.float32(9))
    found = distinct([row, late, tiny], Setting(own=0))
    assert (found.kept, found.place.tolist()) == ([0, 1, 2], [0, 1, 2])


@pytest.mark.parametrize("own", range(3))
def test_nothing_but_copies_is_one_input(own: int) -> None:
    row = honest(1)[0]
    merged = gossamer([row, row.copy(), row.copy()], Setting(own=own))
    assert merged.vector.tobytes() == row.tobytes()
    assert np.flatnonzero(merged.votes).tolist() == [own]
    assert (merged.radius, merged.distances.tolist()) == (0.0, [0.0] * 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.data())
def test_one_of_each_kind_is_kept(kinds: list[int], data: st.DataObject) -> None:
    originals = honest(4)
    own = data.draw(st.integers(0, len(kinds) - 1))
    found = distinct([originals[kind].copy() for kind in kinds], Setting(own=own))
    assert found.kept == sorted(found.kept)
    assert own in found.kept
    assert sorted(kinds[row] for row in found.kept) == sorted(set(kinds))
    assert [kinds[found.kept[place]] for place in found.place] == kinds
