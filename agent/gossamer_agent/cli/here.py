"""Commands that work in the folder of a device: the one that `gossamer -C DIR` names."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.passphrase import known_passphrase, passphrase_file_option

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device


def folder_here(context: click.Context) -> Path:
    """The folder after `-C`; the current one where the program's own options were not parsed."""
    found = context.find_object(Path)
    return Path() if found is None else found


def in_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the folder as its first argument `folder`."""

    @click.pass_context
    def called(context: click.Context, /, *arguments: Any, **options: Any) -> None:
        context.invoke(command, folder_here(context), *arguments, **options)

    return update_wrapper(called, command)


def with_device(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the opened device as its first argument, and the option --passphrase-file."""

    @click.pass_context
    def called(
        context: click.Context, /, *arguments: Any, passphrase_file: Path | None, **options: Any
    ) -> None:
        device = open_here(folder_here(context), passphrase_file)
        context.invoke(command, device, *arguments, **options)

    return passphrase_file_option(update_wrapper(called, command))


def open_here(folder: Path, passphrase_file: Path | None = None) -> Device:
    """Open the device in `folder`, with the passphrase of its key if it has one."""
    from gossamer_agent.device.folder import open_device  # noqa: PLC0415

    return open_device(folder, key_passphrase(folder, passphrase_file))


def key_passphrase(folder: Path, passphrase_file: Path | None) -> str | None:
    """The passphrase of the key in `folder`, from the file or typed; None if it needs none."""
    from gossamer_agent.device.folder import KEY_NAME  # noqa: PLC0415
    from gossamer_crypto.keyfile import is_encrypted  # noqa: PLC0415

    key = folder / KEY_NAME
    if not key.is_file() or not is_encrypted(key):
        return None
    return known_passphrase(passphrase_file, str(key))
