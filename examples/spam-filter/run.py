"""Twenty phones learn one spam filter, and no message leaves its phone.

python run.py sms_spam.npz [more options of gossamer simulate]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

OPTIONS = {
    "peers": "20",
    "partition": "dirichlet:0.5",
    "model": "text",
    "rounds": "60",
    "momentum": "0.9",
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
    print(
        f"{peers} phones, each with its own messages and its own share of spam. On messages of all:"
    )
    line(majority(data), "call nothing spam")
    line(alone["local_only"], "a phone that learns alone, on average")
    line(together["mean"], f"a phone of the swarm, the worst {together['min']:.1%}")
    line(alone["central"], "all messages in one place")
    print(f"A phone sends {kilobytes:.1f} kB in each of {result['config']['rounds']} rounds.")


def line(accuracy, what):
    print(f"  {accuracy:6.1%}  {what}")


if __name__ == "__main__":
    main()
