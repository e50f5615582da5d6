"""What a simulation measures while it runs."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gossamer_agent.reputation import Standing
from gossamer_crypto.errors import Reason
from gossamer_simulator.peers import SimulatedPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state after one round. reputation: mean score of each peer among honest observers;
    quarantine: shares of (honest observer, judged peer) pairs, of the honest and of attackers.
    """

    round: int
    accuracies: tuple[float, ...]  # of the honest peers on the test set
    bytes_sent: int  # by honest peers, since the start
    reputation: tuple[float | None, ...]
    quarantine: tuple[float, float] = (0.0, 0.0)


@dataclass(slots=True)
class Metrics:
    """Counters of one run. Only what honest peers send, receive and refuse is counted."""

    bytes_sent: int = 0
    messages: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    rounds: int = 0
    merges: int = 0
    gate_refusals: int = 0
    samples: list[Sample] = field(default_factory=list)

    def sent(self, size: int) -> None:
        self.bytes_sent += size
        self.messages += 1

    def round_done(self, merged: int, *, committed: bool) -> None:
        self.rounds += 1
        self.merges += merged > 0
        self.gate_refusals += merged > 0 and not committed


class Trace:
    """A hash over everything that happened, in order: equal traces mean equal runs."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def delivered(self, at: int, sender: int, receiver: int, frame: bytes) -> None:
        self._hash.update(struct.pack(">QII", at, sender, receiver))
        self._hash.update(hashlib.sha256(frame).digest())

    def trained(self, at: int, peer: int, params: bytes) -> None:
        self._hash.update(struct.pack(">QI", at, peer))
        self._hash.update(params)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def verdicts(peers: Sequence[SimulatedPeer]) -> dict[str | None, list[bool]]:
    """For each attack, None for the honest: whether a peer is in quarantine with an honest
    observer, once for each observer that has judged it; one that was released and not judged since
    is a stranger again.
    """
    found: dict[str | None, list[bool]] = {}
    subjects = [(peer.attack, peer.core.peer_id) for peer in peers]
    for observer in peers:
        agent = observer.agent if observer.attack is None else None
        if agent is None:
            continue
        for attack, subject in subjects:
            known = agent.reputation.known(subject)
            if known is not None and (known.judged or known.standing is not Standing.ADMITTED):
                found.setdefault(attack, []).append(known.standing is not Standing.ADMITTED)
    return found


def quarantine_rates(peers: Sequence[SimulatedPeer]) -> tuple[float, float]:
    """Of the verdicts on honest peers and on attackers, the shares that are quarantine."""
    found = verdicts(peers)
    liars = [out for attack, flags in found.items() if attack is not None for out in flags]
    return share(found.get(None, [])), share(liars)


def share(flags: Iterable[bool]) -> float:
    """How many of them are true, 0 to 1; 0 if there are none."""
    listed = list(flags)
    return sum(listed) / len(listed) if listed else 0.0
