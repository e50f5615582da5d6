"""Reading a state store without changing it: a copy from another device, or a live one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from gossamer_agent.errors import StoreError
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.rows import sqlite_errors
from gossamer_agent.store.state import APPLICATION_ID, ITEMS, row_checksum


class PeekedState:
    """The rows of a state store as `Rows`, read anew at each question."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    def items(self, space: str) -> list[tuple[bytes, bytes]]:
        """As `peek_items`."""
        return peek_items(self.path, space)


def peek_items(path: Path, space: str) -> list[tuple[bytes, bytes]]:
    """The rows (key, value) of `space` in the store at `path`, in order of key.

    Raises StoreError when it is none or cannot be read, DamagedStoreError for a damaged row.
    """
    mode = "mode=ro"
    if not path.with_name(path.name + "-wal").exists():
        mode += "&immutable=1"  # leaves nothing behind, and needs no writable folder
    with (
        sqlite_errors(path, "read"),
        closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as connection,
    ):
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StoreError(f"{path}: is not what a device knows of others")
        rows = connection.execute(ITEMS, (space,)).fetchall()
    for key, value, kept in rows:
        whole = isinstance(key, bytes) and isinstance(value, bytes)
        if not whole or row_checksum(space, key, value) != kept:
            raise DamagedStoreError(f"{path}: a row of {space!r} is damaged")
    return [(key, value) for key, value, _ in rows]
