"""Personal layers: a learner whose contract has only what the swarm shares.

Theory of operation. The agent around a `PersonalLearner` sees a smaller model: its parameters are
the shared ones. They alone are published, merged, judged and logged, and the personal part has no
way out. The learner adds the device's own part to whatever it computes with, and keeps what
training makes of it.

    FedPer   one run of local steps over all parameters (Arivazhagan et al. 2019)
    FedRep   first `personal_steps` for the personal part with the shared part frozen, then the
             round's steps for the shared part with the personal part frozen (Collins et al. 2021)

With FedRep the personal part fits the merge that is served: it is trained on top of it.
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
from gossamer_agent.training.split import Split


class PersonalLearner:
    """One device's learner: `inner` for all parameters, of which `split` says what is shared.

    Unlike other learners it has a state, the personal part; so every device has its own. The part
    is replaced whole, never changed in place: it may be read in another thread meanwhile.
    """

    def __init__(self, inner: Learner, split: Split, *, personal_steps: int = 0) -> None:
        if split.size != inner.contract.parameters:
            raise ModelError(
                f"the split is for {split.size} parameters, the model has"
                f" {inner.contract.parameters}"
            )
        self.inner = inner
        self.split = split
        self._personal_steps = personal_steps
        self._contract = replace(inner.contract, parameters=split.shared_size)
        self._personal = split.personal_part(inner.init())

    def for_device(self) -> PersonalLearner:
        """The same for another device, whose personal part is as it is at first."""
        return PersonalLearner(self.inner, self.split, personal_steps=self._personal_steps)

    @property
    def contract(self) -> Contract:
        """The inner one with the shared parameters only."""
        return self._contract

    @property
    def model_sha256(self) -> bytes:
        """Of the inner model."""
        return self.inner.model_sha256

    @property
    def personal(self) -> Vector:
        """The personal part, float32 [personal_size]; not to be changed in place."""
        return self._personal

    @personal.setter
    def personal(self, part: Vector) -> None:
        """Raises ModelError unless it is finite float32 [personal_size]."""
        size = self.split.personal_size
        if part.dtype != np.float32 or part.shape != (size,) or not np.isfinite(part).all():
            raise ModelError(f"the personal part must be {size} finite float32 values")
        self._personal = part

    def whole(self, params: Vector) -> Vector:
        """Shared parameters and personal part together, float32 [P of the inner model]."""
        check_params(self._contract, params)
        return self.split.join(params, self._personal)

    def init(self) -> Vector:
        """The shared part of the first parameters."""
        return self.split.shared_part(self.inner.init())

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Of the shared parameters with the personal part."""
        return self.inner.infer(self.whole(params), x)

    def evaluate(self, params: Vector, data: Samples) -> Score:
        """Of the shared parameters with the personal part."""
        return self.inner.evaluate(self.whole(params), data)

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """Local steps from shared parameters; what becomes of the personal part is kept."""
        start = self.whole(params)
        carried = self._carried(settings.carried)
        if self._personal_steps == 0:
            trained = self.inner.train(start, data, replace(settings, carried=carried), rng)
        else:
            start = self._fit_personal(start, data, settings, carried, rng)
            carried = replace(carried, frozen=self.split.personal)
            trained = self.inner.train(start, data, replace(settings, carried=carried), rng)
        self._personal = self.split.personal_part(trained.params)
        return replace(trained, params=self.split.shared_part(trained.params))

    def _fit_personal(
        self,
        start: Vector,
        data: Samples,
        settings: Training,
        carried: Carried,
        rng: np.random.Generator,
    ) -> Vector:
        own = replace(carried, moments=None, frozen=self.split.shared)
        # FedProx holds the shared parameters together; the personal part may go where it likes.
        steps = replace(settings, steps=self._personal_steps, proximal=0.0, carried=own)
        return self.inner.train(start, data, steps, rng).params

    def _carried(self, carried: Carried | None) -> Carried:
        """As for the inner model; the anchor of the personal part is where it is now."""
        if carried is None:
            return Carried()
        anchor = carried.anchor
        return replace(carried, anchor=None if anchor is None else self.whole(anchor))
