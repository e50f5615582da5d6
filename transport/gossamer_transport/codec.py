"""The codec of differences: one bit, one byte or four bytes per parameter.

Theory of operation. A vector is cut into blocks of 256 values in parameter order, the last one may
be short. Each block has one float16 scale s; a value is s times a small integer:

    sign1     +-1          s = mean |u| of the block       1/8 byte a value
    int8      -127..127    s = 1.001 max |u| / 127         1 byte a value
    float32   raw values, no scales                        4 bytes a value

Whatever both sides compute (`decode`, `snap`) is elementwise float32 arithmetic, which IEEE 754
rounds in one way only, or a maximum, which does not round: the results are the same bits on every
CPU. A product of a float16 and a small integer is even exact in float32, so a fused multiply-add
changes nothing. The sums of `encode` run in a fixed order for the same reason: one seed gives one
trace everywhere. Format: docs/spec/codec.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_crypto.errors import Reason
from gossamer_transport.errors import CodecError

Vector: TypeAlias = npt.NDArray[np.float32]

BLOCK = 256  # values that share one scale

_SCALE_MAX = np.float32(65504.0)  # the largest finite float16
_SCALE_BITS_MAX = 0x7BFF  # the same as an integer; every pattern above is negative, inf or NaN
_FINITE_BITS_MAX = 0x7F7FFFFF  # the largest finite float32, sign bit cleared
_INT8_MAX = 127
# Room for the rounding of the scale to float16, so that the largest value still fits 127 steps.
_INT8_SLACK = np.float32(1.001)

# Row b holds the eight signs of byte b, most significant bit first, as one 32-byte item: `take` on
# whole items is several times faster than unpacking bits and converting them to float32.
_SIGNS: npt.NDArray[np.void] = (
    (
        np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).astype(np.float32) * 2
        - 1
    )
    .view("V32")
    .reshape(256)
)


class Codec(IntEnum):
    """How a vector is coded. The number is the one on the wire."""

    SIGN1 = 1
    INT8 = 8
    FLOAT32 = 32

    @classmethod
    def parse(cls, name: str) -> Codec:
        """Return the codec called `name`, as in settings: "sign1", "int8" or "float32".

        Raises:
            ValueError: there is no codec of that name.
        """
        for codec in cls:
            if codec.name.lower() == name:
                return codec
        known = ", ".join(codec.name.lower() for codec in cls)
        raise ValueError(f"unknown codec {name!r}: use one of {known}")


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded vector: float16 scales and packed values, both little-endian bytes."""

    codec: Codec
    scales: bytes
    values: bytes


def coded_lengths(codec: Codec, size: int) -> tuple[int, int]:
    """Return the exact number of bytes of scales and of values of a vector of `size` values."""
    scales = 2 * _block_count(size)
    if codec is Codec.SIGN1:
        return scales, (size + 7) // 8
    if codec is Codec.INT8:
        return scales, size
    return 0, 4 * size


def encode(codec: Codec, difference: Vector, rng: np.random.Generator) -> Coded:
    """Code `difference`, float32[P]. Scales beyond float16 are clamped to 65504.

    sign1 codes zero as plus. int8 rounds stochastically with `rng`, so that the expectation of the
    decoded value is the value; the other codecs draw nothing.

    Raises:
        ValueError: a value is NaN, or `difference` is not float32[P] with P >= 1.
    """
    _require_vector(difference)
    if codec is Codec.SIGN1:
        return _encode_sign1(difference)
    if codec is Codec.INT8:
        return _encode_int8(difference, rng.random(difference.size, dtype=np.float32))
    if np.isnan(difference).any():
        raise ValueError("cannot code NaN")
    return Coded(codec, b"", difference.astype("<f4", copy=False).tobytes())


def snap(vector: Vector) -> Coded:
    """Code `vector`, float32[P], as int8 with rounding to the nearest, ties to even.

    Publisher and followers both call it to rebase a replica to `decode(snap(vector), P)` without a
    byte on the wire, hence no randomness: the same input gives the same bytes on every CPU.

    Raises:
        ValueError: a value is NaN, or `vector` is not float32[P] with P >= 1.
    """
    _require_vector(vector)
    return _encode_int8(vector, None)


def mean_magnitudes(vector: Vector) -> Vector:
    """Return the mean |v| of each block of `vector`, float32[P]: the same bits on every CPU."""
    magnitudes = np.abs(_in_blocks(vector))
    half = BLOCK // 2
    with np.errstate(over="ignore"):
        while half:  # a fixed tree of additions: `sum` orders them as the CPU likes
            magnitudes[:, :half] += magnitudes[:, half : 2 * half]
            half //= 2
    counts = np.full(len(magnitudes), BLOCK, dtype=np.float32)
    counts[-1] = (vector.size - 1) % BLOCK + 1
    means: Vector = magnitudes[:, 0] / counts
    return means


def check_coded(coded: Coded, size: int) -> None:
    """Check that `coded` is a vector of `size` values, without decoding it.

    Raises:
        CodecError: NON_FINITE for a scale or value that is infinite or NaN; BAD_DELTA for a wrong
            length, a negative scale, a padding bit that is set, or the int8 value -128.
    """
    if (len(coded.scales), len(coded.values)) != coded_lengths(coded.codec, size):
        raise CodecError(Reason.BAD_DELTA, "length does not fit the model")
    if coded.codec is Codec.FLOAT32:
        if not _all_finite(np.frombuffer(coded.values, dtype="<u4")):
            raise CodecError(Reason.NON_FINITE, "value is not finite")
        return
    worst = int(np.frombuffer(coded.scales, dtype="<u2").max())
    if worst > _SCALE_BITS_MAX:
        _refuse_scales(coded.scales)
    if coded.codec is Codec.SIGN1:
        if coded.values[-1] & ((1 << (-size % 8)) - 1):
            raise CodecError(Reason.BAD_DELTA, "padding bit is set")
    elif np.frombuffer(coded.values, dtype=np.int8).min() < -_INT8_MAX:
        raise CodecError(Reason.BAD_DELTA, "int8 value is -128")


def decode(coded: Coded, size: int) -> Vector:
    """Return the float32[size] that `coded` stands for: a fresh array that the caller owns.

    Raises:
        CodecError: as `check_coded`.
    """
    check_coded(coded, size)
    if coded.codec is Codec.FLOAT32:
        return np.frombuffer(coded.values, dtype="<f4").astype(np.float32)
    if coded.codec is Codec.SIGN1:
        steps = _SIGNS.take(np.frombuffer(coded.values, dtype=np.uint8)).view(np.float32)[:size]
    else:
        steps = np.frombuffer(coded.values, dtype=np.int8).astype(np.float32)
    scales = np.frombuffer(coded.scales, dtype="<f2").astype(np.float32)
    whole = size // BLOCK
    blocks = steps[: whole * BLOCK].reshape(whole, BLOCK)
    np.multiply(blocks, scales[:whole, np.newaxis], out=blocks)
    if size % BLOCK:
        steps[whole * BLOCK :] *= scales[-1]
    return steps


def _encode_sign1(difference: Vector) -> Coded:
    scales = _to_scales(mean_magnitudes(difference))
    return Coded(Codec.SIGN1, scales.tobytes(), np.packbits(difference >= 0).tobytes())


def _encode_int8(vector: Vector, uniform: Vector | None) -> Coded:
    """Round down after adding `uniform`, float32[P] from [0, 1), or to the nearest without."""
    blocks = _in_blocks(vector)
    scales = _to_scales(np.abs(blocks).max(axis=1) / np.float32(_INT8_MAX) * _INT8_SLACK)
    # A block whose scale is zero divides by infinity instead: all its values become zero.
    steps = np.where(scales > 0, scales.astype(np.float32), np.float32(np.inf))
    ratios = (blocks / steps[:, np.newaxis]).reshape(-1)[: vector.size]
    if uniform is None:
        np.rint(ratios, out=ratios)
    else:
        ratios += uniform
        np.floor(ratios, out=ratios)
    np.clip(ratios, -_INT8_MAX, _INT8_MAX, out=ratios)
    return Coded(Codec.INT8, scales.tobytes(), ratios.astype(np.int8).tobytes())


def _block_count(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK


def _in_blocks(vector: Vector) -> Vector:
    """Return float32[blocks, BLOCK], filled up with zeros; a view where none are needed."""
    count = _block_count(vector.size)
    if vector.size != count * BLOCK:
        padded = np.zeros(count * BLOCK, dtype=np.float32)
        padded[: vector.size] = vector
        vector = padded
    return vector.reshape(count, BLOCK)


def _to_scales(scales: Vector) -> npt.NDArray[np.float16]:
    if np.isnan(scales).any():
        raise ValueError("cannot code NaN")
    return np.minimum(scales, _SCALE_MAX).astype("<f2")


def _require_vector(vector: Vector) -> None:
    if vector.dtype != np.float32 or vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"expected float32[P], got {vector.dtype}{list(vector.shape)}")


def _all_finite(bits: npt.NDArray[np.uint32]) -> bool:
    return int((bits & np.uint32(0x7FFFFFFF)).max()) <= _FINITE_BITS_MAX


def _refuse_scales(scales: bytes) -> None:
    if np.isfinite(np.frombuffer(scales, dtype="<f2")).all():
        raise CodecError(Reason.BAD_DELTA, "scale is negative")
    raise CodecError(Reason.NON_FINITE, "scale is not finite")
