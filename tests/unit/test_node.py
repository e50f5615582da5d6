"""Whole agents in virtual time: folders, stores and threads are real, the network is in memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from gossamer_agent.cli.status import _rows as status_rows
from gossamer_agent.device.config import Config, DeviceSettings, LearningSettings, NetworkSettings
from gossamer_agent.device.folder import Device, create_device, holding, open_device
from gossamer_agent.errors import MembershipError, StoreError
from gossamer_agent.learner import DivergedError
from gossamer_agent.members.stewardship import Stewardship, found_swarm, stored_entries
from gossamer_agent.node import control, life
from gossamer_agent.node.node import Node, RemovedError, run_node
from gossamer_agent.node.outside import Outside
from gossamer_agent.node.status import (
    AgentStatus,
    BudgetStatus,
    PauseStatus,
    pack_status,
    parse_status,
)
from gossamer_agent.pauses import bucket
from gossamer_agent.pauses.sensors import Sensors
from gossamer_agent.policy import Policy
from gossamer_agent.pulse import Bounds
from gossamer_agent.service.watch import _summary as summary
from gossamer_agent.store import feeds
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.store.state import StateStore
from gossamer_agent.synthetic import SyntheticLearner, make_samples
from gossamer_crypto.envelope import Envelope, Head, Kind, seal
from gossamer_crypto.errors import Reason
from gossamer_crypto.feed import verify_chain
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId
from gossamer_crypto.join import make_join_request, parse_join_answer
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_crypto.roster import Roster, RosterEntry
from gossamer_transport.limits import Limits
from gossamer_transport.memory import MemorySwarm

INTERVAL_S = 60.0
ANNOUNCE_S = 15.0
BOUNDS = Bounds.of(watchdog_s=30.0, round_interval_s=INTERVAL_S)
LEARNER = SyntheticLearner()


def new_keys(number: int) -> Keys:
    return Keys(Identity.from_seed(bytes([number]) * 32), (PrekeySecret.generate(),))


def settings(number: int, folder: Path) -> Config:
    data = folder / f"data-{number}.npz"
    samples = make_samples(512, 20, np.random.default_rng(number))
    np.savez(data, x=samples.x, y=samples.y)
    test = folder / "test.npz"
    measured = make_samples(512, 16, np.random.default_rng(99))
    np.savez(test, x=measured.x, y=measured.y)
    return Config(
        device=DeviceSettings(
            name=f"device {number}",
            model="synthetic",
            data=str(data),
            test=str(test),
            profile="pi-zero-2w" if number == 2 else "x86-64",
        ),
        network=NetworkSettings(announce_interval_s=ANNOUNCE_S, rotate_hours=0),
        learning=LearningSettings(round_interval_s=INTERVAL_S, local_steps=4, batch=4),
    )


async def never_dial(prefer: Callable[[], Iterable[PeerId]]) -> None:
    """Everybody is linked to everybody here."""
    await trio.sleep_forever()


@dataclass
class Place:
    """A swarm in a folder of the test: devices that were made, agents that run, their network."""

    folder: Path
    links: MemorySwarm = field(
        default_factory=lambda: MemorySwarm(
            np.random.default_rng(0), limits=Limits.for_model(LEARNER.contract.parameters)
        )
    )
    nodes: dict[int, Node] = field(default_factory=dict)
    scopes: dict[int, trio.CancelScope] = field(default_factory=dict)
    ended: dict[int, BaseException | None] = field(default_factory=dict)
    devices: dict[int, Device] = field(default_factory=dict)
    genesis: Genesis | None = None

    def found(self, number: int = 1) -> Device:
        keys = new_keys(number)
        genesis = self.genesis = Genesis(
            name="greenhouse",
            stewards=(keys.identity.peer_id,),
            contract=LEARNER.contract.digest(),
            model_sha256=LEARNER.model_sha256,
            policy=Policy(quorum=2).pack(),
            nonce=bytes(32),
        )

        def fill(state: StateStore) -> None:
            found_swarm(state, keys.identity, keys.prekeys[0].sign(keys.identity), genesis)

        return self._create(number, keys, fill)

    def join(self, number: int) -> Device:
        """Join without a network: the steward answers from its folder."""
        genesis, keys, steward = self.genesis, new_keys(number), self.devices[1]
        assert genesis is not None
        with closing(steward.open_state()) as state:
            stewardship = Stewardship(steward.identity, genesis, state)
            invite = stewardship.open_invite(["/ip4/127.0.0.1/tcp/1"], 1, None)
            request = make_join_request(
                keys.identity, keys.prekeys[0].sign(keys.identity), invite, steward.peer_id
            )
            answer = stewardship.answer_join(keys.identity.peer_id, request, 0)
        joined = parse_join_answer(answer)
        assert joined.refusal is None
        return self._create(number, keys, holding(genesis, joined.roster, {}))

    def evict(self, number: int) -> None:
        """As `gossamer evict` beside a running agent."""
        steward = self.devices[1]
        with closing(steward.open_state()) as state:
            Stewardship(steward.identity, steward.genesis, state).evict(
                self.devices[number].peer_id
            )

    def _create(self, number: int, keys: Keys, fill: Callable[[StateStore], None]) -> Device:
        assert self.genesis is not None
        self.devices[number] = create_device(
            self.folder / f"device-{number}",
            keys=keys,
            genesis=self.genesis,
            config=settings(number, self.folder),
            passphrase=None,
            fill=fill,
        )
        return self.devices[number]

    @asynccontextmanager
    async def outside(
        self, device: Device, roster: Roster, limits: Limits, state: StateStore
    ) -> AsyncIterator[Outside]:
        async with self.links.join(device.peer_id) as network:
            yield Outside(
                network=network,
                addresses=network.addresses,
                learn_addresses=lambda peer, addresses, own_word: None,
                keep_linked=never_dial,
                failures=dict,
                relay_failures=dict,
                address_rows=list,
            )

    async def start(self, nursery: trio.Nursery, number: int, **options: Any) -> None:
        """Start an agent and wait until its network is open."""
        ready = trio.Event()
        scope = self.scopes[number] = trio.CancelScope()
        self.ended.pop(number, None)

        def on_ready(node: Node) -> None:
            self.nodes[number] = node
            ready.set()

        async def live() -> None:
            error: BaseException | None = None
            with scope:
                try:
                    await run_node(
                        open_device(self.folder / f"device-{number}"),
                        open_outside=self.outside,
                        on_ready=on_ready,
                        **options,
                    )
                except (MembershipError, StoreError, DivergedError) as caught:
                    error = caught
            self.ended[number] = error
            ready.set()

        nursery.start_soon(live)
        await ready.wait()

    async def stop(self, number: int) -> None:
        self.scopes[number].cancel()
        await until(lambda: number in self.ended)
        del self.nodes[number]

    def entries(self, number: int) -> list[Envelope]:
        with closing(SqliteStore(self.devices[number].feed_path)) as store:
            return list(store.entries())


async def until(happened: Callable[[], bool], nap_s: float = 1.0) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "nothing happens any more"
        await trio.sleep(nap_s)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def run(scenario: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    """Time jumps when trio is idle for a moment, even if a thread works: rounds come late."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await scenario(nursery)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0.002))


def merged(node: Node) -> int:
    return max((record.merged for record in node.life.tally.history), default=0)


@pytest.mark.slow
class TestASwarm:
    def test_a_founder_alone_learns_at_once(self, place: Place) -> None:
        place.found()

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            node = place.nodes[1]
            await until(lambda: node.life.tally.rounds >= 2)
            status = await node.status()
            assert (status.state, status.members, status.linked) == ("learning", 1, 0)
            assert status.head_seq is not None
            assert status.history[0].accuracy is not None
            await place.stop(1)

        run(scenario)
        assert place.ended == {1: None}
        report = verify_chain(place.entries(1))
        assert report.ok
        assert report.entries >= 3
        assert not (place.devices[1].path / "agent.sock").exists()

    def test_three_devices_follow_each_other_and_one_is_evicted(self, place: Place) -> None:
        place.found()

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            for number in (2, 3):
                place.join(number)  # beside the running agent, as another process would
                await place.start(nursery, number)
            nodes = [place.nodes[number] for number in (1, 2, 3)]
            await until(lambda: all(merged(node) == 3 for node in nodes))
            for node in nodes:
                status = await node.status()
                assert (status.state, status.members, status.linked) == ("learning", 3, 2)
                assert (status.following, status.followers) == (2, 2)
                # Before the steward looked, and before an epoch was known everywhere.
                assert set(status.refused) <= {"not-a-member", "unknown-epoch"}
                assert all(peer.head_seq is not None for peer in status.peers)
            epoch = nodes[0].ring.current
            place.evict(3)
            await until(lambda: 3 in place.ended)
            assert isinstance(place.ended[3], RemovedError)
            await until(lambda: all(node.ring.current == epoch + 1 for node in nodes[:2]))
            rounds = [node.life.tally.rounds for node in nodes[:2]]
            await until(
                lambda: all(
                    node.life.tally.rounds > before + 2
                    for node, before in zip(nodes, rounds, strict=False)
                )
            )
            assert (await nodes[1].status()).members == 2
            assert max(nodes[2].means.ring._secrets) == epoch  # no key of the next one
            with pytest.raises(RemovedError, match="removed this device"):
                await run_node(place.devices[3], open_outside=place.outside)
            for number in (1, 2):
                await place.stop(number)

        run(scenario)
        for number in (1, 2, 3):
            assert verify_chain(place.entries(number)).ok

    def test_a_restarted_agent_asks_first_and_goes_on(self, place: Place) -> None:
        place.found()
        place.join(2)

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            await place.start(nursery, 2)
            await until(lambda: merged(place.nodes[1]) == 2)
            await place.stop(1)
            length = len(place.entries(1))
            # Nobody is there to ask.
            await place.stop(2)
            await place.start(nursery, 1)
            await trio.sleep(10 * INTERVAL_S)
            status = await place.nodes[1].status()
            assert status.state.startswith("asking neighbours")
            assert status.rounds == 0
            await place.start(nursery, 2)
            await until(lambda: place.nodes[1].life.tally.rounds >= 2)
            await place.stop(1)
            assert len(place.entries(1)) > length
            assert feeds.incarnations(place.devices[1].path) == [0]
            assert not place.nodes[2].life.tally.refused

        run(scenario)
        assert verify_chain(place.entries(1)).ok

    @pytest.mark.parametrize("loss", ["restored", "empty", "damaged"])
    def test_a_device_whose_feed_was_lost_begins_the_next_incarnation(
        self, place: Place, loss: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.found()
        place.join(2)
        image = place.folder / "image"
        begin, watched = feeds.begin, list[str | None]()

        def begin_watched(folder: Path, number: int) -> SqliteStore:
            if "device-2" in str(folder) and number:
                pulse = place.nodes[2].life.pulse
                watched.append(pulse.stuck(1e12, BOUNDS))
            return begin(folder, number)

        monkeypatch.setattr(feeds, "begin", begin_watched)

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            await place.start(nursery, 2)
            await until(lambda: merged(place.nodes[1]) == 2)
            await place.stop(2)
            device = place.devices[2].path
            shutil.copytree(device, image)
            await place.start(nursery, 2)
            before = place.nodes[2].life
            await until(lambda: before.tally.rounds >= 3)
            await place.stop(2)
            lose(loss, device, image)
            await place.start(nursery, 2)
            living = place.nodes[2].life
            await until(lambda: living.tally.rounds >= 3)
            assert living.incarnation == 1
            assert living.runtime is not None
            # What it had learnt is not lost where the old feed can be read.
            if loss == "restored":
                assert living.runtime.core.round > 3
            follower = place.nodes[1]
            await until(lambda: merged_now(follower) == 2)
            assert not follower.life.tally.refused
            await place.stop(2)

        run(scenario)
        folder = place.devices[2].path
        assert ["opening" in str(told) for told in watched] == [True]  # a watchdog would see it
        assert feeds.incarnations(folder) in ([0, 1], [1])
        assert verify_chain(place.entries(2)).ok


def merged_now(node: Node) -> int:
    return node.life.tally.history[-1].merged


def lose(loss: str, device: Path, image: Path) -> None:
    """What befalls the own feed on an SD card."""
    names = [path.name for path in device.glob("feed*")]
    if loss == "damaged":
        with (device / "feed.sqlite3").open("r+b") as file:
            file.seek(0)
            file.write(b"\xff" * 64)
        return
    for name in names:
        (device / name).unlink()
        if loss == "restored" and (image / name).exists():
            shutil.copy(image / name, device / name)


@pytest.mark.slow
def test_neighbours_that_know_more_of_us_later_on_are_believed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that were asked at the start had not heard of it."""
    monkeypatch.setattr(life, "INCARNATION_S", 600.0)
    place.found()
    place.join(2)

    async def scenario(nursery: trio.Nursery) -> None:
        await place.start(nursery, 1)
        await place.start(nursery, 2)
        node, other = place.nodes[2], place.nodes[1]
        await until(lambda: node.life.tally.rounds >= 2)
        newer = seal(
            place.devices[2].identity,
            secret=bytes(32),
            swarm=node.device.genesis.swarm_id,
            epoch=node.ring.current,
            kind=Kind.DELTA,
            incarnation=0,
            seq=1000,
            prev=bytes(32),
            salt=bytes(32),
            plaintext=b"of the life that was lost",
        )
        other.heads.learn(newer.head)
        await until(lambda: node.life.incarnation == 1)
        other.heads.learn(replace_incarnation(newer.head, place.devices[2].identity))
        rounds = node.life.tally.rounds
        begun = trio.current_time()
        await until(lambda: "twice within an hour" in node.life.state)
        await until(lambda: node.life.incarnation == 3)
        assert trio.current_time() - begun > 300
        await until(lambda: node.life.tally.rounds >= rounds + 2)
        await place.stop(1)
        await place.stop(2)

    run(scenario)


def replace_incarnation(head: Head, identity: Identity) -> Head:
    """A head of incarnation 2, as a clone of the device would sign it."""
    return seal(
        identity,
        secret=bytes(32),
        swarm=head.header.swarm,
        epoch=head.header.epoch,
        kind=Kind.DELTA,
        incarnation=2,
        seq=0,
        prev=bytes(32),
        salt=bytes(32),
        plaintext=b"of a clone",
    ).head


@pytest.mark.slow
class TestFailures:
    def test_a_full_disk_stops_publishing_and_nothing_else(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.found()
        full = False
        append = SqliteStore.append

        def failing(store: SqliteStore, envelope: Envelope) -> None:
            if full:
                store._abandon()
                raise StoreError("no space left on device")
            append(store, envelope)

        monkeypatch.setattr(SqliteStore, "append", failing)

        async def scenario(nursery: trio.Nursery) -> None:
            nonlocal full
            await place.start(nursery, 1)
            node = place.nodes[1]
            await until(lambda: node.life.tally.rounds >= 2)
            full = True
            await until(lambda: node.life.state.startswith("store failed"))
            status = await node.status()
            assert "no space left" in status.state
            rounds = status.rounds
            full = False
            await until(lambda: node.life.tally.rounds > rounds)
            assert (await node.status()).state == "learning"
            await place.stop(1)

        run(scenario)
        assert verify_chain(place.entries(1)).ok

    def test_a_feed_that_is_damaged_while_the_agent_runs_is_left_alone(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.found()
        place.join(2)
        damage = False
        append = SqliteStore.append

        def failing(store: SqliteStore, envelope: Envelope) -> None:
            nonlocal damage
            if damage and "device-2" in str(store._path):
                damage = False
                store._abandon()
                store._path.write_bytes(b"\xff" * 4096)
                raise StoreError("input/output error")
            append(store, envelope)

        monkeypatch.setattr(SqliteStore, "append", failing)

        async def scenario(nursery: trio.Nursery) -> None:
            nonlocal damage
            await place.start(nursery, 1)
            await place.start(nursery, 2)
            living = place.nodes[2].life
            await until(lambda: living.tally.rounds >= 2)
            damage = True
            await until(lambda: living.incarnation == 1)
            rounds = living.tally.rounds
            await until(lambda: living.tally.rounds >= rounds + 2)
            await until(lambda: merged_now(place.nodes[1]) == 2)
            assert not {Reason.FORK, Reason.REPLAYED} & set(place.nodes[1].life.tally.refused)
            await place.stop(1)
            await place.stop(2)

        run(scenario)
        assert feeds.feed_path(place.devices[2].path, 0).read_bytes() == b"\xff" * 4096

    def test_a_roster_that_cannot_be_written_is_written_later(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.found()
        place.join(2)
        full = True
        kept = control.store_roster

        def storing(state: StateStore, entries: Sequence[RosterEntry]) -> None:
            if full:
                raise StoreError("no space left on device")
            kept(state, entries)

        monkeypatch.setattr(control, "store_roster", storing)

        async def scenario(nursery: trio.Nursery) -> None:
            nonlocal full
            await place.start(nursery, 1)
            await place.start(nursery, 2)
            place.join(3)
            member = place.nodes[2]
            await until(lambda: len(member.roster.members) == 3)
            await until(lambda: "no space left" in str([*member.troubles()]))
            full = False
            await until(lambda: not [*member.troubles()])
            with closing(place.devices[2].open_state()) as state:
                assert len(stored_entries(state)) == len(member.roster)
            await place.stop(1)
            await place.stop(2)

        run(scenario)

    def test_training_that_diverges_ends_the_agent(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.found()

        def diverging(*arguments: object) -> None:
            raise DivergedError("lower the learning rate")

        monkeypatch.setattr(SyntheticLearner, "train", diverging)

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            await until(lambda: 1 in place.ended)

        run(scenario)
        assert isinstance(place.ended[1], DivergedError)

    def test_who_never_was_a_member_is_told_so(self, place: Place) -> None:
        place.found()
        device = replace(place.devices[1], keys=new_keys(9))

        async def scenario(nursery: trio.Nursery) -> None:
            with pytest.raises(MembershipError, match="no member"):
                await run_node(device, open_outside=place.outside)

        run(scenario)

    def test_after_so_many_rounds_no_more_are_begun(self, place: Place) -> None:
        place.found()
        place.join(2)

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1, rounds=3)
            await place.start(nursery, 2, rounds=3)
            await until(lambda: place.nodes[1].life.tally.rounds == 3)
            await trio.sleep(5 * INTERVAL_S)
            status = await place.nodes[1].status()
            assert (status.rounds, len(status.history)) == (3, 3)
            await place.stop(1)
            await place.stop(2)

        run(scenario)


@pytest.mark.slow
def test_stewards_rotate_the_key_after_a_time_and_all_follow(place: Place) -> None:
    steward = place.found()
    place.join(2)
    text = (steward.path / "config.toml").read_text()
    assert "rotate_hours = 0" in text
    (steward.path / "config.toml").write_text(
        text.replace("rotate_hours = 0", "rotate_hours = 0.05")
    )

    async def scenario(nursery: trio.Nursery) -> None:
        await place.start(nursery, 1)
        await place.start(nursery, 2)
        before = place.nodes[2].ring.current
        await until(lambda: place.nodes[2].ring.current == before + 2, nap_s=60.0)
        assert not place.nodes[2].control.refused
        for number in (1, 2):
            with closing(place.devices[number].open_state()) as state:
                assert len(stored_entries(state)) == len(place.nodes[number].roster)
        await place.stop(1)
        await place.stop(2)

    run(scenario)


def followers(node: Node) -> tuple[PeerId, ...]:
    assert node.life.runtime is not None
    return node.life.runtime.core.publisher.followers


class Weather:
    """What the sensors of one device read: files of a test, and more bytes than it sent."""

    def __init__(self, folder: Path) -> None:
        self._zone = folder / "sys/class/thermal/thermal_zone0/temp"
        self._pressure = folder / "proc/pressure/memory"
        for file in (self._zone, self._pressure):
            file.parent.mkdir(parents=True)
        self._folder = folder
        self.more_bytes = 0
        self.celsius(45.0)
        self.waits(0.0)

    def celsius(self, value: float) -> None:
        self._zone.write_text(f"{1000 * value:.0f}\n")

    def waits(self, percent: float) -> None:
        self._pressure.write_text(f"some avg10={percent:.2f} avg60=0.00 avg300=0.00 total=0\n")

    def open(self, counter: Callable[[], int]) -> Sensors:
        return Sensors(
            lambda: counter() + self.more_bytes,
            sys_root=self._folder / "sys",
            proc_root=self._folder / "proc",
        )


@pytest.mark.slow
class TestPauses:
    """Two agents learn; what is induced at the second one pauses it, and ends by itself."""

    def swarm(
        self, place: Place, happens: Callable[[Node, Weather, trio.Nursery], Awaitable[None]]
    ) -> None:
        place.found()
        place.join(2)
        weather = Weather(place.folder / "weather")

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            await place.start(nursery, 2, open_sensors=weather.open)
            await until(lambda: merged(place.nodes[2]) == 2)
            await happens(place.nodes[2], weather, nursery)
            await place.stop(1)
            await place.stop(2)

        run(scenario)

    def test_heat_and_memory_pressure_stop_rounds_and_nothing_else(self, place: Place) -> None:
        async def paused(node: Node, kind: str) -> None:
            other = place.nodes[1]
            await until(lambda: not node.pausing.permissions.learn)
            await trio.sleep(INTERVAL_S)  # what had begun ends
            own, theirs = node.life.tally.rounds, other.life.tally.rounds
            await until(lambda: other.life.tally.rounds >= theirs + 4)
            assert node.life.tally.rounds == own
            status = await node.status()
            assert status.state == f"paused: {kind}"
            assert [pause.kind for pause in status.pauses] == [kind]
            assert summary(node).startswith(f"paused: {kind}; round ")  # for systemctl
            metrics = (await node.metrics()).decode()
            assert 'gossamer_state{state="paused"} 1.0' in metrics
            assert "gossamer_view_peers_max 6.0" in metrics  # the profile's, not the policy's
            assert "gossamer_memory_max_bytes 2.24e+08" in metrics
            assert status.pauses[0].lasts_s >= 4 * INTERVAL_S
            assert "limit" in status.pauses[0].why
            # It is still there for the other one, which heard of it a moment ago.
            assert [peer.linked for peer in status.peers] == [True]
            assert node.device.peer_id in other.life.followed()

        async def goes_on(node: Node) -> None:
            own = node.life.tally.rounds
            await until(lambda: node.life.tally.rounds >= own + 2)
            await until(lambda: node.life.tally.history[-1].merged == 2)
            assert (await node.status()).state == "learning"

        async def happens(node: Node, weather: Weather, nursery: trio.Nursery) -> None:
            weather.celsius(99.0)
            await paused(node, "heat")
            weather.celsius(45.0)
            await goes_on(node)
            weather.waits(60.0)
            await paused(node, "memory")
            weather.waits(0.0)
            await goes_on(node)
            assert {kind: times for kind, times in node.pausing.begun.items() if times} == {
                "heat": 1,
                "memory": 1,
            }

        self.swarm(place, happens)

    def test_an_exhausted_byte_budget_stops_deltas_and_not_control(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bucket, "DAY_S", 7200.0)  # a short day: it refills in a few minutes

        async def happens(node: Node, weather: Weather, nursery: trio.Nursery) -> None:
            other, left = place.nodes[1], node.pausing.governor.left()
            weather.more_bytes = int(left.network_bytes - 0.05 * left.network_bytes_per_day)
            await until(lambda: not node.pausing.permissions.publish)
            await until(lambda: node.device.peer_id not in followers(other), nap_s=10.0)
            status = await node.status()
            assert status.state == "paused: network"
            assert status.budgets is not None
            assert status.budgets.network_mb_left < 0.1 * status.budgets.network_mb_per_day
            data, control_, rounds = (
                node.life.tally.frames_sent,
                status.frames_sent,
                node.life.tally.rounds,
            )
            await trio.sleep(4 * INTERVAL_S)
            assert node.life.tally.frames_sent - data <= 2
            assert node.life.tally.rounds == rounds
            assert (await node.status()).frames_sent > control_
            await until(lambda: node.pausing.permissions.publish)
            await until(lambda: node.life.tally.rounds >= rounds + 2, nap_s=30.0)
            await until(lambda: node.life.tally.history[-1].merged == 2, nap_s=30.0)

        self.swarm(place, happens)

    def test_a_restart_remembers_what_was_spent(self, place: Place) -> None:
        async def happens(node: Node, weather: Weather, nursery: trio.Nursery) -> None:
            weather.more_bytes = int(1.5 * node.pausing.governor.left().network_bytes_per_day)
            await until(lambda: not node.pausing.permissions.publish)
            await place.stop(2)
            weather.more_bytes = 0
            await place.start(nursery, 2, open_sensors=weather.open)
            again = place.nodes[2]
            assert again.pausing.governor.left().network_bytes == 0.0
            await until(lambda: not again.pausing.permissions.publish)
            assert again.life.tally.rounds == 0

        self.swarm(place, happens)

    def test_a_damaged_row_is_told_and_the_agent_learns(self, place: Place) -> None:
        place.found()
        with closing(place.devices[1].open_state()) as state:
            state.put("budgets", b"spent", b"{}")

        async def scenario(nursery: trio.Nursery) -> None:
            await place.start(nursery, 1)
            await until(lambda: place.nodes[1].life.tally.rounds >= 1)
            assert any("budgets begin anew" in line for line in place.nodes[1].troubles())
            await place.stop(1)

        run(scenario)


def test_the_status_tells_pauses_and_budgets_in_words() -> None:
    found = AgentStatus(
        version="1",
        name="garden",
        peer="p",
        steward=True,
        swarm="s",
        swarm_id="00",
        state="paused: heat",
        pauses=[
            PauseStatus(kind="heat", since=0.0, lasts_s=720.0, why="75.3 °C", ends="below 60 °C")
        ],
        budgets=BudgetStatus(
            network_mb_left=83.14,
            network_mb_per_day=100.0,
            flash_mb_left=None,
            flash_mb_per_day=100.0,
        ),
        celsius=75.3,
    )
    assert parse_status(pack_status(found)) == found
    rows = status_rows(found)
    assert ("paused", "heat, for 12 min: 75.3 °C; ends below 60 °C") in rows
    left = "83.1 of 100 MB of network; what is written cannot be counted here"
    assert ("left today", left) in rows
    assert dict(rows)["cost"].endswith("0 MB, 75 °C")
