"""`gossamer service`: the agent of a device as a systemd service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import in_folder
from gossamer_agent.cli.passphrase import passphrase_file_option

if TYPE_CHECKING:
    from gossamer_agent.service.systemd import Service


def _which_service(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which unit is meant."""
    user = click.option("--user", is_flag=True, help="A service of your own user, without root.")
    name = click.option(
        "--name", metavar="NAME", help="Name of the unit; gossamer-FOLDER if not given."
    )
    return in_folder(user(name(command)))


@click.group()
def service() -> None:
    """Run the agent as a systemd service: at boot, watched.

    \b
      gossamer -C garden service install --print   look at the unit first
      sudo gossamer -C garden service install      install and start it
      gossamer -C garden service status
      gossamer -C garden service logs --follow
      sudo gossamer -C garden service remove

    The service runs as the owner of the folder, may write there and nowhere else, and may use the
    memory and the cores that the device's profile allows.
    """


@service.command()
@_which_service
@passphrase_file_option
@click.option("--print", "only_print", is_flag=True, help="Print the unit and touch nothing.")
def install(
    folder: Path, user: bool, name: str | None, passphrase_file: Path | None, only_print: bool
) -> None:
    """Install the unit of this device, start it now and at every boot.

    Install again after `config.toml`, the profile or the place of the program changed: it restarts
    the service. A service of your own user (--user) runs while you are logged in; `loginctl
    enable-linger` lets it start at boot.
    """
    from gossamer_agent.service.plan import plan_unit  # noqa: PLC0415
    from gossamer_agent.service.systemd import ServiceError  # noqa: PLC0415
    from gossamer_agent.service.unit import unit_text  # noqa: PLC0415

    text = unit_text(plan_unit(folder, user=user, passphrase_file=passphrase_file))
    if only_print:
        click.echo(text, nl=False)
        return
    chosen = _service(folder, name, user=user)
    chosen.check_running()
    if chosen.installed() and not chosen.works_in(folder.resolve()):
        raise ServiceError(f"{chosen.path}: is of another device; choose a name with --name")
    click.echo(
        f"starting {chosen.unit}; this takes up to a few minutes on a small device", err=True
    )
    chosen.install(text)
    click.echo(f"{chosen.unit} runs, and starts at every boot")


@service.command()
@_which_service
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with systemd's words.")
def status(folder: Path, user: bool, name: str | None, as_json: bool) -> None:
    """Show how the service does: running or not, restarts, memory.

    What the agent itself does is told by `gossamer status`.
    """
    found = _installed(folder, name, user=user)
    told = found.properties()
    if as_json:
        click.echo(json.dumps({"unit": found.unit, **told}))
        return
    memory = told.get("MemoryCurrent", "")
    rows = {
        "unit": str(found.path),
        "state": f"{told.get('ActiveState')} ({told.get('SubState')})",
        "since": told.get("ActiveEnterTimestamp") or "never",
        "at boot": told.get("UnitFileState", ""),
        "says": told.get("StatusText") or "nothing",
        "process": told.get("MainPID", ""),
        "restarts": told.get("NRestarts", ""),
        "last result": told.get("Result", ""),
        "memory": f"{int(memory) / 1e6:.0f} MB" if memory.isdecimal() else "not known",
    }
    for title, value in rows.items():
        click.echo(f"{title:<12} {value}")


@service.command()
@_which_service
@click.option(
    "--lines", "-n", type=click.IntRange(1, 100_000), default=50, show_default=True,
    help="How many of the newest lines.",
)  # fmt: skip
@click.option("--follow", "-f", is_flag=True, help="Go on with new lines until Ctrl-C.")
def logs(folder: Path, user: bool, name: str | None, lines: int, follow: bool) -> None:
    """Show what the service wrote to the journal."""
    command = _installed(folder, name, user=user).logs_command(lines, follow=follow)
    code = subprocess.run(command, check=False).returncode  # noqa: S603  found by which()
    raise click.exceptions.Exit(code)


@service.command()
@_which_service
def remove(folder: Path, user: bool, name: str | None) -> None:
    """Stop the service and remove its unit. The device's folder stays as it is."""
    found = _installed(folder, name, user=user)
    found.remove()
    click.echo(f"{found.unit} is removed; {folder} is as it was")


def _service(folder: Path, name: str | None, *, user: bool) -> Service:
    from gossamer_agent.service.systemd import Service  # noqa: PLC0415
    from gossamer_agent.service.unit import check_name, unit_name  # noqa: PLC0415

    chosen = unit_name(folder.resolve()) if name is None else check_name(name)
    return Service(chosen, user)


def _installed(folder: Path, name: str | None, *, user: bool) -> Service:
    """The unit of this device that is installed, the machine's before the user's own."""
    from gossamer_agent.service.systemd import ServiceError  # noqa: PLC0415

    candidates = [
        _service(folder, name, user=kind) for kind in ((True,) if user else (False, True))
    ]
    for candidate in candidates:
        if candidate.works_in(folder.resolve()):
            return candidate
    places = " or ".join(str(candidate.path) for candidate in candidates)
    raise ServiceError(f"{folder}: has no service ({places}); gossamer service install makes one")
