"""The plaintext bodies of DELTA and KEYFRAME entries: flat msgpack arrays.

    delta      [1, codec, round, step, rebase, scales, values, replica_hash]
    keyframe   [1, codec, round, step, scales, values, replica_hash]

Author, sequence number and epoch are in the header of the envelope and are not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from gossamer_crypto.errors import Reason
from gossamer_transport import flat
from gossamer_transport.codec import Codec, Coded, coded_lengths
from gossamer_transport.errors import CodecError

VERSION = 1
HASH_BYTES = 32

_DELTA_SHAPE = (int, int, int, int, int, bytes, bytes, bytes)
_KEYFRAME_SHAPE = (int, int, int, int, bytes, bytes, bytes)
_FIELD_BYTES_MAX = 128  # the ints, the hash and every msgpack header of a body


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of a replica: add `coded`; then, if `rebase`, snap to the int8 grid.

    `replica_hash` is that of the replica after the step (`replica.replica_hash`), `round` the
    author's own counter.
    """

    round: int
    step: int
    rebase: bool
    coded: Coded
    replica_hash: bytes


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A whole replica as it is after `step`, from which a new follower starts."""

    round: int
    step: int
    coded: Coded
    replica_hash: bytes


def keyframe_codec(codec: Codec) -> Codec:
    """Return how keyframes are coded where deltas are coded with `codec`."""
    return Codec.FLOAT32 if codec is Codec.FLOAT32 else Codec.INT8


def body_bytes_max(size: int, codec: Codec) -> int:
    """Return the length that no body of a model of `size` parameters exceeds."""
    delta = sum(coded_lengths(codec, size))
    keyframe = sum(coded_lengths(keyframe_codec(codec), size))
    return max(delta, keyframe) + _FIELD_BYTES_MAX


def pack_delta(delta: Delta) -> bytes:
    """Return the plaintext of a DELTA entry."""
    coded = delta.coded
    return flat.pack(
        [
            VERSION,
            int(coded.codec),
            delta.round,
            delta.step,
            int(delta.rebase),
            coded.scales,
            coded.values,
            delta.replica_hash,
        ]
    )


def unpack_delta(raw: bytes, size: int, codec: Codec) -> Delta:
    """Return the delta in the plaintext `raw` for a model of `size` parameters.

    Lengths are checked, values are not: `codec.decode` does that. `codec` is the swarm's.

    Raises:
        CodecError: BAD_DELTA, whatever is wrong.
    """
    fields = _unpack(raw, _DELTA_SHAPE, size, codec)
    round_, step, rebase = cast(tuple[int, int, int], fields[2:5])
    scales, values, replica_hash = cast(tuple[bytes, bytes, bytes], fields[5:])
    if rebase > 1 or step == 0:
        raise CodecError(Reason.BAD_DELTA, "rebase or step out of range")
    coded = _coded(codec, scales, values, replica_hash, size)
    return Delta(round_, step, rebase == 1, coded, replica_hash)


def pack_keyframe(keyframe: Keyframe) -> bytes:
    """Return the plaintext of a KEYFRAME entry."""
    coded = keyframe.coded
    return flat.pack(
        [
            VERSION,
            int(coded.codec),
            keyframe.round,
            keyframe.step,
            coded.scales,
            coded.values,
            keyframe.replica_hash,
        ]
    )


def unpack_keyframe(raw: bytes, size: int, codec: Codec) -> Keyframe:
    """Return the keyframe in the plaintext `raw` for a model of `size` parameters.

    `codec` is the swarm's codec of deltas; `keyframe_codec` says how its keyframes are coded.

    Raises:
        CodecError: BAD_DELTA, whatever is wrong.
    """
    coded_as = keyframe_codec(codec)
    fields = _unpack(raw, _KEYFRAME_SHAPE, size, coded_as)
    round_, step = cast(tuple[int, int], fields[2:4])
    scales, values, replica_hash = cast(tuple[bytes, bytes, bytes], fields[4:])
    coded = _coded(coded_as, scales, values, replica_hash, size)
    return Keyframe(round_, step, coded, replica_hash)


def _unpack(raw: bytes, shape: tuple[type, ...], size: int, codec: Codec) -> list[int | bytes]:
    scales_bytes, values_bytes = coded_lengths(codec, size)
    if len(raw) > scales_bytes + values_bytes + _FIELD_BYTES_MAX:
        raise CodecError(Reason.BAD_DELTA, f"{len(raw)} bytes are too many")
    try:
        fields = flat.unpack(
            raw,
            fields_max=len(shape),
            bin_bytes_max=max(scales_bytes, values_bytes, HASH_BYTES),
        )
    except ValueError as error:
        raise CodecError(Reason.BAD_DELTA, str(error)) from None
    if tuple(map(type, fields)) != shape:
        raise CodecError(Reason.BAD_DELTA, "wrong number or types of fields")
    if fields[0] != VERSION or fields[1] != codec:
        raise CodecError(Reason.BAD_DELTA, "another version or codec")
    return fields


def _coded(codec: Codec, scales: bytes, values: bytes, replica_hash: bytes, size: int) -> Coded:
    if (len(scales), len(values)) != coded_lengths(codec, size):
        raise CodecError(Reason.BAD_DELTA, "length does not fit the model")
    if len(replica_hash) != HASH_BYTES:
        raise CodecError(Reason.BAD_DELTA, "replica hash is not 32 bytes")
    return Coded(codec, scales, values)
