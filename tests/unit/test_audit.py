"""Replaying logs: what is reproduced, what is missing, and which lie is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from gossamer_agent.audit.blame import blame
from gossamer_agent.audit.counterfactual import counterfactual
from gossamer_agent.audit.history import Gap, Merging, Step, history
from gossamer_agent.audit.replay import Finding, LogAudit, Outcome, findings
from gossamer_agent.audit.replicas import MissingInputError, Replicas
from gossamer_agent.audit.terms import Terms
from gossamer_agent.learner import Learner, Score
from gossamer_agent.merge.rules import get_rule
from gossamer_agent.records import MergeRecord
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import PeerId
from gossamer_transport.delta import unpack_delta
from gossamer_transport.replica import Replica, replica_hash

SECRET = b"e" * 32  # of `World`


@dataclass
class Village:
    """Four agents that have made some rounds, and all that they logged."""

    world: Any
    logs: list[list[Envelope]]
    terms: Terms

    def replicas(self, without: Iterable[Envelope] = ()) -> Replicas:
        left_out = {entry.entry_hash for entry in without}
        found = Replicas(self.terms, lambda _: SECRET)
        for entry in (entry for log in self.logs for entry in log):
            if entry.entry_hash not in left_out:
                found.add(entry, partial(_itself, entry))
        return found

    def events(self, log: list[Envelope]) -> list[Any]:
        start = replica_hash(self.terms.initial)
        return list(history(log, lambda _: SECRET, self.terms, start))

    def audit(self, log: list[Envelope], replicas: Replicas | None = None) -> list[Finding]:
        return list(findings(self.events(log), replicas or self.replicas(), self.terms))

    def deltas(self, number: int) -> list[Envelope]:
        return [entry for entry in self.logs[number] if entry.header.kind is Kind.DELTA]

    def lying(self, number: int, change: Callable[[MergeRecord], MergeRecord]) -> list[Envelope]:
        """A log whose author changed its first merge record before it signed it."""
        told, done = [], False
        for entry in self.logs[number]:
            if entry.header.kind is Kind.MERGE and not done:
                record = change(MergeRecord.unpack(open_envelope(entry, SECRET)))
                seq = entry.header.seq
                told.append(self.world.sealed(number, Kind.MERGE, record.pack(), seq=seq))
                done = True
            else:
                told.append(entry)
        assert done
        return told

    def vector(self, number: int, step: int) -> tuple[np.ndarray, bytes]:
        """A replica as its author had it."""
        replica = self.terms.replica()
        for entry in self.deltas(number)[:step]:
            replica.apply(unpack_delta(open_envelope(entry, SECRET), 64, self.terms.policy.codec))
        return replica.vector, replica.hash


def _itself(entry: Envelope) -> Envelope:
    return entry


def make(
    world: Any, rounds: int = 5, scores: tuple[Score, Score] | None = None, *, answers: bool = True
) -> Village:
    town = world.town()
    for shell in town.shells:
        shell.scores = scores or shell.scores
    town.meet()
    town.run_rounds(rounds)
    swarm = world.swarm
    learner = cast(Learner, SimpleNamespace(contract=swarm.contract))
    start = Replica(swarm.initial, swarm.policy.codec, swarm.contract.bound).vector
    terms = Terms(Genesis.unpack(world.genesis), swarm.policy, learner, start, swarm.initial)
    return Village(world, [shell.log for shell in town.shells], terms)


@pytest.fixture(scope="module")
def village(new_world: type[Any]) -> Village:
    return make(new_world(4))


class TestReproducing:
    @pytest.mark.parametrize("codec", ["sign1", "int8", "float32"])
    @pytest.mark.parametrize("rule", ["gossamer", "mean", "krum", "nnm+median"])
    def test_every_merge_comes_out_bit_for_bit(
        self, new_world: type[Any], rule: str, codec: str
    ) -> None:
        from gossamer_transport.codec import Codec

        village = make(new_world(4, rule=rule, codec=Codec.parse(codec)), 3)
        for log in village.logs:
            found = village.audit(log)
            assert len(found) >= 2
            assert {finding.outcome for finding in found} == {Outcome.REPRODUCED}

    def test_a_merge_that_the_gate_refused_as_well(self, new_world: type[Any]) -> None:
        bad = (Score(0.5, 0.8, 20), Score(9.0, 0.1, 20))
        village = make(new_world(4), 3, bad)
        found = village.audit(village.logs[0])
        assert found
        assert not any(finding.committed for finding in found)
        assert {finding.outcome for finding in found} == {Outcome.REPRODUCED}

    def test_no_key_is_no_mismatch(self, village: Village) -> None:
        start = replica_hash(village.terms.initial)
        events = history(village.logs[0], lambda _: None, village.terms, start)
        found = list(findings(events, village.replicas(), village.terms))
        assert {finding.outcome for finding in found} == {Outcome.MISSING}
        assert {finding.why for finding in found} == {"no key for epoch 3"}

    def test_a_missing_delta_is_named_and_later_merges_need_it_too(self, village: Village) -> None:
        gone = village.deltas(1)[1]
        found = village.audit(village.logs[0], village.replicas(without=[gone]))
        assert found[0].outcome is Outcome.REPRODUCED
        assert {finding.outcome for finding in found[1:]} == {Outcome.MISSING}
        assert all("step 2" in finding.why for finding in found[1:])

    def test_a_delta_that_its_author_did_not_sign_counts_for_nothing(
        self, village: Village
    ) -> None:
        entry = village.deltas(1)[0]
        head = replace(entry.head, signature=bytes(64))
        replicas = village.replicas(without=[entry])
        replicas.add(replace(entry, head=head), partial(_itself, entry))
        assert village.audit(village.logs[0], replicas)[0].outcome is Outcome.MISSING


class TestLies:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda r: replace(r, result_hash=bytes(32)), "the result has hash"),
            (lambda r: replace(r, radius=r.radius * (1 + 2**-52)), "the radius is"),
            (lambda r: replace(r, rule="mean"), "the rule is 'mean'"),
            (lambda r: replace(r, rule="magic"), "the rule is 'magic'"),
            (lambda r: _row(r, 0, votes=1), "votes of"),
            (lambda r: _row(r, 1, clip=0.25), "clip of"),
            (lambda r: _row(r, 1, distance=0.25), "distance of"),
            (lambda r: _row(r, 1, loss=0.25), "loss of"),
            (lambda r: replace(r, contributors=r.contributors[:-1]), ""),
            (lambda r: _row(r, 1, peer=r.contributors[0].peer), ""),
        ],
    )
    def test_what_was_logged_otherwise_is_found(
        self, village: Village, change: Any, says: str
    ) -> None:
        for number in range(4):
            found = village.audit(village.lying(number, change))
            assert found[0].outcome is not Outcome.REPRODUCED
            assert says in found[0].why
            # The lie stands alone: the others do not depend on it.
            assert {finding.outcome for finding in found[1:]} == {Outcome.REPRODUCED}

    def test_an_own_input_that_is_not_the_own_replica(self, village: Village) -> None:
        author = village.world.peers[0]

        def older(record: MergeRecord) -> MergeRecord:
            rows = [
                replace(row, step=0, replica_hash=replica_hash(village.terms.initial))
                if row.peer == author
                else row
                for row in record.contributors
            ]
            return replace(record, contributors=tuple(rows))

        found = village.audit(village.lying(0, older))
        assert found[0].outcome is Outcome.DIFFERS
        assert "not the own replica" in found[0].why

    def test_another_version_of_the_rule_is_neither_proven_nor_refuted(
        self, village: Village
    ) -> None:
        log = village.lying(0, lambda r: replace(r, rule_version=7, result_hash=bytes(32)))
        found = village.audit(log)
        assert found[0].outcome is Outcome.OTHER_VERSION
        assert found[0].why == (
            "made by version 7 of rule gossamer, this program has"
            f" {get_rule('gossamer').version}: cannot be replayed"
        )
        assert {finding.outcome for finding in found[1:]} == {Outcome.REPRODUCED}
        account = LogAudit()
        for finding in found:
            account.count(finding)
        assert account.ok
        assert (len(account.other_version), account.reproduced) == (1, account.merges - 1)
        told = blame(village.events(log), village.replicas(), village.terms)
        assert (told.reproduced, told.exact) == (account.reproduced, False)
        without = [village.world.peers[3]]
        again = counterfactual(village.events(log), village.replicas(), village.terms, without)
        assert again.lost == 1
        assert "made by version 7" in next(iter(again.kept))

    def test_a_lie_about_the_own_input_is_one_under_any_version(self, village: Village) -> None:
        author = village.world.peers[0]

        def alone(record: MergeRecord) -> MergeRecord:
            rows = tuple(row for row in record.contributors if row.peer != author)
            return replace(record, rule_version=7, contributors=rows)

        assert village.audit(village.lying(0, alone))[0].outcome is Outcome.DIFFERS

    def test_a_record_that_is_none_is_a_gap(self, village: Village) -> None:
        log = [village.world.sealed(0, Kind.MERGE, b"\x93nonsense", seq=1)]
        (event,) = village.events(log)
        assert isinstance(event, Gap)
        assert village.audit(log)[0].outcome is Outcome.MISSING


def _row(record: MergeRecord, index: int, **changes: Any) -> MergeRecord:
    rows = list(record.contributors)
    rows[index] = replace(rows[index], **changes)
    return replace(record, contributors=tuple(rows))


class TestReplicas:
    def test_any_step_in_any_order(self, village: Village) -> None:
        replicas, peer = village.replicas(), village.world.peers[2]
        for step in (3, 1, 4, 2, 2, 4):
            expected, digest = village.vector(2, step)
            assert np.array_equal(replicas.vector(peer, step, digest), expected)

    def test_a_snapshot_bridges_what_was_dropped(self, village: Village) -> None:
        peer = village.world.peers[2]
        vector, digest = village.vector(2, 2)
        replicas = village.replicas(without=village.deltas(2)[:2])
        with pytest.raises(MissingInputError, match="step 1 is not at hand"):
            replicas.vector(peer, 3, village.vector(2, 3)[1])
        replicas.add_snapshot(peer, 0, 2, digest, lambda: vector)
        for step in (2, 3, 4):
            expected, wanted = village.vector(2, step)
            assert np.array_equal(replicas.vector(peer, step, wanted), expected)

    def test_a_snapshot_that_is_another_is_not_taken(self, village: Village) -> None:
        peer, (vector, digest) = village.world.peers[2], village.vector(2, 2)
        replicas = village.replicas(without=village.deltas(2)[:2])
        replicas.add_snapshot(peer, 0, 2, digest, lambda: vector + np.float32(1))
        with pytest.raises(MissingInputError):
            replicas.vector(peer, 3, village.vector(2, 3)[1])

    def test_both_stories_of_an_author_are_followed(self, new_world: type[Any]) -> None:
        village = make(new_world(4))
        world, replicas = village.world, village.replicas()
        true = [village.vector(1, step)[0] for step in range(6)]
        twin = village.terms.replica(true[2])
        told = []
        for step in (3, 4):
            from gossamer_transport.delta import pack_delta

            delta = twin.publish(true[step] * np.float32(-1), 9, np.random.default_rng(step))
            body = pack_delta(replace(delta, step=step))
            entry = world.sealed(1, Kind.DELTA, body, seq=90 + step)
            replicas.add(entry, partial(_itself, entry))
            told.append((step, twin.hash, twin.vector))
        for step, digest, vector in told:
            assert np.array_equal(replicas.vector(world.peers[1], step, digest), vector)
        for step in (5, 3, 4):
            expected, digest = village.vector(1, step)
            assert np.array_equal(replicas.vector(world.peers[1], step, digest), expected)

    def test_nothing_of_a_peer(self, village: Village) -> None:
        with pytest.raises(MissingInputError, match="nothing of it is at hand"):
            Replicas(village.terms, lambda _: SECRET).vector(PeerId(bytes(32)), 1, bytes(32))


class TestBlame:
    def test_shares_add_up_and_projections_of_a_mean_make_the_way(
        self, new_world: type[Any]
    ) -> None:
        village = make(new_world(4, rule="mean"))
        told = blame(village.events(village.logs[0]), village.replicas(), village.terms)
        assert told.exact
        assert told.merges == told.committed == told.reproduced > 2
        shares = told.shares.values()
        assert sum(sum(share.shares) for share in shares) == pytest.approx(told.merges)
        assert sum(share.moved for share in shares) == pytest.approx(told.length)
        assert told.ranked()[-1].own

    def test_without_vectors_the_record_has_to_do(self, village: Village) -> None:
        empty = Replicas(village.terms, lambda _: SECRET)
        told = blame(village.events(village.logs[0]), empty, village.terms)
        assert not told.exact
        assert told.reproduced == 0
        reach = [share.reach for share in told.ranked() if not share.own]
        assert reach == sorted(reach, reverse=True)
        assert all(value > 0 for value in reach)

    def test_refused_merges_move_nothing(self, new_world: type[Any]) -> None:
        bad = (Score(0.5, 0.8, 20), Score(9.0, 0.1, 20))
        village = make(new_world(4), 3, bad)
        told = blame(village.events(village.logs[0]), village.replicas(), village.terms)
        assert told.merges > 0 == told.committed
        assert {share.reach for share in told.shares.values()} == {0.0}


class TestWithout:
    def test_leaving_out_a_stranger_changes_nothing(self, village: Village) -> None:
        events = village.events(village.logs[0])
        told = counterfactual(events, village.replicas(), village.terms, [PeerId(b"x" * 32)])
        assert told.served.same
        assert (told.changed, told.without_votes, told.lost) == (0, 0, 0)
        newest = [e for e in events if isinstance(e, Merging)][-1].record
        assert replica_hash(told.served.would) == newest.result_hash

    def test_a_mean_without_a_peer_is_the_mean_of_the_others(self, new_world: type[Any]) -> None:
        village = make(new_world(4, rule="mean"), 2)
        events = village.events(village.logs[0])
        liar = village.world.peers[3]
        merging = next(e for e in events if isinstance(e, Merging))
        cut = events[: events.index(merging) + 1]
        told = counterfactual(cut, village.replicas(), village.terms, [liar])
        rows = [row for row in merging.record.contributors if row.peer != liar]
        replicas = village.replicas()
        vectors = [replicas.vector(row.peer, row.step, row.replica_hash) for row in rows]
        assert np.allclose(told.served.would, np.mean(vectors, axis=0), atol=1e-6)
        assert told.changed == told.without_votes == 1

    def test_recorded_steps_are_put_on_top(self, new_world: type[Any]) -> None:
        village = make(new_world(4, rule="mean"), 4)
        events = village.events(village.logs[0])
        at = next(i for i, e in enumerate(events) if isinstance(e, Merging))
        assert isinstance(events[at + 1], Step)
        told = counterfactual(
            events[: at + 2], village.replicas(), village.terms, [village.world.peers[3]]
        )
        assert np.allclose(
            told.replica.would - told.served.would, told.replica.was - told.served.was, atol=1e-5
        )

    def test_below_the_quorum_the_own_replica_goes_on(self, village: Village) -> None:
        others = village.world.peers[1:3]
        events = village.events(village.logs[0])
        told = counterfactual(events, village.replicas(), village.terms, others)
        assert told.alone > 0

    def test_what_cannot_be_made_again_is_kept_and_counted(self, village: Village) -> None:
        gone = village.deltas(1)[1]
        events = village.events(village.logs[0])
        replicas = village.replicas(without=[gone])
        told = counterfactual(events, replicas, village.terms, [village.world.peers[3]])
        merges = sum(isinstance(event, Merging) for event in events)
        assert told.lost == merges - 1
        assert np.isfinite(told.served.would).all()

    def test_the_own_votes_cannot_be_left_out(self, village: Village) -> None:
        with pytest.raises(ValueError, match="own votes"):
            counterfactual(
                village.events(village.logs[0]),
                village.replicas(),
                village.terms,
                [village.world.peers[0]],
            )
