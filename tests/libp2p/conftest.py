"""Networks on 127.0.0.1 for the tests of this folder: real hosts, real sockets, no other host."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from gossamer_crypto.identity import Identity, PeerId
from gossamer_transport.libp2p import Libp2pNetwork, Libp2pOptions, open_network
from gossamer_transport.limits import Limits

SWARM_ID = b"\x5a" * 32
LOOPBACK = ("/ip4/127.0.0.1/tcp/0",)


def identity(number: int) -> Identity:
    return Identity.from_seed(hashlib.sha256(b"libp2p test %d" % number).digest())


@asynccontextmanager
async def one_network(
    who: Identity,
    members: Container[PeerId] = (),
    limits: Limits | None = None,
    *,
    on_host: Sequence[Any] = (),
    **options: Any,
) -> AsyncIterator[Libp2pNetwork]:
    settings = {"swarm_id": SWARM_ID, "listen": LOOPBACK} | options
    async with open_network(
        who, Libp2pOptions(**settings), limits or Limits(), members, on_host=on_host
    ) as network:
        yield network


@asynccontextmanager
async def linked_networks(
    count: int, limits: Limits | None = None, **options: Any
) -> AsyncIterator[list[Libp2pNetwork]]:
    """`count` members, everyone linked to everyone, and hearing each other's topic."""
    identities = [identity(number) for number in range(count)]
    members = {who.peer_id for who in identities}
    async with AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(one_network(who, members, limits, **options))
            for who in identities
        ]
        for number, network in enumerate(networks):
            for other in networks[:number]:
                await network.dial(other.addresses()[0])
        for network in networks:
            await until(lambda network=network: len(network.peers()) == count - 1)
            await until(lambda network=network: len(hearers(network)) == count - 1)
        yield networks


def hearers(network: Libp2pNetwork) -> set[Any]:
    """Those whom a published frame of `network` would reach directly."""
    if network._gossip is None:
        return set()
    pubsub = network._gossip._pubsub
    return set(pubsub.peers) & pubsub.peer_topics.get(network._leash.topic, set())


async def until(condition: Any, timeout_s: float = 10.0) -> None:
    with trio.fail_after(timeout_s):
        while not condition():  # noqa: ASYNC110 - libp2p has no event for most of it
            await trio.sleep(0.02)


@pytest.fixture(scope="session")
def loopback() -> SimpleNamespace:
    """The helpers, as a fixture: with importlib mode a test module cannot import from here."""
    return SimpleNamespace(
        identity=identity,
        open=one_network,
        linked=linked_networks,
        until=until,
        hearers=hearers,
        swarm_id=SWARM_ID,
    )
