"""The data files of a device, whatever their format, as checked samples.

`.npz` holds arrays, `.csv`, `.tsv` and `.txt` are tables of text, `.parquet` tables of columns.
What comes out of each is the same, and so are the checks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.data.arrays import (
    ARRAYS_BYTES_MAX,
    check_is_test,
    check_x,
    check_y,
    existing_file,
    read_columns,
)
from gossamer_agent.data.layout import Layout, Table
from gossamer_agent.learner import Samples

TABLES: Final = (".csv", ".tsv", ".txt", ".parquet")
SUFFIXES: Final = (".npz", *TABLES)
_ALLOWED: Final = "an .npz file, or of a .csv or .parquet table"


@dataclass(frozen=True, slots=True)
class DeviceData:
    """What a device learns from, and what its accuracy is measured on (None: nothing).

    `warnings` are lines for the user: the data can be used, but probably not as intended. words:
    what the labels 0, 1, 2, ... are called in a table that holds words, else (). features: names
    of the columns of a table, else ().
    """

    training: Samples
    test: Samples | None
    warnings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """One file. is_test: bool [n], None without such a column; features: names, () for arrays."""

    samples: Samples
    is_test: npt.NDArray[np.bool_] | None
    warnings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    @property
    def training(self) -> Samples:
        """The samples that `is_test` does not keep apart."""
        if self.is_test is None:
            return self.samples
        return self.samples.take(np.flatnonzero(~self.is_test))


def load_device_data(
    data: str | Path, test: str | Path | None = None, layout: Layout | None = None
) -> DeviceData:
    """The rows of the file `data`, without those that its `is_test` keeps apart.

    The test rows are those of the file `test` (its `is_test` rows, if it has that column), else the
    `is_test` rows of `data`. layout: how tables are read. Raises DataError, one line, for whatever
    makes a file unusable.
    """
    layout = layout or Layout()
    own = load_file(data, layout)
    layout = layout.with_words(own.words)
    training = own.training
    measured, kept, warnings = own.samples, own.is_test, own.warnings
    if test is not None:
        other = load_file(test, layout)
        measured, kept, warnings = other.samples, other.is_test, warnings + other.warnings
        if kept is None:
            return DeviceData(training, measured, warnings, own.words, own.features)
    rows = None if kept is None else measured.take(np.flatnonzero(kept))
    return DeviceData(training, rows, warnings, own.words, own.features)


def load_file(
    file: str | Path,
    layout: Layout,
    rows_min: int | None = None,
    bytes_max: int = ARRAYS_BYTES_MAX,
) -> Loaded:
    """The samples of one file. rows_min: fewer are refused; None: as many as learning needs.
    bytes_max: larger ones are refused before they are read.
    """
    name = str(file)
    path = existing_file(name, _ALLOWED)
    if path.suffix.lower() in TABLES:
        table = _read_table(name, path, layout, bytes_max)
        x, warnings = check_x(name, table.x, rows_min=rows_min)
        is_test = check_is_test(name, table.is_test, len(x))
        return Loaded(Samples(x, table.y), is_test, warnings, table.words, table.features)
    columns = read_columns(name, path, ("x", "y", "is_test"), bytes_max)
    x, warnings = check_x(name, columns["x"], rows_min=rows_min)
    y = check_y(name, columns["y"], len(x))
    return Loaded(Samples(x, y), check_is_test(name, columns.get("is_test"), len(x)), warnings)


def _read_table(name: str, path: Path, layout: Layout, bytes_max: int) -> Table:
    if path.suffix.lower() == ".parquet":
        from gossamer_agent.data.parquet import read_parquet  # noqa: PLC0415  an extra

        return read_parquet(name, path, layout, bytes_max)
    from gossamer_agent.data.tabular import TEXT_BYTES_MAX, read_csv  # noqa: PLC0415

    return read_csv(name, path, layout, min(bytes_max, TEXT_BYTES_MAX))
