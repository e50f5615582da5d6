"""What is asked of systemd: put a unit in place, start it, tell how it does, take it away.

A failing call costs one line that says what to do. Nothing here needs numpy or trio.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer_agent.errors import AgentError
from gossamer_agent.service.unit import folder_of, written

SYSTEM_UNITS: Final = Path("/etc/systemd/system")
BOOTED: Final = Path("/run/systemd/system")
"""There while systemd is the manager of the machine (sd_booted(3))."""
TIMEOUT_S: Final = 400.0
"""Longer than a unit may take to start."""
ASKED: Final = (
    "ActiveState", "SubState", "UnitFileState", "StatusText", "MainPID", "NRestarts",
    "MemoryCurrent", "ActiveEnterTimestamp", "Result",
)  # fmt: skip


class ServiceError(AgentError):
    """systemd is absent or did not do what was asked."""


@dataclass(frozen=True, slots=True)
class Service:
    """One unit of the machine's manager, or (user) of the caller's own."""

    name: str
    user: bool

    @property
    def unit(self) -> str:
        return f"{self.name}.service"

    @property
    def path(self) -> Path:
        """Where its file belongs."""
        return units_folder(user=self.user) / self.unit

    def installed(self) -> bool:
        return self.path.exists()

    def works_in(self, folder: Path) -> bool:
        """Whether the installed unit is the one of this device. Raises ServiceError."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        except OSError as error:
            raise ServiceError(f"{self.path}: {error.strerror}") from error
        return folder_of(text) == written(folder)

    def install(self, text: str) -> None:
        """Write the unit and start it, now and at every boot. Raises ServiceError."""
        self.check_running()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            draft = self.path.with_name(f".{self.unit}.new")
            draft.write_text(text, encoding="utf-8")
            draft.chmod(0o644)
            draft.replace(self.path)
        except OSError as error:
            raise self._denied(error) from error
        self._call("daemon-reload")
        try:
            self._run("reset-failed", self.unit)  # who failed too often would be refused
            self._call("enable", self.unit)
            self._call("restart", self.unit)  # starts it, too; one that runs gets the new unit
        except ServiceError as error:
            raise ServiceError(
                f"{error}; the unit is installed: see `gossamer service logs`, then install it"
                " again or remove it"
            ) from error

    def remove(self) -> None:
        """Stop it and leave nothing of it. Raises ServiceError."""
        self.check_running()
        if not os.access(self.path.parent, os.W_OK):
            raise self._denied(None)
        self._call("disable", "--now", self.unit)
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._denied(error) from error
        self._call("daemon-reload")
        # Only a unit that failed is remembered; for others this call has nothing to do.
        self._run("reset-failed", self.unit)

    def properties(self) -> Mapping[str, str]:
        """What systemd knows of it. Raises ServiceError."""
        self.check_running()
        told = self._call("show", self.unit, f"--property={','.join(ASKED)}")
        pairs = (line.partition("=") for line in told.splitlines())
        return {name: value for name, _, value in pairs if name in ASKED}

    def logs_command(self, lines: int, *, follow: bool) -> list[str]:
        """The command that shows its journal. Raises ServiceError where there is none."""
        journalctl = shutil.which("journalctl")
        if journalctl is None:
            raise ServiceError("there is no journalctl here: the machine is not run by systemd")
        unit = ["--user", f"--user-unit={self.unit}"] if self.user else [f"--unit={self.unit}"]
        return [
            journalctl,
            *unit,
            f"--lines={lines}",
            *(["--follow"] if follow else ["--no-pager"]),
        ]

    def check_running(self) -> None:
        """Raise ServiceError unless systemd runs this machine."""
        if shutil.which("systemctl") is None or not BOOTED.is_dir():
            raise ServiceError(
                "systemd does not run here; start `gossamer run` by what does,"
                " or look at the unit with --print"
            )

    def _call(self, *arguments: str) -> str:
        done = self._run(*arguments)
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ServiceError(f"systemctl {' '.join(arguments)}: {said[0]}")
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemctl", *(["--user"] if self.user else []), *arguments]
        try:
            return subprocess.run(  # noqa: S603  our own words, without a shell
                command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServiceError(f"{' '.join(command)}: {error}") from error

    def _denied(self, error: OSError | None) -> ServiceError:
        why = "no right to write there" if error is None else error.strerror
        help_ = "" if self.user else "; call it with sudo, or use --user"
        return ServiceError(f"{self.path}: {why}{help_}")


def units_folder(*, user: bool) -> Path:
    """Where units are put by hand."""
    if not user:
        return SYSTEM_UNITS
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"
