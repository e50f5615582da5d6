"""What the core is told at each tick of the rounds' timer, by what the device may do. Pure.

After a long pause the first tick only asks the followed peers for what was missed; they answer with
one keyframe each at their next round. So the first merge after a night is not one of yesterday's
replicas, and the first delta is not a step away from yesterday's parameters.
"""

from __future__ import annotations

from typing import Final

from gossamer_agent.events import Event, ExchangePaused, ExchangeResumed, RoundDue
from gossamer_agent.pauses.permissions import Permissions

LONG_ROUNDS: Final = 3
"""A pause of so many intervals is a long one."""


class Pacer:
    """Of one core. interval_s: between rounds."""

    def __init__(self, interval_s: float) -> None:
        self._long_s = LONG_ROUNDS * interval_s
        self._exchanging = True
        self._rests_since_s: float | None = None
        self._ticked_s: float | None = None  # None also after a tick that only asked

    def check(self, now_s: float, may: Permissions) -> tuple[Event, ...]:
        """Between ticks: what has to be told at once."""
        if not may.learn and self._rests_since_s is None:
            self._rests_since_s = now_s
        if may.publish == self._exchanging:
            return ()
        self._exchanging = may.publish
        return (ExchangeResumed() if may.publish else ExchangePaused(),)

    def tick(self, now_s: float, may: Permissions) -> tuple[Event, ...]:
        """A round is due. A device that slept through some ticks has rested as well."""
        switched = self.check(now_s, may)
        before_s, self._ticked_s = self._ticked_s, now_s
        if not may.learn:
            return switched
        since_s, self._rests_since_s = self._rests_since_s, None
        if since_s is None:
            since_s = before_s
        if since_s is None or now_s - since_s < self._long_s:
            return (*switched, RoundDue())
        self._ticked_s = None  # a device that is slow, not asleep, learns at every other tick
        return switched or (ExchangeResumed(),)
