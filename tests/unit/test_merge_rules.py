"""The way into every rule: order, hostile values, too few inputs, our own mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gossamer_agent.cli.init import init
from gossamer_agent.errors import ConfigError
from gossamer_agent.events import Merge, MergeDone
from gossamer_agent.learner import Score, Training
from gossamer_agent.learning import LocalLearning
from gossamer_agent.merge import (
    BOUND,
    ONE_VOTE,
    RULES,
    Merged,
    MergeInput,
    Setting,
    get_rule,
    merge,
    rule_names,
)
from gossamer_agent.merge import rules as merge_rules
from gossamer_crypto.identity import PeerId
from gossamer_simulator.options import learning_options
from gossamer_simulator.scenario import Scenario

NAMES = rule_names()
# These may well leave out the own row.
SELECTING = tuple(name for name in NAMES if "krum" in name)
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
@settings(max_examples=10, deadline=None)
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
@settings(max_examples=20, deadline=None)
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
    assert merged.votes[own] > 0 or name in SELECTING
    assert merged.votes.sum() > 0
    assert ((merged.clip >= 0) & (merged.clip <= 1)).all()
    assert (merged.clip[merged.votes == 0] == 0).all()
    assert np.isfinite(merged.radius)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("value", "position"), [(np.nan, 0), (np.inf, 499), (-np.inf, 0), (1.001e4, 499), (-3e38, 0)]
)
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


@pytest.mark.parametrize("name", [name for name in NAMES if get_rule(name).inputs_min > 2])
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
    for name in NAMES:
        rule = get_rule(name)
        assert rule.name == name
        assert rule.uses_reputation == rule.uses_holdout == (name == "gossamer")
        assert rule.uses_losses == (name in ("ubar", "weighted-median:accuracy"))


@pytest.mark.parametrize("name", NAMES)
def test_one_two_and_three_rows_without_the_quorum(name: str) -> None:
    for count in (1, 2, 3):
        rows = random_rows(count, 50, seed=count)
        merged = get_rule(name).merge(list(rows), Setting(own=count - 1))
        assert np.isfinite(merged.vector).all()
        assert merged.votes.shape == merged.clip.shape == merged.distances.shape == (count,)
        if count == 1:
            assert merged.vector.tobytes() == rows[0].tobytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 4, 8])
def test_equal_rows_are_a_fixed_point(name: str, count: int) -> None:
    rows = np.tile(random_rows(1), (count, 1))
    merged = merge(name, inputs_of(rows), peer(0), loss_of=lambda _: 1.0)
    # Only the mean adds before it divides.
    np.testing.assert_allclose(merged.vector, rows[0], rtol=3e-7 if "mean" in name else 0)
    assert not np.isnan(merged.distances).any()
    assert merged.radius < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_of_self_centred_peers_alone_depend_on_who_merges(name: str) -> None:
    rows = random_rows(8)
    rows += 2
    results = {merge(name, inputs_of(rows), peer(own)).vector.tobytes() for own in range(8)}
    ends = ("clipping", "clipped-gossip", "balance", "ubar", "similarity")
    centred = name.endswith(ends)
    assert (len(results) > 1) == (centred or name.startswith("bucketing"))


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
    with pytest.raises(ConfigError, match=r"unknown rule 'krumm'.*gossamer, .*similarity; nnm"):
        get_rule("krumm")
    for name in ("nnm+gossamer", "nnm+ubar", "nnm+nnm+krum", "bucketing", "nnm+", "+krum", ""):
        with pytest.raises(ConfigError, match="unknown rule"):
            get_rule(name)
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


def test_inputs_of_one_group_are_told_to_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Setting] = []
    rows = random_rows(7, 10)
    rows[2] = np.nan
    bare = get_rule("median")

    def spy(rows: Sequence[np.ndarray], setting: Setting) -> Merged:
        seen.append(setting)
        return bare.merge(rows, setting)

    monkeypatch.setattr(merge_rules, "get_rule", lambda _: replace(bare, merge=spy))
    groups = [(b"b",), (), (b"a",), (b"a", b"b"), (), (b"b",), (b"a",)]
    inputs = [MergeInput(peer(n), row, groups[n]) for n, row in enumerate(rows)]
    initial = np.zeros(10, np.float32)
    merge("median", inputs[::-1], peer(4), round_=7, initial=initial)
    (told,) = seen
    assert (told.own, told.round, told.groups) == (3, 7, ((0, 2, 4), (2, 5)))
    assert told.initial is initial


def test_losses_have_a_place_for_every_input() -> None:
    rows = random_rows(8)
    rows[5] = np.inf
    merged = merge("ubar", inputs_of(rows), peer(6), loss_of=lambda vector: float(vector[0]))
    assert merged.losses is not None
    asked = ~np.isnan(merged.losses)
    assert np.count_nonzero(asked) == 5  # itself, and the four nearest of six others
    assert asked[6]
    assert not asked[5]
    np.testing.assert_array_equal(merged.losses[asked], rows[asked, 0].astype(np.float64))
    assert merge("median", inputs_of(rows), peer(6)).losses is None


class CountingLearner:
    """Its loss is the first parameter; counts how often it is asked."""

    contract = SimpleNamespace(bound=10.0)

    def __init__(self) -> None:
        self.asked = 0

    def evaluate(self, params: np.ndarray, data: str) -> Score:
        assert data == "holdout"
        self.asked += 1
        return Score(loss=float(params[0]), accuracy=0.5, samples=1)


@pytest.mark.parametrize(("name", "asked"), [("ubar", 5), ("median", 0), ("gossamer", 0)])
def test_a_device_scores_inputs_only_for_a_rule_that_asks(name: str, asked: int) -> None:
    learner = CountingLearner()
    parts: dict[str, Any] = {"learner": learner, "training": None, "holdout": "holdout"}
    learning = LocalLearning(settings=Training(), rng=np.random.default_rng(0), **parts)
    inputs = tuple(inputs_of(random_rows(6)))
    initial = inputs[1].vector - 3
    question = Merge(rule=name, inputs=inputs, own=peer(2), round=4, initial=initial)
    done = learning.compute(question)
    assert isinstance(done, MergeDone)
    assert learner.asked == asked
    expected = merge(
        name, inputs, peer(2), round_=4, initial=initial, loss_of=lambda row: float(row[0])
    )
    assert arrays_of(done.merged) == arrays_of(expected)


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_can_be_chosen(name: str) -> None:
    Scenario(rule=name).check()
    assert len(name) <= 64, "a genesis has no room for it"


def test_the_help_names_every_rule() -> None:
    for command in (learning_options(click.command()(lambda: None)), init):
        told = next(option.help for option in command.params if option.name == "rule")
        assert told is not None
        assert all(name in told for name in (*RULES, "nnm+RULE", "bucketing+RULE"))
