"""What `gossamer swarm up` does: start, watch, stop, show, write."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.text import Text

from gossamer_agent.errors import AgentError, StoreError
from gossamer_simulator.outputs import Outputs, warn
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.swarm_up.follow import Followed, follow
from gossamer_simulator.swarm_up.local import DiedError, LocalSwarm, died
from gossamer_simulator.swarm_up.outcome import outcome
from gossamer_simulator.swarm_up.plan import make_plan
from gossamer_simulator.swarm_up.processes import Children
from gossamer_simulator.swarm_up.table import Display, open_display


def swarm_up_command(scenario: Scenario, outputs: Outputs, *, interval_s: float | None) -> None:
    """Run a swarm of real agents and write what was asked for.

    Raises AgentError, one line: bad input, an agent that died, a swarm that stands still.
    """
    console = outputs.console()
    outputs.check()
    with _place(outputs.folder) as folder, _ended_as_interrupted(), Children() as children:
        plan = make_plan(scenario, folder, interval_s=interval_s)
        warn(console, plan.setup.warnings)
        swarm = LocalSwarm(plan, children)
        with open_display(console, scenario.rounds, quiet=outputs.quiet) as display:
            followed = _run(swarm, display)
        _say_what_remained(console, followed, outputs)
        result = outcome(plan, swarm.watch, swarm.swarm_id, children.usage, followed.warnings)
        outputs.write(result, console)
    if followed.died:
        raise AgentError(
            f"{len(followed.died)} of {scenario.peers} agents died: {followed.warnings[0]}"
        )


def _run(swarm: LocalSwarm, display: Display) -> Followed:
    """The whole life of the swarm; no agent is left after it."""
    try:
        swarm.make(display.say)
    except DiedError as error:
        display.report_death(error.child)
        raise
    display.say(f"{len(swarm.plan.devices)} agents start")
    swarm.start_all()
    followed = follow(swarm, display)
    display.say("stopping")
    swarm.children.stop()
    for name, child in swarm.agents.items():
        if name not in followed.died and child.exit_code != 0:
            followed.warnings.append(f"when it was stopped, {died(child)}")
    return followed


def _say_what_remained(console: Console, followed: Followed, outputs: Outputs) -> None:
    warn(console, followed.warnings)
    if outputs.folder is not None:
        console.print(Text(f"devices: {outputs.folder}"), soft_wrap=True)


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """The folder to keep, made if need be, or one that is removed at the end. StoreError."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="gossamer-swarm-") as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        taken = any(keep.glob("peer-*"))
    except OSError as error:
        raise StoreError(f"{keep}: cannot be used for devices: {error.strerror}") from error
    if taken:
        raise StoreError(f"{keep}: holds devices already; choose another folder for --keep")
    yield keep


@contextmanager
def _ended_as_interrupted() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block as Ctrl-C does, not this process at once."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        # Not raised here: while trio runs, its own handler knows where that is safe.
        signal.raise_signal(signal.SIGINT)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
