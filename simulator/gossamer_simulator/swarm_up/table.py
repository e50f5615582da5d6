"""How a running swarm looks: one table that is drawn again in place, or plain lines elsewhere.

`Display` itself shows nothing and is what `--quiet` uses; `open_display` picks what fits the
console.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gossamer_simulator.formatting import byte_size, counted, duration, percent, sparkline
from gossamer_simulator.progress import LineProgress, Snapshot
from gossamer_simulator.swarm_up.processes import Child, printable
from gossamer_simulator.swarm_up.watch import Course, Watch

SPARKLINE_WIDTH = 12
REASONS_SHOWN = 4
STATE_WIDTH = 34


class Display:
    """Shows nothing. Subclasses override what they show."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def say(self, text: str) -> None:
        """What the parent does now: "founding", "peer-03 joins"."""

    def report(self, lines: Sequence[str]) -> None:
        """What went wrong: a headline, then details."""

    def report_death(self, child: Child) -> None:
        """How an agent ended, and the last lines of its log."""
        self.report([f"{child.name} {child.ending()}", *child.log_tail()])

    def update(self, watch: Watch, gone: Mapping[str, str]) -> None:
        """The swarm as it is. gone: how agents ended that should not have, by name."""


def open_display(
    console: Console,
    rounds: int,
    *,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Display:
    """The display for `console`: none if `quiet`, live in a terminal, otherwise plain lines."""
    if quiet:
        return Display()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveTable(console, rounds, clock)
    return Lines(console, rounds, clock)


class Lines(Display):
    """One line when every agent that is left has ended a round."""

    def __init__(self, console: Console, rounds: int, clock: Callable[[], float]) -> None:
        self._console = console
        self._rounds = rounds
        self._clock = clock
        self._progress: LineProgress | None = None
        self._told = 0

    def say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def report(self, lines: Sequence[str]) -> None:
        _report(self._console, lines)

    def update(self, watch: Watch, gone: Mapping[str, str]) -> None:
        # Joining takes as long as some rounds: the clock of the rounds begins after it.
        self._progress = self._progress or LineProgress(self._console, self._rounds, self._clock)
        for round_ in range(self._told + 1, min(slowest(watch, gone), self._rounds) + 1):
            self._progress.update(_snapshot(watch, round_))
            self._told = round_


class LiveTable(Display):
    """A row for each agent, and two lines about all of them."""

    def __init__(self, console: Console, rounds: int, clock: Callable[[], float]) -> None:
        self._console = console
        self._rounds = rounds
        self._clock = clock
        self._started = clock()
        self._doing = "starting"
        self._watch: Watch | None = None
        self._gone: Mapping[str, str] = {}
        self._live = Live(
            console=console,
            get_renderable=self.render,
            auto_refresh=False,  # a thread would make starting processes unsafe
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        self._doing = text
        self._live.refresh()

    def report(self, lines: Sequence[str]) -> None:
        # Printed above the table, which moves down.
        _report(self._live.console, lines)

    def update(self, watch: Watch, gone: Mapping[str, str]) -> None:
        if self._watch is None:
            self._doing = ""
        self._watch, self._gone = watch, dict(gone)
        self._live.refresh()

    def render(self) -> Group:
        """The table as it is now."""
        elapsed = duration(self._clock() - self._started)
        if self._watch is None:
            return Group(Text.assemble(self._doing, ("  " + elapsed, "dim")))
        round_ = min(slowest(self._watch, self._gone), self._rounds)
        accuracy = self._watch.mean_accuracy(self._rounds)
        head = Text(f"round {round_}/{self._rounds}  ", style="bold")
        head.append("accuracy " + ("not measured yet" if accuracy is None else percent(accuracy)))
        head.append(f"  {elapsed}  {self._doing}", style="dim")
        return Group(head, self._table(self._watch), _refused_line(self._watch))

    def _table(self, watch: Watch) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("agent", no_wrap=True)
        for name in ("round", "accuracy"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, style="blue", min_width=SPARKLINE_WIDTH)
        for name in ("links", "sent", "refused"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("state", no_wrap=True, overflow="ellipsis", style="dim")
        for name, course in watch.courses.items():
            table.add_row(*self._row(name, course))
        return table

    def _row(self, name: str, course: Course) -> list[str | Text]:
        ended = self._gone.get(name)
        status = course.newest
        if status is None:
            return [name, "", "", "", "", "", "", _state(ended or "starting", bad=bool(ended))]
        series = list(course.accuracy.values())
        refused = sum(status.refused.values())
        return [
            name,
            str(status.round),
            percent(series[-1]) if series else "",
            sparkline(series, SPARKLINE_WIDTH, self._console.encoding),
            str(status.linked),
            byte_size(status.bytes_sent),
            Text(f"{refused:,}", style="yellow" if refused else ""),
            _state(ended or status.state, bad=bool(ended)),
        ]


def slowest(watch: Watch, gone: Mapping[str, str]) -> int:
    """The newest round that every agent that is left has ended."""
    rounds = [course.rounds for name, course in watch.courses.items() if name not in gone]
    return min(rounds, default=0)


def _report(console: Console, lines: Sequence[str]) -> None:
    console.print(Text(lines[0], style="bold red"), soft_wrap=True)
    for line in lines[1:]:
        console.print(Text(f"    {line}"), soft_wrap=True)


def _state(text: str, *, bad: bool) -> Text:
    shown = Text(printable(text), style="bold red" if bad else "")
    shown.truncate(STATE_WIDTH, overflow="ellipsis")
    return shown


def _snapshot(watch: Watch, round_: int) -> Snapshot:
    statuses = watch.newest()
    return Snapshot(
        round=round_,
        accuracy=watch.mean_accuracy(round_),
        bytes_sent=sum(status.bytes_sent for status in statuses),
        messages=sum(status.frames_sent for status in statuses),
        refused=watch.refused(),
    )


def _refused_line(watch: Watch) -> Text:
    counts = sorted(watch.refused().items(), key=lambda row: (-row[1], row[0]))
    line = Text(f"{sum(count for _, count in counts):,} refused", style="dim")
    shown = [f"{reason} {count:,}" for reason, count in counts[:REASONS_SHOWN]]
    if len(counts) > REASONS_SHOWN:
        shown.append(counted(len(counts) - REASONS_SHOWN, "more reason"))
    return line.append(": " + ", ".join(shown) if shown else "")
