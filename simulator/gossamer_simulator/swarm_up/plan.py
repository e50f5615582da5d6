"""What a swarm of real agents needs before the first process starts: names, folders, data files.

The rows are dealt out as `gossamer simulate` does for the same seed: the same peers hold the same
rows, and the same rows are the test split.
"""

from __future__ import annotations

import os
import random
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from gossamer_agent.data import ROWS_MIN
from gossamer_agent.errors import ConfigError, DataError, StoreError
from gossamer_agent.learner import Samples
from gossamer_simulator.peers import stream
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import Setup, prepare

PEERS_MAX: Final = 64
"""Each peer is a process of about 100 MB."""
INTERVAL_S_MIN, INTERVAL_S_MAX = 0.1, 3600.0
INTERVAL_S: Final = 2.0
PEER_CORE_S: Final = 0.4
"""A round of a small model, links included, costs 0.1 s of a core; the rest is room."""
TEST_FILE: Final = "test.npz"
SEED_MAX: Final = 2**31
LOOPBACK: Final = "127.0.0.1"
PORTS: Final = range(20_000, 30_000)
"""Below those that Linux hands out by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """One peer to be. name: of its folder too; seed: of its own chance in learning."""

    name: str
    folder: Path
    data: Path
    log: Path
    samples: Samples
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A swarm to be started below `folder`. port: where its first agent listens, so that the
    others find it again after a restart; test: the file with the test split of all.
    """

    scenario: Scenario
    interval_s: float
    folder: Path
    devices: tuple[DevicePlan, ...]
    test: Path
    setup: Setup
    port: int


def make_plan(scenario: Scenario, folder: Path, *, interval_s: float | None) -> Plan:
    """Check the settings and deal the data out. Touches no file. AgentError for bad input.

    interval_s: None for one that this machine can keep up with.
    """
    if interval_s is None:
        interval_s = default_interval_s(scenario.peers, len(os.sched_getaffinity(0)))
    if not 2 <= scenario.peers <= PEERS_MAX:
        raise ConfigError(
            f"--peers {scenario.peers} is out of range; it must be 2 to {PEERS_MAX} processes "
            "(gossamer simulate can do more)"
        )
    if not INTERVAL_S_MIN <= interval_s <= INTERVAL_S_MAX:
        raise ConfigError(
            f"--interval {interval_s:g} is out of range; "
            f"it must be {INTERVAL_S_MIN:g} to {INTERVAL_S_MAX:g} seconds"
        )
    setup = prepare(scenario)
    devices = tuple(
        _device(folder, index, samples, scenario.seed) for index, samples in enumerate(setup.slices)
    )
    for name, samples in [(device.name, device.samples) for device in devices] + [
        ("the test split", setup.test)
    ]:
        if len(samples) < ROWS_MIN:
            raise DataError(
                f"{name} would have {len(samples)} rows, a device takes files of {ROWS_MIN} or "
                "more; use fewer --peers, more data or a more even --partition"
            )
    return Plan(
        scenario=scenario,
        interval_s=interval_s,
        folder=folder,
        devices=devices,
        test=folder / TEST_FILE,
        setup=setup,
        port=_free_port(),
    )


def default_interval_s(peers: int, cores: int) -> float:
    """Seconds between rounds in which agents on shared cores still hear of each other in time."""
    return max(INTERVAL_S, PEER_CORE_S * peers / cores)


def write_data(plan: Plan) -> None:
    """Write everybody's .npz file. StoreError if that is not possible."""
    try:
        _write(plan.test, plan.setup.test)
        for device in plan.devices:
            _write(device.data, device.samples)
    except OSError as error:
        raise StoreError(f"{plan.folder}: cannot be written: {error.strerror}") from error


def _device(folder: Path, index: int, samples: Samples, seed: int) -> DevicePlan:
    name = f"peer-{index:02d}"
    return DevicePlan(
        name=name,
        folder=folder / name,
        data=folder / f"{name}.npz",
        log=folder / f"{name}.log",
        samples=samples,
        seed=int(stream(seed, "device", index).integers(SEED_MAX)),
    )


def _free_port() -> int:
    """A free TCP port of the loopback interface that no outgoing connection is given meanwhile."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise ConfigError(f"no port of {LOOPBACK} from {PORTS.start} to {PORTS.stop - 1} is free")


def _write(path: Path, samples: Samples) -> None:
    np.savez(path, x=samples.x, y=samples.y)
