"""What the device in a folder answers with, read from its log while it runs or not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gossamer_agent.audit.counterfactual import counterfactual
from gossamer_agent.cli.here import open_here
from gossamer_agent.cli.log.evidence import gathered
from gossamer_agent.device.folder import Device
from gossamer_agent.learner import Vector
from gossamer_agent.models import load_learner
from gossamer_agent.policy import Policy
from gossamer_agent.training.combining import REPLACE
from gossamer_agent.training.ditto import DittoLearner
from gossamer_agent.training.own import own_learner, state_file
from gossamer_agent.training.personal import PersonalLearner


@dataclass(frozen=True, slots=True)
class ServedWeights:
    """weights: float32 [P] of the whole model; model: its reference; told: a line for the user."""

    weights: Vector
    model: str
    told: str


def served_weights(folder: Path, passphrase_file: Path | None) -> ServedWeights:
    """The newest merge of the device's log, and what is personal put in its place.

    Where the inputs of that merge are not at hand any more, and where the device takes steps
    towards its merges, which no log holds: the parameters that it published last. Raises
    AgentError for a folder that is none, or cannot be read.
    """
    device = open_here(folder, passphrase_file)
    combine = device.config.learning.combine
    with gathered(
        folder, peers=(), model=device.model, keys=None, passphrase_file=passphrase_file
    ) as case:
        told = counterfactual(case.events(case.logs[-1]), case.replicas, case.terms, ())
    if told.round == 0:
        line = f"{folder}: has merged nothing yet; its own parameters are taken"
        shared = told.replica.was
    elif combine != REPLACE:
        line = (
            f'{folder}: combine = "{combine}" answers with steps that no log holds;'
            " the parameters that it published last are taken"
        )
        shared = told.replica.was
    elif told.served is told.replica:
        line = f"{folder}: the inputs of its last merge are gone; its own parameters are taken"
        shared = told.replica.was
    else:
        line = f"{folder}: the merge of round {told.round}"
        shared = told.served.was
    return ServedWeights(_whole(device, shared), device.model, line)


def _whole(device: Device, shared: Vector) -> Vector:
    """The shared parameters with the device's own ones."""
    policy, settings = Policy.unpack(device.genesis.policy), device.config.learning
    learner = own_learner(
        load_learner(device.model),
        device.model,
        policy,
        personal_steps=settings.personal_steps,
        ditto=settings.ditto,
    )
    if not isinstance(learner, PersonalLearner | DittoLearner):
        return shared
    own = state_file(device.path, learner, policy).load().personal
    if isinstance(learner, DittoLearner):
        return shared if own is None else own
    return learner.split.join(shared, learner.personal if own is None else own)
