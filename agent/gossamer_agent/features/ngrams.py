"""Hashed n-grams: a text as a row of 0 and 1, the same on every device, without a dictionary.

The definition, which docs/models.md gives with examples, so that other languages can follow it:

1. The text is put into lower case (Unicode's full rules, Python's str.lower).
2. Tokens are the longest runs of the letters a-z, the signs pound, dollar and apostrophe, and the
   longest runs of the digits 0-9. All else only separates.
3. A run of digits becomes "<numN>", N its length, at most 6: what a number is matters less than
   that one is there, and phone numbers and prices differ by length.
4. The n-grams are the tokens, and n neighbouring tokens joined by one space, for n up to `words`.
5. Each n-gram sets the bucket CRC-32 (RFC 1952, section 8) of its UTF-8 bytes modulo `buckets`
   to 1. How often it occurs does not count.

Several n-grams may share a bucket (Weinberger et al., "Feature Hashing for Large Scale Multitask
Learning", 2009); with 1024 buckets and short messages that costs about a point of accuracy.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import DataError

BUCKETS: Final = 1024
TEXT_CHARS_MAX: Final = 1 << 20
"""Longer texts are cut: a mail with attachments must not stall a device."""

_TOKEN = re.compile(r"[a-z£$']+|[0-9]+")
_NUMBER_LENGTH_MAX = 6
_BUCKETS_MAX = 1 << 20
_WORDS_MAX = 8


def tokens(text: str) -> Iterator[str]:
    """The tokens of a text, in order; steps 1 to 3 above."""
    for found in _TOKEN.finditer(text[:TEXT_CHARS_MAX].lower()):
        token = found.group()
        is_number = token[0].isdigit()
        yield f"<num{min(len(token), _NUMBER_LENGTH_MAX)}>" if is_number else token


def hashed_ngrams(text: str, buckets: int = BUCKETS, *, words: int = 2) -> npt.NDArray[np.float32]:
    """The n-grams of one text: float32 [buckets] of 0 and 1.

    words: the longest n-gram in tokens, 1..8. Raises DataError for settings out of range.
    """
    if not 1 <= buckets <= _BUCKETS_MAX:
        raise DataError(f"buckets must be 1..{_BUCKETS_MAX}, not {buckets}")
    if not 1 <= words <= _WORDS_MAX:
        raise DataError(f"words must be 1..{_WORDS_MAX}, not {words}")
    row = np.zeros(buckets, np.float32)
    recent: list[str] = []
    for token in tokens(text):
        recent = [*recent[-(words - 1) :], token] if words > 1 else [token]
        for start in range(len(recent)):
            gram = " ".join(recent[start:])
            row[zlib.crc32(gram.encode()) % buckets] = 1.0
    return row


def hashed_texts(
    texts: Iterable[str], buckets: int = BUCKETS, *, words: int = 2
) -> npt.NDArray[np.float32]:
    """One row for each text: float32 [n, buckets]; see `hashed_ngrams`."""
    rows = [hashed_ngrams(text, buckets, words=words) for text in texts]
    return np.stack(rows) if rows else np.zeros((0, buckets), np.float32)
