"""A learner with no runtime behind it: a convex task that gives the same bits on every machine.

A hidden target vector t is seen through noise. A sample of class 1 is t + noise, one of class 0 is
its negative, so s x with s = 2y - 1 is a sighting of t, and whoever flips labels pulls towards -t.
Training minimises the mean of 1/2 |w - s x|^2, whose gradient is w minus the mean sighting.

Elementwise float32 operations are all that is used, sums over samples are a fixed tree of such
additions, the one sum over coordinates is exactly rounded, and data come from `Generator.random()`
and `integers()` alone. IEEE 754 fixes the result of each; libm and BLAS differ between processors.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import (
    Labels,
    Samples,
    Score,
    Trained,
    Training,
    Vector,
    check_params,
    sgd,
)

NOISE: Final = 3.0
_TARGET_SEED: Final = 0
_INIT_SEED: Final = 1


class SyntheticLearner:
    """The learner protocol for the task above, P = `parameters` inputs and as many weights."""

    def __init__(self, parameters: int = 512) -> None:
        self._contract = Contract("classification", 2, (parameters,), parameters)
        self._target = target(parameters)
        definition = b"gossamer synthetic 1\0" + self._target.astype("<f4").tobytes()
        self._model_sha256 = hashlib.sha256(definition).digest()

    @property
    def contract(self) -> Contract:
        return self._contract

    @property
    def model_sha256(self) -> bytes:
        """SHA-256 over a name and the target, 32 bytes: there is no file."""
        return self._model_sha256

    def init(self) -> Vector:
        """Fixed values in [-1, 1), float32 [P]; about half of the signs are right."""
        return _uniform(self._contract.parameters, _INIT_SEED)

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Logits float32 [n, 2]: minus and plus the mean product of weights and inputs."""
        check_params(self._contract, params)
        data = Samples(x, np.zeros(len(x), np.int32))
        data.check(self._contract)
        scores = _fold((data.x * params).T) / np.float32(self._contract.parameters)
        return np.stack((-scores, scores), axis=1)

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """Local steps of SGD from params float32 [P]; see `learner.sgd`."""
        check_params(self._contract, params)
        data.check(self._contract)
        return sgd(_gradient, params, data, settings, rng, bound=self._contract.bound)

    def evaluate(self, params: Vector, data: Samples) -> Score:
        """Mean of 1/2 (w - s x)^2 per parameter; share of weights whose sign is the target's."""
        check_params(self._contract, params)
        data.check(self._contract)
        loss = _gradient(params, data.x, data.y)[0]
        hits = int(np.count_nonzero(np.sign(params) == np.sign(self._target)))
        return Score(loss, hits / self._contract.parameters, len(data))


def target(parameters: int) -> Vector:
    """What there is to learn: float32 [P], uniform in [-1, 1), the same for all."""
    return _uniform(parameters, _TARGET_SEED)


def make_samples(parameters: int, samples: int, rng: np.random.Generator) -> Samples:
    """Sightings: x float32 [samples, P], y of two classes; noise uniform in [-3, 3).

    Raises ModelError for parameters < 1, DataError for samples < 1.
    """
    if parameters < 1:
        raise ModelError(f"parameters must be at least 1, not {parameters}")
    noise = (rng.random((samples, parameters)) * 2 - 1) * NOISE
    y = rng.integers(0, 2, samples).astype(np.int32)
    sightings = target(parameters) + noise.astype(np.float32)
    return Samples(_signed(sightings, y), y)


def _gradient(weights: Vector, x: Vector, y: Labels) -> tuple[float, Vector]:
    """-> (loss per parameter, gradient of the loss summed over parameters)."""
    errors = weights - _signed(x, y)
    count = len(y)
    # Per parameter, so that a loss has the size that the gate's margin is made for.
    squares: list[float] = _fold(errors * errors).tolist()
    loss = math.fsum(squares) / (2 * count * len(weights))
    return loss, _fold(errors) / np.float32(count)


def _signed(x: Vector, y: Labels) -> Vector:
    signs = (2 * y - 1).astype(np.float32)
    signed: Vector = x * signs[:, None]
    return signed


def _fold(rows: Vector) -> Vector:
    """Sum over the first axis, [n, d] -> [d], by halving: the same order of additions anywhere."""
    while len(rows) > 1:
        half = len(rows) // 2
        folded: Vector = rows[:half] + rows[half : 2 * half]
        if len(rows) % 2:
            folded[0] += rows[-1]
        rows = folded
    total: Vector = rows[0]
    return total


def _uniform(size: int, seed: int) -> Vector:
    return (np.random.default_rng(seed).random(size) * 2 - 1).astype(np.float32)
