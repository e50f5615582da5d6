"""Cancelling, closing and failing at the wrong time."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
import trio

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId, peer_id_text
from gossamer_transport.errors import NetworkError, Unreachable
from gossamer_transport.libp2p import supervisor
from gossamer_transport.libp2p.chunks import frame_offer
from gossamer_transport.libp2p.frames import FrameSender
from gossamer_transport.libp2p.offers import PullQuota
from gossamer_transport.libp2p.pull import Puller
from gossamer_transport.libp2p.switch import GuardedSwarm

pytestmark = pytest.mark.slow


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 60) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)
    gc.collect()


def test_a_dial_that_is_given_up_leaves_no_socket(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(2)
            port = silent.getsockname()[1]
            async with loopback.linked(1) as (alice,):
                who = peer_id_text(loopback.identity(9).peer_id)
                with trio.move_on_after(0.5):
                    await alice.dial(f"/ip4/127.0.0.1/tcp/{port}/p2p/{who}")
                accepted, _ = silent.accept()
                accepted.settimeout(2)
                with accepted:
                    while await trio.to_thread.run_sync(accepted.recv, 1000):
                        pass  # the greeting; then the end

    run(scenario)


def test_closing_does_not_wait_for_a_peer_that_reads_nothing(loopback: SimpleNamespace) -> None:
    async def scenario() -> None:
        members = {loopback.identity(0).peer_id, loopback.identity(1).peer_id}
        gate = Gate()
        async with (
            trio.open_nursery() as nursery,
            loopback.open(loopback.identity(1), members) as bob,
        ):
            address = await nursery.start(gate.serve, bob.addresses()[0])
            async with loopback.open(loopback.identity(0), members) as alice:
                await alice.dial(address)
                await loopback.until(lambda: loopback.hearers(alice))
                await trio.sleep(0.5)
                gate.open = False
                for _ in range(100):
                    await alice.publish(os.urandom(60_000))
                    await alice.send(bob.peer_id, os.urandom(60_000))
                await trio.sleep(3)
                begun_at = trio.current_time()
                await alice.aclose()
                assert trio.current_time() - begun_at < 4
            nursery.cancel_scope.cancel()

    run(scenario)


class Gate:
    """A TCP proxy with small buffers that can stop to read."""

    def __init__(self) -> None:
        self.open = True

    async def serve(self, target: str, task_status: trio.TaskStatus[str]) -> None:
        parts = target.split("/")
        self._port = int(parts[4])
        listener = trio.socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        port = listener.getsockname()[1]
        task_status.started("/".join([*parts[:4], str(port), *parts[5:]]))
        with listener:
            while True:
                client, _ = await listener.accept()
                await self._carry(trio.SocketStream(client))

    async def _carry(self, client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._one_way, client, server, nursery.cancel_scope)
            nursery.start_soon(self._one_way, server, client, nursery.cancel_scope)

    async def _one_way(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await source.receive_some(4096):
                await sink.send_all(data)
                while not self.open:  # noqa: ASYNC110
                    await trio.sleep(0.05)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


def test_sending_while_the_host_goes_down(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent sees a pause, whatever part of the host has ended already."""
    monkeypatch.setattr(supervisor, "RESTART_S", 0.05)

    hang_up = GuardedSwarm.hang_up

    async def fail() -> None:
        raise RuntimeError("a bug of libp2p")

    async def slowly(self: GuardedSwarm) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1.0)
        await hang_up(self)

    async def scenario() -> None:
        async with loopback.linked(2) as (alice, bob):
            monkeypatch.setattr(GuardedSwarm, "hang_up", slowly)
            alice._live.nursery.start_soon(fail)
            unreachable = 0
            while not alice.restarts:
                try:
                    await alice.send(bob.peer_id, b"x")
                except Unreachable:
                    unreachable += 1
                await trio.sleep(0.01)
            assert unreachable > 50

    run(scenario)


def test_the_network_closes_while_a_stream_is_being_opened() -> None:
    """Then opening it raises the error for a closed network, which must not end the process."""
    peer = PeerId(bytes(32))

    async def closed(_: PeerId) -> None:
        raise NetworkError("the network is closed")

    refused: list[Reason] = []
    refuse = lambda _, reason: refused.append(reason)  # noqa: E731

    async def scenario() -> None:
        sender = FrameSender(closed, lambda _: True)  # type: ignore[arg-type]
        puller = Puller(
            PullQuota(10**6),
            closed,  # type: ignore[arg-type]
            lambda *_: None,
            refuse,
            lambda _: False,
        )
        async with trio.open_nursery() as nursery:
            sender.put(nursery, peer, b"frame")
            puller.begin(nursery, peer, frame_offer(bytes(100_000)))
        assert not refused

    run(scenario)
