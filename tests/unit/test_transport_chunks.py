from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import WireError
from gossamer_transport.libp2p.chunks import (
    INLINE_BYTES_MAX,
    FrameReader,
    Offer,
    encode_inline,
    encode_offer,
    frame_offer,
)

CAP = 200_000

frames = st.binary(max_size=300)
offers = st.builds(
    Offer, st.binary(min_size=32, max_size=32), st.integers(INLINE_BYTES_MAX + 1, CAP)
)


def encode(item: bytes | Offer) -> bytes:
    return encode_offer(item) if isinstance(item, Offer) else encode_inline(item)


@given(items=st.lists(frames | offers, max_size=8), data=st.data())
def test_cut_anywhere(items: list[bytes | Offer], data: st.DataObject) -> None:
    raw = b"".join(map(encode, items))
    reader = FrameReader(CAP)
    got: list[bytes | Offer] = []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        got += reader.feed(raw[:size])
        raw = raw[size:]
    assert got == items
    assert not reader.midway


def test_byte_by_byte() -> None:
    items: list[bytes | Offer] = [b"", b"abc", Offer(bytes(32), CAP), b"x" * 300]
    reader = FrameReader(CAP)
    got = [item for byte in b"".join(map(encode, items)) for item in reader.feed(bytes([byte]))]
    assert got == items


@given(st.binary(max_size=200))
def test_garbage_is_frames_or_one_type_of_error(raw: bytes) -> None:
    reader = FrameReader(CAP)
    try:
        reader.feed(raw)
    except WireError as error:
        assert error.reason in (Reason.TOO_LARGE, Reason.BAD_FRAME)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (CAP + 1, Reason.TOO_LARGE),
        (0x7FFFFFFF, Reason.TOO_LARGE),
        (0xFFFFFFFF, Reason.TOO_LARGE),
        (INLINE_BYTES_MAX + 1, Reason.BAD_FRAME),  # must be offered
        (INLINE_BYTES_MAX | 1 << 31, Reason.BAD_FRAME),  # must be inline
        (1 << 31, Reason.BAD_FRAME),
    ],
)
def test_a_lying_length_is_refused_before_the_body(header: int, reason: Reason) -> None:
    reader = FrameReader(CAP)
    with pytest.raises(WireError) as caught:
        reader.feed(header.to_bytes(4, "big"))
    assert caught.value.reason is reason


def test_midway_is_from_the_first_byte_to_the_last() -> None:
    reader = FrameReader(CAP)
    raw = encode_inline(b"abc")
    assert not reader.midway
    for byte in raw[:-1]:
        assert reader.feed(bytes([byte])) == []
        assert reader.midway
    assert reader.feed(raw[-1:]) == [b"abc"]
    assert not reader.midway


def test_the_offer_names_the_frame() -> None:
    frame = b"f" * 70_000
    assert frame_offer(frame) == Offer(hashlib.sha256(frame).digest(), 70_000)
    assert len(encode_offer(frame_offer(frame))) == 36
