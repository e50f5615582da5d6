"""`gossamer simulate`. Imports little: the help of the program loads this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

HELP = """Simulate a swarm of agents on this machine.

Every peer is a real agent: it learns with the model on its own slice of the data, codes, seals and
signs its deltas, checks what it hears, merges it and keeps its log. Only the network, the clock and
the disk are simulated. The same command with the same seed gives the same result.

\b
Examples:
  gossamer simulate                                    50 honest peers learn digits
  gossamer simulate --byzantine 0.2 --attack mix       ten of them lie
  gossamer simulate --byzantine 0.2 --rule mean        and nothing holds them back
  gossamer simulate --data mine.npz --model mine.tflite --partition subject
"""


@click.command(help=HELP, short_help="Simulate many peers on this machine.")
@click.option("--peers", default=50, show_default=True, help="Peers in the swarm.")
@click.option("--rounds", default=40, show_default=True, help="Rounds that each peer makes.")
@click.option("--byzantine", default=0.0, show_default=True, help="Share of attackers, 0 to 1.")
@click.option(
    "--attack",
    default="mix",
    show_default=True,
    help="What attackers do: sign-flipping, gaussian, alie, noisy-alie, ipm, noisy-ipm, min-max, "
    "mimic, label-flipping, nan, forge, replay, or mix (several of them).",
)
@click.option("--data", default="digits", show_default=True, help="digits, or a .npz with x and y.")
@click.option(
    "--partition",
    default="dirichlet:0.5",
    show_default=True,
    help="Who holds which data: iid, dirichlet:A (smaller A: more unlike), or subject.",
)
@click.option(
    "--model",
    default="mlp",
    show_default=True,
    help="softmax, mlp, mlp-wide, synthetic, or a trainable .tflite file.",
)
@click.option(
    "--rule",
    default="gossamer",
    show_default=True,
    help="How replicas are merged: gossamer, median, trimmed-mean or mean.",
)
@click.option("--codec", default="sign1", show_default=True, help="Deltas: sign1, int8 or float32.")
@click.option("--view", default=8, show_default=True, help="Peers that each peer follows.")
@click.option("--local-steps", default=8, show_default=True, help="SGD steps per round.")
@click.option("--batch", default=16, show_default=True, help="Samples per step.")
@click.option("--lr", default=0.3, show_default=True, help="Learning rate.")
@click.option("--momentum", default=0.5, show_default=True, help="Momentum of the local steps.")
@click.option("--loss", default=0.01, show_default=True, help="Share of frames that get lost.")
@click.option("--duplicate", default=0.01, show_default=True, help="Share that arrives twice.")
@click.option("--latency", default=50.0, show_default=True, help="One-way delay in ms.")
@click.option("--churn", default=0.0, show_default=True, help="Share of rounds a peer is offline.")
@click.option(
    "--profile",
    default="mixed",
    show_default=True,
    help="Devices: a profile (see `gossamer profile list`), or mixed Raspberry Pis.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of all chance.")
@click.option(
    "--baselines",
    is_flag=True,
    help="Also train alone, centrally, and with --rule mean, to compare.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write the result as JSON (- : stdout).")
@click.option("--report", metavar="FILE", help="Write the result as one HTML page with plots.")
@click.option("--keep-logs", metavar="DIR", help="Write every peer's log below this folder.")
@click.option("--quiet", is_flag=True, help="No progress and no tables.")
def simulate(
    *,
    baselines: bool,
    json_file: str | None,
    report: str | None,
    keep_logs: str | None,
    quiet: bool,
    latency: float,
    **settings: Any,
) -> None:
    from gossamer_simulator.command import simulate_command  # noqa: PLC0415
    from gossamer_simulator.outputs import Outputs  # noqa: PLC0415
    from gossamer_simulator.scenario import Scenario  # noqa: PLC0415

    outputs = Outputs(
        json_file=json_file,
        report=None if report is None else Path(report),
        folder=None if keep_logs is None else Path(keep_logs),
        quiet=quiet,
    )
    simulate_command(Scenario(latency_ms=latency, **settings), outputs, baselines=baselines)
