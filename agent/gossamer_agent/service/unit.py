"""The systemd unit of a device's agent, as text. Pure.

Theory of operation. The agent needs its folder, the network, and to read its program, data and the
sensors below /sys and /proc; everything else is taken away. It runs as the owner of the folder: a
user that systemd makes up at each start (DynamicUser) could not read keys that belong to somebody.
Home folders are hidden but for what is named. Processes of the service may use the memory and the
cores that the profile allows; where that is not enough the kernel ends the service before anything
else on the machine. A watchdog bite sends SIGABRT, which makes Python tell where it hung.

Units of a user's own manager have no rights to give up; there the sandbox needs PrivateUsers.
Sources: systemd.exec(5), systemd.service(5), systemd.resource-control(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.exit_codes import ExitCode

WATCHDOG_S: Final = 120
"""Longer than a slow card needs for one entry."""
START_S: Final = 300
STOP_S: Final = 90
"""Computations that have begun are finished first."""
HELPLESS: Final = (
    ExitCode.USAGE,
    ExitCode.DATA,
    ExitCode.LOG_BROKEN,
    ExitCode.CONFIG,
    ExitCode.MEMBERSHIP,
)
"""Ends that no restart can help. A learner of the owner's own may work again, so MODEL is not."""
CREDENTIAL: Final = "passphrase"

_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
"""What ProtectHome and PrivateTmp hide."""

_SANDBOX: Final = """\
ProtectSystem=strict
PrivateTmp=yes
PrivateUsers=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
UMask=0077
LimitCORE=0
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring
SystemCallErrorNumber=EPERM
# Netlink: mDNS and name look-ups ask the kernel for interfaces.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSettings:
    """What a unit depends on; all paths are absolute.

    program: the command line of `gossamer`. readable: what else the agent reads; writable: folders
    besides its own whose files it moves. user, group: None for a unit of a user's own manager.
    devices: files below /dev that it may open; device_groups: who owns them. passphrase_file:
    protects the key.
    """

    description: str
    program: tuple[str, ...]
    folder: Path
    readable: tuple[Path, ...]
    user: str | None
    group: str | None
    memory_mb_max: int
    threads: int
    writable: tuple[Path, ...] = ()
    devices: tuple[str, ...] = ()
    device_groups: tuple[str, ...] = ()
    passphrase_file: Path | None = None


def unit_text(settings: UnitSettings) -> str:
    """The unit file. Raises ConfigError for a path that a unit cannot name."""
    return "\n".join(_lines(settings)) + "\n"


def unit_name(folder: Path) -> str:
    """What the service of a device is called if nobody says otherwise."""
    plain = "".join(
        part if part.isascii() and (part.isalnum() or part in "_.-") else "-"
        for part in folder.name
    )
    return f"gossamer-{plain[:64] or 'device'}"


def check_name(name: str) -> str:
    """The name of a unit without ".service". Raises ConfigError for one that systemd refuses."""
    if name != unit_name(Path(name)).removeprefix("gossamer-") or name.startswith((".", "-")):
        raise ConfigError(f"{name!r}: a service's name has letters, digits and _.- only")
    return name


def folder_of(unit: str) -> str | None:
    """The folder that a unit made here works in, as it is written there; None for other units."""
    for line in unit.splitlines():
        if line.startswith("WorkingDirectory="):
            return line.removeprefix("WorkingDirectory=")
    return None


def written(path: Path | str) -> str:
    """A path as a unit names it where one path is expected: without quotes."""
    text = str(path)
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise ConfigError(f"{text!r}: a systemd unit cannot name this path")
    return text.replace("%", "%%")


def _lines(settings: UnitSettings) -> Iterator[str]:
    system = settings.user is not None
    yield "# Made by `gossamer service install`; removed by `gossamer service remove`."
    yield "[Unit]"
    yield f"Description={written(settings.description)}"
    if system:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield "StartLimitIntervalSec=900"
    yield "StartLimitBurst=5"
    yield ""
    yield "[Service]"
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield f"ExecStart={' '.join(map(_argument, _command(settings)))}"
    yield f"WorkingDirectory={written(settings.folder)}"
    if settings.passphrase_file is not None:
        yield f"LoadCredential={CREDENTIAL}:{written(settings.passphrase_file)}"
    if system:
        yield f"User={settings.user}"
        yield f"Group={settings.group}"
    yield f"WatchdogSec={WATCHDOG_S}"
    yield f"TimeoutStartSec={START_S}"
    yield f"TimeoutStopSec={STOP_S}"
    yield "Restart=on-failure"
    yield "RestartSec=10"
    yield f"RestartPreventExitStatus={' '.join(str(int(code)) for code in HELPLESS)}"
    yield "Environment=PYTHONDONTWRITEBYTECODE=1"
    yield ""
    yield "# Means: the profile's memory and cores."
    yield f"MemoryMax={settings.memory_mb_max * 1_000_000}"
    yield f"CPUQuota={settings.threads * 100}%"
    yield "TasksMax=256"
    yield "Nice=10"
    yield "OOMScoreAdjust=500"
    yield ""
    yield "# Sandbox: one writable place, no rights."
    yield f"ReadWritePaths={_list(_writable(settings), needed=settings.folder)}"
    yield from _homes(settings)
    yield from _devices(settings)
    yield _SANDBOX
    yield ""
    yield "[Install]"
    yield f"WantedBy={'multi-user' if system else 'default'}.target"


def _command(settings: UnitSettings) -> Iterator[str]:
    yield from settings.program
    yield from ("-C", str(settings.folder), "run")
    if settings.passphrase_file is not None:
        yield from ("--passphrase-file", f"%d/{CREDENTIAL}")


def _homes(settings: UnitSettings) -> Iterator[str]:
    """Home folders are empty but for what the agent needs there."""
    yield "ProtectHome=tmpfs"
    if kept := [path for path in _writable(settings) if _is_hidden(path)]:
        yield f"BindPaths={_list(kept, needed=settings.folder)}"
    if shown := [path for path in _outermost(settings.readable) if _is_hidden(path)]:
        yield f"BindReadOnlyPaths={_list(shown, needed=settings.folder)}"


def _devices(settings: UnitSettings) -> Iterator[str]:
    if not settings.devices:
        yield "PrivateDevices=yes"
        return
    yield "DevicePolicy=closed"
    for device in settings.devices:
        yield f"DeviceAllow={written(device)} rw"
    if settings.device_groups:
        yield f"SupplementaryGroups={' '.join(settings.device_groups)}"


def _writable(settings: UnitSettings) -> list[Path]:
    return _outermost((settings.folder, *settings.writable))


def _is_hidden(path: Path) -> bool:
    return any(path.is_relative_to(hidden) for hidden in _HIDDEN)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """The paths that are below none of the others, in order."""
    found: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(outer) for outer in found):
            found.append(path)
    return found


def _list(paths: Iterable[Path], *, needed: Path) -> str:
    """Paths in one line. The service starts without those that do not exist, but for `needed`."""
    return " ".join(_quoted(path, "" if path == needed else "-") for path in paths)


def _quoted(path: Path, prefix: str = "") -> str:
    """A path in a list of paths. A colon separates source and destination there."""
    text = written(path)
    if ":" in text:
        raise ConfigError(f"{text!r}: a systemd unit cannot name a path with a colon here")
    return f'"{prefix}' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _argument(text: str) -> str:
    """One word of a command line."""
    if text.startswith("%d/"):
        return text
    escaped = written(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    plain = escaped.replace("/", "").replace("-", "").replace("_", "").replace(".", "")
    return escaped if plain.isalnum() and plain.isascii() else f'"{escaped}"'
