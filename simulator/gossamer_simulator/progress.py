"""Progress of a running simulation: a live display in a terminal, plain lines elsewhere.

`Progress` itself shows nothing and is what `--quiet` uses. `open_progress` picks the display that
fits the console, so that callers only ever write

    with open_progress(console, rounds) as progress:
        progress.update(Snapshot(...))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossamer_simulator.formatting import byte_size, counted, duration, percent, sparkline

LINES_MAX = 20
"""A run prints about so many plain lines, however many rounds it has."""
SPARKLINE_WIDTH_MAX = 40
REASONS_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The swarm after `round` of its rounds; counts are totals since the start.

    accuracy: mean test accuracy of the honest peers, or None when it was not measured.
    """

    round: int
    accuracy: float | None
    bytes_sent: int
    messages: int
    refused: Mapping[str, int] = field(default_factory=dict)


class Progress:
    """Shows nothing. Subclasses override `update`, and `__exit__` if they must tidy up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def update(self, snapshot: Snapshot) -> None:
        """Take note of `snapshot`; called once for each round, in order."""


def open_progress(
    console: Console,
    rounds: int,
    *,
    quiet: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """The display for `console`: none if `quiet`, live in a terminal, otherwise plain lines."""
    if quiet:
        return Progress()
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(console, rounds, clock)
    return LineProgress(console, rounds, clock)


class LineProgress(Progress):
    """One line now and then: for pipes, log files and CI."""

    def __init__(self, console: Console, rounds: int, clock: Callable[[], float]) -> None:
        self._console = console
        self._rounds = rounds
        self._clock = clock
        self._started = clock()
        self._every = max(1, -(-rounds // LINES_MAX))

    def update(self, snapshot: Snapshot) -> None:
        if snapshot.round % self._every and snapshot.round not in (1, self._rounds):
            return
        width = len(str(self._rounds))
        accuracy = "not measured" if snapshot.accuracy is None else percent(snapshot.accuracy)
        parts = [
            f"round {snapshot.round:>{width}}/{self._rounds}",
            f"accuracy {accuracy}",
            f"{byte_size(snapshot.bytes_sent)} sent",
            f"{sum(snapshot.refused.values()):,} refused",
            duration(self._clock() - self._started),
        ]
        self._console.print(Text("  ".join(parts)), soft_wrap=True)


class LiveProgress(Progress):
    """Four lines that are drawn again in place; they stay when the run ends."""

    def __init__(self, console: Console, rounds: int, clock: Callable[[], float]) -> None:
        self._console = console
        self._rounds = rounds
        self._clock = clock
        self._started = clock()
        self._accuracy: list[float] = []
        self._last = Snapshot(round=0, accuracy=None, bytes_sent=0, messages=0)
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=4,
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

    def update(self, snapshot: Snapshot) -> None:
        self._last = snapshot
        if snapshot.accuracy is not None:
            self._accuracy.append(snapshot.accuracy)

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2), expand=False)
        table.add_column(style="dim", no_wrap=True, min_width=len("accuracy"))
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_row("round", self._round_line())
        table.add_row("accuracy", self._accuracy_line())
        table.add_row("sent", self._sent_line())
        table.add_row("refused", _refused_line(self._last.refused))
        return Group(table)

    def _round_line(self) -> Table:
        elapsed = self._clock() - self._started
        done = self._last.round
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(self._rounds, 1), completed=done, width=self._bar_width())
        times = duration(elapsed)
        if 0 < done < self._rounds:
            times += f", {duration(elapsed / done * (self._rounds - done))} left"
        line.add_row(f"{done}/{self._rounds}", bar, Text(times, style="dim"))
        return line

    def _accuracy_line(self) -> Text:
        if not self._accuracy:
            return Text("not measured yet", style="dim")
        line = Text(percent(self._accuracy[-1]).rjust(6), style="bold")
        encoding = self._console.encoding
        line.append("  ")
        line.append(sparkline(self._accuracy, self._bar_width(), encoding), style="blue")
        return line

    def _sent_line(self) -> Text:
        return Text(f"{byte_size(self._last.bytes_sent)} in {self._last.messages:,} messages")

    def _bar_width(self) -> int:
        return max(4, min(SPARKLINE_WIDTH_MAX, self._console.width - 44))


def _refused_line(refused: Mapping[str, int]) -> Text:
    ordered = sorted(
        ((count, reason) for reason, count in refused.items() if count),
        key=lambda row: (-row[0], row[1]),
    )
    line = Text(f"{sum(count for count, _ in ordered):,}")
    shown = [f"{reason} {count:,}" for count, reason in ordered[:REASONS_SHOWN]]
    if len(ordered) > REASONS_SHOWN:
        shown.append(counted(len(ordered) - REASONS_SHOWN, "more reason"))
    if shown:
        line.append("  " + ", ".join(shown), style="dim")
    return line
