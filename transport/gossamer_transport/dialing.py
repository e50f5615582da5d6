"""Whom to dial next, and when: pure, the shell is `libp2p.dialer`.

Theory of operation. Every member without a link that has an address is due at some time; the
earliest are dialled, at most `parallel` at once, until `want` links exist. Preferred members come
first, whatever `want` says: links to them are not counted. An attempt tries all addresses of the
member, those through relays last. After a failure the member is due again after an exponential
backoff with full jitter (uniform between 1 s and a bound that doubles up to 60 s), so that a swarm
that was cut off as one does not come back as one. A link that lasts 30 s resets that: whoever
accepts links only to cut them is not dialled every second. An address that is new shortens the
wait: it is the usual reason why the next attempt will succeed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from gossamer_crypto.identity import PeerId

BACKOFF_S_MIN: Final = 1.0
BACKOFF_S_MAX: Final = 60.0
NEW_ADDRESS_S: Final = 5.0  # least time between two attempts, whatever addresses are heard of
LASTING_S: Final = 30.0
PARALLEL: Final = 4
NO_ADDRESS: Final = "no address is known"

_FAILURE_CHARS_MAX = 1024
_DOUBLINGS_MAX = 6  # 2^6 s is above the largest backoff


@dataclass(frozen=True, slots=True)
class Attempt:
    """Dial these addresses of `peer` one after the other until one answers."""

    peer: PeerId
    addresses: tuple[str, ...]


@dataclass(slots=True)
class _Member:
    """What we went through with one member; `due` and `ended` are times."""

    due: float
    failures: int = 0
    ended: float = float("-inf")
    tried: tuple[str, ...] = ()
    failure: str = ""


class DialSchedule:
    """The decisions of one agent. All times are seconds of any clock that does not go back.

    Raises:
        ValueError: `want` is negative, or `parallel` not positive.
    """

    __slots__ = ("_dialled", "_linked", "_missing", "_parallel", "_rng", "_want")

    def __init__(
        self, rng: np.random.Generator, *, want: int = 24, parallel: int = PARALLEL
    ) -> None:
        if want < 0 or parallel <= 0:
            raise ValueError("want at least no link, and dial at least one peer at once")
        self._rng = rng
        self._want = want
        self._parallel = parallel
        self._missing: dict[PeerId, _Member] = {}
        self._linked: dict[PeerId, tuple[float, _Member]] = {}  # since when
        self._dialled: set[PeerId] = set()

    def next(
        self,
        now: float,
        members: Iterable[PeerId],
        linked: Collection[PeerId],
        addresses: Callable[[PeerId], Sequence[str]],
        preferred: Collection[PeerId] = (),
    ) -> tuple[Attempt, ...]:
        """Return the attempts to begin now; `failed` or `succeeded` must follow for each.

        `members` are all that may be dialled, without the own id; `linked` are those with a link.
        Of `preferred` only members count.
        """
        self._follow(now, frozenset(members), frozenset(linked))
        idle = self._parallel - len(self._dialled)
        if idle <= 0:
            return ()
        wanted = self._want - len({*linked, *self._dialled} - {*preferred})
        known = {peer: _relayed_last(addresses(peer)) for peer in sorted(self._missing)}
        for peer, member in self._missing.items():
            _note_addresses(member, known[peer])
        due = [
            peer
            for peer in self._shuffled(known)
            if known[peer] and peer not in self._dialled and self._missing[peer].due <= now
        ]
        due.sort(key=lambda peer: self._missing[peer].due)  # stable: equals stay shuffled
        first = [peer for peer in due if peer in preferred]
        others = [peer for peer in due if peer not in preferred]
        chosen = [*first, *others[: max(0, wanted)]][:idle]
        attempts = tuple(Attempt(peer, known[peer]) for peer in chosen)
        for attempt in attempts:
            self._dialled.add(attempt.peer)
            self._missing[attempt.peer].tried = attempt.addresses
        return attempts

    def succeeded(self, peer: PeerId, now: float) -> None:
        """Note that an address of `peer` answered, as that peer."""
        self._ended(peer, "", now)

    def failed(self, peer: PeerId, failure: str, now: float) -> None:
        """Note that no address of `peer` answered; `failure` says why, for the user."""
        self._ended(peer, failure[:_FAILURE_CHARS_MAX], now)

    def failures(self) -> Mapping[PeerId, str]:
        """Return why there is no link, for every member whose last attempt failed."""
        texts = {peer: member.failure for peer, member in self._missing.items() if member.failure}
        return MappingProxyType(texts)

    def _ended(self, peer: PeerId, failure: str, now: float) -> None:
        self._dialled.discard(peer)
        member = self._missing.get(peer)
        if member is not None:  # else linked meanwhile, or no member any more
            member.ended = now
            member.failure = failure
            self._wait(member, now)  # after a success too: only a link that lasts resets it

    def _wait(self, member: _Member, now: float) -> None:
        member.failures += 1
        bound = min(BACKOFF_S_MAX, 2.0 ** min(member.failures, _DOUBLINGS_MAX))
        member.due = now + float(self._rng.uniform(BACKOFF_S_MIN, bound))

    def _follow(self, now: float, members: Set[PeerId], linked: Set[PeerId]) -> None:
        for peer in sorted(set(self._linked) - (members & linked)):
            since, member = self._linked.pop(peer)
            if now - since < LASTING_S:
                member.failure = "the link was cut at once"
                self._wait(member, now)
                self._missing[peer] = member
        for peer in set(self._missing) - (members - linked):
            member = self._missing.pop(peer)
            if peer in linked and peer in members:
                self._linked[peer] = now, member
        for peer in sorted(members - linked - set(self._missing)):
            self._missing[peer] = _Member(due=now)

    def _shuffled(self, peers: Iterable[PeerId]) -> list[PeerId]:
        peers = list(peers)
        return [peers[index] for index in self._rng.permutation(len(peers)).tolist()]


def _note_addresses(member: _Member, known: tuple[str, ...]) -> None:
    if not known:
        member.failure = member.failure or NO_ADDRESS
    elif not member.failures:
        member.failure = ""
    elif not set(known) <= set(member.tried):
        member.due = min(member.due, member.ended + NEW_ADDRESS_S)


def _relayed_last(addresses: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(addresses, key=lambda address: "/p2p-circuit" in address))
