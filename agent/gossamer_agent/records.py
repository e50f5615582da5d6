"""Bodies of the entries that only the owner and auditors read: what a merge did, who was judged.

Flat msgpack arrays of ints, strings and bins, like everything in a feed (docs/spec/records.md).
Rows of a merge stand in PeerId order; numbers are big-endian. Version 2 of a merge added why the
gate decided as it did, the losses of the inputs, whose votes were bounded together, and who was
left out; version 3 names the version of the rule and is shorter: columns that say nothing are
empty, counts have four bytes where these are enough, and so has a clip factor. Version 2 of a
standing knows bans. Records of older versions are read as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from gossamer_agent.probation import UNBOUNDED, Bounds
from gossamer_agent.reputation import Standing
from gossamer_crypto.errors import FeedError, Reason
from gossamer_crypto.identity import PeerId

LEFT_OUT_MAX = 1024  # the largest view
CONTRIBUTORS_MAX = LEFT_OUT_MAX + 1  # and the own input
BODY_BYTES_MAX = 256 * 1024
WORD_LENGTH_MAX = 64

_Fields = TypeVar("_Fields")
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Version: TypeAlias = Annotated[int, msgspec.Meta(ge=1, lt=1 << 32)]
_Word: TypeAlias = Annotated[str, msgspec.Meta(max_length=WORD_LENGTH_MAX)]
_Words: TypeAlias = Annotated[str, msgspec.Meta(max_length=LEFT_OUT_MAX * (WORD_LENGTH_MAX + 1))]
_MERGE_1 = msgspec.msgpack.Decoder(
    tuple[
        Literal[1], _Count, _Word, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bool
    ]
)  # fmt: skip
_MERGE_2 = msgspec.msgpack.Decoder(
    tuple[
        Literal[2], _Count, _Word, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bool,
        _Word, bytes, bytes, bytes, bytes, bytes, bytes, _Words,
    ]
)  # fmt: skip
_MERGE_3 = msgspec.msgpack.Decoder(
    tuple[
        Literal[3], _Count, _Word, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, bool,
        _Word, bytes, bytes, bytes, bytes, bytes, bytes, _Words, _Version,
    ]
)  # fmt: skip
_STANDING_1 = msgspec.msgpack.Decoder(tuple[Literal[1], _Count, bytes, bool, float, _Word])
_STANDING_2 = msgspec.msgpack.Decoder(
    tuple[
        Literal[2],
        _Count,
        bytes,
        Literal["admitted", "quarantined", "banned"],
        float,
        _Word,
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contributor:
    """One input of a merge.

    votes: fixed point, 2^16 = one vote; 0: the rule refused it. clip: how much of it counted in
    full, 0..1; a record keeps the float32 next to it. distance: what `Merged` has for it; infinite
    where it was not usable. loss: of the input on the hold-out data in nats, nan where the rule did
    not ask. bounds: why its votes were bounded together with others'.
    """

    peer: PeerId
    step: int
    replica_hash: bytes
    votes: int
    clip: float
    distance: float
    loss: float = math.nan
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A followed peer that was no input of a merge.

    step: of its replica, 0 for none. reason: one word, "quarantined", "banned", "stale" (its
    replica has not moved for too long) or "silent" (nothing came from it yet).
    """

    peer: PeerId
    step: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRecord:
    """All that is needed to replay one merge from the deltas, and to see who was in it.

    rule_version: `Rule.version` of the program that made it; 1 for all that was logged before
    records named it. verdict: why it was committed or not, in words; "" in a record of version 1.
    """

    round: int
    rule: str
    contributors: tuple[Contributor, ...]
    radius: float
    result_hash: bytes
    loss_before: float
    loss_after: float
    committed: bool
    verdict: str = ""
    left_out: tuple[LeftOut, ...] = ()
    rule_version: int = 1

    def pack(self) -> bytes:
        rows, left = self.contributors, self.left_out
        named = [row.bounds.branch for row in rows]
        branches = sorted({branch for branch in named if branch is not None})
        places = {branch: place for place, branch in enumerate(branches, start=1)}
        told = any(not math.isnan(row.loss) for row in rows)
        newcomers = [row.bounds.newcomer for row in rows]
        place_of = [0 if branch is None else places[branch] for branch in named]
        return msgspec.msgpack.encode(
            (
                3,
                self.round,
                self.rule,
                b"".join(row.peer for row in rows),
                _counts([row.step for row in rows]),
                b"".join(row.replica_hash for row in rows),
                _column([row.votes for row in rows], ">u4"),
                _column([row.clip for row in rows], ">f4"),
                _column([row.distance for row in rows], ">f8"),
                _column([self.radius, self.loss_before, self.loss_after], ">f8"),
                self.result_hash,
                self.committed,
                self.verdict[:WORD_LENGTH_MAX],
                _column([row.loss for row in rows], ">f8") if told else b"",
                _column(newcomers, "u1") if any(newcomers) else b"",
                b"".join(branches),
                _column(place_of, ">u2") if branches else b"",
                b"".join(row.peer for row in left),
                _counts([row.step for row in left]),
                " ".join(row.reason for row in left),
                self.rule_version,
            )
        )

    @classmethod
    def unpack(cls, raw: bytes) -> MergeRecord:
        """FeedError if the bytes are anything else than a merge record."""
        fields: tuple[Any, ...]
        if raw[1:2] == b"\x01":  # after the byte of a short array; later versions are long ones
            fields = (*_decode(_MERGE_1, raw), "", b"", b"", b"", b"", b"", b"", "", 1)
        elif raw[3:4] == b"\x02":
            fields = (*_decode(_MERGE_2, raw), 1)
        else:
            fields = _decode(_MERGE_3, raw)
        _, round_, rule, *columns, scalars, result, committed, verdict = fields[:13]
        columns += fields[13:17]  # of version 2 and later
        if len(scalars) != 24 or len(result) != 32:
            raise FeedError(Reason.BAD_FRAME, "size of a merge record")
        radius, before, after = np.frombuffer(scalars, ">f8").tolist()
        return cls(
            round=round_,
            rule=rule,
            contributors=_contributors(columns),
            radius=radius,
            result_hash=result,
            loss_before=before,
            loss_after=after,
            committed=committed,
            verdict=verdict,
            left_out=_left_out(*fields[17:20]),
            rule_version=fields[20],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRecord:
    """A peer was quarantined, released or banned: by our own score, or by a proof we verified."""

    round: int
    peer: PeerId
    standing: Standing
    score: float
    reason: str

    @property
    def quarantined(self) -> bool:
        """Whether it lost its vote."""
        return self.standing is not Standing.ADMITTED

    def pack(self) -> bytes:
        fields = (self.round, self.peer, str(self.standing), self.score, self.reason)
        return msgspec.msgpack.encode((2, *fields))

    @classmethod
    def unpack(cls, raw: bytes) -> StandingRecord:
        """FeedError if the bytes are anything else than a standing record."""
        standing: Standing
        if raw[1:2] == b"\x01":
            _, round_, peer, quarantined, score, reason = _decode(_STANDING_1, raw)
            standing = Standing.QUARANTINED if quarantined else Standing.ADMITTED
        else:
            _, round_, peer, word, score, reason = _decode(_STANDING_2, raw)
            standing = Standing(word)
        if len(peer) != 32:
            raise FeedError(Reason.BAD_FRAME, "size of a standing record")
        return cls(round=round_, peer=PeerId(peer), standing=standing, score=score, reason=reason)


def _contributors(columns: Sequence[bytes]) -> tuple[Contributor, ...]:
    """The rows of a merge from its columns, which must fit each other."""
    peers, steps, hashes, votes, clips, distances, losses, newcomers, branches, places = columns
    count = len(peers) // 32
    newcomers = newcomers or bytes(count)
    places = places or bytes(2 * count)
    step_width, clip_width = _width(steps, count), _width(clips, count)
    expected = (
        (32, (peers, hashes)),
        (8, (distances, losses or bytes(8 * count))),
        (step_width, (steps,)),
        (clip_width, (clips,)),
        (4, (votes,)),
        (2, (places,)),
        (1, (newcomers,)),
    )
    for width, group in expected:
        if any(len(column) != width * count for column in group):
            raise FeedError(Reason.BAD_FRAME, "columns of a merge record differ in length")
    if count > CONTRIBUTORS_MAX or len(branches) % 32 or len(branches) > len(peers):
        raise FeedError(Reason.BAD_FRAME, "size of a merge record")
    numbers = [
        np.frombuffer(column, dtype).tolist()
        for column, dtype in (
            (steps, f">u{step_width}"),
            (votes, ">u4"),
            (clips, f">f{clip_width}"),
            (distances, ">f8"),
        )
    ]  # fmt: skip
    numbers.append(np.frombuffer(losses, ">f8").tolist() if losses else [math.nan] * count)
    names = [None, *(PeerId(name) for name in _split(branches))]
    indices = np.frombuffer(places, ">u2").tolist()
    if any(index >= len(names) for index in indices) or any(flag > 1 for flag in newcomers):
        raise FeedError(Reason.BAD_FRAME, "groups of a merge record")
    rows = zip(_split(peers), _split(hashes), *numbers, newcomers, indices, strict=True)
    return tuple(
        Contributor(
            peer=PeerId(peer),
            step=step,
            replica_hash=digest,
            votes=vote,
            clip=clip,
            distance=distance,
            loss=loss,
            bounds=Bounds(bool(newcomer), names[index]),
        )
        for peer, digest, step, vote, clip, distance, loss, newcomer, index in rows
    )


def _left_out(peers: bytes, steps: bytes, reasons: str) -> tuple[LeftOut, ...]:
    words = reasons.split(" ") if reasons else []
    count = len(words)
    width = _width(steps, count)
    if len(peers) != 32 * count or len(steps) != width * count or count > LEFT_OUT_MAX:
        raise FeedError(Reason.BAD_FRAME, "columns of those left out differ in length")
    rows = zip(_split(peers), np.frombuffer(steps, f">u{width}").tolist(), words, strict=True)
    return tuple(LeftOut(peer=PeerId(peer), step=step, reason=word) for peer, step, word in rows)


def _column(values: Sequence[int] | Sequence[float], dtype: str) -> bytes:
    column: NDArray[np.generic] = np.asarray(values, dtype)
    return column.tobytes()


def _counts(values: Sequence[int]) -> bytes:
    """Four bytes for each where all fit, else eight."""
    return _column(values, ">u4" if max(values, default=0) < 1 << 32 else ">u8")


def _width(column: bytes, count: int) -> int:
    """Bytes of a number in a column that has two forms: 4, or 8 for anything else."""
    return 4 if len(column) == 4 * count else 8


def _split(raw: bytes) -> list[bytes]:
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def _decode(decoder: msgspec.msgpack.Decoder[_Fields], raw: bytes) -> _Fields:
    if len(raw) > BODY_BYTES_MAX:
        raise FeedError(Reason.TOO_LARGE, "record")
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FeedError(Reason.BAD_FRAME, f"record: {error}") from None
