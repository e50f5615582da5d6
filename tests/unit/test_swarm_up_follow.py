"""Following a swarm to its end, with small programs in place of agents."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossamer_agent.errors import AgentError
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.swarm_up import follow as following
from gossamer_simulator.swarm_up.follow import follow
from gossamer_simulator.swarm_up.local import LocalSwarm
from gossamer_simulator.swarm_up.plan import make_plan
from gossamer_simulator.swarm_up.processes import Children
from gossamer_simulator.swarm_up.table import Display

# Ends a round whenever it is asked. In its folder a file `dies` holds the round that kills it, and
# `stalls` the one after which it makes no more.
AGENT = """\
import json, os, pathlib, socket, sys
folder, rounds = pathlib.Path(sys.argv[2]), int(sys.argv[5])
def setting(name):
    file = folder / name
    return int(file.read_text()) if file.exists() else rounds + 1
dies, stalls = setting("dies"), setting("stalls")
listener = socket.socket(socket.AF_UNIX)
listener.bind(str(folder / "agent.sock"))
listener.listen()
done = 0
while True:
    connection, _ = listener.accept()
    connection.recv(64)
    done += done < min(rounds, stalls)
    if done == dies:
        print("no space left on device")
        sys.exit(7)
    history = [
        {"round": n, "merged": 3, "committed": True, "holdout_loss": None, "accuracy": n / 10,
         "bytes_sent": 0, "seconds": 0.0} for n in range(1, done + 1)
    ]
    connection.sendall(json.dumps({
        "version": "0", "name": folder.name, "peer": folder.name, "steward": False, "swarm": "s",
        "swarm_id": "00", "state": "learning", "round": done, "addresses": ["/ip4/127.0.0.1"],
        "history": history,
    }).encode())
    connection.close()
"""


class Recorder(Display):
    def __init__(self) -> None:
        self.reports: list[list[str]] = []
        self.updates = 0

    def report(self, lines: object) -> None:
        assert isinstance(lines, list)
        self.reports.append(lines)

    def update(self, watch: object, gone: object) -> None:
        self.updates += 1


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[LocalSwarm]:
    program = tmp_path / "agent.py"
    program.write_text(AGENT, encoding="utf-8")
    scenario = Scenario(peers=3, rounds=4, model="softmax")
    with Children() as children:
        plan = make_plan(scenario, tmp_path, interval_s=0.1)
        for device in plan.devices:
            device.folder.mkdir()
        yield LocalSwarm(plan, children, [sys.executable, "-S", "-E", str(program)])


def put(swarm: LocalSwarm, name: str, setting: str, round_: int) -> None:
    (swarm.watch.folders[name] / setting).write_text(str(round_), encoding="ascii")


@pytest.fixture
def run(swarm: LocalSwarm) -> Callable[[Recorder], following.Followed]:
    def run(display: Recorder) -> following.Followed:
        swarm.start_all()
        return follow(swarm, display, look_s=0.01)

    return run


Run = Callable[[Recorder], following.Followed]


def test_it_ends_when_all_made_their_rounds(swarm: LocalSwarm, run: Run) -> None:
    display = Recorder()
    followed = run(display)
    assert (followed.died, followed.warnings, display.reports) == ({}, [], [])
    assert [course.rounds for course in swarm.watch.courses.values()] == [4, 4, 4]
    assert swarm.watch.mean_accuracy(4) == pytest.approx(0.4)
    assert display.updates >= 4
    assert swarm.running == swarm.names


def test_an_agent_that_dies_is_reported_and_not_waited_for(swarm: LocalSwarm, run: Run) -> None:
    put(swarm, "peer-01", "dies", 2)
    display = Recorder()
    followed = run(display)
    assert followed.died == {"peer-01": "ended with exit code 7"}
    assert followed.warnings == ["peer-01 ended with exit code 7: no space left on device"]
    assert display.reports == [["peer-01 ended with exit code 7", "no space left on device"]]
    assert [course.rounds for course in swarm.watch.courses.values()] == [4, 1, 4]


def test_a_swarm_that_died_out_is_an_error(swarm: LocalSwarm, run: Run) -> None:
    for name in swarm.names:
        put(swarm, name, "dies", 1)
    with pytest.raises(AgentError, match=r"all agents died; the first: peer-0\d ended .* space"):
        run(Recorder())


@pytest.mark.slow
def test_a_swarm_that_stands_still_is_an_error(
    swarm: LocalSwarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "STALL_S", 0.2)
    monkeypatch.setattr(following, "STALL_ROUNDS", 0)
    monkeypatch.setattr(following, "STALL_PEER_S", 0.0)
    put(swarm, "peer-02", "stalls", 2)
    swarm.start_all()
    swarm.wait_ready(swarm.names)
    with pytest.raises(AgentError, match="no round ended for 0 s: peer-02 is 'learning'"):
        follow(swarm, Recorder(), look_s=0.01)


def test_ready_is_who_can_be_reached(swarm: LocalSwarm) -> None:
    swarm.start("peer-00", rounds=0)
    swarm.wait_ready(["peer-00"])
    status = swarm.status("peer-00")
    assert status is not None
    assert status.round == 0
    assert swarm.status("peer-01") is None


def test_waiting_for_the_dead_is_over_at_once(swarm: LocalSwarm) -> None:
    put(swarm, "peer-00", "dies", 0)
    swarm.start("peer-00", rounds=0)
    with pytest.raises(AgentError, match="peer-00 ended with exit code 7: no space left"):
        swarm.wait_ready(["peer-00"])
