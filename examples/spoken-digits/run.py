"""Six speakers teach a model the digits, and no recording leaves its device.

python run.py fsdd.npz [more options of gossamer simulate]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OPTIONS = {
    "peers": "6",
    "partition": "subject",
    "model": "conv1d",
    "view": "5",
    "rounds": "60",
    "local-steps": "16",
    "optimiser": "adam",
    "momentum": "0",
    "lr": "0.01",
    "lr-schedule": "cosine",
}


# From here on as in the other examples: each folder runs alone, wherever it is copied to.
def simulate(data, more):
    """Run the swarm on this machine, and what it is compared with; the result as a dict."""
    options = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
    words = ["simulate", "--data", str(data), *options, *more]
    print("$ gossamer", *words, "--baselines", "\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        words += ["--baselines", "--quiet", "--json", str(result)]
        subprocess.run([sys.executable, "-m", "gossamer_agent", *words], check=True)
        return json.loads(result.read_text())


def majority(data):
    """The accuracy of always giving the commonest answer."""
    with np.load(data) as arrays:
        y = arrays["y"]
        tested = y[arrays["is_test"].astype(bool)] if "is_test" in arrays else y
    return np.bincount(tested).max() / len(tested)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    data = Path(sys.argv[1])
    result = simulate(data, sys.argv[2:])
    alone, together = result["baselines"], result["accuracy"]
    peers, kilobytes = result["config"]["peers"], result["bytes"]["per_peer_round"] / 1000
    print(f"{peers} devices, each of which has heard one speaker. On recordings of all speakers:")
    line(majority(data), "always the same digit")
    line(alone["local_only"], "a device that learns alone, on average")
    line(together["mean"], f"a device of the swarm, the worst {together['min']:.1%}")
    line(alone["central"], "all recordings in one place")
    if result.get("own_data"):
        print("On recordings of its own speaker:")
        line(alone["local_only_own"]["mean"], "a device that learns alone, on average")
        line(result["own_data"]["mean"], "a device of the swarm, on average")
    print(f"A device sends {kilobytes:.1f} kB in each of {result['config']['rounds']} rounds.")


def line(accuracy, what):
    print(f"  {accuracy:6.1%}  {what}")


if __name__ == "__main__":
    main()
