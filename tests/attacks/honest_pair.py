"""Two real agents on 127.0.0.1 that learn together, and identities that joined to betray them."""

from __future__ import annotations

import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trio

from gossamer_agent.device.folder import Device, open_device
from gossamer_agent.groups import first_of_ours
from gossamer_agent.members.calling import calling
from gossamer_agent.members.joining import Joined, ask
from gossamer_agent.members.stewardship import Stewardship, load_roster
from gossamer_agent.node.status import AgentStatus, PeerStatus
from gossamer_agent.store.archive import FeedArchive
from gossamer_crypto.envelope import Envelope
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity, PeerId, peer_id_text
from gossamer_crypto.invite import Invite
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_simulator.swarm_up.processes import Child, Children
from gossamer_simulator.swarm_up.watch import status_of

GOSSAMER = (sys.executable, "-m", "gossamer_agent")
PATIENCE_S = 60.0
WARM_ROUNDS = 8
SWARM_NAME = "greenhouse-of-secrets"
SETTINGS = {
    r"^# round_interval_s =.*": "round_interval_s = 0.5",
    r"^# announce_interval_s =.*": "announce_interval_s = 2.0",
}


@dataclass(frozen=True)
class Target:
    """The attacked agent, as attackers know it. insider: the member who attacks, if it is one."""

    peer: PeerId
    port: int
    genesis: Genesis
    insider: Identity | None = None

    @property
    def address(self) -> str:
        return f"/ip4/127.0.0.1/tcp/{self.port}/p2p/{peer_id_text(self.peer)}"

    @property
    def swarm_id(self) -> bytes:
        return self.genesis.swarm_id


@dataclass
class Agent:
    """A device folder and its process. port: where it listens, the same after each start."""

    folder: Path
    port: int
    children: Children
    child: Child | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def pid(self) -> int:
        assert self.child is not None
        return self.child.pid

    @property
    def running(self) -> bool:
        """Whether it is alive: SIGSTOP leaves it so."""
        self.children.ended()  # takes note of who ended
        return self.child is not None and self.child.running

    def device(self) -> Device:
        return open_device(self.folder)

    def start(self) -> None:
        command = [*GOSSAMER, "-C", str(self.folder), "run"]
        log = self.folder.parent / f"{self.name}.log"
        self.child = self.children.start(self.name, command, log)

    def stop(self) -> None:
        assert self.child is not None
        assert self.children.stop(self.child) == [], f"{self.name} did not end"

    def kill(self) -> None:
        assert self.child is not None
        self.children.kill(self.child)

    def status(self) -> AgentStatus:
        """What it tells now. Fails the test if it does not."""
        found = self.asked()
        assert found is not None, f"{self.name} does not answer: {self.log()}"
        return found

    def asked(self) -> AgentStatus | None:
        return status_of(self.folder, timeout_s=10.0)

    def until(self, wanted: Callable[[AgentStatus], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait until what it tells is as wanted."""
        deadline = time.monotonic() + patience_s
        while True:
            found = self.asked()
            if found is not None and wanted(found):
                return
            assert self.running, f"{self.name} ended: {self.log()}"
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def log(self) -> str:
        return "" if self.child is None else "\n".join(self.child.log_tail())


def neighbour(status: AgentStatus, peer: PeerId) -> PeerStatus | None:
    """What one agent tells of another."""
    name = peer_id_text(peer)
    return next((each for each in status.peers if each.peer == name), None)


@dataclass(frozen=True)
class Insider:
    """An identity that is a member, and all that it was given."""

    keys: Keys
    joined: Joined

    @property
    def identity(self) -> Identity:
        return self.keys.identity

    @property
    def peer(self) -> PeerId:
        return self.keys.identity.peer_id


@dataclass
class HonestPair:
    """steward: the one that is attacked; member: whom it exchanges deltas with."""

    folder: Path
    steward: Agent
    member: Agent
    target: Target
    peers: tuple[PeerId, PeerId]
    _insiders: dict[str, Insider] = field(default_factory=dict)

    def invite(self, uses: int = 1) -> Invite:
        """Open an invite beside the running steward, as `gossamer invite` does."""
        device = self.steward.device()
        with closing(device.open_state()) as state:
            stewardship = Stewardship(device.identity, device.genesis, state)
            return stewardship.open_invite([f"/ip4/127.0.0.1/tcp/{self.target.port}"], uses, None)

    def insider(self, name: str) -> Insider:
        """The member of that name; joins when it is asked for first."""
        if name not in self._insiders:
            keys = new_keys()
            self._insiders[name] = Insider(keys, join(self.invite(), keys))
            epoch = self.ring().current
            self.member.until(lambda found: found.epoch == epoch)
        return self._insiders[name]

    def evict(self, peer: PeerId) -> None:
        """Beside the running steward, as `gossamer evict` does."""
        device = self.steward.device()
        with closing(device.open_state()) as state:
            Stewardship(device.identity, device.genesis, state).evict(peer)

    def dismiss(self) -> None:
        """Evict all but the two. A restarted agent asks members whether it knows its newest entry,
        and these would not answer.
        """
        device = self.steward.device()
        with closing(device.open_state()) as state:
            stewardship = Stewardship(device.identity, device.genesis, state)
            for peer in load_roster(state, device.genesis).members:
                if peer not in self.peers:
                    stewardship.evict(peer)
        self._insiders.clear()
        for agent in (self.steward, self.member):
            agent.until(lambda found: found.members == len(self.peers))

    def rotate(self) -> None:
        """Begin another epoch."""
        device = self.steward.device()
        with closing(device.open_state()) as state:
            Stewardship(device.identity, device.genesis, state).rotate()

    def ring(self) -> EpochRing:
        """All the secrets of the swarm, as the steward holds them."""
        device = self.steward.device()
        with closing(device.open_state()) as state:
            ring = EpochRing(device.peer_id, device.keys.prekeys)
            ring.follow(load_roster(state, device.genesis))
        return ring

    def until_linked(self) -> None:
        """Wait until both have fresh replicas of each other."""
        for agent, other in ((self.steward, self.peers[1]), (self.member, self.peers[0])):
            agent.until(lambda found, other=other: _has_replica(found, other))  # type: ignore[misc]

    def until_warm(self) -> None:
        """Wait until all code paths of the honest exchange have been run for a while."""
        self.until_linked()
        for agent in (self.steward, self.member):
            agent.until(lambda found: found.rounds >= WARM_ROUNDS and found.merges > 2)

    def third(self, name: str) -> Agent:
        """One more real agent, joined and running."""
        agent = Agent(self.folder / name, free_port(), self.steward.children)
        join_device(self.invite(), agent, self.folder / "data-2.npz")
        agent.start()
        agent.until(lambda found: found.linked > 0 and found.state == "learning")
        return agent

    def stored_entries(self, agent: Agent) -> list[Envelope]:
        """The feed of a running agent, as it is on its disk."""
        with closing(FeedArchive(agent.device().feed_path)) as archive:
            return list(archive.entries())


def _has_replica(status: AgentStatus, peer: PeerId) -> bool:
    other = neighbour(status, peer)
    return other is not None and other.linked and bool(other.step)


@contextmanager
def honest_pair(
    folder: Path, front: Callable[[int], int] = lambda port: port
) -> Iterator[HonestPair]:
    """Found a swarm of two, and run both agents until the block ends.

    front: from the port where an agent listens to the one that others are told to dial.
    """
    with Children() as children:
        steward = Agent(folder / "garden", free_port(), children)
        member = Agent(folder / "shed", free_port(), children)
        write_data(folder)
        gossamer(
            "init", steward.folder, "--swarm", SWARM_NAME, "--model", "mlp-wide", "--quorum", "2",
            "--data", folder / "data-0.npz", "--listen", listen(steward.port),
        )  # fmt: skip
        settle(steward.folder, front(steward.port))
        genesis = steward.device().genesis
        peer = steward.device().peer_id
        target = Target(peer, front(steward.port), genesis)
        pair = HonestPair(folder, steward, member, target, (peer, peer))
        steward.start()
        steward.until(lambda found: bool(found.addresses))
        join_device(pair.invite(), member, folder / "data-1.npz", front(member.port))
        pair.peers = (peer, member.device().peer_id)
        member.start()
        pair.until_warm()
        yield pair


def join_device(invite: Invite, agent: Agent, data: Path, advertised: int | None = None) -> None:
    """Make a device folder that is a member, as a user does."""
    gossamer("join", invite.text(), agent.folder, "--data", data, "--listen", listen(agent.port))
    settle(agent.folder, agent.port if advertised is None else advertised)


def join(invite: Invite, keys: Keys) -> Joined:
    """Join without a folder or an agent. Raises RefusedError, NetworkError."""

    async def main() -> Joined:
        with first_of_ours():
            async with calling(keys.identity, invite.swarm_id, invite.stewards) as network:
                return await ask(network, invite, keys, say=lambda _: None, keep=lambda: None)

    return trio.run(main)


def new_keys() -> Keys:
    return Keys(Identity.generate(), (PrekeySecret.generate(),))


def gossamer(*arguments: str | Path, code: int = 0) -> str:
    """Run a command to its end and return its standard output."""
    done = subprocess.run(
        [*GOSSAMER, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def listen(port: int) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}"


def write_data(folder: Path, count: int = 3) -> None:
    """data-0.npz, data-1.npz ...: 64 features, 10 classes."""
    for number in range(count):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(256, 64)).astype(np.float32)
        y = (np.abs(x[:, :10]).argmax(axis=1)).astype(np.int64)
        np.savez(folder / f"data-{number}.npz", x=x, y=y)


def settle(folder: Path, advertised: int) -> None:
    """Short intervals, so that much happens during an attack."""
    config = folder / "config.toml"
    text = config.read_text()
    address = {r"^(# )?advertise =.*": f'advertise = ["{listen(advertised)}"]'}
    for pattern, line in (SETTINGS | address).items():
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        assert count == 1
    config.write_text(text)


def free_port() -> int:
    """A port that no outgoing connection is given meanwhile."""
    for port in random.sample(range(20_000, 30_000), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")
