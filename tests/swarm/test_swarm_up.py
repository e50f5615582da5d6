"""`gossamer swarm up` as a user starts it: a process that starts processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gossamer_agent.cli import run_program as run
from gossamer_agent.node.status import AgentStatus
from gossamer_simulator.swarm_up.watch import status_of

POINTS_MAX = 0.03
PATIENCE_S = 120.0

pytestmark = pytest.mark.slow


@contextmanager
def started(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, in its own process; TMPDIR is `folder`."""
    command = [sys.executable, "-m", "gossamer_agent", "swarm", "up", *options]
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def agents(folder: Path, peers: int, done: Callable[[AgentStatus], bool]) -> list[AgentStatus]:
    """Wait until `peers` agents below `folder` are as wanted."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        statuses = [status_of(device) for device in sorted(folder.glob("**/peer-*/"))]
        ready = [status for status in statuses if status is not None and done(status)]
        if len(ready) == peers:
            return ready
        assert time.monotonic() < deadline, f"{len(ready)} of {peers} agents are ready"
        time.sleep(0.2)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pids(statuses: Sequence[AgentStatus]) -> list[int]:
    found = [status.pid for status in statuses if status.pid is not None]
    assert len(found) == len(statuses)
    return found


def result_of(tmp_path: Path, *options: str) -> dict[str, Any]:
    file = tmp_path / "result.json"
    assert run([*options, "--quiet", "--json", str(file)]) == 0
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def test_ten_processes_learn_as_the_simulator_says(tmp_path: Path) -> None:
    settings = ("--peers", "10", "--data", "digits", "--rounds", "20", "--seed", "7")
    simulated = result_of(tmp_path, "simulate", *settings)
    real = result_of(tmp_path, "swarm", "up", *settings)
    gap = simulated["accuracy"]["mean"] - real["accuracy"]["mean"]
    assert abs(gap) <= POINTS_MAX, real["accuracy"]["per_round"]
    assert set(real) == set(simulated) - {"trace_hash"}
    assert real["ledger"]["verified"]
    assert real["warnings"] == []
    assert "fork" not in real["refused"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "--peers", "2", "--rounds", "9999") as process:
        running = pids(agents(tmp_path, 2, lambda status: status.state == "learning"))
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "gossamer: interrupted"
    assert not any(map(is_there, running))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_others_join(tmp_path: Path) -> None:
    with started(tmp_path, "--peers", "20", "--rounds", "9999") as process:
        running = pids(agents(tmp_path, 1, lambda status: status.members > 2))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert out.splitlines()[-1] == "gossamer: interrupted"
    assert not any(map(is_there, running))
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_dies_is_shown_and_the_others_go_on(tmp_path: Path) -> None:
    kept, file = tmp_path / "kept", tmp_path / "result.json"
    options = ("--peers", "4", "--rounds", "6", "--keep", str(kept), "--json", str(file))
    with started(tmp_path, *options) as process:
        victim = agents(kept, 4, lambda status: status.round >= 1)[2]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    lines = out.splitlines()
    begun = lines.index("peer-02 was ended by SIGKILL")
    assert lines[begun + 1].startswith("    gossamer: ")
    assert lines[-1].startswith("gossamer: 1 of 4 agents died: peer-02 was ended by SIGKILL: ")
    result = json.loads(file.read_text(encoding="utf-8"))
    assert len(result["accuracy"]["per_round"]) == 6
    assert result["warnings"] == [lines[-1].removeprefix("gossamer: 1 of 4 agents died: ")]
    assert run(["log", "verify", str(kept / "peer-02")]) == 0
