"""What `gossamer profile calibrate` does: measure, compare, write."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.device.hardware import (
    MEMORY_SHARE,
    Machine,
    choose_profile,
    this_machine,
)
from gossamer_agent.errors import ConfigError
from gossamer_agent.profile import Profile, list_profiles, load_profile

if TYPE_CHECKING:
    from gossamer_agent.profile.measuring import Measured


def calibrate_here(
    folder: Path, *, write: Path | None, base: str | None, seconds: float, as_json: bool
) -> None:
    """Measure this device and print what was found; see `gossamer profile calibrate --help`.

    Raises ConfigError for a file that cannot be written, before anything is measured.
    """
    machine = this_machine()
    known = {name: load_profile(name) for name in list_profiles()}
    reference = choose_profile(machine, known).profile if base is None else base
    profile = load_profile(reference)
    if write is not None:
        _check_new(write)
    # All figures are of one core. BLAS reads this when numpy is imported: not yet.
    if "numpy" not in sys.modules:
        os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    from gossamer_agent.profile.measuring import measure  # noqa: PLC0415  imports numpy

    click.echo(f"measuring {machine} for about {seconds:g} s", err=True)
    measured = measure(folder, seconds, lambda what: click.echo(f"  {what} ...", err=True))
    if write is not None:
        _write(write, machine, profile, reference, measured)
    if as_json:
        click.echo(json.dumps(_json(machine, profile, measured, write), indent=2))
    else:
        _print(profile, measured)
        if write is not None:
            click.echo(f"wrote {write}; use it as profile in config.toml, or --profile {write}")


def _check_new(path: Path) -> None:
    if path.suffix != ".toml":
        raise ConfigError(f"{path}: the name of a profile's file must end in .toml")
    if path.exists():
        raise ConfigError(f"{path}: exists already; remove it or choose another name")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"{path}: no such folder")


def _print(profile: Profile, measured: Measured) -> None:
    said = asdict(profile.speed)
    rows = [
        (f"speed.{key}", f"{value:g}", f"{said[key]:g}", f"{value / said[key]:.2f}")
        for key, value in asdict(measured.speed).items()
    ]
    memory = f"{profile.memory_mb_max:,} at most"
    rows += [
        ("opening an entry, ms", f"{measured.open_ms:.3g}", "", ""),
        ("syncing 4 kB to the disk, ms", f"{measured.sync_ms:.3g}", "", ""),
        ("memory while measuring, MB", f"{measured.memory_mb:.0f}", memory, ""),
    ]
    head = ("", "measured", profile.name, "times")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
    for first, *others in (head, *rows):
        cells = (f"{text:>{width}}" for text, width in zip(others, widths[1:], strict=True))
        click.echo(f"{first:<{widths[0]}}  {'  '.join(cells)}".rstrip())
    click.echo(
        f"load average {measured.load_per_core:.2f} per core, {measured.share:.0%} of a core for"
        f" the measurement, batches {measured.spread:.0%} apart"
    )
    if measured.busy:
        click.echo("the machine was busy: measure again while nothing else runs")


def _json(
    machine: Machine, profile: Profile, measured: Measured, written: Path | None
) -> dict[str, object]:
    return {
        "machine": asdict(machine),
        "profile": profile.name,
        "profile_speed": asdict(profile.speed),
        "measured": {**asdict(measured), "busy": measured.busy},
        "written": None if written is None else str(written),
    }


def _write(
    path: Path, machine: Machine, profile: Profile, reference: str, measured: Measured
) -> None:
    from gossamer_agent.profile.writing import measured_profile  # noqa: PLC0415
    from gossamer_agent.store.replacing import create_file  # noqa: PLC0415
    from gossamer_agent.version import program_version  # noqa: PLC0415

    day = time.strftime("%Y-%m-%d", time.gmtime())
    remarks = [
        f"Measured by gossamer {program_version()} on {day}, Python {platform.python_version()}:",
        f"{machine}.",
        f"Load average {measured.load_per_core:.2f} per core, {measured.share:.0%} of a core for"
        f" the measurement, batches {measured.spread:.0%} apart.",
        f"Opening an entry took {measured.open_ms:.3g} ms, syncing 4 kB to the disk"
        f" {measured.sync_ms:.3g} ms.",
    ]
    if measured.busy:
        remarks.append("The machine was busy: measure again while nothing else runs.")
    room_mb = int(MEMORY_SHARE * machine.memory_mb)
    own = {}
    if profile.memory_mb_max > room_mb:
        own["memory_mb_max"] = max(64, room_mb)
    if profile.threads > machine.cpus:
        own["threads"] = machine.cpus
    # Where a base is a file, its path must hold from the folder of the new one.
    over = str(Path(reference).absolute()) if reference.endswith(".toml") else reference
    text = measured_profile(over, measured.speed, machine=str(machine), remarks=remarks, own=own)
    create_file(path, text.encode())
