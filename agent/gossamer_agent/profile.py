"""Device profiles: what a class of devices can do, and the settings that suit it.

A profile is a TOML file; docs/profiles.md describes it. Built-in ones lie in the data package
`gossamer_profiles`. A profile names another one as its `base` and says only what differs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from gossamer_agent.errors import ConfigError

_PACKAGE = "gossamer_profiles"
_BASES_MAX = 8
_FILE_BYTES_MAX = 64 * 1024

_Record = TypeVar("_Record")


def _number(low: float, high: float) -> Any:
    """Declare a float from `low` to `high`, both allowed."""

    def check(value: object) -> float:
        # bool is an int to Python, never to a reader of TOML.
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        raise ValueError(f"must be a number from {low:,g} to {high:,g}, not {value!r:.40}")

    return field(metadata={"check": check})


def _whole(low: int, high: int) -> Any:
    """Declare an int from `low` to `high`, both allowed."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"must be a whole number from {low:,} to {high:,}, not {value!r:.40}")

    return field(metadata={"check": check})


def _text(length_max: int, *choices: str) -> Any:
    """Declare a str of printable characters; one of `choices` if there are any."""

    def check(value: object) -> str:
        if choices and value not in choices:
            raise ValueError(f"must be {' or '.join(map(repr, choices))}")
        if not isinstance(value, str) or not 0 < len(value) <= length_max:
            raise ValueError(f"must be a text of 1 to {length_max} characters")
        if not value.isprintable():
            raise ValueError("must hold printable characters only")
        return value

    return field(metadata={"check": check})


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """CPU milliseconds on one core of the device.

    train_step_ms: one SGD step of the 4 810-parameter MLP on a batch of 16.
    merge_ms_per_million_values: the default merge of 9 inputs whose votes differ, per 10^6
        parameters.
    verify_ms, seal_ms: one entry of about 1 kB.
    """

    train_step_ms: float = _number(0.001, 60_000)
    merge_ms_per_million_values: float = _number(0.001, 3_600_000)
    verify_ms: float = _number(0.001, 10_000)
    seal_ms: float = _number(0.001, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network as one device sees it: one-way delay, and the rate of the slower direction."""

    latency_ms: float = _number(0, 60_000)
    bandwidth_kbit_s: float = _number(1, 10_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device class. `figures` says whether speed and link were measured on the device."""

    name: str = _text(64)
    title: str = _text(80)
    base: str | None = _text(256)
    figures: str = _text(8, "estimate", "measured")
    threads: int = _whole(1, 64)
    memory_mb_max: int = _whole(64, 1_048_576)
    batch_max: int = _whole(1, 65_536)
    view_size: int = _whole(1, 64)
    round_interval_s: float = _number(0.1, 86_400)
    speed: Speed = field(metadata={"table": Speed})
    link: Link = field(metadata={"table": Link})


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a built-in profile by its name, or one from a file (a path that ends in .toml).

    Raises ConfigError that names the file, the key and what is allowed.
    """
    source = _find(str(name_or_path), Path())
    own = _read(source)
    named = {**own, "name": source.name, "base": own.get("base")}
    if "name" in own:
        raise ConfigError(f"{source.label}: unknown key 'name'; the file's own name is the name")
    return _build(Profile, _over_base(source, named, _BASES_MAX), source.label)


def list_profiles() -> tuple[str, ...]:
    """Return the names of the built-in profiles in alphabetical order."""
    files = (entry.name for entry in resources.files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a profile is: `folder` is what the path of its base is relative to."""

    name: str
    label: str
    file: Traversable
    folder: Path


def _find(reference: str, folder: Path) -> _Source:
    if reference.endswith(".toml"):
        path = folder / reference
        return _Source(path.stem, str(path), path, path.parent)
    known = list_profiles()
    if reference not in known:
        raise ConfigError(
            f"no profile {reference!r}: use {', '.join(known)}, or a path that ends in .toml"
        )
    file = resources.files(_PACKAGE) / f"{reference}.toml"
    return _Source(reference, f"profile {reference}", file, folder)


def _read(source: _Source) -> dict[str, object]:
    try:
        with source.file.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{source.label}: cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_BYTES_MAX:
        raise ConfigError(f"{source.label}: larger than {_FILE_BYTES_MAX} bytes")
    try:
        return tomllib.loads(raw.decode())
    # Deep nesting exhausts the parser's recursion; both others are ValueErrors.
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source.label}: not a TOML file: {error}") from error


def _over_base(source: _Source, own: Mapping[str, object], depth: int) -> Mapping[str, object]:
    """Return `own` with the keys it lacks taken from its base, tables key by key."""
    reference = own.get("base")
    if reference is None:
        return own
    if not isinstance(reference, str):
        raise ConfigError(f"{source.label}: base must be the name or path of a profile")
    if depth == 0:
        raise ConfigError(f"{source.label}: more than {_BASES_MAX} bases, or a circle of them")
    base = _find(reference, source.folder)
    merged = dict(_over_base(base, _read(base), depth - 1))
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = {**below, **value}
        else:
            merged[key] = value
    return merged


def _build(record: type[_Record], settings: Mapping[str, object], where: str) -> _Record:
    """Check every key of a table and return the record it describes."""
    known = {spec.name: spec for spec in fields(record)}  # type: ignore[arg-type]
    for key in settings:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; known are {', '.join(known)}")
    values: dict[str, object] = {}
    for key, spec in known.items():
        if key not in settings:
            raise ConfigError(f"{where}: the key {key!r} is missing")
        values[key] = _value(spec.metadata, settings[key], where, key)
    return record(**values)


def _value(metadata: Mapping[str, Any], value: object, where: str, key: str) -> object:
    table = metadata.get("table")
    if table is not None:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {key} must be a table, written [{key}]")
        return _build(table, value, f"{where}: [{key}]")
    # TOML has no null: None means that the key `base` is not there.
    if value is None:
        return None
    try:
        return metadata["check"](value)
    except ValueError as error:
        raise ConfigError(f"{where}: {key} {error}") from None
