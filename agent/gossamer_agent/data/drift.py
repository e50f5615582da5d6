"""Data drift: whether what arrives now still looks like what the device learnt from.

The population stability index of each feature, between the device's own data (reference) and the
newest inputs (window): values are counted in ten bins, the deciles of the reference, and
PSI = sum over bins of (p - q) ln(p / q) for the shares p and q of both. Common practice calls 0.25
a large shift. Between samples of one distribution PSI is not 0 but about (1/n + 1/m) chi2(bins - 1)
(Yurdakul 2018, Statistical Properties of the Population Stability Index), so the threshold is 0.25
plus a high quantile of that, and short windows or small references do not cry wolf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.data.arrays import Floats

BINS: Final = 10
WINDOW: Final = 1000
WINDOW_MIN: Final = 200
"""Inputs before anything is said."""
FEATURES_MAX: Final = 1024
"""Of larger samples every k-th value is watched."""
REFERENCE_MAX: Final = 5000
THRESHOLD: Final = 0.25
# Chance that one feature without drift exceeds the noise that is allowed for, all features taken.
_FALSE_ALARM: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Drift:
    """index: the largest PSI of a feature, 0 before `inputs` suffice; threshold: above it is drift;
    feature: its place in a flat sample; drifted: how many features exceed it.
    """

    index: float
    threshold: float
    feature: int | None
    drifted: int
    inputs: int


class DriftWatch:
    """Keeps the newest inputs as bin numbers, one byte a value. Not safe to share between threads.

    reference: float32 [n, ...], the device's own data. threshold: of the PSI, without the noise.
    """

    def __init__(self, reference: Floats, threshold: float = THRESHOLD) -> None:
        step = max(len(reference) // REFERENCE_MAX, 1)
        flat = reference.reshape(len(reference), -1)[::step]
        self._stride = math.ceil(flat.shape[1] / FEATURES_MAX)
        flat = flat[:, :: self._stride].astype(np.float64)
        self._edges = np.quantile(flat, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)  # [BINS-1, F]
        self._reference = self._counts(self._binned(flat))
        self._reference_rows = len(flat)
        self._ring = np.zeros((WINDOW, flat.shape[1]), np.uint8)
        self._seen = 0
        self._threshold = threshold

    def notice(self, x: Floats) -> None:
        """Take inputs float32 [n, ...] into the window."""
        flat = x.reshape(len(x), -1)[-WINDOW:, :: self._stride]
        places = (self._seen + np.arange(len(flat))) % WINDOW
        self._ring[places] = self._binned(flat)
        self._seen += len(flat)

    def judge(self) -> Drift:
        """What the window says now."""
        rows = min(self._seen, WINDOW)
        if rows < WINDOW_MIN:
            return Drift(0.0, self._threshold, None, 0, rows)
        index = _psi(self._reference, self._counts(self._ring[:rows]))
        noise = 1 / rows + 1 / self._reference_rows
        threshold = self._threshold + noise * _chi2_quantile(_FALSE_ALARM / len(index))
        worst = int(index.argmax())
        return Drift(
            index=float(index[worst]),
            threshold=threshold,
            feature=worst * self._stride,
            drifted=int((index > threshold).sum()),
            inputs=rows,
        )

    def _binned(self, flat: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """Bin of each value, uint8 [n, F]: how many edges lie below it."""
        binned = np.zeros(flat.shape, np.uint8)
        for edge in self._edges:
            binned += flat > edge
        return binned

    def _counts(self, binned: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """How many of each bin, [BINS, F]."""
        return np.stack([(binned == number).sum(axis=0) for number in range(BINS)])


def _psi(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Index of each feature of counts [BINS, F]. Half a count in each bin keeps it finite."""
    p = (first + 0.5) / (first + 0.5).sum(axis=0)
    q = (second + 0.5) / (second + 0.5).sum(axis=0)
    index: npt.NDArray[np.float64] = ((p - q) * np.log(p / q)).sum(axis=0)
    return index


def _chi2_quantile(tail: float) -> float:
    """The value that chi2 with BINS - 1 degrees exceeds with probability `tail` (at most): the
    bound of Laurent and Massart (2000), lemma 1.
    """
    degrees, t = BINS - 1, -math.log(tail)
    return degrees + 2 * math.sqrt(degrees * t) + 2 * t
