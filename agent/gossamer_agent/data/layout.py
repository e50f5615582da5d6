"""How a table becomes samples: which column is what, and what the words of its labels mean.

The number of a label word is its place in `words`. All devices of a swarm must use one order: a
device that numbered the words of its own file by itself would teach the others wrong labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.data.arrays import CLASSES_MAX, Floats, Labels
from gossamer_agent.errors import DataError

IS_TEST: Final = "is_test"
LABEL: Final = "label"
COLUMNS_MAX: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the user said about tables.

    label: names of the columns with the labels, separated by commas (more than one for regression
    only); None: the column "label". features: columns in order, () for all others. shape: of one
    sample, () for one value per column. words: label words in the order of their numbers, () to
    number them here. regression: labels are numbers.
    """

    label: str | None = None
    features: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    regression: bool = False

    def with_words(self, words: tuple[str, ...]) -> Layout:
        """The same with these label words, if there are any."""
        return replace(self, words=words) if words else self


@dataclass(frozen=True, slots=True)
class Table:
    """x: float32 [n, ...], not yet checked; y: int32 [n], or float32 [n, outputs] for regression;
    is_test: [n] or None; features: column names; words: of the labels 0, 1, 2, ... or ().
    """

    x: Floats
    y: Any
    is_test: npt.NDArray[Any] | None
    features: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places of columns in a header. is_test: None where there is no such column."""

    labels: tuple[int, ...]
    features: tuple[int, ...]
    is_test: int | None


def choose_columns(name: str, header: Sequence[str], layout: Layout) -> Chosen:
    """Find the columns that `layout` names. Raises DataError that tells what there is."""
    if len(header) > COLUMNS_MAX:
        raise DataError(f"data set {name!r}: has {len(header)} columns; at most {COLUMNS_MAX}")
    places = {column: place for place, column in enumerate(header)}
    if len(places) < len(header):
        twice = next(column for column in header if list(header).count(column) > 1)
        raise DataError(f"data set {name!r}: two columns are called {twice!r:.60}")
    wanted = [layout.label or LABEL]
    if layout.regression and wanted[0] not in places:
        wanted = wanted[0].split(",")
    for column in (*wanted, *layout.features):
        if column not in places:
            what = "label" if column in wanted else "feature"
            raise DataError(
                f"data set {name!r}: has no {what} column {column!r:.60}; its columns are"
                f" {_some(header)}{'; name it with --label' if what == LABEL else ''}"
            )
    is_test = places.get(IS_TEST) if IS_TEST not in (*wanted, *layout.features) else None
    labels = tuple(places[column] for column in wanted)
    features = tuple(places[column] for column in layout.features) or tuple(
        place for place in places.values() if place not in labels and place != is_test
    )
    if not features:
        raise DataError(f"data set {name!r}: has no column beside the labels")
    if set(features) & set(labels):
        raise DataError(f"data set {name!r}: a label column cannot be a feature too")
    if layout.shape and math.prod(layout.shape) != len(features):
        shape = "x".join(map(str, layout.shape))
        raise DataError(
            f"data set {name!r}: {len(features)} feature columns do not make the shape {shape}"
        )
    return Chosen(labels, features, is_test)


def number_labels(
    name: str, texts: Sequence[str], lines: Sequence[int], column: str, layout: Layout
) -> tuple[Labels, tuple[str, ...]]:
    """Labels int32 [n] of texts, and the words: whole numbers as they are, words by their place.

    lines: where each stands in the file. Raises DataError with line and column.
    """
    for text, line in zip(texts, lines, strict=True):
        if not text:
            raise DataError(f"data set {name!r}: line {line}, column {column!r:.60}: no label")
    distinct = set(texts)
    words = layout.words
    if not words:
        if all(text.isascii() and text.isdecimal() and len(text) <= 6 for text in distinct):
            return _numbers(name, texts, lines, column), ()
        words = tuple(sorted(distinct))
    if len(words) > CLASSES_MAX:
        raise DataError(
            f"data set {name!r}: column {column!r:.60} holds {len(words)} different labels; at most"
            f" {CLASSES_MAX} classes are possible. Is it the right column?"
        )
    numbers = {word: number for number, word in enumerate(words)}
    for text, line in zip(texts, lines, strict=True):
        if text not in numbers:
            raise DataError(
                f"data set {name!r}: line {line}, column {column!r:.60}: {text!r:.60} is none of"
                f" the labels {_some(words)}"
            )
    return np.array([numbers[text] for text in texts], np.int32), words


def _numbers(name: str, texts: Sequence[str], lines: Sequence[int], column: str) -> Labels:
    values = [int(text) for text in texts]
    for value, line in zip(values, lines, strict=True):
        if value >= CLASSES_MAX:
            raise DataError(
                f"data set {name!r}: line {line}, column {column!r:.60}: label {value}; at most"
                f" {CLASSES_MAX} classes, 0 to {CLASSES_MAX - 1}, are possible"
            )
    return np.array(values, np.int32)


def parse_shape(text: str) -> tuple[int, ...]:
    """ "8x8" as (8, 8). Raises ValueError."""
    parts = text.lower().split("x")
    numbers = all(p.isascii() and p.isdecimal() and len(p) < 7 for p in parts)
    if not (1 <= len(parts) <= 8 and numbers):
        raise ValueError(f"{text!r:.40} is no shape; write one like 8x8 or 28x28x1")
    shape = tuple(map(int, parts))
    if 0 in shape:
        raise ValueError(f"{text!r:.40} is no shape: a dimension is 0")
    return shape


def _some(columns: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(repr(column)[:40] for column in columns[:most])
    return shown + (f" and {len(columns) - most} more" if len(columns) > most else "")
