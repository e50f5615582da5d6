"""Power cuts: three of ten agents are killed at random moments and started again, ten times."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from statistics import fmean

import pytest

from gossamer_agent.cli import run_program as run
from gossamer_agent.node.status import AgentStatus
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.feeds import feed_path, incarnations
from gossamer_crypto.errors import Reason
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare
from gossamer_simulator.simulation import run as simulate
from gossamer_simulator.swarm_up.local import DiedError, LocalSwarm
from gossamer_simulator.swarm_up.outcome import check_feeds
from gossamer_simulator.swarm_up.watch import status_of

PEERS = 10
VICTIMS = 3
TIMES = 10
SETTLED_ROUNDS = 5
"""So many rounds of its own everybody makes after the last power cut."""
INTERVAL_S = 2.0
ENDLESS = 100_000
POINTS_LOST_MAX = 0.05


@dataclass
class Witness:
    """All that agents ever told.

    heads: (author, incarnation, seq) -> hashes that a neighbour named as the author's newest entry.
    """

    swarm: LocalSwarm
    heads: dict[tuple[str, int, int], set[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    newest: dict[str, AgentStatus] = field(default_factory=dict)

    def look(self) -> None:
        """Ask everybody who runs once. An agent that died, forked or saw a fork fails the test."""
        for child in self.swarm.children.ended():
            raise DiedError(child)
        for name in self.swarm.running:
            status = status_of(self.swarm.watch.folders[name])
            if status is not None:
                self._take(name, status)

    def watch(self, seconds: float) -> None:
        """Look again and again for a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(0.2)

    def until(self, done: Callable[[AgentStatus], bool], patience_s: float) -> None:
        """Look until `done` of everybody."""
        deadline = time.monotonic() + patience_s
        while True:
            self.look()
            waiting = [name for name in self.swarm.names if not self._is(name, done)]
            if not waiting:
                return
            states = {name: self.newest[name].state for name in waiting if name in self.newest}
            assert time.monotonic() < deadline, f"waiting for {waiting}: {states}"
            time.sleep(0.2)

    def _is(self, name: str, done: Callable[[AgentStatus], bool]) -> bool:
        return name in self.newest and done(self.newest[name])

    def _take(self, name: str, status: AgentStatus) -> None:
        assert not status.refused.get(Reason.FORK), f"{name} saw a fork"
        assert not status.roster_forked
        self.newest[name] = status
        self.names[status.peer] = name
        for peer in status.peers:
            if peer.head_seq is not None and peer.incarnation is not None:
                assert peer.head_hash is not None
                place = (peer.peer, peer.incarnation, peer.head_seq)
                self.heads.setdefault(place, set()).add(peer.head_hash)


@pytest.mark.slow
def test_power_cuts_lose_nothing(swarm_of: Callable[..., LocalSwarm]) -> None:
    chance = random.Random(7)
    swarm = swarm_of(peers=PEERS, rounds=ENDLESS, interval_s=INTERVAL_S)
    witness = Witness(swarm)
    swarm.start_all()
    witness.until(lambda status: status.round >= 2, patience_s=90)
    begun = {name: status.round for name, status in witness.newest.items()}

    for _ in range(TIMES):
        for name in chance.sample(swarm.names, VICTIMS):
            witness.watch(chance.uniform(0.0, INTERVAL_S))
            witness.newest.pop(name, None)
            swarm.kill(name)
            swarm.start(name)
        witness.until(lambda status: status.state == "learning", patience_s=60)

    at = {name: status.round for name, status in witness.newest.items()}
    witness.until(lambda status: status.round >= at[status.name] + SETTLED_ROUNDS, patience_s=90)
    for name, status in witness.newest.items():
        assert status.round > begun[name]
        assert status.linked >= PEERS // 2, name
        assert status.incarnation == 0, f"{name} began a new feed without need"
    assert fmean(last_accuracy(status) for status in witness.newest.values()) >= bound(witness)
    assert swarm.children.stop() == []
    assert {child.exit_code for child in swarm.agents.values()} == {0}

    assert len(witness.heads) > PEERS * TIMES
    assert check_heads(witness) == []
    for device in swarm.plan.devices:
        assert [report.ok for report in check_feeds(device.folder, swarm.swarm_id)] == [True]
        assert run(["log", "verify", str(device.folder)]) == 0


def last_accuracy(status: AgentStatus) -> float:
    accuracy = status.history[-1].accuracy
    assert accuracy is not None
    return accuracy


def bound(witness: Witness) -> float:
    """What the simulator reaches in the rounds that the slowest agent made, less some points."""
    rounds = min(status.round for status in witness.newest.values())
    scenario = Scenario(peers=PEERS, rounds=rounds, seed=7)
    finished = simulate(scenario, prepare(scenario), lambda sample, metrics: None)
    return fmean(finished.engine.metrics.samples[-1].accuracies) - POINTS_LOST_MAX


def check_heads(witness: Witness) -> list[str]:
    """Every entry that anybody ever knew of, and that is not in its author's feed."""
    hashes: dict[tuple[str, int, int], str] = {}
    for peer, name in witness.names.items():
        folder = witness.swarm.watch.folders[name]
        for incarnation in incarnations(folder):
            with closing(FeedArchive(feed_path(folder, incarnation))) as archive:
                for entry in archive.entries():
                    place = (peer, incarnation, entry.header.seq)
                    hashes[place] = entry.entry_hash.hex()
    return [
        f"{witness.names[place[0]]}: entry {place[2]} of incarnation {place[1]} is lost"
        for place, told in witness.heads.items()
        if told != {hashes.get(place)}
    ]
