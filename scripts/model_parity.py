"""Train every shipped model in a swarm of 20 peers and alone in numpy, and compare.

    python scripts/model_parity.py [--data DIR] [NAME ...]

The numpy net (scripts/numpy_nets.py, float64, no runtime) makes as many steps of plain SGD as each
peer does, on batches as large as those of all peers together. `digits` comes with gossamer; for the
other models DIR holds fsdd.npz, sms_spam.npz and occupancy.npz, made as docs/models.md says. A
model without data is named and left out. Ends with 1 where the swarm is more than a point behind.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.numpy_nets import sgd
from scripts.shipped_models import SHIPPED

from gossamer_simulator.datasets import Dataset, load_dataset
from gossamer_simulator.peers import stream

PEERS = 20
SEED = 1
MARGIN = 0.01

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """data: digits, or a file of --data; rate: learning rate; rounds of `steps` local steps."""

    data: str
    rate: float
    rounds: int
    steps: int = 8
    batch: int = 16


TRIALS = {
    "softmax": Trial("digits", 0.2, 60),
    "mlp": Trial("digits", 0.2, 60),
    "mlp-wide": Trial("digits", 0.2, 60),
    "cnn": Trial("digits", 0.5, 40),
    "conv1d": Trial("fsdd", 0.05, 30),
    "text": Trial("sms_spam", 0.2, 60),
    "regression": Trial("occupancy", 0.05, 30),
    "transfer": Trial("digits", 0.02, 40),
}


def prepared(trial: Trial, data: Path | None, folder: Path) -> str | None:
    """A reference for `gossamer simulate --data`; None if the data are not here."""
    if trial.data == "digits":
        return "digits"
    if data is None or not (data / f"{trial.data}.npz").is_file():
        return None
    with np.load(data / f"{trial.data}.npz") as raw:
        columns = {name: raw[name] for name in raw.files}
    if trial.data == "occupancy":
        columns = temperature_of(columns)
    elif trial.data == "sms_spam":
        columns["is_test"] = np.arange(len(columns["y"])) % 5 == 0
    kept = folder / f"{trial.data}.npz"
    np.savez(kept, **{name: columns[name] for name in ("x", "y", "is_test") if name in columns})
    return str(kept)


def temperature_of(columns: dict[str, Array]) -> dict[str, Array]:
    """A regression: the room's temperature from the other sensors and whether somebody is in."""
    raw, is_test = columns["x"].astype(float), np.arange(len(columns["y"])) % 5 == 0
    everything = np.column_stack([raw[:, 1:], columns["y"], raw[:, :1]])
    mean, spread = everything[~is_test].mean(0), everything[~is_test].std(0)
    scaled = ((everything - mean) / spread).astype(np.float32)
    return {"x": scaled[:, :-1], "y": scaled[:, -1:], "is_test": is_test}


def swarm(name: str, trial: Trial, reference: str) -> float:
    """Mean accuracy (regression: R squared) of the peers on the test rows."""
    command = [
        *(sys.executable, "-m", "gossamer_agent", "simulate"),
        *("--model", name, "--data", reference, "--partition", "iid", "--seed", str(SEED)),
        *("--peers", str(PEERS), "--rounds", str(trial.rounds), "--momentum", "0"),
        *("--local-steps", str(trial.steps), "--batch", str(trial.batch)),
        *("--lr", str(trial.rate), "--quiet", "--json", "-"),
    ]
    done = subprocess.run(command, check=True, capture_output=True)
    return float(json.loads(done.stdout)["accuracy"]["mean"])


def alone(name: str, trial: Trial, reference: str) -> float:
    """The same for the numpy net, trained on all training rows."""
    made, data = SHIPPED[name](), load_dataset(reference, stream(SEED, "test split"))
    weights = sgd(
        made.oracle,
        made.net.initial(0),
        data.x,
        data.y,
        steps=trial.rounds * trial.steps,
        batch=min(trial.batch * PEERS, len(data.x)),
        rate=trial.rate,
        rng=np.random.default_rng(SEED),
    )
    return accuracy(made.oracle.outputs(weights, data.test.x), data)


def accuracy(outputs: Array, data: Dataset) -> float:
    wanted = data.test.y
    if wanted.ndim == 1:
        return float((outputs.argmax(1) == wanted).mean())
    spread = ((wanted - wanted.mean(0)) ** 2).mean()
    return float(1 - ((outputs - wanted) ** 2).mean() / spread)


def main() -> int:
    parser = argparse.ArgumentParser(description="Swarm against numpy, for each shipped model.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--data", type=Path, help="folder of the data sets that do not ship")
    options = parser.parse_args()
    worst = 0.0
    print(f"{'model':<11} {'data':<10} {'steps':>5}  {'swarm':>6}  {'numpy':>6}  {'points':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or TRIALS:
            trial = TRIALS[name]
            reference = prepared(trial, options.data, Path(folder))
            if reference is None:
                print(f"{name:<11} {trial.data:<10} left out: needs --data DIR", flush=True)
                continue
            begun = time.monotonic()
            ours, theirs = swarm(name, trial, reference), alone(name, trial, reference)
            worst = max(worst, theirs - ours)
            steps, took = trial.rounds * trial.steps, time.monotonic() - begun
            print(
                f"{name:<11} {trial.data:<10} {steps:>5}  {ours:6.3f}  {theirs:6.3f}"
                f"  {100 * (ours - theirs):+6.1f}   {took:.0f} s",
                flush=True,
            )
    return 1 if worst > MARGIN else 0


if __name__ == "__main__":
    sys.exit(main())
