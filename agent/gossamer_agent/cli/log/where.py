"""The options that say where keys, model and the deltas of others are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gossamer_agent.cli.passphrase import passphrase_file_option

_keys_option = click.option(
    "--keys",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Open entries with these keys: the folder of a member's device, or a key file.",
)


def keys_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options --keys and --passphrase-file."""
    return _keys_option(passphrase_file_option(command))


def evidence_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that `evidence.gathered` takes."""
    for option in (
        passphrase_file_option,
        click.option(
            "--model", metavar="FILE", help="The swarm's model, if it is none of gossamer's own."
        ),
        _keys_option,
        click.option(
            "--peers",
            metavar="DIR",
            multiple=True,
            type=click.Path(path_type=Path),
            help="Look for logs of others here; beside PATH without it. May be given repeatedly.",
        ),
    ):
        command = option(command)
    return command
