"""The file that `gossamer profile calibrate --write` makes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from gossamer_agent.profile.schema import Speed

_TITLE_MAX = 80


def measured_profile(
    base: str,
    speed: Speed,
    *,
    machine: str,
    remarks: Iterable[str],
    own: Mapping[str, int] | None = None,
) -> str:
    """The text of a profile over `base`, a name or path, whose speed was measured.

    machine: a line about the device; remarks: lines for the head of the file; own: further keys.
    """
    head = [f"# {_printable(line)}" for line in remarks]
    keys = {
        "base": base,
        "title": f"{_printable(machine)[: _TITLE_MAX - 10]}, measured",
        "figures": "measured",
        **(own or {}),
    }
    return "\n".join([*head, *_lines(keys), "", "[speed]", *_lines(asdict(speed)), ""])


def _lines(keys: Mapping[str, object]) -> list[str]:
    # For printable text and numbers JSON and TOML agree.
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()]


def _printable(line: str) -> str:
    return "".join(filter(str.isprintable, line))
