"""Hostile peers against running agents: one honest pair of real processes for each module.

The helpers beside this file are imported by their names: honest_pair, watching, strangers,
insiders, raw_sockets, wiretap. Each attack is an async context manager: on entering it does its
worst, and while it is entered it keeps its sockets open.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's importlib mode does not

from honest_pair import HonestPair, honest_pair
from watching import measured


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HonestPair]:
    """A steward and a member that exchange deltas until the last test of the module has ended."""
    with honest_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what each attack cost the attacked agent."""
    if measured:
        terminalreporter.section("what attacks cost")
    for test, report in measured:
        terminalreporter.write_line(f"{test}\n    {report}")
