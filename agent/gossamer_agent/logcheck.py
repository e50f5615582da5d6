"""Checking a log against itself and against what others know of it. Needs no key and no network.

A log that verifies may still be a part of itself: every prefix of a feed is a feed, and an author
can sign another history. Both show only beside something that is kept elsewhere: the hash of an
entry that somebody remembers (`Anchor`). What lies behind the last anchor may have been cut off, or
exist in another form, and nothing here can tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store.headnote import HeadNote
from gossamer_crypto.checkpoint import Checkpoint, SignedCheckpoint
from gossamer_crypto.envelope import HASH_BYTES, Envelope, Head
from gossamer_crypto.feed import ChainReport, verify_chain
from gossamer_crypto.identity import PeerId


class LogSource(Protocol):
    """A stored or exported feed, read-only: `FeedArchive`, `ExportedLog`."""

    __slots__ = ()

    @property
    def path(self) -> Path: ...
    def head_note(self) -> HeadNote | None: ...
    def checkpoint(self) -> SignedCheckpoint | None: ...
    def entries(self, since_seq: int = 0) -> Iterator[Envelope]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry that somebody remembers.

    entry_hash: hex, 64 digits or the first of them; said_by: who, in words; seq, author,
    incarnation, swarm: None where they are not known. The unknown ones fit every log.
    """

    entry_hash: str
    said_by: str
    seq: int | None = None
    author: PeerId | None = None
    incarnation: int | None = None
    swarm: bytes | None = None

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, said_by: str) -> Anchor:
        """Its last entry."""
        return cls(
            checkpoint.root.hex(),
            said_by,
            checkpoint.seq,
            checkpoint.author,
            checkpoint.incarnation,
            checkpoint.swarm,
        )

    @classmethod
    def of_head(cls, head: Head, said_by: str) -> Anchor:
        """The entry that `head` names."""
        return cls.of_checkpoint(Checkpoint.of(head), said_by)

    def is_about(self, first: Head) -> bool:
        """Whether it can be found in the feed that begins with `first`."""
        header = first.header
        return (
            self.author in (None, header.author)
            and self.incarnation in (None, header.incarnation)
            and self.swarm in (None, header.swarm)
        )


@dataclass(frozen=True, slots=True)
class LogReport:
    """What `check_log` found. first: head of the first entry, None for none. bad_seq: the first
    entry that is bad or missing, None where that cannot be told. vouched: the checkpoint beside the
    log, verified, if there is one. agreed: anchors that are in the log; unrelated: those of others.
    """

    path: Path
    chain: ChainReport
    first: Head | None
    ok: bool
    bad_seq: int | None
    reason: str
    vouched: SignedCheckpoint | None = None
    agreed: tuple[Anchor, ...] = ()
    unrelated: tuple[Anchor, ...] = ()

    @property
    def anchored(self) -> int:
        """How many entries, from the first on, cannot be missing or replaced unnoticed."""
        ends = [0 if anchor.seq is None else anchor.seq + 1 for anchor in self.agreed]
        return max(ends, default=0) if self.ok else 0


def check_log(source: LogSource, anchors: Sequence[Anchor] = ()) -> LogReport:
    """Verify every entry of `source`, and that it holds what its head note, the checkpoint beside
    it and `anchors` name.

    Raises StoreError where it cannot be read at all; damage is reported, not raised.
    """
    hashes = _Hashes(source.entries())
    try:
        chain, damage = verify_chain(hashes), ""
    except DamagedStoreError as error:
        chain, damage = hashes.chain_so_far(), str(error)
    first = hashes.first if chain.entries else None
    broken = partial(LogReport, source.path, chain, first, ok=False)
    if damage or not chain.ok:
        return broken(bad_seq=chain.entries, reason=damage or chain.reason)
    try:
        note, vouched = source.head_note(), source.checkpoint()
    except DamagedStoreError as error:
        return broken(bad_seq=None, reason=str(error))
    if vouched is not None:
        anchors = [_own(vouched), *anchors]
    related = [anchor for anchor in anchors if first is None or anchor.is_about(first)]
    found = [(anchor, hashes.place_of(anchor)) for anchor in related]
    missing = [_complaint(anchor, chain.entries) for anchor, seq in found if seq is None]
    if note is not None:
        noted = Anchor(note.entry_hash.hex(), "its head note", note.seq)
        if hashes.place_of(noted) is None:
            missing.append(_complaint(noted, chain.entries))
    if vouched is not None and anchors[0] not in related:
        missing.append((0, "the checkpoint beside it is that of another log"))
    if missing:
        bad_seq, reason = min(missing)
        return broken(bad_seq=bad_seq, reason=reason)
    return LogReport(
        source.path,
        chain,
        first,
        ok=True,
        bad_seq=None,
        reason="",
        vouched=vouched,
        agreed=tuple(replace(anchor, seq=seq) for anchor, seq in found),
        unrelated=tuple(anchor for anchor in anchors if anchor not in related),
    )


class _Hashes:
    """Entries on their way to `verify_chain`; keeps their hashes, 32 bytes each."""

    def __init__(self, entries: Iterator[Envelope]) -> None:
        self.first: Head | None = None
        self._entries = entries
        self._last: Head | None = None
        self._hashes = bytearray()

    def __iter__(self) -> _Hashes:
        return self

    def __next__(self) -> Envelope:
        envelope = next(self._entries)
        self.first = self.first or envelope.head
        self._last = envelope.head
        self._hashes += envelope.entry_hash
        return envelope

    def chain_so_far(self) -> ChainReport:
        """What `verify_chain` would have said: all that it was given before the next could not be
        read, it had verified.
        """
        count = len(self._hashes) // HASH_BYTES
        author = None if self._last is None else self._last.header.author
        head_hash = None if self._last is None else self._last.entry_hash
        return ChainReport(author, count, head_hash, ok=True, bad_seq=None, reason="")

    def place_of(self, anchor: Anchor) -> int | None:
        """Seq of the one entry that `anchor` names; None if it is not there, or there are two."""
        if anchor.seq is not None:
            return anchor.seq if self._hash(anchor.seq).startswith(anchor.entry_hash) else None
        count = len(self._hashes) // HASH_BYTES
        places = [seq for seq in range(count) if self._hash(seq).startswith(anchor.entry_hash)]
        return places[0] if len(places) == 1 else None

    def _hash(self, seq: int) -> str:
        return self._hashes[HASH_BYTES * seq : HASH_BYTES * (seq + 1)].hex()


def _own(vouched: SignedCheckpoint) -> Anchor:
    peers = "1 peer" if len(vouched.witnesses) == 1 else f"{len(vouched.witnesses)} peers"
    return Anchor.of_checkpoint(vouched.checkpoint, f"the checkpoint that {peers} cosigned")


def _complaint(anchor: Anchor, entries: int) -> tuple[int, str]:
    """The first entry that is bad or missing for all we know, and what is wrong."""
    if anchor.seq is None:
        said = "" if anchor.said_by == anchor.entry_hash else f" of {anchor.said_by}"
        text = f"no entry, or more than one, has the hash {anchor.entry_hash}{said}"
        return entries, f"{text}: the log was cut, or is another"
    if anchor.seq >= entries:
        return entries, _ends_early(entries, anchor.said_by, anchor.seq)
    return (
        anchor.seq,
        f"not the entry that {anchor.said_by} names; it, or one before it, was replaced",
    )


def _ends_early(entries: int, said_by: str, seq: int) -> str:
    return f"ends after {entries} entries, but {said_by} names entry {seq}"
