"""Child processes: started, watched, stopped, and accounted for.

Theory of operation. A child is started without a shell, its output goes to a file, and it is reaped
here with `wait4`, which tells what it cost. The kernel ends it when this process ends, however that
happens. Stopping is SIGTERM to all, some patience, then SIGKILL; leaving the block of `Children`
leaves no child behind, not even at a second Ctrl-C.

A terminal sends Ctrl-C to every process of its foreground group. The children are in a group of
their own: they end when they are told to, after their last status was read.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from gossamer_agent.errors import AgentError

STOP_PATIENCE_S: Final = 15.0
LOG_TAIL_LINES: Final = 12
_LOG_TAIL_BYTES: Final = 8192
_POLL_S: Final = 0.05
_PR_SET_PDEATHSIG: Final = 1


@dataclass(slots=True)
class Usage:
    """What ended children have cost. peak_rss_mb: of the largest one."""

    cpu_seconds: float = 0.0
    peak_rss_mb: float = 0.0


@dataclass(slots=True, eq=False)
class Child:
    """One process. log: the file with its output; exit_code: None while it runs, negative for a
    signal; asked_to_end: whether it was us.
    """

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    exit_code: int | None = None
    asked_to_end: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def ending(self) -> str:
        """How it ended, as words."""
        assert self.exit_code is not None, "it runs"
        if self.exit_code < 0:
            return f"was ended by {signal.Signals(-self.exit_code).name}"
        return f"ended with exit code {self.exit_code}"

    def log_tail(self) -> list[str]:
        """The last lines of what it wrote, without what would move a terminal's cursor."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _LOG_TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        return [printable(line) for line in text.splitlines() if line.strip()][-LOG_TAIL_LINES:]


class Children:
    """The children of this process that were started here. Use it as a context manager."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._running: list[Child] = []
        self._untold: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._kill(self._running)

    def start(self, name: str, command: Sequence[str], log: Path) -> Child:
        """Start a command; its output is appended to `log`. Raises AgentError if it cannot be."""
        try:
            with log.open("ab") as output:
                process = subprocess.Popen(  # noqa: S603 - our own program, without a shell
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    # No thread of ours ever holds a lock that it needs.
                    preexec_fn=_end_with_parent(),  # noqa: PLW1509
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise AgentError(f"{name}: {command[0]} cannot be started: {error}") from error
        child = Child(name, log, process)
        self._running.append(child)
        return child

    def ended(self) -> list[Child]:
        """Those that ended since the last call without being asked to."""
        self._reap()
        found, self._untold = self._untold, []
        return found

    def wait(self, child: Child, patience_s: float) -> bool:
        """Wait until it ended; whether it did."""
        return self._await(lambda: not child.running, patience_s)

    def stop(self, *children: Child, patience_s: float = STOP_PATIENCE_S) -> list[Child]:
        """End these, or all, in an orderly way. Returns those that had to be killed."""
        wanted = [child for child in children or list(self._running) if child.running]
        for child in wanted:
            self._signal(child, signal.SIGTERM)
        self._await(lambda: not any(child.running for child in wanted), patience_s)
        stubborn = [child for child in wanted if child.running]
        self._kill(stubborn)
        return stubborn

    def kill(self, child: Child) -> None:
        """End it at once, as a power cut would."""
        self._kill([child])

    def _kill(self, children: Sequence[Child]) -> None:
        wanted = [child for child in children if child.running]
        for child in wanted:
            self._signal(child, signal.SIGKILL)
        for child in wanted:
            if child.running:
                self._account(child, *_wait4(child.pid, 0))

    def _signal(self, child: Child, number: signal.Signals) -> None:
        child.asked_to_end = True
        # Nobody else reaps our children, so the number is still that of this process.
        os.kill(child.pid, number)

    def _await(self, done: Callable[[], bool], patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        self._reap()
        while not done():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
            self._reap()
        return True

    def _reap(self) -> None:
        for child in list(self._running):
            pid, code, usage = _wait4(child.pid, os.WNOHANG)
            if pid:
                self._account(child, pid, code, usage)

    def _account(self, child: Child, pid: int, code: int, usage: Usage) -> None:
        assert pid == child.pid
        child.exit_code = child.process.returncode = code
        self._running.remove(child)
        if not child.asked_to_end:
            self._untold.append(child)
        self.usage.cpu_seconds += usage.cpu_seconds
        self.usage.peak_rss_mb = max(self.usage.peak_rss_mb, usage.peak_rss_mb)


def printable(text: str) -> str:
    """The text with a mark in place of each control character."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def _wait4(pid: int, options: int) -> tuple[int, int, Usage]:
    """(0 or the pid of the child that ended, its exit code, what it cost)."""
    ended, status, spent = os.wait4(pid, options)
    code = os.waitstatus_to_exitcode(status) if ended else 0
    return ended, code, Usage(spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024)


def _end_with_parent() -> Callable[[], None] | None:
    """What a child calls before it begins, so that the kernel ends it after us."""
    if sys.platform != "linux":
        return None
    # Resolved here: between fork and exec as little as possible should happen.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent
