from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_transport.codec import Codec, Coded, coded_lengths, encode, snap
from gossamer_transport.delta import (
    Delta,
    Keyframe,
    body_bytes_max,
    keyframe_codec,
    pack_delta,
    pack_keyframe,
    unpack_delta,
    unpack_keyframe,
)
from gossamer_transport.errors import CodecError

SIZE = 300
HASH = bytes(range(32))
VECTOR = np.linspace(-1, 1, SIZE, dtype=np.float32)


def coded(codec: Codec) -> Coded:
    return encode(codec, VECTOR, np.random.default_rng(0))


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("rebase", [False, True])
@pytest.mark.parametrize("number", [1, 2**31, 2**63 - 1])
def test_a_delta_comes_back(codec: Codec, rebase: bool, number: int) -> None:
    delta = Delta(number, number, rebase, coded(codec), HASH)
    raw = pack_delta(delta)
    assert unpack_delta(raw, SIZE, codec) == delta
    assert type(unpack_delta(raw, SIZE, codec).rebase) is bool
    assert len(raw) <= body_bytes_max(SIZE, codec)


@pytest.mark.parametrize("codec", list(Codec))
def test_a_keyframe_comes_back(codec: Codec) -> None:
    keyframe = Keyframe(2**63 - 1, 2**63 - 1, coded(keyframe_codec(codec)), HASH)
    raw = pack_keyframe(keyframe)
    assert unpack_keyframe(raw, SIZE, codec) == keyframe
    assert len(raw) <= body_bytes_max(SIZE, codec)


def test_bodies_are_small() -> None:
    for codec in Codec:
        raw = pack_delta(Delta(1000, 1000, False, coded(codec), HASH))
        assert len(raw) - sum(coded_lengths(codec, SIZE)) <= 52


def test_the_kinds_do_not_mix() -> None:
    delta = pack_delta(Delta(1, 1, False, coded(Codec.FLOAT32), HASH))
    keyframe = pack_keyframe(Keyframe(1, 1, coded(Codec.FLOAT32), HASH))
    with pytest.raises(CodecError):
        unpack_keyframe(delta, SIZE, Codec.FLOAT32)
    with pytest.raises(CodecError):
        unpack_delta(keyframe, SIZE, Codec.FLOAT32)


def test_another_codec_than_the_swarms_is_refused() -> None:
    for used in Codec:
        raw = pack_delta(Delta(1, 1, False, coded(used), HASH))
        for allowed in Codec:
            if allowed is not used:
                with pytest.raises(CodecError):
                    unpack_delta(raw, SIZE, allowed)
    raw = pack_keyframe(Keyframe(1, 1, coded(Codec.SIGN1), HASH))
    with pytest.raises(CodecError):
        unpack_keyframe(raw, SIZE, Codec.SIGN1)


def test_another_model_is_refused() -> None:
    raw = pack_delta(Delta(1, 1, False, coded(Codec.INT8), HASH))
    for size in (SIZE - 1, SIZE + 1, 10 * SIZE):
        with pytest.raises(CodecError) as caught:
            unpack_delta(raw, size, Codec.INT8)
        assert caught.value.reason is Reason.BAD_DELTA


def test_a_body_that_is_too_long_is_refused_before_it_is_decoded() -> None:
    nested = b"\x98" * 100_000
    with pytest.raises(CodecError, match="too many"):
        unpack_delta(nested, SIZE, Codec.SIGN1)


@given(raw=st.binary(max_size=200), codec=st.sampled_from(list(Codec)))
def test_arbitrary_bytes_are_refused_with_one_type(raw: bytes, codec: Codec) -> None:
    for unpack in (unpack_delta, unpack_keyframe):
        with pytest.raises(CodecError) as caught:
            unpack(raw, SIZE, codec)
        assert caught.value.reason is Reason.BAD_DELTA


@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6))
def test_altered_bytes_are_a_body_or_are_refused(position: int, value: int, cut: int) -> None:
    small = snap(VECTOR[:9])
    raw = bytearray(pack_delta(Delta(300, 7, True, small, HASH)))
    raw[position % len(raw)] = value
    for altered in (bytes(raw), bytes(raw[: cut % len(raw)])):
        try:
            delta = unpack_delta(altered, 9, Codec.INT8)
        except CodecError:
            continue
        assert len(delta.replica_hash) == 32
        assert (len(delta.coded.scales), len(delta.coded.values)) == (2, 9)
