"""Peers with unlike learners behind one contract, in one swarm of real agents."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import trio
from tests.unit import test_agent_runtime as runtime
from trio.testing import MockClock

from gossamer_agent.learner import Learner, Samples, Training, Vector
from gossamer_agent.learners.own_data import NO_DATA
from gossamer_agent.models import load_learner
from gossamer_simulator.datasets import load_dataset

pytestmark = pytest.mark.slow

LEARNERS = Path(__file__).parents[2] / "examples" / "learners"
SHAPE = "--inputs 64 --classes 10"


def logit() -> Learner:
    return load_learner(f"process:'{sys.executable}' '{LEARNERS / 'logit.py'}' {SHAPE}")


def glmnet() -> Learner:
    asked = ["-e", 'quit(status = !nzchar(system.file(package = "glmnet")))']
    rscript = shutil.which("Rscript")
    if rscript is None or subprocess.run([rscript, *asked], check=False).returncode != 0:
        pytest.skip("R with glmnet is not installed")
    return load_learner(f"process:Rscript '{LEARNERS / 'glmnet.R'}' {SHAPE}")


def unlike_parts(count: int) -> list[tuple[Samples, Samples]]:
    """Training and hold-out digits of peers, each of which has never seen two of the ten."""
    data = load_dataset("digits", np.random.default_rng(3))
    everything = Samples(data.x, data.y)
    order = np.random.default_rng(4).permutation(len(everything))
    parts = []
    for number, mine in enumerate(np.array_split(order, count)):
        unseen = np.isin(everything.y[mine], [2 * number, 2 * number + 1])
        rows = mine[~unseen]
        cut = len(rows) // 5
        parts.append((everything.take(rows[cut:]), everything.take(rows[:cut])))
    return parts


def served_by(
    learners: Sequence[Learner], parts: Sequence[tuple[Samples, Samples]], rounds: int
) -> list[Vector]:
    """What agents with these learners serve after some rounds together."""
    world = runtime.World(learners[0])
    for number, (learner, part) in enumerate(zip(learners, parts, strict=True)):
        world.agent(number, learner=learner, data=part)
    agents = list(world.agents.values())

    async def scenario(clock: MockClock) -> None:
        pushed = runtime.Pushed(clock, agents)
        async with trio.open_nursery() as nursery:
            for agent in agents:
                nursery.start_soon(agent.run)
            await pushed.rounds(rounds, parts=2)
            nursery.cancel_scope.cancel()

    runtime.run(scenario)
    world.verify()
    assert all(not agent.refused for agent in agents)
    assert all(runtime.merged(agent) >= 3 for agent in agents)
    return [agent.core.served for agent in agents]


def test_r_and_python_share_their_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "STEPS", Training(learning_rate=0.5))
    ours, theirs = logit(), glmnet()
    assert ours.contract.digest() == theirs.contract.digest()
    assert ours.model_sha256 == theirs.model_sha256
    data = load_dataset("digits", np.random.default_rng(3))
    test = Samples(data.test.x, data.test.y)
    served = served_by([ours, theirs, ours, theirs], unlike_parts(4), 15)
    accuracies = [ours.evaluate(params, test).accuracy for params in served]
    # Alone, with two digits of ten unknown, nobody exceeds 0.8, whatever the language.
    assert min(accuracies) > 0.85


def stand_in_for_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of Flower as a client's module imports, where it is not installed."""

    class NumPyClient:
        def to_client(self) -> SimpleNamespace:
            return SimpleNamespace(numpy_client=self)

    client = ModuleType("flwr.client")
    vars(client).update(NumPyClient=NumPyClient, ClientApp=lambda client_fn: client_fn)
    common = ModuleType("flwr.common")
    vars(common).update(Context=object)
    for name, module in (
        ("flwr", ModuleType("flwr")),
        ("flwr.client", client),
        ("flwr.common", common),
    ):
        monkeypatch.setitem(sys.modules, name, module)


def test_clients_of_flower_are_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("flwr") is None:
        stand_in_for_flower(monkeypatch)
    monkeypatch.setattr(sys, "path", list(sys.path))
    data = load_dataset("digits", np.random.default_rng(3))
    order = np.argsort(data.y, kind="stable")[:900]  # one part in three of each digit, 0 to 6
    np.savez(tmp_path / "digits.npz", x=data.x[order], y=data.y[order])
    place = LEARNERS.parent / "flower"
    query = f"data={tmp_path}/digits.npz&num-partitions=3&local-epochs=10"
    peers = [
        load_learner(f"flower:{place}/client:client_fn?{query}&partition-id={part}")
        for part in range(3)
    ]
    assert len({peer.model_sha256 for peer in peers}) == 1
    served = served_by(peers, [(NO_DATA, NO_DATA)] * 3, 8)
    for peer, params in zip(peers, served, strict=True):
        score = peer.evaluate(params, NO_DATA)
        assert score.accuracy > 0.8
        assert score.loss < peer.evaluate(peer.init(), NO_DATA).loss / 2
