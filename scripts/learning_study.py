"""Measure what joining is worth to devices whose data are unlike, and what the learning options do.

    python scripts/learning_study.py [--data DIR] [--seeds N]

Prints a table for docs/learning.md. `DIR` holds fsdd.npz and sms_spam.npz (spoken digits by six
speakers, and text messages; default: ../shared/data); parts whose file is missing are left out, and
so are those with nets of their own where the extra `authoring` is not installed. Takes some minutes
of one core.

    global      accuracy of what peers serve on the test rows of all, mean over peers
    own         the same on test rows like a peer's own (by speaker, else by its labels), mean
    alone       devices that learn by themselves, with as many steps, on both
    central     one model for all data in one place, on the test rows of all
    worst       the lowest difference, over devices and seeds, of own and alone on own data
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from gossamer_agent.errors import ModelError
from gossamer_simulator.baselines import central, local_only
from gossamer_simulator.peers import build_swarm
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import Run, Setup, prepare, run

SHARED = Path(__file__).parents[2] / "shared" / "data"
COSINE = {"lr_schedule": "cosine"}
HEADER = ("scenario", "global", "own", "alone, global", "alone, own", "central", "worst")


@dataclass(frozen=True, slots=True)
class Group:
    """Scenarios with the same data, model and number of steps, and so the same things to be held
    against: those of `base`.
    """

    name: str
    base: Scenario
    variants: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Devices that learn alone, on all test rows and on their own; one model for all data."""

    alone: float
    alone_own: list[float]
    central: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one seed of a scenario gave; shares of 1. worst: as in the module's docstring."""

    everywhere: float
    own: float
    worst: float


def measure(scenario: Scenario, yardstick: Yardstick) -> Row:
    """One simulation."""
    setup = prepare(scenario)
    finished = run(scenario, setup, lambda _sample, _metrics: None)
    own = _own(setup, finished)
    pairs = zip(own, yardstick.alone_own, strict=True)
    return Row(
        everywhere=fmean(finished.engine.metrics.samples[-1].accuracies),
        own=fmean(own),
        worst=min(ours - theirs for ours, theirs in pairs),
    )


def hold_against(scenario: Scenario) -> Yardstick:
    """As many steps as the swarm makes, without it."""
    setup = prepare(scenario)
    peers = build_swarm(scenario, setup.learner, setup.slices).peers
    devices = local_only(scenario, setup.learner, peers, setup.test, setup.own)
    return Yardstick(
        alone=fmean(device.accuracy for device in devices),
        alone_own=[device.own for device in devices if device.own is not None],
        central=central(scenario, setup.learner, peers, setup.test),
    )


def _own(setup: Setup, finished: Run) -> list[float]:
    peers = zip(finished.engine.peers, setup.own, strict=True)
    return [
        own.accuracy(peer.learning.learner, peer.agent.served)
        for peer, own in peers
        if own is not None and peer.agent is not None
    ]


def groups(data: Path, work: Path) -> Iterator[Group]:
    """What there is to measure with the files that are there."""
    if (data / "fsdd.npz").is_file():
        yield from _speakers(data / "fsdd.npz", work)
    if (data / "sms_spam.npz").is_file():
        yield from _messages(data / "sms_spam.npz", work)


def _speakers(source: Path, work: Path) -> Iterator[Group]:
    with np.load(source, allow_pickle=False) as raw:
        columns = {name: raw[name] for name in ("x", "y", "device", "is_test")}
    x = columns["x"].astype(np.float32)
    frames, flat = work / "fsdd-frames.npz", work / "fsdd-flat.npz"
    np.savez(frames, **(columns | {"x": x}))
    np.savez(flat, **(columns | {"x": x.reshape(len(x), -1)}))
    base = Scenario(peers=6, partition="subject", data=str(flat))
    model = _dense(work / "fsdd.tflite", (576, 64, 10))
    if model is not None:
        yield Group(
            "digits by speaker, MLP 576-64-10, 40 rounds of 8 steps",
            replace(base, model=model, rounds=40, lr=0.05),
            (
                ("FedPer, own head", {"personal": "head"}),
                ("FedRep, own head", {"personal": "head", "personal_steps": 8}),
                ("Ditto, lambda .1", {"ditto": 0.1}),
            ),
        )
        yield Group(
            "the same, 80 rounds of 16 steps",
            replace(base, model=model, rounds=80, lr=0.1, local_steps=16),
            (
                ("Adam, rate .003, cosine", {"optimiser": "adam", "lr": 3e-3} | COSINE),
                ("FedProx, mu .01", {"proximal": 0.01}),
                ("FedAdam", {"combine": "adam"}),
                ("unlike steps, 4 to 64", {"steps_spread": 4.0}),
                ("unlike steps, FedNova", {"steps_spread": 4.0, "nominal_steps": 16}),
            ),
        )
    convolutions = replace(base, data=str(frames), model="conv1d", rounds=80, lr=0.1)
    yield Group("digits by speaker, conv1d", replace(convolutions, local_steps=16))


def _messages(source: Path, work: Path) -> Iterator[Group]:
    with np.load(source, allow_pickle=False) as raw:
        x, y = raw["x"].astype(np.float32), raw["y"]
    path = work / "sms.npz"
    np.savez(path, x=x, y=y, is_test=np.arange(len(y)) % 5 == 0)
    base = Scenario(peers=20, partition="dirichlet:0.5", data=str(path), model="text")
    yield Group("spam, 20 peers, text", base, (("cosine", COSINE),))
    model = _dense(work / "sms.tflite", (1024, 64, 2))
    if model is not None:
        yield Group(
            "spam, MLP 1024-64-2",
            replace(base, model=model, lr=0.05),
            (("FedPer, own head", {"personal": "head"}),),
        )


def _dense(path: Path, sizes: tuple[int, ...]) -> str | None:
    """A dense net with named layers; None without the extra `authoring`."""
    from gossamer_agent.authoring.kinds import dense  # noqa: PLC0415

    net = dense(sizes)
    try:
        path.write_bytes(net.file(net.initial(0)))
    except ModelError:
        return None
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the learning options.")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of the .npz files")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, 0, 1, ...")
    asked = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |")
    print("|---|" + "---:|" * (len(HEADER) - 1))
    with tempfile.TemporaryDirectory() as folder:
        for group in groups(asked.data, Path(folder)):
            _show(group, range(asked.seeds))
    print(f"\n{asked.seeds} seed(s), {time.process_time():.0f} s of CPU time")


def _show(group: Group, seeds: range) -> None:
    sticks = [hold_against(replace(group.base, seed=seed)) for seed in seeds]
    for name, change in ((group.name, {}), *group.variants):
        scenario = replace(group.base, **change)
        rows = [measure(replace(scenario, seed=seed), sticks[seed]) for seed in seeds]
        cells = [
            fmean(row.everywhere for row in rows),
            fmean(row.own for row in rows),
            fmean(stick.alone for stick in sticks),
            fmean(fmean(stick.alone_own) for stick in sticks),
            fmean(stick.central for stick in sticks),
        ]
        shown = [name if name == group.name else f"... {name}", *(f"{cell:.3f}" for cell in cells)]
        print("| " + " | ".join([*shown, f"{min(row.worst for row in rows):+.3f}"]) + " |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
