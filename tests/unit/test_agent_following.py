"""The listening half: replicas that are the author's own bit for bit, whatever the network does."""

from __future__ import annotations

import struct
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer_agent.events import Append, Effect, Send
from gossamer_agent.following import READERS_KEPT, RENEWAL_ROUNDS, Followed, Following, Refusal
from gossamer_agent.members.remembered import (
    load_reputation,
    load_watermarks,
    save_reputation,
    save_watermarks,
)
from gossamer_agent.publisher import LEASE_ROUNDS, RETAINED_DELTAS, Publisher
from gossamer_agent.reputation import ReputationTable
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.state import StateStore
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.errors import Reason
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import PeerId
from gossamer_transport.codec import Codec
from gossamer_transport.limits import Limits
from gossamer_transport.wire import (
    AddressesFrame,
    AnnounceFrame,
    EntryFrame,
    FollowFrame,
    Frame,
    HeadFrame,
    RosterFrame,
    UnfollowFrame,
    WantFrame,
    pack_frame,
    unpack_frame,
)

if TYPE_CHECKING:
    from conftest import World

NOW, LOST, TWICE, OVERTAKES = range(4)
FATES = 8  # the others: so many ticks late
QUIET_ROUNDS = 14


@dataclass(frozen=True, slots=True)
class Plan:
    """When a follower begins, when no frame reaches or leaves it, when it goes and comes back."""

    joins: int = 1
    offline: range = range(0)
    leaves: int | None = None


@dataclass(slots=True)
class Follower:
    peer: PeerId
    plan: Plan
    following: Following
    blamed: list[Refusal] = field(default_factory=list)


@dataclass(order=True, slots=True)
class Letter:
    due: int
    sender: PeerId = field(compare=False)
    receiver: PeerId = field(compare=False)
    frame: bytes = field(compare=False)


class Story:
    """One author, its followers, and a network that does to each frame what `fates` says."""

    def __init__(self, world: World, plans: list[Plan], fates: bytes = b"", chatter: int = 0):
        self.world = world
        self.author = world.publisher(0)
        self.hashes = [self.author.replica.hash]
        self.round = 0
        self.followers = [
            Follower(world.peers[number], plan, world.following())
            for number, plan in enumerate(plans, start=1)
        ]
        self.frames_of_author = 0
        self._fates = deque(fates)
        self._chatter = chatter
        self._mail: deque[Letter] = deque()

    def replica(self, number: int = 0) -> Followed:
        return self.followers[number].following._followed[self.author_id]

    @property
    def author_id(self) -> PeerId:
        return self.world.peers[0]

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self.round += 1
            for _ in range(self._chatter):
                self.author.record(Kind.STANDING, b"no follower sees this")
            params = self.world.drift(self.author.replica.vector, self.round)
            effects = self.author.publish(params, self.round)
            self.hashes.append(self.author.replica.hash)
            self._post(self.author_id, effects)
            for follower in self.followers:
                self._tend(follower)
            self._deliver()

    def rest(self) -> None:
        """The network recovers; then everybody must hold the newest step, bit for bit."""
        self._fates.clear()
        for follower in self.followers:
            follower.plan = Plan()
        self.run(QUIET_ROUNDS)
        for follower in self.followers:
            assert follower.blamed == [], "no fault of the network is a fault of a peer"
            (held,) = follower.following.replicas(self.round)
            assert (held[1].step, held[1].hash) == (self.round, self.hashes[-1])

    def _tend(self, follower: Follower) -> None:
        following, plan = follower.following, follower.plan
        if self.round == plan.leaves:
            self._post(follower.peer, following.unfollow(self.author_id))
        elif plan.leaves is not None and plan.leaves < self.round < plan.leaves + 3:
            return
        elif self.round >= plan.joins and not following.peers:
            self._post(follower.peer, following.follow(self.author_id, self.round))
        else:
            self._post(follower.peer, following.heal(self.round))

    def _post(self, sender: PeerId, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Send):
                continue
            self.frames_of_author += sender == self.author_id
            letter = Letter(self.round, sender, effect.peer, effect.frame)
            fate = self._fates.popleft() % FATES if self._fates else NOW
            if fate == OVERTAKES:
                self._mail.appendleft(letter)
            elif fate != LOST:
                letter.due += max(0, fate - OVERTAKES)
                self._mail.append(letter)
            if fate == TWICE:
                self._mail.append(Letter(self.round + 3, sender, effect.peer, effect.frame))

    def _deliver(self) -> None:
        while True:
            letter = next((letter for letter in self._mail if letter.due <= self.round), None)
            if letter is None:
                return
            self._mail.remove(letter)
            ends = (letter.sender, letter.receiver)
            away = [f.peer for f in self.followers if self.round in f.plan.offline]
            if not any(end in away for end in ends):
                self._receive(letter)

    def _receive(self, letter: Letter) -> None:
        frame = unpack_frame(letter.frame, self.world.swarm.limits)
        match frame:
            case FollowFrame(step=step):
                self._post(self.author_id, self.author.follow(letter.sender, step))
            case UnfollowFrame():
                self.author.unfollow(letter.sender)
            case WantFrame(entry_hash=entry_hash):
                self._post(self.author_id, self.author.want(letter.sender, entry_hash))
            case EntryFrame(envelope=envelope):
                follower = self._follower(letter.receiver)
                refusal = follower.following.accept(letter.sender, envelope, self.round)
                self._check(follower, refusal)
            case HeadFrame(head=head):
                follower = self._follower(letter.receiver)
                answer = follower.following.announced(letter.sender, head)
                if isinstance(answer, Refusal):
                    self._check(follower, answer)
                else:
                    self._post(letter.receiver, answer)

    def _follower(self, peer: PeerId) -> Follower:
        return next(follower for follower in self.followers if follower.peer == peer)

    def _check(self, follower: Follower, refusal: Refusal | None) -> None:
        if refusal is not None and refusal.culprit is not None:
            follower.blamed.append(refusal)
        followed = follower.following._followed.get(self.author_id)
        if followed is not None:
            assert followed.replica.hash == self.hashes[followed.replica.step]
            assert len(followed.early) <= self.world.swarm.limits.pending_deltas_max


ROUNDS = st.integers(1, 80)
PLANS = st.builds(
    Plan,
    joins=st.integers(1, 70),
    offline=st.tuples(ROUNDS, st.sampled_from([0, 3, 12, RETAINED_DELTAS + 6])).map(
        lambda span: range(span[0], span[0] + span[1])
    ),
    leaves=st.none() | ROUNDS,
)


def codec_name(codec: Codec) -> str:
    return codec.name.lower()


@pytest.mark.slow
@pytest.mark.parametrize("codec", Codec, ids=codec_name)
@settings(max_examples=20, deadline=None)
@given(
    plans=st.lists(PLANS, min_size=1, max_size=3),
    fates=st.binary(max_size=400),
    rounds=ROUNDS,
    pulled=st.booleans(),
    chatter=st.sampled_from([0, 1, 4]),
)
@example([Plan(), Plan(joins=40)], bytes(range(256)), 80, True, 1)
@example([Plan(offline=range(5, 75))], b"", 76, False, 0)
@example([Plan(leaves=30), Plan(joins=20, leaves=21)], b"\x02" * 200, 60, True, 2)
@example([Plan()], bytes([OVERTAKES] * 100), 30, False, 1)
def test_replicas_are_bit_equal_under_any_loss_duplication_and_reordering(
    new_world: type[World],
    codec: Codec,
    plans: list[Plan],
    fates: bytes,
    rounds: int,
    pulled: bool,
    chatter: int,
) -> None:
    """At every moment a replica is one that the author had; after a quiet time it is the newest."""
    limits = Limits(inline_bytes_max=1 if pulled else 1 << 20)
    world = new_world(4, codec=codec, parameters=1000, limits=limits)
    story = Story(world, plans, fates, chatter)
    story.run(rounds)
    story.rest()


class TestHealing:
    @pytest.mark.parametrize("codec", Codec, ids=codec_name)
    def test_a_late_joiner_starts_from_a_keyframe(
        self, new_world: type[World], codec: Codec
    ) -> None:
        story = Story(new_world(3, codec=codec), [Plan(), Plan(joins=40)])
        story.run(40)
        before = story.frames_of_author
        story.run(1)
        assert story.frames_of_author - before == 2, "a delta for one, a keyframe for the other"
        assert story.replica(1).replica.step == 41
        story.rest()

    @pytest.mark.parametrize("codec", Codec, ids=codec_name)
    def test_an_absence_beyond_what_the_author_retains(
        self, new_world: type[World], codec: Codec
    ) -> None:
        away = range(5, 5 + RETAINED_DELTAS + 30)
        story = Story(new_world(3, codec=codec), [Plan(offline=away)])
        story.run(away.stop)
        assert story.replica().replica.step == 4
        story.run(3)
        assert story.replica().replica.step == story.round

    def test_a_lost_delta_is_asked_for_in_the_next_round(self, new_world: type[World]) -> None:
        story = Story(new_world(3), [Plan(offline=range(5, 6))])
        story.run(6)
        assert story.replica().replica.step == 4
        assert list(story.replica().early) == [6]
        story.run(1)
        assert story.replica().replica.step == 7
        assert story.replica().early == {}

    def test_a_lost_follow_is_sent_again(self, new_world: type[World]) -> None:
        story = Story(new_world(3), [Plan(offline=range(1, 2))])
        story.run(5)
        story.rest()

    def test_deltas_that_come_in_reverse_order_are_all_used(self, new_world: type[World]) -> None:
        world = new_world(3, parameters=4096)
        story = Story(world, [Plan(offline=range(2, 7))], bytes([NOW] * 8 + [OVERTAKES] * 50))
        story.run(6)
        story.run(2)
        assert story.replica().replica.step == 8

    def test_a_delta_below_the_window_costs_nobody_and_heals(self, new_world: type[World]) -> None:
        """70 records between two deltas that swap places push the first out of the window."""
        story = Story(new_world(3, parameters=4096), [Plan(offline=range(3, 4))], chatter=70)
        story.run(4)
        assert story.replica().replica.step == 2
        story.run(8)
        story.rest()

    def test_the_asking_ends_when_there_is_nothing_to_heal(self, new_world: type[World]) -> None:
        story = Story(new_world(3), [Plan()])
        story.run(5)
        following = story.followers[0].following
        assert following.heal(5) == following.heal(6) == []
        assert story.world.frames(following.heal(7)) == [(story.author_id, FollowFrame(5))]


@dataclass(slots=True)
class Pair:
    """A follower, its author, and the author's entries, delivered by hand."""

    world: World
    following: Following
    publisher: Publisher
    entries: list[Envelope]

    @property
    def author(self) -> PeerId:
        return self.world.peers[0]

    @property
    def followed(self) -> Followed:
        return self.following._followed[self.author]

    def accept(self, *numbers: int, sender: int = 0) -> list[Refusal | None]:
        peer, entries = self.world.peers[sender], self.entries
        return [self.following.accept(peer, entries[number], 1) for number in numbers]

    def fork(self, number: int) -> Envelope:
        """Another entry with the seq of this one."""
        header = self.entries[number].header
        body = b"another story"
        return self.world.sealed(0, Kind.DELTA, body, seq=header.seq, prev=header.prev)


@pytest.fixture
def pair(new_world: type[World]) -> Pair:
    """The author's first 40 deltas, and a follower that has none of them."""
    world = new_world(3)
    author, entries = world.publisher(0), []
    for step in range(40):
        effects = author.publish(world.drift(author.replica.vector, step), step)
        entries += [effect.entry for effect in effects if isinstance(effect, Append)]
    following = world.following()
    following.follow(world.peers[0], 0)
    return Pair(world, following, author, entries)


class TestQueue:
    def test_early_deltas_wait_and_nothing_is_kept_beyond_the_limit(self, pair: Pair) -> None:
        assert pair.accept(*range(39, 0, -1)) == [None] * 39
        assert sorted(pair.followed.early) == list(range(2, 9))
        assert pair.accept(0) == [None]
        assert (pair.followed.replica.step, pair.followed.early) == (8, {})

    def test_a_gap_is_asked_for_in_the_next_round(self, pair: Pair) -> None:
        pair.accept(0)
        assert pair.following.heal(2) == []
        pair.accept(2)
        frames = pair.world.frames(pair.following.heal(2))
        assert frames == [(pair.author, FollowFrame(1))]

    def test_what_was_too_early_is_taken_when_it_comes_again(self, pair: Pair) -> None:
        pair.accept(20)
        assert pair.followed.reader.highest is None
        pair.accept(*range(21))
        assert pair.followed.replica.step == 21

    def test_the_same_entry_again_costs_its_author_nothing(self, pair: Pair) -> None:
        pair.accept(0, 2)
        assert pair.accept(0, 2, 2, 0) == [None] * 4
        assert pair.followed.replica.step == 1

    def test_entries_of_others_are_dropped_without_a_word(self, pair: Pair) -> None:
        pair.following.unfollow(pair.author)
        assert pair.accept(0, sender=1) == [None]
        assert pair.following.peers == ()


def test_a_follower_renews_its_lease_often_enough(pair: Pair) -> None:
    """Though it lacks nothing, and even if most of its frames get lost."""
    asked = 0
    for round_ in range(1, LEASE_ROUNDS + 1):
        assert pair.following.accept(pair.author, pair.entries[round_ - 1], round_) is None
        asked += pair.following.heal(round_) != []
    assert asked == LEASE_ROUNDS // RENEWAL_ROUNDS >= 3


class TestFreshness:
    def test_a_replica_votes_while_it_moves(self, pair: Pair) -> None:
        assert pair.following.replicas(1) == [], "the genesis replica says nothing of a peer"
        pair.accept(0)
        allowed = 1 + pair.world.swarm.policy.stale_rounds
        assert [peer for peer, _ in pair.following.replicas(allowed)] == [pair.author]
        assert pair.following.silent(allowed) == []
        assert pair.following.replicas(allowed + 1) == []
        assert pair.following.silent(allowed + 1) == [pair.author]

    def test_a_peer_that_never_speaks_is_silent_from_when_it_was_followed(
        self, new_world: type[World]
    ) -> None:
        world = new_world(3)
        following = world.following()
        following.follow(world.peers[0], 10)
        assert following.silent(14) == []
        assert following.silent(15) == [world.peers[0]]

    def test_duplicates_do_not_keep_a_replica_fresh(self, pair: Pair) -> None:
        pair.accept(0)
        for round_ in range(1, 9):
            pair.following.accept(pair.author, pair.entries[0], round_)
        assert pair.following.silent(8) == [pair.author]


class TestHeads:
    def announce(self, pair: Pair, number: int, sender: int = 0) -> list[Effect] | Refusal:
        head = pair.entries[number].head
        return pair.following.announced(pair.world.peers[sender], head)

    def wanted(self, pair: Pair, answer: list[Effect] | Refusal) -> list[tuple[PeerId, bytes]]:
        assert not isinstance(answer, Refusal)
        frames = pair.world.frames(answer)
        return [(to, frame.entry_hash) for to, frame in frames if isinstance(frame, WantFrame)]

    def test_head_then_want_then_entry(self, pair: Pair) -> None:
        wanted = self.wanted(pair, self.announce(pair, 0))
        assert wanted == [(pair.author, pair.entries[0].entry_hash)]
        assert pair.followed.replica.step == 0
        pair.accept(0)
        assert pair.followed.replica.step == 1

    def test_it_is_pulled_from_whoever_announced_it(self, pair: Pair) -> None:
        assert self.wanted(pair, self.announce(pair, 0, sender=1))[0][0] == pair.world.peers[1]

    def test_the_same_head_again_is_not_pulled_again(self, pair: Pair) -> None:
        self.announce(pair, 0)
        assert self.announce(pair, 0) == []
        pair.accept(0)
        assert self.announce(pair, 0) == []

    def test_after_healing_the_same_head_is_pulled_again(self, pair: Pair) -> None:
        """The want or the entry was lost."""
        self.announce(pair, 0)
        pair.following.heal(2)
        assert len(self.wanted(pair, self.announce(pair, 0))) == 1

    def test_a_lost_want_is_sent_again_after_healing(self, new_world: type[World]) -> None:
        world = new_world(3, limits=Limits(inline_bytes_max=1))
        story = Story(world, [Plan()], bytes([NOW, NOW, LOST]))
        story.run(2)  # follow and head arrive, the want does not
        assert story.replica().replica.step == 0
        assert story.replica().wanted is not None
        story.run(3)
        assert story.replica().replica.step == story.round

    def test_heads_of_others_are_dropped_without_a_word(self, pair: Pair) -> None:
        pair.following.unfollow(pair.author)
        assert self.announce(pair, 0) == []

    def test_a_forged_head_is_not_pulled_and_charged_to_its_sender(self, pair: Pair) -> None:
        forged = pair.world.sealed(1, Kind.DELTA, b"x").head
        head = replace(pair.entries[0].head, signature=forged.signature)
        answer = pair.following.announced(pair.world.peers[1], head)
        assert isinstance(answer, Refusal)
        assert (answer.culprit, answer.reason) == (pair.world.peers[1], Reason.BAD_SIGNATURE)
        assert pair.followed.wanted is None

    def test_a_fork_is_found_by_its_head(self, pair: Pair) -> None:
        pair.accept(0, 1)
        answer = pair.following.announced(pair.world.peers[1], pair.fork(1).head)
        assert isinstance(answer, Refusal)
        assert (answer.culprit, answer.reason) == (pair.author, Reason.FORK)


class TestComingBack:
    def test_the_replica_starts_anew(self, pair: Pair) -> None:
        pair.accept(*range(5))
        pair.following.unfollow(pair.author)
        pair.following.follow(pair.author, 9)
        assert pair.followed.replica.step == 0
        assert pair.accept(*range(7)) == [None] * 7
        assert pair.followed.replica.step == 7

    def test_another_story_after_our_return_is_a_fork(self, pair: Pair) -> None:
        pair.accept(*range(5))
        pair.following.unfollow(pair.author)
        pair.following.follow(pair.author, 9)
        refusal = pair.following.accept(pair.author, pair.fork(3), 9)
        assert refusal is not None
        assert (refusal.culprit, refusal.reason) == (pair.author, Reason.FORK)

    def test_the_memory_of_those_we_left_is_bounded(self, pair: Pair) -> None:
        pair.accept(0)
        for number in range(READERS_KEPT + 10):
            peer = PeerId(number.to_bytes(32, "big"))
            pair.following.follow(peer, 0)
            pair.following.unfollow(peer)
        assert len(pair.following._left) == READERS_KEPT
        pair.following.unfollow(pair.author)
        assert len(pair.following._left) == READERS_KEPT
        assert pair.author in pair.following._left


def test_a_replica_that_came_out_wrong_is_healed_by_a_keyframe(pair: Pair) -> None:
    """As after a flipped bit in this device's memory."""
    replica, reader = pair.followed.replica, pair.world.peers[1]
    pair.accept(0)
    damaged = replica.vector.copy()
    damaged[0] += 1.0
    replica._vector = damaged
    (refusal,) = pair.accept(1)
    assert refusal is not None
    assert (refusal.culprit, refusal.reason) == (pair.author, Reason.REPLICA_MISMATCH)
    assert replica.step == 1
    ((_, asked),) = pair.world.frames(pair.following.heal(9))
    assert asked == FollowFrame(0), "the deltas would lead to the same wrong place again"
    assert pair.publisher.follow(reader, 0) == []
    ((_, frame),) = pair.world.frames(pair.publisher.publish(pair.publisher.replica.vector, 50))
    assert isinstance(frame, EntryFrame)
    assert pair.following.accept(pair.author, frame.envelope, 9) is None
    assert (replica.step, replica.hash) == (41, pair.publisher.replica.hash)
    assert not replica.poisoned


class TestIncarnations:
    """The author lost its store and began a new feed from the genesis replica."""

    @pytest.fixture
    def reborn(self, pair: Pair) -> list[Envelope]:
        """The first 20 deltas of the author's second life."""
        swarm = pair.world.swarm
        again = pair.world.publisher(0)
        again.feed = FeedWriter(
            pair.world.identities[0],
            swarm.swarm_id,
            swarm.epochs,
            np.random.default_rng(7).bytes,
            incarnation=1,
        )
        entries = []
        for step in range(20):
            effects = again.publish(pair.world.drift(again.replica.vector, "again", step), step)
            entries += [effect.entry for effect in effects if isinstance(effect, Append)]
        self.hash = again.replica.hash
        return entries

    def take(self, pair: Pair, *entries: Envelope) -> list[Refusal | None]:
        return [pair.following.accept(pair.author, entry, 1) for entry in entries]

    def test_the_replica_starts_anew_once(self, pair: Pair, reborn: list[Envelope]) -> None:
        pair.accept(*range(5))
        assert self.take(pair, *reborn) == [None] * 20
        assert (pair.followed.replica.step, pair.followed.replica.hash) == (20, self.hash)

    def test_the_old_feed_is_over_and_nobody_is_to_blame(
        self, pair: Pair, reborn: list[Envelope]
    ) -> None:
        pair.accept(*range(5))
        self.take(pair, *reborn[:2])
        (refusal,) = pair.accept(5)
        assert refusal is not None
        assert (refusal.culprit, refusal.reason) == (None, Reason.REPLAYED)
        (refusal,) = pair.accept(5, sender=1)
        assert refusal is not None
        assert (refusal.culprit, refusal.reason) == (pair.world.peers[1], Reason.REPLAYED)
        assert pair.followed.replica.step == 2

    def test_a_forged_incarnation_changes_nothing(self, pair: Pair, reborn: list[Envelope]) -> None:
        pair.accept(*range(5))
        head = replace(reborn[0].head, signature=pair.entries[0].head.signature)
        forged = replace(reborn[0], head=head)
        refusal = pair.following.accept(pair.world.peers[1], forged, 1)
        assert refusal is not None
        assert (refusal.culprit, refusal.reason) == (pair.world.peers[1], Reason.BAD_SIGNATURE)
        assert pair.accept(5) == [None]
        assert pair.followed.replica.step == 6

    def test_the_old_feed_is_over_even_if_the_new_one_came_too_early_to_keep(
        self, pair: Pair, reborn: list[Envelope]
    ) -> None:
        """A delta far ahead is not recorded, but the replica has been left."""
        pair.accept(*range(5))
        assert self.take(pair, reborn[19]) == [None]
        assert pair.followed.replica.step == 0
        (refusal,) = pair.accept(5)
        assert refusal is not None
        assert refusal.reason is Reason.REPLAYED
        assert pair.world.frames(pair.following.heal(3)) == [(pair.author, FollowFrame(0))]
        self.take(pair, *reborn)
        assert pair.followed.replica.hash == self.hash

    def test_what_waited_for_a_gap_of_the_old_feed_is_dropped(
        self, pair: Pair, reborn: list[Envelope]
    ) -> None:
        pair.accept(0, 2, 3)
        self.take(pair, reborn[0])
        assert pair.followed.early == {}
        assert self.take(pair, reborn[1], reborn[2]) == [None, None]
        assert pair.followed.replica.step == 3

    def test_it_stays_over_when_we_leave_and_come_back(
        self, pair: Pair, reborn: list[Envelope]
    ) -> None:
        self.take(pair, *reborn[:3])
        pair.following.unfollow(pair.author)
        pair.following.follow(pair.author, 9)
        (refusal,) = pair.accept(0)
        assert refusal is not None
        assert refusal.reason is Reason.REPLAYED
        assert self.take(pair, *reborn) == [None] * 20


class TestRestart:
    """What an earlier run of this agent had read, a later one does not read again."""

    @pytest.fixture
    def chatty(self, new_world: type[World]) -> Pair:
        """100 deltas; the window holds the last 64."""
        world = new_world(3)
        author, entries = world.publisher(0), []
        for step in range(100):
            effects = author.publish(world.drift(author.replica.vector, step), step)
            entries += [effect.entry for effect in effects if isinstance(effect, Append)]
        following = world.following()
        following.follow(world.peers[0], 0)
        return Pair(world, following, author, entries)

    def restart(self, pair: Pair, tmp_path: Path) -> Pair:
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            save_watermarks(state, pair.following)
        following = pair.world.following()
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            load_watermarks(state, following)
        following.follow(pair.author, 0)
        return Pair(pair.world, following, pair.publisher, pair.entries)

    def test_replayed_traffic_below_the_window_is_refused(
        self, chatty: Pair, tmp_path: Path
    ) -> None:
        chatty.accept(*range(100))
        again = self.restart(chatty, tmp_path)
        refusals = again.accept(*range(36), sender=1)
        assert {refusal.reason for refusal in refusals if refusal} == {Reason.REPLAYED}
        assert None not in refusals
        assert again.followed.replica.step == 0

    def test_another_story_at_the_watermark_is_a_fork(self, chatty: Pair, tmp_path: Path) -> None:
        chatty.accept(*range(100))
        again = self.restart(chatty, tmp_path)
        refusal = again.following.accept(again.author, again.fork(99), 1)
        assert refusal is not None
        assert (refusal.culprit, refusal.reason) == (again.author, Reason.FORK)

    def test_an_honest_author_is_followed_from_its_keyframe(
        self, chatty: Pair, tmp_path: Path
    ) -> None:
        chatty.accept(*range(100))
        again = self.restart(chatty, tmp_path)
        author, follower = again.publisher, again.world.peers[1]
        sent = author.follow(follower, 0)
        sent += author.publish(again.world.drift(author.replica.vector, "after"), 100)
        for _, frame in again.world.frames(sent):
            assert isinstance(frame, EntryFrame)
            assert again.following.accept(again.author, frame.envelope, 1) is None
        assert again.followed.replica.hash == author.replica.hash

    def test_those_we_left_are_remembered_as_well(self, chatty: Pair, tmp_path: Path) -> None:
        chatty.accept(*range(100))
        chatty.following.unfollow(chatty.author)
        assert chatty.following.watermarks() == [chatty.entries[99].head]
        again = self.restart(chatty, tmp_path)
        assert again.following.watermarks() == [chatty.entries[99].head]

    def test_a_forged_watermark_does_not_pass(self, chatty: Pair, tmp_path: Path) -> None:
        chatty.accept(0)
        head = chatty.entries[0].head
        forged = replace(head, signature=chatty.entries[1].head.signature)
        chatty.followed.reader._highest = forged
        with pytest.raises(DamagedStoreError, match="'watermarks'"):
            self.restart(chatty, tmp_path)


class TestReputationAcrossRestarts:
    def table(self) -> ReputationTable:
        table = ReputationTable()
        table.offence(PeerId(b"a" * 32), Reason.FORK, 500)
        table.observe(PeerId(b"b" * 32), 1.0, 1.0, 400)
        return table

    def reload(self, table: ReputationTable, tmp_path: Path, round_: int) -> ReputationTable:
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            save_reputation(state, table)
            restored = ReputationTable()
            load_reputation(state, restored, round_)
        return restored

    def test_a_restart_washes_nobody_clean(self, tmp_path: Path) -> None:
        table = self.table()
        assert self.reload(table, tmp_path, 500).snapshot() == table.snapshot()

    def test_a_quarantine_outlasts_a_lost_feed_by_its_own_length_only(self, tmp_path: Path) -> None:
        peer = PeerId(b"a" * 32)
        restored = self.reload(self.table(), tmp_path, 0)
        assert restored.is_quarantined(peer)
        assert restored.release(15) == []
        assert [change.peer for change in restored.release(16)] == [peer]

    def test_rows_of_the_first_version_are_read(self, tmp_path: Path) -> None:
        """24 bytes: score, round of the quarantine or -1, last heard of; no bans, no evidence."""
        out, free = PeerId(b"a" * 32), PeerId(b"b" * 32)
        table = ReputationTable()
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            state.put("reputation", out, struct.pack(">dqq", 0.25, 30, 40))
            state.put("reputation", free, struct.pack(">dqq", 0.75, -1, 41))
            load_reputation(state, table, 50)
        assert (table.is_quarantined(out), table.is_quarantined(free)) == (True, False)
        assert (table.score(out), table.score(free)) == (0.25, 0.75)
        assert [len(table.release(round_)) for round_ in (45, 46)] == [0, 1]
        known = table.known(free)
        assert known is not None
        assert (known.newcomer, known.seen_at, known.evidence) == (True, 41, ())

    def test_rows_of_the_second_version_are_read(self, tmp_path: Path) -> None:
        """They do not count quarantines: one that lasts is the first."""
        table = self.table()
        rows = table.snapshot()
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            for row in rows:
                since = -1 if row.quarantined_at is None else row.quarantined_at
                numbers = (2, row.score, since, row.seen_at, -1, row.judged, len(row.change))
                head = struct.pack(">BdqqqqB", *numbers)
                state.put("reputation", row.peer, head + row.change + row.ring)
            restored = ReputationTable()
            load_reputation(state, restored, 500)
        assert restored.snapshot() == rows
        assert [row.times for row in rows] == [1, 0]

    def test_a_row_of_another_format_is_refused(self, tmp_path: Path) -> None:
        with closing(StateStore(tmp_path / "state.sqlite3")) as state:
            state.put("reputation", b"a" * 32, b"short")
            with pytest.raises(DamagedStoreError, match="another format"):
                load_reputation(state, ReputationTable(), 0)


@pytest.mark.parametrize("kind", ["announce", "roster", "addresses"])
def test_control_frames_are_not_for_one_peer_and_cost_nobody(
    new_world: type[World], pair: Pair, kind: str
) -> None:
    shell = new_world(3).shell(1)
    frames: dict[str, Frame] = {
        "announce": AnnounceFrame(pair.entries[0].head),
        "roster": RosterFrame(b"entry"),
        "addresses": AddressesFrame(pair.author, ("/ip4/192.0.2.1/tcp/1",)),
    }
    shell.receive(pair.author, pack_frame(frames[kind]))
    assert [refused.reason for refused in shell.refused] == [Reason.UNEXPECTED]
    assert pair.author not in shell.core.reputation
