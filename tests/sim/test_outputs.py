"""What `gossamer simulate` prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gossamer_agent.errors import AgentError
from gossamer_simulator import outputs
from gossamer_simulator.results import parse_result
from gossamer_simulator.scenario import Scenario

pytestmark = pytest.mark.slow

Gossamer = Callable[..., Any]

OPTIONS = "--model synthetic --peers 7 --rounds 3 --byzantine 0.3 --attack mix --seed 2"


def simulate(gossamer: Gossamer, *more: str | Path) -> Any:
    ended = gossamer("simulate", *OPTIONS.split(), *more)
    assert ended.code == 0, ended.err
    return ended


def test_json_holds_everything_that_scripts_rely_on(gossamer: Gossamer, tmp_path: Path) -> None:
    simulate(gossamer, "--json", tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert set(result["config"]) == set(Scenario.__dataclass_fields__)
    assert (result["config"]["peers"], result["config"]["seed"]) == (7, 2)
    accuracy = result["accuracy"]
    assert len(accuracy["per_round"]) == 3
    assert accuracy["min"] <= accuracy["mean"] <= accuracy["max"]
    assert accuracy["per_round"][-1] == accuracy["mean"]
    assert result["bytes"]["total"] > 0
    assert result["bytes"]["per_peer_round"] == result["bytes"]["total"] / (5 * 3)
    assert result["messages"] > 0
    assert all(count > 0 for count in result["refused"].values())
    assert {"honest_rate", "byzantine_rate"} <= set(result["quarantine"])
    assert result["ledger"]["verified"] is True
    assert result["ledger"]["entries"] > 0
    assert result["cpu_seconds"] > 0
    assert result["peak_rss_mb"] > 0
    assert len(bytes.fromhex(result["trace_hash"])) == 32
    assert result["baselines"] == {}
    assert parse_result(result).rounds == 3


def test_json_to_the_standard_output_is_all_there_is_on_it(gossamer: Gossamer) -> None:
    ended = simulate(gossamer, "--json", "-")
    assert json.loads(ended.out)["accuracy"]
    assert "round 3/3" in ended.err
    quiet = simulate(gossamer, "--json", "-", "--quiet")
    assert quiet.err == ""
    assert json.loads(quiet.out)["trace_hash"] == json.loads(ended.out)["trace_hash"]


def test_quiet_prints_nothing_and_writes_all_the_same(gossamer: Gossamer, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("r.json", "r.html", "logs")]
    json_file, report, logs = files
    wanted = ("--json", json_file, "--report", report, "--keep-logs", logs)
    ended = simulate(gossamer, "--quiet", "--byzantine", "0.6", "--baselines", *wanted)
    assert (ended.out, ended.err) == ("", "")
    assert all(path.exists() for path in files)
    (warning,) = json.loads(json_file.read_text(encoding="utf-8"))["warnings"]
    assert "no rule can protect" in warning
    assert "no rule can protect" in report.read_text(encoding="utf-8")


def test_progress_tables_and_the_place_of_the_report_are_shown(
    gossamer: Gossamer, tmp_path: Path
) -> None:
    report = tmp_path / "[bold]" / "r.html"  # a path is no markup
    report.parent.mkdir()
    ended = simulate(gossamer, "--report", report)
    for shown in ("round 3/3", "Accuracy", "Quarantine", "per peer and round", "verified"):
        assert shown in ended.out
    assert ended.out.endswith(f"report: {report}\n")
    assert ended.err == ""
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<svg" in page


def test_baselines_are_there_when_asked_for(gossamer: Gossamer) -> None:
    result = json.loads(simulate(gossamer, "--json", "-", "--baselines", "--quiet").out)
    baselines = result["baselines"]
    assert set(baselines) == {"local_only", "local_only_own", "central", "mean_rule"}
    assert len(baselines["mean_rule"]["per_round"]) == 3
    # 240 samples instead of 29: on the convex task that is closer to the target.
    assert baselines["local_only"] < baselines["central"]
    mean = json.loads(simulate(gossamer, "--json", "-", "--rule", "mean", "--quiet").out)
    assert mean["accuracy"]["mean"] == baselines["mean_rule"]["mean"]


def test_the_baseline_of_the_mean_rule_is_the_run_itself_where_that_is_the_rule(
    gossamer: Gossamer,
) -> None:
    ended = simulate(gossamer, "--json", "-", "--baselines", "--rule", "mean", "--quiet")
    assert set(json.loads(ended.out)["baselines"]) == {"local_only", "local_only_own", "central"}


def test_kept_logs_verify_and_can_be_read(gossamer: Gossamer, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    result = json.loads(simulate(gossamer, "--json", "-", "--quiet", "--keep-logs", logs).out)
    peers = result["reputation"]["peers"]
    assert sorted(path.name for path in logs.iterdir()) == [peer["name"] for peer in peers]
    entries = 0
    for peer in peers:
        ended = gossamer("log", "verify", logs / peer["name"])
        assert ended.code == 0
        assert "verified" in ended.out.splitlines()
        shown = gossamer("log", "show", "--json", logs / peer["name"])
        rows = [json.loads(line) for line in shown.out.splitlines()]
        assert [row["seq"] for row in rows] == list(range(len(rows)))
        entries += len(rows)
    assert entries == result["ledger"]["entries"]


def test_a_kept_log_has_the_key_to_read_it_by(gossamer: Gossamer, tmp_path: Path) -> None:
    simulate(gossamer, "--quiet", "--keep-logs", tmp_path)
    place = tmp_path / "peer-00"
    assert (place / "epoch.key").stat().st_mode & 0o777 == 0o600
    shown = gossamer("log", "show", place)
    assert shown.code == 0
    assert "sealed" not in shown.out
    (place / "epoch.key").write_bytes(bytes(32))
    assert "sealed" in gossamer("log", "show", place).out


def test_logs_that_are_there_already_are_kept(gossamer: Gossamer, tmp_path: Path) -> None:
    simulate(gossamer, "--quiet", "--keep-logs", tmp_path)
    before = (tmp_path / "peer-00" / "feed.sqlite3").read_bytes()
    again = gossamer("simulate", *OPTIONS.split(), "--keep-logs", tmp_path)
    assert again.code == 7
    assert "holds logs already" in again.err
    assert (tmp_path / "peer-00" / "feed.sqlite3").read_bytes() == before


def test_a_report_that_cannot_be_made_does_not_cost_the_result(
    gossamer: Gossamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(result: object, path: Path) -> None:
        raise AgentError("the report needs matplotlib")

    monkeypatch.setattr(outputs, "write_report", fail)
    wanted = ("--json", tmp_path / "r.json", "--report", tmp_path / "r.html")
    ended = gossamer("simulate", *OPTIONS.split(), *wanted)
    assert ended.code == 1
    assert "Accuracy" in ended.out
    assert ended.err == "gossamer: the report needs matplotlib\n"
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["accuracy"]
