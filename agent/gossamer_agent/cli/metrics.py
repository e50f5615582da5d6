"""`gossamer metrics`: what Prometheus would scrape, from the running agent."""

from __future__ import annotations

from pathlib import Path

import click

from gossamer_agent.cli.here import in_folder


@click.command()
@in_folder
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Replace FILE at once instead, as node_exporter's textfile collector needs it.",
)
def metrics(folder: Path, output: Path | None) -> None:
    """Print the metrics of the running agent for Prometheus.

    \b
    For node_exporter's textfile collector, from a timer or cron:
      gossamer -C garden metrics --output /var/lib/prometheus/node-exporter/gossamer.prom

    The same text is at /metrics of the local API. docs/metrics.md explains every name.
    """
    from gossamer_agent.errors import AgentError  # noqa: PLC0415
    from gossamer_agent.node.statussocket import ask  # noqa: PLC0415  loads trio
    from gossamer_agent.store.replacing import replace_file  # noqa: PLC0415

    answer = ask(folder, "metrics")
    if not answer:
        what = "no agent runs here" if answer is None else "the agent has no metrics yet"
        raise AgentError(f"{folder}: {what}; start it with `gossamer run`, or wait a moment")
    if output is None:
        click.echo(answer, nl=False)
    else:
        replace_file(output, answer)
        output.chmod(0o644)  # another user's collector reads it
