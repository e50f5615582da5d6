"""The line of each key of a TOML file, against the parser that knows the keys but no lines."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.profile.lines import key_lines

HARD = '''# comment = 1
title = "a [b] # no comment"  # c = 2
"quoted key" = 'x = 1'
'single.dotted' = 1
many = """
inside = 1
[inside]
\\"""
still = 2"""
raw = \'\'\'
raw_inside = 1\'\'\'\'
list = [
  1,  # in_comment = 3
  "]", [2, 3],
]
a.b . "c d" = 1
inline = { x = 1, y.z = [1, { deep = 2 }] }
date = 1979-05-27 07:32:00

[table]
key = -1.5e3
[ table . "sub table" ]
key = true
[[array]]
n = 1
[[array]]
n = 2
'''


class TestKnown:
    def test_a_hard_text(self) -> None:
        tomllib.loads(HARD)
        assert key_lines(HARD) == {
            ("title",): 2,
            ("quoted key",): 3,
            ("single.dotted",): 4,
            ("many",): 5,
            ("raw",): 10,
            ("list",): 12,
            ("a",): 16,
            ("a", "b"): 16,
            ("a", "b", "c d"): 16,
            ("inline",): 17,
            ("inline", "x"): 17,
            ("inline", "y"): 17,
            ("inline", "y", "z"): 17,
            ("inline", "y", "z", "deep"): 17,
            ("date",): 18,
            ("table",): 20,
            ("table", "key"): 21,
            ("table", "sub table"): 22,
            ("table", "sub table", "key"): 23,
            ("array",): 24,
            ("array", "n"): 25,
        }

    def test_lines_that_end_as_on_windows(self) -> None:
        assert key_lines("a = 1\r\n[t]\r\nb = 2\r\n") == {("a",): 1, ("t",): 2, ("t", "b"): 3}

    def test_escapes_in_keys(self) -> None:
        assert key_lines('"\\u0061\\"" = 1') == {('a"',): 1}

    @pytest.mark.parametrize(
        "text", ["a = ", "[", "= 1", "a = [1", 'a = "x', "a b = 1", "x = " + "[" * 50_000]
    )
    def test_ends_quietly_where_the_text_is_no_toml(self, text: str) -> None:
        assert len(key_lines("first = 1\n" + text)) <= 2


KEYS = st.text(min_size=1, max_size=6) | st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
PLAIN = (
    st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def quoted(text: str) -> str:
    """A basic string of TOML: as JSON, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def key_text(name: str, style: int) -> str:
    bare = name.isascii() and name.replace("-", "a").replace("_", "a").isalnum()
    return name if bare and style % 2 else quoted(name)


def value_text(value: Any, style: int) -> str:
    gap = ("", " ", "\n  ", "  # no = key\n")[style % 4]
    if isinstance(value, dict):
        pairs = (f"{key_text(key, style)} = {value_text(v, 0)}" for key, v in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list):
        return "[" + gap + f",{gap}".join(value_text(item, 0) for item in value) + gap + "]"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        text = repr(value)
        return text if set(text) & set(".en") else f"{text}.0"
    return json.dumps(value)


def paths(value: object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of keys in a parsed text."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield (*above, key)
            yield from paths(inner, (*above, key))
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, above)


class TestAgainstTheParser:
    @pytest.mark.slow
    @given(
        settings=st.dictionaries(KEYS, VALUES, max_size=5),
        tables=st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=3),
        style=st.integers(0, 7),
    )
    def test_every_key_has_its_line(
        self, settings: dict[str, Any], tables: dict[str, dict[str, Any]], style: int
    ) -> None:
        expected: dict[tuple[str, ...], int] = {}
        lines: list[str] = []

        def write(key: str, value: Any, *above: str) -> None:
            expected[(*above, key)] = len(lines) + 1
            text = f"{' ' * (style % 3)}{key_text(key, style)} = {value_text(value, style)}"
            lines.extend(text.split("\n"))

        for key, value in settings.items():
            write(key, value)
        for name, inner in tables.items():
            if name in settings:
                continue
            lines.append("" if style % 2 else "# [no]")
            expected[(name,)] = len(lines) + 1
            lines.append(f"[{key_text(name, style)}]")
            for key, value in inner.items():
                write(key, value, name)
        text = "\n".join(lines)
        found = key_lines(text)
        assert set(found) == set(paths(tomllib.loads(text)))
        assert {path: found[path] for path in expected} == expected

    @given(st.text(st.sampled_from("ab.=[]{}\"'\\#, \n\r1"), max_size=40))
    def test_any_text_that_the_parser_takes_has_its_keys(self, text: str) -> None:
        found = key_lines(text)
        try:
            parsed = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        assert set(found) == set(paths(parsed))
        assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
