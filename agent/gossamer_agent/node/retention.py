"""Keeping what was received, so that merges can be made again: when, and what if that fails.

What is kept and for how long is the business of `gossamer_agent.store.received`. Entries wait in
memory for the next batch: one write in ten minutes, or for half a megabyte, spares an SD card. A
file that cannot be written costs evidence and nothing else; it is tried again later.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from gossamer_agent.errors import StoreError
from gossamer_agent.store.received import FILE_NAME, ReceivedStore, Snapshot
from gossamer_crypto.envelope import Envelope
from gossamer_crypto.epoch import EpochKeys

if TYPE_CHECKING:
    from collections.abc import Callable

    from gossamer_agent.following import Following
    from gossamer_agent.round import AgentCore
    from gossamer_agent.runtime import AgentRuntime

POLL_S: Final = 1.0
BATCH_S: Final = 600.0
BATCH_BYTES: Final = 512 * 1024
RETRY_S: Final = 600.0
"""How long a file that could not be written is left alone."""
WAITING_MAX: Final = 1024
"""Entries between two polls; more are not kept."""
FREE_BYTES_MIN: Final = 64 << 20
"""What is left on the disk belongs to the own log."""


class Retention:
    """Writes what cores accept to `received.sqlite3` in `folder`.

    bytes_max: the budget; 0: nothing is kept. runtime: the running one, if any. may_keep: asked of
    each entry; those it refuses are dropped. trouble: why nothing is kept now, for the status.
    """

    def __init__(
        self,
        folder: Path,
        bytes_max: int,
        *,
        swarm: bytes,
        keys: EpochKeys,
        runtime: Callable[[], AgentRuntime | None],
        may_keep: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trouble: str | None = None
        self._path = folder / FILE_NAME
        self._bytes_max = bytes_max
        self._swarm = swarm
        self._keys = keys
        self._runtime = runtime
        self._may_keep = may_keep
        self._following: Following | None = None
        self._store: ReceivedStore | None = None
        self._waiting: list[Envelope] = []
        self._clock = clock
        self._begun_s = 0.0  # when the first that waits came
        self._retry_s = float("-inf")

    def attach(self, core: AgentCore) -> None:
        """Take from now on what this core accepts. Before it runs."""
        self._collect()
        if self._bytes_max > 0:
            core.following.keep_accepted(WAITING_MAX)
            self._following = core.following

    async def run(self) -> None:
        """Write batches until cancelled; the last one is for `save_now`."""
        while True:
            await trio.sleep(POLL_S)
            self._collect()
            runtime = self._runtime()
            if runtime is not None and self._due():
                async with runtime.at_rest:
                    await trio.to_thread.run_sync(self._write)

    def save_now(self) -> None:
        """At the end, when no other task runs any more."""
        self._collect()
        self._write()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _collect(self) -> None:
        accepted = None if self._following is None else self._following.accepted
        while accepted:
            entry = accepted.popleft()
            if not self._may_keep():
                continue
            if not self._waiting:
                self._begun_s = self._clock()
            self._waiting.append(entry)

    def _due(self) -> bool:
        size = sum(entry.size for entry in self._waiting)
        waited = self._clock() - self._begun_s
        return size >= BATCH_BYTES or (size > 0 and waited >= BATCH_S)

    def _write(self) -> None:
        """One batch. Nobody may use the core meanwhile."""
        batch, self._waiting = self._waiting, []
        now = self._clock()
        if not batch or now < self._retry_s:
            return
        try:
            _check_free(self._path.parent)
            if self._store is None:
                self._store = ReceivedStore(self._path, self._bytes_max)
            self._store.keep(batch, self._snapshots(self._store), self._seal())
            self.trouble = None
        except (StoreError, OSError) as error:
            self.trouble = f"what others published is not kept for audits now: {error}"
            self._retry_s = now + RETRY_S
            store, self._store = self._store, None
            if store is not None:
                with suppress(StoreError):
                    store.close()

    def _snapshots(self, store: ReceivedStore) -> list[Snapshot]:
        assert self._following is not None, "it accepted the batch"
        return [
            Snapshot(peer, incarnation, replica.step, replica.hash, replica.vector)
            for peer, incarnation, replica in self._following.held()
            if replica.step > 0 and store.wants_snapshot(peer, replica.vector.nbytes)
        ]

    def _seal(self) -> tuple[bytes, int, bytes] | None:
        epoch = self._keys.current
        secret = self._keys.secret(epoch)
        return None if secret is None else (self._swarm, epoch, secret)


def _check_free(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise StoreError(f"only {free >> 20} MB of disk are free")
