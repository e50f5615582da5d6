"""The round: what is merged, committed, served and logged, and who may take part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gossamer_agent.errors import ConfigError
from gossamer_agent.events import (
    Append,
    Evaluate,
    Merge,
    RoundDone,
    RoundDue,
    Send,
    Train,
)
from gossamer_agent.learner import Score, Vector
from gossamer_agent.merge.result import Merged, MergeInput
from gossamer_agent.merge.rules import RULES, merge
from gossamer_agent.probation import NEWCOMERS
from gossamer_agent.records import MergeRecord, StandingRecord
from gossamer_agent.reputation import NEWCOMER_ROUNDS, PENALTY_ROUNDS, START, Row
from gossamer_agent.rest import bounded_rest
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.feed import verify_chain
from gossamer_crypto.identity import PeerId
from gossamer_transport.codec import Codec
from gossamer_transport.delta import unpack_delta
from gossamer_transport.replica import Replica, replica_hash
from gossamer_transport.wire import FollowFrame, UnfollowFrame

if TYPE_CHECKING:
    from conftest import Shell, Town, World

WORSE = Score(9.0, 0.1, 20)
GOOD = Score(0.5, 0.8, 20)


@pytest.fixture
def world(new_world: type[World]) -> World:
    return new_world(5)


@pytest.fixture
def town(world: World) -> Town:
    """Five agents that follow each other and have published once."""
    town = world.town()
    town.meet()
    town.run_rounds(1)
    return town


def repeated(asked: Merge) -> Merged:
    return merge(asked.rule, asked.inputs, asked.own, round_=asked.round, initial=asked.initial)


def body(world: World, entry: Envelope) -> bytes:
    secret = world.swarm.epochs.secret(entry.header.epoch)
    assert secret is not None
    return open_envelope(entry, secret)


def merge_records(world: World, shell: Shell) -> list[MergeRecord]:
    return [MergeRecord.unpack(body(world, entry)) for entry in shell.entries(Kind.MERGE)]


def standings(world: World, shell: Shell) -> list[StandingRecord]:
    return [StandingRecord.unpack(body(world, entry)) for entry in shell.entries(Kind.STANDING)]


def history(world: World, shell: Shell) -> dict[int, Vector]:
    """Every replica of a peer, by step, from nothing but its own feed: what an auditor does."""
    swarm = world.swarm
    replica = Replica(swarm.initial, swarm.policy.codec, swarm.contract.bound)
    replicas = {0: replica.vector}
    for entry in shell.entries(Kind.DELTA):
        raw = body(world, entry)
        replica.apply(unpack_delta(raw, swarm.contract.parameters, swarm.policy.codec))
        replicas[replica.step] = replica.vector
    return replicas


def same(left: Vector, right: Vector) -> bool:
    return left.tobytes() == right.tobytes()


def phases(shell: Shell) -> Iterator[object]:
    """One round, stopped at each computation."""
    shell.tell(RoundDue())
    while shell.asked is not None:
        yield shell.asked
        shell.answer()


class TestAlone:
    def test_without_quorum_an_agent_trains_and_serves_its_own(self, world: World) -> None:
        town = world.town(residents=2)  # the quorum is 3
        town.meet()
        town.run_rounds(3)
        for shell in town.shells:
            assert [done.merged for done in shell.done] == [0, 0, 0]
            assert shell.merges == []
            assert same(shell.core.served, shell.core.params)
            assert list(shell.entries(Kind.MERGE)) == []

    def test_the_quorum_counts_the_agent_itself(self, world: World) -> None:
        town = world.town(residents=3)
        town.meet()
        town.run_rounds(2)
        assert [shell.done[-1].merged for shell in town.shells] == [3, 3, 3]

    def test_an_agent_that_is_left_alone_serves_its_own_again(self, town: Town) -> None:
        town.run_rounds(1)
        town.lost = lambda sender, receiver: True
        allowed = town.shells[0].core.following._policy.stale_rounds
        town.run_rounds(allowed + 1)
        for shell in town.shells:
            assert shell.done[-1] == RoundDone(round=allowed + 3, merged=0, committed=False)
            assert same(shell.core.served, shell.core.params)


class TestMerging:
    def test_a_round_goes_through_its_phases(self, town: Town) -> None:
        shell = town.shells[0]
        asked = [type(asked) for asked in phases(shell)]
        assert asked == [Merge, Evaluate, Train]
        assert shell.done[-1] == RoundDone(round=2, merged=5, committed=True)

    def test_the_inputs_are_the_replicas_that_followers_hold(
        self, world: World, town: Town
    ) -> None:
        shell = town.shells[0]
        shell.run_round()
        (asked,) = shell.merges
        assert [item.peer for item in asked.inputs] == sorted(world.peers)
        assert same(asked.initial, world.swarm.initial)
        for item, other in zip(asked.inputs, town.shells, strict=True):
            assert same(item.vector, history(world, other)[1])

    def test_a_merge_keeps_what_the_agent_has_not_yet_published(self, town: Town) -> None:
        """The own parameters are ahead of the own replica by what coding lost."""
        shell = town.shells[0]
        before, own = shell.core.params, shell.core.publisher.replica.vector
        assert not same(before, own)
        for asked in phases(shell):
            if isinstance(asked, Evaluate):
                assert same(asked.current, before)
            elif isinstance(asked, Train):
                (merged,) = shell.merges
                result = repeated(merged)
                rest = bounded_rest(before, own, result.radius)
                assert same(asked.params, result.vector + rest)

    def test_what_is_served_is_the_committed_merge_and_not_the_local_steps(
        self, town: Town
    ) -> None:
        shell = town.shells[0]
        shell.run_round()
        (merged,) = shell.merges
        assert same(shell.core.served, repeated(merged).vector)
        assert not same(shell.core.params, shell.core.served)

    def test_what_is_tried_on_the_holdout_is_what_would_be_served(self, town: Town) -> None:
        shell = town.shells[0]
        tried = [asked.candidate for asked in phases(shell) if isinstance(asked, Evaluate)]
        assert same(tried[0], shell.core.served)

    def test_a_merge_that_the_gate_refuses_changes_nothing(self, world: World, town: Town) -> None:
        shell = town.shells[0]
        shell.run_round()
        served, params = shell.core.served, shell.core.params
        shell.scores = (GOOD, WORSE)
        for asked in phases(shell):
            if isinstance(asked, Train):
                assert same(asked.params, params)
        assert same(shell.core.served, served)
        assert shell.done[-1] == RoundDone(round=3, merged=5, committed=False)
        first, second = merge_records(world, shell)
        assert (first.committed, second.committed) == (True, False)
        assert (second.loss_before, second.loss_after) == (GOOD.loss, WORSE.loss)

    def test_rules_of_the_literature_have_no_gate(self, new_world: type[World]) -> None:
        world = new_world(4, rule="median")
        town = world.town()
        town.meet()
        town.run_rounds(2)
        shell = town.shells[0]
        shell.scores = (GOOD, WORSE)
        assert [type(asked) for asked in phases(shell)] == [Merge, Train]
        record = merge_records(world, shell)[-1]
        assert record.committed
        assert np.isnan([record.loss_before, record.loss_after]).all()

    def test_an_unknown_rule_is_the_users_mistake(self, new_world: type[World]) -> None:
        with pytest.raises(ConfigError, match="unknown rule 'mode'"):
            new_world(3, rule="mode").agent(0)


class TestRoundDue:
    def test_it_is_ignored_while_the_agent_is_busy(self, town: Town) -> None:
        shell = town.shells[0]
        for _ in phases(shell):
            assert shell.tell(RoundDue()) == []
            assert shell.core.round == 2
        assert shell.core.round == 2
        shell.run_round()
        assert shell.core.round == 3

    def test_frames_that_come_while_it_is_busy_do_not_disturb_the_merge(
        self, world: World, town: Town
    ) -> None:
        shell, *others = town.shells
        shell.tell(RoundDue())
        for other in others:
            other.run_round()
        town.settle()
        assert all(replica.step == 2 for _, replica in shell.core.following.replicas(2))
        while shell.asked is not None:
            shell.answer()
        (record,) = merge_records(world, shell)
        assert [row.step for row in record.contributors] == [1] * 5
        recompute(world, town, shell, record)


def recompute(world: World, town: Town, shell: Shell, record: MergeRecord) -> None:
    """Make a logged merge again from the feeds of its contributors."""
    feeds = {other.peer_id: history(world, other) for other in town.shells}
    peers = [row.peer for row in record.contributors]
    assert peers == sorted(peers), "votes and distances stand in this order"
    inputs = []
    for row in record.contributors:
        vector = feeds[row.peer][row.step]
        assert replica_hash(vector) == row.replica_hash
        inputs.append(MergeInput(row.peer, vector, row.bounds.groups))
    bound = world.contract.bound
    again = merge(
        record.rule,
        inputs,
        shell.peer_id,
        bound=bound,
        round_=record.round,
        initial=world.swarm.initial,
    )
    assert replica_hash(again.vector) == record.result_hash
    assert again.votes.tolist() == [row.votes for row in record.contributors]
    assert again.clip.astype(np.float32).tolist() == [row.clip for row in record.contributors]
    assert again.distances.tolist() == [row.distance for row in record.contributors]
    assert again.radius == record.radius


class TestLog:
    @pytest.mark.parametrize("codec", Codec, ids=lambda codec: codec.name.lower())
    @pytest.mark.parametrize("rule", RULES)
    def test_every_merge_can_be_recomputed_from_the_feeds(
        self, new_world: type[World], rule: str, codec: Codec
    ) -> None:
        world = new_world(4, rule=rule, codec=codec)
        town = world.town()
        town.meet()
        town.run_rounds(4)
        for shell in town.shells:
            records = merge_records(world, shell)
            assert [record.round for record in records] == [2, 3, 4]
            assert all(len(record.contributors) == 4 for record in records)
            for record in records:
                recompute(world, town, shell, record)

    def test_a_feed_begins_with_the_genesis_and_verifies(self, world: World, town: Town) -> None:
        town.run_rounds(3)
        for shell in town.shells:
            first = shell.log[0]
            assert (first.header.kind, body(world, first)) == (Kind.START, world.genesis)
            report = verify_chain(shell.log, world.swarm.swarm_id)
            assert (report.ok, report.entries) == (True, len(shell.log))

    def test_equal_seeds_write_equal_feeds(self, world: World) -> None:
        feeds = []
        for _ in range(2):
            town = world.town()
            town.meet()
            town.run_rounds(4)
            feeds.append([[entry.entry_hash for entry in shell.log] for shell in town.shells])
        assert feeds[0] == feeds[1]

    def test_a_merge_is_logged_before_its_result_is_trained_on(self, town: Town) -> None:
        shell = town.shells[0]
        shell.tell(RoundDue())
        shell.answer()
        *_, append, train = shell.answer()
        assert isinstance(append, Append)
        assert append.entry.header.kind is Kind.MERGE
        assert isinstance(train, Train)


class TestView:
    def follows(self, world: World, shell: Shell) -> list[PeerId]:
        frames = world.frames(shell.sent)
        return [peer for peer, frame in frames if frame == FollowFrame(0)]

    def test_it_follows_who_can_be_reached_but_neither_itself_nor_strangers(
        self, new_world: type[World]
    ) -> None:
        """A crowd of outsiders must not take the slots of members."""
        world = new_world(6, outsiders=3)
        shell = world.shell(0)
        shell.see(world.peers)
        assert self.follows(world, shell) == world.peers[1:3]
        assert shell.core.following.peers == tuple(world.peers[1:3])

    def test_it_follows_no_more_than_its_slots(self, new_world: type[World]) -> None:
        world = new_world(8, view_size=3)
        shell = world.shell(0)
        shell.see(world.peers)
        assert len(self.follows(world, shell)) == 3
        shell.sent.clear()
        shell.see(world.peers)
        assert shell.sent == []

    def test_who_falls_silent_is_replaced(self, new_world: type[World]) -> None:
        world = new_world(3, view_size=1, turnover_rounds=1000)
        shell = world.shell(0)
        shell.see(world.peers)
        (silent,) = shell.core.following.peers
        (other,) = (peer for peer in world.peers[1:] if peer != silent)
        for _ in range(4):
            shell.run_round()
            assert shell.core.following.peers == (silent,)
        shell.sent.clear()
        shell.run_round()
        assert shell.core.following.peers == (other,)
        told = world.frames(shell.sent)
        assert told == [(silent, UnfollowFrame()), (other, FollowFrame(0))]

    def test_a_slot_turns_over_now_and_then(self, new_world: type[World]) -> None:
        world = new_world(8, view_size=3, turnover_rounds=1)
        shell = world.shell(0)
        shell.see(world.peers)
        for _ in range(3):
            before = shell.core.following.peers
            shell.run_round()
            after = shell.core.following.peers
            assert len(after) == 3
            assert len(set(after) & set(before)) == 2

    def test_a_lost_follow_is_sent_again(self, world: World) -> None:
        town = world.town()
        town.lost = lambda sender, receiver: True
        town.meet()
        town.lost = lambda sender, receiver: False
        town.run_rounds(4)
        assert [shell.done[-1].merged for shell in town.shells] == [5] * 5


def lie(params: Vector) -> Vector:
    return np.full_like(params, 50.0)


class TestQuarantine:
    @pytest.fixture
    def liar(self, town: Town) -> Shell:
        """The last of the five, far from all others from now on."""
        liar = town.shells[-1]
        liar.learn = lie
        return liar

    def test_a_liar_loses_slot_and_vote(self, world: World, town: Town, liar: Shell) -> None:
        town.run_rounds(4)
        for shell in town.shells[:-1]:
            assert shell.core.reputation.is_quarantined(liar.peer_id)
            assert liar.peer_id not in shell.core.following.peers
            assert liar.peer_id not in [item.peer for item in shell.merges[-1].inputs]
            assert shell.done[-1].merged == 4
            (record,) = standings(world, shell)
            assert (record.peer, record.quarantined) == (liar.peer_id, True)
            assert record.reason == "distance"

    def test_a_liar_is_not_sent_for_during_its_penalty(self, town: Town, liar: Shell) -> None:
        town.run_rounds(4)
        for _ in range(6):
            for shell in town.shells[:-1]:
                shell.see([other.peer_id for other in town.shells])
            town.run_rounds(1)
            assert liar.peer_id not in town.shells[0].core.following.peers

    def accuse(self, shell: Shell, accused: PeerId, since: int) -> None:
        """Quarantine from a round on, of a device that is in the round before its end."""
        shell.core.round = since + PENALTY_ROUNDS - 1
        shell.core.reputation.restore([Row(accused, 0.2, since, shell.core.round, judged=9)])

    @pytest.fixture
    def later(self, world: World) -> Town:
        """Everybody has had the last of the five in quarantine for as long as the penalty lasts."""
        town = world.town()
        suspect = town.shells[-1]
        for shell in town.shells[:-1]:
            self.accuse(shell, suspect.peer_id, 1)
        town.meet()
        assert suspect.peer_id not in town.shells[0].core.following.peers
        town.run_rounds(1)
        assert suspect.peer_id in town.shells[0].core.following.peers
        return town

    def test_who_is_released_votes_as_a_newcomer(self, world: World, later: Town) -> None:
        shell, suspect = later.shells[0], later.shells[-1]
        (record,) = standings(world, shell)
        assert (record.peer, record.quarantined) == (suspect.peer_id, False)
        assert (record.round, record.score) == (1 + PENALTY_ROUNDS, START)
        assert record.reason == "released"
        assert shell.core.reputation.is_newcomer(suspect.peer_id)
        later.run_rounds(NEWCOMER_ROUNDS + 1)
        assert suspect.peer_id in [item.peer for item in shell.merges[-1].inputs]
        assert shell.done[-1].merged == 5
        assert not shell.core.reputation.is_newcomer(suspect.peer_id)

    def test_who_returns_and_lies_again_is_out_for_twice_as_long(
        self, world: World, later: Town
    ) -> None:
        shell, liar = later.shells[0], later.shells[-1]
        liar.learn = lie
        later.run_rounds(4)
        assert liar.peer_id not in shell.core.following.peers
        assert [record.quarantined for record in standings(world, shell)] == [False, True]
        known = shell.core.reputation.known(liar.peer_id)
        assert known is not None
        assert known.change is not None
        assert known.returns_at == known.change.round + 2 * PENALTY_ROUNDS

    def test_who_returns_and_offends_again_loses_its_slot_again(self, later: Town) -> None:
        shell, offender = later.shells[0], later.shells[-1]
        shell.receive(offender.peer_id, b"garbage")
        shell.run_round()
        assert offender.peer_id not in shell.core.following.peers

    def test_who_is_in_quarantine_has_no_slot_and_no_vote(self, town: Town) -> None:
        """Whatever put it there: a table that was restored says so to nobody."""
        shell, suspect = town.shells[0], town.shells[-1].peer_id
        assert suspect in shell.core.following.peers
        shell.core.reputation.restore([Row(suspect, 0.2, 1, 1)])
        shell.run_round()
        assert suspect not in shell.core.following.peers
        assert suspect not in [item.peer for item in shell.merges[-1].inputs]

    def test_a_small_swarm_outlives_a_wrong_quarantine(self, new_world: type[World]) -> None:
        """Three peers, quorum three: it learns alone until the third is released, and then merges.

        The third has no reason to wait: it merges with both all the while.
        """
        world = new_world(3)
        town = world.town()
        shell, accused = town.shells[0], town.shells[-1]
        shell.core.round = 1
        shell.core.reputation.restore([Row(accused.peer_id, 0.2, 1, 1)])
        town.meet()
        town.run_rounds(PENALTY_ROUNDS - 1)
        assert {(done.merged, done.committed) for done in shell.done} == {(0, False)}
        assert same(shell.core.served, shell.core.params)
        assert merge_records(world, shell) == []
        assert accused.done[-1] == RoundDone(round=15, merged=3, committed=True)
        town.run_rounds(6)
        assert not shell.core.reputation.is_quarantined(accused.peer_id)
        assert [done.merged for done in shell.done[-4:]] == [3] * 4
        assert shell.done[-1].committed

    def test_two_wrong_quarantines_in_a_small_swarm(self, new_world: type[World]) -> None:
        world = new_world(4)
        town = world.town()
        shell = town.shells[0]
        shell.core.round = 1
        accused = [other.peer_id for other in town.shells[2:]]
        shell.core.reputation.restore([Row(peer, 0.2, 1, 1) for peer in accused])
        town.meet()
        town.run_rounds(PENALTY_ROUNDS - 1)
        assert {done.merged for done in shell.done} == {0}
        town.run_rounds(6)
        assert shell.done[-1] == RoundDone(round=shell.core.round, merged=4, committed=True)

    def test_nobody_judges_itself(self, town: Town) -> None:
        town.run_rounds(2)
        for shell in town.shells:
            assert shell.peer_id not in shell.core.reputation

    def test_an_offence_in_the_middle_of_a_merge(self, world: World, town: Town) -> None:
        """The merge that has begun is finished as it is and logged as it was."""
        shell, offender = town.shells[0], town.shells[-1]
        shell.tell(RoundDue())
        effects = shell.receive(offender.peer_id, b"garbage")
        assert (offender.peer_id, UnfollowFrame()) in world.frames(effects)
        while shell.asked is not None:
            shell.answer()
        (record,) = merge_records(world, shell)
        assert offender.peer_id in [row.peer for row in record.contributors]
        recompute(world, town, shell, record)
        shell.run_round()
        assert offender.peer_id not in [item.peer for item in shell.merges[-1].inputs]

    def test_without_reputation_everybody_votes(self, new_world: type[World]) -> None:
        world = new_world(5, rule="median")
        town = world.town()
        town.meet()
        town.shells[-1].learn = lie
        town.run_rounds(6)
        shell = town.shells[0]
        assert shell.core.reputation.score(town.shells[-1].peer_id) == START
        assert len(shell.merges[-1].inputs) == 5
        assert np.abs(shell.core.served).max() < 10, "the median holds by itself"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_agents_recover_from_a_bad_network(new_world: type[World], seed: int) -> None:
    world = new_world(6, turnover_rounds=3, view_size=3)
    town = world.town()
    rng = np.random.default_rng(seed)
    town.lost = lambda sender, receiver: bool(rng.random() < 0.4)
    town.meet()
    town.run_rounds(20)
    town.lost = lambda sender, receiver: False
    town.run_rounds(8)
    authors = {shell.peer_id: shell for shell in town.shells}
    for shell in town.shells:
        assert shell.refused == [], "loss is nobody's fault"
        # A round in which the view turned over may lack the newcomer's replica.
        assert max(done.merged for done in shell.done[-3:]) >= 3
        for peer, followed in shell.core.following._followed.items():
            replica, author = followed.replica, authors[peer]
            assert same(replica.vector, history(world, author)[replica.step])
            if shell.core.round - followed.since_round >= 4:
                assert replica.step == author.core.publisher.replica.step


def test_a_frame_is_sent_to_nobody_but_followers(town: Town) -> None:
    shell, other, *_ = town.shells
    other.core.publisher.unfollow(shell.peer_id)
    effects = [other.tell(RoundDue())]
    while other.asked is not None:
        effects.append(other.answer())
    receivers = {effect.peer for part in effects for effect in part if isinstance(effect, Send)}
    assert receivers == {third.peer_id for third in town.shells} - {other.peer_id, shell.peer_id}


class TestVoteGroups:
    """Whose votes are bounded together goes with the inputs, and into the record."""

    def with_inviters(self, town: Town, inviters: dict[PeerId, PeerId]) -> None:
        for shell in town.shells:
            shell.core._swarm = replace(shell.core._swarm, inviter_of=inviters.get)

    def groups(self, shell: Shell) -> dict[PeerId, tuple[bytes, ...]]:
        return {item.peer: item.groups for item in shell.merges[-1].inputs}

    def test_a_subtree_is_one_group_and_the_own_vote_in_none(
        self, world: World, town: Town
    ) -> None:
        steward, root, guest, deeper, free = world.peers
        self.with_inviters(town, {root: steward, guest: root, deeper: guest, free: steward})
        town.run_rounds(1)
        for shell in town.shells:
            found = self.groups(shell)
            assert found.pop(shell.peer_id) == ()
            subtree = {peer for peer, groups in found.items() if groups == (root,)}
            assert subtree == {root, guest, deeper} - {shell.peer_id}
            record = merge_records(world, shell)[-1]
            assert {r.peer: r.bounds.groups for r in record.contributors}[free] == ()
            recompute(world, town, shell, record)

    def test_who_was_judged_seldom_is_bounded_once_others_are_known(self, world: World) -> None:
        town = world.town()
        shell, late = town.shells[0], town.shells[-1].peer_id
        town.lost = lambda sender, receiver: late in (sender, receiver)
        town.meet()
        town.run_rounds(NEWCOMER_ROUNDS + 1)
        assert set(self.groups(shell).values()) == {()}
        town.lost = lambda sender, receiver: False
        town.run_rounds(3)
        assert self.groups(shell)[late] == (NEWCOMERS,)
        assert {g for peer, g in self.groups(shell).items() if peer != late} == {()}
        town.run_rounds(NEWCOMER_ROUNDS)
        assert self.groups(shell)[late] == ()


class TestLeftOut:
    def test_who_says_nothing_more_is_stale_and_then_silent(self, world: World, town: Town) -> None:
        shell, quiet = town.shells[0], town.shells[-1].peer_id
        town.lost = lambda sender, receiver: quiet in (sender, receiver)
        allowed = world.swarm.policy.stale_rounds
        town.run_rounds(allowed + 1)
        record = merge_records(world, shell)[-1]
        assert [(row.peer, row.step, row.reason) for row in record.left_out] == [
            (quiet, 1, "stale")
        ]
        town.run_rounds(1)  # its slot was free, so it is followed again, from nothing
        (left,) = merge_records(world, shell)[-1].left_out
        assert (left.peer, left.step, left.reason) == (quiet, 0, "silent")

    def test_the_verdict_of_the_gate_is_logged(self, world: World, town: Town) -> None:
        shell = town.shells[0]
        shell.run_round()
        shell.scores = (GOOD, WORSE)
        shell.run_round()
        first, second = merge_records(world, shell)
        assert first.verdict == "loss 0.500, before 0.500"
        assert second.verdict == "loss 9.000 is above 3.454"
