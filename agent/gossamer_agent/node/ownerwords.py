"""What the owner did, as entries of the own log: changed settings, names for models.

Theory of operation. Settings are read when the agent starts, so the newest configuration entry of
the log is compared with them once for each opening of the store; an entry is written, before the
first round, only where something changed. Labels wait as rows of the state, which the command
`gossamer log label` writes, whether an agent runs or not: only the agent may write into the log,
after it made sure that it has the newest entry. A row is deleted when its label is found in the
file of the log, so a power cut neither loses nor doubles one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import trio

from gossamer_agent.device.config import Config
from gossamer_agent.device.told import changes, digest_of, told_settings
from gossamer_agent.errors import StoreError
from gossamer_agent.events import Configured, Event, Labelled
from gossamer_agent.owner import NAME_CHARS_MAX, NONCE_BYTES, ConfigurationRecord, LabelRecord
from gossamer_agent.runtime import AgentRuntime
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.state import LABELS, StateStore
from gossamer_agent.version import program_version
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.errors import PeerError

WRITTEN_S: Final = 0.05
"""Between two looks whether a label is in the log."""

SecretOf = Callable[[int], bytes | None]


class OwnerWords:
    """Writes what the owner did into the log.

    config: what the agent works with. feed: path of the own log that is written now.
    """

    def __init__(
        self, config: Config, state: StateStore, secret: SecretOf, feed: Callable[[], Path]
    ) -> None:
        self.trouble: str | None = None
        self._config = config
        self._state = state
        self._secret = secret
        self._feed = feed
        self._one_at_a_time = trio.Lock()
        self._told: set[bytes] = set()  # nonces that the running core was told

    async def first(self) -> list[Event]:
        """What a core must be told before it begins a round, each time that the log was opened."""
        try:
            return await trio.to_thread.run_sync(self._first)
        except StoreError as error:
            self.trouble = f"what the owner did is not logged: {error}"
            return []

    def _first(self) -> list[Event]:
        record = self._changed(self._newest())
        events: list[Event] = [] if record is None else [Configured(record=record)]
        waiting = dict(self._state.items(LABELS))
        self._told = set()
        return [*events, *(self._untold(waiting, self._settle(waiting)))]

    def _untold(
        self, waiting: dict[bytes, bytes], written: list[tuple[int, LabelRecord]]
    ) -> list[Labelled]:
        """The labels that the running core has not heard of; from now on it has."""
        settled = {record.nonce for _, record in written}
        new = [
            nonce
            for nonce in sorted(waiting)
            if len(nonce) == NONCE_BYTES and nonce not in self._told | settled
        ]
        self._told.update(new)
        return [Labelled(name=_name(waiting[nonce]), nonce=nonce) for nonce in new]

    async def write_labels(self, runtime: AgentRuntime) -> list[tuple[int, LabelRecord]]:
        """Write the labels that wait into the log; (seq, label) of those that got there.

        Waits until they are durable. A state or log that cannot be read is a trouble, and they go
        on waiting.
        """
        written: list[tuple[int, LabelRecord]] = []
        async with self._one_at_a_time:
            try:
                while waiting := dict(await trio.to_thread.run_sync(self._state.items, LABELS)):
                    done = await trio.to_thread.run_sync(self._settle, waiting)
                    written += done
                    for event in self._untold(waiting, done):
                        await runtime.tell(event)
                    await trio.sleep(WRITTEN_S)
            except StoreError as error:
                self.trouble = f"a label was not written: {error}"
            else:
                self.trouble = None
        return written

    def _settle(self, waiting: dict[bytes, bytes]) -> list[tuple[int, LabelRecord]]:
        """Forget the labels that are in the log, and rows that are none."""
        found = [(seq, record) for seq, record in self._labels() if record.nonce in waiting]
        nonsense = [nonce for nonce in waiting if len(nonce) != NONCE_BYTES]
        for nonce in [*(record.nonce for _, record in found), *nonsense]:
            self._state.delete(LABELS, nonce)
        return sorted(found, key=lambda each: each[0])

    def _labels(self) -> Iterator[tuple[int, LabelRecord]]:
        with closing(FeedArchive(self._feed())) as archive:
            for entry in archive.newest(Kind.LABEL):
                try:
                    yield entry.header.seq, LabelRecord.unpack(self._body(entry))
                except PeerError:
                    continue

    def _newest(self) -> ConfigurationRecord | None:
        """What the log tells of the settings; None where it tells nothing that can be read."""
        with closing(FeedArchive(self._feed())) as archive:
            entry = next(archive.newest(Kind.CONFIGURATION), None)
        try:
            return None if entry is None else ConfigurationRecord.unpack(self._body(entry))
        except PeerError:
            return None

    def _body(self, entry: Envelope) -> bytes:
        return open_envelope(entry, self._secret(entry.header.epoch) or bytes(32))

    def _changed(self, before: ConfigurationRecord | None) -> ConfigurationRecord | None:
        """The entry to write; None where the newest one still holds."""
        digest, settings = digest_of(self._config), told_settings(self._config)
        program = program_version()
        if before is None:
            what = changes("", settings, hidden=False)
        elif (before.digest, before.program) == (digest, program):
            return None
        else:
            hidden = before.digest != digest and before.settings == settings
            what = changes(before.settings, settings, hidden=hidden)
        return ConfigurationRecord(
            round=0, program=program, digest=digest, settings=settings, changed=what
        )


def labels_answer(written: list[tuple[int, LabelRecord]]) -> bytes:
    """For the status socket: what was written, as JSON."""
    return json.dumps(
        [
            {
                "seq": seq,
                "round": record.round,
                "name": record.name,
                "model": record.model.hex(),
                "nonce": record.nonce.hex(),
            }
            for seq, record in written
        ]
    ).encode()


def _name(raw: bytes) -> str:
    """A name out of a row; whatever it says, the entry is one that can be read."""
    return raw.decode("utf-8", "replace")[:NAME_CHARS_MAX] or "?"
