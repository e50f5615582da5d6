"""Thirty days of a swarm whose devices rest, and of one that never does: python scripts/nights.py

    python scripts/nights.py                   20 peers, a round every half hour; ten minutes of CPU
    python scripts/nights.py --peers 10 --interval 120

Devices learn by day or by night or always, in turn; a tenth of the time each is without power, for
2 hours to 3 days; a quarter is too hot in the afternoon; the budgets of their profiles bind. The
swarm that never rests is shown after the same thirty days, and at the same number of rounds per
peer. Ends with exit code 1 when resting costs more than two points of accuracy.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any, Final

NIGHTS: Final = (
    *("--hours", "22:00-08:00|06:00-20:00|"),
    *("--outages", "0.1", "--heat", "0.25", "--budgets", "profile"),
)
DAYS: Final = 30
LAST: Final = 8
"""Accuracies are means over so many last rounds."""
POINTS: Final = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=int, default=20)
    parser.add_argument("--interval", type=float, default=30.0, help="minutes between rounds")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rounds = round(DAYS * 24 * 60 / given.interval)
    common = (
        f"--peers {given.peers} --interval {given.interval:g} --rounds {rounds}"
        f" --model {given.model} --seed {given.seed}"
    )
    nights = simulated(common.split() + list(NIGHTS))
    always = simulated(common.split())
    learnt = nights["gate"]["merges"] / always["gate"]["merges"]
    same = max(1, min(round(learnt * rounds), rounds))
    rows = [
        ("devices that rest, 30 days", lately(nights), nights),
        ("never resting, 30 days", lately(always), always),
        (f"never resting, {same} rounds as well", lately(always, same), None),
    ]
    print(f"{'':34} accuracy   worst   MB sent a peer   honest in quarantine")
    for name, accuracy, result in rows:
        print(f"{name:34} {accuracy:8.2%}", end="")
        if result is not None:
            sent = result["bytes"]["total"] / given.peers / 1e6
            out = result["quarantine"]["honest_rate"]
            print(f" {result['accuracy']['min']:7.2%} {sent:14.2f} {out:20.1%}", end="")
        print()
    print("rested:", ", ".join(f"{kind} {share:.1%}" for kind, share in nights["rested"].items()))
    kept = lately(nights) > lately(always) - POINTS
    print("kept" if kept else "NOT KEPT", f"(within {POINTS:.0%} of the same thirty days)")
    return 0 if kept else 1


def simulated(options: list[str]) -> dict[str, Any]:
    """The result of one simulation, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        command = [
            sys.executable,
            "-m",
            "gossamer_agent",
            "simulate",
            *options,
            "--json",
            str(file),
        ]
        print("$ gossamer simulate", shlex.join(options), file=sys.stderr)
        subprocess.run(command, check=True)
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return result


def lately(result: dict[str, Any], rounds: int | None = None) -> float:
    """Mean accuracy of the last rounds up to `rounds`."""
    return fmean(result["accuracy"]["per_round"][:rounds][-LAST:])


if __name__ == "__main__":
    sys.exit(main())
