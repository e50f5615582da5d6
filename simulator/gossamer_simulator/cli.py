"""`gossamer simulate`. Imports little: the help of the program loads this module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from gossamer_simulator.options import learning_options

HELP = """Simulate a swarm of agents on this machine.

Every peer is a real agent: it learns with the model on its own slice of the data, codes, seals and
signs its deltas, checks what it hears, merges it and keeps its log. Only the network, the clock and
the disk are simulated. The same command with the same seed gives the same result.

\b
Examples:
  gossamer simulate                                    50 honest peers learn digits
  gossamer simulate --byzantine 0.2 --attack mix       ten of them lie
  gossamer simulate --byzantine 0.2 --rule mean        and nothing holds them back
  gossamer simulate --byzantine 0.2 --attack sleeper:15:alie
  gossamer simulate --scenario my.toml --seed 3        settings and attackers from a file
  gossamer simulate --interval 30 --rounds 336 --hours "22:00-06:00|" --outages 0.1
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
    metavar="NAME[:PARAM]",
    help="What attackers do: sign-flipping, gaussian, alie, noisy-alie, ipm, noisy-ipm, ipm-whole, "
    "min-max, mimic, dissensus, label-flipping, backdoor, free-rider, stale, replay, sybil, "
    "framing, equivocation, nan, scale-bomb, forge, or mix (several of them); or, with rounds and "
    "poison as in sleeper:15:alie, when or from where: sleeper, on-off, whitewash, eclipse.",
)
@click.option(
    "--scenario",
    "scenario_file",
    metavar="FILE",
    help="Read settings from this TOML file, and [[attack]] tables; options given here win.",
)
@learning_options
@click.option("--loss", default=0.01, show_default=True, help="Share of frames that get lost.")
@click.option("--duplicate", default=0.01, show_default=True, help="Share that arrives twice.")
@click.option("--latency", default=50.0, show_default=True, help="One-way delay in ms.")
@click.option("--churn", default=0.0, show_default=True, help="Share of rounds a peer is offline.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    help="Minutes of the devices' lives from round to round; nights and budgets go by them.",
)
@click.option(
    "--hours",
    default="",
    metavar="SPANS",
    help='When devices learn, as in "22:00-06:00"; | between spans that they take in turn.',
)
@click.option(
    "--outages", default=0.0, show_default=True, help="Share of the time a device has no power."
)
@click.option(
    "--heat", default=0.0, show_default=True, help="Share of devices too hot in the afternoon."
)
@click.option(
    "--budgets",
    default="none",
    show_default=True,
    metavar="MB",
    help="What binds devices: none, profile, or megabytes a day of network[:flash], as in 20:50.",
)
@click.option(
    "--profile",
    default="mixed",
    show_default=True,
    help="Devices: a profile (see `gossamer profile list`), several with numbers, as in"
    " pi-zero-2w:9,pi-4:3, or mixed: four Raspberry Pis in turn.",
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
@click.pass_context
def simulate(
    context: click.Context,
    /,
    *,
    scenario_file: str | None,
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
    from gossamer_simulator.scenario_file import load_scenario  # noqa: PLC0415

    if scenario_file is None:
        scenario = Scenario(latency_ms=latency, **settings)
    else:
        given = {name: value for name, value in settings.items() if _is_given(context, name)}
        if _is_given(context, "latency"):
            given["latency_ms"] = latency
        scenario = load_scenario(Path(scenario_file), given)
    outputs = Outputs(
        json_file=json_file,
        report=None if report is None else Path(report),
        folder=None if keep_logs is None else Path(keep_logs),
        quiet=quiet,
    )
    simulate_command(scenario, outputs, baselines=baselines)


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
