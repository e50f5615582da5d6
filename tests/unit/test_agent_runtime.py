"""Agents on trio: real threads and stores, a network in memory, and a clock that tests push."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gossamer_agent.contract import Contract
from gossamer_agent.errors import StoreError
from gossamer_agent.events import Evaluate, EvaluateDone, Merge, MergeDone, Train, TrainDone
from gossamer_agent.gate import one_sidedness
from gossamer_agent.learner import DivergedError, Learner, Samples, Trained, Training, Vector
from gossamer_agent.learning import LocalLearning
from gossamer_agent.merge.result import MergeInput
from gossamer_agent.models import load_learner
from gossamer_agent.policy import Policy
from gossamer_agent.resume import resume
from gossamer_agent.round import AgentCore, Swarm
from gossamer_agent.runtime import AgentRuntime
from gossamer_agent.store import DamagedStoreError, FeedStore
from gossamer_agent.store.memory import MemoryStore
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.synthetic import SyntheticLearner, make_samples, target
from gossamer_crypto.envelope import Envelope, Head, Kind, open_envelope
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.errors import Reason
from gossamer_crypto.feed import FeedWriter, verify_chain
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_simulator.datasets import load_dataset
from gossamer_transport.delta import unpack_delta
from gossamer_transport.errors import NetworkError
from gossamer_transport.limits import Limits
from gossamer_transport.memory import MemoryNetwork, MemorySwarm
from gossamer_transport.network import Network, Received
from gossamer_transport.wire import EntryFrame, FollowFrame, pack_frame, unpack_frame

INTERVAL_S = 60.0
PARAMETERS = 256
SECRET = bytes(range(32))
IDENTITIES = [Identity.from_seed(bytes([number]) * 32) for number in range(1, 9)]
PEERS = [identity.peer_id for identity in IDENTITIES]
NAMES = {peer: number for number, peer in enumerate(PEERS)}
STEPS = Training(steps=4, batch=4)
SYNTHETIC = SyntheticLearner(PARAMETERS)


def stream(*names: int) -> np.random.Generator:
    return np.random.default_rng(names)


def sightings(number: int) -> tuple[Samples, Samples]:
    """Too few training samples to find the target alone, and hold-out samples."""
    chance = stream(number, 0)
    return make_samples(PARAMETERS, 4, chance), make_samples(PARAMETERS, 16, chance)


class World:
    """A swarm, its network, and agents that a test starts and stops."""

    def __init__(
        self,
        learner: Learner = SYNTHETIC,
        *,
        interval_s: float = INTERVAL_S,
        loss: float = 0.0,
        duplicate: float = 0.0,
        latency_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.learner = learner
        self.interval_s = interval_s
        policy = Policy()
        genesis = Genesis(
            name="test",
            stewards=(PEERS[0],),
            contract=learner.contract.digest(),
            model_sha256=learner.model_sha256,
            policy=policy.pack(),
            nonce=bytes(32),
        )
        self.genesis = genesis.pack()
        self.swarm = Swarm(
            swarm_id=genesis.swarm_id,
            contract=learner.contract,
            policy=policy,
            initial=learner.init(),
            epochs=FixedEpoch(SECRET),
            members=frozenset(PEERS),
            limits=Limits.for_model(learner.contract.parameters),
        )
        self.links = MemorySwarm(
            stream(1),
            loss=loss,
            duplicate=duplicate,
            latency_s=latency_s,
            limits=self.swarm.limits,
        )
        self.stores: dict[int, FeedStore] = {}
        self.agents: dict[int, AgentRuntime] = {}

    def core(self, number: int, head: Head | None = None, life: int = 0) -> AgentCore:
        chance = stream(number, life)
        writer = FeedWriter(
            IDENTITIES[number], self.swarm.swarm_id, self.swarm.epochs, chance.bytes, head=head
        )
        return AgentCore(peer_id=PEERS[number], swarm=self.swarm, feed=writer, rng=chance)

    def agent(
        self,
        number: int,
        *,
        store: FeedStore | None = None,
        network: Network | None = None,
        learner: Learner | None = None,
        data: tuple[Samples, Samples] | None = None,
        life: int = 0,
    ) -> AgentRuntime:
        """The agent of a peer; with a store that holds entries it continues where they end."""
        kept = MemoryStore() if store is None else store
        core = self.core(number, kept.head(), life)
        resume(core, self.swarm, kept.entries())
        training, holdout = data or sightings(number)
        learning = LocalLearning(
            learner=learner or self.learner,
            training=training,
            holdout=holdout,
            settings=STEPS,
            rng=stream(number, life, 1),
        )
        self.stores[number] = kept
        self.agents[number] = AgentRuntime(
            core=core,
            store=kept,
            network=network or self.links.join(PEERS[number]),
            learning=learning,
            genesis=self.genesis,
            round_interval_s=self.interval_s,
        )
        return self.agents[number]

    def accuracies(self) -> list[float]:
        test = make_samples(PARAMETERS, 8, stream(99))
        served = [agent.core.served for agent in self.agents.values()]
        return [self.learner.evaluate(params, test).accuracy for params in served]

    def verify(self) -> None:
        """Every feed, from its genesis to its newest entry."""
        for number, store in self.stores.items():
            report = verify_chain(store.entries(), self.swarm.swarm_id)
            assert report.ok, report
            assert report.author == PEERS[number]

    def opened(self, entry: Envelope) -> bytes:
        assert entry.header.swarm == self.swarm.swarm_id
        return open_envelope(entry, SECRET)


@dataclass
class Pushed:
    """Time that moves only when a test says so: no agent can miss a round for lack of CPU."""

    clock: MockClock
    agents: list[AgentRuntime]
    made: int = 0

    async def rounds(self, count: int, *, parts: int = 1) -> None:
        """Let every agent make `count` rounds; frames are delivered in `parts` of an interval."""
        for _ in range(count):
            if self.made:
                for _ in range(parts - 1):
                    self.clock.jump(INTERVAL_S / parts)
                    await wait_all_tasks_blocked(0.0005)
                self.clock.jump(INTERVAL_S / parts)
            self.made += 1
            await until(lambda: all(rounds(agent) >= self.made for agent in self.agents))
        await wait_all_tasks_blocked(0.001)


def rounds(agent: AgentRuntime) -> int:
    return 0 if agent.last_round is None else agent.last_round.round


def merged(agent: AgentRuntime) -> int:
    return 0 if agent.last_round is None else agent.last_round.merged


async def until(happened: Callable[[], bool]) -> None:
    """Wait for threads, in real time."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "nothing happens any more"
        await wait_all_tasks_blocked(0.0005)


async def slept_until(happened: Callable[[], bool], nap_s: float = INTERVAL_S) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline, "nothing happens any more"
        await trio.sleep(nap_s)


def run(scenario: Callable[[MockClock], Awaitable[None]]) -> None:
    clock = MockClock()
    trio.run(scenario, clock, clock=clock)


def run_free(scenario: Callable[[], Awaitable[None]]) -> None:
    """Time jumps when trio is idle for a moment, even if a thread works: rounds come late."""
    trio.run(scenario, clock=MockClock(autojump_threshold=0.001))


class Tap(Network):
    """A network that tells what passes through it."""

    def __init__(
        self,
        network: Network,
        sending: Callable[[PeerId, bytes], None] = lambda peer, frame: None,
        receiving: Callable[[], None] = lambda: None,
    ) -> None:
        self._network = network
        self._sending = sending
        self._receiving = receiving

    @property
    def peer_id(self) -> PeerId:
        return self._network.peer_id

    def peers(self) -> tuple[PeerId, ...]:
        return self._network.peers()

    async def send(self, peer: PeerId, frame: bytes) -> None:
        self._sending(peer, frame)
        await self._network.send(peer, frame)

    async def publish(self, frame: bytes) -> None:
        raise AssertionError("agents send to one peer at a time")

    async def receive(self) -> Received:
        received = await self._network.receive()
        self._receiving()
        return received

    async def disconnect(self, peer: PeerId) -> None:
        raise AssertionError("agents cut no links")

    async def aclose(self) -> None:
        raise AssertionError("whoever opened the network closes it")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


@dataclass
class TapStore:
    """A store that tells what is written to it; what is told may raise."""

    store: FeedStore
    writing: Callable[[Envelope], None] = lambda entry: None
    written: Callable[[Envelope], None] = lambda entry: None

    def append(self, envelope: Envelope) -> None:
        self.writing(envelope)
        self.store.append(envelope)
        self.written(envelope)

    def head(self) -> Head | None:
        return self.store.head()

    def entries(self, since_seq: int = 0) -> Iterator[Envelope]:
        return self.store.entries(since_seq)

    def close(self) -> None:
        self.store.close()


class SlowLearner(SyntheticLearner):
    """Training waits for a word of the test from the `waits_from`-th time on."""

    def __init__(self, waits_from: int = 1) -> None:
        super().__init__(PARAMETERS)
        self.go_on = threading.Semaphore(waits_from - 1)
        self.begun = self.ended = 0

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        assert self.begun == self.ended, "two computations at once"
        self.begun += 1
        assert self.go_on.acquire(timeout=20)
        trained = super().train(params, data, settings, rng)
        self.ended += 1
        return trained


def entries_in(frames: Sequence[bytes], world: World) -> list[Envelope]:
    parsed = [unpack_frame(frame, world.swarm.limits) for frame in frames]
    return [frame.envelope for frame in parsed if isinstance(frame, EntryFrame)]


def learn(world: World, numbers: Sequence[int], count: int, *, parts: int = 1) -> list[float]:
    """Run agents for some rounds; return the accuracy of each."""

    async def scenario(clock: MockClock) -> None:
        pushed = Pushed(clock, [world.agent(number) for number in numbers])
        async with trio.open_nursery() as nursery:
            for agent in pushed.agents:
                nursery.start_soon(agent.run)
            await pushed.rounds(count, parts=parts)
            for number, store in world.stores.items():  # at rest nothing waits to be written
                assert store.head() == world.agents[number].core.publisher.feed.head
            nursery.cancel_scope.cancel()

    run(scenario)
    return world.accuracies()


class TestLearning:
    @pytest.mark.slow
    def test_agents_together_learn_more_than_each_alone(self) -> None:
        alone = [learn(World(), [number], 12)[0] for number in range(4)]
        world = World()
        together = learn(world, range(4), 12)
        assert min(together) > max(alone)
        assert np.mean(together) > np.mean(alone) + 0.05
        world.verify()

    def test_time_that_tests_push_gives_equal_feeds_in_every_run(self) -> None:
        heads = []
        for _ in range(2):
            world = World()
            learn(world, range(3), 4)
            heads.append([store.head() for store in world.stores.values()])
        assert heads[0] == heads[1]

    @pytest.mark.slow
    def test_loss_duplication_and_reordering_cost_time_only(self) -> None:
        alone = [learn(World(), [number], 12)[0] for number in range(4)]
        world = World(loss=0.2, duplicate=0.2, latency_s=(0.0, INTERVAL_S))
        together = learn(world, range(4), 12, parts=6)
        assert np.mean(together) > np.mean(alone) + 0.05
        world.verify()
        for agent in world.agents.values():
            assert not agent.refused
            for other in world.agents.values():
                assert not agent.core.reputation.is_quarantined(other.core.peer_id)

    def test_peers_that_come_later_are_found_and_those_that_go_are_no_error(self) -> None:
        world = World()

        async def scenario(clock: MockClock) -> None:
            early = world.agent(0)
            pushed = Pushed(clock, [early])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(early.run)
                await pushed.rounds(2)
                assert merged(early) == 0
                networks = []
                for number in (1, 2):
                    networks.append(world.links.join(PEERS[number]))
                    nursery.start_soon(world.agent(number, network=networks[-1]).run)
                await pushed.rounds(4)
                assert merged(early) == 3
                assert set(early.core.publisher.followers) == {PEERS[1], PEERS[2]}
                world.links.partition([[PEERS[0]]])
                await pushed.rounds(2)  # its followers cannot be reached
                nursery.cancel_scope.cancel()

        run(scenario)
        world.verify()


class TestComputations:
    def learning(self, learner: Learner = SYNTHETIC) -> LocalLearning:
        training, holdout = sightings(0)
        return LocalLearning(
            learner=learner, training=training, holdout=holdout, settings=STEPS, rng=stream(2)
        )

    def test_training_is_that_of_the_learner_on_the_training_data(self) -> None:
        learning = self.learning()
        params = SYNTHETIC.init()
        done = learning.compute(Train(params=params))
        expected = SYNTHETIC.train(params, learning.training, STEPS, stream(2))
        assert isinstance(done, TrainDone)
        assert np.array_equal(done.params, expected.params)
        assert done.loss == expected.loss

    def test_both_vectors_are_scored_on_the_holdout_data(self) -> None:
        learning = self.learning()
        current, candidate = SYNTHETIC.init(), target(PARAMETERS)
        done = learning.compute(Evaluate(current=current, candidate=candidate))
        before = SYNTHETIC.evaluate(current, learning.holdout)
        after = SYNTHETIC.evaluate(candidate, learning.holdout)
        assert after.loss < before.loss
        sides = one_sidedness(learning.holdout.y, SYNTHETIC.contract.classes)
        assert done == EvaluateDone(current=before, candidate=after, one_sided=sides)
        assert sides is not None

    def test_a_merge_takes_all_values_within_the_bound_of_the_contract(self) -> None:
        class Wide(SyntheticLearner):
            @property
            def contract(self) -> Contract:
                return replace(super().contract, bound=1e6)

        rows = [np.full(PARAMETERS, value, np.float32) for value in (1e5, 2e5, 3e5)]
        inputs = tuple(MergeInput(PEERS[n], row) for n, row in enumerate(rows))
        asked = Merge(rule="median", inputs=inputs, own=PEERS[0], round=1, initial=rows[0])
        done = self.learning(Wide(PARAMETERS)).compute(asked)
        assert isinstance(done, MergeDone)
        assert np.array_equal(done.merged.vector, rows[1])


class TestRounds:
    def test_the_first_round_comes_at_once_and_the_others_after_each_interval(self) -> None:
        async def scenario(clock: MockClock) -> None:
            agent = World().agent(0)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.run)
                for made in range(1, 4):
                    await until(partial(lambda made: rounds(agent) == made, made))
                    clock.jump(INTERVAL_S * 0.99)
                    await wait_all_tasks_blocked(0.002)
                    assert agent.core.round == made
                    clock.jump(INTERVAL_S * 0.01)
                nursery.cancel_scope.cancel()

        run(scenario)

    def test_a_round_that_is_due_while_one_runs_is_skipped(self) -> None:
        learner = SlowLearner()

        async def scenario(clock: MockClock) -> None:
            agent = World().agent(0, learner=learner)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.run)
                await until(lambda: learner.begun == 1)
                for _ in range(3):
                    clock.jump(INTERVAL_S)
                    await wait_all_tasks_blocked(0.002)
                assert (agent.core.round, learner.begun) == (1, 1)
                learner.go_on.release()
                await until(lambda: rounds(agent) == 1)
                assert learner.begun == 1
                clock.jump(INTERVAL_S)
                await until(lambda: learner.begun == 2)
                learner.go_on.release()
                await until(lambda: rounds(agent) == 2)
                nursery.cancel_scope.cancel()

        run(scenario)

    def test_rounds_that_a_slow_store_delays_do_not_pile_up(self) -> None:
        free = threading.Event()
        ticks = 0

        class Asked(Tap):
            def peers(self) -> tuple[PeerId, ...]:
                nonlocal ticks
                ticks += 1
                return super().peers()

        async def scenario(clock: MockClock) -> None:
            world = World()
            store = TapStore(MemoryStore(), writing=lambda entry: _wait(free))
            agent = world.agent(0, store=store, network=Asked(world.links.join(PEERS[0])))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.run)
                for _ in range(5):
                    clock.jump(INTERVAL_S)
                    await wait_all_tasks_blocked(0.001)
                assert agent.core.round == 0
                free.set()
                await until(lambda: rounds(agent) == 1)
                await wait_all_tasks_blocked(0.005)
                assert (agent.core.round, ticks) == (1, 1)
                clock.jump(INTERVAL_S)
                await until(lambda: rounds(agent) == 2)
                nursery.cancel_scope.cancel()

        run(scenario)

    def test_frames_are_answered_while_the_agent_trains(self) -> None:
        world, learner = World(), SlowLearner(waits_from=2)

        async def scenario(clock: MockClock) -> None:
            agent, visitor = world.agent(0, learner=learner), world.links.join(PEERS[1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.run)
                await until(lambda: rounds(agent) == 1)
                clock.jump(INTERVAL_S)
                await until(lambda: learner.begun == 2)
                await visitor.send(PEERS[0], pack_frame(FollowFrame(0)))
                frames: list[bytes] = []
                while not entries_in(frames, world):
                    frames.append((await visitor.receive()).frame)
                assert learner.ended == 1
                learner.go_on.release()
                nursery.cancel_scope.cancel()

        run(scenario)

    def test_a_link_that_takes_nothing_stops_no_round(self) -> None:
        world = World()

        class Stalled(Tap):
            async def send(self, peer: PeerId, frame: bytes) -> None:
                if peer == PEERS[1]:
                    await trio.sleep_forever()
                await super().send(peer, frame)

        async def scenario() -> None:
            stalled = world.agent(0, network=Stalled(world.links.join(PEERS[0])))
            async with trio.open_nursery() as nursery:
                for agent in (stalled, world.agent(1), world.agent(2), world.agent(3)):
                    nursery.start_soon(agent.run)
                await slept_until(lambda: merged(stalled) == 3 and rounds(stalled) > 3)
                nursery.cancel_scope.cancel()

        run_free(scenario)

    @pytest.mark.parametrize("interval", [0.0, -1.0, float("nan")])
    def test_an_interval_is_positive(self, interval: float) -> None:
        world = World()
        agent = world.agent(0)
        with pytest.raises(ValueError, match="interval"):
            AgentRuntime(
                core=agent.core,
                store=MemoryStore(),
                network=world.links.join(PEERS[1]),
                learning=agent._learning,
                genesis=world.genesis,
                round_interval_s=interval,
            )


def _wait(event: threading.Event) -> None:
    assert event.wait(timeout=20)


class TestStore:
    def test_every_entry_is_durable_before_it_is_sent(self) -> None:
        world = World()
        durable: set[bytes] = set()
        sent: list[Envelope] = []

        def sending(peer: PeerId, frame: bytes) -> None:
            for entry in entries_in([frame], world):
                assert entry.entry_hash in durable
                sent.append(entry)

        def written(entry: Envelope) -> None:
            time.sleep(0.002)  # a frame that does not wait for the disk would overtake it here
            durable.add(entry.entry_hash)

        async def scenario(clock: MockClock) -> None:
            watched = world.agent(
                0,
                store=TapStore(MemoryStore(), written=written),
                network=Tap(world.links.join(PEERS[0]), sending),
            )
            pushed = Pushed(clock, [watched, world.agent(1)])
            async with trio.open_nursery() as nursery:
                for agent in pushed.agents:
                    nursery.start_soon(agent.run)
                await pushed.rounds(3)
                nursery.start_soon(world.agent(2).run)  # it lacks enough to be sent a keyframe
                await pushed.rounds(3)
                nursery.cancel_scope.cancel()

        run(scenario)
        assert {entry.header.kind for entry in sent} == {Kind.DELTA, Kind.KEYFRAME}
        assert {entry.header.author for entry in sent} == {PEERS[0]}
        world.verify()

    @pytest.mark.parametrize("fails_at", range(6))
    def test_an_agent_whose_store_fails_ends_with_its_error_and_is_silent(
        self, fails_at: int
    ) -> None:
        world = World()
        error = StoreError("disk full")
        sent: list[bytes] = []
        sent_before: list[int] = []

        def writing(entry: Envelope) -> None:
            if entry.header.seq == fails_at:
                time.sleep(0.005)  # frames that would be answered pile up meanwhile
                sent_before.append(len(sent))
                raise error

        async def ask(visitor: MemoryNetwork) -> None:
            while True:
                await visitor.send(PEERS[0], pack_frame(FollowFrame(0)))
                await trio.sleep(INTERVAL_S / 10)

        async def scenario() -> None:
            failing = world.agent(
                0,
                store=TapStore(MemoryStore(), writing=writing),
                network=Tap(world.links.join(PEERS[0]), lambda peer, frame: sent.append(frame)),
            )
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.agent(1).run)
                nursery.start_soon(world.agent(2).run)
                for number in (3, 4, 5):
                    nursery.start_soon(ask, world.links.join(PEERS[number]))
                with pytest.raises(StoreError) as caught:
                    await failing.run()
                assert caught.value is error
                await trio.sleep(3 * INTERVAL_S)
                nursery.cancel_scope.cancel()

        run_free(scenario)
        assert sent_before == [len(sent)]
        stored = {entry.entry_hash for entry in world.stores[0].entries()}
        assert len(stored) == fails_at
        assert {entry.entry_hash for entry in entries_in(sent, world)} <= stored

    def test_the_error_of_a_store_is_told_although_training_fails_after_it(self) -> None:
        failed, go_on, begun = threading.Event(), threading.Event(), threading.Event()
        error = StoreError("disk full")

        class Diverging(SyntheticLearner):
            def train(self, *arguments: object) -> Trained:
                begun.set()
                _wait(go_on)
                raise DivergedError("lower the learning rate")

        def writing(entry: Envelope) -> None:
            if entry.header.kind is Kind.STANDING:
                failed.set()
                raise error

        async def scenario(clock: MockClock) -> None:
            world = World()
            store = TapStore(MemoryStore(), writing=writing)
            agent = world.agent(0, store=store, learner=Diverging(PARAMETERS))

            async def expect() -> None:
                with pytest.raises(StoreError) as caught:
                    await agent.run()
                assert caught.value is error

            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect)
                await until(begun.is_set)
                await world.links.join(PEERS[1]).send(PEERS[0], b"garbage")
                await until(failed.is_set)
                await wait_all_tasks_blocked(0.01)
                go_on.set()

        run(scenario)


class TestEnding:
    def test_a_closed_network_ends_the_agent(self) -> None:
        world = World()

        async def scenario(clock: MockClock) -> None:
            network = world.links.join(PEERS[0])
            agent = world.agent(0, network=network)
            async with trio.open_nursery() as nursery:

                async def expect() -> None:
                    with pytest.raises(NetworkError, match="closed"):
                        await agent.run()

                nursery.start_soon(expect)
                await until(lambda: rounds(agent) == 1)
                await network.aclose()

        run(scenario)
        world.verify()

    def test_training_that_diverges_ends_the_agent(self) -> None:
        class Diverging(SyntheticLearner):
            def train(self, *arguments: object) -> Trained:
                raise DivergedError("lower the learning rate")

        async def scenario(clock: MockClock) -> None:
            with pytest.raises(DivergedError, match="learning rate"):
                await World().agent(0, learner=Diverging(PARAMETERS)).run()

        run(scenario)

    def test_a_fault_of_our_own_is_not_disguised(self) -> None:
        class Broken(SyntheticLearner):
            def train(self, *arguments: object) -> Trained:
                raise ZeroDivisionError

        async def scenario(clock: MockClock) -> None:
            with pytest.raises(ExceptionGroup) as caught:
                await World().agent(0, learner=Broken(PARAMETERS)).run()
            assert caught.group_contains(ZeroDivisionError)

        run(scenario)

    def test_cancellation_waits_for_the_computation_under_way(self) -> None:
        world, learner = World(), SlowLearner()
        agent = world.agent(0, learner=learner)
        self._cancel_amid(agent, lambda: learner.begun == 1, learner.go_on.release)
        assert learner.ended == 1
        world.verify()  # its result is lost: nothing was written after START
        assert len(list(world.stores[0].entries())) == 1

    def test_cancellation_waits_for_the_entry_that_is_being_written(self) -> None:
        world = World()
        begun, go_on = threading.Event(), threading.Event()

        def writing(entry: Envelope) -> None:
            if entry.header.kind is Kind.DELTA:
                begun.set()
                _wait(go_on)

        agent = world.agent(0, store=TapStore(MemoryStore(), writing=writing))
        self._cancel_amid(agent, begun.is_set, go_on.set)
        world.verify()
        assert len(list(world.stores[0].entries())) == 2

    @staticmethod
    def _cancel_amid(
        agent: AgentRuntime, begun: Callable[[], bool], go_on: Callable[[], None]
    ) -> None:
        async def scenario(clock: MockClock) -> None:
            scope, ended = trio.CancelScope(), trio.Event()

            async def live() -> None:
                with scope:
                    await agent.run()
                ended.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(live)
                await until(begun)
                scope.cancel()
                await wait_all_tasks_blocked(0.01)
                assert not ended.is_set()
                go_on()
                await until(ended.is_set)

        run(scenario)


class TestGarbage:
    def test_garbage_costs_nothing_but_a_count(self) -> None:
        world, chance = World(), stream(5)
        overheard: list[bytes] = []  # entries of an honest peer
        count = 0

        def garbage() -> bytes:
            kinds: list[Callable[[], bytes]] = [
                lambda: chance.bytes(int(chance.integers(0, 300))),
                lambda: chance.bytes(world.swarm.limits.frame_bytes_max),
                lambda: b"\x92\x03\xa9" + chance.bytes(9),  # a follow of a step that is a text
                lambda: pack_frame(FollowFrame(0)) + b"\0",
                lambda: _flipped(overheard[-1], int(chance.integers(800))),
            ]
            return kinds[int(chance.integers(len(kinds)))]()

        def overhear(peer: PeerId, frame: bytes) -> None:
            if entries_in([frame], world):
                overheard.append(frame)

        async def scenario(clock: MockClock) -> None:
            nonlocal count
            tap = Tap(world.links.join(PEERS[1]), overhear)
            agents = [world.agent(0), world.agent(1, network=tap), world.agent(2)]
            pushed = Pushed(clock, agents)
            async with trio.open_nursery() as nursery:
                for agent in agents:
                    nursery.start_soon(agent.run)
                liar = world.links.join(PEERS[7])
                await pushed.rounds(2)
                for _ in range(6):
                    for _ in range(20):
                        await liar.send(PEERS[0], garbage())
                        count += 1
                    await pushed.rounds(1)
                nursery.cancel_scope.cancel()

        run(scenario)
        hit, *others = world.agents.values()
        assert hit.refused.total() == count
        assert {Reason.BAD_FRAME, Reason.BAD_SIGNATURE} <= set(hit.refused)
        assert not any(agent.refused for agent in others)
        assert [p for p in PEERS if hit.core.reputation.is_quarantined(p)] == [PEERS[7]]
        assert min(world.accuracies()) > min(learn(World(), range(3), 8)) - 0.03
        world.verify()


def _flipped(frame: bytes, bit: int) -> bytes:
    altered = bytearray(frame)
    altered[-1 - bit // 8] ^= 1 << bit % 8
    return bytes(altered)


@dataclass
class Life:
    """One life of an agent whose entries are in a file; it ends after so many steps outside."""

    world: World
    steps: int
    token: trio.lowlevel.TrioToken = field(default_factory=trio.lowlevel.current_trio_token)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    frames: list[bytes] = field(default_factory=list)

    def step(self, *_: object) -> None:
        self.steps -= 1
        if self.steps == 0:
            self.token.run_sync_soon(self.scope.cancel)  # steps come from threads as well

    def sending(self, peer: PeerId, frame: bytes) -> None:
        self.step()
        self.frames.append(frame)


class TestRestart:
    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(4))
    def test_an_agent_stopped_anywhere_continues_its_feed(self, tmp_path: Path, seed: int) -> None:
        world = World()
        chance = stream(seed)
        path = tmp_path / "feed.sqlite3"
        sent: dict[int, bytes] = {}
        lengths = [0]

        async def live(number: int, steps: int) -> None:
            life = Life(world, steps)
            network = world.links.join(PEERS[0])
            with closing(SqliteStore(path)) as store:
                watched = TapStore(store, writing=life.step, written=life.step)
                tap = Tap(network, life.sending, life.step)
                agent = world.agent(0, store=watched, network=tap, life=number)
                async with network:
                    with life.scope:
                        await agent.run()
                assert life.scope.cancelled_caught
                entries = list(store.entries())
            report = verify_chain(entries, world.swarm.swarm_id)
            assert report.ok, report
            assert len(entries) >= lengths[-1]
            lengths.append(len(entries))
            for entry in entries_in(life.frames, world):
                seq = entry.header.seq
                assert sent.setdefault(seq, entry.entry_hash) == entry.entry_hash
                assert entries[seq].entry_hash == entry.entry_hash

        async def scenario() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(world.agent(1).run)
                nursery.start_soon(world.agent(2).run)
                for number in range(6):
                    await live(number, int(chance.integers(1, 60)))
                nursery.cancel_scope.cancel()

        run_free(scenario)
        assert not world.agents[1].refused
        assert not world.agents[2].refused
        assert len(sent) > 3
        assert lengths[-1] > lengths[1]

    @pytest.mark.slow
    def test_followers_of_an_agent_that_comes_back_notice_nothing(self) -> None:
        world = World()
        store = MemoryStore()

        async def scenario(clock: MockClock) -> None:
            pushed = Pushed(clock, [world.agent(1), world.agent(2)])
            async with trio.open_nursery() as nursery:
                for agent in pushed.agents:
                    nursery.start_soon(agent.run)
                for life in range(3):
                    async with world.links.join(PEERS[0]) as network:
                        agent = world.agent(0, store=store, network=network, life=life)
                        async with trio.open_nursery() as one_life:
                            one_life.start_soon(agent.run)
                            await pushed.rounds(4)
                            one_life.cancel_scope.cancel()
                    own = agent.core.publisher.replica
                    assert own.step == agent.core.round > 3 * life
                    for follower in pushed.agents:
                        held = dict(follower.core.following.replicas(follower.core.round))
                        assert held[PEERS[0]].hash == own.hash
                        assert not follower.core.reputation.is_quarantined(PEERS[0])
                        assert not follower.refused
                nursery.cancel_scope.cancel()

        run(scenario)
        world.verify()

    def test_resume_leads_to_the_replica_that_was_published(self) -> None:
        world = World()
        learn(world, range(3), 4)
        before = world.agents[0].core
        store = world.stores[0]
        again = world.core(0, store.head(), life=1)
        resume(again, world.swarm, store.entries())
        assert again.publisher.replica.hash == before.publisher.replica.hash
        assert again.publisher.replica.step == before.publisher.replica.step == 4
        assert again.round == before.round
        assert np.array_equal(again.params, before.publisher.replica.vector)
        assert np.array_equal(again.served, again.params)

    def test_resume_from_nothing_is_the_beginning(self) -> None:
        world = World()
        core = world.core(0)
        resume(core, world.swarm, MemoryStore().entries())
        assert core.round == core.publisher.replica.step == 0
        assert np.array_equal(core.params, world.swarm.initial)

    def test_resume_needs_the_key_of_every_delta(self) -> None:
        world = World()
        learn(world, [0], 2)
        entries = list(world.stores[0].entries())
        core = world.core(0)
        world.swarm.epochs._epoch = 7  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match="entry 1 cannot be read: no key for epoch 0"):
            resume(core, world.swarm, entries)

    def test_resume_refuses_what_does_not_lead_to_the_named_replica(self) -> None:
        world = World()
        learn(world, [0], 3)
        entries = list(world.stores[0].entries())
        deltas = [entry for entry in entries if entry.header.kind is Kind.DELTA]
        codec = world.swarm.policy.codec
        assert [unpack_delta(world.opened(e), PARAMETERS, codec).step for e in deltas] == [1, 2, 3]
        with pytest.raises(DamagedStoreError, match=r"entry 2 .*stale.*gossamer log verify"):
            resume(world.core(0), world.swarm, entries[2:])


@pytest.mark.slow
class TestDevice:
    def test_three_agents_learn_digits_with_a_real_model_in_real_time(self) -> None:
        data = load_dataset("digits", stream(3))
        learner = load_learner("mlp")
        world = World(learner, interval_s=0.02)
        everything, test = Samples(data.x, data.y), Samples(data.test.x, data.test.y)
        # Each has never seen two digits that the two others know.
        for number, mine in enumerate(np.array_split(stream(4).permutation(len(everything)), 3)):
            unseen = np.isin(everything.y[mine], [2 * number, 2 * number + 1])
            rows = mine[~unseen]
            cut = len(rows) // 5
            world.agent(number, data=(everything.take(rows[cut:]), everything.take(rows[:cut])))
        agents = list(world.agents.values())

        async def scenario() -> None:
            async with trio.open_nursery() as nursery:
                for agent in agents:
                    nursery.start_soon(agent.run)
                await slept_until(lambda: min(map(rounds, agents)) >= 80, world.interval_s)
                nursery.cancel_scope.cancel()

        trio.run(scenario)
        for agent in agents:
            accuracy = learner.evaluate(agent.core.served, test).accuracy
            assert accuracy > 0.85  # with two digits of ten unknown, nobody exceeds 0.8 alone
            assert not agent.refused
        world.verify()
