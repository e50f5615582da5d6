"""What a simulation measures while it runs."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from dataclasses import dataclass, field

from gossamer_crypto.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state after one round. reputation: mean score of each peer among honest observers."""

    round: int
    accuracies: tuple[float, ...]  # of the honest peers on the test set
    bytes_sent: int  # by honest peers, since the start
    reputation: tuple[float | None, ...]


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
