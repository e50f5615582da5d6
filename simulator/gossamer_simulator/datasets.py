"""Data sets as arrays: the digits that ship with the package, or a user's own .npz file.

Theory of operation. A file holds `x` (one row per sample) and `y` (labels 0, 1, 2, ...); it may
hold `subject` or `device` (who recorded the row: numbers or names; `subject` if both are there) and
`is_test` (rows of the official test split). Everything is converted once, here, to float32 and
int32, and everything that a user can get wrong is found here, so that the rest of the simulator
works on arrays that are known good. Values of other files than `digits` are taken as they are: a
swarm has no pooled statistics to scale by, so scaling belongs into the file.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import DataError

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Columns: TypeAlias = dict[str, npt.NDArray[Any]]

DIGITS = "digits"
DIGITS_SCALE = 16.0
CLASSES_MAX = 1000
ROWS_MIN = 16
ARRAYS_BYTES_MAX = 2 << 30
LARGE_VALUE = 20.0
"""Inputs beyond this get a warning: plain SGD does not converge on unscaled sensor units."""

_READ = ("x", "y", "subject", "device", "is_test")
_NOT_READABLE = "cannot be read as an .npz file of plain arrays"


@dataclass(frozen=True, slots=True)
class Split:
    """Rows that belong together: `x` float32[n, ...], `y` int32[n]."""

    x: Floats
    y: Labels


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training rows `x` float32[n, ...], `y` int32[n], `device` int32[n] or None, and a test split.

    `device` is the file's `subject` or `device`, renumbered 0, 1, 2, ... in sorted order of its
    values. `warnings` are lines for the user: the data can be used, but probably not as intended.
    """

    name: str
    x: Floats
    y: Labels
    device: Labels | None
    classes: int
    test: Split
    warnings: tuple[str, ...] = ()


def load_dataset(reference: str, rng: np.random.Generator, test_share: float = 0.2) -> Dataset:
    """The data set named "digits", or the one in the .npz file at the path `reference`.

    A file without `is_test` is split at random: `test_share` of its rows, at least one, are test
    rows. Raises DataError, one line, for whatever makes the file unusable.
    """
    if not 0.0 < test_share < 1.0:
        raise DataError(f"test share {test_share:g} is not between 0 and 1")
    if reference == DIGITS:
        columns = _read_columns(DIGITS, _digits_path())
        scale = DIGITS_SCALE
    else:
        columns = _read_columns(reference, _existing(reference))
        scale = 1.0
    x, warnings = _check_x(reference, columns["x"], scale)
    y = _check_y(reference, columns["y"], len(x))
    recorder = "subject" if "subject" in columns else "device"
    device = _check_recorder(reference, recorder, columns.get(recorder), len(x))
    is_test = _check_is_test(reference, columns.get("is_test"), len(x))
    if is_test is None:
        is_test = _random_split(len(x), test_share, rng)
    train = ~is_test
    return Dataset(
        name=DIGITS if reference == DIGITS else Path(reference).stem,
        x=x[train],
        y=y[train],
        device=None if device is None else device[train],
        classes=int(y.max()) + 1,
        test=Split(x[is_test], y[is_test]),
        warnings=warnings,
    )


def _digits_path() -> Path:
    # The package is always installed as files: its data is never read from a zip.
    return Path(str(resources.files("gossamer_simulator"))) / "data" / "digits.npz"


def _existing(reference: str) -> Path:
    path = Path(reference).expanduser()
    try:
        found = path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        found = False
    if not found:
        raise DataError(
            f"data set {reference!r}: no such file; give the path of an .npz file or {DIGITS!r}"
        )
    return path


def _read_columns(name: str, path: Path) -> Columns:
    try:
        columns = _load_arrays(name, path)
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


def _load_arrays(name: str, path: Path) -> Columns:
    if not zipfile.is_zipfile(path):
        raise DataError(f"data set {name!r}: {_NOT_READABLE}; make one with numpy.savez_compressed")
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if m.filename.removesuffix(".npy") in _READ]
        size = sum(member.file_size for member in members)
    if size > ARRAYS_BYTES_MAX:
        raise DataError(
            f"data set {name!r}: unpacks to {size >> 20} MiB; "
            f"at most {ARRAYS_BYTES_MAX >> 20} MiB are read"
        )
    with np.load(path, allow_pickle=False) as archive:
        return {column: np.asarray(archive[column]) for column in _READ if column in archive.files}


def _check_x(name: str, raw: npt.NDArray[Any], scale: float) -> tuple[Floats, tuple[str, ...]]:
    if raw.dtype.kind not in "biuf":
        raise DataError(f"data set {name!r}: x holds {raw.dtype} values; it must hold numbers")
    if raw.ndim < 2 or 0 in raw.shape[1:]:
        raise DataError(
            f"data set {name!r}: x has shape {raw.shape}; it must be (rows, features ...)"
        )
    if len(raw) < ROWS_MIN:
        raise DataError(f"data set {name!r}: has {len(raw)} rows; it needs at least {ROWS_MIN}")
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


def _check_y(name: str, raw: npt.NDArray[Any], rows: int) -> Labels:
    _check_column(name, "y", raw, rows)
    if raw.dtype.kind not in "biu":
        raise DataError(
            f"data set {name!r}: y holds {raw.dtype} values; labels are whole numbers 0, 1, 2, ..."
        )
    lowest, highest = int(raw.min()), int(raw.max())
    if lowest < 0:
        raise DataError(f"data set {name!r}: y holds the negative label {lowest}")
    if highest >= CLASSES_MAX:
        raise DataError(
            f"data set {name!r}: y holds the label {highest}; "
            f"at most {CLASSES_MAX} classes, 0 to {CLASSES_MAX - 1}, are possible"
        )
    if lowest == highest:
        raise DataError(f"data set {name!r}: every label in y is {lowest}; nothing can be learned")
    return raw.astype(np.int32)


def _check_recorder(
    name: str, column: str, raw: npt.NDArray[Any] | None, rows: int
) -> Labels | None:
    if raw is None:
        return None
    _check_column(name, column, raw, rows)
    if raw.dtype.kind not in "biuUS":
        raise DataError(
            f"data set {name!r}: {column} holds {raw.dtype} values; it must hold numbers or names"
        )
    return np.searchsorted(np.unique(raw), raw).astype(np.int32)


def _check_is_test(
    name: str, raw: npt.NDArray[Any] | None, rows: int
) -> npt.NDArray[np.bool_] | None:
    if raw is None:
        return None
    _check_column(name, "is_test", raw, rows)
    if raw.dtype.kind not in "biu" or not np.isin(raw, (0, 1)).all():
        raise DataError(f"data set {name!r}: is_test must hold only false and true")
    is_test = raw.astype(np.bool_)
    if is_test.all() or not is_test.any():
        rest = "training" if is_test.all() else "test"
        raise DataError(f"data set {name!r}: is_test leaves no {rest} rows")
    return is_test


def _check_column(name: str, column: str, raw: npt.NDArray[Any], rows: int) -> None:
    if raw.ndim != 1 or len(raw) != rows:
        raise DataError(
            f"data set {name!r}: {column} has shape {raw.shape}; x has {rows} rows, "
            f"so it must be ({rows},)"
        )


def _random_split(rows: int, test_share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    tests = min(max(round(rows * test_share), 1), rows - 1)
    is_test = np.zeros(rows, dtype=np.bool_)
    is_test[rng.permutation(rows)[:tests]] = True
    return is_test
