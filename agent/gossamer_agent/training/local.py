"""The local steps of one round: all at once, or watched by the hold-out data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from gossamer_agent.learner import Carried, Learner, Samples, Trained, Training, Vector
from gossamer_agent.training.ditto import DittoLearner
from gossamer_agent.training.personal import PersonalLearner


@dataclass(frozen=True, slots=True)
class Stepped:
    """What local training gave, and after how many steps; 0 if the first were no good."""

    trained: Trained
    steps: int


def train_steps(
    learner: Learner,
    params: Vector,
    data: Samples,
    holdout: Samples,
    settings: Training,
    *,
    checks: int,
    rng: np.random.Generator,
) -> Stepped:
    """`settings.steps` local steps, in at most `checks` pieces that the hold-out data judge.

    Early stopping (Prechelt 1998): after a piece that raised the hold-out loss the steps end, with
    what was there before it. checks: 0 trains in one call and asks nobody. DivergedError.
    """
    if checks == 0:
        return Stepped(learner.train(params, data, settings, rng), settings.steps)
    before = learner.evaluate(params, holdout).loss
    best, done, losses = Trained(params, before), 0, 0.0
    carried = replace(settings.carried or Carried(), anchor=params)
    for steps in _pieces(settings.steps, checks):
        personal = personal_part(learner)
        piece = replace(settings, steps=steps, carried=carried)
        trained = learner.train(best.params, data, piece, rng)
        loss = learner.evaluate(trained.params, holdout).loss
        if not loss <= before:
            put_back(learner, personal)
            break
        before, done, losses = loss, done + steps, losses + steps * trained.loss
        best = replace(trained, loss=losses / done)
        carried = replace(carried, moments=trained.moments)
    return Stepped(best, done)


def personal_part(learner: Learner) -> Vector | None:
    """What a learner keeps for this device alone; None for nothing."""
    return learner.personal if isinstance(learner, PersonalLearner | DittoLearner) else None


def put_back(learner: Learner, personal: Vector | None) -> None:
    """Give a learner the personal part that it had, or that was stored. Raises ModelError."""
    if personal is not None and isinstance(learner, PersonalLearner | DittoLearner):
        learner.personal = personal


def _pieces(steps: int, checks: int) -> Iterator[int]:
    """`steps` in `checks` parts of nearly equal size; fewer if there are fewer steps."""
    parts = min(steps, checks)
    for index in range(parts):
        yield steps * (index + 1) // parts - steps * index // parts
