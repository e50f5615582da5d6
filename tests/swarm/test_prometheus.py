"""The real Prometheus scrapes a running swarm of two, and finds every documented metric.

Needs the Debian package `prometheus`; without it the test is skipped.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.swarm.conftest import SwarmOf

from gossamer_agent.metrics.catalogue import CATALOGUE
from gossamer_simulator.swarm_up.local import LocalSwarm

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
PATIENCE_S = 60.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed"),
]

CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: gossamer
    static_configs:
      - targets: [{target_0}, {target_1}]
    authorization: {{credentials_file: {token}}}
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def give_port(folder: Path, token: str) -> int:
    """Let the agent's API listen at a port, with a token that both agents have."""
    port, config = free_port(), folder / "config.toml"
    text, count = re.subn(
        r'(?m)^listen = "unix"', f'listen = "127.0.0.1:{port}"', config.read_text()
    )
    assert count == 1
    config.write_text(text)
    path = folder / "api.token"
    path.touch(0o600)
    path.write_text(token + "\n")
    return port


@contextmanager
def prometheus(folder: Path, ports: list[int], token: Path) -> Iterator[str]:
    """A server that scrapes these ports; the address of its API."""
    config, port = folder / "prometheus.yml", free_port()
    targets = {f"target_{n}": f'"127.0.0.1:{agent}"' for n, agent in enumerate(ports)}
    config.write_text(CONFIGURATION.format(token=token, **targets))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"},
        )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}/api/v1/"
    finally:
        process.terminate()
        process.wait(20)


def asked(api: str, path: str, **parameters: str) -> Any:
    """What the server answers; None while it does not listen yet."""
    try:
        with urllib.request.urlopen(f"{api}{path}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def await_(found: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = found()
        if value is not None and wanted(value):
            return value
        assert time.monotonic() < deadline, value
        time.sleep(0.3)


def values(data: dict[str, Any]) -> list[float]:
    return [float(row["value"][1]) for row in data["result"]]


def two_agents(swarm: LocalSwarm, token: str) -> list[int]:
    ports = [give_port(device.folder, token) for device in swarm.plan.devices]
    swarm.start_all()
    swarm.wait_ready(swarm.names)
    return ports


def test_a_real_prometheus_finds_every_documented_metric(swarm_of: SwarmOf, tmp_path: Path) -> None:
    swarm = swarm_of(peers=2, rounds=100, interval_s=0.5)
    ports = two_agents(swarm, "t" * 43)
    with prometheus(tmp_path, ports, swarm.plan.devices[0].folder / "api.token") as api:
        await_(
            lambda: asked(api, "query", query="gossamer_rounds_total"),
            lambda data: len(values(data)) == 2 and min(values(data)) >= 2,
        )
        links = asked(api, "query", query="gossamer_links")
        metadata = asked(api, "targets/metadata", match_target='{job="gossamer"}')
    assert values(links) == [1.0, 1.0]
    for target in {row["target"]["instance"] for row in metadata}:
        types = {
            row["metric"]: row["type"] for row in metadata if row["target"]["instance"] == target
        }
        assert types == {metric.name: str(metric.kind) for metric in CATALOGUE}
    assert len({row["target"]["instance"] for row in metadata}) == 2

    output = tmp_path / "gossamer.prom"
    command = ["-C", str(swarm.plan.devices[0].folder), "metrics", "--output", str(output)]
    subprocess.run([sys.executable, "-m", "gossamer_agent", *command], check=True)
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=output.read_bytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert output.stat().st_mode & 0o777 == 0o644
