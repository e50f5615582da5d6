"""What whole simulations cost: `python benchmarks/swarm.py`.

Each row is one run of `gossamer simulate` with the arguments shown, in a process of its own, and
the figures are those of its JSON result. An agent-round here holds everything: the agent, keyframes
of new follows, the log and its verification, the simulated network, the measuring of accuracies,
and the start of the program. Bytes are those of all frames that honest peers send.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import Any

RUNS = (
    "",
    "--codec int8",
    "--codec float32",
    "--byzantine 0.2 --attack mix",
    "--model mlp-wide --rounds 20",
    "--model mlp-wide --rounds 20 --codec float32",
    "--peers 200 --rounds 20",
)


def simulate(arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "gossamer_agent", "simulate", *shlex.split(arguments)]
    finished = subprocess.run(
        [*command, "--quiet", "--json", "-"], check=True, stdout=subprocess.PIPE
    )
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def print_run(arguments: str) -> None:
    result = simulate(arguments)
    config, accuracy = result["config"], result["accuracy"]
    agent_rounds = config["peers"] * config["rounds"]
    cells = [
        f"`{arguments}`" if arguments else "(defaults)",
        f"{config['peers']} x {config['rounds']}",
        f"{result['cpu_seconds']:.1f}",
        f"{1e3 * result['cpu_seconds'] / agent_rounds:.1f}",
        f"{result['peak_rss_mb']:.0f}",
        f"{result['bytes']['per_peer_round']:,.0f}",
        f"{accuracy['mean']:.3f} / {accuracy['min']:.3f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    print(
        "| arguments | peers x rounds | CPU s | CPU ms per agent-round | peak MB "
        "| bytes per peer and round | accuracy, mean / worst |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for arguments in RUNS:
        print_run(arguments)


if __name__ == "__main__":
    main()
