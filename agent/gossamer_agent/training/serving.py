"""What a device answers with, and how good that is: the shared part with what is personal."""

from __future__ import annotations

from gossamer_agent.learner import Learner, Samples, Score, Vector
from gossamer_agent.training.ditto import DittoLearner


def served_score(learner: Learner, params: Vector, data: Samples) -> Score:
    """Of the model that `learner.infer(params, ...)` answers with, on `data`."""
    if isinstance(learner, DittoLearner) and learner.personal is not None:
        return learner.evaluate_personal(data)
    return learner.evaluate(params, data)
