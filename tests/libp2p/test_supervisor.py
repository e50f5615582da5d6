"""The host fails and is built anew; whoever uses the network notices a pause and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import trio
from libp2p.abc import IHost

from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import Libp2pOptions, open_network, supervisor
from gossamer_transport.limits import Limits
from gossamer_transport.network import Received

pytestmark = pytest.mark.slow


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)


async def fail() -> None:
    raise RuntimeError("a bug of libp2p")


@pytest.mark.parametrize("where", ["ours", "libp2p", "pubsub"])
def test_the_host_is_restarted(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", 0.05)

    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):

            async def answer(peer: bytes, question: bytes) -> bytes:
                return question

            alice.serve("/test/1", answer, request_bytes_max=10)
            await bob.send(alice.peer_id, b"unread when it happens")
            await loopback.until(lambda: len(alice._exchange.inbox))
            before, address, host = (
                alice.known_addresses(bob.peer_id),
                alice.addresses(),
                alice.host,
            )
            received: list[Received] = []

            async def keep_receiving() -> None:
                while True:
                    received.append(await alice.receive())

            async with trio.open_nursery() as nursery:
                match where:
                    case "ours":
                        alice._live.nursery.start_soon(fail)
                    case "libp2p":
                        host.get_network().background_nursery.start_soon(fail)
                    case "pubsub":
                        alice._gossip._pubsub.manager.run_task(fail)
                nursery.start_soon(keep_receiving)
                await loopback.until(lambda: alice.restarts == 1)
                await loopback.until(lambda: alice._live is not None)
                assert alice.addresses() == address
                assert alice.known_addresses(bob.peer_id) == before
                assert alice.host is not host
                await loopback.until(lambda: not bob.peers())
                await bob.dial(address[0])
                await loopback.until(lambda: alice.peers() == (bob.peer_id,))
                await bob.send(alice.peer_id, b"after it")
                said = await bob.request(
                    alice.peer_id, "/test/1", b"hi", response_bytes_max=10, timeout_s=5
                )
                assert said == b"hi"
                for _ in range(20):  # gossip may lose some: whoever publishes does so again
                    await bob.publish(b"published")
                    await trio.sleep(0.25)
                    if received[-1].frame == b"published":
                        break
                nursery.cancel_scope.cancel()
            frames = {item.frame for item in received}
            assert frames == {b"unread when it happens", b"after it", b"published"}

    run(scenario)


def test_services_start_with_every_host(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", 0.05)
    hosts: list[IHost] = []
    ended: list[IHost] = []

    @asynccontextmanager
    async def service(host: IHost) -> AsyncIterator[None]:
        hosts.append(host)
        yield
        ended.append(host)

    async def scenario() -> None:
        async with loopback.open(loopback.identity(0), on_host=[service]) as alice:
            assert hosts == [alice.host]
            alice._live.nursery.start_soon(fail)
            await loopback.until(lambda: len(hosts) == 2)
            await loopback.until(lambda: alice._live is not None)
            assert alice.host is hosts[1]

    run(scenario)
    assert len(hosts) == 2


def test_while_it_restarts(loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", 60.0)

    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):
            alice._live.nursery.start_soon(fail)
            await loopback.until(lambda: alice._live is None)
            assert alice.peers() == alice.links() == ()
            with pytest.raises(Unreachable):
                await alice.send(bob.peer_id, b"x")
            with pytest.raises(Unreachable):
                await alice.dial(bob.addresses()[0])
            await alice.publish(b"x")
            await alice.aclose()
            with pytest.raises(NetworkError, match="closed"):
                await alice.receive()

    run(scenario)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("/ip4/127.0.0.1/tcp/{port}", "address already in use"),
        ("nonsense", "not an address"),
        ("/ip4/192.0.2.1/tcp/0", "cannot assign"),
    ],
)
def test_an_address_that_cannot_be_bound(loopback: SimpleNamespace, listen: str, why: str) -> None:
    async def scenario() -> None:
        async with loopback.open(loopback.identity(0)) as alice:
            port = alice.addresses()[0].split("/")[4]
            options = Libp2pOptions(swarm_id=bytes(32), listen=(listen.format(port=port),))
            with pytest.raises(NetworkError, match=why):
                async with open_network(loopback.identity(1), options, Limits(), ()):
                    raise AssertionError

    run(scenario)


def test_errors_of_the_block_come_out_bare(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            async with loopback.open(loopback.identity(0)):
                raise ZeroDivisionError

    run(scenario)
