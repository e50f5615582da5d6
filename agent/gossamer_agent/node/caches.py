"""Saving what may be lost without harm, every half minute and at the end; and having it back.

What is saved is `remembered`'s and the address book's business; when and in which thread, is ours.
A cache that is damaged is left out: reputation and heads grow again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

import trio

from gossamer_agent.errors import StoreError
from gossamer_agent.forks import ForkWatch
from gossamer_agent.members import remembered
from gossamer_agent.round import AgentCore
from gossamer_agent.runtime import AgentRuntime
from gossamer_agent.store.state import ADDRESSES, StateStore

INTERVAL_S: Final = 30.0


class Caches:
    """What an agent knows of others, beside the state store.

    address_rows: the address book as rows. runtime: the running one, if any. may_write: asked
    before each save but the last. troubles: caches that
    could not be read, for the status.
    """

    def __init__(
        self,
        state: StateStore,
        forks: ForkWatch,
        *,
        address_rows: Callable[[], Iterable[tuple[bytes, bytes]]],
        runtime: Callable[[], AgentRuntime | None],
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self.troubles: list[str] = []
        self._state = state
        self._heads = forks.heads
        self._forks = forks
        self._address_rows = address_rows
        self._runtime = runtime
        self._may_write = may_write

    def restore_heads(self) -> None:
        self._try(lambda: remembered.load_heads(self._state, self._heads))
        self._try(lambda: remembered.load_forks(self._state, self._forks))

    def restore_core(self, core: AgentCore) -> None:
        """What was known of others, into a core that has not run yet."""
        self._try(lambda: remembered.load_reputation(self._state, core.reputation, core.round))
        self._try(lambda: remembered.load_watermarks(self._state, core.following))
        for author in sorted({*self._forks.proofs, *core.banned}):
            core.reputation.ban(author, core.round)

    async def run(self) -> None:
        """Save now and then until cancelled; nothing is saved at the end (`save_now`)."""
        while True:
            await trio.sleep(INTERVAL_S)
            if not self._may_write():
                continue
            runtime = self._runtime()
            with suppress(StoreError):
                if runtime is not None:
                    async with runtime.at_rest:
                        await trio.to_thread.run_sync(self.save_core, runtime.core)
                for space, rows in self._tables():
                    await trio.to_thread.run_sync(self._state.replace_lazily, space, rows)

    def save_core(self, core: AgentCore) -> None:
        """Nobody may use the core meanwhile. Raises StoreError."""
        remembered.save_reputation(self._state, core.reputation)
        remembered.save_watermarks(self._state, core.following)

    def save_now(self) -> None:
        """At the end, when no other task runs any more. A full disk keeps nobody from ending."""
        with suppress(StoreError):
            for space, rows in self._tables():
                self._state.replace_lazily(space, rows)

    def _tables(self) -> list[tuple[str, list[tuple[bytes, bytes]]]]:
        """Copies: while they are written, the tables change."""
        return [
            (remembered.HEADS, self._heads.snapshot()),
            (ADDRESSES, [*self._address_rows()]),
        ]

    def _try(self, load: Callable[[], None]) -> None:
        try:
            load()
        except StoreError as error:
            self.troubles.append(str(error))
