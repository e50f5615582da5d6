"""What an idle agent costs: `python benchmarks/idle.py`.

Ten agents, each a process of its own, linked to all others over loopback with the default settings
for announcements and liveness; they have made their rounds and wait. CPU time of each over a minute
as its status tells it, and its memory at the end. Takes two minutes.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

from gossamer_agent.device.config import NetworkSettings, config_text
from gossamer_agent.device.folder import open_device
from gossamer_agent.node.status import AgentStatus
from gossamer_simulator.scenario import Scenario
from gossamer_simulator.swarm_up.local import LocalSwarm
from gossamer_simulator.swarm_up.plan import make_plan
from gossamer_simulator.swarm_up.processes import Children

PEERS = 10
ROUNDS = 3
SETTLE_S = 40.0
MEASURED_S = 60.0


def use_default_pace(swarm: LocalSwarm) -> None:
    for device in swarm.plan.devices:
        opened = open_device(device.folder)
        listen = opened.config.network.listen
        config = replace(opened.config, network=NetworkSettings(listen=listen))
        (device.folder / "config.toml").write_text(config_text(config), encoding="utf-8")


def statuses(swarm: LocalSwarm) -> list[AgentStatus]:
    found = [swarm.status(name) for name in swarm.names]
    return [status for status in found if status is not None]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Children() as children:
        scenario = Scenario(peers=PEERS, rounds=ROUNDS, profile="pi-5", seed=7)
        swarm = LocalSwarm(make_plan(scenario, Path(folder), interval_s=1.0), children)
        swarm.make(lambda _line: None)
        use_default_pace(swarm)
        swarm.start_all()
        swarm.wait_ready(swarm.names)
        time.sleep(SETTLE_S)
        before, begun = statuses(swarm), time.monotonic()
        time.sleep(MEASURED_S)
        after, seconds = statuses(swarm), time.monotonic() - begun
    shares = [
        100 * (new.cpu_seconds - old.cpu_seconds) / seconds
        for old, new in zip(before, after, strict=True)
    ]
    links = [status.linked for status in after]
    memory = [status.rss_mb for status in after]
    print("| agents | links of each | % of one core, mean / worst | RSS in MB, mean / worst |")
    print("|---:|---:|---:|---:|")
    print(
        f"| {len(after)} | {min(links)} to {max(links)} "
        f"| {mean(shares):.2f} / {max(shares):.2f} | {mean(memory):.0f} / {max(memory):.0f} |"
    )


if __name__ == "__main__":
    main()
