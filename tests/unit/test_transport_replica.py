from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_crypto.errors import Reason
from gossamer_transport.codec import Codec, Coded
from gossamer_transport.delta import Delta, Keyframe
from gossamer_transport.errors import CodecError, DivergedError
from gossamer_transport.replica import Replica, replica_hash

SIZE = 300
BOUND = 100.0


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def start(seed: int = 1) -> np.ndarray:
    return rng(seed).standard_normal(SIZE, dtype=np.float32)


def pair(codec: Codec) -> tuple[Replica, Replica]:
    return Replica(start(), codec, BOUND), Replica(start(), codec, BOUND)


def state(replica: Replica) -> tuple[bytes, bytes, int, int]:
    return replica.vector.tobytes(), replica.hash, replica.step, replica.round


def refused(replica: Replica, delta: Delta, reason: Reason) -> None:
    before = state(replica)
    with pytest.raises(CodecError) as caught:
        replica.apply(delta)
    assert caught.value.reason is reason
    assert state(replica) == before


@pytest.mark.parametrize("codec", list(Codec))
def test_followers_stay_bit_equal_and_close_in(codec: Codec) -> None:
    author, follower = pair(codec)
    params = start(2)
    source = rng()
    for number in range(40):
        delta = author.publish(params, number, source, rebase=number % 7 == 3)
        follower.apply(delta)
        assert state(follower) == state(author)
        assert replica_hash(follower.vector) == follower.hash
    error = np.abs(author.vector - params).mean() / np.abs(start() - params).mean()
    assert error < (0.3 if codec is Codec.SIGN1 else 0.03)


def test_a_vector_handed_out_never_changes() -> None:
    author, _ = pair(Codec.SIGN1)
    before = author.vector
    copy = before.copy()
    author.publish(start(2), 1, rng())
    assert (before == copy).all()
    assert author.vector is not before
    with pytest.raises(ValueError, match="read-only"):
        author.vector[0] = 1


def test_the_initial_array_stays_the_callers() -> None:
    initial = start()
    replica = Replica(initial, Codec.SIGN1, BOUND)
    before = state(replica)
    initial += 1
    assert state(replica) == before


def test_zeros_and_denormals_have_one_form() -> None:
    ugly = np.array([-0.0, 1e-40, -1e-40, 9e-31, 2e-30, -2e-30], dtype=np.float32)
    plain = np.array([0, 0, 0, 0, 2e-30, -2e-30], dtype=np.float32)
    assert Replica(ugly, Codec.SIGN1, BOUND).hash == Replica(plain, Codec.SIGN1, BOUND).hash
    assert Replica(ugly, Codec.SIGN1, BOUND).vector.tobytes() == plain.tobytes()


@pytest.mark.parametrize("codec", list(Codec))
def test_a_delta_twice_or_out_of_order_is_stale(codec: Codec) -> None:
    author, follower = pair(codec)
    deltas = [author.publish(start(2), number, rng()) for number in range(3)]
    refused(follower, deltas[1], Reason.STALE)
    follower.apply(deltas[0])
    refused(follower, deltas[0], Reason.STALE)
    refused(follower, deltas[2], Reason.STALE)
    follower.apply(deltas[1])
    follower.apply(deltas[2])
    assert state(follower) == state(author)


def test_a_round_may_repeat_but_not_run_back() -> None:
    author, follower = pair(Codec.SIGN1)
    follower.apply(author.publish(start(2), 5, rng()))
    follower.apply(author.publish(start(2), 5, rng()))
    with pytest.raises(ValueError, match="round 4 after round 5"):
        author.publish(start(2), 4, rng())
    delta = author.publish(start(2), 6, rng())
    refused(follower, dataclasses.replace(delta, round=4), Reason.STALE)
    follower.apply(delta)


def with_coded(delta: Delta, scales: bytes | None = None, values: bytes | None = None) -> Delta:
    coded = delta.coded
    changed = Coded(coded.codec, scales or coded.scales, values or coded.values)
    return dataclasses.replace(delta, coded=changed)


HALF = np.float16(0.5).tobytes()
TAMPERED: dict[str, tuple[Callable[[Delta], Delta], Reason]] = {
    "hash": (lambda d: dataclasses.replace(d, replica_hash=bytes(32)), Reason.REPLICA_MISMATCH),
    "rebase": (lambda d: dataclasses.replace(d, rebase=True), Reason.REPLICA_MISMATCH),
    "scale": (lambda d: with_coded(d, scales=HALF * 2), Reason.REPLICA_MISMATCH),
    "length": (lambda d: with_coded(d, scales=HALF), Reason.BAD_DELTA),
    "padding": (lambda d: with_coded(d, values=b"\xff" * 38), Reason.BAD_DELTA),
    "infinite": (lambda d: with_coded(d, scales=b"\x00\x7c" * 2), Reason.NON_FINITE),
    "huge": (lambda d: with_coded(d, scales=b"\xff\x7b" * 2), Reason.OUT_OF_BOUNDS),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_refused_delta_changes_nothing_and_the_true_one_still_fits(name: str) -> None:
    author, follower = pair(Codec.SIGN1)
    follower.apply(author.publish(start(2), 1, rng()))
    delta = author.publish(start(3), 2, rng())
    tamper, reason = TAMPERED[name]
    refused(follower, tamper(delta), reason)
    assert follower.poisoned is (reason is Reason.REPLICA_MISMATCH)
    follower.apply(delta)
    assert not follower.poisoned
    assert state(follower) == state(author)


def test_another_codec_is_refused() -> None:
    author = Replica(start(), Codec.INT8, BOUND)
    _, follower = pair(Codec.SIGN1)
    refused(follower, author.publish(start(2), 1, rng()), Reason.BAD_DELTA)


@pytest.mark.parametrize("value", [3e38, np.inf, np.nan])
def test_float32_values_cannot_overflow_a_replica(value: float) -> None:
    _, follower = pair(Codec.FLOAT32)
    values = np.full(SIZE, value, dtype=np.float32).tobytes()
    delta = Delta(1, 1, False, Coded(Codec.FLOAT32, b"", values), bytes(32))
    reason = Reason.OUT_OF_BOUNDS if np.isfinite(value) else Reason.NON_FINITE
    refused(follower, delta, reason)


def test_the_largest_sum_does_not_overflow() -> None:
    initial = np.full(SIZE, 1e30, dtype=np.float32)
    follower = Replica(initial, Codec.FLOAT32, 1e30)
    largest = np.full(SIZE, np.finfo(np.float32).max, dtype=np.float32)
    coded = Coded(Codec.FLOAT32, b"", largest.tobytes())
    refused(follower, Delta(1, 1, False, coded, bytes(32)), Reason.OUT_OF_BOUNDS)


@pytest.mark.parametrize("codec", list(Codec))
def test_the_bound_itself_is_inside(codec: Codec) -> None:
    initial = np.zeros(SIZE, dtype=np.float32)
    author, follower = Replica(initial, codec, 64.0), Replica(initial, codec, 64.0)
    params = np.full(SIZE, 64.0 if codec is not Codec.INT8 else 63.0, dtype=np.float32)
    follower.apply(author.publish(params, 1, rng()))
    beyond = np.full(SIZE, 64.01, dtype=np.float32)
    with pytest.raises(DivergedError):
        Replica(initial, Codec.FLOAT32, 64.0).publish(beyond, 1, rng())


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e6])
def test_diverged_parameters_are_not_published(codec: Codec, value: float) -> None:
    author, _ = pair(codec)
    author.publish(start(2), 1, rng(), rebase=True)
    before = state(author)
    params = np.full(SIZE, value, dtype=np.float32)
    with pytest.raises(DivergedError, match="own parameters have diverged"):
        author.publish(params, 2, rng())
    assert state(author) == before
    author.keyframe()


def test_parameters_of_another_shape_or_type_are_our_bug() -> None:
    author, _ = pair(Codec.SIGN1)
    for params in (start()[:-1], start().astype(np.float64), start().reshape(2, -1)):
        with pytest.raises(ValueError, match="float32"):
            author.publish(params, 1, rng())


@pytest.mark.parametrize(
    ("initial", "message"),
    [([np.nan], "not finite"), ([-np.inf], "not finite"), ([101.0], "beyond"), ([], "float32")],
)
def test_bad_initial_parameters(initial: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Replica(np.array(initial, dtype=np.float32), Codec.SIGN1, BOUND)


@pytest.mark.parametrize("bound", [0.0, -1.0, np.inf, np.nan, 1e31])
def test_bad_bound(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        Replica(start(), Codec.SIGN1, bound)


@pytest.mark.parametrize("codec", list(Codec))
def test_a_keyframe_starts_a_new_follower_exactly(codec: Codec) -> None:
    author, follower = pair(codec)
    for number in range(5):
        author.publish(start(2), number, rng())
    author.publish(start(3), 5, rng(), rebase=True)
    keyframe = author.keyframe()
    assert keyframe.coded.codec is (Codec.FLOAT32 if codec is Codec.FLOAT32 else Codec.INT8)
    follower.restart(keyframe)
    assert state(follower) == state(author)
    follower.apply(author.publish(start(3), 6, rng()))
    assert state(follower) == state(author)


def test_a_keyframe_exists_only_right_after_a_rebase() -> None:
    author, follower = pair(Codec.SIGN1)
    for replica in (author, follower):
        with pytest.raises(ValueError, match="rebase"):
            replica.keyframe()
    delta = author.publish(start(2), 1, rng(), rebase=True)
    author.keyframe()
    follower.apply(delta)
    with pytest.raises(ValueError, match="rebase"):
        follower.keyframe()
    author.publish(start(2), 2, rng())
    with pytest.raises(ValueError, match="rebase"):
        author.keyframe()


def keyframe_at(round_: int) -> tuple[Replica, Keyframe]:
    author, _ = pair(Codec.SIGN1)
    author.publish(start(2), round_ - 1, rng())
    author.publish(start(2), round_, rng(), rebase=True)
    return author, author.keyframe()


def test_a_keyframe_must_be_ahead() -> None:
    author, keyframe = keyframe_at(10)
    _, follower = pair(Codec.SIGN1)
    follower.restart(keyframe)
    before = state(follower)
    for stale in (
        keyframe,
        dataclasses.replace(keyframe, step=1),
        dataclasses.replace(keyframe, step=3, round=9),
    ):
        with pytest.raises(CodecError) as caught:
            follower.restart(stale)
        assert caught.value.reason is Reason.STALE
        assert state(follower) == before
    follower.apply(author.publish(start(3), 11, rng()))


def test_a_poisoned_replica_takes_an_older_keyframe() -> None:
    author, keyframe = keyframe_at(10)
    _, follower = pair(Codec.SIGN1)
    follower.restart(keyframe)
    deltas = [author.publish(start(3), 11 + number, rng()) for number in range(2)]
    follower.apply(deltas[0])
    lie = dataclasses.replace(deltas[1], replica_hash=bytes(32))
    refused(follower, lie, Reason.REPLICA_MISMATCH)
    follower.restart(keyframe)
    for delta in deltas:
        follower.apply(delta)
    assert state(follower) == state(author)


def test_a_bad_keyframe_changes_nothing() -> None:
    _, keyframe = keyframe_at(10)
    _, follower = pair(Codec.SIGN1)
    before = state(follower)
    coded = keyframe.coded
    huge = Coded(Codec.INT8, b"\xff\x7b" * 2, coded.values)
    infinite = Coded(Codec.INT8, b"\x00\x7c" * 2, coded.values)
    short = Coded(Codec.INT8, coded.scales, coded.values[:-1])
    for bad, reason in [
        (dataclasses.replace(keyframe, replica_hash=bytes(32)), Reason.REPLICA_MISMATCH),
        (dataclasses.replace(keyframe, coded=huge), Reason.OUT_OF_BOUNDS),
        (dataclasses.replace(keyframe, coded=infinite), Reason.NON_FINITE),
        (dataclasses.replace(keyframe, coded=short), Reason.BAD_DELTA),
        (
            dataclasses.replace(keyframe, coded=Coded(Codec.SIGN1, b"", b"")),
            Reason.BAD_DELTA,
        ),
    ]:
        with pytest.raises(CodecError) as caught:
            follower.restart(bad)
        assert caught.value.reason is reason
        assert state(follower) == before


@settings(deadline=None, max_examples=50)
@given(
    scales=st.lists(st.integers(0, 65535), min_size=2, max_size=2),
    byte=st.integers(0, 255),
    codec=st.sampled_from([Codec.SIGN1, Codec.INT8]),
)
def test_no_delta_makes_a_replica_non_finite(scales: list[int], byte: int, codec: Codec) -> None:
    _, follower = pair(codec)
    packed = b"".join(scale.to_bytes(2, "little") for scale in scales)
    count = 38 if codec is Codec.SIGN1 else SIZE
    coded = Coded(codec, packed, bytes([byte & 0xF0]) * count)
    before = state(follower)
    with pytest.raises(CodecError):
        follower.apply(Delta(1, 1, True, coded, bytes(32)))
    assert state(follower) == before
