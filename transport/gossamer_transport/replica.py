"""A replica: a follower's bit-exact reconstruction of what a peer has published.

Theory of operation. Publisher and followers start from one vector V (the initial parameters of the
genesis) and add the same decoded differences to it. The publisher codes `params - V`, so what
coding lost is part of the next difference: error feedback without further state (CHOCO-SGD,
Koloskova et al. 2019, https://arxiv.org/abs/1902.00340). Every delta carries the hash of the V that
it leads to; who computes another one asks for a keyframe.

A rebase snaps V to an int8 grid on both sides, which costs no byte, and right after it the
publisher can write V as an int8 keyframe: a new follower pays a quarter of float32.

Every step builds a new array and commits it at the very end: a refused delta changes nothing, and
a vector handed out stays as it was.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from gossamer_crypto.errors import Reason
from gossamer_transport.codec import Codec, Coded, Vector, decode, encode, snap
from gossamer_transport.delta import Delta, Keyframe, keyframe_codec
from gossamer_transport.errors import CodecError, DivergedError

_MAGNITUDE = np.uint32(0x7FFFFFFF)  # a float32 without its sign bit; orders like |v|
_INFINITY_BITS = 0x7F800000
# Denormals slow some CPUs down forty times and others flush them to zero by themselves.
_TINY_BITS = np.float32(1e-30).view(np.uint32)
# Less than half the last place of the largest float32: adding V to a finite value never overflows.
_BOUND_MAX = 1e30


def replica_hash(vector: Vector) -> bytes:
    """Return the SHA-256 of `vector`, float32[P], as little-endian bytes."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").data).digest()


class Replica:
    """The vector V of one author, float32[P], and how far it has come.

    The author holds one and calls `publish` and `keyframe`; each follower holds one and calls
    `apply` and `restart`. `bound` is the contract's limit on |V|.

    Raises:
        ValueError: `initial` is not float32[P], not finite or out of bounds, or `bound` is not in
            (0, 1e30].
    """

    __slots__ = (
        "_bound_bits",
        "_codec",
        "_hash",
        "_poisoned",
        "_rebased",
        "_round",
        "_snapped",
        "_step",
        "_vector",
    )

    def __init__(self, initial: Vector, codec: Codec, bound: float) -> None:
        if initial.dtype != np.float32 or initial.ndim != 1 or initial.size == 0:
            raise ValueError(f"expected float32[P], got {initial.dtype}{list(initial.shape)}")
        if not (math.isfinite(bound) and 0 < bound <= _BOUND_MAX):
            raise ValueError(f"bound must be above 0 and at most {_BOUND_MAX:g}")
        self._codec = codec
        self._bound_bits = int(np.float32(bound).view(np.uint32))
        vector = initial.copy()
        try:
            self._settle(vector)
        except CodecError as error:
            raise ValueError(f"initial parameters: {error.detail}") from None
        self._snapped: Coded | None = None
        self._commit(vector, replica_hash(vector), step=0, round_=0)

    @property
    def vector(self) -> Vector:
        """V, a read-only float32[P]. It never changes: a later step is another array."""
        return self._vector

    @property
    def step(self) -> int:
        """The number of deltas since the genesis."""
        return self._step

    @property
    def round(self) -> int:
        """The author's round of the last step."""
        return self._round

    @property
    def hash(self) -> bytes:
        """`replica_hash` of V."""
        return self._hash

    @property
    def poisoned(self) -> bool:
        """Whether a delta led to another hash than it said: only a keyframe is sure to heal it."""
        return self._poisoned

    def publish(
        self,
        params: Vector,
        round: int,  # noqa: A002 - the swarm's word for it
        rng: np.random.Generator,
        rebase: bool = False,
    ) -> Delta:
        """Advance V towards `params`, float32[P], and return the delta that does the same.

        Raises:
            DivergedError: `params` is not finite, or V would leave the bound. V stays as it was.
            ValueError: `params` is not float32[P], or `round` runs back.
        """
        if params.dtype != np.float32 or params.shape != self._vector.shape:
            raise ValueError(f"expected float32[{self._vector.size}]")
        if round < self._round:
            raise ValueError(f"round {round} after round {self._round}")
        with np.errstate(over="ignore", invalid="ignore"):
            difference = params - self._vector
        try:
            coded = encode(self._codec, difference, rng)
            vector, snapped = self._advance(coded, rebase)
        except (CodecError, ValueError) as error:
            detail = error.detail if isinstance(error, CodecError) else str(error)
            raise DivergedError(
                f"own parameters have diverged ({detail}): lower the learning rate, "
                "or go back to an earlier version"
            ) from None
        self._commit(vector, replica_hash(vector), step=self._step + 1, round_=round)
        self._rebased = rebase
        self._snapped = snapped
        return Delta(round, self._step, rebase, coded, self._hash)

    def apply(self, delta: Delta) -> None:
        """Take the step that `delta` describes. A refused delta leaves V, step and round alone.

        Raises:
            CodecError: STALE when the step is not the next one or the round runs back, BAD_DELTA,
                NON_FINITE, OUT_OF_BOUNDS, or REPLICA_MISMATCH, after which `poisoned` holds.
        """
        if delta.coded.codec is not self._codec:
            raise CodecError(Reason.BAD_DELTA, "another codec")
        if delta.step != self._step + 1:
            raise CodecError(Reason.STALE, f"step {delta.step} after step {self._step}")
        if delta.round < self._round:
            raise CodecError(Reason.STALE, f"round {delta.round} after round {self._round}")
        vector, _ = self._advance(delta.coded, delta.rebase)
        digest = replica_hash(vector)
        if digest != delta.replica_hash:
            self._poisoned = True
            raise CodecError(Reason.REPLICA_MISMATCH, f"at step {delta.step}")
        self._commit(vector, digest, step=delta.step, round_=delta.round)

    def keyframe(self) -> Keyframe:
        """Return a keyframe that decodes to exactly V.

        Raises:
            ValueError: the last step was not an own `publish` with `rebase`.
        """
        if not self._rebased:
            raise ValueError("a keyframe exists only right after a rebase")
        coded = self._snapped or Coded(Codec.FLOAT32, b"", self._vector.astype("<f4").tobytes())
        return Keyframe(self._round, self._step, coded, self._hash)

    def restart(self, keyframe: Keyframe) -> None:
        """Take V from `keyframe`, which must be ahead unless this replica is new or poisoned.

        Raises:
            CodecError: STALE when it is not ahead or its round runs back, or as `apply`.
        """
        if keyframe.coded.codec is not keyframe_codec(self._codec):
            raise CodecError(Reason.BAD_DELTA, "another codec")
        if not self._poisoned and self._step > 0:
            if keyframe.step <= self._step:
                raise CodecError(Reason.STALE, f"keyframe of step {keyframe.step}")
            if keyframe.round < self._round:
                raise CodecError(Reason.STALE, f"keyframe of round {keyframe.round}")
        vector = decode(keyframe.coded, self._vector.size)
        self._settle(vector)
        digest = replica_hash(vector)
        if digest != keyframe.replica_hash:
            raise CodecError(Reason.REPLICA_MISMATCH, "keyframe")
        self._commit(vector, digest, step=keyframe.step, round_=keyframe.round)

    def _advance(self, coded: Coded, rebase: bool) -> tuple[Vector, Coded | None]:
        """Return V after `coded` as a new array and, for a lossy rebase, the codes of it."""
        vector = decode(coded, self._vector.size)
        vector += self._vector
        self._settle(vector)
        if not rebase or coded.codec is Codec.FLOAT32:
            return vector, None
        snapped = snap(vector)
        vector = decode(snapped, vector.size)
        self._settle(vector)
        return vector, snapped

    def _settle(self, vector: Vector) -> None:
        """Check `vector`, then make it canonical in place: |v| < 1e-30 and -0.0 become +0.0.

        All comparisons are of integers: as such, infinities and NaN order above every number, so
        that one maximum serves all checks.
        """
        magnitudes = vector.view(np.uint32) & _MAGNITUDE
        worst = int(magnitudes.max())
        if worst > self._bound_bits:
            if worst >= _INFINITY_BITS:
                raise CodecError(Reason.NON_FINITE, "value is not finite")
            raise CodecError(Reason.OUT_OF_BOUNDS, "value is beyond the bound of the contract")
        vector[magnitudes < _TINY_BITS] = 0.0

    def _commit(self, vector: Vector, digest: bytes, *, step: int, round_: int) -> None:
        vector.setflags(write=False)
        self._vector = vector
        self._hash = digest
        self._step = step
        self._round = round_
        self._rebased = False
        self._snapped = None
        self._poisoned = False
