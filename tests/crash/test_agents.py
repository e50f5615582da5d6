"""Real agents that are killed, run out of disk, or meet bits that flipped: one run of each.

The rest of each campaign is in scripts/crash_campaign.py, which `make crash` runs as a whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from scripts.crash.damage import damages
from scripts.crash.full import can_mount, full
from scripts.crash.kills import kills

pytestmark = pytest.mark.slow


def test_a_killed_agent_goes_on_where_it_was(memory: Path) -> None:
    findings = [*kills(memory, 1)]
    assert [finding for finding in findings if finding.problems] == []


def test_a_damaged_feed_is_left_alone_and_another_one_begun(memory: Path) -> None:
    findings = [*damages(memory, only=("an old entry",))]
    assert [finding for finding in findings if finding.problems] == []
    assert len(findings) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_full_disk_stops_the_publishing_and_nothing_else(memory: Path) -> None:
    if not can_mount(memory):
        pytest.skip("nothing may be mounted here")
    findings = [*full(memory, times=1, at_start=False)]
    assert [finding for finding in findings if finding.problems] == []
    assert [finding.run for finding in findings] == [
        "while it runs, 0 bytes left",
        "when it starts",  # read-only
    ]
