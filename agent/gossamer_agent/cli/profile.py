"""`gossamer profile`: list, show and check device profiles, detect and measure this device."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import click

from gossamer_agent.cli.here import in_folder
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.profile import list_profiles, load_profile


@click.group()
def profile() -> None:
    """List, check and measure device profiles.

    A profile says what a device can do and what the agent may use: threads, memory, bytes a day,
    heat, hours. `gossamer init` and `gossamer join` choose one (--profile auto); the name stands in
    config.toml.
    """


@profile.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON array of names.")
def list_(as_json: bool) -> None:
    """List the built-in profiles."""
    names = list_profiles()
    if as_json:
        click.echo(json.dumps(names))
        return
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {load_profile(name).title}")


@profile.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(name: str, as_json: bool) -> None:
    """Show a profile with all that it inherits.

    NAME is that of a built-in profile, or a path that ends in .toml; `base` is what all built-in
    ones inherit from.
    """
    settings = asdict(load_profile(name))
    if as_json:
        click.echo(json.dumps(settings, indent=2))
        return
    _print_rows([*_flat(settings)])


@profile.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def detect(as_json: bool) -> None:
    """Say what this machine is and which profile suits it.

    Looks at the device tree, the memory, the usable processors and the architecture.
    """
    from gossamer_agent.device.hardware import choose_profile, this_machine  # noqa: PLC0415

    machine = this_machine()
    choice = choose_profile(machine, {name: load_profile(name) for name in list_profiles()})
    title = load_profile(choice.profile).title
    if as_json:
        told = {"machine": asdict(machine), **asdict(choice), "title": title}
        click.echo(json.dumps(told, indent=2))
        return
    rows = [
        ("board", machine.board or "none named"),
        ("compatible", ", ".join(machine.compatible) or "nothing named"),
        ("architecture", machine.architecture),
        ("CPUs", str(machine.cpus)),
        ("memory", f"{machine.memory_mb:,} MB"),
        ("profile", f"{choice.profile} ({title})"),
        ("because", choice.reason),
    ]
    _print_rows([*rows, *(("note", note) for note in choice.notes)])


@profile.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with all findings.")
@click.pass_context
def check(ctx: click.Context, file: str, as_json: bool) -> None:
    """Check a profile and the files that it inherits from.

    Says for each wrong key the file, the line and what is allowed: unknown keys (and which one is
    meant), wrong units and types, values out of range, thresholds and bases that contradict each
    other. FILE may be the name of a built-in profile too. Ends with exit code 8 if anything is
    wrong.
    """
    from gossamer_agent.profile.checking import check_profile  # noqa: PLC0415

    found, findings = check_profile(file)
    if as_json:
        told = {
            "file": file,
            "ok": not findings,
            "findings": [asdict(finding) for finding in findings],
            "profile": None if found is None or findings else asdict(found),
        }
        click.echo(json.dumps(told, indent=2))
    else:
        for finding in findings:
            click.echo(finding)
        if found is not None and not findings:
            over = f" over {found.base}" if found.base else ""
            click.echo(f"{file}: all right ({found.title}{over})")
    if findings:
        count = len(findings)
        click.echo(f"gossamer: {file}: {count} wrong key{'s' * (count > 1)}", err=True)
        ctx.exit(ExitCode.CONFIG)


@profile.command()
@click.option(
    "--write",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a new profile, whose name ends in .toml, with what was measured.",
)
@click.option(
    "--base",
    metavar="NAME",
    help="The profile to compare with and to inherit from. Without it: what suits this machine.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 600),
    default=15,
    show_default=True,
    help="How long to measure, about.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@in_folder
def calibrate(
    folder: Path, write: Path | None, base: str | None, seconds: float, as_json: bool
) -> None:
    """Measure this device: training, merging, sealing, verifying, and the disk of the folder.

    Prints each figure beside that of the profile. The figures that a profile holds are CPU time on
    one core; they make simulated devices as slow as this one. Measure while nothing else runs: it
    says how busy the machine was.
    """
    from gossamer_agent.cli.calibrating import calibrate_here  # noqa: PLC0415

    calibrate_here(folder, write=write, base=base, seconds=seconds, as_json=as_json)


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        click.echo(f"{key:<{width}}  {value}")


def _flat(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", text) for inner, text in _flat(value))
        elif isinstance(value, tuple):
            yield key, ", ".join(map(str, value)) or "none"
        elif isinstance(value, bool):
            yield key, "yes" if value else "no"
        elif value is not None:
            yield key, f"{value:g}" if isinstance(value, float) else str(value)
