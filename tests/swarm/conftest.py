"""Swarms of real processes for tests: the ones that `gossamer swarm up` starts, in the test's hand.

    def test_something(swarm_of: SwarmOf) -> None:
        swarm = swarm_of(peers=3, rounds=5)     # founded and joined; no agent runs
        swarm.start_all()
        swarm.wait_ready(swarm.names)
        swarm.status("peer-01")                 # None while it does not answer
        swarm.kill("peer-01")                   # SIGKILL; swarm.stop is SIGTERM
        swarm.start("peer-01")

Whatever is left of it ends with the test. A failing test's folder has the logs, peer-NN.log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gossamer_simulator.scenario import Scenario
from gossamer_simulator.swarm_up.local import LocalSwarm
from gossamer_simulator.swarm_up.plan import make_plan
from gossamer_simulator.swarm_up.processes import Children

SwarmOf: TypeAlias = Callable[..., LocalSwarm]


@pytest.fixture
def swarm_of(tmp_path: Path) -> Iterator[SwarmOf]:
    """Makes a swarm from the settings of a Scenario, and `interval_s`; one for each test."""
    with Children() as children:

        def make(*, interval_s: float = 1.0, **settings: Any) -> LocalSwarm:
            scenario = Scenario(**({"profile": "pi-5", "seed": 7} | settings))
            swarm = LocalSwarm(make_plan(scenario, tmp_path, interval_s=interval_s), children)
            swarm.make(print)
            return swarm

        yield make
