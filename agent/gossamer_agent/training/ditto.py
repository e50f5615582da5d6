"""Ditto: beside the swarm's model a personal one of the same shape, held near it.

    w: minimise F(w) + lambda / 2 * |w - x|^2

x, the gossiped parameters, are trained and merged as ever; w starts where the device first trains,
is trained after x in each round by as many steps, is never sent, and answers the questions. A
lambda of 0 is learning alone; a large one is the swarm's model (Li et al., Ditto, 2021). It costs
the training twice and a second vector in memory.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import (
    Carried,
    Learner,
    Samples,
    Score,
    Trained,
    Training,
    Vector,
    check_params,
)


class DittoLearner:
    """One device's learner: `evaluate` judges the shared parameters that it is given, `infer`
    answers with the personal model, once there is one.
    """

    def __init__(self, inner: Learner, pull: float) -> None:
        """pull: lambda, >= 0."""
        self.inner = inner
        self._pull = pull
        self._own: Vector | None = None

    def for_device(self) -> DittoLearner:
        """The same for another device, which has no model of its own yet."""
        return DittoLearner(self.inner, self._pull)

    @property
    def contract(self) -> Contract:
        return self.inner.contract

    @property
    def model_sha256(self) -> bytes:
        return self.inner.model_sha256

    @property
    def personal(self) -> Vector | None:
        """w, float32 [P]; None before the first training. Not to be changed in place."""
        return self._own

    @personal.setter
    def personal(self, own: Vector) -> None:
        """Raises ModelError unless it is finite float32 [P]."""
        check_params(self.inner.contract, own)
        self._own = own

    def init(self) -> Vector:
        return self.inner.init()

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Of the personal model; of `params` while there is none."""
        return self.inner.infer(params if self._own is None else self._own, x)

    def evaluate(self, params: Vector, data: Samples) -> Score:
        """Of `params`: the gate judges what the swarm shares."""
        return self.inner.evaluate(params, data)

    def evaluate_personal(self, data: Samples) -> Score:
        """Of the personal model. Raises ModelError before the first training."""
        if self._own is None:
            raise ModelError("the personal model has not been trained yet")
        return self.inner.evaluate(self._own, data)

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """Local steps for the shared parameters, then as many for the personal model."""
        trained = self.inner.train(params, data, settings, rng)
        start = params if self._own is None else self._own
        carried = settings.carried
        # Steps that are judged in pieces begin at x once, and say so.
        anchor = params if carried is None or carried.anchor is None else carried.anchor
        own = replace(settings, proximal=self._pull, carried=Carried(anchor=anchor))
        self._own = self.inner.train(start, data, own, rng).params
        return trained
