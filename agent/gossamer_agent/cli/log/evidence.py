"""What `audit`, `blame` and `replay` need beside a log: keys, terms, and what others published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from gossamer_agent.audit.history import Event, Merging, history
from gossamer_agent.audit.opening import SecretOf, UnreadableError, body_of
from gossamer_agent.audit.replicas import Replicas
from gossamer_agent.audit.terms import Terms, terms_of
from gossamer_agent.cli.bodies import KEY_FILE_NAME, opener_beside, opener_from
from gossamer_agent.cli.here import open_here
from gossamer_agent.cli.log.opening import log_files, opened
from gossamer_agent.device.folder import KEY_NAME
from gossamer_agent.errors import LogError, StoreError
from gossamer_agent.logcheck import LogSource, check_log
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.store import DamagedStoreError, received
from gossamer_agent.store.exported import is_exported
from gossamer_agent.store.feeds import feed_path, incarnations
from gossamer_agent.store.peeking import PeekedState
from gossamer_crypto.envelope import Envelope, Head, Kind
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.errors import EpochError, GenesisError
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import PeerId
from gossamer_transport.replica import replica_hash

NEIGHBOURS_MAX: Final = 4096
"""Folders and files that are looked into for logs of others."""


@dataclass(slots=True)
class Log:
    """One opened log that verifies. first: the head of its first entry."""

    source: LogSource
    first: Head

    @property
    def author(self) -> PeerId:
        return self.first.header.author

    @property
    def incarnation(self) -> int:
        return self.first.header.incarnation


@dataclass(slots=True)
class Case:
    """All that is at hand to judge the logs at a path, oldest first.

    contributors: who was in a merge, or followed and left out. names: what others are called where
    they were found, folders or files. troubles: what could not be read, in lines.
    """

    logs: list[Log]
    terms: Terms
    secret_of: SecretOf
    replicas: Replicas
    contributors: set[PeerId] = field(default_factory=set)
    names: dict[str, PeerId] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def events(self, log: Log) -> Iterator[Event]:
        """What one of the logs tells, in order."""
        start = replica_hash(self.terms.initial)
        return history(log.source.entries(), self.secret_of, self.terms, start)


@contextmanager
def gathered(
    path: Path,
    *,
    peers: tuple[Path, ...],
    model: str | None,
    keys: Path | None,
    passphrase_file: Path | None,
) -> Iterator[Case]:
    """The logs at `path` with what is needed to replay them, until the block ends.

    Raises LogError where one does not verify, StoreError and ModelError for what lacks.
    """
    with ExitStack() as stack:
        logs = [_verified(stack.enter_context(opened(file))) for file in log_files(path)]
        secret_of = secrets_for(logs[0].source.path, keys, passphrase_file)
        terms = terms_of(_genesis(logs[-1], secret_of), model)
        case = Case(logs, terms, secret_of, Replicas(terms, secret_of))
        for log in logs:
            _take_in(case, log.source)
            for event in case.events(log):
                if isinstance(event, Merging):
                    case.contributors.update(row.peer for row in event.record.contributors)
                    case.contributors.update(row.peer for row in event.record.left_out)
        _take_received(case, logs[0].source.path.parent)
        own = {log.source.path.resolve() for log in logs}
        for place in peers or (_home(path, logs[0].source.path).parent,):
            _take_neighbours(case, place, own)
        yield case


# Keys and terms ----------------------------------------------------------------------------------


def _verified(source: LogSource) -> Log:
    """Refuse a log that is not whole and unaltered: what it says would prove nothing."""
    report = check_log(source)
    if not report.ok:
        where = "" if report.bad_seq is None else f" at entry {report.bad_seq}"
        raise LogError(f"{source.path}: broken{where}: {report.reason}; see gossamer log verify")
    if report.first is None:
        raise StoreError(f"{source.path}: has no entries")
    return Log(source, report.first)


def secrets_for(log: Path, keys: Path | None, passphrase_file: Path | None) -> SecretOf:
    """The keys that open the log in the file `log`. keys: a folder or file to take instead of what
    lies beside it. Raises StoreError where there are none, or they cannot be read.
    """
    if keys is not None and not keys.exists():
        raise StoreError(f"{keys}: there is no such file or folder")
    if keys is not None and keys.is_file():
        return opener_from(keys).secret_of
    folder = log.parent if keys is None else keys
    opener = opener_beside(folder / log.name)
    if opener is not None:
        return opener.secret_of
    if not (folder / KEY_NAME).is_file():
        raise StoreError(
            f"{log}: its contents are sealed, and there is no {KEY_FILE_NAME} beside it; name a"
            " device of the swarm whose keys may open it: --keys FOLDER"
        )
    device = open_here(folder, passphrase_file)
    ring = EpochRing(device.peer_id, device.keys.prekeys)
    with suppress(EpochError):  # older keys may do
        ring.follow(load_roster(PeekedState(device.state_path), device.genesis))
    return ring.archived


def _genesis(log: Log, secret_of: SecretOf) -> Genesis:
    first = next(iter(log.source.entries()))
    if first.header.kind is not Kind.START:
        raise StoreError(f"{log.source.path}: does not begin with the terms of its swarm")
    try:
        genesis = Genesis.unpack(body_of(first, secret_of))
    except (UnreadableError, GenesisError) as error:
        raise StoreError(f"{log.source.path}: its terms cannot be read: {error}") from None
    if genesis.swarm_id != first.header.swarm:
        raise LogError(f"{log.source.path}: begins with the terms of another swarm")
    return genesis


# What others published ---------------------------------------------------------------------------


def _home(path: Path, file: Path) -> Path:
    """The folder of the device, or the exported file itself: what its neighbours lie beside."""
    return file if is_exported(file) else (path if path.is_dir() else file.parent).absolute()


def _take_in(case: Case, source: LogSource) -> None:
    """Take note of every delta and keyframe in a log, as far as it can be read."""
    path = source.path
    exported = is_exported(path)
    try:
        for entry in source.entries():
            # An exported log can only be read from its beginning: its entries are kept.
            load = partial(_same, entry) if exported else partial(_again, path, entry.header.seq)
            case.replicas.add(entry, load)
    except StoreError as error:
        case.troubles.append(str(error))


def _take_received(case: Case, folder: Path) -> None:
    """What a device kept of what it received."""
    path = folder / received.FILE_NAME
    if not path.is_file():
        return
    swarm = case.terms.genesis.swarm_id
    try:
        kept = received.ReceivedArchive(path)
        for entry in kept.entries():
            case.replicas.add(entry, partial(kept.entry, entry.entry_hash))
        for snapshot in kept.snapshots():
            load = partial(kept.vector, snapshot, swarm, case.secret_of)
            place = (snapshot.peer, snapshot.incarnation, snapshot.step)
            case.replicas.add_snapshot(*place, snapshot.replica_hash, load)
    except StoreError as error:
        case.troubles.append(str(error))


def _take_neighbours(case: Case, place: Path, own: set[Path]) -> None:
    """Logs, and what was received, in `place` and one level below it; files in `own` are known."""
    try:
        found = [place, *sorted(place.iterdir())[:NEIGHBOURS_MAX]] if place.is_dir() else [place]
    except OSError as error:
        raise StoreError(f"{place}: cannot be read: {error.strerror}") from None
    for each in found:
        if not each.is_dir():
            if is_exported(each) or each.suffix == ".sqlite3":
                _take_neighbour(case, each, each.name, own)
            continue
        with suppress(OSError):  # a folder of somebody else's
            for number in incarnations(each):
                _take_neighbour(case, feed_path(each, number), each.name, own)
            if each.resolve() != case.logs[0].source.path.parent.resolve():
                _take_received(case, each)


def _take_neighbour(case: Case, file: Path, name: str, own: set[Path]) -> None:
    if file.resolve() in own:
        return
    own.add(file.resolve())
    try:
        with opened(file) as source:
            first = next(iter(source.entries()), None)
            if first is None or first.header.swarm != case.terms.genesis.swarm_id:
                return
            case.names[name] = first.header.author
            if first.header.author in case.contributors:
                _take_in(case, source)
    except DamagedStoreError as error:
        case.troubles.append(str(error))
    except StoreError:  # no log, or one that may not be read
        return


def _same(entry: Envelope) -> Envelope:
    return entry


def _again(path: Path, seq: int) -> Envelope:
    # Opened anew: a swarm has more logs than a process may have files.
    with opened(path) as source:
        entry = next(iter(source.entries(seq)), None)
    if entry is None or entry.header.seq != seq:
        raise DamagedStoreError(f"{path}: entry {seq} is gone")
    return entry
