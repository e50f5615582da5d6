"""The merges in a log, newest first, for whoever holds the swarm's key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from gossamer_agent.ban import BanRecord
from gossamer_agent.cli.bodies import KEY_FILE_NAME, opener_beside
from gossamer_agent.errors import StoreError
from gossamer_agent.forks import told_of
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.records import MergeRecord, StandingRecord
from gossamer_agent.reputation import Standing
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.feeds import feed_files, incarnations
from gossamer_crypto.envelope import Envelope, Kind, open_envelope
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EnvelopeError, EpochError, FeedError
from gossamer_crypto.identity import PeerId

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

_Record = TypeVar("_Record")
SecretOf: TypeAlias = Callable[[int], bytes | None]
"""The 32-byte secret of an epoch, or None."""


@dataclass(frozen=True, slots=True)
class LoggedMerge:
    """A merge as its author logged it. seq: of the entry."""

    author: PeerId
    incarnation: int
    seq: int
    record: MergeRecord


class MergeLog:
    """The feeds of one device, oldest first, and the keys to read them by.

    secrets: for each file. The caller closes it. Every failure is a StoreError.
    """

    def __init__(self, files: Sequence[Path], secrets: Sequence[SecretOf]) -> None:
        with ExitStack() as opened:
            self._feeds = [
                (opened.enter_context(closing(FeedArchive(file))), secret)
                for file, secret in zip(files, secrets, strict=True)
            ]
            self._opened = opened.pop_all()

    def merges(self) -> Iterator[LoggedMerge]:
        """All merges, the newest first."""
        for archive, secret in reversed(self._feeds):
            for entry in archive.newest(Kind.MERGE):
                record = _read(archive, entry, secret, MergeRecord.unpack)
                header = entry.header
                yield LoggedMerge(header.author, header.incarnation, header.seq, record)

    def shut_out(self, merge: LoggedMerge) -> dict[PeerId, StandingRecord]:
        """Who was in quarantine or banned when a merge was made, as far as the log tells."""
        newest: dict[PeerId, StandingRecord] = {}
        for record in self._standings_before(merge):
            # A ban is for good, whatever was logged after it.
            if record.peer not in newest or record.standing is Standing.BANNED:
                newest[record.peer] = record
        return {peer: record for peer, record in newest.items() if record.quarantined}

    def _standings_before(self, merge: LoggedMerge) -> Iterator[StandingRecord]:
        """Changes of standing that were logged before a merge, the newest first, bans after them.

        A peer's standing outlives the feed in which it was logged.
        """
        older = [feed for feed in self._feeds if _incarnation(feed[0]) < merge.incarnation]
        now = [feed for feed in self._feeds if _incarnation(feed[0]) == merge.incarnation]
        for kind, read in ((Kind.STANDING, StandingRecord.unpack), (Kind.BAN, _banned)):
            for archive, secret in reversed([*older, *now]):
                end = {"before_seq": merge.seq} if (archive, secret) in now else {}
                for entry in archive.newest(kind, **end):
                    yield _read(archive, entry, secret, read)

    def close(self) -> None:
        self._opened.close()


def log_at(path: Path) -> MergeLog:
    """The log at `path`, a feed or the folder of one, with the key that lies beside it."""
    files = feed_files(path)
    opener = opener_beside(files[0])
    if opener is None:
        raise StoreError(
            f"{files[0]}: its contents are sealed, and there is no {KEY_FILE_NAME} beside it; "
            "for the log of a device: gossamer -C DIR why"
        )
    return MergeLog(files, [opener.secret_of for _ in files])


def log_of(device: Device) -> MergeLog:
    """The own log of a device, read with the keys that its roster gave it."""
    ring = EpochRing(device.peer_id, device.keys.prekeys)
    with closing(device.open_state()) as state, suppress(EpochError):  # older keys may do
        ring.follow(load_roster(state, device.genesis))
    files = feed_files(device.path) if incarnations(device.path) else []
    return MergeLog(files, [ring.archived for _ in files])


def _incarnation(archive: FeedArchive) -> int:
    """Of the feed in this file; -1 for an empty one."""
    return next((entry.header.incarnation for entry in archive.entries()), -1)


def _banned(body: bytes) -> StandingRecord:
    """A ban as a change of standing."""
    record = BanRecord.unpack(body)
    return StandingRecord(
        round=record.round,
        peer=record.peer,
        standing=Standing.BANNED,
        score=0.0,
        reason=told_of(record.proof),
    )


def _read(
    archive: FeedArchive, entry: Envelope, secret_of: SecretOf, unpack: Callable[[bytes], _Record]
) -> _Record:
    seq, epoch = entry.header.seq, entry.header.epoch
    secret = secret_of(epoch)
    if secret is None:
        raise StoreError(f"{archive.path}: entry {seq} cannot be read: no key for epoch {epoch}")
    try:
        return unpack(open_envelope(entry, secret))
    except (EnvelopeError, FeedError) as error:
        raise StoreError(
            f"{archive.path}: entry {seq} cannot be read ({error}); see `gossamer log verify`"
        ) from error
