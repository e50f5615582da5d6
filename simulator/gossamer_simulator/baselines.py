"""What the swarm is held against: every device alone, and all data in one place.

Both make as many gradient steps as the swarm: alone, each device makes its own; central training
makes those of all honest devices together on the union of their data.
"""

from __future__ import annotations

from statistics import fmean

import numpy as np

from gossamer_agent.learner import Learner, Samples
from gossamer_simulator.peers import SimulatedPeer, stream
from gossamer_simulator.scenario import Scenario


def local_only(
    scenario: Scenario, learner: Learner, honest: list[SimulatedPeer], test: Samples
) -> float:
    """Mean test accuracy of the honest devices, each trained on its own data only."""
    accuracies = []
    for index, peer in enumerate(honest):
        params, chance = learner.init(), stream(scenario.seed, "alone", index)
        for _ in range(scenario.rounds):
            params = learner.train(params, peer.learning.training, scenario.training, chance).params
        accuracies.append(learner.evaluate(params, test).accuracy)
    return fmean(accuracies)


def central(
    scenario: Scenario, learner: Learner, honest: list[SimulatedPeer], test: Samples
) -> float:
    """Test accuracy of one model trained on the data of all honest devices."""
    pooled = Samples(
        np.concatenate([peer.learning.training.x for peer in honest]),
        np.concatenate([peer.learning.training.y for peer in honest]),
    )
    params, chance = learner.init(), stream(scenario.seed, "central")
    for _ in range(scenario.rounds * len(honest)):
        params = learner.train(params, pooled, scenario.training, chance).params
    return learner.evaluate(params, test).accuracy
