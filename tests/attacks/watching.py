"""Watches the honest pair while it is attacked: deliveries, memory, links of others, refusals."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import trio
from honest_pair import Agent, HonestPair, Target, neighbour

from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import PeerId

LOOK_S = 0.4
SILENCE_S_MAX = 10.0
"""Between two deliveries of honest deltas; they come every 0.5 s where nobody else is busy."""
RSS_GROWTH_MB_MAX = 50.0
CUT_S_MAX = 45.0

measured: list[tuple[str, str]] = []
"""Test and what it cost the attacked agent, for the summary at the end."""

Attack = Callable[[Target], AbstractAsyncContextManager[None]]


@dataclass
class Deliveries:
    """How far an agent's replica of the other is, as seen again and again."""

    agent: Agent
    other: PeerId
    step: int | None = None
    moved_at: float = field(default_factory=time.monotonic)
    moves: int = 0
    longest_s: float = 0.0
    unanswered: int = 0

    def look(self) -> None:
        status = self.agent.asked()
        now = time.monotonic()
        self.longest_s = max(self.longest_s, now - self.moved_at)
        if status is None:
            self.unanswered += 1
            return
        other = neighbour(status, self.other)
        if other is not None and other.step is not None and other.step != self.step:
            self.moves += 1
            self.step, self.moved_at = other.step, now


class Watch:
    """What was seen since it began. `pair.steward` is the attacked one."""

    def __init__(self, pair: HonestPair, warm_mb: float) -> None:
        self.pair = pair
        self.warm_mb = warm_mb
        self.pid = pair.steward.pid
        self.cut_s: float | None = None
        self.cpu_at = cpu_seconds(self.pid)
        self.began_at = time.monotonic()
        self.refused_before = pair.steward.status().refused
        self.both = (
            Deliveries(pair.steward, pair.peers[1]),
            Deliveries(pair.member, pair.peers[0]),
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        forget_peak(self.pid)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            for each in self.both:
                each.look()

    def end(self) -> None:
        """Watch until both have got some more, then stop watching."""
        moves = [each.moves for each in self.both]
        deadline = time.monotonic() + SILENCE_S_MAX
        while time.monotonic() < deadline:
            if all(each.moves >= had + 2 for each, had in zip(self.both, moves, strict=True)):
                break
            time.sleep(0.1)
        self._over.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        """The highest resident memory since the watch began, above the warm level."""
        return peak_mb(self.pid) - self.warm_mb

    def refused(self) -> dict[str, int]:
        """What the attacked agent refused since the watch began."""
        before, now = self.refused_before, self.pair.steward.status().refused
        return {
            name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name)
        }

    def strange_links(self) -> int:
        """Open connections of the attacked agent to anybody but the other honest one."""
        ours, others = tcp_ends(self.pid), tcp_ends(self.pair.member.pid)
        return len(ours - {(remote, local) for local, remote in others})

    async def until_cut(self, begun_at: float) -> None:
        """Wait until the attacked agent has no link to strangers any more."""
        while self.strange_links():
            assert trio.current_time() - begun_at < CUT_S_MAX, "the attacker is still linked"
            await trio.sleep(0.1)
        self.cut_s = trio.current_time() - begun_at

    async def until_refused(self, *reasons: Reason, patience_s: float = CUT_S_MAX) -> None:
        """Wait until status shows these."""
        with trio.move_on_after(patience_s):
            while not set(reasons) <= (await trio.to_thread.run_sync(self.refused)).keys():  # noqa: ASYNC110
                await trio.sleep(0.2)
            return
        raise AssertionError(f"{reasons} wanted, refused: {self.refused()}")

    def check(self) -> None:
        """Assert that the pair did not suffer."""
        assert self.pair.steward.running, self.pair.steward.log()
        assert self.pair.member.running, self.pair.member.log()
        assert self.pid == self.pair.steward.pid
        status = self.pair.steward.status()
        assert status.restarts == 0
        assert status.state == "learning"
        for each in self.both:
            assert each.moves >= 2, f"{each.agent.name} got {each.moves} deltas"
            assert each.longest_s < SILENCE_S_MAX, f"{each.agent.name}: {each.longest_s:.1f} s"
        assert self.growth_mb < RSS_GROWTH_MB_MAX
        assert "Traceback" not in self.pair.steward.log()

    def report(self) -> str:
        seconds = time.monotonic() - self.began_at
        cut = "-" if self.cut_s is None else f"{self.cut_s:.1f}"
        cpu = (cpu_seconds(self.pid) - self.cpu_at) / seconds
        silence = max(each.longest_s for each in self.both)
        return (
            f"{seconds:5.1f} s  rss {self.growth_mb:+5.1f} MB  cut after {cut} s  "
            f"cpu {cpu:4.0%}  silence {silence:.1f} s  refused {self.refused()}"
        )


@contextmanager
def watching(pair: HonestPair, warm_mb: float) -> Iterator[Watch]:
    """Watch the pair during the block; at its end check that it did not suffer."""
    watch = Watch(pair, warm_mb)
    try:
        yield watch
    finally:
        watch.end()
        if pair.steward.running:
            measured.append((os.environ["PYTEST_CURRENT_TEST"].split("::")[-1], watch.report()))
    watch.check()


# What the kernel tells about a process --------------------------------------------------------


def rss_mb(pid: int) -> float:
    return _status_kb(pid, "VmRSS") / 1024


def peak_mb(pid: int) -> float:
    return _status_kb(pid, "VmHWM") / 1024


def forget_peak(pid: int) -> None:
    """Begin the peak anew, see proc(5); where that is not allowed, it is of the whole life."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tcp_ends(pid: int) -> set[tuple[str, str]]:
    """(local, remote) of every open TCP connection of a process."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()))
    ends = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        local, remote, state, inode = fields[1], fields[2], fields[3], fields[9]
        if state != "0A" and f"socket:[{inode}]" in inodes:
            ends.add((local, remote))
    return ends


def _status_kb(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise AssertionError(f"no {name} of process {pid}")


@asynccontextmanager
async def attacking(attack: Attack, target: Target) -> AsyncIterator[float]:
    """Do the attack; yield when it began."""
    begun_at = trio.current_time()
    async with attack(target):
        yield begun_at
