"""What is dealt out before the first process starts."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.data import load_device_data
from gossamer_agent.errors import AgentError
from gossamer_simulator.peers import build_swarm
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare
from gossamer_simulator.swarm_up.plan import PORTS, default_interval_s, make_plan, write_data


def scenario(**settings: Any) -> Scenario:
    return Scenario(**({"peers": 4, "model": "softmax", "seed": 7} | settings))


def test_devices_hold_the_rows_of_the_simulators_peers(tmp_path: Path) -> None:
    plan = make_plan(scenario(), tmp_path, interval_s=2.0)
    write_data(plan)
    setup = prepare(scenario())
    simulated = build_swarm(scenario(), setup.learner, setup.slices).peers
    assert [device.name for device in plan.devices] == [peer.name for peer in simulated]
    for device, samples in zip(plan.devices, setup.slices, strict=True):
        data = load_device_data(device.data, plan.test)
        np.testing.assert_array_equal(data.training.x, samples.x)
        np.testing.assert_array_equal(data.training.y, samples.y)
        assert data.test is not None
        np.testing.assert_array_equal(data.test.x, setup.test.x)
        assert data.warnings == ()


def test_the_seed_fixes_everything_but_the_port(tmp_path: Path) -> None:
    plans = [make_plan(scenario(seed=seed), tmp_path, interval_s=2.0) for seed in (7, 7, 8)]
    seeds = [[device.seed for device in plan.devices] for plan in plans]
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0])) == 4


def test_the_port_is_free_and_given_to_nobody_else(tmp_path: Path) -> None:
    plan = make_plan(scenario(), tmp_path, interval_s=2.0)
    assert plan.port in PORTS
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    assert int(ephemeral.split()[0]) > PORTS.stop
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", plan.port))


def test_rounds_take_longer_where_many_share_a_core(tmp_path: Path) -> None:
    assert default_interval_s(10, 2) == 2.0
    assert default_interval_s(4, 8) == 2.0
    assert default_interval_s(20, 2) == 4.0
    assert make_plan(scenario(), tmp_path, interval_s=None).interval_s >= 2.0
    assert make_plan(scenario(), tmp_path, interval_s=0.5).interval_s == 0.5


@pytest.mark.parametrize(
    ("settings", "interval_s", "said"),
    [
        ({"peers": 1}, 2.0, "it must be 2 to 64 processes"),
        ({"peers": 65}, 2.0, "it must be 2 to 64 processes"),
        ({}, 0.0, "--interval 0 is out of range"),
        ({}, float("nan"), "--interval nan is out of range"),
        ({"rounds": 0}, 2.0, "--rounds 0 is out of range"),
        ({"data": "nowhere.npz"}, 2.0, "no such file"),
        ({"peers": 40, "partition": "dirichlet:0.01"}, 2.0, "fewer --peers, more data"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(
    tmp_path: Path, settings: dict[str, Any], interval_s: float, said: str
) -> None:
    with pytest.raises(AgentError, match=said) as caught:
        make_plan(scenario(**settings), tmp_path, interval_s=interval_s)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    plan = make_plan(scenario(), tmp_path / "gone", interval_s=2.0)
    with pytest.raises(AgentError, match="gone: cannot be written"):
        write_data(plan)
