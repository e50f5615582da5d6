"""Children: started, ended, killed, and what they cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gossamer_agent.errors import AgentError
from gossamer_simulator.swarm_up.processes import LOG_TAIL_LINES, Child, Children

SLEEP = "sleep 60"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def shell(children: Children, log: Path, script: str) -> Child:
    return children.start("child", ["/bin/sh", "-c", script], log)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until_said(log: Path, word: str) -> None:
    deadline = time.monotonic() + 10
    while word not in log.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_whoever_ends_by_itself_is_told_once(children: Children, log: Path) -> None:
    child = shell(children, log, "exit 0")
    assert children.wait(child, 10)
    assert children.ended() == [child]
    assert children.ended() == []


def test_ended_tells_how_and_what_it_said(children: Children, log: Path) -> None:
    child = shell(children, log, "echo one; echo two >&2; exit 7")
    ended: list[Child] = []
    while not ended:
        ended = children.ended()
    assert ended == [child]
    assert children.ended() == []
    assert child.ending() == "ended with exit code 7"
    assert child.log_tail() == ["one", "two"]


def test_only_the_end_of_a_long_log_is_told(children: Children, log: Path) -> None:
    child = shell(children, log, "seq 1 100000")
    assert children.wait(child, 10)
    tail = child.log_tail()
    assert tail[-1] == "100000"
    assert len(tail) == LOG_TAIL_LINES


def test_stop_is_orderly(children: Children, log: Path) -> None:
    child = shell(children, log, "trap 'echo bye; exit 0' TERM; echo ready; while :; do :; done")
    until_said(log, "ready")
    assert children.stop() == []
    assert child.exit_code == 0
    assert child.log_tail() == ["ready", "bye"]
    assert children.ended() == []


def test_the_stubborn_are_killed_and_named(children: Children, log: Path) -> None:
    stubborn = shell(children, log, STUBBORN)
    until_said(log, "ready")
    tame = shell(children, log, SLEEP)
    assert children.stop(patience_s=0.1) == [stubborn]
    assert stubborn.ending() == "was ended by SIGKILL"
    assert tame.ending() == "was ended by SIGTERM"


def test_killing_one_leaves_the_others(children: Children, log: Path) -> None:
    first, second = shell(children, log, SLEEP), shell(children, log, SLEEP)
    children.kill(first)
    children.kill(first)
    assert first.ending() == "was ended by SIGKILL"
    assert second.running
    assert children.ended() == []


def test_leaving_the_block_leaves_nobody(log: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Children() as children:
        child = shell(children, log, SLEEP)
        raise KeyboardInterrupt
    assert not is_there(child.pid)


def test_a_second_interrupt_kills(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Children() as children:
        child = shell(children, log, STUBBORN)
        monkeypatch.setattr(children, "_await", interrupted)
    assert not is_there(child.pid)


def test_usage_sums_cpu_and_takes_the_largest(children: Children, log: Path) -> None:
    busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
    for _ in range(2):
        assert children.wait(shell(children, log, busy), 10)
    assert 0.0 < children.usage.cpu_seconds < 10.0
    assert 0.5 < children.usage.peak_rss_mb < 1000.0


def test_a_program_that_is_not_there(children: Children, log: Path) -> None:
    with pytest.raises(AgentError, match="child: /no/such cannot be started"):
        children.start("child", ["/no/such"], log)


@pytest.mark.slow
def test_the_kernel_ends_children_of_a_killed_parent(log: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from gossamer_simulator.swarm_up.processes import Children\n"
        "children = Children()\n"
        f"child = children.start('child', ['/bin/sleep', '60'], pathlib.Path({str(log)!r}))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_there(pid)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    """Whether it is more than an orphan that nobody has reaped yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
