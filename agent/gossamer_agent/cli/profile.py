"""`gossamer profile`: list and show device profiles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import click

from gossamer_agent.profile import list_profiles, load_profile


@click.group()
def profile() -> None:
    """List and show device profiles."""


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

    NAME is that of a built-in profile, or a path that ends in .toml.
    """
    settings = asdict(load_profile(name))
    if as_json:
        click.echo(json.dumps(settings, indent=2))
        return
    rows = [*_flat(settings)]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        click.echo(f"{key:<{width}}  {value}")


def _flat(settings: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", text) for inner, text in _flat(value))
        elif value is not None:
            yield key, f"{value:g}" if isinstance(value, float) else str(value)
