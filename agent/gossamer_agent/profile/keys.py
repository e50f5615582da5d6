"""The keys of a profile, and which one is meant by a key that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import Field, fields
from typing import Any, Final

from gossamer_agent.profile.schema import Profile
from gossamer_agent.tables import ABOUT, ALLOWED, table_of

# Words of a key that name a unit, in any spelling that somebody might try.
_UNITS: Final = frozenset(
    word
    for line in (
        "s sec secs second seconds ms msec millis milliseconds us microseconds ns min mins minute",
        "minutes h hr hrs hour hours day days week weeks month months year years d per a",
        "b byte bytes kb kib mb mib gb gib tb bit bits kbit kbits mbit mbits gbit bps kbps mbps",
        "percent percentage pct ratio fraction share hz mhz million millions thousand",
        "celsius c fahrenheit f kelvin k degrees",
    )
    for word in line.split()
)


def all_keys() -> Iterator[tuple[tuple[str, ...], Field[Any]]]:
    """Each key that a file may have, as its path, in the order of the schema; no tables."""
    for spec in fields(Profile):
        inner = table_of(spec)
        if inner is not None:
            yield from (((spec.name, key.name), key) for key in fields(inner))
        elif spec.name != "name":
            yield (spec.name,), spec


def spec_of(path: tuple[str, ...]) -> Field[Any] | None:
    """The declaration of a key or table; None if there is no such key."""
    for name, spec in (*all_keys(), *(((table.name,), table) for table in fields(Profile))):
        if name == path:
            return spec
    return None


def unknown_key(path: tuple[str, ...]) -> tuple[Field[Any] | None, str]:
    """The key that is meant by an unknown one, None if that cannot be told; and what to say."""
    key = path[-1]
    meant = _meant(path)
    if meant is None:
        siblings = [name for *above, name in _names() if tuple(above) == path[:-1]]
        return None, f"unknown key {key!r:.80}; known here are {', '.join(siblings)}"
    spec = spec_of(meant)
    assert spec is not None
    table = "".join(f"[{name}] " for name in meant[:-1] if meant[:-1] != path[:-1])
    about = spec.metadata.get(ABOUT, "")
    allowed = spec.metadata.get(ALLOWED) or f"a table, written [{meant[-1]}]"
    told = f"unknown key {key!r:.80}, perhaps {table}{meant[-1]} is meant"
    if _stem(key) == _stem(meant[-1]) and _units(key) != _units(meant[-1]):
        what = "wrong unit in" if _units(key) else "the unit is missing in"
        told = f"{what} {key!r:.80}; {table}{meant[-1]} is meant"
    return spec, f"{told}: {allowed}{f' ({about})' if about else ''}"


def _names() -> Iterator[tuple[str, ...]]:
    for spec in fields(Profile):
        if spec.name != "name":
            yield (spec.name,)
    yield from (path for path, _ in all_keys() if len(path) > 1)


def _meant(path: tuple[str, ...]) -> tuple[str, ...] | None:
    """The known key most like an unknown one: but for its unit, its table or its spelling."""
    names = sorted(_names(), key=lambda name: (name[:-1] != path[:-1], name))  # same table first
    key = path[-1]
    for known in names:
        if known[-1] == key:
            return known
    stem = _stem(key)
    for known in names:
        if stem and _stem(known[-1]) == stem:
            return known
    # Bounded: a key may be as long as the file.
    close = difflib.get_close_matches(key[:80], [name[-1] for name in names], n=1, cutoff=0.6)
    return next((name for name in names if close and name[-1] == close[0]), None)


def _stem(key: str) -> tuple[str, ...]:
    return tuple(word for word in key[:80].lower().split("_") if word not in _UNITS)


def _units(key: str) -> tuple[str, ...]:
    return tuple(word for word in key[:80].lower().split("_") if word in _UNITS)
