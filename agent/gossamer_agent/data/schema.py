"""What a sample must be like to be taken: shape, finite values, label, range.

The range is declared by the owner, or learnt from the device's own data: a value that is further
out than ten times their span is taken for a defect (a broken sensor reads 1e9, not three times the
usual). What is merely unusual is taken, and noticed as drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import REGRESSION, Contract
from gossamer_agent.data.arrays import Floats
from gossamer_agent.errors import DataError
from gossamer_agent.learner import Samples

SLACK: Final = 10.0
"""Spans of the known data beyond which a value is taken for a defect."""


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """low, high: float32 of the shape of one sample, the range that is allowed; names: of the
    features in flat order, () for none; words: of the labels, () for none.
    """

    contract: Contract
    low: Floats
    high: Floats
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def check(self, x: Floats) -> None:
        """Raise DataError that names row (from 0) and place, unless float32 [n, ...] fit."""
        if x.shape[1:] != self.contract.input_shape or len(x) == 0:
            raise DataError(
                f"samples have shape {x.shape[1:]}, the model takes {self.contract.input_shape}"
            )
        for bad, what in (
            (~np.isfinite(x), "is not a finite float32"),
            ((x < self.low) | (x > self.high), "is out of range"),
        ):
            if bad.any():
                row, *place = (int(number) for number in np.argwhere(bad)[0])
                raise DataError(f"{self._where(x, row, place)} {what}{self._range(place)}")

    def labelled(self, x: Floats, y: npt.NDArray[Any]) -> Samples:
        """Checked samples. y: int [n], or float32 [n, outputs]. Raises DataError."""
        self.check(x)
        samples = Samples(x, y)
        samples.check(self.contract)
        return samples

    def number(self, label: int | str) -> int:
        """The number of a label that is given as a number or a word. Raises DataError."""
        if isinstance(label, int):
            if not 0 <= label < self.contract.classes:
                raise DataError(f"label {label} is out of range 0..{self.contract.classes - 1}")
            return label
        if label not in self.words:
            known = ", ".join(self.words[:12]) or "none; labels are numbers here"
            raise DataError(f"label {label!r:.60} is not known; known are {known}")
        return self.words.index(label)

    def word(self, number: int) -> str | None:
        """What a label is called; None if it has no name."""
        return self.words[number] if number < len(self.words) else None

    def feature(self, flat: int) -> str:
        """What a feature is called, by its place in a flat sample."""
        return self.names[flat] if flat < len(self.names) else f"feature {flat}"

    def _where(self, x: Floats, row: int, place: list[int]) -> str:
        flat = int(np.ravel_multi_index(place, self.contract.input_shape))
        return f"sample {row}, {self.feature(flat)}: {float(x[(row, *place)]):g}"

    def _range(self, place: list[int]) -> str:
        where = tuple(place)
        return f" ({float(self.low[where]):g} to {float(self.high[where]):g} is taken)"


def learn_schema(
    known: Samples,
    contract: Contract,
    *,
    declared: tuple[float, float] | None = None,
    names: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
) -> Schema:
    """The schema of a device whose own data are `known`. declared: lowest and highest value."""
    if declared is not None:
        low, high = (np.full(contract.input_shape, value, np.float32) for value in declared)
        return Schema(contract, low, high, names, words)
    lowest, highest = known.x.min(axis=0), known.x.max(axis=0)
    # A feature that never varied here may vary by as much as the others do.
    span = np.maximum(highest - lowest, np.float32(known.x.max() - known.x.min()))
    slack = np.float32(SLACK) * np.maximum(span, np.float32(1.0))
    with np.errstate(over="ignore"):
        return Schema(contract, lowest - slack, highest + slack, names, words)


def is_regression(contract: Contract) -> bool:
    """Whether labels are float32 [n, outputs]."""
    return contract.task == REGRESSION
