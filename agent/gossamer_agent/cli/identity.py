"""`gossamer identity`: show, back up, restore and renew the identity of a device."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import folder_here, key_passphrase, with_device
from gossamer_agent.cli.passphrase import (
    known_passphrase,
    new_passphrase,
    passphrase_file_option,
)
from gossamer_agent.errors import ConfigError

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group(short_help="Show, back up or renew the identity.")
def identity() -> None:
    """Show, back up, restore or renew the identity of a device."""


@identity.command()
@with_device
def show(device: Device) -> None:
    """Show who this device is.

    \b
    Example:
      gossamer -C garden identity show
    """
    from gossamer_agent.device.folder import KEY_NAME  # noqa: PLC0415
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415
    from gossamer_crypto.keyfile import is_encrypted  # noqa: PLC0415

    key = device.path / KEY_NAME
    protected = "a passphrase" if is_encrypted(key) else "its file mode only"
    click.echo(f"peer     {peer_id_text(device.peer_id)}")
    click.echo(f"role     {'steward' if device.is_steward else 'member'}")
    click.echo(f"swarm    {device.genesis.name}, id {device.genesis.swarm_id.hex()[:16]}")
    click.echo(f"key      {key}, protected by {protected}")


@identity.command(short_help="Write identity, swarm and settings to an encrypted file.")
@_FILE
@passphrase_file_option
@click.pass_context
def backup(context: click.Context, file: Path, passphrase_file: Path | None) -> None:
    """Write identity, swarm and settings to FILE, encrypted with a passphrase.

    It is the passphrase of the device's key; a device without one is asked for a new one. Whoever
    has both is this device: keep them apart. The log is not part of it.

    \b
    Example:
      gossamer -C garden identity backup /media/usb/garden.backup
    """
    from gossamer_agent.device.backup import write_backup  # noqa: PLC0415
    from gossamer_agent.device.folder import open_device  # noqa: PLC0415

    folder = folder_here(context)
    passphrase = key_passphrase(folder, passphrase_file)
    device = open_device(folder, passphrase)
    protected = passphrase is not None
    if passphrase is None:
        passphrase = new_passphrase(passphrase_file, ask=True)
    assert passphrase is not None, "one was asked for"
    write_backup(file, device, passphrase, protected=protected)
    click.echo(f"wrote {file}; keep the passphrase somewhere else")


@identity.command(short_help="Make the folder of a device again from a backup.")
@_FILE
@passphrase_file_option
@click.pass_context
def restore(context: click.Context, file: Path, passphrase_file: Path | None) -> None:
    """Make the folder of a device again from the backup FILE.

    The folder is the one after -C, and must not be there. Never run the old and the restored device
    at the same time: two devices with one identity are taken for a forger.

    \b
    Example:
      gossamer -C garden identity restore /media/usb/garden.backup
    """
    from gossamer_agent.device.backup import read_backup, restore_backup  # noqa: PLC0415
    from gossamer_agent.device.folder import check_place  # noqa: PLC0415
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415

    folder = folder_here(context)
    if folder == Path():
        raise ConfigError("say which folder to make: gossamer -C DIR identity restore FILE")
    check_place(folder)
    passphrase = known_passphrase(passphrase_file, str(file))
    device = restore_backup(folder, read_backup(file, passphrase), passphrase)
    click.echo(f"restored {peer_id_text(device.peer_id)} in {folder}")
    click.echo(
        "Before it publishes, the agent asks its neighbours for its newest entry, so that it does "
        "not contradict what it said before."
    )
    if device.is_steward:
        click.echo(
            "As a steward, let the agent run until it has met other members before you invite or "
            "evict: its roster may be older than theirs. Invites that were open are gone."
        )
    click.echo(f"\nNext:\n  gossamer -C {folder} run")


@identity.command(short_help="Take a new identity in the swarm.")
@passphrase_file_option
@click.pass_context
def rotate(context: click.Context, passphrase_file: Path | None) -> None:
    """Take a new identity in the swarm, for example after a key may have leaked.

    A steward, whose agent must run, exchanges the old one for the new. Stop the agent of this
    device first. The old log moves to retired/, the new one begins empty, and other members get to
    know the device anew. If it breaks off, run the same command again.

    A steward cannot do this: the swarm's terms name it.

    \b
    Example:
      gossamer -C shed identity rotate
    """
    from gossamer_agent.cli.visiting import visit  # noqa: PLC0415
    from gossamer_agent.device.folder import open_device  # noqa: PLC0415
    from gossamer_agent.members import renewal  # noqa: PLC0415
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415

    folder = folder_here(context)
    passphrase = key_passphrase(folder, passphrase_file)
    device = open_device(folder, passphrase)
    renewal.check_renewable(device)
    keys = renewal.pending_keys(device, passphrase)
    click.echo("opening the network", err=True)
    joined = visit(partial(renewal.ask_for, device, keys, partial(click.echo, err=True)))
    renewal.take_over(device, joined)
    click.echo(f"was  {peer_id_text(device.peer_id)}")
    click.echo(f"is   {peer_id_text(keys.identity.peer_id)}")
