"""A node of another libp2p meets an agent. `make interop` installs it and runs this."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.conftest import SwarmOf

from gossamer_crypto.errors import Reason

SCRIPTS = Path(__file__).parent / "js"
INSTALLED = SCRIPTS.parents[2] / "build" / "interop"
WAIT_S = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("node") is None or not (INSTALLED / "node_modules").is_dir(),
        reason="js-libp2p is not installed: make interop",
    ),
]


def test_a_js_node_pings_and_hears_signed_heads_but_gets_no_delta(swarm_of: SwarmOf) -> None:
    swarm = swarm_of(peers=2, rounds=100_000, interval_s=1.0, model="softmax")
    swarm.start_all()
    swarm.wait_ready(swarm.names)
    status = swarm.status("peer-00")
    assert status is not None
    swarm_id = swarm.swarm_id.hex()
    protocols = [f"/gossamer/{name}/1/{swarm_id[:16]}" for name in ("frames", "pull")]

    seen = meet(status.addresses[0], f"gossamer/1/{swarm_id}", protocols)

    assert seen["pingMs"] >= 0
    assert seen["announcements"] >= 3
    assert seen["signed"] == seen["announcements"]
    for protocol in protocols:
        assert seen["streams"][protocol]["bytes"] == 0
    after = swarm.status("peer-00")
    assert after is not None
    assert after.refused.get(Reason.NOT_A_MEMBER, 0) >= len(protocols)
    assert after.round > status.round


def meet(address: str, topic: str, protocols: list[str]) -> dict[str, Any]:
    """Run the stranger to its end and return what it saw."""
    for name in ("stranger.mjs", "polyfill.mjs"):
        shutil.copy(SCRIPTS / name, INSTALLED)
    command = ["node", "--import", "./polyfill.mjs", "stranger.mjs"]
    done = subprocess.run(
        [*command, address, topic, str(WAIT_S), *protocols],
        cwd=INSTALLED,
        capture_output=True,
        timeout=WAIT_S + 60,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
