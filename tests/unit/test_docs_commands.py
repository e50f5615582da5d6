"""Every `gossamer ...` line in the guides is a command that exists, with options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from gossamer_agent.cli import gossamer

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = ("install-raspberry-pi.md", "metrics.md")


def commands() -> list[tuple[str, str]]:
    """(guide, command line) of each line in a code block or an indented block, or in backquotes."""
    found = set()
    for guide in GUIDES:
        text = (DOCS / guide).read_text(encoding="utf-8")
        fenced = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        lines = [line for block in fenced for line in block.splitlines()]
        prose = re.sub(r"^```\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        lines += re.findall(r"^    (\S.*)$", prose, re.MULTILINE)
        lines += [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]*)`", prose)]
        for line in lines:
            plain = line.strip().removeprefix("sudo ")
            if plain.startswith("gossamer "):
                found.add((guide, plain))
    return sorted(found)


@pytest.mark.parametrize(("guide", "line"), commands())
def test_every_command_parses(guide: str, line: str) -> None:
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
    only_named = not words  # in prose, as in `gossamer run`
    given, _, _ = command.make_parser(click.Context(command)).parse_args(words)
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and parameter.required and not only_named:
            assert isinstance(given[parameter.name or ""], str | tuple), parameter.name


def test_the_guide_uses_the_whole_service() -> None:
    lines = " ".join(line for guide, line in commands() if guide == GUIDES[0])
    for word in ("install --print", "status", "logs --follow", "remove", "profile detect"):
        assert word in lines


def test_targets_and_packages_are_those_of_the_makefile_and_the_script() -> None:
    guide = (DOCS / GUIDES[0]).read_text(encoding="utf-8")
    makefile = (DOCS.parent / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z0-9]+)`?$", guide, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    (packages,) = re.findall(r"^sudo apt install (.*)$", guide, re.MULTILINE)
    script = (DOCS.parent / "scripts" / "arm64.sh").read_text(encoding="utf-8")
    (included,) = re.findall(r"^PACKAGES=(.*)$", script, re.MULTILINE)
    assert {*packages.split()} <= {*included.split(",")}
