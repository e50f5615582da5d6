"""The tables of docs/profiles.md, from the code: `python -m scripts.profile_tables` prints them."""

from __future__ import annotations

from typing import Final

from gossamer_agent.profile import Profile, list_profiles, load_profile
from gossamer_agent.profile.keys import all_keys
from gossamer_agent.tables import ABOUT, ALLOWED

CLASSES: Final = ("base", "pi-zero-2w", "pi-3b", "generic-aarch64", "pi-4", "pi-5", "x86-64")
"""In the order of the columns."""

# The end of a key's name -> its unit.
_UNITS: Final = (
    ("_mb_per_day", "MB a day"),
    ("_mb", "MB"),
    ("_mb_max", "MB"),
    ("_celsius", "°C"),
    ("_percent", "%"),
    ("_kbit_s", "kbit/s"),
    ("_ms", "ms"),
    ("_ms_per_million_values", "ms"),
    ("_s", "s"),
)


def keys_table() -> list[str]:
    """Rows of Markdown: key, unit, allowed, meaning."""
    rows = ["| key | unit | allowed | meaning |", "|---|---|---|---|"]
    for path, spec in all_keys():
        unit = next((name for end, name in _UNITS if path[-1].endswith(end)), "")
        allowed, about = spec.metadata[ALLOWED], spec.metadata[ABOUT]
        rows.append(f"| `{'.'.join(path)}` | {unit} | {allowed} | {about} |")
    return rows


def values_table() -> list[str]:
    """Rows of Markdown: key, and its value in each built-in profile."""
    assert set(CLASSES) == {"base", *list_profiles()}
    profiles = [load_profile(name) for name in CLASSES]
    rows = [f"| key | {' | '.join(CLASSES)} |", "|---|" + "---:|" * len(CLASSES)]
    for path, _ in all_keys():
        if path[0] not in ("title", "base", "figures"):
            values = (_shown(profile, path) for profile in profiles)
            rows.append(f"| `{'.'.join(path)}` | {' | '.join(values)} |")
    return rows


def _shown(profile: Profile, path: tuple[str, ...]) -> str:
    value: object = profile
    for name in path:
        value = getattr(value, name)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "[]"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    print("\n".join([*keys_table(), "", *values_table()]))
