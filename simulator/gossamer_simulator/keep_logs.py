"""Writes the logs of simulated peers to disk, one folder each, as a device would keep them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from gossamer_agent.cli.bodies import KEY_FILE_NAME
from gossamer_agent.errors import StoreError
from gossamer_agent.store.rows import FILE_NAME
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_simulator.peers import SimulatedSwarm

GENESIS_FILE_NAME = "genesis.msgpack"


def open_folder(folder: Path) -> None:
    """Make the folder if it is not there. StoreError if it cannot be made or holds logs already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.glob("peer-*"))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used for logs: {error.strerror}") from error
    if taken:
        raise StoreError(f"{folder}: holds logs already; choose another folder for --keep-logs")


def write_logs(folder: Path, simulated: SimulatedSwarm) -> None:
    """One folder per peer below `folder`: the feed, the genesis and the epoch key to read it by.

    StoreError if a folder exists or cannot be written.
    """
    for peer in simulated.peers:
        place = folder / peer.name
        try:
            place.mkdir(parents=True)
            key = place / KEY_FILE_NAME
            key.touch(mode=0o600)
            key.write_bytes(simulated.epoch_secret)
            (place / GENESIS_FILE_NAME).write_bytes(simulated.genesis)
        except OSError as error:
            raise StoreError(f"{place}: cannot be written: {error.strerror}") from error
        with closing(SqliteStore(place / FILE_NAME)) as store:
            for entry in peer.store.entries():
                store.append(entry)
