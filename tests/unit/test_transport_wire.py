from __future__ import annotations

import time

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.envelope import Envelope, Kind, seal
from gossamer_crypto.errors import Reason
from gossamer_crypto.identity import Identity
from gossamer_transport import flat
from gossamer_transport.errors import WireError
from gossamer_transport.limits import Limits
from gossamer_transport.wire import (
    EntryFrame,
    FollowFrame,
    Frame,
    HeadFrame,
    UnfollowFrame,
    WantFrame,
    pack_frame,
    unpack_frame,
)

LIMITS = Limits(frame_bytes_max=1_000_000)


def envelope(plaintext: bytes = b"hello") -> Envelope:
    return seal(
        Identity.from_seed(bytes(32)),
        secret=b"\x11" * 32,
        swarm=b"\x22" * 32,
        epoch=0,
        kind=Kind.DELTA,
        incarnation=0,
        seq=3,
        prev=b"\x33" * 32,
        plaintext=plaintext,
        salt=b"\x44" * 32,
    )


FRAMES: list[Frame] = [
    EntryFrame(envelope()),
    EntryFrame(envelope(b"")),
    EntryFrame(envelope(b"x" * 70_000)),
    HeadFrame(envelope().head),
    FollowFrame(0),
    FollowFrame(2**63 - 1),
    UnfollowFrame(),
    WantFrame(bytes(range(32))),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_back(frame: Frame) -> None:
    assert unpack_frame(pack_frame(frame), LIMITS) == frame


def test_the_received_bytes_are_kept() -> None:
    received = unpack_frame(pack_frame(EntryFrame(envelope())), LIMITS)
    assert isinstance(received, EntryFrame)
    assert received.envelope.head.header_bytes == envelope().head.header_bytes
    received.envelope.head.verify()


def test_framing_costs_a_few_bytes() -> None:
    for size in (0, 100, 1000, 100_000):
        entry = envelope(b"x" * size)
        assert len(pack_frame(EntryFrame(entry))) - entry.size <= 11


def test_the_size_is_checked_before_decoding() -> None:
    raw = pack_frame(EntryFrame(envelope(b"x" * 1000)))
    unpack_frame(raw, Limits(frame_bytes_max=len(raw)))
    with pytest.raises(WireError) as caught:
        unpack_frame(raw, Limits(frame_bytes_max=len(raw) - 1))
    assert caught.value.reason is Reason.TOO_LARGE


def tree(depth: int) -> list[object]:
    return [tree(depth - 1) for _ in range(4)] if depth else []


BOMBS = {
    "a million empty lists": b"\xdd" + (999_000).to_bytes(4, "big") + b"\x90" * 999_000,
    "a tree within every length limit": msgpack.packb(tree(8)),
    "a tree in a field": msgpack.packb([1, tree(8), b"", b""]),
    "depth": b"\x91" * 999_000,
    "depth of maps": b"\x81\x01" * 400_000,
    "a map of lists": b"\xdf" + (400_000).to_bytes(4, "big") + b"\x01\x90" * 400_000,
    "a str": b"\x92\x05\xdb" + (900_000).to_bytes(4, "big") + b"a" * 900_000,
    "4 G fields": b"\xdd\xff\xff\xff\xff" + b"\x01" * 900_000,
    "4 GiB in a bin": b"\x92\x05\xc6\xff\xff\xff\xff" + b"\x01" * 900_000,
    "4 G pairs": b"\x92\x05\xdf\xff\xff\xff\xff" + b"\x01" * 900_000,
    "an extension of 4 GiB": b"\x92\x05\xc9\xff\xff\xff\xff\x01" + b"\x01" * 900_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_cheaply(name: str) -> None:
    began = time.process_time()
    with pytest.raises(WireError) as caught:
        unpack_frame(BOMBS[name], LIMITS)
    assert caught.value.reason is Reason.BAD_FRAME
    assert time.process_time() - began < 0.05


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_a_frame_or_are_refused_with_one_type(raw: bytes) -> None:
    try:
        frame = unpack_frame(raw, LIMITS)
    except WireError:
        return
    assert unpack_frame(pack_frame(frame), LIMITS) == frame


PACKED = [pack_frame(frame) for frame in FRAMES if len(pack_frame(frame)) < 1000]


@settings(max_examples=70)
@given(
    raw=st.sampled_from(PACKED),
    edits=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 999),
    tail=st.binary(max_size=3),
)
def test_altered_frames_are_a_frame_or_are_refused_with_one_type(
    raw: bytes, edits: list[tuple[int, int]], cut: int | None, tail: bytes
) -> None:
    altered = bytearray(raw)
    for position, value in edits:
        altered[position % len(altered)] = value
    received = bytes(altered[:cut]) + tail
    try:
        frame = unpack_frame(received, LIMITS)
    except WireError:
        return
    assert unpack_frame(pack_frame(frame), LIMITS) == frame


@settings(max_examples=25)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner),
        max_leaves=12,
    )
)
def test_any_msgpack_value_is_a_flat_array_or_is_refused(value: object) -> None:
    try:
        fields = flat.unpack(msgpack.packb(value), fields_max=4, bin_bytes_max=1000)
    except ValueError:
        return
    assert fields == value
    assert all(type(field) in (int, bytes) for field in fields)


@pytest.mark.parametrize("field", [True, False, None, 1.0, "", "a", -1, 2**63, [], {}])
def test_what_is_no_int_and_no_bin_is_refused(field: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        flat.unpack(msgpack.packb([field]), fields_max=1, bin_bytes_max=100)


@pytest.mark.parametrize(
    ("field", "limit"),
    [
        (list(range(9)), "max_array_len"),
        ({0: 0}, "max_map_len"),
        ("a", "max_str_len"),
        (msgpack.ExtType(1, b"a"), "max_ext_len"),
        (bytes(101), "max_bin_len"),
    ],
)
def test_a_field_is_refused_before_it_is_built(field: object, limit: str) -> None:
    with pytest.raises(ValueError, match=f"exceeds {limit}"):
        flat.unpack(msgpack.packb([field]), fields_max=1, bin_bytes_max=100)


def test_limits_of_a_model_hold_its_largest_entry() -> None:
    for parameters in (1, 4810, 1_000_000):
        limits = Limits.for_model(parameters)
        entry = envelope(b"\0" * min(limits.plaintext_bytes_max, 100_000))
        overhead = len(pack_frame(EntryFrame(entry))) - len(entry.ciphertext) + 16
        assert limits.plaintext_bytes_max + overhead <= limits.frame_bytes_max
        assert limits.plaintext_bytes_max >= 4 * parameters + 128


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="followers_max must be positive"):
        Limits(followers_max=0)
    with pytest.raises(ValueError, match="receive_bytes_max must be at least frame_bytes_max"):
        Limits(frame_bytes_max=1000, receive_bytes_max=999)
