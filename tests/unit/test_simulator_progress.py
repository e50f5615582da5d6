from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from gossamer_simulator.progress import (
    LineProgress,
    LiveProgress,
    Progress,
    Snapshot,
    open_progress,
)


def console(*, terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=width,
        height=24,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


def snapshot(number: int, accuracy: float | None = 0.5) -> Snapshot:
    return Snapshot(
        round=number,
        accuracy=accuracy,
        bytes_sent=number * 1_000_000,
        messages=number * 100,
        refused={"replayed": number, "stale": 0, "fork": 2 * number},
    )


def seconds() -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += 10


def run(progress: Progress, rounds: int) -> None:
    with progress:
        for number in range(1, rounds + 1):
            progress.update(snapshot(number, number / rounds))


def test_the_display_fits_the_console() -> None:
    assert type(open_progress(console(terminal=True), 3)) is LiveProgress
    assert type(open_progress(console(terminal=False), 3)) is LineProgress
    assert type(open_progress(console(terminal=True), 3, quiet=True)) is Progress


def test_quiet_prints_nothing() -> None:
    to = console(terminal=True)
    run(open_progress(to, 5, quiet=True), 5)
    assert written(to) == ""


def test_plain_lines_say_it_all() -> None:
    to = console(terminal=False)
    with open_progress(to, 3, clock=seconds().__next__) as progress:
        progress.update(snapshot(1))
        progress.update(snapshot(3, None))
    assert written(to).splitlines() == [
        "round 1/3  accuracy 50.0%  1.00 MB sent  3 refused  10.0 s",
        "round 3/3  accuracy not measured  3.00 MB sent  9 refused  20.0 s",
    ]


@pytest.mark.parametrize("rounds", [1, 2, 19, 20, 21, 45, 1000])
def test_plain_lines_are_few_and_include_the_first_and_the_last(rounds: int) -> None:
    to = console(terminal=False)
    run(open_progress(to, rounds), rounds)
    lines = written(to).splitlines()
    assert len(lines) <= 22
    assert lines[0].split()[1].startswith("1/") or f" 1/{rounds} " in lines[0]
    assert f"round {rounds}/{rounds} " in lines[-1]


def test_plain_lines_are_not_wrapped_on_a_narrow_console() -> None:
    to = console(terminal=False, width=30)
    run(open_progress(to, 2), 2)
    assert len(written(to).splitlines()) == 2


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_display_shows_round_accuracy_bytes_and_reasons(width: int) -> None:
    to = console(terminal=True, width=width)
    run(open_progress(to, 4), 4)
    last_frame = written(to).splitlines()[-5:-1]  # then the cursor is shown
    assert "round     4/4" in last_frame[0]
    assert "accuracy    100%  ▃▅▇█" in last_frame[1]
    assert "sent      4.00 MB in 400 messages" in last_frame[2]
    assert "refused   12  fork 8" in last_frame[3]
    assert all(len(line.split("\x1b[2K")[-1]) <= width for line in last_frame)


def test_the_live_display_estimates_what_is_left() -> None:
    to = console(terminal=True)
    now = [0.0]
    with LiveProgress(to, 4, lambda: now[0]) as progress:
        now[0] = 30.0
        progress.update(snapshot(1))
    assert "30.0 s, 1:30 left" in written(to)


def test_the_live_display_without_measurements() -> None:
    to = console(terminal=True)
    with open_progress(to, 4) as progress:
        progress.update(snapshot(1, None))
    assert "not measured yet" in written(to)


def test_an_error_passes_through_and_the_display_is_closed() -> None:
    to = console(terminal=True)
    with pytest.raises(KeyboardInterrupt), open_progress(to, 4) as progress:
        progress.update(snapshot(1))
        raise KeyboardInterrupt
    assert written(to).endswith("\x1b[?25h")  # the cursor is shown again
