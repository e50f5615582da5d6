"""Measure what the program promises: `make acceptance` or `python scripts/acceptance.py`.

    python scripts/acceptance.py               seeds 1 to 5, about ten minutes on two cores
    python scripts/acceptance.py --seeds 1     one seed

Every simulation is a process of its own with the defaults of `gossamer simulate`, except for the
options shown. The settings were chosen on these seeds (docs/adr/0003-serve-the-merge.md), so that
other seeds tell more. Prints a Markdown table of the promises with the worst figure over all seeds,
and one of every run. Ends with exit code 1 when a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

ATTACKED = "--byzantine 0.2 --attack mix"
MEAN = "--rule mean"
FLOAT32 = "--codec float32"
WIDE = "--model mlp-wide"
LARGE = "--peers 200 --rounds 20"

EACH_SEED = (
    "",
    MEAN,
    FLOAT32,
    ATTACKED,
    f"{ATTACKED} {MEAN}",
    WIDE,
    f"{WIDE} {FLOAT32}",
)

Result = dict[str, Any]
Runs = dict[tuple[str, int], Result]  # (options, seed) -> result


@dataclass(frozen=True, slots=True)
class Promise:
    """measured: by seed. It is kept when the worst of them does not pass `limit`."""

    claim: str
    measured: list[float]
    limit: float
    at_most: bool = False

    @property
    def worst(self) -> float:
        return max(self.measured) if self.at_most else min(self.measured)

    @property
    def kept(self) -> bool:
        return self.worst <= self.limit if self.at_most else self.worst >= self.limit

    def row(self) -> str:
        sign = "at most" if self.at_most else "at least"
        verdict = "yes" if self.kept else "**NO**"
        return f"| {self.claim} | {sign} {self.limit:g} | {self.worst:.4g} | {verdict} |"


def simulate(run: tuple[str, int]) -> Result:
    options, seed = run
    command = [sys.executable, "-m", "gossamer_agent", "simulate", *options.split()]
    finished = subprocess.run(
        [*command, "--seed", str(seed), "--quiet", "--json", "-"],
        check=True,
        stdout=subprocess.PIPE,
    )
    print(f"done: {options or '(defaults)'} --seed {seed}", file=sys.stderr, flush=True)
    result: Result = json.loads(finished.stdout)
    return result


def accuracy(runs: Runs, options: str, seed: int) -> float:
    return float(runs[options, seed]["accuracy"]["mean"])


def traffic(runs: Runs, options: str, seed: int) -> float:
    return float(runs[options, seed]["bytes"]["per_peer_round"])


def promises(runs: Runs, seeds: list[int]) -> Iterator[Promise]:
    reached, sent = partial(accuracy, runs), partial(traffic, runs)
    attacked = [reached(ATTACKED, seed) for seed in seeds]
    mean = [reached(f"{ATTACKED} {MEAN}", seed) for seed in seeds]
    yield Promise("accuracy with 20 % mixed attackers", attacked, 0.94)
    above = [ours - theirs for ours, theirs in zip(attacked, mean, strict=True)]
    yield Promise("... above `--rule mean` under the same attack", above, 0.30)
    lost = [reached(MEAN, seed) - reached("", seed) for seed in seeds]
    yield Promise("accuracy below `--rule mean`, nobody attacks", lost, 0.01, at_most=True)
    for options, ratio in ("", 15.0), (WIDE, 25.0):
        exact = f"{options} {FLOAT32}".strip()
        name = options or "the default model"
        lost = [reached(exact, seed) - reached(options, seed) for seed in seeds]
        yield Promise(f"accuracy of sign1 below float32, {name}", lost, 0.01, at_most=True)
        smaller = [sent(exact, seed) / sent(options, seed) for seed in seeds]
        yield Promise(f"bytes of float32 over those of sign1, {name}", smaller, ratio)
    broken = [float(not result["ledger"]["verified"]) for result in runs.values()]
    yield Promise("runs with a log that does not verify", broken, 0, at_most=True)
    large = runs[LARGE, seeds[0]]
    yield Promise(f"CPU seconds of `{LARGE}`", [large["cpu_seconds"]], 60, at_most=True)
    yield Promise(f"peak MB of `{LARGE}`", [large["peak_rss_mb"]], 1500, at_most=True)


def row_of_run(options: str, seed: int, result: Result) -> str:
    reached, quarantine = result["accuracy"], result["quarantine"]
    cells = [
        f"`{options}`" if options else "(defaults)",
        f"{seed}",
        f"{reached['mean']:.4f}",
        f"{reached['min']:.4f}",
        f"{result['bytes']['per_peer_round']:,.0f}",
        f"{quarantine['honest_rate']:.3f} / {quarantine['byzantine_rate']:.3f}",
        f"{result['cpu_seconds']:.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the program promises.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    seeds: list[int] = arguments.seeds
    wanted = [(options, seed) for seed in seeds for options in EACH_SEED]
    wanted.append((LARGE, seeds[0]))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = dict(zip(wanted, pool.map(simulate, wanted), strict=True))
    table = list(promises(runs, seeds))
    print("| promise | needed | worst seed | kept |\n|---|---|---:|---|")
    print("\n".join(promise.row() for promise in table))
    print("\n| options | seed | accuracy | worst peer | bytes per peer and round ", end="")
    print("| quarantined: honest / attackers | CPU s |\n|---|---:|---:|---:|---:|---|---:|")
    for (options, seed), result in runs.items():
        print(row_of_run(options, seed, result))
    sys.exit(not all(promise.kept for promise in table))


if __name__ == "__main__":
    main()
