"""Finds profiles and lays them over their bases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile.schema import Profile, disagreements
from gossamer_agent.tables import build, find_problems, read_toml

BASE: Final = "base"
"""The profile that every built-in one inherits from; it fits no device in particular."""
BASES_MAX: Final = 8

_PACKAGE: Final = "gossamer_profiles"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a profile is: `folder` is what the path of its base is relative to.

    path: of a user's file; None for a built-in one.
    """

    name: str
    label: str
    file: Traversable
    folder: Path
    path: Path | None = None


def load_profile(name_or_path: str | Path) -> Profile:
    """Return a built-in profile by its name, or one from a file (a path that ends in .toml).

    Raises ConfigError that names the file, the key and what is allowed.
    """
    source = find_source(str(name_or_path))
    own = read_toml(source.file, source.label)
    if "name" in own:
        raise ConfigError(f"{source.label}: unknown key 'name'; the file's own name is the name")
    settings = {**_over_base(source, own, BASES_MAX), "name": source.name}
    for problem in find_problems(Profile, settings):
        hint = "" if "base" in own or "is missing" not in problem.text else missing_hint()
        raise ConfigError(problem.line(source.label) + hint)
    profile = build(Profile, settings, source.label)
    for table, key, _, problem_text in disagreements(profile):
        raise ConfigError(f"{source.label}: [{table}]: {key} {problem_text}")
    return profile


def missing_hint() -> str:
    """What to do about a key that a file without a base lacks."""
    return f'; with base = "{BASE}" it is inherited'


def list_profiles() -> tuple[str, ...]:
    """Return the names of the built-in device classes in alphabetical order."""
    files = (entry.name for entry in resources.files(_PACKAGE).iterdir())
    names = (name.removesuffix(".toml") for name in files if name.endswith(".toml"))
    return tuple(sorted(name for name in names if name != BASE))


def find_source(reference: str, folder: Path | None = None) -> Source:
    """Where `reference` is, seen from `folder`. Raises ConfigError for an unknown name."""
    if reference.endswith(".toml"):
        path = Path(reference) if folder is None else folder / reference
        return Source(path.stem, str(path), path, path.parent, path)
    known = list_profiles()
    if reference not in (*known, BASE):
        raise ConfigError(
            f"no profile {reference!r}: use {', '.join(known)}, or a path that ends in .toml"
        )
    file = resources.files(_PACKAGE) / f"{reference}.toml"
    return Source(reference, f"profile {reference}", file, folder or Path())


def lay_over(own: Mapping[str, object], below: Mapping[str, object]) -> dict[str, object]:
    """`own` with the keys it lacks taken from `below`, tables key by key."""
    merged = dict(below)
    for key, value in own.items():
        under = merged.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            merged[key] = {**under, **value}
        else:
            merged[key] = value
    return merged


def _over_base(source: Source, own: Mapping[str, object], depth: int) -> Mapping[str, object]:
    reference = own.get("base")
    if reference is None:
        return own
    if not isinstance(reference, str):
        raise ConfigError(f"{source.label}: base must be the name or path of a profile")
    if depth == 0:
        raise ConfigError(f"{source.label}: more than {BASES_MAX} bases, or a circle of them")
    base = find_source(reference, source.folder)
    return lay_over(own, _over_base(base, read_toml(base.file, base.label), depth - 1))
