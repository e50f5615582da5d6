"""How a running swarm looks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from gossamer_agent.node.status import AgentStatus
from gossamer_agent.tally import RoundRecord
from gossamer_simulator.swarm_up.table import Display, Lines, LiveTable, open_display
from gossamer_simulator.swarm_up.watch import Watch


def console(*, terminal: bool) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=110,
        height=24,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def text_of(display: Display) -> str:
    assert isinstance(display, LiveTable)
    plain = Console(file=io.StringIO(), width=110, color_system=None, _environ={})
    plain.print(display.render())
    assert isinstance(plain.file, io.StringIO)
    return plain.file.getvalue()


def watch_at(*rounds: int, **fields: Any) -> Watch:
    watch = Watch.over({f"peer-{number:02d}": Path() for number in range(len(rounds))})
    for (name, course), round_ in zip(watch.courses.items(), rounds, strict=True):
        course.learn(_status(name, round_, **fields))
    return watch


def _status(name: str, round_: int, **fields: Any) -> AgentStatus:
    history = [
        RoundRecord(
            round=number,
            merged=3,
            committed=True,
            holdout_loss=None,
            accuracy=number / 10,
            bytes_sent=0,
            seconds=0.0,
        )
        for number in range(1, round_ + 1)
    ]
    settings: dict[str, Any] = {
        "version": "0",
        "name": name,
        "peer": name,
        "steward": False,
        "swarm": "test",
        "swarm_id": "00",
        "state": "learning",
        "round": round_,
        "linked": 9,
        "bytes_sent": 1_500,
        "history": history,
    }
    return AgentStatus(**(settings | fields))


def test_the_display_fits_the_console() -> None:
    assert type(open_display(console(terminal=True), 3)) is LiveTable
    assert type(open_display(console(terminal=False), 3)) is Lines
    assert type(open_display(console(terminal=True), 3, quiet=True)) is Display


def test_lines_come_when_the_slowest_is_through_and_none_twice() -> None:
    to = console(terminal=False)
    with open_display(to, 4) as display:
        display.say("peer-01 joins")
        for rounds in ((0, 0), (1, 0), (1, 2), (3, 3), (3, 3), (9, 9)):
            display.update(watch_at(*rounds, refused={"stale": 2}), {})
    assert isinstance(to.file, io.StringIO)
    lines = to.file.getvalue().splitlines()
    assert lines[0] == "peer-01 joins"
    assert [line.split("  ")[0] for line in lines[1:]] == [f"round {n}/4" for n in (1, 2, 3, 4)]
    assert "accuracy 10.0%" in lines[1]
    assert "3.00 kB sent" in lines[1]
    assert "4 refused" in lines[1]


def test_who_died_holds_nobody_up() -> None:
    to = console(terminal=False)
    with open_display(to, 4) as display:
        display.report(["peer-01 ended with exit code 6", "why"])
        display.update(watch_at(2, 0), {"peer-01": "ended with exit code 6"})
    assert isinstance(to.file, io.StringIO)
    lines = to.file.getvalue().splitlines()
    assert lines[:2] == ["peer-01 ended with exit code 6", "    why"]
    assert lines[-1].startswith("round 2/4")


def test_the_table_has_a_row_for_each() -> None:
    display = open_display(console(terminal=True), 4)
    display.say("4 agents start")
    assert "4 agents start" in text_of(display)
    watch = watch_at(3, 2, refused={"stale": 2, "fork": 1})
    watch.courses["peer-01"].newest = None
    display.update(watch, {"peer-01": "was ended by SIGKILL"})
    text = text_of(display)
    assert "round 3/4" in text
    assert "3 refused: stale 2, fork 1" in text
    rows = [line.strip() for line in text.splitlines()]
    (first,) = [row.split() for row in rows if row.startswith("peer-00")]
    assert first[:3] == ["peer-00", "3", "30.0%"]
    assert first[-5:] == ["9", "1.50", "kB", "3", "learning"]
    (second,) = [row for row in rows if row.startswith("peer-01")]
    assert second.split(maxsplit=1)[1] == "was ended by SIGKILL"


def test_what_peers_say_cannot_change_the_terminal() -> None:
    """States are an agent's own words, but an agent may quote others."""
    display = open_display(console(terminal=True), 4)
    display.update(watch_at(1, state="[bold]\x1b[2J store failed " + "x" * 100), {})
    text = text_of(display)
    assert "[bold]" in text
    assert "\x1b" not in text
    assert all(len(line) <= 110 for line in text.splitlines())


def test_live_updates_leave_the_last_table() -> None:
    to = console(terminal=True)
    with open_display(to, 2) as display:
        display.update(watch_at(1, 1), {})
        display.report(["peer-00 ended with exit code 1", "a line of its log"])
        display.update(watch_at(2, 2), {})
    assert isinstance(to.file, io.StringIO)
    text = to.file.getvalue()
    assert "a line of its log" in text
    assert text.rindex("round 2/2") > text.rindex("a line of its log")
