"""After days of sleep one keyframe brings a replica up to date, in both directions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gossamer_agent.events import ExchangePaused, ExchangeResumed, Send
from gossamer_crypto.envelope import Kind
from gossamer_transport.wire import EntryFrame, FollowFrame, UnfollowFrame, pack_frame, unpack_frame

BEFORE, ASLEEP = 12, 80


class Night:
    """A town of three in which the first one is cut off for many rounds of the others."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.town = world.town()
        self.sleeper, *self.others = self.town.shells
        self.received: Counter[Kind] = Counter()  # entries that reached the sleeper
        self.sent: Counter[Kind] = Counter()  # entries of its own that reached others
        self.asleep = False
        self.town.lost = self._carry
        self._watch()
        self.town.meet()
        self.town.run_rounds(BEFORE)

    def pass_by(self, rounds: int) -> None:
        """Rounds of the others alone."""
        for _ in range(rounds):
            for shell in self.others:
                shell.run_round()
            self.town.settle()

    def sleep(self) -> None:
        self.asleep = True
        self.pass_by(ASLEEP)
        self.asleep = False
        self.received.clear()
        self.sent.clear()

    def behind(self) -> list[int]:
        """Steps that the replicas of the sleeper, and those that others have of it, lack."""
        by_peer = {shell.peer_id: shell for shell in self.town.shells}
        return [
            by_peer[peer].core.publisher.replica.step - replica.step
            for shell in self.town.shells
            for peer, _, replica in shell.core.following.held()
            if self.sleeper.peer_id in (shell.peer_id, peer)
        ]

    def _carry(self, sender: bytes, receiver: bytes) -> bool:
        return self.asleep and self.sleeper.peer_id in (sender, receiver)

    def _watch(self) -> None:
        """Count what is delivered from and to the sleeper."""
        for shell in self.town.shells:
            shell.receive = self._counting(shell, shell.receive)

    def _counting(self, shell: Any, receive: Any) -> Any:
        def counted(sender: bytes, raw: bytes) -> Any:
            frame = unpack_frame(raw, self.world.swarm.limits)
            if isinstance(frame, EntryFrame):
                kind = frame.envelope.header.kind
                if shell is self.sleeper:
                    self.received[kind] += 1
                elif sender == self.sleeper.peer_id:
                    self.sent[kind] += 1
            return receive(sender, raw)

        return counted


@pytest.mark.slow
def test_one_keyframe_of_each_peer_instead_of_all_that_was_missed(new_world: Any) -> None:
    night = Night(new_world(3, parameters=2000))
    night.sleep()
    assert max(night.behind()) >= ASLEEP
    night.sleeper.tell(ExchangeResumed())
    night.town.settle()
    night.pass_by(1)
    assert night.received == {Kind.KEYFRAME: 2}
    assert [r.step for _, _, r in night.sleeper.core.following.held()] == [BEFORE + ASLEEP + 1] * 2
    # The others ask while its keyframe is under way, and get it twice at worst.
    night.town.run_rounds(4)
    assert 2 <= night.sent[Kind.KEYFRAME] <= 4
    assert night.sent[Kind.DELTA] <= 2 * 4
    assert night.behind() == [0] * 4


@pytest.mark.slow
def test_a_sleeper_that_nobody_woke_catches_up_by_keyframes_too(new_world: Any) -> None:
    night = Night(new_world(3, parameters=2000))
    night.sleep()
    night.town.run_rounds(6)
    assert night.received[Kind.KEYFRAME] <= 4
    assert night.received[Kind.DELTA] <= 2 * 6
    assert night.behind() == [0] * 4


def frames(world: Any, effects: Any) -> list[Any]:
    assert all(isinstance(effect, Send) for effect in effects)
    return [unpack_frame(effect.frame, world.swarm.limits) for effect in effects]


class TestWithoutExchange:
    """The byte budget is used up."""

    def test_nothing_is_fetched_and_nothing_served(self, new_world: Any) -> None:
        world = new_world(3)
        town = world.town()
        town.meet()
        town.run_rounds(3)
        core = town.shells[0].core
        held = [(peer, replica.hash) for peer, _, replica in core.following.held()]
        stopped = frames(world, town.shells[0].tell(ExchangePaused()))
        assert stopped == [UnfollowFrame()] * 2
        town.settle()
        for shell in town.shells[1:]:
            assert town.shells[0].peer_id not in shell.core.publisher.followers
        for other in town.shells[1:]:
            assert town.shells[0].receive(other.peer_id, pack_frame(FollowFrame(0))) == []
        assert town.shells[0].see(world.peers) == []
        # What it holds it keeps.
        assert [(peer, replica.hash) for peer, _, replica in core.following.held()] == held

    def test_it_goes_on_where_it_was(self, new_world: Any) -> None:
        world = new_world(3)
        town = world.town()
        town.meet()
        town.run_rounds(3)
        rester, *others = town.shells
        rester.tell(ExchangePaused())
        town.settle()
        for _ in range(20):
            for shell in others:
                shell.run_round()
            town.settle()
        asked = frames(world, rester.tell(ExchangeResumed()))
        assert asked == [FollowFrame(3)] * 2
        town.settle()
        town.run_rounds(4)
        assert rester.done[-1].merged == 3
        for shell in others:
            assert shell.done[-1].merged == 3
