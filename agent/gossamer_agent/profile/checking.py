"""`gossamer profile check`: everything that is wrong with a profile, with the line of each key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.profile.keys import spec_of, unknown_key
from gossamer_agent.profile.lines import key_lines
from gossamer_agent.profile.loading import (
    BASES_MAX,
    Source,
    find_source,
    lay_over,
    missing_hint,
)
from gossamer_agent.profile.schema import Profile, disagreements
from gossamer_agent.tables import ALLOWED, build, find_problems, parse_toml, read_bytes

_AT_LINE: Final = re.compile(r"at line (\d+)")
_FINDINGS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. line: from 1; key: with its table, "" if none; allowed: in words."""

    file: str
    line: int
    key: str
    text: str
    allowed: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(slots=True)
class _Link:
    """One file of the chain of bases. sound: its keys without the wrong ones."""

    source: Source
    own: dict[str, object]
    lines: Mapping[tuple[str, ...], int]
    sound: dict[str, object] = field(default_factory=dict)

    def line(self, *paths: tuple[str, ...]) -> int:
        """That of the first path which is written here, or of its table; 1 without either."""
        written = [self.lines[path] for path in (*paths, paths[0][:1]) if path in self.lines]
        return written[0] if written else 1

    def says(self, path: tuple[str, ...]) -> bool:
        return path in self.lines


def check_profile(reference: str) -> tuple[Profile | None, list[Finding]]:
    """Check a profile and the files it inherits from.

    Returns the profile, None if there is none without the wrong keys, and what is wrong in the
    order of the files and lines. Raises ConfigError if `reference` itself cannot be read.
    """
    findings: list[Finding] = []
    chain = _chain(find_source(reference), findings)
    if not chain:
        return None, findings
    for link in chain:
        findings += _own_findings(link)
    merged: dict[str, object] = {}
    for link in reversed(chain):
        merged = lay_over(link.sound, merged)
    merged["name"] = chain[0].source.name
    # A chain that broke would only show the keys that its lost end had.
    broken = any(finding.key == "base" for finding in findings)
    lacking = [problem.path for problem in find_problems(Profile, merged)]
    if not broken:
        told = {finding.key for finding in findings}
        missing = [path for path in lacking if ".".join(path) not in told]
        findings += _missing(chain[0], missing, has_base=len(chain) > 1)
    if broken or lacking:
        return None, sorted(findings, key=lambda found: _order(chain, found))
    profile = build(Profile, merged, chain[0].source.label)
    findings += _disagreements(chain, profile)
    return profile, sorted(findings, key=lambda found: _order(chain, found))


def _order(chain: list[_Link], finding: Finding) -> tuple[int, int]:
    labels = [link.source.label for link in chain]
    place = labels.index(finding.file) if finding.file in labels else len(labels)
    return place, finding.line


def _chain(first: Source, findings: list[Finding]) -> list[_Link]:
    """The files from `first` to the last base, as far as they can be read."""
    chain: list[_Link] = []
    source, seen = first, set[str]()
    while True:
        seen.add(_identity(source))
        try:
            link = _read(source, findings)
        except ConfigError as error:
            if not chain:
                raise
            findings.append(_base_finding(chain[-1], f"base: {error}"))
            return chain
        if link is None:
            if chain:
                findings.append(_base_finding(chain[-1], f"base: {source.label} is no TOML file"))
            return chain
        chain.append(link)
        reference = link.own.get("base")
        if not isinstance(reference, str):
            return chain  # none, or a wrong type, which the check of the keys reports
        try:
            source = find_source(reference, source.folder)
        except ConfigError as error:
            findings.append(_base_finding(link, f"base: {error}"))
            return chain
        if _identity(source) in seen:
            text = f"base: a circle, as {source.label} inherits from this file"
            if source.label == link.source.label:
                text = "base: the profile inherits from itself"
            findings.append(_base_finding(link, text))
            return chain
        if len(chain) > BASES_MAX:
            findings.append(_base_finding(link, f"base: more than {BASES_MAX} in a row"))
            return chain


def _identity(source: Source) -> str:
    path = source.path
    return source.label if path is None else str(path.resolve())


def _base_finding(link: _Link, text: str) -> Finding:
    allowed = "a name of `gossamer profile list`, base, or a path that ends in .toml"
    return Finding(link.source.label, link.line(("base",)), "base", text, allowed)


def _read(source: Source, findings: list[Finding]) -> _Link | None:
    """The keys of one file; None, and a finding, if it is no TOML. ConfigError: unreadable."""
    raw = read_bytes(source.file, source.label)
    try:
        own = parse_toml(raw, source.label)
    except ConfigError as error:
        at = _AT_LINE.search(str(error))
        line = int(at[1]) if at else raw.rstrip().count(b"\n") + 1  # "at end of document"
        text = str(error).removeprefix(f"{source.label}: ")
        findings.append(Finding(source.label, line, "", text))
        return None
    return _Link(source, own, key_lines(raw.decode()))


def _own_findings(link: _Link) -> Iterator[Finding]:
    """What is wrong with the keys that a file has; fills `link.sound` with the others."""
    own = dict(link.own)
    if "name" in own:
        del own["name"]
        line = link.line(("name",))
        text = "unknown key 'name'; the file's own name is the name"
        yield Finding(link.source.label, line, "name", text)
    wrong: set[tuple[str, ...]] = set()
    for problem in find_problems(Profile, own):
        path = problem.path
        if not _is_in(own, path):
            continue  # missing here: a base may have it
        wrong.add(path)
        if len(wrong) > _FINDINGS_MAX:
            continue
        spec, text = spec_of(path), problem.text
        if spec is None:
            spec, text = unknown_key(path)
        table = "".join(f"[{name}] " for name in path[:-1])
        allowed = spec.metadata.get(ALLOWED, "") if spec is not None else ""
        yield Finding(link.source.label, link.line(path), ".".join(path), table + text, allowed)
    link.sound = _without(own, wrong)


def _missing(link: _Link, paths: Iterable[tuple[str, ...]], *, has_base: bool) -> Iterator[Finding]:
    for path in paths:
        spec = spec_of(path)
        allowed = "" if spec is None else spec.metadata.get(ALLOWED, "")
        table = "".join(f"[{name}] " for name in path[:-1])
        range_ = f": {allowed}" if allowed else ""
        text = f"{table}the key {path[-1]!r} is missing{range_}"
        text += "" if has_base else missing_hint()
        yield Finding(link.source.label, link.line(path), ".".join(path), text, allowed)


def _disagreements(chain: list[_Link], profile: Profile) -> Iterator[Finding]:
    for table, key, other, problem in disagreements(profile):
        mine, theirs = (table, key), (table, other)
        # The newest file that says one of both has made them disagree.
        link = next((link for link in chain if link.says(mine) or link.says(theirs)), chain[0])
        spec = spec_of(mine)
        assert spec is not None
        yield Finding(
            link.source.label,
            link.line(mine, theirs),
            f"{table}.{key}",
            f"[{table}] {key} {problem}",
            spec.metadata[ALLOWED],
        )


def _is_in(settings: Mapping[str, object], path: tuple[str, ...]) -> bool:
    inner: object = settings
    for name in path:
        if not isinstance(inner, dict) or name not in inner:
            return False
        inner = inner[name]
    return True


def _without(settings: Mapping[str, object], wrong: set[tuple[str, ...]]) -> dict[str, object]:
    """A copy without the keys at these paths, of one or two names."""
    return {
        key: {name: inner for name, inner in value.items() if (key, name) not in wrong}
        if isinstance(value, dict)
        else value
        for key, value in settings.items()
        if (key,) not in wrong
    }
