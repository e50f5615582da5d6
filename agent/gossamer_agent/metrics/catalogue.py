"""All metrics of an agent: name, type, labels, meaning. Names never change; more may come.

Names end in the base unit (https://prometheus.io/docs/practices/naming/): seconds, bytes, celsius,
and `_ratio` for 0 to 1; counters end in `_total` and begin at 0 when the agent starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. name: as a scraper sees it, `_total` included."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


_G, _C = Kind.GAUGE, Kind.COUNTER

CATALOGUE: Final[tuple[Metric, ...]] = (
    # The agent
    Metric("gossamer_build_info", _G, "Always 1; what runs.", ("version", "python")),
    Metric(
        "gossamer_agent_info",
        _G,
        "Always 1; which agent this is and how it learns.",
        ("device", "peer", "swarm", "model", "rule", "profile"),
    ),
    Metric("gossamer_state", _G, "1 for the state that the agent is in, 0 for others.", ("state",)),
    Metric("gossamer_uptime_seconds", _G, "Since the agent started."),
    Metric("gossamer_resident_memory_bytes", _G, "Memory of the process that is in RAM."),
    Metric("gossamer_memory_max_bytes", _G, "What the profile allows."),
    Metric("gossamer_cpu_seconds_total", _C, "CPU time of the process, of all threads."),
    Metric("gossamer_troubles", _G, "What should be looked at: `gossamer status` has the words."),
    Metric("gossamer_store_failures_total", _C, "How often the store of the log failed."),
    # Learning
    Metric("gossamer_round", _G, "The own round; it counts on over restarts."),
    Metric("gossamer_rounds_total", _C, "Rounds that ended."),
    Metric("gossamer_merges_total", _C, "Rounds in which replicas were merged."),
    Metric("gossamer_merges_refused_total", _C, "Merges that the gate did not take."),
    Metric(
        "gossamer_last_merge_replicas",
        _G,
        "Replicas in the merge of the last round, the own one included; 0: it learnt alone.",
        ("rule",),
    ),
    Metric(
        "gossamer_holdout_loss",
        _G,
        "Loss on the hold-out data at the last merge: nats, or a regression's mean squared error.",
    ),
    Metric(
        "gossamer_holdout_accuracy_ratio", _G, "Accuracy on the hold-out data at the last merge."
    ),
    Metric("gossamer_test_accuracy_ratio", _G, "Accuracy on the test data after the last round."),
    Metric("gossamer_data_samples", _G, "Samples of the device, by use.", ("use",)),
    Metric("gossamer_data_taken_total", _C, "Samples that arrived while the agent ran."),
    Metric("gossamer_data_refused_total", _C, "Samples that arrived and could not be used."),
    Metric(
        "gossamer_data_drift_index",
        _G,
        "Population stability index of the feature that drifted most, once inputs suffice.",
    ),
    Metric("gossamer_data_drift_threshold", _G, "What it is compared with."),
    Metric("gossamer_data_drifted_features", _G, "Features whose index is above it."),
    # Network
    Metric("gossamer_network_bytes_total", _C, "Bytes on the network.", ("direction",)),
    Metric("gossamer_network_frames_sent_total", _C, "Frames that links took."),
    Metric("gossamer_data_sent_bytes_total", _C, "Of it frames of entries and follow requests."),
    Metric("gossamer_network_restarts_total", _C, "How often the network was opened again."),
    Metric("gossamer_links", _G, "Members that are linked now."),
    Metric("gossamer_refusals_total", _C, "Refused bytes of others, by reason.", ("reason",)),
    # Swarm
    Metric("gossamer_members", _G, "Members of the swarm, this device included."),
    Metric("gossamer_epoch", _G, "The epoch whose key is used."),
    Metric("gossamer_roster_entries", _G, "Entries of the roster that are known here."),
    Metric("gossamer_roster_forked", _G, "1 if a steward signed two different rosters."),
    Metric("gossamer_view_peers", _G, "Peers that are followed now."),
    Metric("gossamer_view_peers_max", _G, "Peers that are followed at most."),
    Metric("gossamer_followers", _G, "Peers that follow this device."),
    Metric("gossamer_peers", _G, "Other members, by standing.", ("standing",)),
    Metric("gossamer_peer_reputation_ratio", _G, "Score of each peer that is followed.", ("peer",)),
    # The own log
    Metric("gossamer_log_incarnation", _G, "Incarnation of the own log."),
    Metric("gossamer_log_seq", _G, "Number of its newest entry."),
    Metric("gossamer_log_vouched_seq", _G, "Newest entry that others cosigned."),
    Metric("gossamer_log_witnesses", _G, "How many cosigned it."),
    # Means of the device
    Metric("gossamer_temperature_celsius", _G, "The hottest sensor."),
    Metric("gossamer_paused", _G, "1 while the agent rests for this, 0 otherwise.", ("kind",)),
    Metric("gossamer_pauses_total", _C, "How often a pause of this kind began.", ("kind",)),
    Metric("gossamer_budget_left_bytes", _G, "What is left of the day's budget.", ("budget",)),
    Metric("gossamer_budget_bytes_per_day", _G, "The day's budget.", ("budget",)),
    Metric("gossamer_flash_written_bytes_total", _C, "What the process wrote to storage."),
)
