"""`gossamer swarm`. Imports little: the help of the program loads this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gossamer_simulator.options import learning_options

HELP = """Start a swarm of real agents on this machine, and watch it learn.

Every peer is a process of its own with its own folder, key and slice of the data. The first founds
the swarm, the others join it with an invite, and all talk over libp2p on the loopback interface.
The data are dealt out as `gossamer simulate` does with the same seed. When all have made their
rounds, or on Ctrl-C, everything is stopped and the folders are removed.

\b
Examples:
  gossamer swarm up                                  ten agents learn digits
  gossamer swarm up --peers 4 --rounds 50 --keep demo
  gossamer swarm up --data mine.npz --model mine.tflite --partition subject
"""


@click.group()
def swarm() -> None:
    """Run a swarm of real agents on this machine."""


@swarm.command(help=HELP, short_help="Start real agents on loopback, watch and stop them.")
@click.option("--peers", default=10, show_default=True, help="Agents, each a process.")
@click.option("--rounds", default=20, show_default=True, help="Rounds that each agent makes.")
@learning_options
@click.option(
    "--interval",
    type=float,
    show_default="2, more where many agents share a core",
    help="Seconds between rounds.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of data and learning.")
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON (- : stdout).")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page with plots.")
@click.option("--keep", metavar="DIR", help="Keep the devices' folders, made below this folder.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def up(
    *,
    interval: float | None,
    json_file: str | None,
    report: str | None,
    keep: str | None,
    quiet: bool,
    **settings: Any,
) -> None:
    from gossamer_simulator.outputs import Outputs  # noqa: PLC0415
    from gossamer_simulator.scenario import Scenario  # noqa: PLC0415
    from gossamer_simulator.swarm_up.command import swarm_up_command  # noqa: PLC0415

    outputs = Outputs(
        json_file=json_file,
        report=None if report is None else Path(report),
        folder=None if keep is None else Path(keep),
        quiet=quiet,
    )
    # What is real here is not simulated: nothing is lost or late but what this machine loses.
    scenario = Scenario(loss=0.0, duplicate=0.0, latency_ms=0.0, profile="pi-5", **settings)
    swarm_up_command(scenario, outputs, interval_s=interval)
