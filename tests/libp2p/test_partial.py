"""A frame that comes in pieces of any size."""

from __future__ import annotations

import hashlib
import itertools

from hypothesis import given
from hypothesis import strategies as st

from gossamer_transport.libp2p.pull import PIECE_BYTES, _Partial

SIZES = st.sampled_from([1, 2, 1000, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 65_536])


@given(sizes=st.lists(SIZES, max_size=30))
def test_the_pieces_are_the_frame(sizes: list[int]) -> None:
    frame = _Partial()
    sent = b""
    for size, letter in zip(sizes, itertools.cycle(b"gossamer"), strict=False):
        chunk = bytes([letter]) * size
        sent += chunk
        frame.append(chunk)
        assert frame.length == len(sent)
    assert frame.whole(hashlib.sha256(sent).digest()) == sent
    assert frame.whole(bytes(32)) is None


def test_tiny_chunks_are_not_kept_one_by_one() -> None:
    frame = _Partial()
    for _ in range(3 * PIECE_BYTES):
        frame.append(b"x")
    assert len(frame._pieces) <= 6
