"""A swarm on a bad network that falls apart for a minute and heals: all heads reach all peers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest
from tests.swarm.conftest import SwarmOf
from tests.swarm.lossy_network import LossyNetwork, lossy_network, why_not

from gossamer_agent.device.config import config_text
from gossamer_agent.device.folder import open_device
from gossamer_agent.node.status import AgentStatus
from gossamer_simulator.swarm_up.local import PROGRAM, LocalSwarm
from gossamer_transport.address_book import AddressBook, Provenance

PEERS = 10
ANNOUNCE_S = 6.0
INTERVALS = 10
CUT_S = 60.0
PORT = 4001

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


def test_all_heads_reach_all_peers_after_a_partition(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(peers=PEERS, rounds=100_000, interval_s=3.0, data="digits", model="softmax")
    with lossy_network(PEERS, seed=1) as network:
        network.latency_s, network.loss = 0.1, 0.02
        move(swarm, network)
        try:
            start(swarm, network)
            wait(lambda: all_linked(swarm), 120.0, "all are linked")
            half = PEERS // 2
            network.partition([range(half), range(half, PEERS)])
            time.sleep(CUT_S)
            assert not all_linked(swarm), "the partition was noticed"
            behind = missing(swarm, heads_of(swarm))
            assert behind, "each half went on without the other"
            heads = heads_of(swarm)
            network.heal()
            healed = time.monotonic()
            wait(lambda: not missing(swarm, heads), INTERVALS * ANNOUNCE_S, "all heads are known")
            print(f"all heads known {time.monotonic() - healed:.0f} s after healing")  # noqa: T201
            assert all(not status.refused.get("fork") for status in statuses(swarm).values())
        finally:
            swarm.children.stop()


def move(swarm: LocalSwarm, network: LossyNetwork) -> None:
    """Give every device an address of the bad network, and the founder's to all others."""
    founder = open_device(swarm.plan.devices[0].folder)
    for host, device in enumerate(swarm.plan.devices):
        opened = open_device(device.folder)
        own = f"/ip4/{network.address(host)}/tcp/{PORT}"
        settings = replace(opened.config.network, listen=(own,), announce_interval_s=ANNOUNCE_S)
        config = replace(opened.config, network=settings)
        (device.folder / "config.toml").write_text(config_text(config), encoding="utf-8")
        book = AddressBook(opened.peer_id)
        if host:
            first = f"/ip4/{network.address(0)}/tcp/{PORT}"
            book.learn(founder.peer_id, first, Provenance.OWN_WORD)
        with closing(opened.open_state()) as state:
            state.replace_lazily("addresses", book.snapshot().items())


def start(swarm: LocalSwarm, network: LossyNetwork) -> None:
    for host, device in enumerate(swarm.plan.devices):
        command = network.command(host, *PROGRAM, "-C", str(device.folder), "run")
        swarm.agents[device.name] = swarm.children.start(device.name, command, device.log)
    swarm.wait_ready(swarm.names)


def statuses(swarm: LocalSwarm) -> dict[str, AgentStatus]:
    """By peer id, of those that answer."""
    found = [swarm.status(name) for name in swarm.names]
    return {status.peer: status for status in found if status is not None}


def all_linked(swarm: LocalSwarm) -> bool:
    known = statuses(swarm).values()
    return len(known) == PEERS and all(status.linked == PEERS - 1 for status in known)


def heads_of(swarm: LocalSwarm) -> dict[str, tuple[int, int]]:
    """Incarnation and seq of every peer's newest entry, as it says itself."""
    return {
        peer: (status.incarnation, -1 if status.head_seq is None else status.head_seq)
        for peer, status in statuses(swarm).items()
    }


def missing(swarm: LocalSwarm, heads: dict[str, tuple[int, int]]) -> list[tuple[str, str]]:
    """Pairs of a peer and another one of which it does not know the head, or a later one."""
    return [
        (observer, other.peer)
        for observer, status in statuses(swarm).items()
        for other in status.peers
        if other.peer in heads and _known(other.incarnation, other.head_seq) < heads[other.peer]
    ]


def _known(incarnation: int | None, seq: int | None) -> tuple[int, int]:
    return (-1 if incarnation is None else incarnation, -1 if seq is None else seq)


def wait(done: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(1.0)
