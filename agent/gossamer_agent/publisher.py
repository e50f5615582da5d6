"""The publishing half of an agent: own feed, own replica, and whoever follows them.

Theory of operation. `publish` codes the parameters against the own replica, chains the delta to the
feed and offers it to every follower: pushed where it is small, announced by its head where it is
large. A follower says how far its replica of us is; if the deltas since then are cheap it gets
those, otherwise a keyframe. No keyframe is made in advance: the next delta then carries the rebase
mark (every follower rounds its replica to the keyframe's grid, for no bytes) and a keyframe entry
follows it in the chain, which only those who wait for it receive.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from gossamer_agent.events import Append, Effect, Send
from gossamer_agent.learner import Vector
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import PeerId
from gossamer_transport.codec import Codec, coded_lengths
from gossamer_transport.delta import keyframe_codec, pack_delta, pack_keyframe
from gossamer_transport.limits import Limits
from gossamer_transport.replica import Replica
from gossamer_transport.wire import EntryFrame, HeadFrame, pack_frame

RETAINED_DELTAS = 64
"""Newest own deltas that followers can still get; whoever lacks older ones gets a keyframe."""
LEASE_ROUNDS = 32
"""Who has not asked for so long is gone: a follower renews far more often (`Following.heal`)."""


@dataclass(frozen=True, slots=True)
class Published:
    """An entry for followers, the replica step that it leads to, and who may pull it, once each."""

    step: int
    envelope: Envelope
    announced_to: set[PeerId] = field(default_factory=set)


class Publisher:
    """Own feed and replica. All methods return effects and do nothing else outside."""

    def __init__(
        self,
        *,
        feed: FeedWriter,
        initial: Vector,
        codec: Codec,
        bound: float,
        limits: Limits,
        rng: np.random.Generator,
    ) -> None:
        self.feed = feed
        self.codec = codec
        self.replica = Replica(initial, codec, bound)
        self._limits = limits
        self._rng = rng
        self._followers: dict[PeerId, int] = {}  # -> our round when it last asked
        self._served: set[PeerId] = set()  # had a catch-up since the last delta, even if gone again
        self._awaiting: set[PeerId] = set()  # followers that wait for the next keyframe
        self._deltas: deque[Published] = deque(maxlen=RETAINED_DELTAS)
        self._keyframe: Published | None = None

    @property
    def followers(self) -> tuple[PeerId, ...]:
        return tuple(sorted(self._followers))

    def record(self, kind: Kind, body: bytes) -> list[Effect]:
        """Chain an entry that nobody is sent."""
        return [Append(entry=self.feed.append(kind, body))]

    def publish(self, params: Vector, round_: int) -> list[Effect]:
        """Chain the delta from the own replica to `params` and offer it to the followers."""
        rebase = bool(self._awaiting)
        delta = self.replica.publish(params, round_, self._rng, rebase=rebase)
        entry = self.feed.append(Kind.DELTA, pack_delta(delta))
        effects: list[Effect] = [Append(entry=entry)]
        self._deltas.append(Published(self.replica.step, entry))
        if rebase:
            keyframe = self.feed.append(Kind.KEYFRAME, pack_keyframe(self.replica.keyframe()))
            effects.append(Append(entry=keyframe))
            self._keyframe = Published(self.replica.step, keyframe)
        for peer in self.followers:
            waiting = rebase and peer in self._awaiting
            offered = self._keyframe if waiting and self._keyframe else self._deltas[-1]
            effects.append(self._offer(peer, offered))
        self._served.clear()
        self._awaiting.clear()
        lapsed = [p for p, asked in self._followers.items() if round_ - asked >= LEASE_ROUNDS]
        for peer in lapsed:
            self.unfollow(peer)
        return effects

    def follow(self, peer: PeerId, step: int) -> list[Effect]:
        """`peer` follows us and holds our replica of `step`. A lease, and one catch-up a delta."""
        if peer not in self._followers and len(self._followers) >= self._limits.followers_max:
            return []
        self._followers[peer] = self.replica.round
        if peer in self._served or step == self.replica.step:
            return []
        self._served.add(peer)
        missing = self._cheapest(step if step < self.replica.step else 0)
        if missing is None:
            self._awaiting.add(peer)
            return []
        return [self._offer(peer, published) for published in missing]

    def unfollow(self, peer: PeerId) -> None:
        self._followers.pop(peer, None)
        self._awaiting.discard(peer)

    def want(self, peer: PeerId, entry_hash: bytes) -> list[Effect]:
        """A follower pulls an entry that was announced to it. One announcement, one answer."""
        if peer not in self._followers:
            return []
        known = [*self._deltas, *([self._keyframe] if self._keyframe else [])]
        for published in reversed(known):
            if published.envelope.entry_hash == entry_hash and peer in published.announced_to:
                published.announced_to.discard(peer)
                return [Send(peer=peer, frame=pack_frame(EntryFrame(published.envelope)))]
        return []

    def _cheapest(self, step: int) -> list[Published] | None:
        """What brings a replica from `step` to ours in the fewest bytes; None: make a keyframe."""
        since = [p for p in self._deltas if p.step > step]
        whole = len(since) == self.replica.step - step
        options = [since] if whole else []
        if self._keyframe is not None and self._keyframe.step > step:
            after = [p for p in self._deltas if p.step > self._keyframe.step]
            options.append([self._keyframe, *after])
        readable = [option for option in options if self._is_readable(option, step)]
        best = min(readable, key=_bytes, default=None)
        if best is None or _bytes(best) > self._keyframe_bytes():
            return None
        return best

    def _is_readable(self, option: list[Published], step: int) -> bool:
        """Whether a follower at `step` has the keys. One at step 0 may have joined in this epoch
        and was given no earlier secret; all others hold that of the epoch before as well.
        """
        oldest = self.feed.epoch - (step > 0)
        return all(published.envelope.header.epoch >= oldest for published in option)

    def _keyframe_bytes(self) -> int:
        """What a fresh keyframe costs, with the delta that a follower misses while it waits."""
        coded = coded_lengths(keyframe_codec(self.codec), self.replica.vector.size)
        newest = self._deltas[-1].envelope.size if self._deltas else 0
        return sum(coded) + newest

    def _offer(self, peer: PeerId, published: Published) -> Send:
        envelope = published.envelope
        if envelope.size <= self._limits.inline_bytes_max:
            return Send(peer=peer, frame=pack_frame(EntryFrame(envelope)))
        published.announced_to.add(peer)
        return Send(peer=peer, frame=pack_frame(HeadFrame(envelope.head)))


def _bytes(entries: list[Published]) -> int:
    return sum(published.envelope.size for published in entries)
