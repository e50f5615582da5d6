"""Following a swarm until all its agents have made their rounds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from gossamer_agent.errors import AgentError
from gossamer_simulator.swarm_up.local import LocalSwarm, died
from gossamer_simulator.swarm_up.table import Display
from gossamer_simulator.swarm_up.watch import Watch

LOOK_S: Final = 1.0
STALL_S: Final = 60.0
STALL_ROUNDS: Final = 20
STALL_PEER_S: Final = 6.0
"""A swarm in which no round ends for so long, so many rounds, or so long for each of its peers,
whichever is longest, will not go on by itself. Each process needs seconds of a core to start.
"""


@dataclass(slots=True)
class Followed:
    """died: how agents ended before they were told to, by name; warnings: for the result."""

    died: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def follow(swarm: LocalSwarm, display: Display, *, look_s: float = LOOK_S) -> Followed:
    """Look at the swarm until every agent that lives has made its rounds, and once after that.

    Raises AgentError when all agents have died, or no round ends any more.
    """
    found, watch = Followed(), swarm.watch
    patience_s = max(
        STALL_S, STALL_ROUNDS * swarm.plan.interval_s, STALL_PEER_S * len(watch.courses)
    )
    moved_at, moved = time.monotonic(), -1
    while True:
        for child in swarm.children.ended():
            found.died[child.name] = child.ending()
            found.warnings.append(died(child))
            display.report_death(child)
        watch.look(swarm.running)
        display.update(watch, found.died)
        if len(found.died) == len(watch.courses):
            raise AgentError(f"all agents died; the first: {found.warnings[0]}")
        waiting = _unfinished(swarm, found)
        if not waiting:
            return found
        done = sum(course.rounds for course in watch.courses.values())
        if done != moved:
            moved_at, moved = time.monotonic(), done
        elif time.monotonic() - moved_at > patience_s:
            raise AgentError(f"no round ended for {patience_s:.0f} s: {_states(watch, waiting)}")
        time.sleep(look_s)


def _unfinished(swarm: LocalSwarm, found: Followed) -> list[str]:
    """Names of the living that have not told the accuracy of their last round yet."""
    rounds = swarm.plan.scenario.rounds
    courses = swarm.watch.courses.items()
    return [name for name, course in courses if name not in found.died and course.rounds < rounds]


def _states(watch: Watch, names: list[str]) -> str:
    states = []
    for name in names[:3]:
        newest = watch.courses[name].newest
        states.append(f"{name} is {'silent' if newest is None else repr(newest.state)}")
    return ", ".join(states) + (" ..." if len(names) > 3 else "")
