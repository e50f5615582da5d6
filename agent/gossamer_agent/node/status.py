"""The status document: what a running agent tells about itself, as JSON.

Peers are named by their libp2p text, hashes and ids by hex, times by seconds. Fields are added,
never renamed: other programs read this.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gossamer_agent.data.status import DataStatus
from gossamer_agent.tally import RoundRecord
from gossamer_crypto.checkpoint import SignedCheckpoint
from gossamer_crypto.identity import peer_id_text

FORMAT: Final = 1


class PeerStatus(msgspec.Struct, kw_only=True):
    """What we know of one other member, first hand.

    standing: "admitted", "quarantined" or "banned"; ban: the reason for a ban, in words; step: of
    our replica of it while that may vote; incarnation, head_seq, head_hash: of the newest entry of
    it that we heard of; failure: why the last dial failed; note: what it told us that keeps us
    apart, such as another genesis or a clock that differs.
    """

    peer: str
    linked: bool = False
    followed: bool = False
    follows_us: bool = False
    standing: str = "admitted"
    reputation: float | None = None
    address: str | None = None
    addresses: list[str] = []
    round_trip_ms: float | None = None
    step: int | None = None
    incarnation: int | None = None
    head_seq: int | None = None
    head_hash: str | None = None
    failure: str | None = None
    note: str | None = None
    ban: str | None = None


class VouchedStatus(msgspec.Struct, kw_only=True):
    """The newest own checkpoint that others cosigned, and who did. seq: of its last entry."""

    incarnation: int
    seq: int
    head_hash: str
    peers: list[str]


class PauseStatus(msgspec.Struct, kw_only=True):
    """One reason why the agent rests. kind: "heat", "memory", "battery", "mains", "hours", "busy",
    "network" or "flash"; since: seconds since 1970; why, ends: in words.
    """

    kind: str
    since: float
    lasts_s: float
    why: str
    ends: str


class BudgetStatus(msgspec.Struct, kw_only=True):
    """What is left of a day's budgets, in 10^6 bytes. flash_mb_left: None where the device does not
    tell what is written; flash_mb_written: since the start of the agent.
    """

    network_mb_left: float
    network_mb_per_day: float
    flash_mb_left: float | None
    flash_mb_per_day: float
    flash_mb_written: float | None = None


def vouched_status(signed: SignedCheckpoint | None) -> VouchedStatus | None:
    """What the status says of a cosigned checkpoint."""
    if signed is None:
        return None
    return VouchedStatus(
        incarnation=signed.checkpoint.incarnation,
        seq=signed.checkpoint.seq,
        head_hash=signed.checkpoint.root.hex(),
        peers=[peer_id_text(witness) for witness in signed.witnesses],
    )


class AgentStatus(msgspec.Struct, kw_only=True):
    """One agent. running: False when only its folder was read.

    state: "starting", "asking neighbours ...", "learning", "paused: heat, ...", "serving: ...",
    "removed", "store failed: ...". pauses: why it rests now; budgets: what is left of them.
    refused: bytes of peers that were refused, by reason, of all layers. bytes_*, frames_*: of the
    network, since the start. data_bytes_sent: frames of entries and follow requests alone. merges,
    gate_refusals, rounds: of this process. troubles: what does not stop the agent but should be
    looked at. forked: what was proved against this identity, and what of it is in the log here,
    where the agent stopped for that.
    """

    format: int = FORMAT
    running: bool = True
    version: str
    name: str
    peer: str
    steward: bool
    swarm: str
    swarm_id: str
    state: str
    pid: int | None = None
    uptime_s: float = 0.0
    round: int = 0
    epoch: int = 0
    incarnation: int = 0
    head_seq: int | None = None
    head_hash: str | None = None
    vouched: VouchedStatus | None = None
    members: int = 0
    roster_entries: int = 0
    roster_forked: bool = False
    linked: int = 0
    following: int = 0
    followers: int = 0
    addresses: list[str] = []
    peers: list[PeerStatus] = []
    refused: dict[str, int] = {}
    bytes_sent: int = 0
    bytes_received: int = 0
    frames_sent: int = 0
    data_bytes_sent: int = 0
    data_frames_sent: int = 0
    rounds: int = 0
    merges: int = 0
    gate_refusals: int = 0
    forked: str | None = None
    history: list[RoundRecord] = []
    restarts: int = 0
    cpu_seconds: float = 0.0
    rss_mb: float = 0.0
    pauses: list[PauseStatus] = []
    budgets: BudgetStatus | None = None
    celsius: float | None = None
    data: DataStatus | None = None
    troubles: list[str] = []


def pack_status(status: AgentStatus) -> bytes:
    """The document as JSON, one line."""
    return msgspec.json.encode(status)


def parse_status(raw: bytes) -> AgentStatus:
    """The inverse; msgspec.DecodeError for anything else."""
    return msgspec.json.decode(raw, type=AgentStatus)
