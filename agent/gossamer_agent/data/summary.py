"""What a file of data holds, in numbers: for `gossamer data info` and `check`."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np

from gossamer_agent.data.holdout import digests
from gossamer_agent.data.loading import Loaded
from gossamer_agent.learner import Samples

_NO_KEY = bytes(32)  # copies are looked for here, nothing is hidden


class FileSummary(msgspec.Struct, kw_only=True):
    """rows: in all, test: of them by is_test; shape: of one sample; labels: how many of each class,
    by word or number, {} for a regression; outputs: of a regression; low, high: of all values;
    constant: features that never vary; duplicates: rows that are copies of others; contradictions:
    rows with the values of another row and another label.
    """

    rows: int
    test: int
    shape: list[int]
    features: list[str]
    labels: dict[str, int]
    words: list[str]
    outputs: int | None
    low: float
    high: float
    constant: int
    duplicates: int
    contradictions: int
    warnings: list[str]


def summarise(loaded: Loaded) -> FileSummary:
    """Look through one file."""
    samples = loaded.samples
    regression = samples.y.ndim == 2
    flat = samples.x.reshape(len(samples), -1)
    duplicates, contradictions = _copies(samples)
    return FileSummary(
        rows=len(samples),
        test=0 if loaded.is_test is None else int(loaded.is_test.sum()),
        shape=list(samples.x.shape[1:]),
        features=list(loaded.features),
        labels={} if regression else _labels(samples, loaded.words),
        words=list(loaded.words),
        outputs=samples.y.shape[1] if regression else None,
        low=float(flat.min()),
        high=float(flat.max()),
        constant=int((flat.min(axis=0) == flat.max(axis=0)).sum()),
        duplicates=duplicates,
        contradictions=contradictions,
        warnings=list(loaded.warnings),
    )


def _labels(samples: Samples, words: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(samples.y)
    return {
        words[number] if number < len(words) else str(number): int(count)
        for number, count in enumerate(counts)
    }


def _copies(samples: Samples) -> tuple[int, int]:
    whole = Counter(digests(samples, _NO_KEY))
    unlabelled = Samples(samples.x, np.zeros(len(samples), np.int32))
    inputs = Counter(digests(unlabelled, _NO_KEY))
    duplicates = sum(count - 1 for count in whole.values())
    return duplicates, sum(count - 1 for count in inputs.values()) - duplicates
