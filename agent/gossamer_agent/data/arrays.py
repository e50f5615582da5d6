"""Data in an .npz file of arrays: reading it and checking every column.

Theory of operation. A file holds `x` (one row per sample) and `y` (labels 0, 1, 2, ...); it may
hold `is_test` (rows that are kept for measuring). Everything that a user can get wrong is found
here, once, in one line that names the file, and what comes out is float32 and int32. The simulator
reads pooled data sets with the same functions and looks at further columns.

Values are taken as they are: a swarm has no pooled statistics to scale by, so scaling belongs into
the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import DataError
from gossamer_agent.learner import Samples, Targets

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

CLASSES_MAX: Final = 1000
ROWS_MIN: Final = 16
ARRAYS_BYTES_MAX: Final = 2 << 30
LARGE_VALUE: Final = 20.0
"""Inputs beyond this get a warning: plain SGD does not converge on unscaled sensor units."""
HOLDOUT_SHARE: Final = 0.1

_NOT_READABLE = "cannot be read as an .npz file of plain arrays"


def split_holdout(samples: Samples, rng: np.random.Generator) -> tuple[Samples, Samples]:
    """Training rows and the hold-out rows of the gate; at least one of each, so >= 2 samples."""
    count = len(samples.y)
    order = rng.permutation(count)
    held = min(max(round(HOLDOUT_SHARE * count), 1), count - 1)
    return samples.take(order[held:]), samples.take(order[:held])


def existing_file(reference: str, allowed: str) -> Path:
    """The path that `reference` names. Raises DataError that says what is `allowed`."""
    path = Path(reference)
    try:
        path = path.expanduser()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that no file or home can have
        found = False
    if not found:
        raise DataError(f"data set {reference!r}: no such file; give the path of {allowed}")
    return path


def read_columns(
    name: str, path: Path, wanted: Collection[str], bytes_max: int = ARRAYS_BYTES_MAX
) -> Columns:
    """The arrays of the .npz file at `path` that are `wanted`; `x` and `y` must be there.

    name: what the user called the file; bytes_max: of these arrays. Python objects are never
    loaded. Raises DataError.
    """
    try:
        columns = _load_arrays(name, path, wanted, bytes_max)
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"data set {name!r}: does not fit into memory") from None
    except Exception as error:
        # NumPy, zipfile and zlib raise a dozen types on a damaged file; each means the same here.
        if "allow_pickle" in str(error):
            raise DataError(
                f"data set {name!r}: holds Python objects, which are never loaded; "
                "save plain arrays of numbers"
            ) from None
        raise DataError(f"data set {name!r}: {_NOT_READABLE} ({type(error).__name__})") from None
    missing = [column for column in ("x", "y") if column not in columns]
    if missing:
        raise DataError(
            f"data set {name!r}: has no array {' and '.join(missing)}; "
            "it must hold x (samples) and y (labels)"
        )
    return columns


def _load_arrays(name: str, path: Path, wanted: Collection[str], bytes_max: int) -> Columns:
    if not zipfile.is_zipfile(path):
        raise DataError(f"data set {name!r}: {_NOT_READABLE}; make one with numpy.savez_compressed")
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.removesuffix(".npy") in wanted]
        size = sum(member.file_size for member in members)
    if size > bytes_max:
        raise DataError(
            f"data set {name!r}: unpacks to {size >> 20} MiB; "
            f"at most {bytes_max >> 20} MiB are read"
        )
    with np.load(path, allow_pickle=False) as archive:
        return {column: np.asarray(archive[column]) for column in wanted if column in archive.files}


def check_x(
    name: str, raw: npt.NDArray[Any], scale: float = 1.0, rows_min: int | None = None
) -> tuple[Floats, tuple[str, ...]]:
    """`raw` over `scale` as float32 [n, ...], and warnings. Raises DataError.

    rows_min: fewer rows are refused; None: as many as learning needs.
    """
    rows_min = ROWS_MIN if rows_min is None else rows_min
    if raw.dtype.kind not in "biuf":
        raise DataError(f"data set {name!r}: x holds {raw.dtype} values; it must hold numbers")
    if raw.ndim < 2 or 0 in raw.shape[1:]:
        raise DataError(
            f"data set {name!r}: x has shape {raw.shape}; it must be (rows, features ...)"
        )
    if len(raw) < rows_min:
        raise DataError(f"data set {name!r}: has {len(raw)} rows; it needs at least {rows_min}")
    with np.errstate(over="ignore"):
        x = raw.astype(np.float32)
    bad = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if bad.any():
        raise DataError(
            f"data set {name!r}: x holds NaN, infinite or too large values in {bad.sum()} rows, "
            f"the first is row {int(bad.argmax())}"
        )
    if scale != 1.0:
        x /= np.float32(scale)
    largest = float(np.abs(x).max())
    if largest <= LARGE_VALUE:
        return x, ()
    return x, (
        f"data set {name!r}: values reach {largest:.4g} and are not scaled; "
        "scale each column to about 0..1, or training may not converge",
    )


def check_y(name: str, raw: npt.NDArray[Any], rows: int) -> Targets:
    """`raw` as int32 [rows] labels from 0 on, or float32 [rows, outputs] if it is floats with two
    dimensions: the targets of a regression. Raises DataError.
    """
    if raw.dtype.kind == "f" and raw.ndim == 2:
        return _check_targets(name, raw, rows)
    check_column(name, "y", raw, rows)
    if raw.dtype.kind not in "biu":
        raise DataError(
            f"data set {name!r}: y holds {raw.dtype} values; labels are whole numbers 0, 1, 2, "
            "...; the targets of a regression are floats of shape (rows, outputs)"
        )
    lowest, highest = int(raw.min()), int(raw.max())
    if lowest < 0:
        raise DataError(f"data set {name!r}: y holds the negative label {lowest}")
    if highest >= CLASSES_MAX:
        raise DataError(
            f"data set {name!r}: y holds the label {highest}; "
            f"at most {CLASSES_MAX} classes, 0 to {CLASSES_MAX - 1}, are possible"
        )
    return raw.astype(np.int32)


def _check_targets(name: str, raw: npt.NDArray[Any], rows: int) -> Floats:
    if len(raw) != rows or raw.shape[1] == 0:
        raise DataError(f"data set {name!r}: y has shape {raw.shape}; x has {rows} rows")
    with np.errstate(over="ignore"):
        y = raw.astype(np.float32)
    bad = ~np.isfinite(y).all(axis=1)
    if bad.any():
        raise DataError(
            f"data set {name!r}: y holds NaN, infinite or too large values in {bad.sum()} rows, "
            f"the first is row {int(bad.argmax())}"
        )
    return y


def check_is_test(
    name: str, raw: npt.NDArray[Any] | None, rows: int
) -> npt.NDArray[np.bool_] | None:
    """`raw` as bool [rows] that leaves rows of both kinds; None if it is. Raises DataError."""
    if raw is None:
        return None
    check_column(name, "is_test", raw, rows)
    if raw.dtype.kind not in "biu" or not np.isin(raw, (0, 1)).all():
        raise DataError(f"data set {name!r}: is_test must hold only false and true")
    is_test = raw.astype(np.bool_)
    if is_test.all() or not is_test.any():
        rest = "training" if is_test.all() else "test"
        raise DataError(f"data set {name!r}: is_test leaves no {rest} rows")
    return is_test


def check_column(name: str, column: str, raw: npt.NDArray[Any], rows: int) -> None:
    """Raise DataError unless `raw` has one value for each of the `rows` of x."""
    if raw.ndim != 1 or len(raw) != rows:
        raise DataError(
            f"data set {name!r}: {column} has shape {raw.shape}; x has {rows} rows, "
            f"so it must be ({rows},)"
        )
