"""`gossamer run`: the agent in the foreground, as a service manager or a user starts it."""

from __future__ import annotations

import click

from gossamer_agent.cli.here import with_device

LEVELS = ("error", "warning", "notice", "info", "debug")


@click.command()
@with_device
@click.option(
    "--rounds",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin no more than N rounds; go on serving others after them.",
)
@click.option(
    "--log-format",
    type=click.Choice(["human", "json"]),
    default="human",
    show_default=True,
    help="Lines for people, or one JSON object per line.",
)
@click.option(
    "--log-level",
    type=click.Choice(LEVELS),
    help="How much is told: info has every round, debug what the network does. Without it: info at"
    " a terminal, notice elsewhere.",
)
@click.option("--verbose", "-v", is_flag=True, help="The same as --log-level debug.")
def run(
    device: object, rounds: int | None, log_format: str, log_level: str | None, verbose: bool
) -> None:
    """Run the agent of this device until Ctrl-C or SIGTERM.

    It learns from the device's data, exchanges what it learnt with the other members, and tells
    about itself: gossamer status, gossamer peers. What it says here goes to the standard error.

    Ends with exit code 0 after SIGTERM, 130 after Ctrl-C, 9 when a steward removed this device.
    """
    from gossamer_agent.cli.threads import limit_threads  # noqa: PLC0415
    from gossamer_agent.device.folder import Device  # noqa: PLC0415

    assert isinstance(device, Device)
    limit_threads(device)  # before anything imports numpy
    from gossamer_agent.cli.foreground import run_in_foreground  # noqa: PLC0415  loads numpy, trio
    from gossamer_agent.eventlog.setup import Level  # noqa: PLC0415

    chosen = "debug" if verbose else log_level
    run_in_foreground(
        device,
        rounds,
        as_json=log_format == "json",
        level=None if chosen is None else Level[chosen.upper()],
    )
