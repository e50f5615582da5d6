"""Where a passphrase comes from: a file, or the terminal; never the command line itself."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gossamer_agent.errors import ConfigError

_FILE_BYTES_MAX = 4096
_LENGTH_MIN = 8

passphrase_file_option = click.option(
    "--passphrase-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The first line of this file is the passphrase of the device's key.",
)


def new_passphrase(file: Path | None, ask: bool) -> str | None:
    """The passphrase for a new key file, typed twice if it is asked for; None for none.

    Raises ConfigError for one that is too short to protect anything.
    """
    if file is not None:
        passphrase = _read(file)
    elif ask:
        _need_terminal("give --passphrase-file")
        passphrase = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt="The same again", err=True
        )
    else:
        return None
    if len(passphrase) < _LENGTH_MIN:
        raise ConfigError(f"the passphrase is too short; use at least {_LENGTH_MIN} characters")
    return passphrase


def known_passphrase(file: Path | None, what: str) -> str:
    """The passphrase that opens `what`, from the file or typed."""
    if file is not None:
        return _read(file)
    _need_terminal(f"{what} is protected by a passphrase; give --passphrase-file")
    typed: str = click.prompt(f"Passphrase of {what}", hide_input=True, err=True)
    return typed


def _read(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(_FILE_BYTES_MAX + 1)
    lines = raw.splitlines()
    try:
        passphrase = lines[0].decode() if lines and len(raw) <= _FILE_BYTES_MAX else ""
    except UnicodeDecodeError:
        passphrase = ""
    if not passphrase:
        raise ConfigError(f"{file}: its first line must be the passphrase, in UTF-8")
    return passphrase


def _need_terminal(otherwise: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(f"there is no terminal to ask for a passphrase: {otherwise}")
