"""Where a key stands in a TOML file: the standard library's parser forgets the lines.

Theory of operation. `tomllib` decides what a text means; this only walks over a text that it has
accepted, and notes the line of every key. So it need not know numbers or dates: it has to know
where keys begin (headers, dotted and quoted keys, inline tables) and what only looks like one
(strings of four kinds, comments, arrays over many lines). On any other text it ends without an
error and with the keys that it found. TOML 1.0: https://toml.io/en/v1.0.0
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

Path = tuple[str, ...]

_BLANK: Final = re.compile(r"[ \t]*")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> Mapping[Path, int]:
    """Line, from 1, of each key and table header; the first one where there are several.

    A key is its path: ("speed", "seal_ms"). Keys of tables in arrays share one path.
    """
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError):  # what came before is right
        scanner.run()
    return scanner.found


class _LostError(Exception):
    """This is not TOML."""


class _Scanner:
    def __init__(self, text: str) -> None:
        self.found: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1

    def run(self) -> None:
        table: Path = ()
        while self._next(_SPACE) is not None and self._at < len(self._text):
            if self._peek("["):
                double = self._peek("[[")
                self._skip("[[" if double else "[")
                table = self._key(())
                self._skip("]]" if double else "]")
            else:
                self._pair(table)

    def _pair(self, table: Path) -> None:
        path = self._key(table)
        self._skip("=")
        self._next(_BLANK)
        self._value(path)

    def _key(self, above: Path) -> Path:
        """A key, perhaps dotted, and all tables that it names on the way."""
        path = above
        while True:
            self._next(_BLANK)
            line = self._line
            raw = self._next(_STRING if self._peek('"', "'") else _BARE)
            if not raw:
                raise _LostError
            path = (*path, _name(raw))
            self.found.setdefault(path, line)
            self._next(_BLANK)
            if not self._peek("."):
                return path
            self._skip(".")

    def _value(self, path: Path) -> None:
        if self._peek('"', "'"):
            if self._next(_STRING) is None:
                raise _LostError
        elif self._peek("["):
            self._items("[", "]", lambda: self._value(path))
        elif self._peek("{"):
            self._items("{", "}", lambda: self._pair(path))
        elif not self._next(_SCALAR):
            raise _LostError

    def _items(self, begin: str, end: str, item: Callable[[], None]) -> None:
        self._skip(begin)
        self._next(_SPACE)
        while not self._peek(end):
            item()
            self._next(_SPACE)
            if self._peek(","):
                self._skip(",")
                self._next(_SPACE)
            elif not self._peek(end):
                raise _LostError
        self._skip(end)

    def _peek(self, *beginnings: str) -> bool:
        return self._text.startswith(beginnings, self._at)

    def _skip(self, mark: str) -> None:
        self._next(_BLANK)
        if not self._peek(mark):
            raise _LostError
        self._at += len(mark)

    def _next(self, pattern: re.Pattern[str]) -> str | None:
        """What fits here, and go behind it; None if nothing does."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        self._line += match[0].count("\n")
        return match[0]


def _name(raw: str) -> str:
    if raw[0] not in "\"'":
        return raw
    try:
        # A quoted key may hold escapes: let the parser read them.
        return next(iter(tomllib.loads(f"{raw} = 0")))
    except tomllib.TOMLDecodeError:
        raise _LostError from None
