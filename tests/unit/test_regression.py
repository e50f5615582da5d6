"""Targets instead of classes, from the samples to the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gossamer_agent.contract import Contract
from gossamer_agent.data import check_y
from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.gate import HoldoutGate
from gossamer_agent.learner import Samples, Score, Training
from gossamer_agent.models import load_learner
from gossamer_agent.tflite import TfliteLearner, squared_error

CONTRACT = Contract("regression", 2, (3,), 8)
X = np.zeros((4, 3), np.float32)


@pytest.fixture(scope="module")
def learner() -> TfliteLearner:
    found = load_learner("regression")
    assert isinstance(found, TfliteLearner)
    return found


def task(rows: int = 200, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 8)).astype(np.float32)
    y = np.maximum(x[:, :1], 0) + 0.5 * x[:, 1:2]
    return Samples(x, y)


def test_one_output_is_enough_and_the_task_is_part_of_the_digest() -> None:
    one = Contract("regression", 1, (3,), 8)
    assert one.digest() != CONTRACT.digest()
    assert CONTRACT.digest() != Contract("classification", 2, (3,), 8).digest()
    with pytest.raises(ModelError, match="classes"):
        Contract("regression", 0, (3,), 8)


def test_floats_with_two_dimensions_are_targets() -> None:
    samples = Samples(X, np.ones((4, 2)))
    assert samples.y.dtype == np.float32
    samples.check(CONTRACT)
    assert len(samples.take(np.array([1, 2]))) == 2
    assert not samples.y.flags.writeable
    with pytest.raises(DataError, match="needs classes"):
        samples.check(Contract("classification", 2, (3,), 8))
    with pytest.raises(DataError, match=r"\(n, 2\)"):
        Samples(X, np.zeros(4, np.int32)).check(CONTRACT)
    with pytest.raises(DataError, match=r"\(n, 2\)"):
        Samples(X, np.ones((4, 3))).check(CONTRACT)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_targets_that_are_not_finite_are_refused(bad: float) -> None:
    y = np.ones((4, 2))
    y[2, 1] = bad
    with pytest.raises(DataError, match="not a finite"):
        Samples(X, y)
    with pytest.raises(DataError, match="the first is row 2"):
        check_y("mine.npz", y, 4)


def test_a_column_of_floats_is_told_how_to_become_targets() -> None:
    assert check_y("mine.npz", np.ones((4, 2)), 4).shape == (4, 2)
    with pytest.raises(DataError, match=r"floats of shape \(rows, outputs\)"):
        check_y("mine.npz", np.ones(4), 4)
    with pytest.raises(DataError, match="x has 4 rows"):
        check_y("mine.npz", np.ones((5, 2)), 4)


def test_a_regression_is_learned(learner: TfliteLearner) -> None:
    train, test = task(), task(seed=1)
    before = learner.evaluate(learner.init(), test)
    settings = Training(steps=400, batch=32, learning_rate=0.05)
    trained = learner.train(learner.init(), train, settings, np.random.default_rng(0))
    after = learner.evaluate(trained.params, test)
    assert after.accuracy > 0.9
    assert after.loss < 0.2 * before.loss


def test_wrong_targets_never_reach_the_runtime(learner: TfliteLearner) -> None:
    x, params = np.zeros((2, 8), np.float32), learner.init()
    for y in (np.zeros(2, np.int32), np.zeros((2, 2), np.float32), np.zeros((2, 1))):
        with pytest.raises(DataError, match="targets must be finite float32"):
            learner.grad(params, x, y)
    with pytest.raises(DataError, match="targets must be finite float32"):
        learner.grad(params, x, np.full((2, 1), np.nan, np.float32))
    with pytest.raises(DataError, match="exceeds 1024"):
        learner.grad(params, np.zeros((1025, 8), np.float32), np.zeros((1025, 1), np.float32))


def test_the_score_is_the_share_of_variance_explained() -> None:
    wanted = np.array([[0.0], [2.0]])
    assert squared_error(wanted, wanted) == Score(0.0, 1.0, 2, 2.0)
    assert squared_error(np.ones((2, 1)), wanted) == Score(1.0, 0.0, 2, 2.0)
    assert squared_error(np.full((2, 1), 9.0), wanted).accuracy == 0.0
    assert squared_error(np.zeros((2, 1)), np.full((2, 1), 0.1)).blind == 1.0


def test_the_gate_knows_blind_guessing_of_a_regression() -> None:
    gate, before = HoldoutGate(), Score(0.1, 0.9, 20, 2.0)
    assert gate.decide(before, Score(3.0, 0.0, 20, 2.0), 1).commit
    assert not gate.decide(before, Score(3.1, 0.0, 20, 2.0), 1).commit


def test_a_file_of_targets_is_dealt_out(tmp_path: Path) -> None:
    from gossamer_simulator.attackers.false_learning import flipped
    from gossamer_simulator.datasets import load_dataset
    from gossamer_simulator.partitions import partition

    samples, rng = task(100), np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", x=samples.x, y=samples.y)
    data = load_dataset(str(tmp_path / "mine.npz"), rng)
    assert (data.classes, data.y.shape[1]) == (1, 1)
    parts = partition("dirichlet:0.3", data.y, None, 5, rng)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(data.y)))
    means = [float(data.y[rows].mean()) for rows in parts]
    assert max(means) - min(means) > 0.2
    assert np.array_equal(flipped(samples, 1).y, -samples.y)
