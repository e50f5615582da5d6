"""`gossamer run`: the agent in the foreground, as a service manager or a user starts it."""

from __future__ import annotations

import click

from gossamer_agent.cli.here import with_device


@click.command()
@with_device
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin no more than N rounds; go on serving others after them.",
)
@click.option("--verbose", "-v", is_flag=True, help="Tell what the network does as well.")
def run(device: object, rounds: int | None, verbose: bool) -> None:
    """Run the agent of this device until Ctrl-C or SIGTERM.

    It learns from the device's data, exchanges what it learnt with the other members, and tells
    about itself: gossamer status, gossamer peers. What it says here goes to the standard error.

    Ends with exit code 0 after SIGTERM, 130 after Ctrl-C, 9 when a steward removed this device.
    """
    from gossamer_agent.cli.foreground import run_in_foreground  # noqa: PLC0415  loads numpy, trio
    from gossamer_agent.device.folder import Device  # noqa: PLC0415

    assert isinstance(device, Device)
    run_in_foreground(device, rounds, verbose=verbose)
