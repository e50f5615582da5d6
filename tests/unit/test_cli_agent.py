"""`status`, `peers` and `run` where no agent runs, and what a running one's answers look like."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.cli.peers import _cells
from gossamer_agent.cli.status import _rows
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.node.status import AgentStatus, PeerStatus, pack_status, parse_status
from gossamer_agent.synthetic import make_samples
from gossamer_agent.tally import RoundRecord

RECORD = RoundRecord(
    round=7, merged=3, committed=True, holdout_loss=0.5, accuracy=0.875, bytes_sent=9, seconds=1.0
)
PEER = PeerStatus(
    peer="12D3KooWother",
    linked=True,
    followed=True,
    reputation=0.625,
    address="/ip4/192.168.1.9/tcp/4001",
    round_trip_ms=12.4,
    step=6,
    head_seq=11,
)
STATUS = AgentStatus(
    version="1",
    name="shed",
    peer="12D3KooWown",
    steward=False,
    swarm="greenhouse",
    swarm_id="ab" * 32,
    state="learning",
    members=2,
    linked=1,
    head_seq=12,
    incarnation=1,
    peers=[PEER],
    refused={"bad-frame": 2},
    history=[RECORD],
    troubles=["the clock differs"],
)


@pytest.fixture
def garden(tmp_path: Path, gossamer: Callable[..., Any]) -> Path:
    samples = make_samples(512, 20, np.random.default_rng(0))
    np.savez(tmp_path / "data.npz", x=samples.x, y=samples.y)
    folder = tmp_path / "garden"
    ran = gossamer(
        "init", folder, "--swarm", "greenhouse", "--model", "synthetic",
        "--data", tmp_path / "data.npz",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return folder


def test_status_of_a_folder_without_an_agent(garden: Path, gossamer: Callable[..., Any]) -> None:
    ran = gossamer("-C", garden, "status")
    assert ran.code == 0
    assert "not running" in ran.out
    told = parse_status(gossamer("-C", garden, "status", "--json").out.encode())
    assert (told.running, told.members, told.epoch, told.steward) == (False, 1, 1, True)
    assert told.head_seq is None


def test_peers_of_a_folder_without_an_agent(garden: Path, gossamer: Callable[..., Any]) -> None:
    ran = gossamer("-C", garden, "peers")
    assert (ran.code, ran.out) == (0, "no other members\n")
    assert "not running" in ran.err
    assert json.loads(gossamer("-C", garden, "peers", "--json").out) == []


@pytest.mark.parametrize("command", ["status", "peers", "run", "doctor"])
def test_a_folder_that_is_no_device_s_costs_one_line(
    tmp_path: Path, gossamer: Callable[..., Any], command: str
) -> None:
    ran = gossamer("-C", tmp_path, command)
    assert ran.code == ExitCode.STORE
    assert len(ran.err.strip().splitlines()) <= 2
    assert str(tmp_path) in ran.err


def test_a_status_survives_json() -> None:
    assert parse_status(pack_status(STATUS)) == STATUS


def test_the_table_tells_what_matters() -> None:
    rows = dict(_rows(STATUS))
    assert rows["newest entry"] == "entry 12, incarnation 1"
    assert "accuracy 87.5%" in rows["round"]
    assert rows["refused"] == "bad-frame 2"
    assert rows["look at"] == "the clock differs"


def test_a_peer_is_one_line() -> None:
    assert _cells(PEER) == (
        "12 ms",
        "step 6",
        "admitted 0.62",
        "11",
        "/ip4/192.168.1.9/tcp/4001",
    )
    lost = PeerStatus(peer="12D3KooWother", failure="timed out", note="clock differs by 3 h")
    assert _cells(lost) == ("-", "-", "admitted", "-", "timed out; clock differs by 3 h")
    assert _cells(PeerStatus(peer="12D3KooWother"))[-1] == "no address known"
