"""The model that answers: an interpreter beside the one that trains.

An interpreter serves one call at a time; a second one, of the same file, lets an answer overtake a
round of training. It is loaded with the first question. Learners that are programs of their own
(`flower:`, `process:`) are not started twice: there an answer waits for the training step.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import REGRESSION
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Learner, Vector
from gossamer_agent.learners.reference import is_foreign
from gossamer_agent.models import load_learner
from gossamer_agent.training.ditto import DittoLearner
from gossamer_agent.training.personal import PersonalLearner


class AnsweringModel:
    """learner: that of the agent, with its personal part; reference: from which it was loaded."""

    def __init__(self, learner: Learner, reference: str) -> None:
        self._learner = learner
        self._reference = reference
        self._own: Learner | None = None
        self._lock = Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the next answer waits for nobody: loaded, and not shared with the training."""
        return self._own is not None and not is_foreign(self._reference)

    def answer(
        self, served: Vector, x: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], bool]:
        """Scores float32 [n, outputs] of x float32 [n, ...], and whether a personal part took part.

        Probabilities for a classification. Raises ModelError, DataError.
        """
        params, personal = self._whole(served)
        model = self._model()
        scores = model.infer(params, x)
        if not np.isfinite(scores).all():
            raise ModelError("the model has no finite answer to this")
        if model.contract.task == REGRESSION:
            return scores, personal
        return softmax(scores), personal

    def _whole(self, served: Vector) -> tuple[Vector, bool]:
        learner = self._learner
        if isinstance(learner, PersonalLearner):
            return learner.whole(served), True
        if isinstance(learner, DittoLearner) and learner.personal is not None:
            return learner.personal, True
        return served, False

    def _model(self) -> Learner:
        with self._lock:
            if self._own is None:
                inner = self._learner
                while isinstance(inner, PersonalLearner | DittoLearner):
                    inner = inner.inner
                self._own = self._second(inner)
            return self._own

    def _second(self, inner: Learner) -> Learner:
        if is_foreign(self._reference):
            return inner
        found = load_learner(self._reference)
        if found.model_sha256 != inner.model_sha256:
            raise ModelError(f"{self._reference}: changed since the agent began; start it again")
        return found


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities float32 [n, classes] of logits."""
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float32] = (grown / grown.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
