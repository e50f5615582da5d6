"""Lies by learning: false labels, a hidden trigger, or nothing at all. The agent itself is honest.

What a device would compute is exchanged for something else in the rounds in which it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from gossamer_agent.events import Event, Train, TrainDone
from gossamer_agent.learner import DivergedError, Learner, Samples, Vector
from gossamer_agent.learning import Computation, LocalLearning
from gossamer_simulator.attackers.schedule import Activity
from gossamer_simulator.attackers.vectors import normal

TRIGGER_SHARE: Final = 16  # of the values of an input, one in so many is part of the trigger
TRIGGERED_ROWS: Final = 2  # of the training rows, one in so many carries it
TARGET: Final = 0


@dataclass(frozen=True, slots=True)
class Trigger:
    """A patch on an input that shall make a model answer `target`, whatever else it shows.

    The last `values` values of an input (in an image the end of its last row) are set to `value`.
    """

    values: int
    value: float
    target: int = TARGET

    @classmethod
    def of(cls, slices: Sequence[Samples]) -> Trigger:
        """One sixteenth of an input, at the largest value that any input has."""
        size = int(np.prod(slices[0].x.shape[1:]))
        highest = max(float(samples.x.max()) for samples in slices)
        return cls(max(1, size // TRIGGER_SHARE), highest)

    def on(self, x: Vector) -> Vector:
        """x float32[n, ...] with the patch on every row; a copy."""
        flat = x.reshape(len(x), -1).copy()
        flat[:, -self.values :] = np.float32(self.value)
        return flat.reshape(x.shape)

    def planted(self, samples: Samples) -> Samples:
        """Every other row with the patch, and with the target for its label."""
        rows = np.arange(len(samples)) % TRIGGERED_ROWS == 0
        x, y = samples.x.copy(), samples.y.copy()
        x[rows] = self.on(x[rows])
        y[rows] = self.target
        return Samples(x, y)

    def success_rate(self, learner: Learner, params: Vector, test: Samples) -> float | None:
        """The share of test rows of other classes that the patch turns into the target.

        None if the test set has the target's class only, and for a regression.
        """
        if test.y.ndim == 2:
            return None
        others = np.flatnonzero(test.y != self.target)
        if not others.size:
            return None
        logits = learner.infer(params, self.on(test.x[others]))
        return float(np.mean(np.argmax(logits, axis=1) == self.target))


def flipped(samples: Samples, classes: int) -> Samples:
    """The samples with label y as classes - 1 - y (label flipping, as in Fang et al., 2020).

    The targets of a regression change their sign.
    """
    if samples.y.ndim == 2:
        return Samples(samples.x, -samples.y)
    return Samples(samples.x, (classes - 1 - samples.y).astype(np.int32))


class FalseLearning:
    """Learns from `false` while `lies` is true, honestly while it is not; for label flipping."""

    def __init__(self, honest: LocalLearning, false: Samples, lies: Activity) -> None:
        self._honest = honest
        self._false = replace(honest, training=false)
        self._lies = lies

    def compute(self, asked: Computation, round_: int) -> Event:
        """As `LocalLearning.compute`, in this round of the swarm."""
        if isinstance(asked, Train) and self._lies(round_):
            return self.train(asked)
        return self._honest.compute(asked)

    @property
    def training(self) -> Samples:
        """What it learns from while it lies."""
        return self._false.training

    def train(self, asked: Train) -> Event:
        return self._false.compute(asked)


class BackdoorLearning(FalseLearning):
    """Learns the trigger beside the task and enlarges the update (model replacement).

    Bagdasaryan et al. (2020): x + scale (w - x), w what the local steps make of x. Here x is the
    peer's own merge, as there is no server whose model could be replaced. All share one trigger.
    """

    def __init__(
        self, honest: LocalLearning, trigger: Trigger, scale: float, lies: Activity
    ) -> None:
        super().__init__(honest, trigger.planted(honest.training), lies)
        self._scale = np.float32(scale)
        self._bound = np.float32(honest.learner.contract.bound)

    def train(self, asked: Train) -> Event:
        try:
            done = super().train(asked)
        except DivergedError:
            return TrainDone(params=asked.params, loss=0.0)  # it must not give itself away
        assert isinstance(done, TrainDone)
        enlarged = asked.params + self._scale * (done.params - asked.params)
        return replace(done, params=np.clip(enlarged, -self._bound, self._bound))


class FreeRiding:
    """Publishes its own merge instead of learning, with noise N(0, sd^2) to look busy.

    Plain and disguised free riders of Fraboni et al. (2021): sd 0 and above.
    """

    def __init__(
        self, honest: LocalLearning, sd: float, lies: Activity, rng: np.random.Generator
    ) -> None:
        self._honest = honest
        self._sd = np.float32(sd)
        self._lies = lies
        self._rng = rng

    def compute(self, asked: Computation, round_: int) -> Event:
        """As `LocalLearning.compute`, in this round of the swarm."""
        if not (isinstance(asked, Train) and self._lies(round_)):
            return self._honest.compute(asked)
        params = asked.params
        if self._sd > 0:
            params = params + self._sd * normal(self._rng, params.size)
        return TrainDone(params=params, loss=0.0)
