from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gossamer_agent.synthetic import SyntheticLearner
from gossamer_simulator.datasets import Dataset, Split
from gossamer_simulator.own_data import own_tests
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare, result_of, run


def dataset(**changes: Any) -> Dataset:
    x = np.zeros((4, 2), np.float32)
    settings: dict[str, Any] = {
        "name": "tiny",
        "x": np.zeros((6, 2), np.float32),
        "y": np.array([0, 0, 0, 1, 1, 2], np.int32),
        "device": np.array([0, 0, 0, 1, 1, 2], np.int32),
        "classes": 3,
        "test": Split(x, np.array([0, 1, 1, 0], np.int32)),
        "test_device": np.array([0, 0, 1, 1], np.int32),
    }
    return Dataset(**settings | changes)


PARTS = [np.array([0, 1, 2]), np.array([2, 3, 4]), np.array([5])]


class Says(SyntheticLearner):
    """Answers with class 0."""

    def infer(self, params: Any, x: Any) -> Any:
        return np.tile(np.array([1, 0, 0], np.float32), (len(x), 1))


def test_by_subject_it_is_what_the_own_subjects_recorded() -> None:
    one, two, three = own_tests("subject", dataset(), PARTS)
    assert one is not None and one.samples.y.tolist() == [0, 1]
    assert two is not None and two.samples.y.tolist() == [0, 1, 1, 0]  # of both subjects
    assert three is None
    assert one.accuracy(Says(2), np.zeros(2, np.float32)) == 0.5


def test_else_classes_count_as_among_the_own_training_rows() -> None:
    one, two, three = own_tests("iid", dataset(), PARTS)
    assert one is not None and one.weights.tolist() == [0.5, 0, 0, 0.5]
    assert two is not None and two.weights == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 6])
    assert two.accuracy(Says(2), np.zeros(2, np.float32)) == pytest.approx(1 / 3)
    assert three is None  # no test row has its class


def test_a_regression_has_none() -> None:
    assert own_tests("iid", dataset(y=np.zeros((6, 1), np.float32)), PARTS) == [None] * 3


def test_the_result_has_one_for_each_honest_peer() -> None:
    scenario = Scenario(peers=5, rounds=1, byzantine=0.2, attack="nan", model="softmax")
    setup = prepare(scenario)
    own = result_of(scenario, setup, run(scenario, setup, lambda *_: None))["own_data"]
    assert len(own["per_peer_last"]) == 4
    assert own["min"] == min(own["per_peer_last"]) <= own["mean"] <= 1.0


def test_peers_make_their_own_numbers_of_steps() -> None:
    scenario = Scenario(local_steps=8, steps_spread=4.0)
    steps = [scenario.training_of(index).steps for index in range(50)]
    assert 2 <= min(steps) < 5 and 16 < max(steps) <= 32
    assert Scenario().training_of(3) == Scenario().training
