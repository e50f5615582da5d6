"""Device profiles: what a class of devices can do, and the settings that suit it.

A profile is a TOML file; docs/profiles.md describes it. Built-in ones lie in the data package
`gossamer_profiles`. A profile names another one as its `base` and says only what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from gossamer_agent.errors import ConfigError
from gossamer_agent.tables import build, number, read_toml, table, text, whole

_PACKAGE = "gossamer_profiles"
_BASES_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """CPU milliseconds on one core of the device.

    train_step_ms: one SGD step of the 4 810-parameter MLP on a batch of 16.
    merge_ms_per_million_values: the default merge of 9 inputs whose votes differ, per 10^6
        parameters.
    verify_ms, seal_ms: one entry of about 1 kB.
    """

    train_step_ms: float = number(0.001, 60_000)
    merge_ms_per_million_values: float = number(0.001, 3_600_000)
    verify_ms: float = number(0.001, 10_000)
    seal_ms: float = number(0.001, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network as one device sees it: one-way delay, and the rate of the slower direction."""

    latency_ms: float = number(0, 60_000)
    bandwidth_kbit_s: float = number(1, 10_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One device class. `figures` says whether speed and link were measured on the device."""

    name: str = text(64)
    title: str = text(80)
    base: str | None = text(256, default=None)
    figures: str = text(8, "estimate", "measured")
    threads: int = whole(1, 64)
    memory_mb_max: int = whole(64, 1_048_576)
    batch_max: int = whole(1, 65_536)
    view_size: int = whole(1, 64)
    round_interval_s: float = number(0.1, 86_400)
    speed: Speed = field(metadata=table(Speed))
    link: Link = field(metadata=table(Link))


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a built-in profile by its name, or one from a file (a path that ends in .toml).

    Raises ConfigError that names the file, the key and what is allowed.
    """
    source = _find(str(name_or_path), Path())
    own = read_toml(source.file, source.label)
    if "name" in own:
        raise ConfigError(f"{source.label}: unknown key 'name'; the file's own name is the name")
    settings = {**_over_base(source, own, _BASES_MAX), "name": source.name}
    return build(Profile, settings, source.label)


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
    merged = dict(_over_base(base, read_toml(base.file, base.label), depth - 1))
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = {**below, **value}
        else:
            merged[key] = value
    return merged
