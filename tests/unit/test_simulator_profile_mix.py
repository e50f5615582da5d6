"""Which profile each simulated peer has."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gossamer_agent.errors import ConfigError
from gossamer_simulator.profile_mix import MIXED_PROFILES, parse_mix, profile_of


def names(text: str, peers: int) -> list[str]:
    return [profile_of(text, index).name for index in range(peers)]


def test_one_for_all() -> None:
    assert names("pi-4", 3) == ["pi-4"] * 3


def test_mixed_is_four_boards_in_turn() -> None:
    assert names("mixed", 5) == [*MIXED_PROFILES, MIXED_PROFILES[0]]


def test_numbers_say_how_many_have_each_and_the_mix_begins_again() -> None:
    assert names("pi-zero-2w:2, pi-4", 5) == ["pi-zero-2w"] * 2 + ["pi-4"] + ["pi-zero-2w"] * 2
    assert Counter(names("pi-zero-2w:10,pi-4:10", 20)) == {"pi-zero-2w": 10, "pi-4": 10}


def test_a_file_is_a_profile_too(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('base = "pi-5"\n')
    assert names(f"{file}:1,pi-4:1", 2) == ["own", "pi-4"]


@pytest.mark.parametrize(
    "text", ["", ",", "pi-4:0", "pi-4:-1", "pi-4:x", "pi-4:1:2", "pi-4:", ":3"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="such as pi-zero-2w:10,pi-4:5"):
        parse_mix(text)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="no profile 'toaster'"):
        profile_of("pi-4:1,toaster:1", 1)
