"""The event log: what is told, at which level, as a sentence or as JSON."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer_agent.eventlog.changes import Look, happened
from gossamer_agent.eventlog.setup import EventLog, Level, set_up_log
from gossamer_agent.reputation import Standing
from gossamer_agent.tally import RoundRecord

RECORD = RoundRecord(
    round=7, merged=3, committed=True, holdout_loss=0.5, accuracy=0.875, bytes_sent=9, seconds=1.0
)
LOOK = Look(state="learning", epoch=2, others=3, linked=2, rounds=(RECORD,))


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The loggers of this process are as before afterwards."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    ours, root = logging.getLogger("gossamer"), logging.getLogger()
    kept = (ours.handlers[:], ours.level, ours.propagate, root.handlers[:])
    yield
    ours.handlers[:], ours.level, ours.propagate, root.handlers[:] = kept


def set_up(*, as_json: bool, level: Level) -> tuple[io.StringIO, EventLog]:
    stream = io.StringIO()
    return stream, set_up_log(stream, as_json=as_json, level=level)


def names(before: Look, now: Look) -> list[str]:
    return [event.name for event in happened(before, now)]


def test_people_get_the_sentence_without_what_a_terminal_obeys() -> None:
    stream, log = set_up(as_json=False, level=Level.INFO)
    log.tell(Level.NOTICE, "state", "learning\x1b[2J", state="learning")
    log.tell(Level.DEBUG, "detail", "too much")
    assert stream.getvalue() == "gossamer: learning?[2J\n"


def test_programs_get_one_object_per_line() -> None:
    stream, log = set_up(as_json=True, level=Level.NOTICE)
    log.tell(Level.WARNING, "peer-banned", "x is banned\nfor good", peer="x")
    log.tell(Level.INFO, "round-done", "round 1")
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warning",
        "event": "peer-banned",
        "peer": "x",
        "sentence": "x is banned\nfor good",
    }


@pytest.mark.parametrize("as_json", [True, False])
def test_python_s_loggers_come_out_the_same_way(as_json: bool) -> None:
    stream, _ = set_up(as_json=as_json, level=Level.NOTICE)
    logging.getLogger("gossamer.transport").warning("lost %s", "it")
    logging.getLogger("gossamer.transport").info("not told")
    (line,) = stream.getvalue().splitlines()
    if as_json:
        told = json.loads(line)
        assert (told["level"], told["event"], told["sentence"]) == ("warning", "log", "lost it")
    else:
        assert line == "gossamer: lost it"


def test_other_libraries_are_silent() -> None:
    stream, _ = set_up(as_json=False, level=Level.DEBUG)
    logging.getLogger("libp2p.host").error("a peer misbehaved")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("ours", [True, False])
def test_the_journal_gets_priorities_and_a_terminal_that_inherits_its_name_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    with (tmp_path / "stream").open("w+") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + (not ours)}")
        log = set_up_log(stream, as_json=False, level=Level.INFO)
        log.tell(Level.NOTICE, "state", "learning")
        logging.getLogger("gossamer.transport").error("lost")
        stream.seek(0)
        lines = ["gossamer: learning\n", "gossamer: lost\n"]
        assert stream.readlines() == ([f"<5>{lines[0]}", f"<3>{lines[1]}"] if ours else lines)


def test_nothing_new_is_nothing_told() -> None:
    assert names(LOOK, LOOK) == []


def test_the_first_look_tells_epoch_links_state_and_rounds() -> None:
    assert names(Look(), LOOK) == ["epoch-joined", "links", "state", "round-done"]


def test_each_round_is_told_once() -> None:
    more = tuple(replace_record(round=number) for number in (7, 8, 9))
    told = [*happened(LOOK, replace(LOOK, rounds=more))]
    assert [event.fields["round"] for event in told] == [8, 9]
    assert told[0].sentence == "round 8, merged 3, loss 0.500, accuracy 87.5%, 0 kB sent so far"
    assert told[0].level is Level.INFO


def test_a_merge_that_the_gate_refused_is_a_notice() -> None:
    refused = replace_record(round=8, committed=False)
    assert names(LOOK, replace(LOOK, rounds=(refused,))) == ["round-done", "merge-refused"]


def test_standings_are_told_as_they_change() -> None:
    steps = [
        (Standing.ADMITTED, []),
        (Standing.QUARANTINED, ["peer-quarantined"]),
        (Standing.QUARANTINED, []),
        (Standing.ADMITTED, ["peer-released"]),
        (Standing.BANNED, ["peer-banned"]),
    ]
    before = LOOK
    for standing, told in steps:
        now = replace(LOOK, standings={"12D3": standing})
        assert names(before, now) == told
        before = now


def test_pauses_begin_and_end() -> None:
    hot = replace(LOOK, pauses={"heat": "81 °C, until 70 °C"})
    assert names(LOOK, hot) == ["paused"]
    assert names(hot, hot) == []
    assert names(hot, LOOK) == ["resumed"]


def test_store_trouble_is_an_error_and_each_trouble_told_once() -> None:
    failed = replace(LOOK, state="store failed: disk full", troubles=("the clock differs",))
    told = [*happened(LOOK, failed)]
    assert [(event.level, event.name) for event in told] == [
        (Level.ERROR, "store-failed"),
        (Level.WARNING, "trouble"),
    ]
    assert names(failed, failed) == []


def replace_record(**changes: object) -> RoundRecord:
    fields = {name: getattr(RECORD, name) for name in RECORD.__struct_fields__}
    return RoundRecord(**(fields | changes))
