from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_transport.codec import (
    BLOCK,
    Codec,
    Coded,
    check_coded,
    coded_lengths,
    decode,
    encode,
    snap,
)
from gossamer_transport.errors import CodecError

SIZES = [1, 7, 8, 9, 255, 256, 257, 512, 1000]


def vector(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size, dtype=np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("codec", list(Codec))
def test_round_trip_keeps_lengths_and_error_bounds(codec: Codec, size: int) -> None:
    difference = vector(size)
    coded = encode(codec, difference, rng())
    assert (len(coded.scales), len(coded.values)) == coded_lengths(codec, size)
    decoded = decode(coded, size)
    assert decoded.dtype == np.float32
    assert decoded.shape == (size,)
    blocks = [slice(start, start + BLOCK) for start in range(0, size, BLOCK)]
    for block in blocks:
        error = np.abs(decoded[block] - difference[block]).max()
        step = np.abs(difference[block]).max() / 127
        if codec is Codec.FLOAT32:
            assert error == 0
        elif codec is Codec.INT8:
            assert error <= 1.01 * step
        else:
            mean = np.abs(difference[block]).mean(dtype=np.float64)
            assert np.abs(decoded[block]) == pytest.approx(mean, rel=1e-3)
            assert ((decoded[block] > 0) == (difference[block] >= 0)).all()


@pytest.mark.parametrize("size", SIZES)
def test_snap_rounds_to_the_nearest_step(size: int) -> None:
    original = vector(size)
    error = np.abs(decode(snap(original), size) - original)
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        assert error[block].max() <= 0.501 * 1.002 * np.abs(original[block]).max() / 127


def test_a_short_block_divides_by_its_own_length() -> None:
    difference = np.full(BLOCK + 1, 2.0, dtype=np.float32)
    assert decode(encode(Codec.SIGN1, difference, rng()), BLOCK + 1).tolist() == [2.0] * 257


def test_sign1_codes_zero_as_plus_and_pads_with_zero_bits() -> None:
    coded = encode(Codec.SIGN1, np.array([-1, 0, 1], dtype=np.float32), rng())
    assert coded.values == b"\x60"
    assert np.frombuffer(coded.scales, "<f2")[0] == pytest.approx(2 / 3, rel=1e-3)


def test_int8_is_right_on_average() -> None:
    difference = np.full(BLOCK, 0.3, dtype=np.float32)
    difference[0] = 100.0
    source = rng()
    decoded = [decode(encode(Codec.INT8, difference, source), BLOCK)[1:] for _ in range(100)]
    assert np.mean(decoded) == pytest.approx(0.3, abs=0.02)
    assert len(np.unique(decoded)) == 2


def test_codecs_but_int8_draw_nothing() -> None:
    source, untouched = rng(), rng()
    encode(Codec.SIGN1, vector(300), source)
    encode(Codec.FLOAT32, vector(300), source)
    assert source.random() == untouched.random()


@pytest.mark.parametrize("codec", [Codec.SIGN1, Codec.INT8])
@pytest.mark.parametrize("extreme", [1e30, 3.4e38, float("inf"), -float("inf")])
def test_an_encoder_overflow_clamps(codec: Codec, extreme: float) -> None:
    difference = np.full(300, extreme, dtype=np.float32)
    decoded = decode(encode(codec, difference, rng()), 300)
    most = 65504.0 * (127 if codec is Codec.INT8 else 1)
    assert np.abs(decoded).max() == most
    assert (np.sign(decoded) == np.sign(extreme)).all()


@pytest.mark.parametrize("codec", list(Codec))
def test_nan_is_not_coded(codec: Codec) -> None:
    difference = vector(300)
    difference[299] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        encode(codec, difference, rng())


@pytest.mark.parametrize("codec", list(Codec))
def test_zeros_and_what_is_too_small_code_as_zero(codec: Codec) -> None:
    tiny = np.full(300, 0.0 if codec is Codec.FLOAT32 else 1e-9, dtype=np.float32)
    assert np.abs(decode(encode(codec, tiny, rng()), 300)).max() == 0


@pytest.mark.parametrize(
    "bad", [np.zeros(3), np.zeros((2, 2), np.float32), np.zeros(0, np.float32)]
)
def test_only_a_float32_vector_is_coded(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="float32"):
        encode(Codec.SIGN1, bad, rng())
    with pytest.raises(ValueError, match="float32"):
        snap(bad)


@pytest.mark.parametrize("codec", list(Codec))
def test_decode_gives_an_array_of_its_own(codec: Codec) -> None:
    coded = encode(codec, vector(300), rng())
    first = decode(coded, 300)
    expected = first.copy()
    first += 1
    assert (decode(coded, 300) == expected).all()


@pytest.mark.parametrize("codec", list(Codec))
def test_wrong_lengths_are_refused(codec: Codec) -> None:
    good = encode(codec, vector(300), rng())
    for scales, values in [
        (good.scales + b"\0\0", good.values),
        (good.scales[2:] or b"\0", good.values),
        (good.scales, good.values + b"\0"),
        (good.scales, good.values[:-1]),
        (good.scales, b""),
    ]:
        with pytest.raises(CodecError) as caught:
            decode(Coded(codec, scales, values), 300)
        assert caught.value.reason is Reason.BAD_DELTA


@pytest.mark.parametrize("codec", [Codec.SIGN1, Codec.INT8])
def test_every_float16_is_a_scale_exactly_if_finite_and_not_negative(codec: Codec) -> None:
    values = bytes(coded_lengths(codec, 300)[1])
    for bits in range(0, 65536, 61):
        coded = Coded(codec, b"\x00\x3c" + bits.to_bytes(2, "little"), values)
        scale = np.frombuffer(coded.scales, "<f2")[1]
        if np.isfinite(scale) and not np.signbit(scale):
            check_coded(coded, 300)
            continue
        with pytest.raises(CodecError) as caught:
            check_coded(coded, 300)
        expected = Reason.BAD_DELTA if np.isfinite(scale) else Reason.NON_FINITE
        assert caught.value.reason is expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_values_of_float32_are_refused(bad: float) -> None:
    values = vector(300)
    values[150] = bad
    with pytest.raises(CodecError) as caught:
        decode(Coded(Codec.FLOAT32, b"", values.tobytes()), 300)
    assert caught.value.reason is Reason.NON_FINITE


@pytest.mark.parametrize("bit", range(7))
def test_a_padding_bit_is_refused(bit: int) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Coded(Codec.SIGN1, b"\x00\x3c", bytes([0x80 | 1 << bit])), 1)
    assert caught.value.reason is Reason.BAD_DELTA


def test_minus_128_is_refused() -> None:
    with pytest.raises(CodecError):
        decode(Coded(Codec.INT8, b"\x00\x3c", b"\x01\x80\x7f"), 3)
    assert decode(Coded(Codec.INT8, b"\x00\x3c", b"\x01\x81\x7f"), 3).tolist() == [1, -127, 127]


@settings(max_examples=60)
@given(
    codec=st.sampled_from(list(Codec)),
    scales=st.binary(max_size=6),
    values=st.binary(max_size=40),
    size=st.integers(1, 300),
)
def test_arbitrary_bytes_decode_or_are_refused(
    codec: Codec, scales: bytes, values: bytes, size: int
) -> None:
    try:
        decoded = decode(Coded(codec, scales, values), size)
    except CodecError:
        return
    assert np.isfinite(decoded).all()


@settings(max_examples=30)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300)
)
@example([3.4e38] * 300)
def test_whatever_is_snapped_decodes(values: list[float]) -> None:
    original = np.array(values, dtype=np.float32)
    decoded = decode(snap(original), original.size)
    assert np.isfinite(decoded).all()
    assert (np.sign(decoded) * np.sign(original) >= 0).all()


def test_names_of_codecs() -> None:
    assert [Codec.parse(name) for name in ("sign1", "int8", "float32")] == list(Codec)
    for name in ("SIGN1", "int4", ""):
        with pytest.raises(ValueError, match="use one of sign1, int8, float32"):
            Codec.parse(name)
