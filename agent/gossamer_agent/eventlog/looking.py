"""One look at a running agent, for the event log: reads a few fields, needs no lock."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer_agent.eventlog.changes import Look
from gossamer_agent.node.node import Node
from gossamer_agent.reputation import Standing
from gossamer_agent.runtime import AgentRuntime
from gossamer_crypto.identity import peer_id_text


def look(node: Node, before: Look) -> Look:
    """What `node` is like now; NetworkError while its network closes.

    before: the last look; what cannot be seen while no core runs is taken from there.
    """
    life = node.life
    return Look(
        state=life.state,
        epoch=node.ring.current,
        others=len(node.roster.members) - 1,
        linked=len(node.outside.network.peers()),
        standings=before.standings if life.runtime is None else _standings(node, life.runtime),
        pauses={
            str(pause.kind): f"{pause.why}; goes on {pause.ends}"
            for pause in node.pausing.permissions.reasons
        },
        troubles=tuple(node.troubles()),
        rounds=tuple(life.tally.history),
    )


def _standings(node: Node, runtime: AgentRuntime) -> Mapping[str, Standing]:
    """Of the other members, by their peer id as text."""
    reputation = runtime.core.reputation
    return {
        peer_id_text(peer): Standing.BANNED
        if peer in node.forks.proofs
        else reputation.standing(peer)
        for peer in sorted(node.roster.members)
        if peer != node.device.peer_id
    }
