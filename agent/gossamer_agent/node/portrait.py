"""Draws the status document of a running agent: reads only. The core must be at rest."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from gossamer_agent.forks import told_of
from gossamer_agent.node.doctor import Observations
from gossamer_agent.node.life import LEARNING
from gossamer_agent.node.outside import Link
from gossamer_agent.node.status import (
    AgentStatus,
    BudgetStatus,
    PauseStatus,
    PeerStatus,
    vouched_status,
)
from gossamer_agent.reputation import Standing
from gossamer_agent.version import program_version
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId, peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.node.node import Node
    from gossamer_agent.round import AgentCore


def portray(node: Node) -> AgentStatus:
    """All that a user may want to know of the agent, now."""
    device, life, network = node.device, node.life, node.outside.network
    tally, head = life.tally, life.head()
    core = None if life.runtime is None else life.runtime.core
    others = sorted(peer for peer in node.roster.members if peer != device.peer_id)
    links = {link.peer: link for link in network.links()}
    peers = [_peer(node, core, peer, links.get(peer)) for peer in others]
    refused = Counter[str]()
    joins = Counter[Reason]() if node.stewardship is None else node.stewardship.refused
    for counted in (
        tally.refused,
        node.control.refused,
        node.vouching.refused,
        network.refused,
        joins,
    ):
        refused.update({str(reason): count for reason, count in counted.items()})
    return AgentStatus(
        version=program_version(),
        name=device.config.device.name,
        peer=peer_id_text(device.peer_id),
        steward=device.is_steward,
        swarm=device.genesis.name,
        swarm_id=device.genesis.swarm_id.hex(),
        state=state_of(node),
        pid=os.getpid(),
        uptime_s=trio.current_time() - node.begun_s,
        round=0 if core is None else core.round,
        epoch=node.ring.current,
        incarnation=life.incarnation,
        head_seq=None if head is None else head.header.seq,
        head_hash=None if head is None else head.entry_hash.hex(),
        vouched=vouched_status(node.vouching.vouched),
        members=len(node.roster.members),
        roster_entries=len(node.roster),
        roster_forked=node.roster.forked,
        linked=sum(peer.linked for peer in peers),
        following=sum(peer.followed for peer in peers),
        followers=sum(peer.follows_us for peer in peers),
        addresses=list(node.outside.addresses()),
        peers=peers,
        refused=dict(sorted(refused.items())),
        bytes_sent=network.bytes_sent,
        bytes_received=network.bytes_received,
        frames_sent=network.frames_sent,
        data_bytes_sent=tally.bytes_sent,
        data_frames_sent=tally.frames_sent,
        rounds=tally.rounds,
        merges=tally.merges,
        gate_refusals=tally.gate_refusals,
        history=list(tally.history),
        restarts=network.restarts,
        cpu_seconds=time.process_time(),
        rss_mb=_rss_mb(),
        pauses=_pauses(node),
        budgets=_budgets(node),
        celsius=node.pausing.readings.celsius,
        data=node.means.intake.report(),
        troubles=[*node.troubles()],
    )


def state_of(node: Node) -> str:
    """What life says, unless it learns and the device shall rest."""
    state, reasons = node.life.state, node.pausing.permissions.reasons
    if state == LEARNING and reasons:
        return f"paused: {', '.join(pause.kind for pause in reasons)}"
    return state


def _pauses(node: Node) -> list[PauseStatus]:
    monotonic, wall = trio.current_time(), time.time()
    return [
        PauseStatus(
            kind=pause.kind,
            since=wall - (monotonic - pause.since_s),
            lasts_s=monotonic - pause.since_s,
            why=pause.why,
            ends=pause.ends,
        )
        for pause in node.pausing.permissions.reasons
    ]


def _budgets(node: Node) -> BudgetStatus:
    left, written = node.pausing.governor.left(), node.pausing.readings.flash_bytes
    return BudgetStatus(
        network_mb_left=left.network_bytes / 1e6,
        network_mb_per_day=left.network_bytes_per_day / 1e6,
        flash_mb_left=left.flash_bytes / 1e6 if left.flash_counted else None,
        flash_mb_per_day=left.flash_bytes_per_day / 1e6,
        flash_mb_written=None if written is None else written / 1e6,
    )


def observe(node: Node) -> Observations:
    """What `gossamer doctor` judges by, from the agent's own knowledge."""
    return Observations(
        status=portray(node),
        listen=list(node.device.config.network.listen),
        advertise=list(node.device.config.network.advertise),
        roster_epoch=node.roster.epoch,
        relay_failures=dict(node.outside.relay_failures()),
    )


def _peer(node: Node, core: AgentCore | None, peer: PeerId, link: Link | None) -> PeerStatus:
    status = PeerStatus(
        peer=peer_id_text(peer),
        linked=link is not None,
        addresses=list(node.outside.network.known_addresses(peer)),
        failure=node.outside.failures().get(peer) if link is None else None,
        note="; ".join(node.control.membership.notes(peer)) or None,
    )
    if link is not None:
        status.address = link.address
        if link.round_trip_s is not None:
            status.round_trip_ms = 1e3 * link.round_trip_s
    head = node.heads.newest(peer)
    if head is not None:
        status.incarnation, status.head_seq = head.header.incarnation, head.header.seq
        status.head_hash = head.entry_hash.hex()
    proof = node.forks.proofs.get(peer)
    if proof is not None:
        status.standing, status.ban = Standing.BANNED, told_of(proof)
    if core is not None:
        if proof is None:
            status.standing = core.reputation.standing(peer)
        if peer in core.reputation:
            status.reputation = core.reputation.score(peer)
        status.follows_us = peer in core.publisher.followers
        status.followed = peer in core.following.peers
        replica = dict(core.following.replicas(core.round)).get(peer)
        status.step = None if replica is None else replica.step
    return status


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
