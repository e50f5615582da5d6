"""Data sets as arrays: the digits that ship with the package, or a user's own .npz file.

Theory of operation. `gossamer_agent.data` reads the file and checks `x`, `y` and `is_test` (rows of
the official test split), as it does on a device. A pooled data set may also hold `subject` or
`device` (who recorded the row: numbers or names; `subject` if both are there), and one without
`is_test` is split here. After that the rest of the simulator works on arrays that are known good.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer_agent.data import (
    Floats,
    Labels,
    check_column,
    check_is_test,
    check_x,
    check_y,
    existing_file,
    read_columns,
)
from gossamer_agent.errors import DataError
from gossamer_agent.learner import Targets

DIGITS = "digits"
DIGITS_SCALE = 16.0

_READ = ("x", "y", "subject", "device", "is_test")


@dataclass(frozen=True, slots=True)
class Split:
    """Rows that belong together: `x` float32[n, ...], `y` int32[n] or float32[n, outputs]."""

    x: Floats
    y: Targets


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training rows `x`, `y` as in `Split`, `device` int32[n] or None, and a test split.

    `device` is the file's `subject` or `device`, renumbered 0, 1, 2, ... in sorted order of its
    values; `test_device` are those of the test rows. `warnings` are lines for the user: the data
    can be used, but probably not as intended.
    """

    name: str
    x: Floats
    y: Targets
    device: Labels | None
    classes: int
    test: Split
    warnings: tuple[str, ...] = ()
    test_device: Labels | None = None


def load_dataset(reference: str, rng: np.random.Generator, test_share: float = 0.2) -> Dataset:
    """The data set named "digits", or the one in the .npz file at the path `reference`.

    A file without `is_test` is split at random: `test_share` of its rows, at least one, are test
    rows. Raises DataError, one line, for whatever makes the file unusable.
    """
    if not 0.0 < test_share < 1.0:
        raise DataError(f"test share {test_share:g} is not between 0 and 1")
    if reference == DIGITS:
        path, scale = _digits_path(), DIGITS_SCALE
    else:
        path, scale = existing_file(reference, f"an .npz file or {DIGITS!r}"), 1.0
    columns = read_columns(reference, path, _READ)
    x, warnings = check_x(reference, columns["x"], scale)
    y = check_y(reference, columns["y"], len(x))
    # A device may well know only one label; a whole swarm that does has nothing to learn.
    if (y == y[0]).all():
        raise DataError(
            f"data set {reference!r}: every label in y is {y[0]}; nothing can be learned"
        )
    recorder = "subject" if "subject" in columns else "device"
    device = _check_recorder(reference, recorder, columns.get(recorder), len(x))
    is_test = check_is_test(reference, columns.get("is_test"), len(x))
    if is_test is None:
        is_test = _random_split(len(x), test_share, rng)
    train = ~is_test
    return Dataset(
        name=DIGITS if reference == DIGITS else Path(reference).stem,
        x=x[train],
        y=y[train],
        device=None if device is None else device[train],
        classes=int(y.max()) + 1 if y.ndim == 1 else y.shape[1],
        test=Split(x[is_test], y[is_test]),
        warnings=warnings,
        test_device=None if device is None else device[is_test],
    )


def _digits_path() -> Path:
    # The package is always installed as files: its data is never read from a zip.
    return Path(str(resources.files("gossamer_simulator"))) / "data" / "digits.npz"


def _check_recorder(
    name: str, column: str, raw: npt.NDArray[Any] | None, rows: int
) -> Labels | None:
    if raw is None:
        return None
    check_column(name, column, raw, rows)
    if raw.dtype.kind not in "biuUS":
        raise DataError(
            f"data set {name!r}: {column} holds {raw.dtype} values; it must hold numbers or names"
        )
    return np.searchsorted(np.unique(raw), raw).astype(np.int32)


def _random_split(rows: int, test_share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    tests = min(max(round(rows * test_share), 1), rows - 1)
    is_test = np.zeros(rows, dtype=np.bool_)
    is_test[rng.permutation(rows)[:tests]] = True
    return is_test
