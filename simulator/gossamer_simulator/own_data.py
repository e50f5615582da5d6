"""How good what a peer serves is on data like its own.

With `subject` a peer's own test rows are those that its subjects recorded. Otherwise nobody
recorded the test rows, and all count, each class as much as it does among the peer's own training
rows: what the peer would meet if it went on seeing what it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer_agent.learner import Learner, Samples, Vector
from gossamer_simulator.datasets import Dataset

_SUBJECT = "subject"


@dataclass(frozen=True, slots=True, eq=False)
class OwnTest:
    """weights: float64 [rows of samples], >= 0, together 1."""

    samples: Samples
    weights: npt.NDArray[np.float64]

    def accuracy(self, learner: Learner, params: Vector) -> float:
        """Of what `learner` answers with, the personal part included: 0 to 1."""
        logits = learner.infer(params, self.samples.x)
        hits = logits.argmax(axis=1) == self.samples.y
        # A weighted sum may exceed 1 by its rounding.
        return min(float(self.weights[hits].sum()), 1.0)


def own_tests(
    spec: str, data: Dataset, parts: Sequence[npt.NDArray[np.int64]]
) -> list[OwnTest | None]:
    """For each peer with these training rows; None where there is nothing to measure on.

    So it is in a regression, and where no test row is of a peer's subjects or classes.
    """
    if data.y.ndim == 2:
        return [None] * len(parts)
    test = Samples(data.test.x, data.test.y)
    if spec == _SUBJECT and data.device is not None and data.test_device is not None:
        recorders = [np.unique(data.device[rows]) for rows in parts]
        return [_of_rows(test, np.isin(data.test_device, own)) for own in recorders]
    return [_like_labels(test, data.y[rows], data.classes) for rows in parts]


def _of_rows(test: Samples, mine: npt.NDArray[np.bool_]) -> OwnTest | None:
    rows = np.flatnonzero(mine)
    if not rows.size:
        return None
    return OwnTest(test.take(rows), np.full(rows.size, 1.0 / rows.size))


def _like_labels(test: Samples, labels: npt.NDArray[np.int32], classes: int) -> OwnTest | None:
    own = np.bincount(labels, minlength=classes).astype(np.float64)
    there = np.bincount(test.y, minlength=classes)
    weights = np.divide(own, there, out=np.zeros(classes), where=there > 0)[test.y]
    total = float(weights.sum())
    return None if total == 0.0 else OwnTest(test, weights / total)
