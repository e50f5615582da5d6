"""Bodies of the entries that only the owner and auditors read: what a merge did, who was judged.

Flat msgpack arrays of ints, strings and bins, like everything in a feed. Rows of a merge stand in
PeerId order; numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from gossamer_crypto.errors import FeedError, Reason
from gossamer_crypto.identity import PeerId

CONTRIBUTORS_MAX = 1024
BODY_BYTES_MAX = 256 * 1024

_Fields = TypeVar("_Fields")
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)]
_MERGE = msgspec.msgpack.Decoder(
    tuple[
        Literal[1],
        _Count,
        _Word,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bytes,
        bool,
    ]
)
_STANDING = msgspec.msgpack.Decoder(tuple[Literal[1], _Count, bytes, bool, float, _Word])


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """One input of a merge. votes: fixed point, 2^16 = one vote; clip: factor of the last step."""

    peer: PeerId
    step: int
    replica_hash: bytes
    votes: int
    clip: float
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """All that is needed to replay one merge from the deltas, and to see who was in it."""

    round: int
    rule: str
    contributors: tuple[Contributor, ...]
    radius: float
    result_hash: bytes
    loss_before: float
    loss_after: float
    committed: bool

    def pack(self) -> bytes:
        rows = self.contributors
        return msgspec.msgpack.encode(
            (
                1,
                self.round,
                self.rule,
                b"".join(row.peer for row in rows),
                _column([row.step for row in rows], ">u8"),
                b"".join(row.replica_hash for row in rows),
                _column([row.votes for row in rows], ">u4"),
                _column([row.clip for row in rows], ">f8"),
                _column([row.distance for row in rows], ">f8"),
                _column([self.radius, self.loss_before, self.loss_after], ">f8"),
                self.result_hash,
                self.committed,
            )
        )

    @classmethod
    def unpack(cls, raw: bytes) -> MergeRecord:
        """FeedError if the bytes are anything else than a merge record."""
        _, round_, rule, *columns, result, committed = _decode(_MERGE, raw)
        peers, steps, hashes, votes, clips, distances, scalars = columns
        count = len(peers) // 32
        expected = {32: (peers, hashes), 8: (steps, clips, distances), 4: (votes,)}
        for width, group in expected.items():
            if any(len(column) != width * count for column in group):
                raise FeedError(Reason.BAD_FRAME, "columns of a merge record differ in length")
        if count > CONTRIBUTORS_MAX or len(scalars) != 24 or len(result) != 32:
            raise FeedError(Reason.BAD_FRAME, "size of a merge record")
        radius, before, after = np.frombuffer(scalars, ">f8").tolist()
        rows = zip(
            _split(peers),
            np.frombuffer(steps, ">u8").tolist(),
            _split(hashes),
            np.frombuffer(votes, ">u4").tolist(),
            np.frombuffer(clips, ">f8").tolist(),
            np.frombuffer(distances, ">f8").tolist(),
            strict=True,
        )
        contributors = tuple(
            Contributor(
                peer=PeerId(p), step=s, replica_hash=h, votes=v, clip=clip, distance=distance
            )
            for p, s, h, v, clip, distance in rows
        )
        return cls(
            round=round_,
            rule=rule,
            contributors=contributors,
            radius=radius,
            result_hash=result,
            loss_before=before,
            loss_after=after,
            committed=committed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRecord:
    """A peer was quarantined or released by our own first-hand score."""

    round: int
    peer: PeerId
    quarantined: bool
    score: float
    reason: str

    def pack(self) -> bytes:
        fields = (self.round, self.peer, self.quarantined, self.score, self.reason)
        return msgspec.msgpack.encode((1, *fields))

    @classmethod
    def unpack(cls, raw: bytes) -> StandingRecord:
        """FeedError if the bytes are anything else than a standing record."""
        _, round_, peer, quarantined, score, reason = _decode(_STANDING, raw)
        if len(peer) != 32:
            raise FeedError(Reason.BAD_FRAME, "size of a standing record")
        return cls(
            round=round_, peer=PeerId(peer), quarantined=quarantined, score=score, reason=reason
        )


def _column(values: Sequence[int] | Sequence[float], dtype: str) -> bytes:
    column: NDArray[np.generic] = np.asarray(values, dtype)
    return column.tobytes()


def _split(raw: bytes) -> list[bytes]:
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def _decode(decoder: msgspec.msgpack.Decoder[_Fields], raw: bytes) -> _Fields:
    if len(raw) > BODY_BYTES_MAX:
        raise FeedError(Reason.TOO_LARGE, "record")
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(Reason.BAD_FRAME, f"record: {error}") from None
