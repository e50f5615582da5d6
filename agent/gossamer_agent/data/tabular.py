"""Tables of text (CSV): a header, one sample per line.

Comma, semicolon or tab, whichever the header has most of; UTF-8, with or without a byte order mark.
Every fault is named with its line, as an editor counts it, and its column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Final

import numpy as np

from gossamer_agent.data.layout import Chosen, Layout, Table, choose_columns, number_labels
from gossamer_agent.errors import DataError

TEXT_BYTES_MAX: Final = 512 << 20
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_CHOOSE: Final = "; if the column is to be left out, name the others with --features"
_TRUTHS: Final = {"0": 0, "1": 1, "false": 0, "true": 1}


def read_csv(name: str, path: Path, layout: Layout, bytes_max: int = TEXT_BYTES_MAX) -> Table:
    """The samples of the file at `path`, which the user calls `name`. Raises DataError."""
    rows = _lines(name, path, bytes_max)
    try:
        _, header = next(rows)
    except StopIteration:
        raise DataError(f"data set {name!r}: is empty; its first line must name columns") from None
    header = [column.strip() for column in header]
    if not all(header):
        raise DataError(f"data set {name!r}: column {header.index('') + 1} has no name")
    chosen = choose_columns(name, header, layout)
    return _table(name, rows, header, chosen, layout)


def _table(
    name: str,
    rows: Iterator[tuple[int, list[str]]],
    header: list[str],
    chosen: Chosen,
    layout: Layout,
) -> Table:
    values: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    targets: list[list[float]] = []
    texts: list[str] = []
    lines: list[int] = []
    truths: list[int] = []
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(
                f"data set {name!r}: line {line} has {len(row)} values, the header {len(header)}"
            )
        # A column of text shows in the first row; later ones are faults of a row.
        hint = "" if values or layout.features else _CHOOSE
        values.append(
            np.array(_floats(name, line, row, header, chosen.features, hint=hint), np.float32)
        )
        if layout.regression:
            targets.append(_floats(name, line, row, header, chosen.labels))
        else:
            texts.append(row[chosen.labels[0]].strip())
        if chosen.is_test is not None:
            truths.append(_truth(name, line, row[chosen.is_test]))
        lines.append(line)
    if not values:
        raise DataError(f"data set {name!r}: has a header but no rows")
    x = np.stack(values).reshape(-1, *(layout.shape or (len(chosen.features),)))
    is_test = None if chosen.is_test is None else np.array(truths, np.int64)
    features = tuple(header[place] for place in chosen.features)
    if layout.regression:
        return Table(x, np.array(targets, np.float32), is_test, features, ())
    y, words = number_labels(name, texts, lines, header[chosen.labels[0]], layout)
    return Table(x, y, is_test, features, words)


def _floats(
    name: str,
    line: int,
    row: list[str],
    header: list[str],
    places: tuple[int, ...],
    *,
    hint: str = "",
) -> list[float]:
    found = []
    for place in places:
        text = row[place]
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        # Python reads "1_000"; other programs do not, and take it for text.
        if not abs(value) <= _FLOAT32_MAX or "_" in text:
            what = "nothing" if not text.strip() else f"{text!r:.40}"
            raise DataError(
                f"data set {name!r}: line {line}, column {header[place]!r:.60}: {what} is no"
                f" number that a model can take{hint}"
            )
        found.append(value)
    return found


def _truth(name: str, line: int, text: str) -> int:
    found = _TRUTHS.get(text.strip().lower())
    if found is None:
        raise DataError(
            f"data set {name!r}: line {line}, column 'is_test': {text!r:.40}; write 0 or 1"
        )
    return found


def _lines(name: str, path: Path, bytes_max: int) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line that is not blank, the header first."""
    raw = _read_utf8(name, path, bytes_max)
    first = raw[: 1 << 20].partition(b"\n")[0].decode("utf-8-sig", "ignore")
    delimiter = max(",;\t", key=first.count)
    text = TextIOWrapper(BytesIO(raw), "utf-8-sig", newline="")  # a StringIO takes four times that
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row and not (len(row) == 1 and not row[0].strip()):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"data set {name!r}: line {reader.line_num}: {error}") from None


def _read_utf8(name: str, path: Path, bytes_max: int) -> bytes:
    """The text of a file of bounded size, checked. Raises DataError."""
    try:
        with path.open("rb") as file:
            raw = file.read(bytes_max + 1)
    except OSError as error:
        raise DataError(f"data set {name!r}: cannot be read: {error.strerror}") from None
    if len(raw) > bytes_max:
        raise DataError(f"data set {name!r}: is larger than {bytes_max >> 20} MiB")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"data set {name!r}: line {line}: is not UTF-8 text") from None
    return raw
