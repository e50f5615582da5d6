"""What a device must not forget, apart from its feed: roster, invites, reputation, heads.

Theory of operation. One SQLite file holds rows (space, key, value). The agent has it open for days,
and commands such as `evict` and `invite` open it meanwhile, so nobody locks the others out: WAL
mode, `BEGIN IMMEDIATE` before anything that is read in order to be written, and `changed`, which
tells the agent that another process wrote.

SQLite keeps no checksum of its pages, so every row carries one over space, key and value. A row
whose space or key changed is missing where it was and damaged where it turns up; so all rows are
checked on opening, and the space that a damaged one is from is known by its checksum.

Transactions are on the disk when they return (synchronous=FULL) and are moved out of the
write-ahead log at once, which is then emptied: one flipped bit there silently drops all that
follows, and what is left of an emptied log cannot hide newer pages of the database. Caches that may
lose their last seconds are written lazily, to spare SD cards.

A commit that fails is unknown, not absent. As in `gossamer_agent.store.sqlite`, any error but
"another process is writing" kills the handle; open the file again and read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Final, Protocol, TypeAlias

from gossamer_agent.errors import StoreError
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.rows import sqlite_errors, words

FILE_NAME: Final = "state.sqlite3"
ADDRESSES: Final = "addresses"
"""The space of where peers were found: an `AddressBook` as rows."""
FORKS: Final = "forks"
"""The space of proofs that an author told two stories: author -> `ForkProof.pack`."""
LABELS: Final = "labels"
"""The space of names that the owner gave and the agent has not logged yet: nonce -> UTF-8."""
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x676F7374  # "gost"
BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for another process."""

_Row: TypeAlias = tuple[object, ...]
_CHECKSUM_BYTES = 16
_SCHEMA = """
CREATE TABLE item (
    space    TEXT NOT NULL,
    key      BLOB NOT NULL,
    value    BLOB NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID
"""
# What is there already is not written again.
_PUT = """
INSERT INTO item (space, key, value, checksum) VALUES (?, ?, ?, ?)
ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum
WHERE value IS NOT excluded.value OR checksum IS NOT excluded.checksum
"""
_GET = "SELECT key, value, checksum FROM item WHERE space = ? AND key = ?"
_EVERYTHING = "SELECT CAST(space AS BLOB), key, value, checksum FROM item"
_DELETE_STRAY = "DELETE FROM item WHERE CAST(space AS BLOB) = ? AND key = ?"
ITEMS = "SELECT key, value, checksum FROM item WHERE space = ? ORDER BY key"
_DELETE = "DELETE FROM item WHERE space = ? AND key = ?"


class Rows(Protocol):
    """What can be read of a state, whether it is open for writing or not."""

    @property
    def path(self) -> Path: ...

    def items(self, space: str) -> list[tuple[bytes, bytes]]:
        """The rows of `space` in order of key. Raises StoreError."""
        ...


class StateStore:
    """Rows (space, key, value) in one SQLite file, for several processes; safe from any thread.

    Every failure is one StoreError. Raises it when the file cannot be opened or is another
    program's, DamagedStoreError when SQLite finds it damaged.
    """

    __slots__ = ("_connection", "_depth", "_lock", "_path", "_strays", "_version")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = RLock()
        self._depth = 0
        self._connection: sqlite3.Connection | None = None
        with self._fatal("open"), _one_at_a_time(path):
            self._connection = _connect(path)
            # What is read may be passed on. A process that died may have left it without a sync.
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            _check_pages(self._connection, path)
            self._strays = _damaged_rows(self._connection)
            self._version = _data_version(self._connection)

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    def get(self, space: str, key: bytes) -> bytes | None:
        """Return the value, or None. Raises DamagedStoreError if it is not what was put, or may be
        one that is damaged and turned up elsewhere.
        """
        with self._lock, self._fatal("read"):
            row = self._open().execute(_GET, (space, key)).fetchone()
        if row is not None:
            return self._checked(space, row)[1]
        if self._strays_of(space):
            raise self._damaged(space)
        return None

    def items(self, space: str) -> list[tuple[bytes, bytes]]:
        """Return the rows of `space` in order of key. Raises DamagedStoreError if one is not what
        was put, or is missing here and turned up elsewhere.
        """
        found = [self._checked(space, row) for row in self._rows(space)]
        if self._strays_of(space):
            raise self._damaged(space)
        return found

    def put(self, space: str, key: bytes, value: bytes) -> None:
        """Write one row; durable on return, or with the transaction around it."""
        with self.transaction():
            self._put(space, key, value)

    def delete(self, space: str, key: bytes) -> None:
        """Remove one row, if it is there; durable as `put`."""
        with self.transaction():
            self._execute(_DELETE, (space, key))

    def put_lazily(self, space: str, key: bytes, value: bytes) -> None:
        """Write one row of a cache: whole or not at all, but a power cut may undo it."""
        with self._lazily():
            self._put(space, key, value)

    def replace_lazily(self, space: str, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Make `space` a cache of exactly these rows, as `put_lazily`. Unchanged rows cost nothing.

        A damaged row is overwritten or removed like any other.
        """
        wanted = dict(rows)
        with self._lazily():
            strays = self._strays_of(space)
            for stray in strays:
                self._execute(_DELETE_STRAY, stray[:2])
            self._strays = [stray for stray in self._strays if stray not in strays]
            for key, *_ in self._rows(space):
                if key not in wanted:
                    self._execute(_DELETE, (space, key))
            for key, value in sorted(wanted.items()):
                self._put(space, key, value)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that is done inside, or nothing. What is read inside no other process changes.

        Durable when the outermost one ends. One inside another is undone by itself if it raises.
        Raises StoreError when another process does not let go of the store.
        """
        with self._lock:
            with self._all_or_nothing():
                yield
            if not self._depth:
                # Another process that is writing or reading may keep the log from being emptied;
                # it is synced all the same.
                self._execute("PRAGMA wal_checkpoint(TRUNCATE)", ())

    def changed(self) -> bool:
        """Whether another process or connection has written since the last call, or the opening.

        What this handle wrote does not count.
        """
        with self._lock:
            with self._fatal("read"):
                version = _data_version(self._open())
            before, self._version = self._version, version
            return version != before

    def close(self) -> None:
        """Give the file back; closing twice is harmless, any later use is a StoreError."""
        with self._lock:
            if self._connection is not None:
                self._execute("PRAGMA wal_checkpoint(PASSIVE)", ())
                self._abandon()

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        with self._lock:
            outermost = self._depth == 0
            name = f"level{self._depth}"
            self._execute("BEGIN IMMEDIATE" if outermost else f"SAVEPOINT {name}", ())
            self._depth += 1
            try:
                yield
            except BaseException:
                self._undo("ROLLBACK" if outermost else f"ROLLBACK TO {name}")
                if not outermost:
                    self._undo(f"RELEASE {name}")
                raise
            else:
                self._execute("COMMIT" if outermost else f"RELEASE {name}", ())
            finally:
                self._depth -= 1

    @contextmanager
    def _lazily(self) -> Iterator[None]:
        with self._lock:
            if self._depth:  # part of something that must be durable
                yield
                return
            self._execute("PRAGMA synchronous = NORMAL", ())
            try:
                with self._all_or_nothing():
                    yield
            finally:
                self._undo("PRAGMA synchronous = FULL")

    def _rows(self, space: str) -> list[tuple[object, ...]]:
        with self._lock, self._fatal("read"):
            found: list[tuple[object, ...]]
            found = self._open().execute(ITEMS, (space,)).fetchall()
            return found

    def _put(self, space: str, key: bytes, value: bytes) -> None:
        self._execute(_PUT, (space, key, value, row_checksum(space, key, value)))

    def _execute(self, statement: str, arguments: tuple[object, ...]) -> None:
        with self._fatal("write"):
            self._open().execute(statement, arguments)

    def _undo(self, statement: str) -> None:
        """Leave a transaction that failed; on a dead handle there is nothing to leave."""
        if self._connection is not None:
            self._execute(statement, ())

    def _checked(self, space: str, row: tuple[object, ...]) -> tuple[bytes, bytes]:
        key, value, _ = row
        if _is_whole((space.encode(), *row)):
            assert isinstance(key, bytes), "or it would not be whole"
            assert isinstance(value, bytes), "or it would not be whole"
            return key, value
        raise self._damaged(space)

    def _strays_of(self, space: str) -> list[_Row]:
        """The damaged rows that are in `space`, or were when they were put."""
        name = space.encode()
        return [row for row in self._strays if name == row[0] or _is_whole((name, *row[1:]))]

    def _damaged(self, space: str) -> DamagedStoreError:
        return DamagedStoreError(
            f"{self._path}: a row of {space!r} is damaged; restore the file from a backup"
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path}: is closed, or an earlier error closed it; reopen it")
        return self._connection

    @contextmanager
    def _fatal(self, doing: str) -> Iterator[None]:
        """Say what failed at which file, once, and keep only a handle whose state is known."""
        try:
            with _busy(self._path), sqlite_errors(self._path, doing):
                yield
        except BusyStoreError:
            raise
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


class BusyStoreError(StoreError):
    """Another process is writing and did not finish in time. Nothing was changed."""


@contextmanager
def _busy(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        cause = error.__cause__
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code != sqlite3.SQLITE_BUSY:
            raise
        raise BusyStoreError(f"{path}: another process is writing to it; try again") from cause


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Let one process at a time create or recover the file; the waiting takes milliseconds.

    The lock is on a file of its own: closing any descriptor of the database would drop the locks
    that SQLite holds on it.
    """
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"{lock}: cannot be created: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    _make_private(path)
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_private(path: Path) -> None:
    """Tokens of invites are in there. SQLite gives its other files the mode of the database."""
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if path.is_file() and path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be created: {error.strerror}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    # First of all: another program's database must stay as it is.
    is_state = _has_schema(connection, path)
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path}: this file system cannot hold a write-ahead log")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    if not is_state:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _has_schema(connection: sqlite3.Connection, path: Path) -> bool:
    application, version = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("application_id", "user_version")
    )
    if application == APPLICATION_ID and version == SCHEMA_VERSION:
        return True
    if application == APPLICATION_ID:
        raise StoreError(f"{path}: has format {version}, this program knows {SCHEMA_VERSION}")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application or version or tables:
        raise StoreError(f"{path}: is a database of another program")
    return False


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    findings = connection.execute("PRAGMA quick_check(1)").fetchall()
    if findings != [("ok",)]:
        raise DamagedStoreError(f"{path}: the database is damaged: {words(findings[0][0])}")


def _damaged_rows(connection: sqlite3.Connection) -> list[_Row]:
    return [row for row in connection.execute(_EVERYTHING) if not _is_whole(row)]


def _is_whole(row: _Row) -> bool:
    """Whether (space, key, value, checksum) is as it was put."""
    name, key, value, checksum = row
    return (
        isinstance(name, bytes)
        and isinstance(key, bytes)
        and isinstance(value, bytes)
        and checksum == _checksum(name, key, value)
    )


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def row_checksum(space: str, key: bytes, value: bytes) -> bytes:
    return _checksum(space.encode(), key, value)


def _checksum(name: bytes, key: bytes, value: bytes) -> bytes:
    # Lengths first: the same bytes cut elsewhere are another row.
    lengths = b"".join(len(part).to_bytes(8, "big") for part in (name, key))
    return hashlib.sha256(lengths + name + key + value).digest()[:_CHECKSUM_BYTES]
