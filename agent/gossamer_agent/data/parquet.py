"""Parquet tables; they need the extra `parquet` (pyarrow), which is imported here alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from gossamer_agent.data.layout import Chosen, Layout, Table, choose_columns, number_labels
from gossamer_agent.errors import DataError

_NO_PYARROW: Final = "needs pyarrow: pip install 'gossamer[parquet]', or save it as CSV"


def read_parquet(name: str, path: Path, layout: Layout, bytes_max: int) -> Table:
    """As `tabular.read_csv`; lines are rows, counted from 1."""
    try:
        from pyarrow import ArrowException  # noqa: PLC0415
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415
    except ImportError:
        raise DataError(f"data set {name!r}: {_NO_PYARROW}") from None
    try:
        with ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            chosen = choose_columns(name, header, layout)
            rows = file.metadata.num_rows
            if rows * len(chosen.features) * 4 > bytes_max:
                raise DataError(
                    f"data set {name!r}: {rows} rows are more than {bytes_max >> 20} MiB"
                )
            wanted = [*chosen.features, *chosen.labels]
            wanted += [] if chosen.is_test is None else [chosen.is_test]
            table = file.read(columns=[header[place] for place in wanted])
            return _table(name, table, header, chosen, layout)
    except (ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"data set {name!r}: is no readable Parquet file ({reason:.80})") from None


def _table(name: str, table: Any, header: list[str], chosen: Chosen, layout: Layout) -> Table:
    features = tuple(header[place] for place in chosen.features)
    if len(table) == 0:
        raise DataError(f"data set {name!r}: has no rows")
    columns = [_numbers(name, table, column) for column in features]
    x = np.stack(columns, axis=1).reshape(-1, *(layout.shape or (len(features),)))
    is_test = None
    if chosen.is_test is not None:
        is_test = _numbers(name, table, header[chosen.is_test]).astype(np.int64)
    labels = [header[place] for place in chosen.labels]
    if layout.regression:
        y = np.stack([_numbers(name, table, column) for column in labels], axis=1)
        return Table(x, y, is_test, features, ())
    texts = [_label_text(value) for value in table.column(labels[0]).to_pylist()]
    numbers, words = number_labels(name, texts, range(1, len(texts) + 1), labels[0], layout)
    return Table(x, numbers, is_test, features, words)


def _numbers(name: str, table: Any, column: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 [n] of a column of numbers. Raises DataError."""
    raw = table.column(column)
    if raw.null_count:
        row = next(i for i, value in enumerate(raw.to_pylist(), 1) if value is None)
        raise DataError(f"data set {name!r}: line {row}, column {column!r:.60}: no value")
    values = raw.to_numpy()
    if values.dtype.kind not in "biuf":
        raise DataError(
            f"data set {name!r}: column {column!r:.60} holds {raw.type}; it must hold numbers"
        )
    with np.errstate(over="ignore"):
        found: np.ndarray[Any, np.dtype[np.float32]] = values.astype(np.float32)
    bad = ~np.isfinite(found)
    if bad.any():
        raise DataError(
            f"data set {name!r}: line {int(bad.argmax()) + 1}, column {column!r:.60}: is no number"
            " that a model can take"
        )
    return found


def _label_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(int(value)) if isinstance(value, bool) else str(value).strip()
