"""What running agents tell at their status sockets, put together round by round.

An agent tells its newest state. Looking often enough, one gets the course of the whole swarm:
whatever was seen of an agent at round r counts for r and, until something newer is seen, for the
rounds after it. An agent that does not answer keeps what it told last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final, TypeVar

import msgspec

from gossamer_agent.errors import AgentError
from gossamer_agent.node.status import AgentStatus, parse_status
from gossamer_agent.node.statussocket import ask

ANSWER_TIMEOUT_S: Final = 3.0
"""A stopped agent must not hold up the display of the others for long."""
QUARANTINED: Final = "quarantined"

T = TypeVar("T")


@dataclass(slots=True)
class Course:
    """All that is known of one agent. accuracy, bytes_sent, reputation: by round.

    accuracy: 0..1 on the test split, of the rounds in which it was measured; bytes_sent: since the
    agent began; reputation: its scores of others, by their libp2p texts.
    """

    name: str
    newest: AgentStatus | None = None
    accuracy: dict[int, float] = field(default_factory=dict)
    bytes_sent: dict[int, int] = field(default_factory=dict)
    reputation: dict[int, dict[str, float]] = field(default_factory=dict)

    def learn(self, status: AgentStatus) -> None:
        """Take up what it tells now."""
        self.newest = status
        for record in status.history:
            if record.accuracy is not None:
                self.accuracy[record.round] = record.accuracy
        self.bytes_sent[status.round] = status.bytes_sent
        self.reputation[status.round] = {
            peer.peer: peer.reputation for peer in status.peers if peer.reputation is not None
        }

    @property
    def rounds(self) -> int:
        """The newest round whose accuracy is known."""
        return max(self.accuracy, default=0)


def by(series: Mapping[int, T], round_: int) -> T | None:
    """The newest value at or before a round."""
    known = [at for at in series if at <= round_]
    return series[max(known)] if known else None


@dataclass(frozen=True, slots=True)
class Watch:
    """The agents of a swarm by name, and their folders."""

    courses: dict[str, Course]
    folders: Mapping[str, Path]

    @classmethod
    def over(cls, folders: Mapping[str, Path]) -> Watch:
        return cls({name: Course(name) for name in folders}, folders)

    def look(self, names: Iterable[str]) -> None:
        """Ask these agents once, one after another. Who does not answer is left as it was."""
        for name in names:
            status = status_of(self.folders[name])
            if status is not None:
                self.courses[name].learn(status)

    def accuracies(self, round_: int) -> list[float]:
        """Of every agent whose accuracy is known, after this round of its own."""
        values = [by(course.accuracy, round_) for course in self.courses.values()]
        return [value for value in values if value is not None]

    def mean_accuracy(self, round_: int) -> float | None:
        accuracies = self.accuracies(round_)
        return fmean(accuracies) if accuracies else None

    def newest(self) -> list[AgentStatus]:
        """The last status of every agent that told one."""
        known = (course.newest for course in self.courses.values())
        return [status for status in known if status is not None]

    def refused(self) -> dict[str, int]:
        """What all refused so far, by reason, without zeros."""
        counts: Counter[str] = Counter()
        for status in self.newest():
            counts.update(status.refused)
        return {reason: counts[reason] for reason in sorted(counts) if counts[reason]}


def status_of(folder: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> AgentStatus | None:
    """What the agent in `folder` tells; None when none runs there or it does not answer."""
    try:
        raw = ask(folder, "status", timeout_s)
        return None if raw is None else parse_status(raw)
    except (AgentError, msgspec.DecodeError):
        return None
