"""Records of merges and standings: exact round trips, one error for all other bytes."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.records import (
    BODY_BYTES_MAX,
    CONTRIBUTORS_MAX,
    Contributor,
    MergeRecord,
    StandingRecord,
)
from gossamer_crypto.errors import FeedError, Reason
from gossamer_crypto.identity import PeerId

HASHES = st.binary(min_size=32, max_size=32)
WORDS = st.text(st.characters(codec="utf-8"), max_size=64)
COUNTS = st.integers(0, 2**63 - 1)
FLOATS = st.floats()
CONTRIBUTORS = st.builds(
    Contributor,
    peer=HASHES.map(PeerId),
    step=COUNTS,
    replica_hash=HASHES,
    votes=st.integers(0, 2**32 - 1),
    clip=FLOATS,
    distance=FLOATS,
)
MERGES = st.builds(
    MergeRecord,
    round=COUNTS,
    rule=WORDS,
    contributors=st.lists(CONTRIBUTORS, max_size=4).map(tuple),
    radius=FLOATS,
    result_hash=HASHES,
    loss_before=FLOATS,
    loss_after=FLOATS,
    committed=st.booleans(),
)
STANDINGS = st.builds(
    StandingRecord,
    round=COUNTS,
    peer=HASHES.map(PeerId),
    quarantined=st.booleans(),
    score=st.floats(0, 1),
    reason=WORDS,
)


def contributor(number: int) -> Contributor:
    return Contributor(
        peer=PeerId(number.to_bytes(32, "big")),
        step=number,
        replica_hash=bytes(32),
        votes=1 << 16,
        clip=0.5,
        distance=math.inf,
    )


MERGE = MergeRecord(
    round=7,
    rule="gossamer",
    contributors=(contributor(1), contributor(2)),
    radius=0.25,
    result_hash=b"r" * 32,
    loss_before=math.nan,
    loss_after=-0.0,
    committed=True,
)
STANDING = StandingRecord(
    round=7, peer=PeerId(b"p" * 32), quarantined=True, score=0.3, reason=Reason.FORK
)
Record = MergeRecord | StandingRecord


def refusal(of: Record, raw: bytes) -> Reason:
    with pytest.raises(FeedError) as caught:
        of.unpack(raw)
    return caught.value.reason


def with_field(record: Record, at: int, value: object) -> bytes:
    fields = msgspec.msgpack.decode(record.pack())
    fields[at] = value
    return msgspec.msgpack.encode(fields)


@given(MERGES)
def test_a_merge_record_comes_back(record: MergeRecord) -> None:
    again = MergeRecord.unpack(record.pack())
    # NaN equals nothing, so its bits are compared; what prints alike is alike in all else.
    assert again.pack() == record.pack()
    assert repr(again) == repr(record)


def test_a_merge_without_gate_keeps_its_missing_losses() -> None:
    again = MergeRecord.unpack(MERGE.pack())
    assert math.isnan(again.loss_before)
    assert math.copysign(1.0, again.loss_after) == -1.0
    assert replace(again, loss_before=0.0) == replace(MERGE, loss_before=0.0)


@given(STANDINGS)
def test_a_standing_record_comes_back(record: StandingRecord) -> None:
    assert StandingRecord.unpack(record.pack()) == record


def test_a_reason_is_stored_as_its_word() -> None:
    assert StandingRecord.unpack(STANDING.pack()).reason == "fork"


def test_the_largest_merge_record_fits() -> None:
    rows = tuple(contributor(number) for number in range(CONTRIBUTORS_MAX))
    raw = replace(MERGE, contributors=rows).pack()
    assert len(raw) <= BODY_BYTES_MAX
    assert MergeRecord.unpack(raw).contributors == rows


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_one_error(raw: bytes) -> None:
    for record in (MERGE, STANDING):
        with suppress(FeedError):
            record.unpack(raw)


@given(
    st.sampled_from([MERGE, STANDING]), st.integers(0), st.binary(max_size=4), st.integers(0, 40)
)
def test_a_damaged_record_raises_one_error(record: Record, at: int, patch: bytes, cut: int) -> None:
    raw = record.pack()
    at %= len(raw)
    with suppress(FeedError):
        record.unpack(raw[:at] + patch + raw[at + cut :])


@pytest.mark.parametrize("record", [MERGE, STANDING], ids=["merge", "standing"])
def test_every_cut_and_every_tail_is_refused(record: Record) -> None:
    raw = record.pack()
    for size in range(len(raw)):
        assert refusal(record, raw[:size]) is Reason.BAD_FRAME
    assert refusal(record, raw + b"\0") is Reason.BAD_FRAME


@pytest.mark.parametrize("at", range(3, 10))
@pytest.mark.parametrize("change", [b"", b"x" * 7, b"x" * 32, b"x" * 96], ids=len)
def test_columns_that_differ_in_length_are_refused(at: int, change: bytes) -> None:
    assert refusal(MERGE, with_field(MERGE, at, change)) is Reason.BAD_FRAME


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 2), (1, -1), (1, 1.5), (2, "w" * 65), (2, b"mean"), (10, b"short"), (11, 1), (11, None)],
)
def test_what_no_merge_record_says_is_refused(at: int, value: object) -> None:
    assert refusal(MERGE, with_field(MERGE, at, value)) is Reason.BAD_FRAME


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 2), (1, -1), (2, b"p" * 31), (2, "p"), (3, 1), (4, "0.5"), (5, "w" * 65), (5, b"fork")],
)
def test_what_no_standing_record_says_is_refused(at: int, value: object) -> None:
    assert refusal(STANDING, with_field(STANDING, at, value)) is Reason.BAD_FRAME


def test_words_that_are_not_utf8_are_refused() -> None:
    assert refusal(MERGE, MERGE.pack().replace(b"gossamer", b"\xff" * 8)) is Reason.BAD_FRAME
    assert refusal(STANDING, STANDING.pack().replace(b"fork", b"\xc0" * 4)) is Reason.BAD_FRAME


def test_a_crowd_of_contributors_is_refused() -> None:
    rows = tuple(contributor(number) for number in range(CONTRIBUTORS_MAX + 1))
    assert refusal(MERGE, replace(MERGE, contributors=rows).pack()) is Reason.BAD_FRAME


def test_an_oversized_record_is_refused_before_it_is_decoded() -> None:
    assert refusal(MERGE, b"\x91" * (BODY_BYTES_MAX + 1)) is Reason.TOO_LARGE
    assert refusal(STANDING, b"\x91" * (BODY_BYTES_MAX + 1)) is Reason.TOO_LARGE
