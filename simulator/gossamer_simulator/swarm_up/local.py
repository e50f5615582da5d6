"""A swarm below one folder: its devices and the processes of their agents."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from gossamer_agent.cli.visiting import visit
from gossamer_agent.errors import AgentError
from gossamer_agent.node.status import AgentStatus
from gossamer_simulator.swarm_up.devices import found, join_all, open_invite
from gossamer_simulator.swarm_up.plan import Plan, write_data
from gossamer_simulator.swarm_up.processes import Child, Children
from gossamer_simulator.swarm_up.watch import Watch, status_of

START_PATIENCE_S: Final = 60.0
"""An agent that does not answer by then, on a machine however busy, never will."""
PROGRAM: Final = (sys.executable, "-m", "gossamer_agent")
_LOOK_S: Final = 0.1


class DiedError(AgentError):
    """An agent ended by itself while it was needed."""

    def __init__(self, child: Child) -> None:
        super().__init__(died(child))
        self.child = child


class LocalSwarm:
    """Devices and agents of a plan.

    program: the command line of `gossamer`, without arguments. agents: the newest process of each
    device, by name; swarm_id: known once it is founded.
    """

    def __init__(self, plan: Plan, children: Children, program: Sequence[str] = PROGRAM) -> None:
        self._program = program
        self.plan = plan
        self.children = children
        self.watch = Watch.over({device.name: device.folder for device in plan.devices})
        self.agents: dict[str, Child] = {}
        self.swarm_id = b""

    @property
    def names(self) -> list[str]:
        """Of all devices, the founder first."""
        return [device.name for device in self.plan.devices]

    @property
    def running(self) -> list[str]:
        """Names of the devices whose agent is a living process."""
        return [name for name, child in self.agents.items() if child.running]

    def make(self, say: Callable[[str], None]) -> None:
        """Write the data, found the swarm and let everybody join; afterwards no agent runs.

        The founder's agent answers the joins without making rounds. Raises AgentError,
        NetworkError.
        """
        founder = self.plan.devices[0].name
        say(f"{founder} founds a swarm of {len(self.plan.devices)}")
        write_data(self.plan)
        folder = found(self.plan)
        self.swarm_id = folder.genesis.swarm_id
        invite = open_invite(folder, self.plan)
        self.start(founder, rounds=0)
        self.wait_ready([founder])
        visit(partial(join_all, self.plan, invite, say))
        self.stop(founder)

    def start_all(self) -> None:
        """Start every agent. Raises AgentError."""
        for name in self.names:
            self.start(name)

    def start(self, name: str, rounds: int | None = None) -> Child:
        """Start one agent, for the plan's rounds if none are given. Raises AgentError."""
        device = next(device for device in self.plan.devices if device.name == name)
        wanted = self.plan.scenario.rounds if rounds is None else rounds
        command = [*self._program, "-C", str(device.folder), "run", "--rounds", str(wanted)]
        child = self.children.start(name, command, device.log)
        self.agents[name] = child
        return child

    def status(self, name: str) -> AgentStatus | None:
        """What an agent tells; None while it does not answer."""
        return status_of(self.watch.folders[name])

    def stop(self, name: str) -> None:
        """End one agent in an orderly way."""
        self.children.stop(self.agents[name])

    def kill(self, name: str) -> None:
        """End one agent as a power cut would."""
        self.children.kill(self.agents[name])

    def wait_ready(self, names: list[str], patience_s: float = START_PATIENCE_S) -> None:
        """Wait until these agents answer. Raises AgentError; DiedError when any agent died."""
        deadline = time.monotonic() + patience_s
        for name in names:
            child = self.agents[name]
            while not self._answers(name):
                for dead in self.children.ended():
                    raise DiedError(dead)
                if time.monotonic() > deadline:
                    raise AgentError(f"{name} did not answer within {patience_s:.0f} s")
                self.children.wait(child, _LOOK_S)

    def _answers(self, name: str) -> bool:
        """Whether the agent can be reached by others, too."""
        status = self.status(name)
        return status is not None and bool(status.addresses)


def died(child: Child) -> str:
    """One line about an agent that ended by itself: how, and the last thing it said."""
    tail = [line for line in child.log_tail() if any(map(str.isalnum, line))]
    said = f": {tail[-1].removeprefix('gossamer: ')}" if tail else ""
    return f"{child.name} {child.ending()}{said}"
