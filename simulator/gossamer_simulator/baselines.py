"""What the swarm is held against: every device alone, and all data in one place.

Both make as many gradient steps as the swarm: alone, each device makes its own; central training
makes those of all honest devices together on the union of their data. Training that diverges ends
there, with the parameters before.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from gossamer_agent.learner import DivergedError, Learner, Samples, Vector
from gossamer_simulator.own_data import OwnTest
from gossamer_simulator.peers import SimulatedPeer, stream
from gossamer_simulator.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Alone:
    """A device that learnt by itself: accuracy on the test rows, and on its own kind of data."""

    accuracy: float
    own: float | None


def local_only(
    scenario: Scenario,
    learner: Learner,
    honest: list[SimulatedPeer],
    test: Samples,
    own_tests: list[OwnTest | None],
) -> list[Alone]:
    """The honest devices, each trained on its own data only."""
    devices = []
    for index, (peer, own) in enumerate(zip(honest, own_tests, strict=True)):
        chance = stream(scenario.seed, "alone", index)
        params = _trained(learner, peer.learning.training, scenario, scenario.rounds, chance)
        of_own = None if own is None else own.accuracy(learner, params)
        devices.append(Alone(learner.evaluate(params, test).accuracy, of_own))
    return devices


def central(
    scenario: Scenario, learner: Learner, honest: list[SimulatedPeer], test: Samples
) -> float:
    """Test accuracy of one model trained on the data of all honest devices."""
    pooled = Samples(
        np.concatenate([peer.learning.training.x for peer in honest]),
        np.concatenate([peer.learning.training.y for peer in honest]),
    )
    chance = stream(scenario.seed, "central")
    params = _trained(learner, pooled, scenario, scenario.rounds * len(honest), chance)
    return learner.evaluate(params, test).accuracy


def _trained(
    learner: Learner, data: Samples, scenario: Scenario, rounds: int, chance: np.random.Generator
) -> Vector:
    params = learner.init()
    with suppress(DivergedError):
        for _ in range(rounds):
            params = learner.train(params, data, scenario.training, chance).params
    return params
