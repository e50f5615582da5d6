"""What `gossamer simulate` does: run, show, write."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.text import Text

from gossamer_agent.errors import ConfigError
from gossamer_simulator.engine import Progress
from gossamer_simulator.keep_logs import open_folder, write_logs
from gossamer_simulator.metrics import Metrics, Sample
from gossamer_simulator.progress import Snapshot, open_progress
from gossamer_simulator.report import write_report
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import add_baselines, prepare, result_of, run
from gossamer_simulator.summary import print_summary

STDOUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where the result goes. json_file: "-" is the standard output."""

    json_file: str | None
    report: Path | None
    logs: Path | None
    quiet: bool


def simulate_command(scenario: Scenario, outputs: Outputs, *, baselines: bool) -> None:
    """Run the scenario and write what was asked for. AgentError, one line, for bad input."""
    console = Console(stderr=outputs.json_file == STDOUT, quiet=outputs.quiet)
    setup = prepare(scenario)
    _check(outputs)
    _warn(console, setup.warnings)
    with _shown(console, scenario, outputs) as progress:
        finished = run(scenario, setup, progress)
    finished.check()
    _warn(console, finished.warnings)
    result = result_of(scenario, setup, finished)
    if baselines:
        console.print("baselines: alone, central, and the same swarm with --rule mean")
        with _shown(console, scenario, outputs) as progress:
            add_baselines(result, scenario, setup, finished, progress)
    if outputs.logs is not None:
        write_logs(outputs.logs, finished.simulated)
    _write(result, outputs, console)


def _check(outputs: Outputs) -> None:
    """Find before a long simulation what would keep its result from being written."""
    files = [] if outputs.json_file in (None, STDOUT) else [outputs.json_file]
    for path in (Path(file) for file in (*files, outputs.report) if file is not None):
        folder = path.resolve().parent
        if not folder.is_dir():
            raise ConfigError(f"{path}: the folder {folder} does not exist")
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder; give the name of a file")
    if outputs.logs is not None:
        open_folder(outputs.logs)


def _warn(console: Console, warnings: Iterable[str]) -> None:
    for line in warnings:
        console.print(Text.assemble(("warning: ", "bold yellow"), line))


@contextmanager
def _shown(console: Console, scenario: Scenario, outputs: Outputs) -> Iterator[Progress]:
    with open_progress(console, scenario.rounds, quiet=outputs.quiet) as display:

        def progress(sample: Sample, metrics: Metrics) -> None:
            display.update(
                Snapshot(
                    round=sample.round,
                    accuracy=fmean(sample.accuracies),
                    bytes_sent=metrics.bytes_sent,
                    messages=metrics.messages,
                    refused={str(reason): count for reason, count in metrics.refused.items()},
                )
            )

        yield progress


def _write(result: dict[str, Any], outputs: Outputs, console: Console) -> None:
    text = json.dumps(result, indent=1)
    if outputs.json_file == STDOUT:
        sys.stdout.write(text + "\n")
    elif outputs.json_file is not None:
        Path(outputs.json_file).write_text(text + "\n", encoding="utf-8")
    print_summary(result, console)
    if outputs.report is not None:
        # Last: it alone needs packages that may be missing.
        write_report(result, outputs.report)
        console.print(Text(f"report: {outputs.report}"), soft_wrap=True)
