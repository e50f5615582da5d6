"""What each metric of the catalogue is for one agent, from its status document. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from gossamer_agent.metrics.catalogue import CATALOGUE
from gossamer_agent.node.status import AgentStatus
from gossamer_agent.reputation import Standing

Sample: TypeAlias = tuple[tuple[str, ...], float]
"""(values of the labels, value)."""

STATES: Final = {
    "starting": "starting",
    "asking": "asking",
    "waiting": "waiting-for-key",
    "learning": "learning",
    "paused": "paused",
    "serving": "serving",
    "store": "store-failed",
    "stopped": "stopped",
    "removed": "removed",
}
"""By the first word of the status' state -> the label; what is not here is "other"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Beside the status: what an agent is and counts that the status does not tell.

    pauses_begun: by kind, with all kinds. flash_bytes: None where the device does not count them.
    """

    status: AgentStatus
    python: str
    model: str
    rule: str
    profile: str
    view_size: int
    memory_bytes_max: int
    store_failures: int
    pauses_begun: Mapping[str, int]
    flash_bytes: int | None


def samples(scene: Scene) -> dict[str, list[Sample]]:
    """Every metric of the catalogue -> its samples; none where the value is not known."""
    found: dict[str, list[Sample]] = {metric.name: [] for metric in CATALOGUE}
    for part in (_agent, _learning, _data, _network, _swarm, _log, _means):
        for name, labels, value in part(scene):
            if value is not None:
                found[name].append((labels, float(value)))
    return found


_Told: TypeAlias = Iterator[tuple[str, tuple[str, ...], float | None]]
_Part: TypeAlias = Callable[[Scene], _Told]


def _agent(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_build_info", (status.version, scene.python), 1
    told = (status.name, status.peer, status.swarm, scene.model, scene.rule, scene.profile)
    yield "gossamer_agent_info", told, 1
    words = status.state.replace(":", " ").split()
    now = STATES.get(words[0] if words else "", "other")
    for state in (*STATES.values(), "other"):
        yield "gossamer_state", (state,), state == now
    yield "gossamer_uptime_seconds", (), status.uptime_s
    yield "gossamer_resident_memory_bytes", (), status.rss_mb * 1e6
    yield "gossamer_memory_max_bytes", (), scene.memory_bytes_max
    yield "gossamer_cpu_seconds_total", (), status.cpu_seconds
    yield "gossamer_troubles", (), len(status.troubles)
    yield "gossamer_store_failures_total", (), scene.store_failures


def _learning(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_round", (), status.round
    yield "gossamer_rounds_total", (), status.rounds
    yield "gossamer_merges_total", (), status.merges
    yield "gossamer_merges_refused_total", (), status.gate_refusals
    if not status.history:
        return
    last = status.history[-1]
    yield "gossamer_last_merge_replicas", (scene.rule,), last.merged
    yield "gossamer_test_accuracy_ratio", (), last.accuracy
    for record in reversed(status.history):
        if record.holdout_loss is not None:
            yield "gossamer_holdout_loss", (), record.holdout_loss
            yield "gossamer_holdout_accuracy_ratio", (), record.holdout_accuracy
            return


def _data(scene: Scene) -> _Told:
    data = scene.status.data
    if data is None:
        return
    yield "gossamer_data_samples", ("training",), data.training
    yield "gossamer_data_samples", ("held-out",), data.held
    yield "gossamer_data_taken_total", (), data.taken
    yield "gossamer_data_refused_total", (), data.refused
    yield "gossamer_data_drift_index", (), data.drift
    yield "gossamer_data_drift_threshold", (), data.drift_threshold
    yield "gossamer_data_drifted_features", (), data.drifted


def _network(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_network_bytes_total", ("sent",), status.bytes_sent
    yield "gossamer_network_bytes_total", ("received",), status.bytes_received
    yield "gossamer_network_frames_sent_total", (), status.frames_sent
    yield "gossamer_data_sent_bytes_total", (), status.data_bytes_sent
    yield "gossamer_network_restarts_total", (), status.restarts
    yield "gossamer_links", (), status.linked
    for reason, count in status.refused.items():
        yield "gossamer_refusals_total", (reason,), count


def _swarm(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_members", (), status.members
    yield "gossamer_epoch", (), status.epoch
    yield "gossamer_roster_entries", (), status.roster_entries
    yield "gossamer_roster_forked", (), status.roster_forked
    yield "gossamer_view_peers", (), status.following
    yield "gossamer_view_peers_max", (), scene.view_size
    yield "gossamer_followers", (), status.followers
    standings = Counter(str(peer.standing) for peer in status.peers)
    for standing in Standing:
        yield "gossamer_peers", (str(standing),), standings[str(standing)]
    # Of those that are followed alone: a label with every member would grow with the swarm.
    followed = [peer for peer in status.peers if peer.followed][: scene.view_size]
    for peer in followed:
        yield "gossamer_peer_reputation_ratio", (peer.peer,), peer.reputation


def _log(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_log_incarnation", (), status.incarnation
    yield "gossamer_log_seq", (), status.head_seq
    yield "gossamer_log_witnesses", (), 0 if status.vouched is None else len(status.vouched.peers)
    if status.vouched is not None and status.vouched.incarnation == status.incarnation:
        yield "gossamer_log_vouched_seq", (), status.vouched.seq


def _means(scene: Scene) -> _Told:
    status = scene.status
    yield "gossamer_temperature_celsius", (), status.celsius
    paused = {pause.kind for pause in status.pauses}
    for kind, begun in scene.pauses_begun.items():
        yield "gossamer_paused", (kind,), kind in paused
        yield "gossamer_pauses_total", (kind,), begun
    yield "gossamer_flash_written_bytes_total", (), scene.flash_bytes
    budgets = status.budgets
    if budgets is None:
        return
    left, per_day = "gossamer_budget_left_bytes", "gossamer_budget_bytes_per_day"
    flash_left = budgets.flash_mb_left
    yield left, ("network",), budgets.network_mb_left * 1e6
    yield left, ("flash",), None if flash_left is None else flash_left * 1e6
    yield per_day, ("network",), budgets.network_mb_per_day * 1e6
    yield per_day, ("flash",), budgets.flash_mb_per_day * 1e6
