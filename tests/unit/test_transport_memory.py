from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
import trio
import trio.testing

from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity, PeerId
from gossamer_transport.codec import Codec
from gossamer_transport.delta import Delta, pack_delta, unpack_delta
from gossamer_transport.errors import Unreachable
from gossamer_transport.limits import Limits
from gossamer_transport.memory import MemoryNetwork, MemorySwarm
from gossamer_transport.network import Network, Received
from gossamer_transport.replica import Replica
from gossamer_transport.testing import NetworkConformance
from gossamer_transport.wire import EntryFrame, FollowFrame, pack_frame, unpack_frame

LIMITS = Limits(frame_bytes_max=5000, receive_frames_max=8)
A, B, C = (PeerId(bytes([number]) * 32) for number in (1, 2, 3))


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


def swarm(
    *,
    latency_s: tuple[float, float] = (0.0, 0.0),
    loss: float = 0.0,
    duplicate: float = 0.0,
    seed: int = 0,
) -> MemorySwarm:
    return MemorySwarm(
        np.random.default_rng(seed),
        latency_s=latency_s,
        loss=loss,
        duplicate=duplicate,
        limits=Limits(receive_frames_max=1000),
    )


async def drain(network: Network, quiet_s: float = 100.0) -> list[bytes]:
    frames = []
    while True:
        with trio.move_on_after(quiet_s):
            frames.append((await network.receive()).frame)
            continue
        return frames


@asynccontextmanager
async def joined(memory: MemorySwarm, count: int) -> AsyncIterator[Sequence[MemoryNetwork]]:
    async with AsyncExitStack() as stack:
        # Highest first, so that a network which forgets to sort shows.
        peers = [PeerId(bytes([number]) * 32) for number in range(count, 0, -1)]
        yield [await stack.enter_async_context(memory.join(peer)) for peer in peers]


class TestMemory(NetworkConformance):
    frame_bytes_max = LIMITS.frame_bytes_max
    queue_frames_max = LIMITS.receive_frames_max

    def networks(self, count: int):  # type: ignore[no-untyped-def]
        return joined(MemorySwarm(np.random.default_rng(0), limits=LIMITS), count)


class TestMemoryWithLatency(NetworkConformance):
    frame_bytes_max = LIMITS.frame_bytes_max
    queue_frames_max = LIMITS.receive_frames_max
    settle_s = 10.0
    timeout_s = 1e6

    def networks(self, count: int):  # type: ignore[no-untyped-def]
        memory = MemorySwarm(np.random.default_rng(0), latency_s=(0.01, 0.05), limits=LIMITS)
        return joined(memory, count)


def test_a_frame_takes_its_latency() -> None:
    async def scenario() -> None:
        memory = swarm(latency_s=(2.0, 3.0))
        alice, bob = memory.join(A), memory.join(B)
        for _ in range(20):
            sent_at = trio.current_time()
            await alice.send(B, b"x")
            await bob.receive()
            assert 2.0 <= trio.current_time() - sent_at <= 3.0

    run(scenario)


def test_an_earlier_frame_wakes_a_receiver_that_waits_for_a_later_one() -> None:
    async def scenario() -> None:
        memory = swarm(latency_s=(50.0, 50.0))
        alice, bob = memory.join(A), memory.join(B)
        await alice.send(B, b"slow")
        memory.latency_s = (1.0, 1.0)

        async def later() -> None:
            await trio.sleep(10)
            await alice.send(B, b"fast")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            assert (await bob.receive()).frame == b"fast"
            assert trio.current_time() == pytest.approx(11.0, abs=0.1)
        assert (await bob.receive()).frame == b"slow"

    run(scenario)


def test_random_latency_reorders() -> None:
    async def scenario() -> None:
        memory = swarm(latency_s=(0.0, 5.0))
        alice, bob = memory.join(A), memory.join(B)
        frames = [bytes([number]) for number in range(50)]
        for frame in frames:
            await alice.send(B, frame)
        received = await drain(bob)
        assert received != frames
        assert sorted(received) == frames

    run(scenario)


def test_loss_and_duplication_have_their_rates() -> None:
    async def scenario() -> None:
        memory = swarm(loss=0.25)
        alice, bob = memory.join(A), memory.join(B)
        for _ in range(800):
            await alice.send(B, b"x")
        assert 540 <= len(await drain(bob)) <= 660
        memory.loss, memory.duplicate = 0.0, 0.25
        for _ in range(700):
            await alice.send(B, b"x")
        assert 800 <= len(await drain(bob)) <= 950
        memory.loss = 1.0
        await alice.publish(b"x")
        assert await drain(bob) == []

    run(scenario)


def test_one_seed_gives_one_history() -> None:
    histories: list[list[bytes]] = []

    async def scenario() -> None:
        memory = swarm(latency_s=(0.0, 9.0), loss=0.3, duplicate=0.3, seed=5)
        alice, bob = memory.join(A), memory.join(B)
        for number in range(50):
            await alice.send(B, bytes([number]))
        histories.append(await drain(bob))

    run(scenario)
    run(scenario)
    assert histories[0] == histories[1]


def test_a_full_queue_counts_what_it_drops() -> None:
    async def scenario() -> None:
        memory = MemorySwarm(np.random.default_rng(0), limits=LIMITS)
        alice, bob = memory.join(A), memory.join(B)
        for number in range(20):
            await alice.send(B, bytes([number]))
        assert bob.dropped == 12
        assert await drain(bob) == [bytes([number]) for number in range(12, 20)]

    run(scenario)


def test_the_queue_is_bounded_in_bytes_too() -> None:
    async def scenario() -> None:
        limits = Limits(frame_bytes_max=1000, receive_bytes_max=2500)
        memory = MemorySwarm(np.random.default_rng(0), limits=limits)
        alice, bob = memory.join(A), memory.join(B)
        frames = [bytes([number]) * 1000 for number in range(4)]
        for _ in range(3):
            for frame in frames:
                await alice.send(B, frame)
            assert await drain(bob) == frames[2:]
        assert bob.dropped == 6
        for frame in frames[:2]:
            await alice.send(B, frame)
        await bob.disconnect(A)
        carol = memory.join(C)
        for frame in frames[:2]:
            await carol.send(B, frame)
        assert await drain(bob) == frames[:2]

    run(scenario)


def test_a_partition_cuts_and_heals() -> None:
    async def scenario() -> None:
        memory = swarm()
        alice, bob, carol = (memory.join(peer) for peer in (A, B, C))
        memory.partition([[A, B]])
        assert alice.peers() == (B,)
        assert carol.peers() == ()
        with pytest.raises(Unreachable):
            await carol.send(A, b"x")
        await alice.publish(b"to my side")
        assert await drain(bob) == [b"to my side"]
        assert await drain(carol) == []
        memory.partition([[A], [B, C]])
        assert bob.peers() == (C,)
        memory.heal()
        assert alice.peers() == (B, C)
        await carol.send(A, b"again")
        assert await alice.receive() == Received(C, b"again")

    run(scenario)


def test_a_peer_joins_once_and_again_after_closing() -> None:
    async def scenario() -> None:
        memory = swarm()
        alice, bob = memory.join(A), memory.join(B)
        with pytest.raises(ValueError, match="joined already"):
            memory.join(A)
        await alice.aclose()
        alice = memory.join(A)
        await bob.send(A, b"welcome back")
        assert (await alice.receive()).frame == b"welcome back"

    run(scenario)


def test_a_refused_peer_stays_refused_when_it_comes_back() -> None:
    async def scenario() -> None:
        memory = swarm()
        alice, bob = memory.join(A), memory.join(B)
        await alice.disconnect(B)
        await bob.aclose()
        bob = memory.join(B)
        assert alice.peers() == bob.peers() == ()

    run(scenario)


@pytest.mark.parametrize(
    "faults",
    [{"loss": 1.1}, {"duplicate": -0.1}, {"latency_s": (2.0, 1.0)}, {"latency_s": (-1.0, 1.0)}],
)
def test_impossible_faults(faults: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"latency_s|probabilities"):
        MemorySwarm(np.random.default_rng(0), **faults)  # type: ignore[arg-type]


SIZE, STEPS = 300, 25
SECRET, SWARM = b"\x11" * 32, b"\x22" * 32


@dataclass
class Author:
    """Publishes a delta per second and, asked to, sends again all after some step."""

    network: Network
    log: list[Envelope] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.replica = Replica(np.zeros(SIZE, np.float32), Codec.SIGN1, 100.0)
        salts = iter(range(1000))
        self.writer = FeedWriter(
            Identity.from_seed(bytes(32)),
            SWARM,
            FixedEpoch(SECRET),
            lambda size: next(salts).to_bytes(size, "big"),
        )

    async def publish_all(self, to: PeerId) -> None:
        rng = np.random.default_rng(1)
        for number in range(STEPS):
            params = rng.standard_normal(SIZE, dtype=np.float32)
            delta = self.replica.publish(params, number, rng, rebase=number % 8 == 7)
            self.log.append(self.writer.append(Kind.DELTA, pack_delta(delta)))
            await self.network.send(to, pack_frame(EntryFrame(self.log[-1])))
            await trio.sleep(1)

    async def serve(self) -> None:
        while True:
            received = await self.network.receive()
            frame = unpack_frame(received.frame, Limits())
            assert isinstance(frame, FollowFrame)
            for envelope in self.log[frame.step :]:
                await self.network.send(received.peer, pack_frame(EntryFrame(envelope)))


@dataclass
class Follower:
    """Applies deltas in order, keeps early ones, and asks again every few seconds."""

    network: Network
    waiting: dict[int, Delta] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.replica = Replica(np.zeros(SIZE, np.float32), Codec.SIGN1, 100.0)

    async def follow(self, author: PeerId) -> None:
        while self.replica.step < STEPS:
            await self.network.send(author, pack_frame(FollowFrame(self.replica.step)))
            with trio.move_on_after(3):
                while self.replica.step < STEPS:
                    self.take((await self.network.receive()).frame)

    def take(self, raw: bytes) -> None:
        frame = unpack_frame(raw, Limits())
        assert isinstance(frame, EntryFrame)
        frame.envelope.head.verify()
        delta = unpack_delta(open_envelope(frame.envelope, SECRET), SIZE, Codec.SIGN1)
        if delta.step > self.replica.step:
            self.waiting[delta.step] = delta
        while (step := self.replica.step + 1) in self.waiting:
            self.replica.apply(self.waiting.pop(step))


@pytest.mark.parametrize("seed", range(3))
def test_replicas_stay_bit_equal_under_loss_duplication_and_reorder(seed: int) -> None:
    async def scenario() -> None:
        memory = swarm(latency_s=(0.0, 4.0), loss=0.3, duplicate=0.3, seed=seed)
        author, follower = Author(memory.join(A)), Follower(memory.join(B))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(author.serve)
            nursery.start_soon(author.publish_all, B)
            with trio.fail_after(1000):
                await follower.follow(A)
            nursery.cancel_scope.cancel()
        assert follower.replica.step == author.replica.step == STEPS
        assert follower.replica.hash == author.replica.hash
        assert follower.replica.vector.tobytes() == author.replica.vector.tobytes()

    run(scenario)
