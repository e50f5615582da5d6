"""May a device publish? All that neighbours can say, and what follows from it."""

from __future__ import annotations

import pytest

from gossamer_agent.node.headcheck import PATIENCE_S, Verdict, judge, next_incarnation
from gossamer_agent.store.feeds import OwnFeed
from gossamer_crypto.envelope import Head, Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity

OWNER = Identity.from_seed(b"o" * 32)


def heads(count: int, incarnation: int = 0, salt: bytes = b"s") -> list[Head]:
    """The heads of a feed, oldest first."""
    writer = FeedWriter(
        OWNER,
        b"w" * 32,
        FixedEpoch(b"e" * 32),
        lambda size: salt * size,
        incarnation=incarnation,
    )
    return [writer.append(Kind.DELTA, b"body").head for _ in range(count)]


FEED = heads(3)
OTHER = heads(3, salt=b"t")


class TestWaiting:
    def test_a_founder_alone_asks_nobody(self) -> None:
        for own in (OwnFeed(incarnation=0, head=None), OwnFeed(incarnation=0, head=FEED[2])):
            verdict = judge(own, others=0, answers=0, known=None, waited_s=0)
            assert verdict is Verdict.CONTINUE

    @pytest.mark.parametrize(
        ("others", "answers", "waited_s", "expected"),
        [
            (1, 0, 0, Verdict.WAIT),
            (1, 1, 0, Verdict.CONTINUE),
            (5, 0, 0, Verdict.WAIT),
            (5, 1, 0, Verdict.WAIT),
            (5, 1, PATIENCE_S, Verdict.CONTINUE),
            (5, 2, 0, Verdict.CONTINUE),
            (5, 0, 100 * PATIENCE_S, Verdict.WAIT),
            (1, 0, 100 * PATIENCE_S, Verdict.WAIT),
        ],
    )
    def test_so_many_answers_are_asked_for(
        self, others: int, answers: int, waited_s: float, expected: Verdict
    ) -> None:
        own = OwnFeed(incarnation=0, head=FEED[2])
        verdict = judge(own, others=others, answers=answers, known=FEED[1], waited_s=waited_s)
        assert verdict is expected

    def test_bad_news_from_one_is_not_acted_upon_before_the_others_could_know_more(self) -> None:
        own = OwnFeed(incarnation=0, head=FEED[0])
        assert judge(own, others=5, answers=1, known=FEED[1], waited_s=0) is Verdict.WAIT


class TestJudging:
    @pytest.mark.parametrize(
        ("own", "known", "expected"),
        [
            (OwnFeed(incarnation=0, head=None), None, Verdict.CONTINUE),  # a new device
            (OwnFeed(incarnation=0, head=FEED[1]), None, Verdict.CONTINUE),  # nobody heard yet
            (OwnFeed(incarnation=0, head=FEED[1]), FEED[1], Verdict.CONTINUE),
            (OwnFeed(incarnation=0, head=FEED[2]), FEED[1], Verdict.CONTINUE),  # they lag
            (OwnFeed(incarnation=0, head=FEED[0]), FEED[1], Verdict.NEXT),  # a restored image
            (OwnFeed(incarnation=0, head=None), FEED[0], Verdict.NEXT),  # the store was lost
            (OwnFeed(incarnation=0, head=OTHER[1]), FEED[1], Verdict.NEXT),  # a fork of our own
            (OwnFeed(incarnation=0, head=FEED[2]), heads(1, 1)[0], Verdict.NEXT),
            (OwnFeed(incarnation=1, head=None), FEED[2], Verdict.CONTINUE),  # begun, not told
            (OwnFeed(incarnation=1, head=heads(1, 1)[0]), FEED[2], Verdict.CONTINUE),
            (OwnFeed(incarnation=0, head=None, damaged=True), None, Verdict.NEXT),
            (OwnFeed(incarnation=0, head=FEED[2], damaged=True), FEED[2], Verdict.NEXT),
        ],
    )
    def test_what_follows(self, own: OwnFeed, known: Head | None, expected: Verdict) -> None:
        assert judge(own, others=2, answers=2, known=known, waited_s=0) is expected

    @pytest.mark.parametrize(
        ("own", "known", "expected"),
        [
            (OwnFeed(incarnation=0, head=None), FEED[2], 1),
            (OwnFeed(incarnation=0, head=FEED[0], damaged=True), None, 1),
            (OwnFeed(incarnation=1, head=None), heads(1, 4)[0], 5),
            (OwnFeed(incarnation=7, head=None, damaged=True), heads(1, 4)[0], 8),
        ],
    )
    def test_the_next_incarnation_is_above_all_known_ones(
        self, own: OwnFeed, known: Head | None, expected: int
    ) -> None:
        assert next_incarnation(own, known) == expected
