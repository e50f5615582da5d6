"""TOML tables as frozen dataclasses: every key is declared once, with what is allowed for it.

A field is declared with `number`, `whole`, `text`, `texts`, `flag`, or as a `table`; `default`
makes the key optional. `build` turns a parsed table into the record and refuses unknown keys,
missing keys and values out of range, each in one line that names the file, the table and the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeVar

from gossamer_agent.errors import ConfigError

_FILE_BYTES_MAX = 64 * 1024
ABOUT: Final = "about"  # metadata key: what a key means, for a reader of the file
ALLOWED: Final = "allowed"  # metadata key: type and range in words
_TABLE = "table"  # metadata key: the record of a table
_CHECK = "check"

_Record = TypeVar("_Record")
_Check = Callable[[object], object]


def number(low: float, high: float, *, default: Any = MISSING, about: str = "") -> Any:
    """Declare a float from `low` to `high`, both allowed."""
    allowed = f"a number from {low:,.12g} to {high:,.12g}"

    def check(value: object) -> float:
        # bool is an int to Python, never to a reader of TOML.
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise ValueError(f"must be {allowed}, not {_shown(value)}")

    return _declare(check, default, about, allowed)


def whole(low: int, high: int, *, default: Any = MISSING, about: str = "") -> Any:
    """Declare an int from `low` to `high`, both allowed."""
    allowed = f"a whole number from {low:,} to {high:,}"

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be {allowed}, not {_shown(value)}")

    return _declare(check, default, about, allowed)


def text(length_max: int, *choices: str, default: Any = MISSING, about: str = "") -> Any:
    """Declare a str of printable characters; one of `choices` if there are any."""
    allowed = " or ".join(map(repr, choices)) or f"a text of 1 to {length_max} characters"

    def check(value: object) -> str:
        if choices and value not in choices:
            raise ValueError(f"must be {allowed}")
        return _printable(value, length_max)

    return _declare(check, default, about, allowed)


def checked_text(
    length_max: int, check_one: Callable[[str], None], *, default: Any = MISSING, about: str = ""
) -> Any:
    """Declare a str of printable characters; `check_one` raises ValueError for a bad one."""

    def check(value: object) -> str:
        found = _printable(value, length_max)
        check_one(found)
        return found

    return _declare(check, default, about, f"a text of 1 to {length_max} characters")


def texts(
    count_max: int,
    length_max: int,
    check_one: Callable[[str], None] | None = None,
    *,
    default: Any = MISSING,
    about: str = "",
) -> Any:
    """Declare a list of texts, a tuple in the record; `check_one` raises ValueError for a bad one.

    Its message follows the text: "... is not an address".
    """
    allowed = f"a list of at most {count_max} texts"

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > count_max:
            raise ValueError(f"must be {allowed}, not {_shown(value)}")
        found = tuple(_printable(item, length_max) for item in value)
        if check_one is not None:
            for item in found:
                check_one(item)
        return found

    return _declare(check, default, about, allowed)


def flag(*, default: Any = MISSING, about: str = "") -> Any:
    """Declare true or false."""

    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise ValueError(f"must be true or false, not {_shown(value)}")

    return _declare(check, default, about, "true or false")


def table(record: type[Any]) -> Mapping[str, Any]:
    """The `metadata` of a field that holds a table, whose keys are the fields of `record`."""
    return {_TABLE: record}


def table_of(spec: Field[Any]) -> type[Any] | None:
    """The record of a field that holds a table; None for a plain key."""
    record: type[Any] | None = spec.metadata.get(_TABLE)
    return record


def _declare(check: _Check, default: Any, about: str, allowed: str) -> Any:
    return field(default=default, metadata={_CHECK: check, ABOUT: about, ALLOWED: allowed})


def _shown(value: object) -> str:
    return f"{value!r:.40}"


def _printable(value: object, length_max: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= length_max:
        raise ValueError(f"must be a text of 1 to {length_max} characters")
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def read_toml(file: Traversable, label: str) -> dict[str, object]:
    """The parsed file. Raises ConfigError that begins with `label`."""
    return parse_toml(read_bytes(file, label), label)


def read_bytes(file: Traversable, label: str) -> bytes:
    """The file, at most 64 KiB of it. Raises ConfigError that begins with `label`."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_BYTES_MAX:
        raise ConfigError(f"{label}: larger than {_FILE_BYTES_MAX} bytes")
    return raw


def parse_toml(raw: bytes, label: str) -> dict[str, object]:
    """The parsed text of a file. Raises ConfigError that begins with `label`."""
    try:
        return tomllib.loads(raw.decode())
    # Deep nesting exhausts the parser's recursion; both others are ValueErrors.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{label}: not a TOML file: {error}") from error


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one key. path: names of its tables, then its own."""

    path: tuple[str, ...]
    text: str

    def line(self, where: str) -> str:
        """One line that names the file and the tables."""
        return ": ".join((where, *(f"[{name}]" for name in self.path[:-1]), self.text))


def build(record: type[_Record], settings: Mapping[str, object], where: str) -> _Record:
    """Check every key of a table and return the record it describes. Raises ConfigError."""
    for problem in find_problems(record, settings):
        raise ConfigError(problem.line(where))
    return _made(record, settings)


def find_problems(
    record: type[Any], settings: Mapping[str, object], above: tuple[str, ...] = ()
) -> Iterator[Problem]:
    """Everything that is wrong with a table; `above` are the names of the tables it lies in."""
    known = {spec.name: spec for spec in fields(record)}
    for key in settings:
        if key not in known:
            text = f"unknown key {key!r:.80}; known are {', '.join(known)}"
            yield Problem((*above, key), text)
    for key, spec in known.items():
        inner = table_of(spec)
        if key not in settings:
            if spec.default is MISSING and spec.default_factory is MISSING:
                yield Problem((*above, key), f"the key {key!r} is missing")
        elif inner is not None:
            value = settings[key]
            if isinstance(value, dict):
                yield from find_problems(inner, value, (*above, key))
            else:
                yield Problem((*above, key), f"{key} must be a table, written [{key}]")
        else:
            try:
                spec.metadata[_CHECK](settings[key])
            except ValueError as error:
                yield Problem((*above, key), f"{key} {error}")


def _made(record: type[_Record], settings: Mapping[str, object]) -> _Record:
    """The record of a table without problems."""
    values = {
        spec.name: _value(spec, settings[spec.name])
        for spec in fields(record)  # type: ignore[arg-type]
        if spec.name in settings
    }
    return record(**values)


def _value(spec: Field[Any], value: Any) -> object:
    inner = table_of(spec)
    return spec.metadata[_CHECK](value) if inner is None else _made(inner, value)
