"""The default rule: votes, attacks it was built against, and its independence of CPUs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.gossamer import gossamer as gossamer_rule
from gossamer_agent.merge.kernels import coordinate_median
from gossamer_agent.merge.result import ONE_VOTE, Merged, MergeInput
from gossamer_agent.merge.rules import merge
from gossamer_agent.merge.setting import Setting
from gossamer_crypto.identity import PeerId

Rows = Sequence[np.ndarray] | np.ndarray
SEEDS = st.integers(0, 2**32 - 1)


def gossamer(rows: Rows, own: int = 0, **more: object) -> Merged:
    return gossamer_rule(rows, Setting(own=own, **more))  # type: ignore[arg-type]


def swarm(count: int, size: int = 2000, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """Honest peers: around a common centre at zero."""
    return (spread * np.random.default_rng(seed).normal(size=(count, size))).astype(np.float32)


def norm(vector: np.ndarray) -> float:
    return math.sqrt(float((vector.astype(np.float64) ** 2).sum()))


# The definition ----------------------------------------------------------------------------------


def median_of_votes(values: np.ndarray, votes: np.ndarray) -> float:
    """The smallest value such that the votes up to it are half of all."""
    return min(v for v in values if 2 * votes[values <= v].sum() >= votes.sum())


def shared_by_distance(rows: np.ndarray) -> np.ndarray:
    median = np.sort(rows, axis=0)[(len(rows) - 1) // 2]
    radius = sorted(norm(row - median) for row in rows)[(len(rows) - 1) // 2]
    votes = []
    for row in rows:
        far = [norm(row - other) / (0.35 * 1.35 * radius) if radius else 9 for other in rows]
        likes = [max(0, 1 - u**2 / 4) ** 4 for u in far]
        votes.append(round(ONE_VOTE / sum(likes)) if radius else ONE_VOTE)
    return np.array(votes)


def squared_balls(rows: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """The smallest squares such that the votes within are more than half of all."""
    squares = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    return np.array(
        [min(s for s in line if 2 * votes[line <= s].sum() > votes.sum()) for line in squares]
    )


def kept_by_progress(rows: np.ndarray, votes: np.ndarray, setting: Setting) -> np.ndarray:
    kept = np.ones(len(rows))
    if setting.initial is None or len(rows) < 5:
        return kept
    median = np.sort(rows, axis=0)[(len(rows) - 1) // 2]
    along = (rows - median) @ (median - setting.initial.astype(np.float64))
    middle = median_of_votes(along, votes)
    deviation = 1.48 * median_of_votes(np.abs(along - middle), votes)
    if deviation == 0:
        return kept
    for row in np.argsort(along, kind="stable")[: (len(rows) - 1) // 3]:
        if row != setting.own:
            kept[row] = min(max(1.2 - (middle - along[row]) / deviation, 0), 1)
    return kept


def shared_by_direction(rows: np.ndarray, votes: np.ndarray, whole: np.ndarray) -> np.ndarray:
    centre, shared = np.sort(rows, axis=0)[(len(rows) - 1) // 2], votes
    for _ in range(3):
        pulls = rows - centre
        norms = np.array([norm(pull) for pull in pulls])
        # Where the centre hits an input, rounding decides which way that pulls.
        assume(not ((norms > 0) & (norms < 1e-6 * norms.max())).any())
        shared = np.zeros_like(votes)
        for i in np.flatnonzero(votes):
            likes = 1.0
            for j in np.flatnonzero(votes):
                if i != j and norms[i] and norms[j]:
                    cosine = min(float(pulls[i] @ pulls[j]) / (norms[i] * norms[j]), 1)
                    likes += max((cosine - 0.2) / 0.8, 0) ** 2
            shared[i] = min(votes[i], math.floor(whole[i] / likes + 0.5))
        radius = median_of_votes(norms, shared)
        clip = np.array([1.0 if n <= radius else radius / n for n in norms])
        centre = centre + (shared * clip) @ pulls / shared.sum()
    return shared


def capped(votes: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Real numbers; groups that share no row, and somebody outside of them."""
    inside = [row for group in groups for row in group]
    sums = [votes[list(group)].sum() for group in groups]
    low, high = 0.0, float(votes.sum())
    for _ in range(60):
        cap = (low + high) / 2
        total = np.delete(votes, inside).sum() + sum(min(one, cap) for one in sums)
        low, high = (cap, high) if 3 * cap <= total else (low, cap)
    result = votes.astype(np.float64)
    for group, total in zip(groups, sums, strict=True):
        result[list(group)] *= min(1, low / total) if total else 1
    return result


def without_copies(rows: np.ndarray, setting: Setting) -> tuple[list[int], list[int], Setting]:
    """Which rows are kept, which of them each row equals, and the setting of those kept.

    Of equal rows the own one is kept, else one in the fewest groups, else the first.
    """

    def first(equal: list[int]) -> int:
        if setting.own in equal:
            return setting.own
        return min(equal, key=lambda row: (sum(row in g for g in setting.groups), row))

    stand_for = [first([i for i, x in enumerate(rows) if (x == row).all()]) for row in rows]
    kept = sorted(set(stand_for))
    groups = [tuple(kept.index(row) for row in g if row in kept) for g in setting.groups]
    told = tuple(group for group in groups if group)
    own = kept.index(setting.own)
    told_of_kept = Setting(own=own, groups=told, initial=setting.initial)
    return kept, [kept.index(row) for row in stand_for], told_of_kept


def by_definition(rows: np.ndarray, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """Votes and radii of balls; a copy has no vote, and its original's ball."""
    kept, place, setting = without_copies(rows, setting)
    votes = np.zeros(len(rows))
    votes[kept] = votes_by_definition(rows[kept], setting)
    balls = np.sqrt(squared_balls(rows[kept], shared_by_distance(rows[kept])))
    return votes, balls[place]


def votes_by_definition(rows: np.ndarray, setting: Setting) -> np.ndarray:
    votes = shared_by_distance(rows)
    balls = squared_balls(rows, votes)
    kept = np.where((balls > 9 * balls.min()) & (balls.min() > 0), 0.0, 1.0)
    kept[setting.own] = 1
    kept = kept * kept_by_progress(rows, votes * (kept > 0), setting)
    votes, whole = np.rint(votes * kept), np.rint(ONE_VOTE * kept)
    return capped(shared_by_direction(rows, votes, whole), setting.groups)


def quantile(values: np.ndarray, votes: np.ndarray, fifths: float) -> float:
    return min(v for v in values if 5 * votes[values <= v].sum() >= fifths * votes.sum())


def mean_by_definition(rows: np.ndarray, votes: np.ndarray) -> np.ndarray:
    result = []
    for column in rows.T:
        voting = column[votes > 0], votes[votes > 0]
        low, middle, high = (quantile(*voting, fifths) for fifths in (2, 2.5, 3))
        reach = 3 * (high - low)
        result.append((np.clip(column, middle - reach, middle + reach) * votes).sum() / votes.sum())
    return np.array(result)


@st.composite
def swarms(draw: st.DrawFn) -> tuple[np.ndarray, Setting]:
    """1 to 12 rows of integers, so that both compute with the same Gram matrix exactly."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(SEEDS))
    rows = rng.normal(size=(count, size))
    liars = draw(st.integers(0, count // 2))
    match draw(st.sampled_from(["none", "copies", "noisy", "far", "apart", "equal", "behind"])):
        case "copies":
            rows[:liars] = rows[-1]
        case "noisy":
            rows[:liars] = rows[-1] + rng.normal(size=(liars, size)) / 4
        case "far":
            rows[:liars] *= 50
        case "apart":
            rows[:liars] += 6
        case "equal":
            rows[liars:] = rows[-1]
        case "behind":
            rows[:liars] -= 1
    rng.shuffle(rows)
    rows = np.rint(64 * rows).astype(np.float32)
    own = draw(st.integers(0, count - 1))
    names = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    names[own] = 0
    groups = [tuple(row for row in range(count) if names[row] == group) for group in (1, 2)]
    initial = draw(st.sampled_from([None, np.full(size, -100, np.float32)]))
    told = tuple(group for group in groups if group)
    return rows, Setting(own=own, groups=told, initial=initial)


@settings(max_examples=300, deadline=None)
@given(swarms())
def test_equals_the_definition_in_float64(case: tuple[np.ndarray, Setting]) -> None:
    rows, setting = case
    wide = rows.astype(np.float64)
    merged = gossamer_rule(rows, setting)
    votes, balls = by_definition(wide, setting)
    np.testing.assert_allclose(merged.votes, votes, atol=3)
    np.testing.assert_allclose(
        merged.vector, mean_by_definition(wide, merged.votes), rtol=1e-5, atol=1e-5 * np.ptp(wide)
    )
    np.testing.assert_allclose(merged.distances, balls, rtol=1e-12)
    assert merged.radius == merged.distances.min()
    if setting.initial is not None:
        kept, _, _ = without_copies(wide, setting)
        middle = np.sort(wide[kept], axis=0)[(len(kept) - 1) // 2]
        assert merged.progress == pytest.approx(norm(middle - setting.initial), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(swarms())
def test_the_own_input_has_a_vote_and_groups_have_a_third(case: tuple[np.ndarray, Setting]) -> None:
    rows, setting = case
    votes = gossamer_rule(rows, setting).votes
    assert votes.dtype == np.int64
    assert ((votes >= 0) & (votes <= ONE_VOTE)).all()
    assert votes[setting.own] * len(rows) >= ONE_VOTE - len(rows)
    for group in setting.groups:
        assert 3 * votes[list(group)].sum() <= votes.sum()


# Shared votes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [2, 3, 4, 5])
def test_votes_of_clones_add_up_to_one(copies: int) -> None:
    rows = swarm(11)
    rows[:copies] = rows[0]
    votes = gossamer(rows).votes
    assert votes[:copies].sum() == pytest.approx(ONE_VOTE, abs=copies)
    assert (votes[copies:] == ONE_VOTE).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), SEEDS)
def test_votes_of_near_clones_add_up_to_little_more_than_one(copies: int, seed: int) -> None:
    rows = swarm(11, 300, seed=seed)
    rows[1:copies] = rows[0] + 0.05 * rows[1:copies]
    votes = gossamer(rows).votes
    assert votes[:copies].sum() + copies >= 0.9 * ONE_VOTE
    assert votes[:copies].sum() < 1.2 * ONE_VOTE


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 4), SEEDS)
def test_noise_does_not_hide_what_copies_pull_at(copies: int, seed: int) -> None:
    """As far from each other as honest peers are, but all drawn the same way."""
    rows = swarm(13, seed=seed)
    rows[:copies] += 0.25
    votes = gossamer(rows, own=12).votes
    assert votes[:copies].sum() < 1.5 * ONE_VOTE
    assert (votes[copies:] > 0.97 * ONE_VOTE).all()


def test_honest_peers_keep_whole_votes() -> None:
    assert (gossamer(swarm(9)).votes == ONE_VOTE).all()


def test_far_outliers_do_not_make_honest_peers_look_alike() -> None:
    rows = swarm(11)
    rows[7:] *= 1e4
    votes = gossamer(rows).votes
    assert (votes[:7] == ONE_VOTE).all()
    assert not votes[7:].any()


def test_a_majority_of_equal_vectors_is_one_input() -> None:
    """Who has learnt nothing, or says what another says, holds nobody back and frames nobody."""
    rows = np.zeros((9, 200), np.float32)
    rows[6:] = swarm(3, 200, spread=5)
    merged = gossamer(rows, initial=rows[0])
    assert merged.votes.tolist() == [ONE_VOTE, *[0] * 5, *[ONE_VOTE] * 3]
    assert merged.radius > 0


# Who stands apart --------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "voting"), [(1.0, True), (2.5, True), (4.0, False)])
def test_who_stands_apart_has_no_vote_unless_it_is_the_own(factor: float, voting: bool) -> None:
    rows = swarm(9)
    rows[3] *= factor
    merged = gossamer(rows, own=0)
    assert (merged.votes[3] > 0) == voting
    assert (np.delete(merged.votes, 3) == ONE_VOTE).all()
    assert merged.votes[3] > 0 or merged.clip[3] == 0
    assert gossamer(rows, own=3).votes[3] == ONE_VOTE


@pytest.mark.parametrize("liars", [2, 3, 4])
def test_a_minority_that_stands_together_but_apart_has_no_vote(liars: int) -> None:
    rows = swarm(9)
    rows[:liars] += 0.5
    votes = gossamer(rows, own=8).votes
    assert not votes[:liars].any()
    assert (votes[liars:] > 0.99 * ONE_VOTE).all()


# Progress ----------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(0, 9), SEEDS)
def test_who_lies_behind_the_progress_loses_votes(liars: int, own: int, seed: int) -> None:
    rows = swarm(10, 500, seed=seed)
    rows[:liars] -= 0.03
    initial = np.full(500, -1, np.float32)
    votes, unknown = (gossamer(rows, own, initial=start).votes for start in (initial, None))
    fewer = np.flatnonzero(votes < 0.99 * unknown)
    assert fewer.size <= 3
    assert own not in fewer
    assert {row for row in range(liars) if row != own} <= set(fewer)
    for row in set(range(liars)) - {own}:
        assert votes[row] < 0.2 * ONE_VOTE


def test_without_progress_nobody_is_behind() -> None:
    rows = swarm(9)
    assert (gossamer(rows, initial=coordinate_median(rows)).votes == ONE_VOTE).all()


@pytest.mark.parametrize("noise", [0, 1])
def test_a_small_reversed_step_does_not_stop_progress(noise: int) -> None:
    """Inner-product manipulation: 3 of 9 send the same small reversed step, or noisy ones."""
    step = np.full(2000, 0.02, np.float32)
    initial = np.full(2000, -0.5, np.float32)
    rows = noise * swarm(9, seed=4) - np.float32(1.1) * step
    rows[3:] = swarm(6, seed=5) + step
    assert coordinate_median(rows).mean() < 0.4 * 0.02
    unknown, known = (gossamer(rows, 8, initial=start).vector.mean() for start in (None, initial))
    assert unknown > (0.25 if noise else 0.4) * 0.02
    assert known > 0.8 * 0.02


# Values ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2), st.integers(0, 8), st.sampled_from([0.0, 1e-3]), SEEDS)
def test_a_backdoor_does_not_move_what_all_honest_agree_on(
    liars: int, own: int, spread: float, seed: int
) -> None:
    """Two of nine agree on something else in a twentieth of the coordinates, and else are usual."""
    rows = swarm(9, 400, seed=seed)
    hidden = slice(0, 20)
    rows[:, hidden] *= np.float32(10 * spread)
    rows[:liars, hidden] += np.float32(0.2)
    merged = gossamer(rows, own, initial=np.full(400, -1, np.float32))
    assert np.abs(merged.vector[hidden]).max() <= 6 * spread
    assert liars == 0 or merged.votes[:liars].any(), "they were not found out by other means"


def test_equal_rows_are_a_fixed_point() -> None:
    row = np.random.default_rng(0).normal(size=500).astype(np.float32)
    merged = gossamer([row] * 7, initial=row - 1)
    assert merged.vector.tobytes() == row.tobytes()
    assert not merged.distances.any()
    assert merged.clip.tolist() == [1.0, *[0.0] * 6]


def test_clean_result_is_close_to_the_mean() -> None:
    rows = swarm(9)
    mean = rows.mean(axis=0)
    assert norm(gossamer(rows).vector - mean) < 0.35 * norm(mean)
    assert norm(coordinate_median(rows) - mean) > 0.5 * norm(mean)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda honest: np.full(honest.shape[1], 1e4), id="huge"),
        pytest.param(lambda honest: -10 * honest[0], id="sign-flipping"),
        pytest.param(lambda honest: honest.mean(0) - 1.5 * honest.std(0), id="a-little-is-enough"),
        pytest.param(lambda honest: honest.mean(0) + 0.5, id="shift"),
    ],
)
def test_colluding_copies_move_the_result_by_less_than_a_third_of_a_ball(lie) -> None:
    honest = swarm(8, seed=3)
    liars = np.tile(lie(honest).astype(np.float32), (3, 1))
    merged = gossamer(np.vstack([honest, liars]))
    clean = gossamer(honest)
    assert norm(merged.vector - clean.vector) < clean.radius / 3


def test_result_describes_itself() -> None:
    rows = swarm(9)
    rows[2] *= 2.5
    rows[4] = rows[5]
    rows[6] *= 5
    merged = gossamer(rows)
    assert merged.vector.dtype == np.float32
    assert merged.votes.dtype == np.int64
    assert ((merged.clip >= 0) & (merged.clip <= 1)).all()
    assert np.flatnonzero(merged.clip == 0).tolist() == np.flatnonzero(merged.votes == 0).tolist()
    assert np.flatnonzero(merged.votes == 0).tolist() == [5, 6], "a copy, and one that is apart"
    assert np.delete(merged.clip, [5, 6]).argmin() == 2
    assert merged.distances.argmax() == 6
    assert merged.radius == merged.distances.min() > 0


@pytest.mark.parametrize("own", [0, 1, 2])
def test_one_two_and_three_rows(own: int) -> None:
    row = np.array([1.0, -2.0], np.float32)
    assert gossamer([row]).vector.tobytes() == row.tobytes()
    two = gossamer([row, -row], own=own % 2, initial=row)
    assert (np.abs(two.vector) <= np.abs(row)).all()
    assert two.distances[0] == two.distances[1] == pytest.approx(2 * math.sqrt(5))
    three = gossamer([row, 1.5 * row, 100 * row], own=own, initial=-row)
    assert (three.votes > 0).tolist() == [True, True, own == 2]


def test_no_rows_and_rows_of_unlike_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        gossamer([])
    with pytest.raises(ValueError, match="one length"):
        gossamer(swarm(3, 4), initial=np.zeros(5, np.float32))


@settings(max_examples=50, deadline=None)
@given(swarms(), st.randoms(use_true_random=False))
def test_order_of_inputs_does_not_matter(case: tuple[np.ndarray, Setting], random) -> None:
    rows, told = case
    inputs = [
        MergeInput(
            PeerId(bytes([row + 1]) * 32),
            vector,
            tuple(bytes([n]) for n, group in enumerate(told.groups) if row in group),
        )
        for row, vector in enumerate(rows)
    ]
    own = inputs[told.own].peer
    expected = merge("gossamer", inputs, own, initial=told.initial)
    random.shuffle(inputs)
    merged = merge("gossamer", inputs, own, initial=told.initial)
    assert arrays_of(merged) == arrays_of(expected)
    if len(rows) >= 3:
        assert arrays_of(merged) == arrays_of(gossamer_rule(rows, told))


def arrays_of(merged: Merged) -> list[bytes]:
    arrays = (merged.vector, merged.votes, merged.clip, merged.distances)
    return [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in arrays]
