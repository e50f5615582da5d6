"""What a log tells of a device's settings, and what changed between two starts. Pure.

Whoever holds the key of the swarm can read a log that was exported. So numbers, switches, and words
about learning are told; paths, addresses and names are not. The digest covers them all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any, Final

from gossamer_agent.device.config import Config

WORDS_TOLD: Final = ("learning.", "training.", "device.profile")
"""Beginnings of keys whose values are told although they are words."""
HIDDEN: Final = frozenset({"learning.seed"})
"""A seed would let others foresee what the device draws."""
UNTOLD: Final = "settings that the log does not tell: names, paths, addresses, a seed"

_WORD = re.compile(r"[A-Za-z0-9_.+:-]{1,32}")


def digest_of(config: Config) -> bytes:
    """SHA-256 of all settings that are not defaults, as JSON with sorted keys."""
    chosen = {key: _plain(value) for key, value in _chosen(config)}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).digest()


def told_settings(config: Config) -> str:
    """A line `table.key = value` for each setting that is not its default and may be told."""
    told = [(key, _plain(value)) for key, value in _chosen(config) if _told(key, value)]
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in sorted(told))


def changes(before: str, after: str, *, hidden: bool) -> str:
    """What differs between two texts of `told_settings`, a line for each key.

    hidden: whether the digests say that something which is not told differs as well.
    """
    old, new = _parsed(before), _parsed(after)
    lines = [
        f"{key}: {old.get(key, 'default')} -> {new.get(key, 'default')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    return "\n".join([*lines, UNTOLD] if hidden else lines)


def _chosen(config: Config) -> Iterator[tuple[str, Any]]:
    """(table.key, value) of what is not at its default."""
    for spec in fields(config):
        settings = getattr(config, spec.name)
        for each in fields(settings):
            value = getattr(settings, each.name)
            default = each.default
            if default is MISSING and each.default_factory is not MISSING:
                default = each.default_factory()
            if value != default:
                yield f"{spec.name}.{each.name}", value


def _told(key: str, value: object) -> bool:
    if key in HIDDEN:
        return False
    if value is None or isinstance(value, bool | int | float):
        return True
    words = value if isinstance(value, tuple) else (value,)
    return key.startswith(WORDS_TOLD) and all(
        isinstance(word, str) and _WORD.fullmatch(word) for word in words
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _parsed(text: str) -> dict[str, str]:
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
