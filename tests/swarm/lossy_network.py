"""Hosts in network namespaces, joined by a switch that delays, loses and cuts.

Theory of operation. Every host is a network namespace with one TUN device; the other ends of all
devices are held by one thread here. It reads IP packets, throws dice, and hands each to the device
of its destination when it is due: what `tc netem` does, on kernels that lack it. Needs root and
/dev/net/tun; `why_not` tells whether this machine can.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

_TUN = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_PACKET_BYTES_MAX = 65_536
_PREFIX = bytes([10, 77, 0])


def why_not() -> str:
    """Say what this machine lacks; empty if it can make such networks."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "the program ip (iproute2) is missing"
    return "" if os.access(_TUN, os.R_OK | os.W_OK) else f"{_TUN} is missing"


class LossyNetwork:
    """`count` hosts 10.77.0.1, 10.77.0.2, ...; every packet takes `latency_s` or is lost.

    The settings may be changed while it runs. Make it by `lossy_network`.
    """

    def __init__(self, devices: Sequence[int], names: Sequence[str], seed: int) -> None:
        self.names = tuple(names)
        self.latency_s = 0.0
        self.loss = 0.0
        self.packets = 0
        self.lost = 0
        self._devices = list(devices)
        self._group: dict[int, int] = {}
        self._rng = np.random.default_rng(seed)
        self._due: list[tuple[float, int, int, bytes]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._switch, name="lossy-network", daemon=True)

    def address(self, host: int) -> str:
        return f"10.77.0.{host + 1}"

    def command(self, host: int, *command: str) -> list[str]:
        """Return the command line that runs `command` on `host`."""
        return ["ip", "netns", "exec", self.names[host], *command]

    def partition(self, groups: Sequence[Collection[int]]) -> None:
        """Cut whatever crosses the groups. Packets on their way still arrive."""
        self._group = {host: number for number, group in enumerate(groups) for host in group}

    def heal(self) -> None:
        self._group = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=10)

    def _switch(self) -> None:
        poll = select.epoll()
        hosts = {device: host for host, device in enumerate(self._devices)}
        for device in self._devices:
            poll.register(device, select.EPOLLIN)
        while not self._stopping.is_set():
            wait_s = 0.05
            if self._due:
                wait_s = min(wait_s, max(self._due[0][0] - time.monotonic(), 0.0))
            for device, _ in poll.poll(wait_s):
                self._take(hosts[device], os.read(device, _PACKET_BYTES_MAX))
            self._deliver()
        poll.close()

    def _take(self, source: int, packet: bytes) -> None:
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[16:19] != _PREFIX:
            return
        target = packet[19] - 1
        if not 0 <= target < len(self._devices):
            return
        self.packets += 1
        cut = self._group.get(source) != self._group.get(target)
        if cut or self._rng.random() < self.loss:
            self.lost += 1
            return
        due = time.monotonic() + self.latency_s
        heapq.heappush(self._due, (due, self.packets, target, packet))

    def _deliver(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            _, _, target, packet = heapq.heappop(self._due)
            try:
                os.write(self._devices[target], packet)
            except OSError:  # its queue is full or its host is gone: one more lost packet
                self.lost += 1


@contextmanager
def lossy_network(count: int, *, seed: int = 0) -> Iterator[LossyNetwork]:
    """Make the hosts and their switch; take everything down at the end."""
    with ExitStack() as cleanup:
        names, devices = [], []
        for host in range(count):
            name = f"gossamer-{os.getpid()}-{host}"
            _ip("netns", "add", name)
            cleanup.callback(_ip, "netns", "del", name)
            device = _tun(f"gsm{host}")
            cleanup.callback(os.close, device)
            _ip("link", "set", f"gsm{host}", "netns", name)
            _ip("-n", name, "addr", "add", f"10.77.0.{host + 1}/24", "dev", f"gsm{host}")
            _ip("-n", name, "link", "set", f"gsm{host}", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            names.append(name)
            devices.append(device)
        network = LossyNetwork(devices, names, seed)
        network.start()
        cleanup.callback(network.stop)
        yield network


def _tun(name: str) -> int:
    device = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
    return device


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
