"""May this device publish? The check against a restored SD-card image.

Theory of operation. A device whose card was restored holds an old feed. If it went on from there it
would sign a second entry with a seq that its neighbours know, which is a fork, and be shut out by
all. So at start it asks them which entry of its own is the newest they know. If theirs is ahead, or
its own feed is damaged, it leaves its old feed alone and begins the next incarnation of it.

Two answers are asked for, one where there is only one other member or after a minute in which only
one could be reached. With nobody to ask it waits: learning alone can be made up for, a fork cannot.
A founder who is alone in the roster has nobody who could know more.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from gossamer_crypto.envelope import Head

if TYPE_CHECKING:
    from gossamer_agent.store.feeds import OwnFeed

ANSWERS: Final = 2
PATIENCE_S: Final = 60.0


class Verdict(Enum):
    """WAIT for more answers, CONTINUE the own feed, begin the NEXT incarnation."""

    WAIT = "wait"
    CONTINUE = "continue"
    NEXT = "next"


def judge(
    own: OwnFeed, *, others: int, answers: int, known: Head | None, waited_s: float
) -> Verdict:
    """What to do now.

    others: members of the roster without us; answers: of how many of them we know what they know
    of us; known: the newest own entry that any of them knows; waited_s: since the first question.
    """
    if answers < _answers_needed(others, waited_s):
        return Verdict.WAIT
    if own.damaged or (known is not None and is_ahead(known, own)):
        return Verdict.NEXT
    return Verdict.CONTINUE


def next_incarnation(own: OwnFeed, known: Head | None) -> int:
    """The lowest incarnation that nobody can have seen."""
    return max(own.incarnation, -1 if known is None else known.header.incarnation) + 1


def _answers_needed(others: int, waited_s: float) -> int:
    return min(others, ANSWERS if waited_s < PATIENCE_S else 1)


def is_ahead(known: Head, own: OwnFeed) -> bool:
    """Whether the swarm knows more of us than we do, or another entry in the place of ours."""
    header = known.header
    if header.incarnation != own.incarnation:
        return header.incarnation > own.incarnation
    if own.head is None:
        return True
    if header.seq == own.head.header.seq:
        return known.entry_hash != own.head.entry_hash
    return header.seq > own.head.header.seq
