"""The README tells the truth: its help text, its commands and its links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gossamer_agent.cli import gossamer

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `gossamer ...` in a code block or in backquotes, without comments."""
    blocks = re.findall(r"```\n(.*?)```", README, re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    quoted = [" ".join(text.split()) for text in re.findall(r"`(gossamer [^`]*)`", README)]
    found = [line.removeprefix(".venv/bin/") for line in lines] + quoted
    return sorted({line for line in found if line.startswith("gossamer ")})


def test_the_help_text_is_the_programs() -> None:
    told = re.search(r"<!-- gossamer --help -->\n```\n(.*?)```", README, re.DOTALL)
    assert told is not None
    result = CliRunner().invoke(gossamer, ["--help"], prog_name="gossamer", terminal_width=80)
    assert told.group(1) == result.output


@pytest.mark.parametrize("line", commands())
def test_every_command_parses(line: str) -> None:
    """Names of commands and options are checked; files that it names need not exist."""
    command: click.Command = gossamer
    words = shlex.split(line)[1:]
    if words[0] == "-C":
        del words[:2]
    context = click.Context(command, info_name="gossamer")
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    command.make_parser(click.Context(command)).parse_args(words)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 10


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_the_demo_is_the_one_that_make_runs() -> None:
    makefile = " ".join(
        (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ").split()
    )
    demo = next(line for line in commands() if "--report report.html" in line and "50" in line)
    assert demo in makefile
