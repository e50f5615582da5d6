"""What arrived while the agent ran: a bounded SQLite file `data.sqlite3` in the device's folder.

Theory of operation. A row is one sample: its values as little-endian float32, its label, and the
keyed digest that tells copies and decides whether it is held out. Rows are added in transactions,
which also remove what no longer fits every few rows, so that the file, whose pages are used again,
never grows far beyond its bounds, however much comes at once; a killed
process loses nothing that was confirmed, a power cut at most the newest seconds
(synchronous=NORMAL: samples can be measured again, worn flash stays worn). Several processes may
use the file: `gossamer data import` adds to it beside a running agent.

The file is made with the first sample. Samples never leave it but into training.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.data.holdout import digests, is_held
from gossamer_agent.data.retention import BALANCED, quotas
from gossamer_agent.data.schema import is_regression
from gossamer_agent.errors import DataError, StoreError
from gossamer_agent.learner import Samples

FILE_NAME: Final = "data.sqlite3"
_FORMAT: Final = 1
_ROW_OVERHEAD_BYTES: Final = 96
_STEPS: Final = 8
"""A full reservoir is trimmed after each eighth of it that is added."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    held INTEGER NOT NULL,
    label INTEGER,
    y BLOB NOT NULL,
    x BLOB NOT NULL,
    source TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Added:
    """taken: rows that are new; duplicates: rows that are there, or came twice; removed: by
    retention.
    """

    taken: int
    duplicates: int
    removed: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What the reservoir holds now. held: of `rows`, those for measuring only."""

    rows: int = 0
    held: int = 0
    classes: tuple[tuple[int, int], ...] = ()


class Reservoir:
    """Safe to use from any thread. key: of the hold-out part. rows_max, bytes_max: bounds, of which
    the smaller rules. Raises StoreError for a file that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        contract: Contract,
        key: bytes,
        *,
        rows_max: int,
        bytes_max: int,
        retention: str,
    ) -> None:
        values = int(np.prod(contract.input_shape))
        outputs = contract.classes if is_regression(contract) else 1
        row_bytes = 4 * (values + outputs) + _ROW_OVERHEAD_BYTES
        self.rows_max = max(min(rows_max, bytes_max // row_bytes), 1)
        self.bytes_max = bytes_max
        self.path = path
        self._contract = contract
        self._key = key
        self._balanced = retention == BALANCED and not is_regression(contract)
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._changes = 0

    def add(self, samples: Samples, source: str) -> Added:
        """Take what is new and remove what no longer fits, as one transaction."""
        hashed = digests(samples, self._key)
        # A file's name may be no text; SQLite takes text alone.
        source = source.encode("utf-8", "backslashreplace").decode()[:64]
        rows = self._rows(samples, hashed, source)
        step = max(self.rows_max // _STEPS, 1)
        taken = removed = 0
        with self._lock, self._reporting("write") as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for _ in range(0, len(hashed), step):
                    taken += connection.executemany(
                        "INSERT OR IGNORE INTO samples (digest, held, label, y, x, source)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        islice(rows, step),
                    ).rowcount
                    removed += self._trim(connection)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")
            self._changes += 1
        return Added(taken, len(hashed) - taken, removed)

    def digests(self, samples: Samples) -> list[bytes]:
        """What tells copies, of each sample."""
        return digests(samples, self._key)

    def samples(self) -> tuple[Samples | None, Samples | None]:
        """Training and hold-out samples in the order of arrival; None for an empty side."""
        if not self.path.exists():
            return None, None
        with self._lock, self._reporting("read") as connection:
            sides = [
                connection.execute(
                    "SELECT x, y FROM samples WHERE held = ? ORDER BY id", (held,)
                ).fetchall()
                for held in (0, 1)
            ]
        return self._unpacked(sides[0]), self._unpacked(sides[1])

    def kept(self) -> Kept:
        """How much is there."""
        if not self.path.exists():
            return Kept()
        with self._lock, self._reporting("read") as connection:
            rows, held = connection.execute(
                "SELECT COUNT(*), COALESCE(SUM(held), 0) FROM samples"
            ).fetchone()
            classes = connection.execute(
                "SELECT label, COUNT(*) FROM samples WHERE label IS NOT NULL"
                " GROUP BY label ORDER BY label"
            ).fetchall()
        return Kept(rows, held, tuple((label, count) for label, count in classes))

    def version(self) -> tuple[int, int]:
        """Differs after every change, also of another process. (0, 0) without a file."""
        if not self.path.exists():
            return (0, 0)
        with self._lock, self._reporting("read") as connection:
            (others,) = connection.execute("PRAGMA data_version").fetchone()
            return (self._changes, others)

    def close(self) -> None:
        """Close the file; it opens again when it is used."""
        with self._lock:
            self._forget()

    # Rows ----------------------------------------------------------------------------------------

    def _rows(
        self, samples: Samples, hashed: Sequence[bytes], source: str
    ) -> Iterator[tuple[bytes, int, int | None, bytes, bytes, str]]:
        regression = is_regression(self._contract)
        x = np.ascontiguousarray(samples.x, "<f4")
        y = np.ascontiguousarray(samples.y, "<f4" if regression else "<i4")
        for row, target, digest in zip(x, y, hashed, strict=True):
            label = None if regression else int(target)
            yield digest, int(is_held(digest)), label, target.tobytes(), row.tobytes(), source

    def _unpacked(self, rows: Sequence[tuple[bytes, bytes]]) -> Samples | None:
        if not rows:
            return None
        regression = is_regression(self._contract)
        try:
            x = np.frombuffer(b"".join(row[0] for row in rows), "<f4")
            y = np.frombuffer(b"".join(row[1] for row in rows), "<f4" if regression else "<i4")
            outputs = (self._contract.classes,) if regression else ()
            samples = Samples(
                x.reshape(len(rows), *self._contract.input_shape), y.reshape(len(rows), *outputs)
            )
            samples.check(self._contract)
        except (ValueError, TypeError, DataError) as error:
            raise StoreError(f"{self.path}: is damaged ({error}); move it away") from None
        return samples

    def _trim(self, connection: sqlite3.Connection) -> int:
        rows = int(connection.execute("SELECT COUNT(*) FROM samples").fetchone()[0])
        if rows <= self.rows_max:
            return 0
        if not self._balanced:
            connection.execute(
                "DELETE FROM samples WHERE id IN (SELECT id FROM samples ORDER BY id LIMIT ?)",
                (rows - self.rows_max,),
            )
            return rows - self.rows_max
        counts = dict(
            connection.execute("SELECT label, COUNT(*) FROM samples GROUP BY label").fetchall()
        )
        for label, keep in quotas(counts, self.rows_max).items():
            connection.execute(
                "DELETE FROM samples WHERE id IN"
                " (SELECT id FROM samples WHERE label = ? ORDER BY id LIMIT ?)",
                (label, counts[label] - keep),
            )
        return rows - self.rows_max

    # The file ------------------------------------------------------------------------------------

    @contextmanager
    def _reporting(self, what: str) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is not None and not self.path.exists():
                self._forget()  # moved away: what is added now belongs into a new file
            if self._connection is None:
                self._connection = self._opened()
                self._changes += 1  # of another handle, data_version says nothing
            yield self._connection
        except (sqlite3.Error, OSError) as error:
            self._forget()  # a handle that failed may be dead; the next call opens the file anew
            raise StoreError(f"{self.path}: cannot {what}: {error}") from None

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        # Others must not read samples, not even for a moment.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.executescript(_SCHEMA)
            self._check_meta(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_meta(self, connection: sqlite3.Connection) -> None:
        shape = "x".join(map(str, self._contract.input_shape))
        wanted = {"format": str(_FORMAT), "task": self._contract.task, "shape": shape}
        connection.executemany(
            "INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", wanted.items()
        )
        found = dict(connection.execute("SELECT name, value FROM meta").fetchall())
        for name, value in wanted.items():
            if found[name] != value:
                raise StoreError(
                    f"{self.path}: holds samples of {name} {found[name]}, the model needs {value};"
                    " move it away"
                )
