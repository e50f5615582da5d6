"""The result of a swarm of real agents, as the JSON object that `gossamer simulate` writes.

Same fields, same meaning (gossamer_simulator.results), but for the trace hash, which only virtual
time can have. Bytes and messages are those of the whole network, announcements included. An agent
that ended early counts with what it had reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from gossamer_agent.errors import AgentError
from gossamer_agent.node.status import AgentStatus
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.feeds import feed_path, incarnations
from gossamer_crypto.feed import ChainReport, verify_chain
from gossamer_simulator.swarm_up.plan import Plan
from gossamer_simulator.swarm_up.processes import Usage
from gossamer_simulator.swarm_up.watch import QUARANTINED, Watch, by


def outcome(
    plan: Plan, watch: Watch, swarm_id: bytes, usage: Usage, warnings: Iterable[str]
) -> dict[str, Any]:
    """The JSON object. The agents have ended: their feeds are read. usage: of their processes.

    Raises AgentError if no agent ever told an accuracy.
    """
    scenario, statuses = plan.scenario, watch.newest()
    rounds = range(1, scenario.rounds + 1)
    by_round = [watch.accuracies(round_) for round_ in rounds]
    last = by_round[-1]
    if not last:
        raise AgentError("no agent ended a round; look at the logs with --keep DIR")
    total = sum(status.bytes_sent for status in statuses)
    return {
        "config": {**asdict(scenario), "interval": plan.interval_s},
        "accuracy": {
            "mean": fmean(last),
            "min": min(last),
            "max": max(last),
            "per_round": [fmean(values) if values else None for values in by_round],
            "per_round_min": [min(values, default=None) for values in by_round],
            "per_round_max": [max(values, default=None) for values in by_round],
            "per_peer_last": last,
        },
        "own_data": None,
        "baselines": {},
        "bytes": {
            "per_peer_round": total / (scenario.peers * scenario.rounds),
            "total": total,
            "per_round": _bytes_by_round(watch, scenario.rounds, total),
        },
        "messages": sum(status.frames_sent for status in statuses),
        "refused": watch.refused(),
        "gate": {
            "merges": sum(status.merges for status in statuses),
            "refused": sum(status.gate_refusals for status in statuses),
        },
        "quarantine": _quarantine(statuses),
        "backdoor": {"success_rate": None},
        "victim": None,
        "rested": {},
        "reputation": _reputation(watch, rounds),
        "ledger": _ledger([device.folder for device in plan.devices], swarm_id),
        "cpu_seconds": usage.cpu_seconds,
        "peak_rss_mb": usage.peak_rss_mb,
        "warnings": [*plan.setup.warnings, *warnings],
    }


def check_feeds(folder: Path, swarm_id: bytes) -> list[ChainReport]:
    """Verify every incarnation of the feed in a device's folder. Raises StoreError."""
    reports = []
    for incarnation in incarnations(folder):
        with closing(FeedArchive(feed_path(folder, incarnation))) as archive:
            reports.append(verify_chain(archive.entries(), swarm_id))
    return reports


def _ledger(folders: Sequence[Path], swarm_id: bytes) -> dict[str, Any]:
    reports = [report for folder in folders for report in check_feeds(folder, swarm_id)]
    return {
        "entries": sum(report.entries for report in reports),
        "verified": all(report.ok for report in reports),
    }


def _bytes_by_round(watch: Watch, rounds: int, total: int) -> list[int]:
    """What all sent in each round; the last one takes in what came after it."""
    sums = [
        sum(by(course.bytes_sent, round_) or 0 for course in watch.courses.values())
        for round_ in range(rounds)
    ]
    return [
        after - before for before, after in zip([0, *sums[1:]], [*sums[1:], total], strict=True)
    ]


def _quarantine(statuses: Iterable[AgentStatus]) -> dict[str, Any]:
    """Everybody here is honest, so every quarantine is a wrong one."""
    judged = [
        peer.standing == QUARANTINED
        for status in statuses
        for peer in status.peers
        if peer.reputation is not None
    ]
    rate = sum(judged) / len(judged) if judged else 0.0
    per_round: dict[str, list[float]] = {"honest_rate": [], "byzantine_rate": []}  # not watched
    return {"honest_rate": rate, "byzantine_rate": 0.0, "by_attack": {}, "per_round": per_round}


def _reputation(watch: Watch, rounds: Iterable[int]) -> dict[str, Any]:
    courses = list(watch.courses.values())
    peers = [None if course.newest is None else course.newest.peer for course in courses]
    table = []
    for round_ in rounds:
        seen = [by(course.reputation, round_) or {} for course in courses]
        scores = [[scores[peer] for scores in seen if peer in scores] for peer in peers if peer]
        table.append([fmean(row) if row else None for row in scores])
    names = [course.name for course, peer in zip(courses, peers, strict=True) if peer]
    return {"peers": [{"name": name, "attack": None} for name in names], "per_round": table}
