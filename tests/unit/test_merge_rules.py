"""The way into every rule: order, hostile values, too few inputs, our own mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer_agent.errors import ConfigError
from gossamer_agent.merge import BOUND, ONE_VOTE, RULES, Merged, MergeInput, get_rule, merge
from gossamer_crypto.identity import PeerId

NAMES = tuple(RULES)
ANY_FLOAT = st.floats(width=32)


def peer(number: int) -> PeerId:
    return PeerId(bytes([number]) * 32)


def inputs_of(rows: np.ndarray) -> list[MergeInput]:
    return [MergeInput(peer(number), row) for number, row in enumerate(rows)]


def random_rows(count: int = 9, size: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)


def arrays_of(merged: Merged) -> list[bytes]:
    arrays = (merged.vector, merged.votes, merged.clip, merged.distances)
    return [array.tobytes() for array in arrays]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**32 - 1))
def test_order_of_inputs_does_not_matter(name: str, random, seed: int) -> None:
    rows = random_rows(7, 60, seed)
    rows[3] = rows[2]
    inputs = inputs_of(rows)
    expected = merge(name, inputs, peer(0))
    random.shuffle(inputs)
    merged = merge(name, inputs, peer(0))
    assert arrays_of(merged) == arrays_of(expected)
    assert merged.radius == expected.radius


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_peers_send_the_result_is_finite(name: str, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 5)))
    rows = data.draw(hnp.arrays(np.float32, shape, elements=ANY_FLOAT))
    own = data.draw(st.integers(0, shape[0] - 1))
    rows[own] = np.clip(np.nan_to_num(rows[own]), -BOUND, BOUND)
    merged = merge(name, inputs_of(rows), peer(own))
    assert np.isfinite(merged.vector).all()
    assert merged.vector.shape == shape[1:]
    assert (np.abs(merged.vector) <= BOUND * (1 + 1e-6)).all()
    assert not (np.signbit(merged.vector) & (merged.vector == 0)).any()
    assert ((merged.vector == 0) | (np.abs(merged.vector) >= np.float32(1e-30))).all()
    usable = (np.abs(np.nan_to_num(rows, nan=np.inf)) <= BOUND).all(axis=1)
    assert (merged.votes[~usable] == 0).all()
    assert (merged.clip[~usable] == 0).all()
    assert np.isinf(merged.distances[~usable]).all()
    assert merged.votes[own] > 0
    assert np.isfinite(merged.radius)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.001e4, -3e38])
@pytest.mark.parametrize("position", [0, 499])
def test_hostile_rows_are_as_if_they_were_not_there(name: str, value: float, position: int) -> None:
    rows = random_rows()
    hostile = rows.copy()
    hostile[[2, 6], position] = value
    merged = merge(name, inputs_of(hostile), peer(4))
    honest = [item for item in inputs_of(rows) if item.peer not in {peer(2), peer(6)}]
    expected = merge(name, honest, peer(4))
    assert merged.vector.tobytes() == expected.vector.tobytes()
    assert merged.votes.tolist() == np.insert(expected.votes, [2, 5], 0).tolist()
    assert merged.radius == expected.radius


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_value_far_behind_is_found(name: str) -> None:
    rows = random_rows(4, 40_000)
    rows[1, 39_999] = np.nan
    assert merge(name, inputs_of(rows), peer(0)).votes[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone(name: str) -> None:
    rows = random_rows()
    rows[0, :3] = [-0.0, 1e-40, -1e-40]
    kept = rows.copy()
    rows.flags.writeable = False
    merge(name, inputs_of(rows), peer(0))
    assert rows.tobytes() == kept.tobytes()


@pytest.mark.parametrize("name", ["gossamer", "median", "trimmed-mean"])
def test_with_too_few_inputs_the_own_vector_stays(name: str) -> None:
    rows = random_rows(4)
    rows[[0, 3]] = np.inf
    merged = merge(name, inputs_of(rows), peer(2))
    assert merged.vector.tobytes() == rows[2].tobytes()
    assert merged.vector is not rows[2]
    assert merged.votes.tolist() == [0, 0, ONE_VOTE, 0]
    assert merged.radius == 0


def test_the_mean_of_two() -> None:
    rows = np.array([[1.0, 2.0], [3.0, -2.0]], np.float32)
    assert merge("mean", inputs_of(rows), peer(0)).vector.tolist() == [2.0, 0.0]


def test_bare_rules_are_those_of_the_literature() -> None:
    rows = random_rows(9)
    inputs, ranked = inputs_of(rows), np.sort(rows, axis=0)
    median = merge("median", inputs, peer(0))
    np.testing.assert_array_equal(median.vector, ranked[4])
    mean = merge("mean", inputs, peer(0))
    np.testing.assert_allclose(mean.vector, rows.mean(axis=0), atol=1e-6)
    trimmed = merge("trimmed-mean", inputs, peer(0))
    np.testing.assert_allclose(trimmed.vector, ranked[2:7].mean(axis=0), atol=1e-6)
    for merged in (median, mean, trimmed):
        assert (merged.votes == ONE_VOTE).all()
        assert (merged.clip == 1).all()
        expected = np.sqrt(((rows.astype(np.float64) - merged.vector) ** 2).sum(axis=1))
        np.testing.assert_allclose(merged.distances, expected, rtol=1e-6)
        assert merged.radius == np.sort(merged.distances)[4]


def test_only_the_default_rule_uses_reputation_and_holdout() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.uses_reputation == rule.uses_holdout == (name == "gossamer")


def test_a_smaller_bound_leaves_more_out() -> None:
    rows = random_rows(4)
    rows[1, 0] = 50
    assert merge("median", inputs_of(rows), peer(0)).votes.all()
    assert merge("median", inputs_of(rows), peer(0), bound=49).votes[1] == 0
    assert merge("median", inputs_of(rows), peer(0), bound=50).votes.all()


def test_values_at_the_largest_bound() -> None:
    rows = random_rows(5, 50)
    rows *= np.float32(1e29)
    rows[3] = np.float32(9e29)
    rows[4] = np.float32(-9e29)
    for name in NAMES:
        assert np.isfinite(merge(name, inputs_of(rows), peer(0), bound=1e30).vector).all()


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown merge rule 'krumm'.*gossamer, median"):
        get_rule("krumm")
    with pytest.raises(ConfigError, match="krumm"):
        merge("krumm", inputs_of(random_rows()), peer(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inputs: inputs[1:], "the own one"),
        (lambda inputs: [*inputs, inputs[3]], "once"),
        (lambda inputs: [], "own one"),
        (lambda inputs: [*inputs, MergeInput(peer(99), np.zeros(2, np.float32))], "one length"),
        (
            lambda inputs: [MergeInput(peer(0), np.full(500, np.nan, np.float32)), *inputs[1:]],
            "own",
        ),
    ],
)
def test_our_own_mistakes_are_value_errors(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        merge("gossamer", change(inputs_of(random_rows())), peer(0))


@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, np.inf, 2e30])
def test_impossible_bounds_are_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        merge("gossamer", inputs_of(random_rows()), peer(0), bound=bound)
