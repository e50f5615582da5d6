"""The publishing half: what followers are sent, what it costs at most, and who can make it cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.events import Append, Effect, Send
from gossamer_agent.learner import Vector
from gossamer_agent.publisher import LEASE_ROUNDS, RETAINED_DELTAS, Publisher
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.feed import verify_chain
from gossamer_crypto.identity import PeerId
from gossamer_transport.codec import Codec
from gossamer_transport.delta import unpack_delta, unpack_keyframe
from gossamer_transport.errors import DivergedError
from gossamer_transport.limits import Limits
from gossamer_transport.replica import Replica
from gossamer_transport.wire import EntryFrame, Frame, HeadFrame

if TYPE_CHECKING:
    from conftest import World

FAR_TOO_LARGE = 1 << 62


class Author:
    """A publisher with a life: its parameters drift, and its replica of every step is kept."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.publisher: Publisher = world.publisher(0)
        self.history: list[Vector] = [self.publisher.replica.vector]
        self.entries: list[Envelope] = []

    @property
    def step(self) -> int:
        return self.publisher.replica.step

    def publish(self, times: int = 1) -> list[Effect]:
        effects: list[Effect] = []
        for _ in range(times):
            params = self.world.drift(self.publisher.replica.vector, self.step)
            effects = self.publisher.publish(params, self.step + 1)
            self.history.append(self.publisher.replica.vector)
            self.entries += [effect.entry for effect in effects if isinstance(effect, Append)]
        return effects

    def fresh_replica(self, step: int = 0) -> Replica:
        """What a follower holds that followed every delta up to `step`."""
        swarm = self.world.swarm
        replica = Replica(swarm.initial, swarm.policy.codec, swarm.contract.bound)
        for entry in self.entries:
            if entry.header.kind is Kind.DELTA and replica.step < step:
                self.take(replica, entry)
        return replica

    def take(self, replica: Replica, entry: Envelope) -> None:
        """Apply an entry as a follower would; a gap or a damaged body raises."""
        secret = self.world.swarm.epochs.secret(entry.header.epoch)
        assert secret is not None
        body = open_envelope(entry, secret)
        size, codec = replica.vector.size, self.world.swarm.policy.codec
        if entry.header.kind is Kind.KEYFRAME:
            replica.restart(unpack_keyframe(body, size, codec))
        else:
            replica.apply(unpack_delta(body, size, codec))


def kinds(frames: Sequence[tuple[PeerId, Frame]]) -> list[tuple[PeerId, str]]:
    """Receiver and what it gets: "delta", "keyframe", or with "head of " before it."""
    told = []
    for peer, frame in frames:
        if isinstance(frame, EntryFrame):
            told.append((peer, frame.envelope.header.kind.name.lower()))
        else:
            assert isinstance(frame, HeadFrame)
            told.append((peer, f"head of {frame.head.header.kind.name.lower()}"))
    return told


@pytest.fixture
def world(new_world: type[World]) -> World:
    return new_world(6)


@pytest.fixture
def author(world: World) -> Author:
    return Author(world)


@pytest.fixture
def big(new_world: type[World]) -> Author:
    """An author whose entries are all too large to be pushed."""
    return Author(new_world(6, limits=Limits(inline_bytes_max=1)))


class TestPublish:
    def test_followers_get_the_delta_and_nobody_else(self, author: Author) -> None:
        _, ann, bob, *_ = author.world.peers
        author.publisher.follow(bob, 0)
        author.publisher.follow(ann, 0)
        effects = author.publish()
        assert kinds(author.world.frames(effects)) == [(ann, "delta"), (bob, "delta")]
        assert isinstance(effects[0], Append), "durable before it is sent"

    def test_a_record_is_chained_and_sent_to_nobody(self, author: Author) -> None:
        author.publisher.follow(author.world.peers[1], 0)
        effects = author.publisher.record(Kind.MERGE, b"what a merge did")
        assert [type(effect) for effect in effects] == [Append]
        author.publish()
        merge = effects[0]
        assert isinstance(merge, Append)
        chain = [merge.entry, *author.entries]
        assert verify_chain(chain).ok

    def test_keyframes_are_made_on_demand_only(self, author: Author) -> None:
        author.publish(20)
        assert all(entry.header.kind is Kind.DELTA for entry in author.entries)

    def test_parameters_that_diverged_are_not_published(self, author: Author) -> None:
        author.publisher.follow(author.world.peers[1], 0)
        author.publish()
        before = author.publisher.replica.hash, author.publisher.feed.head
        with pytest.raises(DivergedError):
            author.publisher.publish(np.full(64, np.nan, np.float32), 9)
        assert (author.publisher.replica.hash, author.publisher.feed.head) == before
        assert kinds(author.world.frames(author.publish())) == [(author.world.peers[1], "delta")]


class TestFollow:
    def test_whoever_has_all_is_sent_nothing(self, author: Author) -> None:
        ann = author.world.peers[1]
        assert author.publisher.follow(ann, 0) == []
        author.publish(2)
        assert author.publisher.follow(ann, 2) == []
        assert kinds(author.world.frames(author.publish())) == [(ann, "delta")]

    def test_a_cheap_gap_is_filled_with_deltas(self, author: Author) -> None:
        author.publish(3)
        replica = author.fresh_replica(2)
        (frame,) = author.world.frames(author.publisher.follow(author.world.peers[1], 2))
        assert isinstance(frame[1], EntryFrame)
        author.take(replica, frame[1].envelope)
        assert replica.hash == author.publisher.replica.hash

    def test_a_newcomer_waits_for_a_keyframe_that_others_get_for_nothing(
        self, author: Author
    ) -> None:
        _, ann, bob, *_ = author.world.peers
        author.publisher.follow(ann, 0)
        author.publish(30)
        assert author.publisher.follow(bob, 0) == []
        sends = author.world.frames(author.publish())
        assert kinds(sends) == [(ann, "delta"), (bob, "keyframe")]
        ann_has, bob_has = author.fresh_replica(30), author.fresh_replica()
        for replica, (_, frame) in zip((ann_has, bob_has), sends, strict=True):
            assert isinstance(frame, EntryFrame)
            author.take(replica, frame.envelope)
        assert ann_has.hash == bob_has.hash == author.publisher.replica.hash
        assert kinds(author.world.frames(author.publish())) == [(ann, "delta"), (bob, "delta")]

    def test_a_second_newcomer_gets_the_same_keyframe_at_once(self, author: Author) -> None:
        _, ann, bob, *_ = author.world.peers
        author.publish(30)
        author.publisher.follow(ann, 0)
        (keyframe,) = author.world.frames(author.publish())
        assert author.world.frames(author.publisher.follow(bob, 0)) == [(bob, keyframe[1])]

    def test_a_follower_of_a_future_that_was_lost_starts_anew(self, author: Author) -> None:
        """After its disk was restored an author is behind its followers."""
        author.publish()
        (frame,) = author.world.frames(author.publisher.follow(author.world.peers[1], 5))
        assert kinds([frame]) == [(author.world.peers[1], "delta")]
        author.publish(30)
        assert author.publisher.follow(author.world.peers[1], FAR_TOO_LARGE) == []
        assert kinds(author.world.frames(author.publish())) == [(author.world.peers[1], "keyframe")]

    def test_an_author_that_was_restarted_has_no_past_to_send(self, author: Author) -> None:
        """Its replica was replayed from its feed; the deltas are on disk and not at hand."""
        author.publish(5)
        again = Author(author.world)
        for entry in author.entries:
            author.take(again.publisher.replica, entry)
        ann = author.world.peers[1]
        assert again.publisher.follow(ann, 4) == []
        (frame,) = author.world.frames(again.publish())
        assert kinds([frame]) == [(ann, "keyframe")]
        assert isinstance(frame[1], EntryFrame)
        replica = author.fresh_replica(4)
        author.take(replica, frame[1].envelope)
        assert replica.hash == again.publisher.replica.hash

    def test_who_joined_in_this_epoch_is_sent_nothing_of_an_earlier_one(
        self, author: Author
    ) -> None:
        """It was given no key of it. Members at any step hold that of the epoch before as well."""
        _, ann, bob, *_ = author.world.peers
        author.publish(3)
        epochs = author.world.swarm.epochs
        epochs._epoch += 1  # type: ignore[attr-defined]
        assert author.publisher.follow(ann, 0) == []
        assert kinds(author.world.frames(author.publisher.follow(bob, 2))) == [(bob, "delta")]
        sends = author.world.frames(author.publish())
        assert kinds(sends) == [(ann, "keyframe"), (bob, "delta")]
        replica = author.fresh_replica()
        assert isinstance(sends[0][1], EntryFrame)
        author.take(replica, sends[0][1].envelope)
        assert replica.hash == author.publisher.replica.hash
        epochs._epoch += 2  # type: ignore[attr-defined]
        assert author.publisher.follow(bob, 3) == []

    def test_unfollow_stops_everything(self, author: Author) -> None:
        _, ann, bob, *_ = author.world.peers
        author.publisher.follow(ann, 0)
        author.publish(30)
        author.publisher.follow(bob, 0)
        for peer in (ann, bob, author.world.peers[3]):
            author.publisher.unfollow(peer)
        assert [type(effect) for effect in author.publish()] == [Append]
        assert author.publisher.followers == ()

    @pytest.mark.slow
    @pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name.lower())
    @settings(max_examples=25, deadline=None)
    @given(
        newcomers=st.sets(st.integers(1, 80), max_size=4),
        length=st.integers(1, 80),
        behind=st.integers(0, 80),
    )
    def test_a_catch_up_is_whole_and_cheap(
        self,
        new_world: type[World],
        codec: Codec,
        newcomers: set[int],
        length: int,
        behind: int,
    ) -> None:
        """Whatever the author's past, a catch-up leads to its replica for at most a keyframe."""
        author = Author(new_world(6, codec=codec, parameters=1000))
        _, ann, bob, *_ = author.world.peers
        for step in range(length):
            if step in newcomers:
                author.publisher.follow(ann, 0)
            author.publish()
        step = max(0, length - behind)
        sends = author.world.frames(author.publisher.follow(bob, step))
        waits = not sends and step < length
        if waits:
            sends = [send for send in author.world.frames(author.publish()) if send[0] == bob]
        replica = author.fresh_replica(step)
        for _, frame in sends:
            assert isinstance(frame, EntryFrame)
            author.take(replica, frame.envelope)
        assert replica.hash == author.publisher.replica.hash
        keyframe_bytes = 1500 if codec is not Codec.FLOAT32 else 4500
        delta_bytes = author.entries[0].size
        size = sum(frame.envelope.size for _, frame in sends if isinstance(frame, EntryFrame))
        assert size <= keyframe_bytes + delta_bytes


class TestLimits:
    def test_one_catch_up_per_own_delta(self, author: Author) -> None:
        ann = author.world.peers[1]
        author.publish(2)
        assert len(author.publisher.follow(ann, 1)) == 1
        for step in (1, 0, FAR_TOO_LARGE):
            assert author.publisher.follow(ann, step) == []
        author.publish()
        assert len(author.publisher.follow(ann, 2)) == 1
        assert author.publisher.follow(ann, 2) == []

    def test_leaving_and_coming_back_does_not_buy_another_catch_up(self, author: Author) -> None:
        """Two frames of 3 bytes would otherwise fetch a keyframe, as often as one likes."""
        ann = author.world.peers[1]
        author.publish(2)
        assert len(author.publisher.follow(ann, 1)) == 1
        for _ in range(5):
            author.publisher.unfollow(ann)
            assert author.publisher.follow(ann, 1) == []
        assert author.publisher.followers == (ann,)

    def test_a_catch_up_for_one_does_not_use_up_that_of_another(self, author: Author) -> None:
        author.publish(2)
        for peer in author.world.peers[1:]:
            assert len(author.publisher.follow(peer, 1)) == 1

    def test_followers_max_holds(self, new_world: type[World]) -> None:
        author = Author(new_world(6, limits=Limits(followers_max=2)))
        _, ann, bob, eve, *_ = author.world.peers
        author.publish(2)
        for peer in (ann, bob):
            assert len(author.publisher.follow(peer, 1)) == 1
        assert author.publisher.follow(eve, 1) == []
        assert author.publisher.followers == (ann, bob)
        assert kinds(author.world.frames(author.publish())) == [(ann, "delta"), (bob, "delta")]
        assert len(author.publisher.follow(bob, 2)) == 1, "who follows may still fill a gap"
        author.publisher.unfollow(ann)
        assert len(author.publisher.follow(eve, 2)) == 1

    def test_the_past_is_bounded(self, author: Author) -> None:
        author.publish(RETAINED_DELTAS + 10)
        ann = author.world.peers[1]
        assert author.publisher.follow(ann, 5) == []
        assert kinds(author.world.frames(author.publish())) == [(ann, "keyframe")]


class TestWant:
    def test_a_large_entry_is_announced_and_pulled(self, big: Author) -> None:
        ann = big.world.peers[1]
        big.publisher.follow(ann, 0)
        effects = big.publish()
        ((_, head),) = big.world.frames(effects)
        assert isinstance(head, HeadFrame)
        assert isinstance(effects[0], Append)
        assert effects[0].entry.head == head.head
        pulled = big.publisher.want(ann, head.head.entry_hash)
        assert big.world.frames(pulled) == [(ann, EntryFrame(effects[0].entry))]

    def test_a_keyframe_is_pulled_too(self, big: Author) -> None:
        ann = big.world.peers[1]
        big.publish(30)
        big.publisher.follow(ann, 0)
        ((_, head),) = big.world.frames(big.publish())
        assert isinstance(head, HeadFrame)
        pulled = big.world.frames(big.publisher.want(ann, head.head.entry_hash))
        assert kinds(pulled) == [(ann, "keyframe")]

    def test_one_announcement_is_answered_once(self, big: Author) -> None:
        """A frame of 40 bytes would otherwise fetch megabytes, as often as one likes."""
        ann = big.world.peers[1]
        big.publisher.follow(ann, 0)
        ((_, head),) = big.world.frames(big.publish())
        assert isinstance(head, HeadFrame)
        assert len(big.publisher.want(ann, head.head.entry_hash)) == 1
        assert big.publisher.want(ann, head.head.entry_hash) == []
        big.publish()
        assert len(big.publisher.follow(ann, 0)) == 0  # waits for a keyframe
        assert big.publisher.want(ann, head.head.entry_hash) == []

    def test_a_new_announcement_is_answered_again(self, big: Author) -> None:
        """The first answer may have been lost."""
        ann = big.world.peers[1]
        big.publisher.follow(ann, 0)
        ((_, head),) = big.world.frames(big.publish())
        assert isinstance(head, HeadFrame)
        assert len(big.publisher.want(ann, head.head.entry_hash)) == 1
        assert kinds(big.world.frames(big.publisher.follow(ann, 0))) == [(ann, "head of delta")]
        assert len(big.publisher.want(ann, head.head.entry_hash)) == 1

    def test_only_those_to_whom_it_was_announced_can_pull(self, big: Author) -> None:
        _, ann, bob, eve, *_ = big.world.peers
        big.publisher.follow(ann, 0)
        ((_, head),) = big.world.frames(big.publish())
        assert isinstance(head, HeadFrame)
        big.publisher.follow(bob, 1)
        assert big.publisher.want(bob, head.head.entry_hash) == []
        assert big.publisher.want(eve, head.head.entry_hash) == []
        assert big.publisher.want(ann, bytes(32)) == []
        big.publisher.unfollow(ann)
        assert big.publisher.want(ann, head.head.entry_hash) == []

    def test_records_cannot_be_pulled(self, big: Author) -> None:
        ann = big.world.peers[1]
        big.publisher.follow(ann, 0)
        (record,) = big.publisher.record(Kind.MERGE, b"who was in it")
        assert isinstance(record, Append)
        assert big.publisher.want(ann, record.entry.entry_hash) == []


class TestLease:
    def test_who_never_asks_again_is_gone_after_a_while(self, author: Author) -> None:
        gone, there = author.world.peers[1:3]
        author.publisher.follow(gone, 0)
        author.publisher.follow(there, 0)
        for _ in range(LEASE_ROUNDS - 1):
            author.publish()
        assert author.publisher.followers == (gone, there)
        author.publisher.follow(there, author.step)
        author.publish()
        assert author.publisher.followers == (there,)


def test_any_run_of_calls_leaves_a_chain_that_verifies(author: Author) -> None:
    """Appends come in the order of the chain, each before the first frame that shows it."""
    chain: list[Envelope] = []
    for number in range(40):
        peer = author.world.peers[1 + number % 5]
        effects = author.publisher.record(Kind.MERGE, b"m") if number % 3 else []
        author.publisher.follow(peer, number // 2)
        effects += author.publish()
        if number % 7 == 0:
            author.publisher.unfollow(peer)
        for effect in effects:
            if isinstance(effect, Append):
                chain.append(effect.entry)
            elif isinstance(effect, Send):
                ((_, frame),) = author.world.frames([effect])
                assert isinstance(frame, EntryFrame)
                assert frame.envelope in chain
    assert verify_chain(chain, author.world.swarm.swarm_id).ok
    assert all(b.header.seq == a.header.seq + 1 for a, b in pairwise(chain))
