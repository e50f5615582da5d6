"""Metrics: the table in docs/metrics.md is what is exposed, and values are those of the status."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gossamer_agent.cli.run import LEVELS
from gossamer_agent.data.status import DataStatus
from gossamer_agent.eventlog.setup import Level
from gossamer_agent.metrics.catalogue import CATALOGUE, Kind
from gossamer_agent.metrics.samples import STATES, Scene
from gossamer_agent.metrics.text import render
from gossamer_agent.node.status import (
    AgentStatus,
    BudgetStatus,
    PauseStatus,
    PeerStatus,
    VouchedStatus,
)
from gossamer_agent.pauses.permissions import PauseKind
from gossamer_agent.tally import RoundRecord

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
PROMTOOL = shutil.which("promtool")
UNITS = ("bytes", "seconds", "celsius", "ratio")

PEERS = [
    PeerStatus(peer="12D3a", followed=True, reputation=0.75),
    PeerStatus(peer="12D3b", standing="quarantined", reputation=0.1),
    PeerStatus(peer='12D3"c\n', standing="banned"),
]
STATUS = AgentStatus(
    version="1",
    name='she"d\n',
    peer="12D3own",
    steward=False,
    swarm="greenhouse",
    swarm_id="ab" * 32,
    state="paused: heat",
    incarnation=1,
    head_seq=12,
    vouched=VouchedStatus(incarnation=1, seq=9, head_hash="00", peers=["x", "y"]),
    epoch=3,
    members=4,
    following=1,
    peers=PEERS,
    refused={"bad-frame": 2},
    bytes_sent=1000,
    bytes_received=50,
    rounds=7,
    merges=5,
    gate_refusals=1,
    rss_mb=90.5,
    celsius=81.5,
    pauses=[PauseStatus(kind="heat", since=1.0, lasts_s=2.0, why="hot", ends="cool")],
    budgets=BudgetStatus(
        network_mb_left=10, network_mb_per_day=50, flash_mb_left=None, flash_mb_per_day=20
    ),
    history=[
        RoundRecord(
            round=6,
            merged=3,
            committed=True,
            holdout_loss=0.5,
            holdout_accuracy=0.8,
            accuracy=0.875,
            bytes_sent=9,
            seconds=1.0,
        ),
        RoundRecord(
            round=7,
            merged=0,
            committed=False,
            holdout_loss=None,
            accuracy=0.9,
            bytes_sent=9,
            seconds=2.0,
        ),
    ],
)
SCENE = Scene(
    status=STATUS,
    python="3.11.2",
    model="softmax",
    rule="gossamer",
    profile="pi-4",
    view_size=8,
    memory_bytes_max=384_000_000,
    store_failures=2,
    pauses_begun={**dict.fromkeys(map(str, PauseKind), 0), "heat": 3},
    flash_bytes=None,
)


def documented() -> list[tuple[str, str, tuple[str, ...], str]]:
    """(name, type, labels, unit) of each row of the table."""
    rows = re.findall(
        r"^\| `(gossamer_\w+)` \| (\w+) \| ([\w, ]*) \| ([^|]*) \| [^|]+ \|$",
        DOCUMENT.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return [
        (name, kind, tuple(label.strip() for label in labels.split(",") if label.strip()), unit)
        for name, kind, labels, unit in rows
    ]


def values(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sample.labels.values())] = sample.value
    return found


def test_the_table_is_the_catalogue() -> None:
    told = [(name, kind, labels) for name, kind, labels, _ in documented()]
    assert told == [(metric.name, str(metric.kind), metric.labels) for metric in CATALOGUE]


def test_the_text_has_every_name_and_type_even_without_a_value() -> None:
    types = re.findall(r"^# TYPE (\S+) (\S+)$", render(SCENE).decode(), re.MULTILINE)
    assert types == [(name, kind) for name, kind, _, _ in documented()]


def test_labels_are_those_of_the_table() -> None:
    labels = {name: labels for name, _, labels, _ in documented()}
    for family in text_string_to_metric_families(render(SCENE).decode()):
        for sample in family.samples:
            assert sorted(sample.labels) == sorted(labels[sample.name])


@pytest.mark.parametrize(("name", "kind", "unit"), [(n, k, u) for n, k, _, u in documented()])
def test_names_say_unit_and_kind(name: str, kind: str, unit: str) -> None:
    assert name.endswith("_total") == (kind == Kind.COUNTER)
    words = name.removesuffix("_total").split("_")
    if unit:
        assert any(word in UNITS for word in words[-3:])
    else:
        assert not any(word in UNITS for word in words)


def test_values_are_those_of_the_status() -> None:
    found = values(render(SCENE))
    assert found["gossamer_agent_info", (
        'she"d\n', "softmax", "12D3own", "pi-4", "gossamer", "greenhouse"
    )] == 1  # fmt: skip
    assert found["gossamer_network_bytes_total", ("sent",)] == 1000
    assert found["gossamer_resident_memory_bytes", ()] == 90.5e6
    assert found["gossamer_state", ("paused",)] == 1
    assert sum(v for (name, _), v in found.items() if name == "gossamer_state") == 1
    assert found["gossamer_last_merge_replicas", ("gossamer",)] == 0  # it learnt alone
    assert found["gossamer_holdout_loss", ()] == 0.5  # of the last merge
    assert found["gossamer_holdout_accuracy_ratio", ()] == 0.8
    assert found["gossamer_test_accuracy_ratio", ()] == 0.9
    assert found["gossamer_refusals_total", ("bad-frame",)] == 2
    assert [found["gossamer_peers", (s,)] for s in ("admitted", "quarantined", "banned")] == [
        1, 1, 1
    ]  # fmt: skip
    assert found["gossamer_log_vouched_seq", ()] == 9
    assert found["gossamer_log_witnesses", ()] == 2
    assert found["gossamer_paused", ("heat",)] == 1
    assert found["gossamer_paused", ("network",)] == 0
    assert found["gossamer_pauses_total", ("heat",)] == 3
    assert found["gossamer_budget_left_bytes", ("network",)] == 10e6
    assert found["gossamer_budget_bytes_per_day", ("flash",)] == 20e6
    assert found["gossamer_store_failures_total", ()] == 2


def test_what_is_not_known_has_no_sample() -> None:
    found = values(render(SCENE))
    assert ("gossamer_budget_left_bytes", ("flash",)) not in found
    assert ("gossamer_flash_written_bytes_total", ()) not in found


def test_drift_is_told_once_inputs_suffice() -> None:
    drifting = DataStatus(
        training=90,
        held=10,
        reservoir=0,
        rows_max=100,
        taken=0,
        duplicates=0,
        refused=0,
        inputs=300,
        drift=0.75,
        drift_threshold=0.3,
        drifted=2,
        drift_feature="a",
    )
    for drift in (0.75, None):
        data = msgspec.structs.replace(drifting, drift=drift)
        status = msgspec.structs.replace(STATUS, data=data)
        found = values(render(replace(SCENE, status=status)))
        assert found.get(("gossamer_data_drift_index", ())) == drift
        assert found["gossamer_data_drift_threshold", ()] == 0.3
        assert found["gossamer_data_drifted_features", ()] == 2


def test_only_followed_peers_have_a_score() -> None:
    scored = [labels for name, labels in values(render(SCENE)) if name.endswith("reputation_ratio")]
    assert scored == [("12D3a",)]


def test_every_state_has_a_label_and_strange_ones_too() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    for state in STATES.values():
        assert f"`{state}`" in document
    for kind in PauseKind:
        assert f"`{kind}`" in document
    odd = msgspec.structs.replace(STATUS, state="dancing")
    assert values(render(replace(SCENE, status=odd)))["gossamer_state", ("other",)] == 1


def test_the_levels_of_run_are_those_of_the_log() -> None:
    assert {name.upper() for name in LEVELS} == set(Level.__members__)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.slow
def test_promtool_finds_nothing_to_complain_about() -> None:
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"], input=render(SCENE), capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert done.stderr + done.stdout == b""
