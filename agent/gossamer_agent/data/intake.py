"""The data of a running agent: its own file, and what arrives while it runs.

Theory of operation. The file is read once. What comes through the local API, the watched folder or
`gossamer data import` goes into the reservoir, and both together are what the next computation sees
(`present`). As long as nothing arrived, that is the very file. Whatever cannot be read or written
leaves the agent learning from what it has; `trouble` says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from gossamer_agent.data.arrays import Floats
from gossamer_agent.data.drift import Drift, DriftWatch
from gossamer_agent.data.reservoir import Added, Kept, Reservoir
from gossamer_agent.data.schema import Schema
from gossamer_agent.data.status import DataStatus
from gossamer_agent.errors import DataError, StoreError
from gossamer_agent.learner import Samples


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What is trained on and what is held out, now."""

    training: Samples
    holdout: Samples


class Intake:
    """Safe to use from any thread. own: the split of the device's file."""

    def __init__(
        self, own: Split, schema: Schema, reservoir: Reservoir, *, drift_threshold: float
    ) -> None:
        self.own = own
        self.schema = schema
        self.counts: Counter[str] = Counter(taken=0, duplicates=0, refused=0)
        self.trouble: str | None = None
        self._reservoir = reservoir
        self._lock = Lock()  # held for moments only: the status is made on the event loop
        self._reading = Lock()  # held while the disk is read
        self._present = own
        self._version = (0, 0)
        self._kept = Kept()
        self._known: frozenset[bytes] | None = None  # digests of the file's samples
        self._watch = DriftWatch(own.training.x, drift_threshold)
        self._drift = self._watch.judge()
        self._judged = 0
        self._noticed = 0

    @property
    def bytes_max(self) -> int:
        """What the reservoir may hold."""
        return self._reservoir.bytes_max

    def present(self) -> Split:
        """All samples there are now; the file's own, the same object, while nothing arrived."""
        with self._reading:
            try:
                version = self._reservoir.version()
                if version != self._version:
                    present = self._joined(*self._reservoir.samples())
                    kept = self._reservoir.kept()
                    with self._lock:
                        self._present, self._kept, self._version = present, kept, version
                self.trouble = None
            except StoreError as error:
                self.trouble = str(error)
            return self._present

    def samples(self) -> tuple[Samples, Samples]:
        """Training and hold-out samples of now."""
        now = self.present()
        return now.training, now.holdout

    def observe(self, x: Floats, y: npt.NDArray[Any], source: str) -> Added:
        """Take labelled samples: float32 [n, ...], int [n] or float32 [n, outputs].

        Raises DataError for samples that are not taken (none of them), StoreError.
        """
        try:
            samples = self.schema.labelled(x, y)
        except DataError:
            self.refuse(len(x))
            raise
        return self.take(samples, source)

    def refuse(self, count: int) -> None:
        """Count samples, or a file, that could not be used."""
        with self._lock:
            self.counts["refused"] += count

    def take(self, samples: Samples, source: str) -> Added:
        """As `observe`, of samples that were checked."""
        news = self._news(samples)
        if news is None:
            added = Added(0, len(samples), 0)
        else:
            added = self._reservoir.add(news, source)
            copies = len(samples) - len(news)
            added = Added(added.taken, added.duplicates + copies, added.removed)
        with self._lock:
            self.counts["taken"] += added.taken
            self.counts["duplicates"] += added.duplicates
            self._watch.notice(samples.x)
            self._noticed += len(samples)
        return added

    def notice(self, x: Floats) -> None:
        """Look at inputs without labels, float32 [n, ...], for drift; they are not kept."""
        with self._lock:
            self._watch.notice(x)
            self._noticed += len(x)

    def drift(self) -> Drift:
        """How far the newest inputs are from the device's own data."""
        with self._lock:
            if self._noticed != self._judged:
                self._drift, self._judged = self._watch.judge(), self._noticed
            return self._drift

    def report(self) -> DataStatus:
        """For the status. Reads no disk: what arrived counts from the next round on."""
        drift = self.drift()
        with self._lock:
            training, held = len(self._present.training), len(self._present.holdout)
            enough = drift.feature is not None
            return DataStatus(
                training=training,
                held=held,
                reservoir=self._kept.rows,
                rows_max=self._reservoir.rows_max,
                taken=self.counts["taken"],
                duplicates=self.counts["duplicates"],
                refused=self.counts["refused"],
                inputs=drift.inputs,
                drift=round(drift.index, 4) if enough else None,
                drift_threshold=round(drift.threshold, 4),
                drifted=drift.drifted,
                drift_feature=None if drift.feature is None else self.schema.feature(drift.feature),
            )

    def troubles(self) -> list[str]:
        """What the owner should look at."""
        found = [] if self.trouble is None else [self.trouble]
        drift = self.drift()
        if drift.drifted and drift.feature is not None:
            found.append(
                f"data drift: {drift.drifted} features of the newest {drift.inputs} inputs differ"
                f" from what was learnt, {self.schema.feature(drift.feature)} most"
                f" (index {drift.index:.2f}, above {drift.threshold:.2f})"
            )
        return found

    def close(self) -> None:
        """Close what is open."""
        self._reservoir.close()

    def _news(self, samples: Samples | None) -> Samples | None:
        """Those of which the device's file has no copy: one that it holds out stays held out."""
        if samples is None:
            return None
        if self._known is None:
            both = (self.own.training, self.own.holdout)
            self._known = frozenset(d for side in both for d in self._reservoir.digests(side))
        hashed = self._reservoir.digests(samples)
        rows = [row for row, digest in enumerate(hashed) if digest not in self._known]
        if len(rows) == len(samples):
            return samples
        return samples.take(np.array(rows, np.int64)) if rows else None

    def _joined(self, training: Samples | None, held: Samples | None) -> Split:
        return Split(
            _with(self.own.training, self._news(training)),
            _with(self.own.holdout, self._news(held)),
        )


def _with(own: Samples, arrived: Samples | None) -> Samples:
    if arrived is None:
        return own
    return Samples(np.concatenate([own.x, arrived.x]), np.concatenate([own.y, arrived.y]))
