"""Two devices as real processes on 127.0.0.1: found, invite, join, learn, evict, end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.synthetic import make_samples

PATIENCE_S = 60.0
HERE = "/ip4/127.0.0.1/tcp/0"
SETTINGS = {
    r"^# round_interval_s =.*": "round_interval_s = 0.5",
    r"^# announce_interval_s =.*": "announce_interval_s = 2.0",
}

pytestmark = pytest.mark.slow


def gossamer(*arguments: str | Path, code: int = 0) -> str:
    """Run a command to its end and return its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "gossamer_agent", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """An agent that is killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gossamer_agent", "-C", str(folder), "run"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def status(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gossamer("-C", folder, "status", "--json"))
    return found


def await_status(folder: Path, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = status(folder)
        if wanted(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    process.send_signal(number)
    _, said = process.communicate(timeout=10)
    return process.returncode, said


def settle(folder: Path) -> None:
    config = folder / "config.toml"
    text = config.read_text()
    for pattern, line in SETTINGS.items():
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        assert count == 1
    config.write_text(text)


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    """The folder of a founder, ready to run."""
    for number in range(2):
        samples = make_samples(512, 20, np.random.default_rng(number))
        np.savez(tmp_path / f"data-{number}.npz", x=samples.x, y=samples.y)
    folder = tmp_path / "garden"
    gossamer(
        "init", folder, "--swarm", "greenhouse", "--model", "synthetic", "--quorum", "2",
        "--data", tmp_path / "data-0.npz", "--listen", HERE,
    )  # fmt: skip
    settle(folder)
    return folder


def join(garden: Path) -> Path:
    printed = gossamer("-C", garden, "invite", "--uses", "1")
    invite = re.search(r"gossamer1[a-z2-7]+", printed)
    assert invite is not None, printed
    shed = garden.parent / "shed"
    gossamer("join", invite[0], shed, "--data", garden.parent / "data-1.npz", "--listen", HERE)
    settle(shed)
    return shed


def test_two_devices_learn_together_until_one_is_evicted(garden: Path) -> None:
    with running(garden) as founder:
        await_status(garden, lambda found: found["rounds"] > 0)
        shed = join(garden)
        with running(shed) as joiner:
            for folder in (garden, shed):
                found = await_status(folder, lambda found: found["merges"] > 1)
                assert found["state"] == "learning"
                assert (found["members"], found["linked"], found["following"]) == (2, 1, 1)
                (peer,) = found["peers"]
                assert peer["standing"] == "admitted"
                assert peer["head_seq"] > 0
                assert gossamer("-C", folder, "peers")
                assert "1 of 1 other members answer" in gossamer("-C", folder, "doctor")
            gossamer("-C", garden, "run", code=ExitCode.FAILURE)  # one agent for each folder
            name = status(shed)["peer"]
            gossamer("-C", garden, "evict", name, "--yes")
            _, said = joiner.communicate(timeout=PATIENCE_S)
            assert joiner.returncode == ExitCode.MEMBERSHIP
            assert "removed this device" in said.splitlines()[-1]
            await_status(garden, lambda found: found["members"] == 1 and found["linked"] == 0)
            assert not (shed / "agent.sock").exists()
        assert status(shed)["state"] == "removed"
        code, said = end(founder, signal.SIGTERM)
        assert code == ExitCode.OK, said
        assert "Traceback" not in said
    assert not (garden / "agent.sock").exists()
    found = status(garden)
    assert (found["running"], found["state"]) == (False, "not running")
    for folder in (garden, shed):
        assert "verified" in gossamer("log", "verify", folder)


def test_an_agent_that_was_killed_goes_on_where_it_was(garden: Path) -> None:
    with running(garden):
        await_status(garden, lambda found: found["rounds"] > 0)
        shed = join(garden)
        with running(shed) as joiner:
            before = await_status(shed, lambda found: found["merges"] > 1)
            joiner.send_signal(signal.SIGKILL)
            joiner.communicate()
        assert (shed / "agent.sock").exists()
        assert status(shed)["running"] is False
        with running(shed) as joiner:
            after = await_status(shed, lambda found: found["running"] and found["rounds"] > 1)
            assert after["incarnation"] == 0
            assert after["head_seq"] > before["head_seq"]
            assert "fork" not in status(garden)["refused"]
            code, said = end(joiner, signal.SIGINT)
            assert code == ExitCode.INTERRUPTED, said
            assert "Traceback" not in said
    assert "verified" in gossamer("log", "verify", shed)


def test_a_restored_image_begins_the_next_incarnation(garden: Path) -> None:
    with running(garden) as founder:
        await_status(garden, lambda found: found["rounds"] > 0)
        shed = join(garden)
        with running(shed) as joiner:
            await_status(shed, lambda found: found["merges"] > 1)
            end(joiner, signal.SIGTERM)
        image = {path: path.read_bytes() for path in shed.glob("feed*")}
        with running(shed) as joiner:
            before = await_status(shed, lambda found: found["running"] and found["rounds"] > 2)
            end(joiner, signal.SIGTERM)
        for path, content in image.items():
            path.write_bytes(content)
        with running(shed) as joiner:
            after = await_status(shed, lambda found: found["running"] and found["merges"] > 1)
            assert after["incarnation"] == before["incarnation"] + 1
            known = await_status(garden, lambda found: found["peers"][0]["incarnation"] == 1)
            assert known["peers"][0]["standing"] == "admitted"
            assert not {"fork", "replayed"} & set(known["refused"])
            end(joiner, signal.SIGTERM)
        end(founder, signal.SIGTERM)
    assert "verified" in gossamer("log", "verify", shed / "feed-1.sqlite3")


def test_doctor_without_an_agent_dials_by_itself(garden: Path) -> None:
    with running(garden) as founder:
        await_status(garden, lambda found: found["rounds"] > 0)
        shed = join(garden)
        said = gossamer("-C", shed, "doctor")
        assert "1 of 1 other members answer" in said
        assert "does not run" in said
        end(founder, signal.SIGTERM)
    findings = json.loads(gossamer("-C", shed, "doctor", "--json", code=ExitCode.NETWORK))
    assert {finding["cause"] for finding in findings} & {"port-closed", "advertised-address"}
