"""An agent of a small device within its means: python scripts/cgroup_run.py [--minutes 30]

Runs two agents on 127.0.0.1. The one under test has profile pi-zero-2w and, if this is run by root,
a cgroup of its own with 400 MB and half a core (cgroup v2 or v1; without one it says so and runs
free). Its rounds are accelerated. Every few seconds it is asked for its metrics; at the end stands
a table of what it used against the budgets of its profile, and of what the cgroup counted. Ends
with exit code 1 when the agent died, did not learn, or used more than it may.

Budgets are per day: the share of them that a run may use is what the token bucket holds, one day's.
The figures "a day at the profile's pace" are per round, times the rounds of a day by the profile.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from gossamer_agent.errors import AgentError
from gossamer_agent.node.statussocket import ask
from gossamer_agent.profile import load_profile

CGROUPS: Final = Path("/sys/fs/cgroup")
PROFILE: Final = "pi-zero-2w"
HERE: Final = "/ip4/127.0.0.1/tcp/0"
SAMPLE_S: Final = 5.0
CPU_PERIOD_US: Final = 100_000
DAY_S: Final = 86_400

Metrics: TypeAlias = dict[tuple[str, ...], float]
"""(name without its prefix, values of its labels) -> value."""


class Cgroup:
    """A group of processes that share `memory_mb` and `cores`. Raises OSError where that cannot be
    made: no root, no cgroups, or no controllers for us.
    """

    def __init__(self, memory_mb: int, cores: float) -> None:
        name = f"gossamer-{os.getpid()}"
        quota = round(cores * CPU_PERIOD_US)
        self.version = 2 if (CGROUPS / "cgroup.controllers").exists() else 1
        if self.version == 2:
            self.memory = self.cpu = CGROUPS / name
            (CGROUPS / "cgroup.subtree_control").write_text("+memory +cpu")
            limits = {"memory.max": str(memory_mb << 20), "cpu.max": f"{quota} {CPU_PERIOD_US}"}
        else:
            self.memory, self.cpu = CGROUPS / "memory" / name, CGROUPS / "cpu" / name
            limits = {
                "memory.limit_in_bytes": str(memory_mb << 20),
                "cpu.cfs_period_us": str(CPU_PERIOD_US),
                "cpu.cfs_quota_us": str(quota),
            }
        self.folders = list(dict.fromkeys((self.memory, self.cpu)))
        for folder in self.folders:
            folder.mkdir()
        try:
            for file, value in limits.items():
                (self.folders[0 if file.startswith("memory") else -1] / file).write_text(value)
        except OSError:
            self.remove()
            raise

    def enter(self) -> None:
        """Called in the process that is to be held, before it begins."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    def counted(self) -> dict[str, str]:
        """What the kernel counted, in words."""
        peak = "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"
        found = {}
        with suppress(OSError):
            found["peak memory, page cache included"] = (
                f"{int((self.memory / peak).read_text()) / 1e6:.0f} MB"
            )
        with suppress(OSError):
            words = dict(line.split() for line in (self.cpu / "cpu.stat").read_text().splitlines())
            found["throttled"] = f"{words['nr_throttled']} of {words['nr_periods']} periods"
        kills = "memory.events" if self.version == 2 else "memory.oom_control"
        with suppress(OSError):
            words = dict(line.split() for line in (self.memory / kills).read_text().splitlines())
            found["killed for memory"] = words.get("oom_kill", "not counted")
        return found

    def remove(self) -> None:
        for folder in self.folders:
            with suppress(OSError):
                folder.rmdir()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between rounds")
    parser.add_argument("--memory-mb", type=int, default=400)
    parser.add_argument("--cores", type=float, default=0.5)
    parser.add_argument("--model", default="mlp")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        group = None
        try:
            group = Cgroup(given.memory_mb, given.cores)
            stack.callback(group.remove)
        except OSError as error:
            print(f"no cgroup ({error}): the agent runs without limits", file=sys.stderr)
        second = two_devices(folder, given.interval, given.model, stack)
        agent = stack.enter_context(running(second, group))
        begun, samples = time.monotonic(), []
        while time.monotonic() - begun < 60 * given.minutes and agent.poll() is None:
            time.sleep(SAMPLE_S)
            found = metrics(second)
            if found:
                samples.append(found)
                show(time.monotonic() - begun, found)
        return report(samples, agent.poll(), group)


def two_devices(folder: Path, interval_s: float, model: str, stack: ExitStack) -> tuple[Path, Path]:
    """A steward runs from now on; the folder of a device of the profile that has joined it."""
    rng = np.random.default_rng(0)
    digits = np.load(digits_file())
    x = digits["x"].astype(np.float32)
    x /= x.max()
    rows = rng.permutation(len(digits["y"]))
    data = []
    for number, part in enumerate((rows[:600], rows[600:1200])):
        file = folder / f"data-{number}.npz"
        np.savez(file, x=x[part], y=digits["y"][part])
        data.append(file)
    first, second = folder / "first", folder / "second"
    # fmt: off
    gossamer("init", first, "--swarm", "small", "--model", model, "--quorum", "2",
             "--data", data[0], "--profile", "x86-64", "--listen", HERE)
    hasten(first, interval_s)
    stack.enter_context(running(first, None))
    until_running(first)
    invite = re.search(r"gossamer1[a-z2-7]+", gossamer("-C", first, "invite"))
    assert invite is not None, "an invite was printed"
    gossamer("join", invite[0], second, "--data", data[1], "--profile", PROFILE, "--listen", HERE)
    # fmt: on
    hasten(second, interval_s)
    return second


def digits_file() -> Path:
    from gossamer_simulator import data  # noqa: PLC0415

    return Path(data.__path__[0]) / "digits.npz"


def hasten(folder: Path, interval_s: float) -> None:
    path = folder / "config.toml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^#? ?round_interval_s =.*", f"round_interval_s = {interval_s}", text)
    path.write_text(text, encoding="utf-8")


def gossamer(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "gossamer_agent", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise SystemExit(f"gossamer {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def running(folder: Path, group: Cgroup | None) -> Iterator[subprocess.Popen[bytes]]:
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gossamer_agent", "-C", str(folder), "run"],
            stderr=log,
            preexec_fn=None if group is None else group.enter,  # noqa: PLW1509  one thread here
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        if process.returncode not in (0, None):
            print((folder.parent / f"{folder.name}.log").read_text()[-2000:], file=sys.stderr)


def status(folder: Path) -> dict[str, Any]:
    with suppress(SystemExit, ValueError):
        found: dict[str, Any] = json.loads(gossamer("-C", folder, "status", "--json"))
        return found
    return {}


def metrics(folder: Path) -> Metrics:
    """What `gossamer metrics` prints; empty before the agent has any, and where it is too busy."""
    try:
        text = (ask(folder, "metrics") or b"").decode()
    except AgentError:
        return {}
    return {
        (sample.name.removeprefix("gossamer_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def state_of(found: Metrics) -> str:
    return next(key[1] for key, value in found.items() if key[0] == "state" and value)


def until_running(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not status(folder).get("addresses"):
        if time.monotonic() > deadline:
            raise SystemExit("the first agent does not start")
        time.sleep(0.5)


def show(passed_s: float, found: Metrics) -> None:
    flash = found.get(("budget_left_bytes", "flash"))
    print(
        f"{passed_s:5.0f} s  {state_of(found)}, round {found['round',]:.0f},"
        f" {found['merges_total',]:.0f} merges, {found['resident_memory_bytes',] / 1e6:.0f} MB RSS,"
        f" {found['cpu_seconds_total',]:.1f} s CPU, left"
        f" {found['budget_left_bytes', 'network'] / 1e6:.2f} MB network,"
        f" {'-' if flash is None else f'{flash / 1e6:.2f}'} MB flash",
        file=sys.stderr,
    )


def report(samples: list[Metrics], ended: int | None, group: Cgroup | None) -> int:
    """The table, all of it by the agent's own metrics; and whether all was well."""
    if not samples:
        print("the agent never answered")
        return 1
    profile, last = load_profile(PROFILE), samples[-1]
    rounds, uptime_s = max(last["rounds_total",], 1), last["uptime_seconds",]
    a_day = DAY_S / profile.round_interval_s / rounds
    rss_mb = max(sample["resident_memory_bytes",] for sample in samples) / 1e6
    memory_mb = last["memory_max_bytes",] / 1e6
    print(f"{rounds:.0f} rounds, {last['merges_total',]:.0f} merges in {uptime_s / 60:.1f} min,"
          f" state {state_of(last)}, {last['cpu_seconds_total',]:.1f} s CPU"
          f" ({last['cpu_seconds_total',] / uptime_s:.0%} of a core)")  # fmt: skip
    print(f"{'':22} {'used':>14} {'allowed':>16}   a day at the profile's pace")
    print(f"{'memory, largest RSS':22} {f'{rss_mb:.0f} MB':>14} {f'{memory_mb:.0f} MB':>16}")
    network = [last["network_bytes_total", way] for way in ("sent", "received")]
    left = []
    for budget, used in (
        ("network", sum(network)),
        ("flash", last.get(("flash_written_bytes_total",))),
    ):
        allowed = f"{last['budget_bytes_per_day', budget] / 1e6:g} MB a day"
        if used is None:
            print(f"{budget:22} {'not counted':>14} {allowed:>16}")
            continue
        left.append(last["budget_left_bytes", budget])
        told = f"{used / 1e6:.2f} MB"
        print(f"{budget:22} {told:>14} {allowed:>16}   {used * a_day / 1e6:.1f} MB")
    for name, words in ({} if group is None else group.counted()).items():
        print(f"cgroup: {name}: {words}")
    well = ended is None and last["merges_total",] > 0 and rss_mb <= memory_mb and all(left)
    print("within its means" if well else "NOT within its means")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
