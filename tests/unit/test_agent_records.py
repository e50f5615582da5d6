"""Records of merges and standings: exact round trips, one error for all other bytes."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.policy import Policy
from gossamer_agent.probation import UNBOUNDED, Bounds
from gossamer_agent.records import (
    BODY_BYTES_MAX,
    CONTRIBUTORS_MAX,
    LEFT_OUT_MAX,
    Contributor,
    LeftOut,
    MergeRecord,
    StandingRecord,
)
from gossamer_agent.reputation import Standing
from gossamer_crypto.envelope import OVERHEAD_BYTES
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
    clip=st.floats(width=32),  # what a record keeps of it
    distance=FLOATS,
    loss=FLOATS,
    bounds=st.builds(
        Bounds, st.booleans(), st.none() | st.sampled_from([PeerId(b"a" * 32), PeerId(b"b" * 32)])
    ),
)
LEFT_OUT = st.builds(
    LeftOut,
    peer=HASHES.map(PeerId),
    step=COUNTS,
    reason=st.sampled_from(["quarantined", "banned", "stale", "silent", "another"]),
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
    verdict=WORDS,
    left_out=st.lists(LEFT_OUT, max_size=3).map(tuple),
    rule_version=st.integers(1, 2**32 - 1),
)
STANDINGS = st.builds(
    StandingRecord,
    round=COUNTS,
    peer=HASHES.map(PeerId),
    standing=st.sampled_from(Standing),
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
    verdict="loss 0.300, before 0.400",
    rule_version=2,
    left_out=(LeftOut(peer=PeerId(b"q" * 32), step=3, reason="stale"),),
)
STANDING = StandingRecord(
    round=7, peer=PeerId(b"p" * 32), standing=Standing.QUARANTINED, score=0.3, reason=Reason.FORK
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
    assert again.pack() == MERGE.pack()


@given(STANDINGS)
def test_a_standing_record_comes_back(record: StandingRecord) -> None:
    assert StandingRecord.unpack(record.pack()) == record


def test_a_reason_is_stored_as_its_word() -> None:
    assert StandingRecord.unpack(STANDING.pack()).reason == "fork"


def test_the_largest_merge_record_fits() -> None:
    rows = tuple(
        replace(contributor(n), loss=1.0, bounds=Bounds(True, PeerId(n.to_bytes(32, "little"))))
        for n in range(CONTRIBUTORS_MAX)
    )
    left = tuple(
        LeftOut(peer=PeerId(n.to_bytes(32, "big")), step=n, reason="w" * 64)
        for n in range(LEFT_OUT_MAX)
    )
    raw = replace(MERGE, contributors=rows, left_out=left).pack()
    assert len(raw) <= BODY_BYTES_MAX
    again = MergeRecord.unpack(raw)
    assert (again.contributors, again.left_out) == (rows, left)


def test_a_merge_of_nine_costs_little() -> None:
    """With an entry of a delta without its vector, 319 bytes, it is within 1 500."""
    rows = tuple(contributor(number) for number in range(9))
    alone = replace(MERGE, contributors=rows, left_out=()).pack()
    assert len(alone) <= 9 * 84 + 140
    assert 319 + OVERHEAD_BYTES + len(alone) <= 1500
    busy = tuple(
        replace(row, loss=1.5, bounds=Bounds(branch=rows[number % 2].peer))
        for number, row in enumerate(rows)
    )
    left = tuple(LeftOut(peer=row.peer, step=1, reason="quarantined") for row in rows[:4])
    assert len(replace(MERGE, contributors=busy, left_out=left).pack()) <= 1400


def test_a_step_above_four_bytes_widens_its_column() -> None:
    rows = tuple(replace(contributor(n), step=2**32 - 1) for n in range(4))
    left = tuple(LeftOut(peer=row.peer, step=2**32 - 1, reason="stale") for row in rows)
    small = replace(MERGE, contributors=rows, left_out=left)
    more = (replace(rows[0], step=2**32), *rows[1:])
    late = (replace(left[0], step=2**63 - 1), *left[1:])
    large = replace(MERGE, contributors=more, left_out=late)
    assert len(large.pack()) == len(small.pack()) + 4 * (4 + 4)
    assert repr(MergeRecord.unpack(small.pack())) == repr(small)
    assert repr(MergeRecord.unpack(large.pack())) == repr(large)


def test_a_clip_factor_is_kept_as_the_float32_next_to_it() -> None:
    third = replace(MERGE, contributors=(replace(contributor(1), clip=1 / 3),))
    (row,) = MergeRecord.unpack(third.pack()).contributors
    assert row.clip == float(np.float32(1 / 3)) != 1 / 3


def test_the_version_of_the_rule_is_named() -> None:
    assert MergeRecord.unpack(MERGE.pack()).rule_version == 2
    for version in (0, -1, 2**32, "2", None):
        assert refusal(MERGE, with_field(MERGE, 20, version)) is Reason.BAD_FRAME


def test_losses_that_nobody_asked_for_cost_nothing() -> None:
    asked = replace(MERGE, contributors=(replace(contributor(1), loss=0.5), contributor(2)))
    assert len(asked.pack()) == len(MERGE.pack()) + 16
    first, second = MergeRecord.unpack(asked.pack()).contributors
    assert first.loss == 0.5
    assert math.isnan(second.loss)


def version_1(record: MergeRecord) -> bytes:
    """The record as the first version wrote it: the same columns and nothing after them."""
    return msgspec.msgpack.encode([1, *msgspec.msgpack.decode(version_2(record))[1:12]])


def version_2(record: MergeRecord) -> bytes:
    """The record as the second version wrote it: nothing left out, wide columns, no version."""
    fields = msgspec.msgpack.decode(record.pack())[:20]
    rows, left = record.contributors, record.left_out
    fields[0] = 2
    fields[4] = struct.pack(f">{len(rows)}Q", *(row.step for row in rows))
    fields[7] = struct.pack(f">{len(rows)}d", *(row.clip for row in rows))
    fields[14] = bytes(row.bounds.newcomer for row in rows)
    fields[16] = fields[16] or bytes(2 * len(rows))
    fields[18] = struct.pack(f">{len(left)}Q", *(each.step for each in left))
    return msgspec.msgpack.encode(fields)


@given(MERGES)
def test_a_merge_record_of_version_1_is_read(record: MergeRecord) -> None:
    rows = tuple(replace(row, loss=math.nan, bounds=UNBOUNDED) for row in record.contributors)
    old = replace(record, contributors=rows, verdict="", left_out=(), rule_version=1)
    assert repr(MergeRecord.unpack(version_1(record))) == repr(old)


@given(MERGES)
def test_a_merge_record_of_version_2_is_read(record: MergeRecord) -> None:
    old = replace(record, rule_version=1)
    assert repr(MergeRecord.unpack(version_2(record))) == repr(old)


def test_what_the_second_version_wrote_is_read_byte_by_byte() -> None:
    head = "dc0014" + "02" + "07" + "a46d65616e"
    raw = bytes.fromhex(head) + b"\xc4\x20" + b"p" * 32
    raw += b"\xc4\x08" + bytes(7) + b"\x05" + b"\xc4\x20" + b"h" * 32 + b"\xc4\x04\0\x01\0\0"
    raw += b"\xc4\x08" + struct.pack(">d", 1 / 3) + b"\xc4\x08?\xf0\0\0\0\0\0\0"
    raw += b"\xc4\x18" + bytes(24) + b"\xc4\x20" + b"r" * 32 + b"\xc3"
    raw += b"\xa2ok" + b"\xc4\x00" + b"\xc4\x01\x01" + b"\xc4\x20" + b"p" * 32
    raw += b"\xc4\x02\0\x01" + b"\xc4\x20" + b"q" * 32 + b"\xc4\x08" + bytes(7) + b"\x03"
    raw += b"\xa5stale"
    record = MergeRecord.unpack(raw)
    assert (record.round, record.rule, record.verdict, record.rule_version) == (7, "mean", "ok", 1)
    (row,) = record.contributors
    assert (row.step, row.clip, row.bounds) == (5, 1 / 3, Bounds(True, PeerId(b"p" * 32)))
    assert record.left_out == (LeftOut(peer=PeerId(b"q" * 32), step=3, reason="stale"),)
    for size in range(len(raw)):
        assert refusal(MERGE, raw[:size]) is Reason.BAD_FRAME


def test_what_the_first_version_wrote_is_read_byte_by_byte() -> None:
    raw = bytes.fromhex("9c0107a46d65616ec4") + b"\x20" + b"p" * 32
    raw += b"\xc4\x08" + bytes(7) + b"\x05" + b"\xc4\x20" + b"h" * 32 + b"\xc4\x04\0\x01\0\0"
    raw += b"\xc4\x08?\xf0\0\0\0\0\0\0" * 2  # 1.0, twice
    raw += b"\xc4\x18" + bytes(24) + b"\xc4\x20" + b"r" * 32 + b"\xc3"
    record = MergeRecord.unpack(raw)
    assert (record.round, record.rule, record.committed) == (7, "mean", True)
    (row,) = record.contributors
    assert (row.peer, row.step, row.votes, row.distance) == (b"p" * 32, 5, 1 << 16, 1.0)
    for size in range(len(raw)):
        assert refusal(MERGE, raw[:size]) is Reason.BAD_FRAME


@pytest.mark.parametrize("quarantined", [True, False])
def test_a_standing_record_of_version_1_is_read(quarantined: bool) -> None:
    raw = msgspec.msgpack.encode((1, 7, b"p" * 32, quarantined, 0.3, "fork"))
    standing = Standing.QUARANTINED if quarantined else Standing.ADMITTED
    assert StandingRecord.unpack(raw) == replace(STANDING, standing=standing)


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


@pytest.mark.parametrize("at", [*range(3, 10), 13, 14, 15, 16, 17, 18])
@pytest.mark.parametrize("change", [b"", b"x" * 7, b"x" * 33, b"x" * 96], ids=len)
def test_columns_that_differ_in_length_are_refused(at: int, change: bytes) -> None:
    if change or at not in (13, 14, 15, 16):  # losses, newcomers and branches may be left out
        assert refusal(MERGE, with_field(MERGE, at, change)) is Reason.BAD_FRAME


def test_groups_that_are_not_named_are_refused() -> None:
    assert refusal(MERGE, with_field(MERGE, 16, b"\0\0\0\1")) is Reason.BAD_FRAME
    assert refusal(MERGE, with_field(MERGE, 14, b"\0\2")) is Reason.BAD_FRAME


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 4),
        (0, 2),
        (0, 1),
        (1, -1),
        (1, 1.5),
        (2, "w" * 65),
        (2, b"mean"),
        (10, b"short"),
        (11, 1),
        (11, None),
        (12, "w" * 65),
        (12, None),
        (19, ""),
        (19, "stale stale"),
        (19, b"stale"),
    ],
)
def test_what_no_merge_record_says_is_refused(at: int, value: object) -> None:
    assert refusal(MERGE, with_field(MERGE, at, value)) is Reason.BAD_FRAME


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 3),
        (0, 1),
        (1, -1),
        (2, b"p" * 31),
        (2, "p"),
        (3, 1),
        (3, True),
        (3, "good"),
        (4, "0.5"),
        (5, "w" * 65),
        (5, b"fork"),
    ],
)
def test_what_no_standing_record_says_is_refused(at: int, value: object) -> None:
    assert refusal(STANDING, with_field(STANDING, at, value)) is Reason.BAD_FRAME


def test_words_that_are_not_utf8_are_refused() -> None:
    assert refusal(MERGE, MERGE.pack().replace(b"gossamer", b"\xff" * 8)) is Reason.BAD_FRAME
    assert refusal(STANDING, STANDING.pack().replace(b"fork", b"\xc0" * 4)) is Reason.BAD_FRAME


def test_the_largest_view_and_the_own_input_have_room() -> None:
    view = Policy(view_size=1024)
    assert Policy.unpack(view.pack()) == view
    rows = tuple(contributor(number) for number in range(1 + view.view_size))
    assert len(MergeRecord.unpack(replace(MERGE, contributors=rows).pack()).contributors) == 1025


def test_a_crowd_of_contributors_is_refused() -> None:
    rows = tuple(contributor(number) for number in range(CONTRIBUTORS_MAX + 1))
    assert refusal(MERGE, replace(MERGE, contributors=rows).pack()) is Reason.BAD_FRAME


def test_an_oversized_record_is_refused_before_it_is_decoded() -> None:
    assert refusal(MERGE, b"\x91" * (BODY_BYTES_MAX + 1)) is Reason.TOO_LARGE
    assert refusal(STANDING, b"\x91" * (BODY_BYTES_MAX + 1)) is Reason.TOO_LARGE
