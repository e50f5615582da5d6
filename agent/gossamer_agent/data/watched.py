"""A watched folder: files that are put there are read once and set aside.

    readings.csv  ->  taken/readings.csv
    broken.csv    ->  refused/broken.csv  and  refused/broken.csv.reason.txt

A file is read when it did not change between two looks, so that one that is still being written is
left alone; whoever wants to be sure writes it under a name that begins with a dot, and renames it.
Names that begin with a dot, folders and links are ignored. A file that was read is set aside after
its samples are on the disk: an agent that is killed in between reads it again and finds copies.
The folder may be another user's to write to: nothing is moved or written through a link in it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gossamer_agent.data.loading import SUFFIXES
from gossamer_agent.errors import DataError, StoreError

log = logging.getLogger("gossamer.data")

TAKEN: Final = "taken"
REFUSED: Final = "refused"
FILES_PER_LOOK: Final = 16

Take = Callable[[Path], object]
"""Reads a file and keeps its samples. Raises DataError for a bad file, StoreError to try later."""


class WatchedFolder:
    """Looks when told to. taken, refused: files since the start."""

    def __init__(self, folder: Path, take: Take) -> None:
        self.folder = folder
        self.taken = 0
        self.refused = 0
        self._take = take
        self._seen: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Read what is new and complete. Raises OSError, StoreError; what is left waits."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, tuple[int, int]] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = (status.st_size, status.st_mtime_ns)
        ready = sorted(name for name, state in found.items() if self._seen.get(name) == state)
        self._seen = found
        for name in ready[:FILES_PER_LOOK]:
            self._read(self.folder / name)

    def _read(self, path: Path) -> None:
        try:
            _check_suffix(path)
            self._take(path)
        except (StoreError, OSError):
            raise
        except DataError as error:
            self._refuse(path, str(error))
        except Exception as error:
            # A bug; it must cost this file and not the agent, nor come again with every look.
            log.exception("a watched file could not be read; please report this")
            self._refuse(path, f"cannot be read ({type(error).__name__})")
        else:
            self.taken += 1
            _set_aside(path, self.folder / TAKEN)
        self._seen.pop(path.name, None)

    def _refuse(self, path: Path, reason: str) -> None:
        self.refused += 1
        _set_aside(path, self.folder / REFUSED, f"{reason}\n".encode("utf-8", "backslashreplace"))


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path.name}: is none of {', '.join(SUFFIXES)}")


def _set_aside(path: Path, folder: Path, reason: bytes | None = None) -> None:
    """Move a file into a folder, under a name that is free there, with a file that says why."""
    with suppress(FileExistsError):
        folder.mkdir()
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        taken = set(os.listdir(opened))  # noqa: PTH208  a descriptor
        name, number = path.name, 1
        while name in taken or f"{name}.reason.txt" in taken:
            name = f"{path.stem}-{number}{path.suffix}"
            number += 1
        os.rename(path, name, dst_dir_fd=opened)
        if reason is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(f"{name}.reason.txt", flags, 0o644, dir_fd=opened), "wb") as out:
                out.write(reason)
    finally:
        os.close(opened)
