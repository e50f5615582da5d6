"""What a device saw of a peer itself: a ring of the newest pieces, small enough for thousands.

A ring is one byte string, old pieces first, because that is how it is stored and because a table
of thousands of peers would otherwise cost hundreds of bytes per piece. A piece is

    round u64 | kind u8 | score f32 | value f32 | mark f32 | length u8 | words

big-endian, `words` in ASCII. Codes of kinds are positions in `EvidenceKind`: add at the end only.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

PIECES_MAX: Final = 32
"""Pieces in a ring: the marks of half an hour at a round per minute."""
WORDS_BYTES_MAX: Final = 80
RING_BYTES_MAX: Final = PIECES_MAX * (22 + WORDS_BYTES_MAX)

_PIECE = struct.Struct(">QBfffB")
_FLOAT32_MAX: Final = float.fromhex("0x1.fffffep+127")


class EvidenceKind(StrEnum):
    """What happened: a mark that was given, an offence, or a change of standing."""

    DISTANCE = "distance"
    OFFENCE = "offence"
    ADMITTED = "admitted"
    QUARANTINED = "quarantined"
    BANNED = "banned"
    PROGRESS = "progress"


_KINDS: Final = tuple(EvidenceKind)
_CODES: Final = {kind: code for code, kind in enumerate(_KINDS)}


@dataclass(frozen=True, slots=True)
class Evidence:
    """One piece of first-hand evidence.

    round: the own one. score: the peer's, after this. value: what was measured (DISTANCE: how far
    it was from the inputs with most votes, in radii, one of which is the tightest group's;
    PROGRESS, where that gave the larger mark: the same as a share of the merge's distance from
    genesis) and mark: what it was worth, 0..1; nan where nothing was measured. words: reason, and
    detail after a colon, of an offence or a change of standing.
    """

    round: int
    kind: EvidenceKind
    score: float
    value: float = math.nan
    mark: float = math.nan
    words: str = ""


def appended(ring: bytes, piece: Evidence) -> bytes:
    """The ring with one more piece, and without its oldest if it was full."""
    starts = _starts(ring)
    if len(starts) >= PIECES_MAX:
        ring = ring[starts[len(starts) - PIECES_MAX + 1] :]
    return ring + pack_piece(piece)


def pack_piece(piece: Evidence) -> bytes:
    """A piece as bytes; words are cut and what is not printable ASCII becomes `?`."""
    words = "".join(c if " " <= c <= "~" else "?" for c in piece.words[:WORDS_BYTES_MAX])
    numbers = (_float32(value) for value in (piece.score, piece.value, piece.mark))
    head = _PIECE.pack(piece.round, _CODES[piece.kind], *numbers, len(words))
    return head + words.encode("ascii")


def unpack_ring(raw: bytes) -> tuple[Evidence, ...]:
    """The pieces of a ring, oldest first; ValueError if the bytes are no ring."""
    starts = _starts(raw)
    if len(starts) > PIECES_MAX:
        raise ValueError(f"{len(starts)} pieces of evidence")
    pieces = pairwise([*starts, len(raw)]) if starts else ()
    return tuple(_unpack(raw[start:end]) for start, end in pieces)


def _starts(raw: bytes) -> list[int]:
    """Where each piece begins; ValueError unless the last ends where the bytes do."""
    starts, at = [], 0
    while at < len(raw):
        starts.append(at)
        if at + _PIECE.size > len(raw):
            break
        at += _PIECE.size + raw[at + _PIECE.size - 1]
    if at != len(raw):
        raise ValueError("a ring of evidence is cut off")
    return starts


def _unpack(raw: bytes) -> Evidence:
    round_, code, score, value, mark, length = _PIECE.unpack_from(raw)
    words = raw[_PIECE.size :]
    if code >= len(_KINDS) or not 0.0 <= score <= 1.0 or length > WORDS_BYTES_MAX:
        raise ValueError("a piece of evidence is damaged")
    if any(not 32 <= byte < 127 for byte in words):
        raise ValueError("words of a piece of evidence are damaged")
    return Evidence(round_, _KINDS[code], score, value, mark, words.decode("ascii"))


def _float32(value: float) -> float:
    """What fits into float32; what is larger is as good as infinite."""
    return value if not abs(value) > _FLOAT32_MAX else math.copysign(math.inf, value)
