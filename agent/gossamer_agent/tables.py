"""TOML tables as frozen dataclasses: every key is declared once, with what is allowed for it.

A field is declared with `number`, `whole`, `text`, `texts`, `flag`, or as a `table`; `default`
makes the key optional. `build` turns a parsed table into the record and refuses unknown keys,
missing keys and values out of range, each in one line that names the file, the table and the key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields
from importlib.resources.abc import Traversable
from typing import Any, Final, TypeVar

from gossamer_agent.errors import ConfigError

_FILE_BYTES_MAX = 64 * 1024
ABOUT: Final = "about"  # metadata key: what a key means, for a reader of the file
_TABLE = "table"  # metadata key: the record of a table
_CHECK = "check"

_Record = TypeVar("_Record")
_Check = Callable[[object], object]


def number(low: float, high: float, *, default: Any = MISSING, about: str = "") -> Any:
    """Declare a float from `low` to `high`, both allowed."""

    def check(value: object) -> float:
        # bool is an int to Python, never to a reader of TOML.
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise ValueError(f"must be a number from {low:,g} to {high:,g}, not {value!r:.40}")

    return _declare(check, default, about)


def whole(low: int, high: int, *, default: Any = MISSING, about: str = "") -> Any:
    """Declare an int from `low` to `high`, both allowed."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be a whole number from {low:,} to {high:,}, not {value!r:.40}")

    return _declare(check, default, about)


def text(length_max: int, *choices: str, default: Any = MISSING, about: str = "") -> Any:
    """Declare a str of printable characters; one of `choices` if there are any."""

    def check(value: object) -> str:
        if choices and value not in choices:
            raise ValueError(f"must be {' or '.join(map(repr, choices))}")
        return _printable(value, length_max)

    return _declare(check, default, about)


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

    def check(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > count_max:
            raise ValueError(f"must be a list of at most {count_max} texts, not {value!r:.40}")
        found = tuple(_printable(item, length_max) for item in value)
        if check_one is not None:
            for item in found:
                check_one(item)
        return found

    return _declare(check, default, about)


def flag(*, default: Any = MISSING, about: str = "") -> Any:
    """Declare true or false."""

    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise ValueError(f"must be true or false, not {value!r:.40}")

    return _declare(check, default, about)


def table(record: type[Any]) -> Mapping[str, Any]:
    """The `metadata` of a field that holds a table, whose keys are the fields of `record`."""
    return {_TABLE: record}


def _declare(check: _Check, default: Any, about: str) -> Any:
    return field(default=default, metadata={_CHECK: check, ABOUT: about})


def _printable(value: object, length_max: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= length_max:
        raise ValueError(f"must be a text of 1 to {length_max} characters")
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def read_toml(file: Traversable, label: str) -> dict[str, object]:
    """The parsed file. Raises ConfigError that begins with `label`."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{label}: cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_BYTES_MAX:
        raise ConfigError(f"{label}: larger than {_FILE_BYTES_MAX} bytes")
    return parse_toml(raw, label)


def parse_toml(raw: bytes, label: str) -> dict[str, object]:
    """The parsed text of a file. Raises ConfigError that begins with `label`."""
    try:
        return tomllib.loads(raw.decode())
    # Deep nesting exhausts the parser's recursion; both others are ValueErrors.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{label}: not a TOML file: {error}") from error


def build(record: type[_Record], settings: Mapping[str, object], where: str) -> _Record:
    """Check every key of a table and return the record it describes. Raises ConfigError."""
    known = {spec.name: spec for spec in fields(record)}  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    values: dict[str, object] = {}
    for key, spec in known.items():
        if key in settings:
            values[key] = _value(spec, settings[key], where)
        elif spec.default is MISSING and spec.default_factory is MISSING:
            raise ConfigError(f"{where}: the key {key!r} is missing")
    return record(**values)


def _value(spec: Field[Any], value: object, where: str) -> object:
    record = spec.metadata.get(_TABLE)
    if record is not None:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {spec.name} must be a table, written [{spec.name}]")
        return build(record, value, f"{where}: [{spec.name}]")
    try:
        return spec.metadata[_CHECK](value)
    except ValueError as error:
        raise ConfigError(f"{where}: {spec.name} {error}") from None
