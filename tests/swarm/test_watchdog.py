"""An agent that froze or deadlocked is ended by the watchdog, and the next one goes on.

`Manager` does what systemd does with Type=notify and WatchdogSec: it listens at a notify socket,
ends a service that stays silent by SIGABRT and SIGKILL, and starts it again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.node.statussocket import ask
from gossamer_agent.synthetic import make_samples

WATCHDOG_S = 4.0
PATIENCE_S = 60.0
ABORT_S = 5.0

PROGRAM = """
import pathlib, resource, sys, threading
from gossamer_agent.cli import run_program
from gossamer_agent.store.sqlite import SqliteStore

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
hang, append = pathlib.Path(sys.argv[1]), SqliteStore.append

def append_or_hang(store, entry):
    if hang.exists():
        hang.unlink()
        threading.Event().wait()  # a call that never returns, in a thread of the agent
    append(store, entry)

SqliteStore.append = append_or_hang
sys.exit(run_program(sys.argv[2:]))
"""

pytestmark = pytest.mark.slow


class Manager:
    """One service under a watchdog. said: all that it told us; ended: how each process ended."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.said: list[str] = []
        self.ended: list[int] = []
        self._command = command
        self._log = folder / "service.log"
        self._address = f"@gossamer-watchdog-{os.getpid()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self._address[1:])
        self._socket.settimeout(0.1)
        self.start()

    def start(self) -> None:
        self.ready = False
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": self._address,
                    "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
                },
                stderr=log,
            )

    def supervise(self, until: Callable[[], bool]) -> None:
        """Do a manager's work until something is the case."""
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < deadline, (self.said[-5:], self.log())
            self._hear()
            assert self.process.poll() is None, self.log()
            if self.ready and time.monotonic() - self.fed_s > WATCHDOG_S:
                self._end()
                self.start()

    def _hear(self) -> None:
        try:
            told = self._socket.recv(4096).decode()
        except TimeoutError:
            return
        self.said.append(told)
        if told == "READY=1":
            self.ready = True
        if told in ("READY=1", "WATCHDOG=1"):
            self.fed_s = time.monotonic()

    def _end(self) -> None:
        self.process.send_signal(signal.SIGABRT)
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(ABORT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.ended.append(self.process.wait())

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()


def gossamer(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "gossamer_agent", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture
def garden(tmp_path: Path) -> Path:
    samples = make_samples(512, 20, np.random.default_rng(0))
    np.savez(tmp_path / "data.npz", x=samples.x, y=samples.y)
    folder = tmp_path / "garden"
    gossamer(
        "init", folder, "--swarm", "greenhouse", "--model", "synthetic",
        "--data", tmp_path / "data.npz", "--listen", "/ip4/127.0.0.1/tcp/0",
    )  # fmt: skip
    config = folder / "config.toml"
    text = re.sub(r"(?m)^# round_interval_s =.*", "round_interval_s = 0.5", config.read_text())
    config.write_text(text)
    return folder


@pytest.fixture
def manager(garden: Path) -> Iterator[Manager]:
    hang = garden / "hang"
    found = Manager([sys.executable, "-c", PROGRAM, str(hang), "-C", str(garden), "run"], garden)
    yield found
    found.close()


def status(folder: Path) -> dict[str, Any] | None:
    answer = ask(folder, "status")
    found: dict[str, Any] | None = None if answer is None else json.loads(answer)
    return found


def test_a_frozen_and_a_deadlocked_agent_are_restarted_and_go_on(
    garden: Path, manager: Manager
) -> None:
    def learns() -> bool:
        found = status(garden) if manager.ready else None
        return found is not None and found["rounds"] >= 2

    manager.supervise(learns)
    before = status(garden)
    assert before is not None

    manager.process.send_signal(signal.SIGSTOP)
    manager.supervise(lambda: len(manager.ended) == 1)
    manager.supervise(learns)
    thawed = status(garden)
    assert thawed is not None
    assert thawed["incarnation"] == before["incarnation"] == 0
    assert thawed["head_seq"] > before["head_seq"]
    assert thawed["round"] > before["round"]

    (garden / "hang").touch()
    manager.supervise(lambda: len(manager.ended) == 2)
    assert any(told.startswith("STATUS=stuck: handling an event") for told in manager.said)
    manager.supervise(learns)
    freed = status(garden)
    assert freed is not None
    assert freed["incarnation"] == 0
    assert freed["head_seq"] > thawed["head_seq"]

    assert manager.ended == [-signal.SIGABRT, -signal.SIGABRT]
    assert "append_or_hang" in manager.log()  # where it hung is in the log
    assert manager.said.count("READY=1") == 3
    manager.process.send_signal(signal.SIGTERM)
    assert manager.process.wait(15) == 0
    while "STOPPING=1" not in manager.said:
        manager._hear()
