"""The ring of evidence: newest pieces only, exact bytes, one error for anything else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.evidence import (
    PIECES_MAX,
    RING_BYTES_MAX,
    WORDS_BYTES_MAX,
    Evidence,
    EvidenceKind,
    appended,
    pack_piece,
    unpack_ring,
)

FLOATS = st.floats(width=32)
PIECES = st.builds(
    Evidence,
    round=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(EvidenceKind),
    score=st.floats(0, 1, width=32),
    value=FLOATS,
    mark=FLOATS,
    words=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=WORDS_BYTES_MAX),
)


def piece(number: int) -> Evidence:
    return Evidence(number, EvidenceKind.DISTANCE, 0.5, 1.5, 1.0)


@given(st.lists(PIECES, max_size=5))
def test_pieces_come_back(pieces: list[Evidence]) -> None:
    ring = b""
    for one in pieces:
        ring = appended(ring, one)
    assert repr(unpack_ring(ring)) == repr(tuple(pieces))


def test_the_oldest_go_first_and_the_ring_stays_small() -> None:
    ring = b""
    for number in range(100):
        ring = appended(ring, Evidence(number, EvidenceKind.OFFENCE, 0.0, words="x" * 999))
    assert [one.round for one in unpack_ring(ring)] == [*range(100 - PIECES_MAX, 100)]
    assert len(ring) == RING_BYTES_MAX


def test_codes_of_kinds_are_in_files_and_never_change() -> None:
    codes = [pack_piece(Evidence(0, kind, 0.0))[8] for kind in EvidenceKind]
    assert codes == [*range(len(EvidenceKind))]
    first = ["distance", "offence", "admitted", "quarantined", "banned"]
    assert [str(kind) for kind in EvidenceKind][:5] == first


def test_words_of_strangers_are_made_printable() -> None:
    raw = pack_piece(Evidence(1, EvidenceKind.OFFENCE, 0.0, words="bad\x1b[2J\nß"))
    assert unpack_ring(raw)[0].words == "bad?[2J??"


@pytest.mark.parametrize("value", [1e300, -1e300, math.inf, math.nan])
def test_any_float_can_be_told(value: float) -> None:
    (told,) = unpack_ring(pack_piece(Evidence(1, EvidenceKind.DISTANCE, 0.5, value, 0.0)))
    assert not math.isfinite(told.value)


@given(st.binary(max_size=200))
def test_other_bytes_raise_one_error(raw: bytes) -> None:
    try:
        unpack_ring(raw)
    except ValueError:
        return


def test_every_cut_is_refused() -> None:
    ring = appended(pack_piece(piece(1)), piece(2))
    for size in set(range(len(ring))) - {0, len(ring) // 2}:
        with pytest.raises(ValueError, match="cut off"):
            unpack_ring(ring[:size])


@pytest.mark.parametrize(("at", "byte"), [(8, 6), (9, 0xFF), (21, 200)])
def test_what_no_piece_says_is_refused(at: int, byte: int) -> None:
    raw = bytearray(pack_piece(piece(1)))
    raw[at] = byte
    with pytest.raises(ValueError, match="evidence"):
        unpack_ring(bytes(raw) + b"x" * (200 if at == 21 else 0))


def test_too_many_pieces_are_refused() -> None:
    with pytest.raises(ValueError, match="33 pieces"):
        unpack_ring(pack_piece(piece(1)) * (PIECES_MAX + 1))
