"""The core of an agent: one round after another as a pure state machine.

Theory of operation. A round is collect - merge - gate - train - publish:

    RoundDue      look after the view, ask for what is missing; enough replicas? -> Merge
    MergeDone     score the contributors, try the merge on the hold-out data -> Evaluate
    EvaluateDone  commit it, params = merged + what is not yet published, or keep the own
                  parameters; log the merge -> Train
    TrainDone     publish the delta to the followers -> RoundDone

Frames of peers are handled at any time between. Time comes in as `now`, chance as `rng`; nothing
here sleeps, sends or touches a disk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from gossamer_agent.ban import BanRecord
from gossamer_agent.contract import Contract
from gossamer_agent.events import (
    Configured,
    Effect,
    Evaluate,
    EvaluateDone,
    Event,
    ExchangePaused,
    ExchangeResumed,
    ForkSeen,
    Labelled,
    Merge,
    MergeDone,
    PeersSeen,
    Received,
    Refused,
    RoundDone,
    RoundDue,
    Started,
    Train,
    TrainDone,
)
from gossamer_agent.following import Following, Refusal
from gossamer_agent.gate import HoldoutGate, Verdict
from gossamer_agent.intake import Entrant, Intake
from gossamer_agent.learner import Vector
from gossamer_agent.merge.balls import third_ball
from gossamer_agent.merge.result import Merged, MergeInput
from gossamer_agent.merge.rules import get_rule
from gossamer_agent.owner import LabelRecord
from gossamer_agent.policy import Policy
from gossamer_agent.probation import UNBOUNDED, bounds_of
from gossamer_agent.publisher import Publisher
from gossamer_agent.pull import pull_from_majority
from gossamer_agent.records import LeftOut, MergeRecord, StandingRecord
from gossamer_agent.reputation import RELEASED, ReputationTable, Standing, StandingChange
from gossamer_agent.rest import bounded_rest
from gossamer_agent.standpoint import RENEWED_SLOTS, Outlook, Place, Standpoint
from gossamer_agent.usefulness import Sticky, Usefulness
from gossamer_crypto.envelope import Kind
from gossamer_crypto.epoch import EpochKeys
from gossamer_crypto.errors import PeerError, Reason
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.fork_proof import ForkProof
from gossamer_crypto.identity import PeerId
from gossamer_transport.limits import Limits
from gossamer_transport.replica import Replica, replica_hash
from gossamer_transport.view import Change, View, no_inviter
from gossamer_transport.wire import (
    AddressesFrame,
    AnnounceFrame,
    EntryFrame,
    FollowFrame,
    ForkFrame,
    HeadFrame,
    RosterFrame,
    UnfollowFrame,
    WantFrame,
    unpack_frame,
)


class Phase(Enum):
    IDLE = "idle"
    MERGING = "merging"
    GATING = "gating"
    TRAINING = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """What a member knows of its swarm."""

    swarm_id: bytes
    contract: Contract
    policy: Policy
    initial: Vector  # float32[P], the genesis replica
    epochs: EpochKeys
    members: Container[PeerId]
    limits: Limits
    inviter_of: Callable[[PeerId], PeerId | None] = no_inviter  # None for a steward
    view_size_max: int | None = None  # of this device, where the policy's is too large for it

    @property
    def view_size(self) -> int:
        """How many peers to follow."""
        size = self.policy.view_size
        return size if self.view_size_max is None else min(size, self.view_size_max)


class AgentCore:
    """One agent's protocol and decisions. `handle` is its only way in.

    params: float32[P], what the agent learns on. served: float32[P], what it answers questions
    with: the newest committed merge, because parameters fresh from local steps lean to the own
    data. An agent that finds nobody to merge with serves what it learnt itself, and so does one
    with personal layers that commits no merge.
    """

    def __init__(
        self,
        *,
        peer_id: PeerId,
        swarm: Swarm,
        feed: FeedWriter,
        rng: np.random.Generator,
        sticky: Sticky = Sticky.STANDING,
    ) -> None:
        policy = swarm.policy
        self.peer_id = peer_id
        self.params = swarm.initial
        self.served = swarm.initial
        self.round = 0
        self.reputation = ReputationTable()
        self.usefulness = Usefulness()
        self.banned: set[PeerId] = set()  # for good, with the proof in the own feed
        self._swarm = swarm
        self._rule = get_rule(policy.rule)
        self._gate = HoldoutGate()
        self._refusals = 0  # of the gate, in a row
        self._standpoint = Standpoint()
        self._rng = rng
        self._view = View(
            self.peer_id,
            swarm.view_size,
            rng,
            inviter_of=swarm.inviter_of,
            score_of=(self.usefulness.score if sticky is Sticky.USEFUL else self.reputation.score),
        )
        self._reachable: tuple[PeerId, ...] = ()
        self._phase = Phase.IDLE
        self._resting = False  # no deltas are sent or fetched
        self._merged: Merged | None = None
        self._candidate: Vector | None = None  # what is committed if the merge is
        self._intake = Intake()
        self._voting: tuple[Vector, ...] = ()  # the inputs of the running merge
        self._outcome = (0, False)  # contributors, committed: of the running round
        self.publisher = Publisher(
            feed=feed,
            initial=swarm.initial,
            codec=policy.codec,
            bound=swarm.contract.bound,
            limits=swarm.limits,
            rng=rng,
        )
        self.following = Following(
            swarm=swarm.swarm_id,
            contract=swarm.contract,
            policy=policy,
            initial=swarm.initial,
            epochs=swarm.epochs,
            members=swarm.members,
            limits=swarm.limits,
        )

    def handle(self, now: float, event: Event) -> list[Effect]:  # noqa: ARG002  all cores take it
        """One event in, effects out, in the order in which they must be performed.

        now: monotonic seconds. Never raises for what a peer sent.
        """
        match event:
            case Received(sender=sender, frame=frame):
                return self._received(sender, frame)
            case RoundDue():
                return self._begin_round() if self._phase is Phase.IDLE else []
            case MergeDone(merged=merged, candidate=candidate, gains=gains):
                self.usefulness.observe(gains)
                return self._weigh(merged, merged.vector if candidate is None else candidate)
            case EvaluateDone(current=current, candidate=candidate, one_sided=one_sided):
                verdict = self._gate.decide(
                    current,
                    candidate,
                    self._swarm.contract.classes,
                    refused=self._refusals,
                    one_sided=one_sided,
                )
                self._refusals = 0 if verdict.commit else self._refusals + 1
                return self._conclude(verdict, current.loss, candidate.loss)
            case TrainDone(params=params):
                return self._publish(params)
            case PeersSeen(peers=peers):
                self._reachable = tuple(sorted(peers))
                return [] if self._resting else self._fill_view()
            case ExchangePaused():
                self._resting = True
                return self.following.rest()
            case ExchangeResumed():
                self._resting = False
                self._standpoint.forget()
                return self.following.catch_up()
            case Started(genesis=genesis):
                return self.publisher.record(Kind.START, genesis)
            case ForkSeen(proof=proof):
                return self._ban(proof)
            case Configured(record=record):
                record = replace(record, round=self.round)
                return self.publisher.record(Kind.CONFIGURATION, record.pack())
            case Labelled(name=name, nonce=nonce):
                model = replica_hash(self.served)
                label = LabelRecord(round=self.round, nonce=nonce, model=model, name=name)
                return self.publisher.record(Kind.LABEL, label.pack())

    # Rounds --------------------------------------------------------------------------------------

    def _begin_round(self) -> list[Effect]:
        self.round += 1
        self._outcome = (0, False)
        mute = self.following.without_vote(self.round)
        effects = [e for c in self.reputation.release(self.round) for e in self._stand(c)]
        effects += self._tend_view() + self.following.heal(self.round)
        replicas = self.following.replicas(self.round)  # nobody in quarantine keeps a slot
        if len(replicas) + 1 < self._swarm.policy.quorum:
            return [*effects, self._train()]
        own = (self.peer_id, self.publisher.replica)
        inputs = sorted([own, *replicas], key=lambda row: row[0])
        # Who was stale has lost its slot by now, and perhaps another one has it.
        mute = sorted(dict([*self.following.without_vote(self.round), *mute]).items())
        self._intake = self._take_in(inputs, mute)
        self._voting = tuple(replica.vector for _, replica in inputs)
        self._phase = Phase.MERGING
        vectors = tuple(
            MergeInput(peer, r.vector, entrant.bounds.groups)
            for (peer, r), entrant in zip(inputs, self._intake.entrants, strict=True)
        )
        merge = Merge(
            rule=self._rule.name,
            inputs=vectors,
            own=self.peer_id,
            round=self.round,
            initial=self._swarm.initial,
        )
        return [*effects, merge]

    def _take_in(
        self, inputs: list[tuple[PeerId, Replica]], mute: list[tuple[PeerId, int]]
    ) -> Intake:
        """Note who is in the merge that begins, and which followed peers are not.

        mute: peers without a fresh replica, and the step of the one they had; 0: none.
        """
        voters = [peer for peer, _ in inputs]
        bounds = bounds_of(
            voters,
            own=self.peer_id,
            reachable=self._reachable,
            inviter_of=self._swarm.inviter_of,
            reputation=self.reputation,
            quorum=self._swarm.policy.quorum,
        )
        entrants = [Entrant(p, r.step, r.hash, bounds.get(p, UNBOUNDED)) for p, r in inputs]
        left = [
            LeftOut(peer=peer, step=step, reason="stale" if step else "silent")
            for peer, step in mute
            if peer not in voters
        ]
        return Intake(tuple(entrants), tuple(left))

    def _weigh(self, merged: Merged, candidate: Vector) -> list[Effect]:
        """Score the contributors, then try what would be committed on the hold-out data."""
        outlook = self._look_around(merged)
        effects = self._score(merged) if outlook is Outlook.TOGETHER else self._renew(outlook)
        self._merged, self._candidate = merged, candidate
        if outlook is Outlook.APART:
            why = "this device stands apart from most of its view, which it renews first"
            return effects + self._conclude(Verdict(False, why), math.nan, math.nan)
        if not self._rule.uses_holdout:
            why = "the rule asks for no hold-out test"
            return effects + self._conclude(Verdict(True, why), math.nan, math.nan)
        self._phase = Phase.GATING
        return [*effects, Evaluate(current=self.params, candidate=candidate)]

    def _conclude(self, verdict: Verdict, before: float, after: float) -> list[Effect]:
        """Commit the merge or keep the own parameters; log it. Losses in nats, nan for none."""
        merged, candidate = self._merged, self._candidate
        assert merged is not None and candidate is not None, "a merge is judged once"
        record = MergeRecord(
            round=self.round,
            rule=self._rule.name,
            rule_version=self._rule.version,
            contributors=self._intake.contributors(merged),
            radius=merged.radius,
            result_hash=replica_hash(merged.vector),
            loss_before=before,
            loss_after=after,
            committed=verdict.commit,
            verdict=verdict.why,
            left_out=self._intake.left_out,
        )
        if verdict.commit:
            # Only a rule that judges its inputs has a radius that tells how far honest ones lie.
            radius = merged.radius if self._rule.uses_reputation else 0.0
            rest = bounded_rest(self.params, self.publisher.replica.vector, radius)
            self.params = candidate + rest
            self.served = candidate
        self._outcome = (len(self._intake.entrants), verdict.commit)
        self._merged = self._candidate = None
        return [*self.publisher.record(Kind.MERGE, record.pack()), self._train()]

    def _train(self) -> Effect:
        self._phase = Phase.TRAINING
        return Train(params=self.params, round=self.round, committed=self._outcome[1])

    def _publish(self, params: Vector) -> list[Effect]:
        self.params = params
        self._phase = Phase.IDLE
        merged, committed = self._outcome
        # Personal layers go on with the own parameters and would not fit an older merge any more.
        if merged == 0 or (self._swarm.policy.personal and not committed):
            self.served = params
        done = RoundDone(round=self.round, merged=merged, committed=committed)
        return [*self.publisher.publish(params, self.round), done]

    # Standing of peers ---------------------------------------------------------------------------

    def _look_around(self, merged: Merged) -> Outlook:
        if not self._rule.uses_reputation:
            return Outlook.TOGETHER
        own = [entrant.peer for entrant in self._intake.entrants].index(self.peer_id)
        others = np.delete(merged.distances, own)
        place = Place(
            most=float(merged.distances[own]),
            near=third_ball(self._voting, own),
            radius=merged.radius,
            farthest=float(others[np.isfinite(others)].max(initial=0.0)),
            pull=pull_from_majority(self.served, self.params, self._voting, own, merged.distances),
        )
        return self._standpoint.see(place)

    def _score(self, merged: Merged) -> list[Effect]:
        """Judge every replica by how far it is from most of the others."""
        if not self._rule.uses_reputation:
            return []
        effects: list[Effect] = []
        distances = merged.distances.tolist()
        for entrant, distance in zip(self._intake.entrants, distances, strict=True):
            if entrant.peer != self.peer_id:
                change = self.reputation.observe(
                    entrant.peer, distance, merged.radius, self.round, progress=merged.progress
                )
                effects += self._stand(change)
        return effects

    def _stand(self, change: StandingChange | None) -> list[Effect]:
        """Log a change of standing; a quarantined peer loses its slot at once."""
        if change is None:
            return []
        released = change.standing is Standing.ADMITTED
        record = StandingRecord(
            round=self.round,
            peer=change.peer,
            standing=change.standing,
            score=change.score,
            reason=change.reason or (RELEASED if released else "distance"),
        )
        effects = self.publisher.record(Kind.STANDING, record.pack())
        if not released and change.peer in self._view.following:
            effects += self._replace(change.peer)
        return effects

    def _ban(self, proof: ForkProof) -> list[Effect]:
        """Shut the author out for good: log why, serve it nothing, keep no slot for it."""
        author = proof.author
        if author == self.peer_id:
            return []  # the shell stops this agent
        self.reputation.ban(author, self.round)
        self.publisher.unfollow(author)
        effects: list[Effect] = []
        if author not in self.banned:
            self.banned.add(author)
            record = BanRecord(round=self.round, proof=proof)
            effects += self.publisher.record(Kind.BAN, record.pack())
        if author in self._view.following:
            effects += self._replace(author)
        return effects

    # View ----------------------------------------------------------------------------------------

    def _candidates(self) -> list[PeerId]:
        """Peers that may be followed now and can be reached."""
        return [peer for peer in self._reachable if self._may_follow(peer)]

    def _may_follow(self, peer: PeerId) -> bool:
        """Whether it is another member that is neither in quarantine nor banned."""
        if peer == self.peer_id or peer not in self._swarm.members:
            return False
        return not self.reputation.is_quarantined(peer)

    def _fill_view(self) -> list[Effect]:
        if len(self._view.following) == self._swarm.view_size:
            return []
        return self._apply(self._view.fill(self._candidates()))

    def _replace(self, peer: PeerId) -> list[Effect]:
        candidates = [other for other in self._candidates() if other != peer]
        return self._apply(self._view.drop(peer, candidates))

    def _renew(self, outlook: Outlook) -> list[Effect]:
        """Replace random slots, whoever holds them: most of the view may be lying."""
        effects: list[Effect] = []
        for _ in range(RENEWED_SLOTS[outlook]):
            following = self._view.following
            if following and set(self._candidates()).difference(following):
                effects += self._replace(following[int(self._rng.integers(len(following)))])
        return effects

    def _tend_view(self) -> list[Effect]:
        """Replace who fell silent or lost its right to a slot; renew one random slot at times."""
        effects: list[Effect] = []
        lapsed = [peer for peer in self._view.following if not self._may_follow(peer)]
        for peer in (*self.following.silent(self.round), *lapsed):
            effects += self._replace(peer)
        if self._rng.random() * self._swarm.policy.turnover_rounds < 1.0:
            effects += self._apply(self._view.turn_over(self._candidates()))
        return effects + self._fill_view()

    def _apply(self, change: Change) -> list[Effect]:
        effects: list[Effect] = []
        for peer in change.dropped:
            effects += self.following.unfollow(peer)
        for peer in change.added:
            effects += self.following.follow(peer, self.round)
        return effects

    # Frames --------------------------------------------------------------------------------------

    def _received(self, sender: PeerId, raw: bytes) -> list[Effect]:
        if sender not in self._swarm.members:
            return self._refuse(sender, Refusal(sender, Reason.NOT_A_MEMBER, ""))
        if self.reputation.is_banned(sender):
            return self._refuse(sender, Refusal(sender, Reason.BANNED, ""))
        try:
            frame = unpack_frame(raw, self._swarm.limits)
        except PeerError as error:
            return self._refuse(sender, Refusal(sender, error.reason, error.detail))
        if self._resting and isinstance(frame, HeadFrame | FollowFrame | WantFrame):
            return []  # who asks will ask again, and we shall
        match frame:
            case EntryFrame(envelope=envelope):
                refusal = self.following.accept(sender, envelope, self.round)
                return [] if refusal is None else self._refuse(sender, refusal)
            case HeadFrame(head=head):
                answer = self.following.announced(sender, head)
                return self._refuse(sender, answer) if isinstance(answer, Refusal) else answer
            case FollowFrame(step=step):
                return self.publisher.follow(sender, step)
            case WantFrame(entry_hash=entry_hash):
                return self.publisher.want(sender, entry_hash)
            case UnfollowFrame():
                self.publisher.unfollow(sender)
                return []
            case AnnounceFrame() | RosterFrame() | AddressesFrame() | ForkFrame():
                # The shell keeps roster, heads, addresses and proofs; these are published.
                return self._refuse(sender, Refusal(sender, Reason.UNEXPECTED, "control frame"))

    def _refuse(self, sender: PeerId, refusal: Refusal) -> list[Effect]:
        reason, culprit = refusal.reason, refusal.culprit
        told = Refused(sender=sender, culprit=culprit, reason=reason, detail=refusal.detail)
        if culprit is None or not self._rule.uses_reputation:
            return [told]
        change = self.reputation.offence(culprit, reason, self.round, refusal.detail)
        return [told, *self._stand(change)]
