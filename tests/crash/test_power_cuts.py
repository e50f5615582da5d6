"""Power cuts at any moment, second ones during the recovery, and calls that fail or never return.

The fast part of scripts/crash_campaign.py, which `make crash` runs as a whole.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.crash.images import cuts, second_cuts
from scripts.crash.injections import injections
from scripts.crash.published import sendings
from scripts.crash.trace import has_strace
from scripts.crash.verdict import Finding

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_strace(), reason="strace is missing or may not trace"),
]


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.problems]


def test_a_power_cut_loses_nothing_that_was_acknowledged(memory: Path) -> None:
    findings = [*cuts(memory, life=3, wanted=120)]
    assert bad(findings) == []
    assert len(findings) == 120


def test_what_a_killed_process_left_is_on_the_disk_before_it_is_believed(memory: Path) -> None:
    findings = [*second_cuts(memory, life=3, wanted=24)]
    assert bad(findings) == []
    assert len(findings) > 90


def test_a_call_that_fails_or_never_returns_loses_nothing(memory: Path) -> None:
    findings = [*injections(memory, wanted=8)]
    assert bad(findings) == []
    assert len(findings) == 8


@pytest.mark.parametrize("number", [20, 28])
def test_a_sync_that_failed_is_not_believed_later(memory: Path, number: int) -> None:
    """The kernel takes what it could not write for written; only writing it again helps."""
    findings = [*injections(memory, only=f"fdatasync:error=EIO:when={number}")]
    assert bad(findings) == []
    assert len(findings) == 1


def test_an_entry_is_on_the_disk_before_it_is_sent(memory: Path) -> None:
    findings = [*sendings(memory, rounds=3)]
    assert bad(findings) == []
    assert len(findings) >= 3 * 3
