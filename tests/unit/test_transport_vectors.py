"""The vectors of docs/spec/codec.md and wire.md, against the product and a second implementation.

The second one knows nothing of numpy: plain Python floats, rounded to float32 by `struct`. One
operation in double precision and one rounding give exactly the float32 result of IEEE 754.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import PeerError
from gossamer_transport.codec import Codec, Coded, decode, encode, snap
from gossamer_transport.delta import pack_delta, unpack_delta, unpack_keyframe
from gossamer_transport.errors import CodecError, WireError
from gossamer_transport.limits import Limits
from gossamer_transport.replica import Replica, replica_hash
from gossamer_transport.wire import pack_frame, unpack_frame

ROOT = Path(__file__).parent.parent.parent
VECTORS: dict[str, Any] = json.loads((ROOT / "tests" / "vectors" / "codec.json").read_text())
RNG = np.random.default_rng(0)


def f32(value: float) -> float:
    (rounded,) = struct.unpack("<f", struct.pack("<f", value))
    return float(rounded)


def floats(raw: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def bytes_of(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def plain_decode(codec: int, scales: bytes, values: bytes, size: int) -> list[float]:
    if codec == 32:
        return floats(values)
    steps = struct.unpack(f"<{len(scales) // 2}e", scales)
    if codec == 1:
        bits = "".join(f"{byte:08b}" for byte in values)
        integers = [1 if bit == "1" else -1 for bit in bits[:size]]
    else:
        integers = list(struct.unpack(f"<{size}b", values))
    return [steps[index // 256] * integer for index, integer in enumerate(integers)]


def plain_snap(vector: Sequence[float]) -> tuple[bytes, bytes]:
    scales, values = b"", []
    for start in range(0, len(vector), 256):
        block = vector[start : start + 256]
        largest = max(abs(value) for value in block)
        ideal = min(f32(f32(largest / 127.0) * f32(1.001)), 65504.0)
        scales += struct.pack("<e", ideal)
        (scale,) = struct.unpack("<e", scales[-2:])
        for value in block:
            step = round(f32(value / scale)) if scale else 0  # `round` sends ties to even
            values.append(max(-127, min(127, step)))
    return scales, struct.pack(f"<{len(values)}b", *values)


def plain_settle(vector: Sequence[float]) -> list[float]:
    assert all(math.isfinite(value) for value in vector)
    return [0.0 if abs(value) < f32(1e-30) else value for value in vector]


def plain_step(vector: Sequence[float], body: bytes) -> tuple[list[float], bytes]:
    _, codec, _, _, rebase, scales, values, digest = msgpack.unpackb(body)
    change = plain_decode(codec, scales, values, len(vector))
    moved = plain_settle([f32(old + new) for old, new in zip(vector, change, strict=True)])
    if rebase and codec != 32:
        moved = plain_settle(plain_decode(8, *plain_snap(moved), len(moved)))
    return moved, digest


def coded_of(case: dict[str, Any]) -> Coded:
    scales, values = bytes.fromhex(case["scales"]), bytes.fromhex(case["values"])
    return Coded(Codec.parse(case["codec"]), scales, values)


def vector_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(bytes.fromhex(text), dtype="<f4").astype(np.float32)


def test_the_example_by_hand() -> None:
    case = VECTORS["example"]
    follower = Replica(vector_of(case["initial"]), Codec.SIGN1, case["bound"])
    delta = unpack_delta(bytes.fromhex(case["delta"]), 9, Codec.SIGN1)
    assert delta.coded == Coded(Codec.SIGN1, b"\x00\x3c", b"\xb5\x80")
    follower.apply(delta)
    assert follower.vector.tolist() == [2, 0, 2, 2, 0, 2, 0, 2, 2]
    assert as_published(case).hash == follower.hash == delta.replica_hash


def as_published(case: dict[str, Any]) -> Replica:
    author = Replica(vector_of(case["initial"]), Codec.SIGN1, case["bound"])
    delta = author.publish(vector_of(case["params"]), 5, RNG)
    assert pack_delta(delta).hex() == case["delta"]
    return author


@pytest.mark.parametrize("case", VECTORS["decode"], ids=lambda c: f"{c['codec']}-{c['size']}")
def test_decode(case: dict[str, Any]) -> None:
    coded = coded_of(case)
    expected = bytes.fromhex(case["decoded"])
    assert decode(coded, case["size"]).astype("<f4").tobytes() == expected
    plain = plain_decode(int(coded.codec), coded.scales, coded.values, case["size"])
    assert bytes_of(plain) == expected


@pytest.mark.parametrize("case", VECTORS["snap"], ids=lambda c: str(c["size"]))
def test_snap(case: dict[str, Any]) -> None:
    assert snap(vector_of(case["vector"])) == coded_of(case)
    scales, values = plain_snap(floats(bytes.fromhex(case["vector"])))
    assert (scales.hex(), values.hex()) == (case["scales"], case["values"])


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda c: str(c["size"]))
def test_encode(case: dict[str, Any]) -> None:
    assert encode(Codec.SIGN1, vector_of(case["difference"]), RNG) == coded_of(case)


@pytest.mark.parametrize("case", VECTORS["replicas"], ids=lambda c: str(c["codec"]))
def test_replica(case: dict[str, Any]) -> None:
    codec, size = Codec.parse(case["codec"]), case["size"]
    follower = Replica(vector_of(case["initial"]), codec, case["bound"])
    late = Replica(vector_of(case["initial"]), codec, case["bound"])
    plain = floats(bytes.fromhex(case["initial"]))
    for number, step in enumerate(case["steps"], start=1):
        body = bytes.fromhex(step["delta"])
        delta = unpack_delta(body, size, codec)
        assert pack_delta(delta) == body
        follower.apply(delta)
        plain, digest = plain_step(plain, body)
        assert follower.vector.astype("<f4").tobytes().hex() == step["vector"]
        assert bytes_of(plain).hex() == step["vector"]
        assert hashlib.sha256(bytes_of(plain)).digest() == digest == follower.hash
        if number == 3:
            late.restart(unpack_keyframe(bytes.fromhex(case["keyframe_of_step_3"]), size, codec))
            assert late.hash == follower.hash
    late.apply(delta)
    assert late.hash == follower.hash


@pytest.mark.parametrize("case", VECTORS["refused_deltas"], ids=lambda c: str(c["name"]))
def test_refused_delta(case: dict[str, Any]) -> None:
    replica = Replica(np.ones(9, dtype=np.float32), Codec.SIGN1, 100.0)
    before = replica.hash
    with pytest.raises(CodecError) as caught:
        replica.apply(unpack_delta(bytes.fromhex(case["delta"]), 9, Codec.SIGN1))
    assert str(caught.value.reason) == case["reason"]
    assert (replica.hash, replica.step, replica.round) == (before, 0, 0)


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda c: str(c["name"]))
def test_frame(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["frame"])
    assert pack_frame(unpack_frame(raw, Limits())) == raw


@pytest.mark.parametrize("case", VECTORS["refused_frames"], ids=lambda c: str(c["name"]))
def test_refused_frame(case: dict[str, Any]) -> None:
    with pytest.raises(PeerError) as caught:
        unpack_frame(bytes.fromhex(case["frame"]), Limits())
    assert type(caught.value) is WireError
    assert str(caught.value.reason) == case["reason"]


def test_the_file_is_what_the_script_makes() -> None:
    assert _script().build() == VECTORS


def _script() -> ModuleType:
    path = ROOT / "scripts" / "make_codec_vectors.py"
    spec = importlib.util.spec_from_file_location("make_codec_vectors", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(
        st.floats(min_value=-1000, max_value=1000, width=32) | st.sampled_from([0.0, -0.0, 1e-40]),
        min_size=1,
        max_size=300,
    ),
    seed=st.integers(0, 2**32 - 1),
    codec=st.sampled_from(list(Codec)),
    rebase=st.booleans(),
)
def test_both_implementations_agree_on_any_step(
    values: list[float], seed: int, codec: Codec, rebase: bool
) -> None:
    start = np.array(values, dtype=np.float32)
    rng = np.random.default_rng(seed)
    replica = Replica(start, codec, 1e6)
    plain = plain_settle(floats(bytes_of(values)))
    assert replica_hash(replica.vector) == hashlib.sha256(bytes_of(plain)).digest()
    params = start + rng.standard_normal(start.size, dtype=np.float32)
    delta = replica.publish(params, 0, rng, rebase)
    plain, digest = plain_step(plain, pack_delta(delta))
    assert hashlib.sha256(bytes_of(plain)).digest() == digest == replica.hash
