from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ConfigError, DataError, ModelError
from gossamer_agent.learner import (
    DivergedError,
    Labels,
    Samples,
    Training,
    Vector,
    batches,
    check_params,
    is_finite,
    sgd,
)

CONTRACT = Contract("classification", 3, (4,), 8)


def samples(count: int = 20) -> Samples:
    rng = np.random.default_rng(7)
    return Samples(rng.random((count, 4)), rng.integers(0, 3, count))


def towards_one(weights: Vector, x: Vector, y: Labels) -> tuple[float, Vector]:
    """A bowl around 1 whatever the batch."""
    return float(((weights - 1) ** 2).sum()) / 2, weights - np.float32(1)


def run(settings: Training, start: Vector | None = None, gradient: Any = towards_one) -> Vector:
    first = np.zeros(8, np.float32) if start is None else start
    rng = np.random.default_rng(0)
    return sgd(gradient, first, samples(), settings, rng, bound=1e4).params


# Samples -----------------------------------------------------------------------------------------


def test_samples_are_converted_and_read_only() -> None:
    data = Samples(np.array([[0, 16], [3, 4]], np.uint8), np.array([1, 0], np.uint8))
    assert data.x.dtype == np.float32
    assert data.y.dtype == np.int32
    assert len(data) == 2
    with pytest.raises(ValueError, match="read-only"):
        data.x[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        data.y[0] = 1


def test_making_samples_does_not_freeze_the_callers_array() -> None:
    x = np.zeros((2, 3), np.float32)
    Samples(x, np.zeros(2, np.int32))
    x[0, 0] = 1


NAN = np.array([[0.0, 1.0], [np.nan, 0.0]])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (NAN, [0, 0], "sample 1 holds a value that is not a finite"),
        (np.array([[1e300, 0.0]]), [0], "sample 0 holds a value that is not a finite"),
        (np.zeros((2, 2)), [0], "2 samples but 1 labels"),
        (np.zeros((0, 2)), np.zeros(0, int), "no samples"),
        (np.zeros(2), [0, 0], "at least 2 dimensions"),
        (np.zeros((2, 2)), [[0], [0]], "labels must have 1 dimension"),
        (np.zeros((2, 2)), [0.0, 1.0], "labels must be integers"),
        (np.zeros((2, 2)), [0, -1], "labels must be 0"),
        (np.zeros((2, 2)), [0, 2**40], "labels must be 0"),
        (np.array([["a", "b"]]), [0], "samples must be numbers"),
        (np.zeros((1, 2), complex), [0], "samples must be numbers"),
    ],
)
def test_bad_samples_are_refused_in_one_line(x: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Samples(np.asarray(x), np.asarray(y))
    assert "\n" not in str(caught.value)


def test_samples_that_do_not_fit_the_contract_are_refused() -> None:
    samples().check(CONTRACT)
    with pytest.raises(DataError, match=r"shape \(5,\), the model takes \(4,\)"):
        Samples(np.zeros((2, 5)), np.zeros(2, int)).check(CONTRACT)
    with pytest.raises(DataError, match=r"label 3 is out of range 0\.\.2"):
        Samples(np.zeros((2, 4)), np.array([0, 3])).check(CONTRACT)


def test_take_selects_rows() -> None:
    data = samples()
    part = data.take(np.array([3, 1]))
    assert np.array_equal(part.x, data.x[[3, 1]])
    assert np.array_equal(part.y, data.y[[3, 1]])
    with pytest.raises(DataError, match="no samples"):
        data.take(np.array([], np.int64))


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 10_001},
        {"batch": 0},
        {"batch": 1025},
        {"learning_rate": -0.1},
        {"learning_rate": float("nan")},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"weight_decay": float("inf")},
        {"proximal": -1.0},
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Training(**settings)


# Batches -----------------------------------------------------------------------------------------


@given(st.integers(1, 90), st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32))
def test_batches_use_every_sample_before_one_again(
    count: int, steps: int, batch: int, seed: int
) -> None:
    rows = batches(count, Training(steps=steps, batch=batch), np.random.default_rng(seed))
    assert rows.shape == (steps, min(batch, count))
    used = np.bincount(rows.ravel(), minlength=count)
    assert len(used) == count
    assert used.max() - used.min() <= 1


def test_batches_are_reshuffled_and_follow_the_seed() -> None:
    settings = Training(steps=6, batch=10)
    rows = batches(20, settings, np.random.default_rng(1))
    first, second, _ = rows.reshape(3, 20)
    assert not np.array_equal(first, second)
    assert np.array_equal(rows, batches(20, settings, np.random.default_rng(1)))
    assert not np.array_equal(rows, batches(20, settings, np.random.default_rng(2)))


# The loop ----------------------------------------------------------------------------------------


def seen_batches(data: Samples, settings: Training) -> list[npt.NDArray[np.int32]]:
    seen: list[npt.NDArray[np.int32]] = []

    def record(weights: Vector, x: Vector, y: Labels) -> tuple[float, Vector]:
        seen.append(y.copy())
        assert x.dtype == np.float32
        assert x.flags.c_contiguous
        assert np.array_equal(x[:, 0], y.astype(np.float32))  # a sample keeps its label
        return 0.0, np.zeros_like(weights)

    sgd(record, np.zeros(8, np.float32), data, settings, np.random.default_rng(3), bound=1)
    return seen


@pytest.mark.parametrize("steps", [1, 64, 65, 130])
def test_the_loop_sees_the_batches_in_order(steps: int) -> None:
    count = 37
    column = np.arange(count)[:, None]
    data = Samples(column * np.ones(4), np.arange(count))
    settings = Training(steps=steps, batch=5)
    wanted = batches(count, settings, np.random.default_rng(3))
    assert np.array_equal(seen_batches(data, settings), wanted)


def test_plain_steps_are_those_of_the_formula() -> None:
    weights = np.zeros(8, np.float32)
    for _ in range(5):
        weights = weights - np.float32(0.3) * (weights - np.float32(1))
    assert np.array_equal(run(Training(steps=5, learning_rate=0.3)), weights)


def test_momentum_is_heavy_ball_from_rest() -> None:
    weights, velocity = np.zeros(8), np.zeros(8)
    for _ in range(6):
        velocity = 0.9 * velocity + (weights - 1)
        weights = weights - 0.1 * velocity
    got = run(Training(steps=6, learning_rate=0.1, momentum=0.9))
    assert np.allclose(got, weights, rtol=1e-5)


def test_weight_decay_pulls_to_zero_and_proximal_to_the_start() -> None:
    start = np.full(8, 3, np.float32)
    settings = {"steps": 400, "learning_rate": 0.1}
    # The gradients (w - 1) + w and (w - 1) + (w - 3) vanish at 1/2 and 2.
    assert np.allclose(run(Training(**settings, weight_decay=1.0), start), 0.5)
    assert np.allclose(run(Training(**settings, proximal=1.0), start), 2.0)


def test_nothing_that_came_in_is_changed() -> None:
    start, data = np.zeros(8, np.float32), samples()
    x, y = data.x.copy(), data.y.copy()
    settings = Training(momentum=0.5, proximal=0.1, weight_decay=0.1)
    result = sgd(towards_one, start, data, settings, np.random.default_rng(0), bound=10)
    assert not start.any()
    assert result.params.any()
    assert np.array_equal(data.x, x)
    assert np.array_equal(data.y, y)


def test_loss_is_the_mean_over_the_steps() -> None:
    losses = iter([1.0, 2.0, 6.0])

    def gradient(weights: Vector, x: Vector, y: Labels) -> tuple[float, Vector]:
        return next(losses), np.zeros_like(weights)

    settings, rng = Training(steps=3), np.random.default_rng(0)
    assert sgd(gradient, np.zeros(8, np.float32), samples(), settings, rng, bound=1).loss == 3.0


@pytest.mark.parametrize("learning_rate", [3.0, 1e6])
def test_divergence_is_one_error_and_no_warning(learning_rate: float) -> None:
    with pytest.raises(DivergedError, match="lower the learning rate"):
        run(Training(steps=200, learning_rate=learning_rate))


def test_a_parameter_over_the_bound_is_divergence() -> None:
    settings, rng = Training(steps=1, learning_rate=1.0), np.random.default_rng(0)
    zeros = np.zeros(8, np.float32)
    assert sgd(towards_one, zeros, samples(), settings, rng, bound=1.0).params.max() == 1
    with pytest.raises(DivergedError, match=r"bound of 0\.5"):
        sgd(towards_one, zeros, samples(), settings, rng, bound=0.5)


# Vectors -----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.floats(width=32) | st.sampled_from([3e38, -3e38, 1e-45, -0.0]), min_size=1, max_size=9
    )
)
def test_is_finite_agrees_with_numpy(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    assert is_finite(vector) == bool(np.isfinite(vector).all())


@pytest.mark.parametrize(
    "params",
    [
        np.zeros(7, np.float32),
        np.zeros(9, np.float32),
        np.zeros((8, 1), np.float32),
        np.zeros(8),
        np.array([np.nan] + [0] * 7, np.float32),
        np.array([np.inf] + [0] * 7, np.float32),
    ],
)
def test_vectors_that_are_not_the_contracts_are_refused(params: Vector) -> None:
    check_params(CONTRACT, np.zeros(8, np.float32))
    with pytest.raises(ModelError, match="parameters"):
        check_params(CONTRACT, params)
