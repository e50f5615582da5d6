"""The listening half of an agent: the peers it follows and its replicas of them.

Theory of operation. `accept` takes an entry through the checks from cheap to dear (the order of
docs/spec/feed.md); nothing changes state before the signature holds. A delta that comes early waits
in a small buffer for the one before it; a gap that lasts until the next round is healed by asking
the peer for everything since our replica's step. What is refused is answered by a `Refusal` that
says who is to blame: the sender until the signature holds, the author after it.

What was verified is also put aside as evidence: each head that was recorded, and the proof where
two entries have one place. The shell takes it to where the evidence of others is
(`gossamer_agent.forks`).

An author that lost its store begins a new feed under a higher incarnation, from the genesis
replica, and so does our replica of it. What still comes of the old feed is refused from then on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from gossamer_agent.contract import Contract
from gossamer_agent.events import Effect, Send
from gossamer_agent.learner import Vector
from gossamer_agent.policy import Policy
from gossamer_crypto.envelope import Envelope, Head, Kind, open_envelope
from gossamer_crypto.epoch import EpochKeys
from gossamer_crypto.errors import FeedError, PeerError, Reason
from gossamer_crypto.feed import FeedReader, Verdict
from gossamer_crypto.fork_proof import ForkProof, fork_proof
from gossamer_crypto.identity import PeerId
from gossamer_transport.delta import Delta, unpack_delta, unpack_keyframe
from gossamer_transport.limits import Limits
from gossamer_transport.replica import Replica
from gossamer_transport.wire import FollowFrame, UnfollowFrame, WantFrame, pack_frame

RENEWAL_ROUNDS = 8
"""How often a follower tells that it is still there; some of these may get lost."""
READERS_KEPT = 64
"""Readers of peers that we left last: who tells another story after our return is found out."""

EVIDENCE_MAX = 1024
"""Evidence that waits for the shell; where it never comes, the oldest is dropped."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Bytes were refused. culprit: None where an innocent network could have done it."""

    culprit: PeerId | None
    reason: Reason
    detail: str


@dataclass(slots=True)
class Followed:
    """A peer we follow: what we know of its feed and our replica of its parameters."""

    reader: FeedReader
    replica: Replica
    since_round: int  # own round in which we began to follow
    moved_round: int  # own round in which the replica last moved
    incarnation: int = 0  # of the feed that the replica follows
    early: dict[int, Delta] = field(default_factory=dict)  # step -> delta that waits for a gap
    wanted: bytes | None = None  # entry hash that we pulled last


class Following:
    """Replicas of the followed peers. Pure: sends are returned, refusals are values.

    evidence: heads that were recorded, and forks, oldest first, all verified. accepted: entries
    that went into replicas, as they were received, if a shell asked for them by `keep_accepted`.
    Take both from the left, in any thread.
    """

    def __init__(
        self,
        *,
        swarm: bytes,
        contract: Contract,
        policy: Policy,
        initial: Vector,
        epochs: EpochKeys,
        members: Container[PeerId],
        limits: Limits,
    ) -> None:
        self._swarm = swarm
        self._contract = contract
        self._policy = policy
        self._initial = initial
        self._epochs = epochs
        self._members = members
        self._limits = limits
        self._followed: dict[PeerId, Followed] = {}
        self._left: dict[PeerId, FeedReader] = {}  # oldest first
        self.evidence: deque[Head | ForkProof] = deque(maxlen=EVIDENCE_MAX)
        self.accepted: deque[Envelope] = deque(maxlen=0)

    @property
    def peers(self) -> tuple[PeerId, ...]:
        return tuple(sorted(self._followed))

    def follow(self, peer: PeerId, round_: int) -> list[Effect]:
        """Begin at the genesis replica, which every member holds."""
        reader = self._left.pop(peer, None) or FeedReader(peer)
        reader.forget()  # the new replica needs the entries of the window once more
        incarnation = 0 if reader.highest is None else reader.highest.header.incarnation
        self._followed[peer] = Followed(reader, self._fresh(), round_, round_, incarnation)
        return [Send(peer=peer, frame=pack_frame(FollowFrame(0)))]

    def unfollow(self, peer: PeerId) -> list[Effect]:
        followed = self._followed.pop(peer, None)
        if followed is None:
            return []
        self._left[peer] = followed.reader
        if len(self._left) > READERS_KEPT:
            del self._left[next(iter(self._left))]
        return [Send(peer=peer, frame=pack_frame(UnfollowFrame()))]

    def watermarks(self) -> list[Head]:
        """The highest recorded head of each peer we follow or left, those we left first."""
        readers = [*self._left.values(), *(self._followed[peer].reader for peer in self.peers)]
        return [reader.highest for reader in readers if reader.highest is not None]

    def restore(self, watermarks: Iterable[Head]) -> None:
        """Remember, before anybody is followed, how far each feed was read by an earlier run.

        The heads, `READERS_KEPT` at most, were verified. Entries below the window of each are
        refused as ever; those in the window are taken once more, because the replicas are gone.
        """
        assert not self._followed, "readers of an earlier run come before those of this one"
        for head in list(watermarks)[-READERS_KEPT:]:
            self._left[head.header.author] = FeedReader.after(head)

    def keep_accepted(self, entries_max: int) -> None:
        """From now on put accepted entries aside, the newest `entries_max` of them."""
        self.accepted = deque(self.accepted, maxlen=entries_max)

    def held(self) -> list[tuple[PeerId, int, Replica]]:
        """All replicas as they are, with the incarnation of the feed that each follows."""
        return [(p, self._followed[p].incarnation, self._followed[p].replica) for p in self.peers]

    def heal(self, round_: int) -> list[Effect]:
        """Ask every peer whose replica has a gap or stood still for what we lack; renew leases."""
        effects: list[Effect] = []
        for peer in self.peers:
            followed = self._followed[peer]
            renew = (round_ - followed.since_round) % RENEWAL_ROUNDS == RENEWAL_ROUNDS - 1
            if renew or followed.early or round_ - followed.moved_round >= 2:
                followed.wanted = None
                effects.append(self._ask(peer))
        return effects

    def _ask(self, peer: PeerId) -> Send:
        replica = self._followed[peer].replica
        # Only a keyframe is sure to heal a replica whose hash did not come out as told.
        step = 0 if replica.poisoned else replica.step
        return Send(peer=peer, frame=pack_frame(FollowFrame(step)))

    def rest(self) -> list[Effect]:
        """Have nothing sent to us for now. The replicas stay as they are."""
        return [Send(peer=peer, frame=pack_frame(UnfollowFrame())) for peer in self.peers]

    def catch_up(self) -> list[Effect]:
        """Ask every peer for what we lack: a few deltas, or a keyframe where that is cheaper."""
        for followed in self._followed.values():
            followed.wanted = None
        return [self._ask(peer) for peer in self.peers]

    def silent(self, round_: int) -> list[PeerId]:
        """Followed peers whose replica has not moved for longer than the policy allows."""
        allowed = self._policy.stale_rounds
        return [p for p in self.peers if round_ - self._followed[p].moved_round > allowed]

    def replicas(self, round_: int) -> list[tuple[PeerId, Replica]]:
        """The replicas that are fresh enough to vote, in PeerId order."""
        fresh = []
        for peer in self.peers:
            followed = self._followed[peer]
            age = round_ - followed.moved_round
            if followed.replica.step > 0 and age <= self._policy.stale_rounds:
                fresh.append((peer, followed.replica))
        return fresh

    def without_vote(self, round_: int) -> list[tuple[PeerId, int]]:
        """Who is followed and not among `replicas`, with the step of its replica; 0: none yet."""
        fresh = {peer for peer, _ in self.replicas(round_)}
        return [(p, self._followed[p].replica.step) for p in self.peers if p not in fresh]

    def announced(self, sender: PeerId, head: Head) -> list[Effect] | Refusal:
        """A head without its body: verify it, then pull the body from whoever announced it."""
        followed = self._followed.get(head.header.author)
        if followed is None or followed.wanted == head.entry_hash:
            return []
        verdict = self._check(sender, head, followed)
        if isinstance(verdict, Refusal):
            return verdict
        if verdict is Verdict.SEEN:
            return []
        followed.wanted = head.entry_hash
        return [Send(peer=sender, frame=pack_frame(WantFrame(head.entry_hash)))]

    def accept(self, sender: PeerId, envelope: Envelope, round_: int) -> Refusal | None:
        """Take one entry. Entries of peers that we do not follow are dropped without a word."""
        author = envelope.header.author
        followed = self._followed.get(author)
        if followed is None:
            return None
        verdict = self._check(sender, envelope.head, followed)
        if isinstance(verdict, Refusal):
            return verdict
        if verdict is Verdict.SEEN:
            replayed = sender != author
            return Refusal(sender, Reason.REPLAYED, "seen before") if replayed else None
        try:
            self._take(followed, envelope, round_)
        except PeerError as error:
            return Refusal(author, error.reason, error.detail)
        return None

    def _check(self, sender: PeerId, head: Head, followed: Followed) -> Verdict | Refusal:
        """Header and signature. A bad link is the author's fault only under its signature."""
        header = head.header
        if header.swarm != self._swarm:
            return Refusal(sender, Reason.WRONG_SWARM, "")
        if self._epochs.secret(header.epoch) is None:
            return Refusal(sender, Reason.UNKNOWN_EPOCH, str(header.epoch))
        if header.author not in self._members:
            return Refusal(sender, Reason.NOT_A_MEMBER, "")
        doubt: FeedError | None = None
        try:
            verdict = _peek(head, followed)
        except FeedError as error:
            if error.reason is Reason.REPLAYED:
                culprit = None if sender == header.author else sender
                return Refusal(culprit, error.reason, error.detail)
            doubt, verdict = error, Verdict.NEW
        if verdict is Verdict.SEEN:
            return verdict
        try:
            head.verify()
        except PeerError as error:
            return Refusal(sender, error.reason, error.detail)
        if doubt is None:
            return verdict
        rival = followed.reader.rival(head)
        if rival is not None:
            self.evidence.append(fork_proof(rival, head))
        return Refusal(header.author, doubt.reason, doubt.detail)

    def _take(self, followed: Followed, envelope: Envelope, round_: int) -> None:
        """Decrypt, parse, apply. PeerError is the author's fault."""
        secret = self._epochs.secret(envelope.header.epoch)
        assert secret is not None, "checked with the header"
        body = open_envelope(envelope, secret)
        size, codec = self._contract.parameters, self._policy.codec
        if envelope.header.kind is Kind.DELTA:
            delta = unpack_delta(body, size, codec)
            self._follow_incarnation(followed, envelope.header.incarnation)
            if not self._place(followed, delta):
                return  # not recorded: it will be asked for again
        elif envelope.header.kind is Kind.KEYFRAME:
            keyframe = unpack_keyframe(body, size, codec)
            self._follow_incarnation(followed, envelope.header.incarnation)
            if keyframe.step > followed.replica.step:
                followed.replica.restart(keyframe)
                followed.moved_round = round_
        else:
            raise FeedError(Reason.UNEXPECTED, "an entry that followers are not sent")
        followed.reader.record(envelope.head)
        self.evidence.append(envelope.head)
        self.accepted.append(envelope)
        self._catch_up(followed, round_)

    def _follow_incarnation(self, followed: Followed, incarnation: int) -> None:
        """Begin again at the genesis replica where the author did. Its signature was verified."""
        if incarnation > followed.incarnation:
            followed.incarnation = incarnation
            followed.replica = self._fresh()
            followed.early.clear()
            followed.wanted = None

    def _place(self, followed: Followed, delta: Delta) -> bool:
        """Put a delta in the queue; False where it lies too far ahead to be kept."""
        ahead = delta.step - followed.replica.step
        if ahead > self._limits.pending_deltas_max:
            return False
        if ahead > 0:
            followed.early[delta.step] = delta
        return True

    def _catch_up(self, followed: Followed, round_: int) -> None:
        """Apply what has become contiguous. A delta that fails is dropped, the replica stands."""
        replica, early = followed.replica, followed.early
        for step in [s for s in early if s <= replica.step]:
            del early[step]
        while (delta := early.pop(replica.step + 1, None)) is not None:
            replica.apply(delta)
            followed.moved_round = round_

    def _fresh(self) -> Replica:
        return Replica(self._initial, self._policy.codec, self._contract.bound)


def _peek(head: Head, followed: Followed) -> Verdict:
    """What the reader says, and that a feed is over though nothing of the next was recorded yet."""
    if head.header.incarnation < followed.incarnation:
        raise FeedError(Reason.REPLAYED, f"incarnation {head.header.incarnation} is over")
    return followed.reader.check(head)
