"""Whether this device belongs to the majority that it sees; if not, who is right? Pure.

Theory of operation. A merge follows the majority of its inputs. The own input is the one that is
surely honest. It stands apart when most others are

- so far from it that any other peer would lose all marks for it (`reputation`), or
- several times as far as they used to be: honest neighbours do not jump, or
- while nothing is usual yet, many times as far as a third of the inputs: two groups, where honest
  inputs, however unlike, lie about equally far from each other, or
- away from where its own data pull it: round after round its own steps lead from the majority to
  those who stand apart from that (`pull.py`).

Then either most of the view lies, as chance or a siege can make it, or this device has gone astray.
The first is put right by other neighbours, so for some rounds nothing is merged, nobody is judged,
and some of the view is renewed in each. Who still stands apart after that meets the same majority
everywhere and gives in: for a while it merges with any majority, judges nobody and goes on renewing
its view; then what it met is usual. Where the others do not agree either it waits longer before it
gives in: somebody out there lies.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import Enum
from statistics import fmean, median
from typing import Final

APART_RADII: Final = 8.0
"""From here on an input stands apart from the majority: where other peers get no marks."""
JUMP: Final = 3.0
"""Most are so many times as far as they were."""
SPLIT: Final = 5.0
"""Most are so many times as far from a new device as a third of the inputs: two groups."""
BACK: Final = 2.0
"""Who stood apart is back when most are so many times nearer than when that began."""
PULLED: Final = 0.4
"""Mean cosine of the last rounds from which the own data contradict the majority."""
PULLED_BACK: Final = 0.1
"""Who stood apart for that is back when its own steps lead away no more."""
PATIENCE_ROUNDS: Final = 8
PATIENCE_IN_DISCORD_ROUNDS: Final = 24
DOUBT_ROUNDS: Final = 16
"""So long who gave in follows any majority: it may have met a siege, which ends."""
_MEMORY_ROUNDS: Final = 8
_MEMORY_MIN: Final = 3
_PULL_ROUNDS: Final = 5


class Outlook(Enum):
    """What the own place among the inputs of a merge means for it."""

    TOGETHER = "together"
    APART = "apart"  # merge nothing, judge nobody
    GIVING_IN = "giving in"  # merge, but judge nobody


RENEWED_SLOTS: Final = {Outlook.TOGETHER: 0, Outlook.APART: 2, Outlook.GIVING_IN: 1}
"""Slots of the view that are renewed in a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the own input is among those of a merge; all in one unit, 0 for unknown.

    most, near: radii of the balls around it that hold most of the votes, and a third of the inputs.
    radius: the smallest ball around any input that holds most. farthest: the largest of the others.
    pull: cosine of the own step with the way from the majority to those who stand apart, or 0.
    """

    most: float
    near: float
    radius: float
    farthest: float
    pull: float = 0.0


class Standpoint:
    """Counts the rounds that this device stands apart. One merge each round."""

    def __init__(self) -> None:
        self._rounds = 0
        self._back_at = math.inf
        self._doubtful = 0
        self._usual: deque[float] = deque(maxlen=_MEMORY_ROUNDS)
        self._pulls: deque[float] = deque(maxlen=_PULL_ROUNDS)
        self._pulled = False

    def see(self, place: Place) -> Outlook:
        """What to make of the own place in the merge of this round."""
        if self._doubtful == 0:
            pulled = self._is_pulled(place)
            if not pulled and not self._apart(place):
                self._rounds, self._back_at = 0, math.inf
                self._usual.append(place.most)
                return Outlook.TOGETHER
            if self._rounds == 0:
                self._back_at = math.inf if pulled else place.most / BACK
            self._rounds += 1
            if self._rounds <= self._patience(place):
                return Outlook.APART
            self.forget()
            self._doubtful = DOUBT_ROUNDS
        self._doubtful -= 1
        self._usual.append(place.most)  # what is met everywhere is usual
        return Outlook.GIVING_IN

    def forget(self) -> None:
        """Begin anew: after a long rest nothing is usual."""
        self._rounds, self._back_at, self._doubtful = 0, math.inf, 0
        self._usual.clear()
        self._pulls.clear()
        self._pulled = False

    def _is_pulled(self, place: Place) -> bool:
        """Whether the own data contradict the majority; only what was merged with is evidence."""
        if self._pulled:
            self._pulled = place.pull > PULLED_BACK
        elif self._rounds == 0:
            self._pulls.append(place.pull)
            full = len(self._pulls) == _PULL_ROUNDS
            self._pulled = full and fmean(self._pulls) > PULLED
            if self._pulled:
                self._pulls.clear()
                self._usual.clear()
        return self._pulled

    def _patience(self, place: Place) -> int:
        if place.farthest > APART_RADII * place.radius:
            return PATIENCE_IN_DISCORD_ROUNDS
        return PATIENCE_ROUNDS

    def _apart(self, place: Place) -> bool:
        if place.radius <= 0.0:
            return False
        if not place.most <= min(self._back_at, APART_RADII * place.radius):
            return True
        if self._knows_what_is_usual():
            return place.most > JUMP * median(self._usual)
        return place.most > SPLIT * place.near > 0.0

    def _knows_what_is_usual(self) -> bool:
        return len(self._usual) >= _MEMORY_MIN
