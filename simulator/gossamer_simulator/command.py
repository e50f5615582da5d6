"""What `gossamer simulate` does: run, show, write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console

from gossamer_simulator.engine import Progress
from gossamer_simulator.keep_logs import open_folder, write_logs
from gossamer_simulator.metrics import Metrics, Sample
from gossamer_simulator.outputs import Outputs, warn
from gossamer_simulator.progress import Snapshot, open_progress
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import add_baselines, prepare, result_of, run


def simulate_command(scenario: Scenario, outputs: Outputs, *, baselines: bool) -> None:
    """Run the scenario and write what was asked for. AgentError, one line, for bad input."""
    console = outputs.console()
    setup = prepare(scenario)
    outputs.check()
    if outputs.folder is not None:
        open_folder(outputs.folder)
    warn(console, setup.warnings)
    with _shown(console, scenario, outputs) as progress:
        finished = run(scenario, setup, progress)
    finished.check()
    warn(console, finished.warnings)
    result = result_of(scenario, setup, finished)
    if baselines:
        console.print("baselines: alone, central, and the same swarm with --rule mean")
        with _shown(console, scenario, outputs) as progress:
            add_baselines(result, scenario, setup, finished, progress)
    if outputs.folder is not None:
        write_logs(outputs.folder, finished.simulated)
    outputs.write(result, console)


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
