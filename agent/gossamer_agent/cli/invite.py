"""`gossamer invite`: print an invite as text, and as a QR code on a terminal."""

from __future__ import annotations

import re
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import click

from gossamer_agent.cli.here import with_device
from gossamer_agent.errors import ConfigError, MembershipError
from gossamer_crypto.identity import peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

HELP = """Print an invite for other devices (stewards only).

Whoever has the text may join until it is used up or expired, and can decrypt nothing before. It
holds the swarm's id, where this device can be reached and a one-time token. The agent must run
while others join; the invite can be made beside it.

\b
Examples:
  gossamer -C garden invite --uses 5 --expires 7d
  gossamer -C garden invite --address /dns4/garden.example/tcp/4001 > invite.txt
"""

_ADDRESSES_MAX: Final = 4
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION_MAX_S: Final = 3650 * 86_400
NEVER: Final = "never"


@click.command(help=HELP, short_help="Print an invite for others (stewards).")
@click.option(
    "--uses",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Devices that may join with it.",
)
@click.option(
    "--expires", default="7d", show_default=True, help="After how long: 90m, 12h, 7d, or never."
)
@click.option(
    "--address",
    "addresses",
    metavar="ADDRESS",
    multiple=True,
    help="Where others reach this device; found out by itself if it is not given.",
)
@click.option(
    "--qr/--no-qr", "qr", default=None, help="With a QR code or not; by itself on a terminal."
)
@with_device
def invite(
    device: Device, *, uses: int, expires: str, addresses: tuple[str, ...], qr: bool | None
) -> None:
    from gossamer_agent.members.stewardship import Stewardship  # noqa: PLC0415

    lasts_s = parse_duration(expires)
    with closing(device.open_state()) as state:
        stewardship = Stewardship(device.identity, device.genesis, state)
        if not stewardship.is_steward:
            raise MembershipError(
                f"only a steward can invite to {device.genesis.name!r}: ask "
                f"{peer_id_text(device.genesis.stewards[0])}"
            )
        reachable = addresses_for(device, addresses)
        expires_at = None if lasts_s is None else int(time.time()) + lasts_s
        made = stewardship.open_invite(reachable, uses, expires_at)
    text = made.text()
    if qr or (qr is None and sys.stdout.isatty()):
        _print_code(text)
    click.echo(text)
    devices = "1 device" if uses == 1 else f"{uses} devices"
    until = "" if lasts_s is None else f" within {expires}"
    click.echo(f"for {devices}{until}, at {', '.join(reachable)}", err=True)


def parse_duration(text: str) -> int | None:
    """Seconds, or None for "never". Raises ConfigError."""
    if text == NEVER:
        return None
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not 0 < seconds <= _DURATION_MAX_S:
        raise ConfigError(f"--expires {text!r:.40}: use a time like 90m, 12h or 7d, or {NEVER}")
    return seconds


def addresses_for(device: Device, said: tuple[str, ...]) -> tuple[str, ...]:
    """Where others reach the device, best first, without peer ids.

    That is what the user said, else what the settings advertise, else what the running agent tells,
    else what the settings listen at. Raises ConfigError if it is nothing.
    """
    from gossamer_agent.device.addresses import (  # noqa: PLC0415
        check_dialable,
        dialable_for,
        own_hosts,
        without_peer,
    )

    for text in said:
        try:
            check_dialable(text)
        except ValueError as error:
            raise ConfigError(f"--address {error}") from None
    network = device.config.network
    found = said or network.advertise or running_addresses(device)
    found = found or dialable_for(network.listen, own_hosts())
    if not found:
        raise ConfigError(
            "nobody could reach this device: the port is chosen when the agent starts; run it, "
            "set a port in [network] listen of config.toml, or give --address"
        )
    # The invite names the steward anyway, and short texts make small QR codes.
    return tuple(dict.fromkeys(map(without_peer, found)))[:_ADDRESSES_MAX]


def running_addresses(device: Device) -> tuple[str, ...]:
    """What the agent in this folder says others should dial; () if none runs or it is silent."""
    import msgspec  # noqa: PLC0415

    from gossamer_agent.device.addresses import check_dialable, without_loopback  # noqa: PLC0415
    from gossamer_agent.errors import AgentError  # noqa: PLC0415
    from gossamer_agent.node.status import parse_status  # noqa: PLC0415
    from gossamer_agent.node.statussocket import ask  # noqa: PLC0415

    try:
        answer = ask(device.path, "status")
        told = [] if answer is None else parse_status(answer).addresses
    except (AgentError, msgspec.DecodeError):
        return ()
    found = []
    for text in told:
        with suppress(ValueError):
            check_dialable(text)
            found.append(text)
    return without_loopback(found)


def _print_code(text: str) -> None:
    import segno  # noqa: PLC0415

    # Upper case and digits need a third less room in a QR code; invites are read in either case.
    segno.make(text.upper(), error="l").terminal(sys.stdout, compact=True)
