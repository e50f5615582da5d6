"""Signs of life of a running agent, and the judgement whether it is stuck. Pure.

Theory of operation. An agent that hangs looks much like one that has nothing to do. So its parts
say when they begin something and when it ended, and the timer of the rounds says when it will come
by next. Stuck is: something that began longer ago than it may take, or a timer that is overdue.
An agent that waits for others, or that pauses to spare the device, has begun nothing, and its timer
comes by: that is no hang. A training call is allowed far more than an event, but not for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OPENING_S: Final = 3600.0
"""Reading a long log on a slow card."""
COMPUTATION_S: Final = 600.0
COMPUTATION_ROUNDS: Final = 10
"""A local call that takes longer than both this many rounds and COMPUTATION_S is stuck."""


class Work(StrEnum):
    """What an agent may be in the middle of."""

    OPENING = "opening the log"
    EVENT = "handling an event"
    COMPUTATION = "training or merging"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long, in seconds, each work may take; late_s: how much too late the timer may come by."""

    opening_s: float
    event_s: float
    computation_s: float
    late_s: float

    @classmethod
    def of(cls, watchdog_s: float, round_interval_s: float) -> Bounds:
        """Bounds for a watchdog that bites after `watchdog_s` without food."""
        return cls(
            opening_s=OPENING_S,
            event_s=watchdog_s,
            computation_s=max(COMPUTATION_S, COMPUTATION_ROUNDS * round_interval_s),
            late_s=watchdog_s,
        )

    def on(self, work: Work) -> float:
        """The bound of one kind of work."""
        match work:
            case Work.OPENING:
                return self.opening_s
            case Work.EVENT:
                return self.event_s
            case Work.COMPUTATION:
                return self.computation_s


class Pulse:
    """Times are seconds of the caller's clock. Only one thread may use it."""

    def __init__(self) -> None:
        self._begun: dict[int, tuple[Work, float]] = {}
        self._next = 0
        self._due_s: float | None = None

    @contextmanager
    def during(self, work: Work, now_s: float) -> Iterator[None]:
        """The block is this work, begun now."""
        self._next = number = self._next + 1
        self._begun[number] = (work, now_s)
        try:
            yield
        finally:
            del self._begun[number]

    def timer(self, due_s: float | None) -> None:
        """The timer will come by at `due_s`; None: it ended."""
        self._due_s = due_s

    def stuck(self, now_s: float, bounds: Bounds) -> str | None:
        """What hangs, in words; None for an agent that makes progress."""
        for work, begun_s in self._begun.values():
            if now_s - begun_s > bounds.on(work):
                return f"{work} takes {now_s - begun_s:.0f} s already"
        if self._due_s is not None and now_s - self._due_s > bounds.late_s:
            return f"the next round is overdue since {now_s - self._due_s:.0f} s"
        return None
