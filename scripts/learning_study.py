"""Measure what joining is worth to devices whose data are unlike, and what the learning options do.

    python scripts/learning_study.py [--data DIR] [--seeds N] [--first SEED] [--validate]

Prints a table for docs/learning.md. `DIR` holds fsdd.npz and sms_spam.npz (spoken digits by six
speakers, and text messages; default: ../shared/data); parts whose file is missing are left out, and
so are those with nets of their own where the extra `authoring` is not installed. Takes some minutes
of one core. `--validate` never looks at the test rows: a fifth of the other rows, by chance, take
their place. Settings are chosen with it, and on other seeds than those that are shown.

    global      accuracy of what peers serve on the test rows of all, mean over peers
    own         the same on test rows like a peer's own (by speaker, else by its labels), mean
    alone       devices that learn by themselves, with as many steps, on both
    central     one model for all data in one place, on the test rows of all
    below       devices that are worse on own data than alone, of all devices and seeds
    worst       the lowest difference, over devices and seeds, of own and alone on own data
    alone again the yardstick held against itself: devices that learn alone once more, with other
                batches; what `below` and `worst` are where nothing was changed at all
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
OTHER_BATCHES = 10**6  # added to a seed
CHANCE = 1e-9  # what sums of weights differ by
COSINE = {"lr_schedule": "cosine"}
HEADS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("FedPer, own head", {"personal": "head"}),
    ("FedRep, own head", {"personal": "head", "personal_steps": 8}),
)
DITTO: tuple[str, dict[str, Any]] = ("Ditto, lambda .1", {"ditto": 0.1})
VALIDATION = 7  # the seed that deals the validation rows
HEADER = ("scenario", "global", "own", "alone, global", "alone, own", "central", "below", "worst")


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
    """Devices that learn alone, on all test rows and on their own, twice with other batches; one
    model for all data.
    """

    alone: float
    alone_own: list[float]
    again: Row
    central: float


@dataclass(frozen=True, slots=True)
class Row:
    """What one seed gave; shares of 1. gains: of each device on own data, against alone."""

    everywhere: float
    own: float
    gains: list[float]


def measure(scenario: Scenario, yardstick: Yardstick) -> Row:
    """One simulation."""
    setup = prepare(scenario)
    finished = run(scenario, setup, lambda _sample, _metrics: None)
    own = _own(setup, finished)
    pairs = zip(own, yardstick.alone_own, strict=True)
    return Row(
        everywhere=fmean(finished.engine.metrics.samples[-1].accuracies),
        own=fmean(own),
        gains=[ours - theirs for ours, theirs in pairs],
    )


def hold_against(scenario: Scenario) -> Yardstick:
    """As many steps as the swarm makes, without it."""
    setup = prepare(scenario)
    peers = build_swarm(scenario, setup.learner, setup.slices).peers
    first, again = (
        local_only(replace(scenario, seed=seed), setup.learner, peers, setup.test, setup.own)
        for seed in (scenario.seed, scenario.seed + OTHER_BATCHES)
    )
    alone_own = [device.own for device in first if device.own is not None]
    once_more = [device.own for device in again if device.own is not None]
    return Yardstick(
        alone=fmean(device.accuracy for device in first),
        alone_own=alone_own,
        again=Row(
            everywhere=fmean(device.accuracy for device in again),
            own=fmean(once_more),
            gains=[one - other for one, other in zip(once_more, alone_own, strict=True)],
        ),
        central=central(scenario, setup.learner, peers, setup.test),
    )


def _own(setup: Setup, finished: Run) -> list[float]:
    peers = zip(finished.engine.peers, setup.own, strict=True)
    return [
        own.accuracy(peer.learning.learner, peer.agent.served)
        for peer, own in peers
        if own is not None and peer.agent is not None
    ]


def groups(data: Path, work: Path, *, validate: bool = False) -> Iterator[Group]:
    """What there is to measure with the files that are there."""
    if (data / "fsdd.npz").is_file():
        yield from _speakers(data / "fsdd.npz", work, validate=validate)
    if (data / "sms_spam.npz").is_file():
        yield from _messages(data / "sms_spam.npz", work, validate=validate)


def _speakers(source: Path, work: Path, *, validate: bool) -> Iterator[Group]:
    with np.load(source, allow_pickle=False) as raw:
        columns = {name: raw[name] for name in ("x", "y", "device", "is_test")}
    if validate:
        columns = _without_test_rows(columns)
    x = columns["x"].astype(np.float32)
    frames, flat = work / "fsdd-frames.npz", work / "fsdd-flat.npz"
    np.savez(frames, **(columns | {"x": x}))
    np.savez(flat, **(columns | {"x": x.reshape(len(x), -1)}))
    base = Scenario(peers=6, partition="subject", rounds=80, lr=0.03, local_steps=16)
    yield Group(
        "digits by speaker, conv1d",
        replace(base, data=str(frames), model="conv1d"),
        (("cosine", COSINE), *HEADS, DITTO),
    )
    model = _dense(work / "fsdd.tflite", (576, 64, 10))
    if model is not None:
        yield Group(
            "digits by speaker, MLP 576-64-10",
            replace(base, data=str(flat), model=model),
            (
                *HEADS,
                DITTO,
                ("Adam, rate .003, cosine", {"optimiser": "adam", "lr": 3e-3} | COSINE),
                ("FedProx, mu .01", {"proximal": 0.01}),
                ("FedAdam", {"combine": "adam"}),
                ("unlike steps, 4 to 64", {"steps_spread": 4.0}),
                ("unlike steps, FedNova", {"steps_spread": 4.0, "nominal_steps": 16}),
            ),
        )


def _messages(source: Path, work: Path, *, validate: bool) -> Iterator[Group]:
    with np.load(source, allow_pickle=False) as raw:
        x, y = raw["x"].astype(np.float32), raw["y"]
    columns = {"x": x, "y": y, "is_test": np.arange(len(y)) % 5 == 0}
    if validate:
        columns = _without_test_rows(columns)
    path = work / "sms.npz"
    np.savez(path, **columns)
    base = Scenario(peers=20, partition="dirichlet:0.5", data=str(path))
    text = replace(base, model="text", lr=1.0, local_steps=16)
    yield Group("spam, 20 phones, text", text, (("cosine", COSINE),))
    model = _dense(work / "sms.tflite", (1024, 64, 2))
    if model is not None:
        yield Group(
            "spam, 20 phones, MLP 1024-64-2", replace(base, model=model, lr=0.05), HEADS[:1]
        )


def _without_test_rows(columns: dict[str, Any]) -> dict[str, Any]:
    """The others, of which a fifth is to be tested on."""
    rows = ~columns["is_test"].astype(bool)
    kept = {name: column[rows] for name, column in columns.items()}
    chance = np.random.default_rng(VALIDATION)
    return kept | {"is_test": chance.random(len(kept["y"])) < 1 / 5}


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
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--first", type=int, default=201, help="the first seed")
    parser.add_argument("--validate", action="store_true", help="leave the test rows out")
    parser.add_argument("--only", default="", help="groups whose name has this in it")
    asked = parser.parse_args()
    print("| " + " | ".join(HEADER) + " |")
    print("|---|" + "---:|" * (len(HEADER) - 1))
    with tempfile.TemporaryDirectory() as folder:
        for group in groups(asked.data, Path(folder), validate=asked.validate):
            if asked.only in group.name:
                _show(group, range(asked.first, asked.first + asked.seeds))
    print(f"\n{asked.seeds} seed(s), {time.process_time():.0f} s of CPU time")


def _show(group: Group, seeds: range) -> None:
    sticks = {seed: hold_against(replace(group.base, seed=seed)) for seed in seeds}
    for name, change in ((group.name, {}), *group.variants):
        scenario = replace(group.base, **change)
        rows = [measure(replace(scenario, seed=seed), sticks[seed]) for seed in seeds]
        label = name if name == group.name else f"... {name}"
        _print_row(label, rows, list(sticks.values()))
    _print_row("... alone again", [stick.again for stick in sticks.values()], [*sticks.values()])


def _print_row(label: str, rows: list[Row], sticks: list[Yardstick]) -> None:
    cells = [
        fmean(row.everywhere for row in rows),
        fmean(row.own for row in rows),
        fmean(stick.alone for stick in sticks),
        fmean(fmean(stick.alone_own) for stick in sticks),
        fmean(stick.central for stick in sticks),
    ]
    gains = [gain for row in rows for gain in row.gains]
    below = sum(gain < -CHANCE for gain in gains)
    shown = [label, *(f"{cell:.3f}" for cell in cells), f"{below} of {len(gains)}"]
    print("| " + " | ".join([*shown, f"{min(gains):+.3f}"]) + " |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
