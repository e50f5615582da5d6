"""Feeds: one chain per author, and every way to break it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.envelope import (
    Envelope,
    Head,
    Kind,
    open_envelope,
    parse_envelope,
    parse_head,
    seal,
)
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.errors import EnvelopeError, FeedError, GossamerError, Reason
from gossamer_crypto.feed import (
    FIRST_PREV,
    WINDOW_ENTRIES,
    FeedReader,
    FeedWriter,
    Verdict,
    verify_chain,
)
from gossamer_crypto.identity import Identity
from gossamer_crypto.labels import ENVELOPE_SIG

AUTHOR = Identity.from_seed(b"a" * 32)
OTHER = Identity.from_seed(b"o" * 32)
SWARM = b"w" * 32
EPOCH = FixedEpoch(b"s" * 32, epoch=2)


def salts(name: bytes = b"") -> Callable[[int], bytes]:
    numbers = count()
    return lambda size: hashlib.sha256(name + next(numbers).to_bytes(8, "big")).digest()[:size]


def writer(
    identity: Identity = AUTHOR, swarm: bytes = SWARM, incarnation: int = 0, name: bytes = b""
) -> FeedWriter:
    return FeedWriter(identity, swarm, EPOCH, salts(name), incarnation=incarnation)


def feed(size: int, author: FeedWriter | None = None) -> list[Envelope]:
    author = author or writer()
    kinds = [Kind.START] + [Kind.DELTA] * (size - 1)
    return [author.append(kind, bytes([n % 256])) for n, kind in enumerate(kinds[:size])]


def unsigned_heads(size: int, incarnation: int = 0, branch: int = 0) -> list[Head]:
    """A long chain, cheaply: a reader is asked before and after signatures, never about them."""
    template = feed(1)[0].header
    heads: list[Head] = []
    for seq in range(size):
        prev = heads[-1].entry_hash if heads else FIRST_PREV
        header = replace(template, incarnation=incarnation, seq=seq, prev=prev)
        body_hash = hashlib.sha256(b"%d-%d" % (branch, seq)).digest()
        heads.append(parse_head(header.pack(), body_hash, bytes(64)))
    return heads


def refusal(reader: FeedReader, head: Head) -> Reason:
    """The reason for which `check` and `record` both refuse; neither may change anything."""
    before = reader.highest
    with pytest.raises(FeedError) as peeked:
        reader.check(head)
    with pytest.raises(FeedError) as recorded:
        reader.record(head)
    assert reader.highest is before
    assert recorded.value.reason is peeked.value.reason
    return peeked.value.reason


def reader_of(*heads: Head) -> FeedReader:
    reader = FeedReader(AUTHOR.peer_id)
    for head in heads:
        assert reader.check(head) is Verdict.NEW
        reader.record(head)
    return reader


class TestWriter:
    def test_entries_are_numbered_from_zero_and_chained_by_hash(self) -> None:
        author = writer(incarnation=4)
        assert author.head is None
        entries = feed(5, author)
        assert [entry.header.seq for entry in entries] == [0, 1, 2, 3, 4]
        assert entries[0].header.prev == bytes(32)
        for before, after in pairwise(entries):
            assert after.header.prev == before.entry_hash
        assert author.head == entries[-1].head
        assert {entry.header.incarnation for entry in entries} == {4}
        for entry in entries:
            entry.head.verify()

    def test_bodies_open_with_the_secret_of_their_epoch(self) -> None:
        for number, entry in enumerate(feed(3)):
            secret = EPOCH.secret(entry.header.epoch)
            assert secret is not None
            assert open_envelope(entry, secret) == bytes([number])

    def test_a_stored_head_is_continued(self) -> None:
        entries = feed(3)
        again = FeedWriter(AUTHOR, SWARM, EPOCH, salts(b"again"), head=entries[-1].head)
        entries.append(again.append(Kind.DELTA, b"later"))
        assert verify_chain(entries).ok
        assert entries[-1].header.seq == 3

    def test_salts_are_fresh_for_every_entry(self) -> None:
        entries = feed(10)
        assert len({entry.header.salt for entry in entries}) == 10
        assert len({entry.header.commitment for entry in entries}) == 10

    def test_a_feed_starts_once(self) -> None:
        author = writer()
        feed(2, author)
        before = author.head
        with pytest.raises(ValueError, match="once"):
            author.append(Kind.START, b"")
        assert author.head is before

    def test_without_the_secret_of_the_epoch_nothing_is_appended(self) -> None:
        class Lost(FixedEpoch):
            def secret(self, epoch: int) -> bytes | None:
                return None

        author = FeedWriter(AUTHOR, SWARM, Lost(b"s" * 32), salts())
        with pytest.raises(GossamerError, match="no key for epoch 0"):
            author.append(Kind.DELTA, b"")
        assert author.head is None

    def test_another_feeds_head_is_not_continued(self) -> None:
        head = feed(1)[0].head
        damaged = replace(head, signature=bytes(64))
        for identity, swarm, incarnation, resumed, told in (
            (OTHER, SWARM, 0, head, "not of this device's key"),
            (AUTHOR, b"z" * 32, 0, head, "another swarm"),
            (AUTHOR, SWARM, 1, head, "incarnation 0, not 1"),
            (AUTHOR, SWARM, 0, damaged, "damaged"),
        ):
            with pytest.raises(GossamerError, match=told) as caught:
                FeedWriter(identity, swarm, EPOCH, salts(), incarnation=incarnation, head=resumed)
            assert "\n" not in str(caught.value)


class TestReader:
    def test_new_until_recorded_then_seen(self) -> None:
        reader = FeedReader(AUTHOR.peer_id)
        for head in unsigned_heads(5):
            assert reader.check(head) is Verdict.NEW
            assert reader.check(head) is Verdict.NEW
            reader.record(head)
            assert reader.check(head) is Verdict.SEEN
            assert reader.highest is head

    def test_recording_again_changes_nothing(self) -> None:
        heads = unsigned_heads(3)
        reader = reader_of(*heads)
        reader.record(heads[0])
        assert reader.highest is heads[2]
        assert [reader.check(head) for head in heads] == [Verdict.SEEN] * 3

    def test_gaps_and_disorder_are_normal(self) -> None:
        heads = unsigned_heads(9)
        reader = reader_of(heads[4], heads[8], heads[1], heads[0], heads[5])
        assert reader.highest is heads[8]
        assert reader.check(heads[4]) is Verdict.SEEN
        assert reader.check(heads[3]) is Verdict.NEW

    def test_below_the_window_is_replayed_within_it_is_not(self) -> None:
        heads = unsigned_heads(200)
        reader = reader_of(heads[150])
        assert refusal(reader, heads[150 - WINDOW_ENTRIES]) is Reason.REPLAYED
        assert refusal(reader, heads[0]) is Reason.REPLAYED
        assert reader.check(heads[150 - WINDOW_ENTRIES + 1]) is Verdict.NEW

    def test_what_slides_out_of_the_window_stays_out(self) -> None:
        heads = unsigned_heads(200)
        reader = reader_of(*heads[:10])
        reader.record(heads[199])
        for head in heads[:10]:
            assert refusal(reader, head) is Reason.REPLAYED

    def test_two_entries_with_one_seq_are_a_fork(self) -> None:
        heads, branch = unsigned_heads(5), unsigned_heads(5, branch=1)
        reader = reader_of(heads[0], heads[1], heads[3])
        for seq in (0, 1, 3):
            assert refusal(reader, branch[seq]) is Reason.FORK

    def test_an_entry_that_does_not_follow_is_a_broken_chain(self) -> None:
        heads, branch = unsigned_heads(5), unsigned_heads(5, branch=1)
        assert refusal(reader_of(heads[1]), branch[2]) is Reason.BROKEN_CHAIN
        assert refusal(reader_of(heads[3]), branch[2]) is Reason.BROKEN_CHAIN

    def test_seq_zero_follows_nothing(self) -> None:
        head = unsigned_heads(1)[0]
        header = replace(head.header, prev=b"p" * 32)
        forged = parse_head(header.pack(), head.ciphertext_hash, head.signature)
        assert refusal(FeedReader(AUTHOR.peer_id), forged) is Reason.BROKEN_CHAIN

    def test_the_entry_of_another_author_is_refused(self) -> None:
        reader = FeedReader(OTHER.peer_id)
        assert refusal(reader, unsigned_heads(1)[0]) is Reason.BROKEN_CHAIN

    def test_a_resigned_entry_is_the_same_entry(self) -> None:
        head = unsigned_heads(1)[0]
        reader = reader_of(head)
        assert reader.check(replace(head, signature=b"1" * 64)) is Verdict.SEEN

    def test_a_higher_incarnation_replaces_the_lower(self) -> None:
        old, new = unsigned_heads(9), unsigned_heads(9, incarnation=1)
        reader = reader_of(*old)
        assert reader.check(new[2]) is Verdict.NEW
        assert reader.check(old[8]) is Verdict.SEEN
        reader.record(new[2])
        assert reader.highest is new[2]
        for head in old:
            assert refusal(reader, head) is Reason.REPLAYED
        assert reader.check(new[1]) is Verdict.NEW

    def test_forgetting_makes_the_window_new_again_but_no_fork(self) -> None:
        heads, branch = unsigned_heads(100), unsigned_heads(100, branch=1)
        reader = reader_of(*heads)
        reader.forget()
        assert reader.highest is heads[99]
        assert refusal(reader, heads[99 - WINDOW_ENTRIES]) is Reason.REPLAYED
        for head, forked in zip(heads[40:], branch[40:], strict=True):
            assert refusal(reader, forked) is Reason.FORK
            assert reader.check(head) is Verdict.NEW
            reader.record(head)
            assert reader.check(head) is Verdict.SEEN
        assert reader.highest is heads[99]

    def test_forgetting_nothing_is_nothing(self) -> None:
        reader = FeedReader(AUTHOR.peer_id)
        reader.forget()
        assert reader.highest is None
        assert reader.check(unsigned_heads(1)[0]) is Verdict.NEW

    def test_memory_is_bounded_by_the_window(self) -> None:
        reader = FeedReader(AUTHOR.peer_id)
        for head in unsigned_heads(500):
            reader.record(head)
        assert len(reader._links) == len(reader._seen) == WINDOW_ENTRIES

    @settings(max_examples=30)
    @given(st.integers(0, 2**32), st.integers(1, 300), st.integers(0, 120))
    def test_honest_entries_are_accepted_once_and_lost_only_below_the_window(
        self, seed: int, size: int, disorder: int
    ) -> None:
        rng = Random(seed)
        arrivals = [head for head in unsigned_heads(size) for _ in range(rng.choice((0, 1, 2)))]
        arrivals.sort(key=lambda head: head.header.seq + rng.random() * disorder)
        reader = FeedReader(AUTHOR.peer_id)
        accepted: set[int] = set()
        for head in arrivals:
            seq = head.header.seq
            highest = max(accepted, default=-1)
            try:
                verdict = reader.check(head)
            except FeedError as error:
                assert error.reason is Reason.REPLAYED
                assert seq <= highest - WINDOW_ENTRIES
                continue
            assert (verdict is Verdict.SEEN) == (seq in accepted)
            reader.record(head)
            accepted.add(seq)
        assert (reader.highest is None) == (not accepted)
        if reader.highest is not None:
            assert reader.highest.header.seq == max(accepted)

    @pytest.mark.slow
    def test_nothing_is_accepted_twice_among_100_000_replays(self) -> None:
        heads = unsigned_heads(2000)
        rng = Random(7)
        reader = FeedReader(AUTHOR.peer_id)
        accepted: set[int] = set()
        for arrival in range(100_000):
            newest = min(arrival // 50, len(heads) - 1)
            head = heads[rng.randint(max(0, newest - 100), newest)]
            try:
                verdict = reader.check(head)
            except FeedError:
                continue
            if verdict is Verdict.NEW:
                assert head.header.seq not in accepted
                accepted.add(head.header.seq)
                reader.record(head)
        assert len(accepted) > 1500


class TestVerifyChain:
    def test_a_whole_feed_is_verified_without_a_secret(self) -> None:
        entries = feed(20)
        report = verify_chain(iter(entries), SWARM)
        assert report.ok
        assert report.author == AUTHOR.peer_id
        assert report.entries == 20
        assert report.head_hash == entries[-1].entry_hash
        assert report.bad_seq is None
        assert report.reason == ""

    def test_an_empty_feed_is_sound(self) -> None:
        report = verify_chain([])
        assert (report.ok, report.entries, report.author, report.head_hash) == (
            True,
            0,
            None,
            None,
        )

    @pytest.mark.parametrize("bad", [0, 1, 7, 19])
    def test_an_altered_ciphertext_is_found_where_it_is(self, bad: int) -> None:
        entries = feed(20)
        entries[bad] = replace(entries[bad], ciphertext=bytes(len(entries[bad].ciphertext)))
        report = verify_chain(entries)
        assert not report.ok
        assert report.bad_seq == report.entries == bad
        assert report.head_hash == (entries[bad - 1].entry_hash if bad else None)

    def test_each_kind_of_damage_is_found_where_it_is(self) -> None:
        for name, damage, told in damages():
            for swarm in (SWARM, None):
                report = verify_chain(damage(feed(6)), swarm)
                assert not report.ok, name
                assert report.bad_seq == report.entries == 3, name
                assert told in report.reason, name

    def test_a_feed_of_another_swarm_is_refused_at_once(self) -> None:
        report = verify_chain(feed(3), b"z" * 32)
        assert (report.ok, report.bad_seq, report.entries) == (False, 0, 0)
        assert "wrong-swarm" in report.reason

    def test_a_cut_tail_is_sound_and_shorter(self) -> None:
        report = verify_chain(feed(10)[:6])
        assert (report.ok, report.entries) == (True, 6)

    def test_a_row_that_does_not_parse_is_a_bad_entry(self) -> None:
        def rows() -> Iterator[Envelope]:
            yield from feed(3)
            raise EnvelopeError(Reason.BAD_HEADER, "5 bytes, not 194")

        report = verify_chain(rows())
        assert (report.ok, report.bad_seq, report.entries) == (False, 3, 3)
        assert report.reason == "bad-header: 5 bytes, not 194"

    def test_our_own_disk_errors_are_no_verdict_on_the_feed(self) -> None:
        def rows() -> Iterator[Envelope]:
            yield from feed(3)
            raise GossamerError("the disk went away")

        with pytest.raises(GossamerError, match="went away"):
            verify_chain(rows())

    @given(st.data())
    def test_every_mutation_is_found_or_leaves_an_honest_prefix(self, data: st.DataObject) -> None:
        """Dropping, repeating and swapping never yields a sound feed but the one signed."""
        entries = feed(6)
        order = data.draw(st.lists(st.integers(0, 5), max_size=8))
        report = verify_chain([entries[number] for number in order])
        sound = 0
        while sound < len(order) and order[sound] == sound:
            sound += 1
        assert report.entries == sound
        assert report.ok == (sound == len(order))


def damages() -> Iterator[tuple[str, Callable[[list[Envelope]], list[Envelope]], str]]:
    """Ways in which entry 3 of a feed of six can be wrong, and what the report says of it."""

    def with_third(make: Callable[[Envelope], Envelope]) -> Callable[..., list[Envelope]]:
        return lambda entries: [*entries[:3], make(entries[3]), *entries[4:]]

    def sealed_by(
        identity: Identity, *, swarm: bytes = SWARM, incarnation: int = 0, kind: Kind = Kind.DELTA
    ) -> Callable[[Envelope], Envelope]:
        return lambda entry: seal(
            identity,
            secret=b"s" * 32,
            swarm=swarm,
            epoch=2,
            kind=kind,
            incarnation=incarnation,
            seq=entry.header.seq,
            prev=entry.header.prev,
            plaintext=b"",
            salt=b"x" * 32,
        )

    def unsigned(entry: Envelope) -> Envelope:
        return parse_envelope(entry.head.header_bytes, entry.ciphertext, bytes(64))

    def mislabelled(entry: Envelope) -> Envelope:
        header = replace(entry.header, epoch=9)
        return replace(entry, head=replace(entry.head, header=header))

    def exchanged(entry: Envelope) -> Envelope:
        body = b"y" * len(entry.ciphertext)
        body_hash = hashlib.sha256(body).digest()
        signature = OTHER.sign(ENVELOPE_SIG, entry.head.header_bytes + body_hash)
        return parse_envelope(entry.head.header_bytes, body, signature)

    other_branch = feed(6, writer(name=b"other branch"))
    yield "dropped", lambda entries: entries[:3] + entries[4:], "seq 4 instead of 3"
    yield "repeated", lambda entries: entries[:3] + entries[2:], "seq 2 instead of 3"
    yield "spliced", lambda entries: entries[:3] + other_branch[3:], "broken-chain"
    yield "unsigned", with_third(unsigned), "bad-signature"
    yield "signed by another", with_third(exchanged), "bad-signature"
    yield "mislabelled", with_third(mislabelled), "disagree"
    yield "another author", with_third(sealed_by(OTHER)), "another author"
    yield "another swarm", with_third(sealed_by(AUTHOR, swarm=b"z" * 32)), "wrong-swarm"
    yield "another life", with_third(sealed_by(AUTHOR, incarnation=1)), "incarnation"
    yield "started again", with_third(sealed_by(AUTHOR, kind=Kind.START)), "starts once"
