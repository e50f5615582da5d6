"""Whole simulations for tests: in this process, each at most once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gossamer_agent.cli import run_program as run

Result = dict[str, Any]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Result]:
    """The JSON result of `gossamer simulate OPTIONS`; the same options run once."""
    folder = tmp_path_factory.mktemp("results")

    @cache
    def simulate(options: str) -> Result:
        file = folder / "result.json"
        assert run(["simulate", *options.split(), "--quiet", "--json", str(file)]) == 0
        result: Result = json.loads(file.read_text(encoding="utf-8"))
        return result

    return simulate


@pytest.fixture
def gossamer(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the program in this process."""

    def command(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(int(code), out, err)

    return command


@pytest.fixture(scope="session")
def program() -> Callable[..., Ended]:
    """Run the program in a process of its own, with some more environment."""

    def command(options: str, **environment: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "gossamer_agent", *options.split()],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return command
