"""The result of a swarm of real agents fits the schema of a simulation's, and adds up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gossamer_agent.errors import AgentError
from gossamer_agent.node.status import AgentStatus, PeerStatus
from gossamer_agent.store.feeds import feed_path
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.tally import RoundRecord
from gossamer_crypto.envelope import Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity
from gossamer_simulator.results import parse_result
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.simulation import prepare, result_of, run
from gossamer_simulator.swarm_up.outcome import check_feeds, outcome
from gossamer_simulator.swarm_up.plan import Plan, make_plan
from gossamer_simulator.swarm_up.processes import Usage
from gossamer_simulator.swarm_up.watch import Course, Watch

SWARM_ID = b"\7" * 32
SCENARIO = Scenario(peers=2, rounds=3, model="softmax", seed=7)
USAGE = Usage(cpu_seconds=12.5, peak_rss_mb=99.0)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return make_plan(SCENARIO, tmp_path, interval_s=2.0)


@pytest.fixture
def watch(plan: Plan) -> Watch:
    """peer-00 made all rounds, peer-01 died after the second."""
    watch = Watch.over({device.name: device.folder for device in plan.devices})
    for round_ in (0, 1, 2, 3):
        watch.courses["peer-00"].learn(status("peer-00", "peer-01", round_))
    for round_ in (1, 2):
        watch.courses["peer-01"].learn(status("peer-01", "peer-00", round_))
    return watch


@pytest.fixture(autouse=True)
def feeds(plan: Plan) -> None:
    for number, device in enumerate(plan.devices):
        device.folder.mkdir()
        write_feed(device.folder, number, entries=number + 2)


def status(name: str, other: str, round_: int) -> AgentStatus:
    score = None if round_ == 0 else 0.5 + round_ / 10
    return AgentStatus(
        version="0",
        name=name,
        peer=f"id of {name}",
        steward=False,
        swarm="test",
        swarm_id=SWARM_ID.hex(),
        state="learning",
        round=round_,
        peers=[
            PeerStatus(peer=f"id of {other}", reputation=score, standing="quarantined"),
            PeerStatus(peer="a peer that we never scored"),
        ],
        refused={"stale": round_, "fork": 0},
        bytes_sent=1000 * round_ + 100,
        frames_sent=10 * round_,
        merges=round_,
        gate_refusals=1,
        history=[
            RoundRecord(
                round=number,
                merged=3,
                committed=True,
                holdout_loss=None,
                accuracy=number / 10 + (0.05 if name == "peer-01" else 0.0),
                bytes_sent=0,
                seconds=0.0,
            )
            for number in range(1, round_ + 1)
        ],
    )


def write_feed(folder: Path, number: int, *, entries: int, incarnation: int = 0) -> None:
    writer = FeedWriter(
        Identity.from_seed(bytes([number]) * 32),
        SWARM_ID,
        FixedEpoch(b"e" * 32, 1),
        bytes,
        incarnation=incarnation,
    )
    with closing(SqliteStore(feed_path(folder, incarnation))) as store:
        for _ in range(entries):
            store.append(writer.append(Kind.MERGE, b"body"))


def test_the_fields_are_those_of_a_simulation(plan: Plan, watch: Watch) -> None:
    setup = prepare(SCENARIO)
    simulated = result_of(SCENARIO, setup, run(SCENARIO, setup, lambda sample, metrics: None))
    result = outcome(plan, watch, SWARM_ID, USAGE, [])
    assert set(result) == set(simulated) - {"trace_hash"}
    for part, value in simulated.items():
        if isinstance(value, dict) and part not in ("refused", "config", "own_data"):
            assert set(result[part]) == set(value), part
    assert set(result["config"]) == {*simulated["config"], "interval"}
    parse_result(json.loads(json.dumps(result)))


def test_it_adds_up(plan: Plan, watch: Watch) -> None:
    result = outcome(plan, watch, SWARM_ID, USAGE, ["peer-01 was ended by SIGKILL"])
    accuracy = result["accuracy"]
    assert accuracy["per_round"] == pytest.approx([0.125, 0.225, 0.275])
    assert accuracy["per_round_min"] == pytest.approx([0.1, 0.2, 0.25])
    assert accuracy["per_round_max"] == pytest.approx([0.15, 0.25, 0.3])
    assert (accuracy["min"], accuracy["max"]) == pytest.approx((0.25, 0.3))
    assert result["bytes"] == {
        "per_peer_round": pytest.approx(5200 / 6),
        "total": 5200,
        "per_round": [2200, 2000, 1000],
    }
    assert result["messages"] == 50
    assert result["refused"] == {"stale": 5}
    assert result["gate"] == {"merges": 5, "refused": 2}
    assert result["quarantine"]["honest_rate"] == 1.0
    assert result["reputation"]["per_round"] == [
        pytest.approx([0.6, 0.6]),
        pytest.approx([0.7, 0.7]),
        pytest.approx([0.7, 0.8]),
    ]
    assert result["ledger"] == {"entries": 5, "verified": True}
    assert (result["cpu_seconds"], result["peak_rss_mb"]) == (12.5, 99.0)
    assert result["warnings"][-1] == "peer-01 was ended by SIGKILL"


def test_an_agent_that_told_nothing_is_left_out(plan: Plan, watch: Watch) -> None:
    watch.courses["peer-01"] = Course("peer-01")
    result = outcome(plan, watch, SWARM_ID, USAGE, [])
    assert result["accuracy"]["mean"] == pytest.approx(0.3)
    assert [peer["name"] for peer in result["reputation"]["peers"]] == ["peer-00"]
    parse_result(result)


def test_a_swarm_without_a_round_has_no_result(plan: Plan) -> None:
    watch = Watch.over({device.name: device.folder for device in plan.devices})
    with pytest.raises(AgentError, match="no agent ended a round"):
        outcome(plan, watch, SWARM_ID, USAGE, [])


def forge(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE entry SET signature = zeroblob(64) WHERE seq = 1")
        connection.commit()


def drop_first(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM entry WHERE seq = 0")
        connection.commit()


@pytest.mark.parametrize("damage", [forge, drop_first])
def test_every_incarnation_is_verified(
    plan: Plan, watch: Watch, damage: Callable[[Path], None]
) -> None:
    folder = plan.devices[0].folder
    write_feed(folder, 0, entries=4, incarnation=2)
    assert [report.entries for report in check_feeds(folder, SWARM_ID)] == [2, 4]
    damage(feed_path(folder, 2))
    ledger: dict[str, Any] = outcome(plan, watch, SWARM_ID, USAGE, [])["ledger"]
    assert not ledger["verified"]


def test_the_feed_of_another_swarm_does_not_verify(plan: Plan) -> None:
    (report,) = check_feeds(plan.devices[0].folder, b"\1" * 32)
    assert not report.ok
