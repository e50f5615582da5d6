"""The hash of texts against its definition in docs/models.md, computed by hand here."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import DataError
from gossamer_agent.features.ngrams import hashed_ngrams, hashed_texts, tokens

DOCS = Path(__file__).resolve().parents[2] / "docs" / "models.md"


def test_the_example_of_the_documents() -> None:
    text = "WINNER!! Call 09061701461 now, don't wait: £500"
    expected = ["winner", "call", "<num6>", "now", "don't", "wait", "£", "<num3>"]
    assert list(tokens(text)) == expected
    pairs = [f"{one} {other}" for one, other in itertools.pairwise(expected)]
    buckets = {zlib.crc32(gram.encode()) % 1024 for gram in expected + pairs}
    row = hashed_ngrams(text)
    assert set(np.flatnonzero(row).tolist()) == buckets
    assert row.dtype == np.float32
    assert set(row.tolist()) == {0.0, 1.0}
    written = DOCS.read_text(encoding="utf-8")
    assert text in written
    assert ", ".join(map(str, sorted(buckets))) in " ".join(written.split())


def test_n_grams_of_other_lengths() -> None:
    assert hashed_ngrams("a b c", words=1).sum() <= 3
    row = hashed_ngrams("a b c", 4096, words=3)
    wanted = {zlib.crc32(g.encode()) % 4096 for g in ("a", "b", "c", "a b", "b c", "a b c")}
    assert set(np.flatnonzero(row).tolist()) == wanted


def test_texts_make_rows() -> None:
    assert hashed_texts(["a", "", "b"]).shape == (3, 1024)
    assert hashed_texts([]).shape == (0, 1024)
    assert not hashed_ngrams("").any()


@pytest.mark.parametrize("settings", [{"buckets": 0}, {"buckets": 1 << 21}, {"words": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(DataError):
        hashed_ngrams("a", **settings)


@given(st.text(max_size=200))
def test_any_text_has_a_row_and_case_does_not_matter(text: str) -> None:
    row = hashed_ngrams(text, 64)
    assert row.shape == (64,)
    assert np.array_equal(row, hashed_ngrams(text, 64))
