"""One device's learner and where its own part is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gossamer_agent.errors import ConfigError
from gossamer_agent.learner import Learner
from gossamer_agent.policy import Policy
from gossamer_agent.training.agreed import agreed_learner
from gossamer_agent.training.ditto import DittoLearner
from gossamer_agent.training.personal import PersonalLearner
from gossamer_agent.training.state import FILE_NAME, StateFile

_LABEL = b"gossamer/v1/own-part\0"


def own_learner(
    learner: Learner, reference: str, policy: Policy, *, personal_steps: int = 0, ditto: float = 0.0
) -> Learner:
    """`learner`, which `reference` names, as this device of the swarm uses it.

    Raises ConfigError where the settings exclude each other or name layers that there are not.
    """
    if ditto and policy.personal:
        raise ConfigError(
            "ditto keeps a whole model of one's own, and this swarm has personal layers:"
            " set ditto to 0"
        )
    if personal_steps and not policy.personal:
        raise ConfigError(
            "personal_steps is for swarms with personal layers, and this one has none: set it to 0"
        )
    if ditto:
        return DittoLearner(learner, ditto)
    return agreed_learner(learner, reference, policy.personal, personal_steps=personal_steps)


def for_device(learner: Learner) -> Learner:
    """The same for another device: it shares what has no state, and has a part of its own."""
    if isinstance(learner, PersonalLearner | DittoLearner):
        return learner.for_device()
    return learner


def state_file(folder: Path, learner: Learner, policy: Policy) -> StateFile:
    """Of the device in `folder`. learner: that of `own_learner`."""
    names = "\0".join(policy.personal).encode()
    parts = (_LABEL, learner.model_sha256, learner.contract.digest(), names)
    whole = learner.inner.contract if isinstance(learner, PersonalLearner) else learner.contract
    return StateFile(folder / FILE_NAME, hashlib.sha256(b"".join(parts)).digest(), whole.parameters)
