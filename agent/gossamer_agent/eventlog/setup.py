"""Levels, renderers and destination of the event log. Called once, by the program.

An event has a name and a sentence. People read the sentence; programs get one JSON object per line
with `time` (RFC 3339, UTC), `level`, `event` (the name) and the event's own fields. What goes
through Python's `logging` under the name "gossamer" comes out the same way; libp2p's log stays
silent but for what is critical.
"""

from __future__ import annotations

import logging
import os
from enum import IntEnum
from typing import Any, Final, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

SENTENCE: Final = "sentence"
_UNDER_JOURNAL: Final = "JOURNAL_STREAM"


class Level(IntEnum):
    """How much is told; the numbers are those of `logging`, with syslog's notice between."""

    DEBUG = logging.DEBUG
    INFO = logging.INFO
    NOTICE = 25
    WARNING = logging.WARNING
    ERROR = logging.ERROR


_PRIORITY: Final = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "critical": 2}
"""syslog's numbers; the journal takes them as a prefix of the line (sd-daemon(3))."""


class EventLog(structlog.BoundLoggerBase):
    """`tell(level, name, sentence, **fields)`; fields hold no secret and no sample."""

    def tell(self, level: Level, name: str, sentence: str, **fields: object) -> None:
        """Write one event, unless the level is too low for this log."""
        try:
            arguments, named = self._process_event(
                level.name.lower(), name, {SENTENCE: sentence, **fields}
            )
        except structlog.DropEvent:
            return
        self._logger.msg(*arguments, **named)


def set_up_log(stream: TextIO, *, as_json: bool, level: Level) -> EventLog:
    """The event log on `stream`; Python's own "gossamer" loggers write there as well."""
    before: list[Processor] = [structlog.processors.add_log_level]
    if as_json:
        before.append(structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"))
    rendered: Processor = _as_json() if as_json else _as_sentence
    prefixed: list[Processor] = [_with_priority] if _is_journal(stream) else []
    _redirect_logging(stream, before, [rendered, *prefixed], level)
    return EventLog(
        structlog.PrintLogger(stream),
        processors=[_above(level), *before, rendered, *prefixed],
        context={},
    )


def _is_journal(stream: TextIO) -> bool:
    """Whether the journal reads `stream`. Terminals inherit the variable, too (systemd.exec(5))."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # not a file
        return False
    return os.environ.get(_UNDER_JOURNAL) == f"{found.st_dev}:{found.st_ino}"


def _above(lowest: Level) -> Processor:
    def drop(_: WrappedLogger, name: str, event: EventDict) -> EventDict:
        if Level[name.upper()] < lowest:
            raise structlog.DropEvent
        return event

    return drop


def _as_json() -> Processor:
    render = structlog.processors.JSONRenderer()

    def as_json(logger: WrappedLogger, name: str, event: EventDict) -> Any:
        sentence = event.pop(SENTENCE, None)
        # Python's own loggers have a sentence and no name.
        ordered = {key: event.pop(key, None) for key in ("time", "level", "event")}
        if sentence is None:
            ordered["event"], sentence = "log", ordered["event"]
        return render(logger, name, {**ordered, **event, SENTENCE: sentence})

    return as_json


def _as_sentence(_: WrappedLogger, __: str, event: EventDict) -> str:
    text = str(event.get(SENTENCE, event.get("event", "")))
    # A name that a stranger chose may be in it; a terminal must not obey that.
    return "gossamer: " + "".join(part if part.isprintable() else "?" for part in text)


def _with_priority(_: WrappedLogger, name: str, line: Any) -> Any:
    return f"<{_PRIORITY[name]}>{line}"


def _redirect_logging(
    stream: TextIO, before: list[Processor], rendered: list[Processor], level: Level
) -> None:
    """Our transport's log; of other libraries nothing but what they print themselves."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    ours = logging.getLogger("gossamer")
    ours.handlers[:] = [handler]
    # What the network does is for those who look for a fault there.
    ours.setLevel(level if level is Level.DEBUG else max(level, Level.WARNING))
    ours.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
