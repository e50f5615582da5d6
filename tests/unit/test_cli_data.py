"""`gossamer data`, and devices that are made from tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from gossamer_agent.cli.words import parse_words, show_words
from gossamer_agent.device.folder import open_device
from gossamer_agent.exit_codes import ExitCode

Gossamer = Callable[..., Any]
WIDTH = 64  # of the model softmax


def table(
    path: Path, rows: int = 40, seed: int = 0, words: tuple[str, ...] = ("dry", "wet")
) -> Path:
    rng = np.random.default_rng(seed)
    header = [f"s{number}" for number in range(WIDTH)]
    lines = [",".join([*header, "state"])]
    for row in range(rows):
        values = [f"{value:.3f}" for value in rng.random(WIDTH)]
        lines.append(",".join([*values, words[row % len(words)]]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def device(gossamer: Gossamer, tmp_path: Path) -> Path:
    """A device that was founded with a table."""
    data = table(tmp_path / "own.csv")
    options = ("--swarm", "s", "--model", "softmax", "--data", data, "--label", "state")
    ran = gossamer("init", tmp_path / "garden", *options)
    assert ran.code == 0, ran.err
    return tmp_path / "garden"


def test_info_of_a_file(gossamer: Gossamer, tmp_path: Path) -> None:
    ran = gossamer("data", "info", table(tmp_path / "a.csv"), "--label", "state")
    assert ran.code == 0, ran.err
    assert "dry 20, wet 20" in ran.out


def test_check_says_usable_or_where_it_is_wrong(gossamer: Gossamer, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv")
    ran = gossamer("data", "check", path, "--label", "state", "--model", "softmax")
    assert ran.out.splitlines()[-1] == "usable"
    path.write_text(path.read_text().replace(",wet", ",", 1))
    ran = gossamer("data", "check", path, "--label", "state")
    assert ran.code == ExitCode.DATA
    assert "line 3, column 'state': no label" in ran.err


def test_check_compares_with_a_model(gossamer: Gossamer, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,label\n" + "0.5,1\n" * 16)
    ran = gossamer("data", "check", path, "--model", "softmax")
    assert ran.code == ExitCode.DATA
    assert "samples have shape (1,), the model takes (64,)" in ran.err


def test_init_keeps_what_labels_mean(device: Path) -> None:
    settings = open_device(device).config.data
    assert (settings.label, settings.labels) == ("state", ("dry", "wet"))


def test_columns_of_text_are_left_out(gossamer: Gossamer, tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", words=("dry", '"wet, cold"'))
    header, *rows = path.read_text().splitlines()
    header = header.replace("s0,", 'note,"s0, C",')
    path.write_text("\n".join([header, *(f'"all well, thanks",{row}' for row in rows)]))
    said = ("--label", "state", "--model", "softmax")
    ran = gossamer("data", "check", path, *said)
    assert ran.code == ExitCode.DATA
    assert "line 2, column 'note': 'all well, thanks' is no number" in ran.err
    assert "--features" in ran.err
    features = ",".join(['"s0, C"', *(f"s{number}" for number in range(1, WIDTH))])
    said = (*said, "--features", features)
    ran = gossamer("data", "check", path, *said)
    assert ran.code == 0, ran.err
    (shown,) = [line for line in ran.out.splitlines() if line.startswith("--labels")]
    words = shlex.split(shown)[1]
    assert parse_words(words) == ("dry", "wet, cold")
    made = gossamer("init", tmp_path / "d", "--swarm", "s", "--data", path, *said)
    assert made.code == 0, made.err
    assert words in made.out
    settings = open_device(tmp_path / "d").config.data
    assert settings.features == parse_words(features)
    assert settings.labels == ("dry", "wet, cold")


@pytest.mark.parametrize(
    "words", [("dry", "wet"), ("nass", "größer"), ("a b", 'say "x"'), ("it's", "a,b", "$HOME")]
)
def test_words_are_shown_as_they_are_read(words: tuple[str, ...]) -> None:
    assert parse_words(*shlex.split(show_words(words))) == words


def test_words_that_cannot_be_read() -> None:
    with pytest.raises(click.BadParameter, match="double quotes"):
        parse_words('dry,"wet')
    assert parse_words(" dry, wet,,") == ("dry", "wet")


def test_import_adds_to_the_reservoir_once(
    gossamer: Gossamer, device: Path, tmp_path: Path
) -> None:
    more = table(tmp_path / "more.csv", rows=30, seed=1)
    first = gossamer("-C", device, "data", "import", more)
    assert first.code == 0, first.err
    assert "taken       30" in first.out
    assert "taken       0" in gossamer("-C", device, "data", "import", more).out
    own = gossamer("-C", device, "data", "import", tmp_path / "own.csv")
    assert "duplicates  40" in own.out
    shown = json.loads(gossamer("-C", device, "data", "info", "--json").out)
    assert shown["reservoir"]["rows"] == 30
    assert shown["words"] == ["dry", "wet"]


def test_import_refuses_an_unknown_word(gossamer: Gossamer, device: Path, tmp_path: Path) -> None:
    odd = table(tmp_path / "odd.csv", words=("dry", "frozen"))
    ran = gossamer("-C", device, "data", "import", odd)
    assert ran.code == ExitCode.DATA
    assert "line 3, column 'state': 'frozen' is none of the labels 'dry', 'wet'" in ran.err


def test_a_joining_device_must_be_told_the_words(tmp_path: Path) -> None:
    data = table(tmp_path / "a.csv")
    from gossamer_agent.cli.settings import NewDevice, need_words, with_words
    from gossamer_agent.errors import DataError

    new = NewDevice(name="", data=data, test=None, profile="auto", listen=())
    with pytest.raises(DataError, match="number them alike: --labels"):
        need_words(new, ("dry", "wet"))
    need_words(with_words(new, ("dry", "wet")), ("dry", "wet"))
