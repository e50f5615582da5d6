"""The disk is full, and comes free again; or it cannot be written at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scripts.crash.agent import Agent, found
from scripts.crash.kills import check
from scripts.crash.verdict import Finding

from gossamer_agent.exit_codes import ExitCode

DISK_BYTES: Final = 1 << 20


def can_mount(folder: Path) -> bool:
    """Whether this user may mount here."""
    place = folder / "probe"
    place.mkdir(parents=True, exist_ok=True)
    try:
        with mounted(place):
            return True
    except OSError:
        return False


@contextmanager
def mounted(place: Path, *, read_only: Path | None = None) -> Iterator[Path]:
    """A small disk in memory at `place`, or the folder `read_only` once more, not to be written.

    Raises OSError where that is not allowed.
    """
    if read_only is None:
        _call("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place))
    else:
        _call("mount", "--bind", str(read_only), str(place))
    try:
        if read_only is not None:
            _call("mount", "-o", "remount,ro,bind", str(place))
        yield place
    finally:
        _call("umount", "--lazy", str(place))


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip())


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Write a file until only `leave` bytes are free. Returns it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, os.fstat(file.fileno()).st_size - leave))
    return ballast


def full(folder: Path, times: int = 3, *, at_start: bool = True) -> Iterator[Finding]:
    """Fill the disk of a running agent `times` times, once before it starts, and make it read-only.

    folder: an empty one. at_start: False leaves out the disk that is full when the agent starts.
    """
    (folder / "disk").mkdir()
    with mounted(folder / "disk") as disk:
        agent = Agent(disk / "device")
        found(agent.folder, folder / "samples.npz")
        agent.start()
        agent.until(lambda status: status.state == "learning" and status.round >= 3)
        for number in range(times):
            yield _while_running(agent, disk, leave=number * 50_000)
        agent.end()
        if at_start:
            yield _at_start(agent, disk)
        (folder / "frozen").mkdir()
        with mounted(folder / "frozen", read_only=disk) as frozen:
            yield _frozen(frozen / "device")


def _while_running(agent: Agent, disk: Path, *, leave: int) -> Finding:
    """It must say so, answer all the while, lose nothing, and go on when there is room.

    Closing its own files frees some room, so it may get a few entries further; they are kept.
    """
    problems = []
    ballast = fill(disk, leave=leave)
    failed = agent.until(lambda status: status.state.startswith("store failed: "))
    still = agent.until(lambda status: status.uptime_s > failed.uptime_s + 2)
    if still.incarnation:
        problems.append("took a full disk for damage")
    ballast.unlink()
    try:
        agent.until(
            lambda status: (
                status.state == "learning" and (status.head_seq or 0) > (still.head_seq or 0) + 2
            )
        )
    except AssertionError as error:
        problems.append(str(error))
    return Finding("disk full", f"while it runs, {leave} bytes left", tuple(problems))


def _at_start(agent: Agent, disk: Path) -> Finding:
    """One clear line and an exit code; and all is there afterwards."""
    problems = []
    ballast = fill(disk)
    agent.start()
    code, said = agent.wait_end()
    if code != ExitCode.STORE or len(said.splitlines()) != 1 or "full" not in said:
        problems.append(f"ended with {code}: {said[-300:]}")
    ballast.unlink()
    problems += check(agent)
    agent.start()
    before = max(agent.told)
    try:
        agent.until(lambda status: (status.head_seq or 0) > before[1] + 2)
    except AssertionError as error:
        problems.append(str(error))
    agent.end()
    problems += check(agent)
    return Finding("disk full", "when it starts", tuple(problems))


def _frozen(folder: Path) -> Finding:
    """It cannot run; its log can be verified all the same."""
    problems = []
    agent = Agent(folder)
    agent.start()
    code, said = agent.wait_end()
    if code != ExitCode.STORE or len(said.splitlines()) != 1 or "Read-only" not in said:
        problems.append(f"ended with {code}: {said[-300:]}")
    verified = _gossamer("log", "verify", str(folder))
    if verified.returncode:
        problems.append(f"log verify: {verified.stderr.strip()}")
    return Finding("read-only", "when it starts", tuple(problems))


def _gossamer(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gossamer_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
