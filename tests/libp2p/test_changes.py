"""Peers whose standing or links change while frames are under way."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace

import pytest
import trio

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import Unreachable
from gossamer_transport.libp2p import network, streams, supervisor
from gossamer_transport.limits import Limits

pytestmark = pytest.mark.slow
LIMITS = Limits(frame_bytes_max=4 << 20, receive_bytes_max=16 << 20)


def run(scenario: Callable[[], Awaitable[None]], timeout_s: float = 30) -> None:
    async def bounded() -> None:
        with trio.fail_after(timeout_s):
            await scenario()

    trio.run(bounded)


async def fail() -> None:
    raise RuntimeError("a bug of libp2p")


def test_nothing_more_is_written_to_a_member_who_is_evicted(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            write_now = streams.write_now
            evicted = False
            written_after = 0

            async def slow_write(stream, data):  # type: ignore[no-untyped-def]
                nonlocal written_after
                await trio.sleep(0.05)
                written_after += len(data) * evicted
                await write_now(stream, data)

            monkeypatch.setattr(streams, "write_now", slow_write)
            for _ in range(20):
                await alice.send(bob.peer_id, os.urandom(50_000))
            await alice.send(bob.peer_id, os.urandom(4 << 20))
            await trio.sleep(0.6)
            alice._door.admits = {alice.peer_id}
            evicted = True
            await trio.sleep(1.0)
            assert written_after <= 2 * streams.CHUNK_BYTES

    run(scenario)


def test_a_large_frame_under_way_to_a_member_who_is_evicted(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with loopback.linked(2, LIMITS) as (alice, bob):
            write_now = streams.write_now
            written = 0

            async def write_and_evict(stream, data):  # type: ignore[no-untyped-def]
                nonlocal written
                written += len(data)
                if written > 1_000_000:
                    alice._door.admits = {alice.peer_id}
                await write_now(stream, data)

            monkeypatch.setattr(streams, "write_now", write_and_evict)
            await alice.send(bob.peer_id, os.urandom(4 << 20))
            await trio.sleep(2.0)
            assert 1_000_000 < written < 1_200_000

    run(scenario)


def test_an_evicted_member_is_a_guest_like_others(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no place that a stranger could use when its time is over."""
    monkeypatch.setattr(network, "SWEEP_S", 0.1)

    async def scenario() -> None:
        identities = [loopback.identity(number) for number in range(3)]
        members = {who.peer_id for who in identities[:2]}
        async with (
            loopback.open(identities[0], members, guests_max=1) as alice,
            loopback.open(identities[1], members) as bob,
            loopback.open(identities[2], members) as carol,
        ):
            await bob.dial(alice.addresses()[0])
            await loopback.until(lambda: alice.peers() == (bob.peer_id,))
            members.discard(bob.peer_id)
            await trio.sleep(0.3)
            alice._door.guests._idle_s = 0.1
            await trio.sleep(0.2)
            await carol.dial(alice.addresses()[0])
            await loopback.until(lambda: {ln.peer for ln in alice.links()} == {carol.peer_id})

    run(scenario)


def test_who_is_banned_stays_out_after_a_restart(
    loopback: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_S", 0.05)

    async def scenario() -> None:
        async with loopback.linked(3) as (alice, bob, carol):
            await alice.disconnect(bob.peer_id)
            alice._live.nursery.start_soon(fail)
            await loopback.until(lambda: alice.restarts == 1 and alice._live is not None)
            await loopback.until(lambda: not carol.peers() or alice.peer_id not in carol.peers())
            await carol.dial(alice.addresses()[0])
            with suppress(Unreachable):
                await bob.dial(alice.addresses()[0])
            await loopback.until(lambda: alice.refused[Reason.BANNED])
            await loopback.until(lambda: loopback.hearers(carol))
            await bob.publish(b"by way of carol")
            await carol.publish(b"own")
            assert (await alice.receive()).frame == b"own"
            await trio.sleep(0.5)
            assert not len(alice._exchange.inbox)
            assert alice.peers() == (carol.peer_id,)

    run(scenario)


@pytest.mark.parametrize("cut", ["older", "newer"])
def test_two_that_dial_each_other_at_once(loopback: SimpleNamespace, cut: str) -> None:
    """Whichever of the two links goes, frames and published frames go on."""

    async def scenario() -> None:
        members = {loopback.identity(0).peer_id, loopback.identity(1).peer_id}
        async with (
            loopback.open(loopback.identity(0), members) as alice,
            loopback.open(loopback.identity(1), members) as bob,
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.dial, bob.addresses()[0])
                nursery.start_soon(bob.dial, alice.addresses()[0])
            assert alice.peers() == (bob.peer_id,)
            for who in (alice, bob):
                await loopback.until(lambda who=who: loopback.hearers(who))
            await exchange(alice, bob)
            both = list(alice._live.connections(bob.peer_id))
            if len(both) == 2:
                await alice._live.cut_connection(both[0 if cut == "older" else 1].connection)
                await loopback.until(lambda: len(bob.links()) == 1)
            assert alice.peers() == (bob.peer_id,)
            assert bob.peers() == (alice.peer_id,)
            await trio.sleep(1.0)
            await exchange(alice, bob)

    run(scenario)


async def exchange(alice: network.Libp2pNetwork, bob: network.Libp2pNetwork) -> None:
    for sender, receiver in ((alice, bob), (bob, alice)):
        mark = os.urandom(8)
        await sender.send(receiver.peer_id, b"direct" + mark)
        await sender.publish(b"published" + mark)
        with trio.fail_after(5):
            got = {(await receiver.receive()).frame for _ in range(2)}
        assert got == {b"direct" + mark, b"published" + mark}
