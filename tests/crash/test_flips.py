"""Bits that flip while a device is off: found before anything is signed, or harmless.

Each fault of the stores that the crash campaign brought to light has a test of its own here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from scripts.crash.flips import flips
from scripts.crash.script import AUTHOR, SWARM, salts
from scripts.crash.trace import has_strace

from gossamer_agent.errors import StoreError
from gossamer_agent.node.lasting import LastingState
from gossamer_agent.store import DamagedStoreError, feeds
from gossamer_agent.store.headnote import HeadNote, note_path, read_note
from gossamer_agent.store.peeking import peek_items
from gossamer_agent.store.rows import FILE_NAME
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.store.state import StateStore
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter

ROWS = [(bytes([number]), b"value %d" % number * 9) for number in range(5)]


@pytest.mark.slow
@pytest.mark.skipif(not has_strace(), reason="strace is missing or may not trace")
def test_every_flip_is_found_or_harmless(memory: Path) -> None:
    findings = [*flips(memory, 400)]
    assert [finding for finding in findings if finding.problems] == []
    assert len({finding.kind for finding in findings}) >= 8


# The feed ------------------------------------------------------------------------------------


@pytest.fixture
def feed() -> list[Envelope]:
    writer = FeedWriter(AUTHOR, SWARM, FixedEpoch(bytes(32)), salts(1).randbytes)
    kinds = [Kind.START, *[Kind.MERGE, Kind.DELTA] * 4]
    return [writer.append(kind, b"body %d" % seq * 20) for seq, kind in enumerate(kinds)]


@pytest.fixture
def path(tmp_path: Path, feed: list[Envelope]) -> Path:
    """A feed file that a stopped agent left."""
    path = tmp_path / FILE_NAME
    with closing(SqliteStore(path)) as store:
        for entry in feed:
            store.append(entry)
    return path


def flip(path: Path, wanted: bytes, offset: int = 0) -> None:
    """Change a bit of the byte `offset` after the last place where `wanted` stands."""
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(wanted) + offset] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("seq", range(1, 8))
def test_no_entry_is_damaged_unnoticed_whatever_its_kind(
    path: Path, feed: list[Envelope], seq: int
) -> None:
    """A record of a merge is not replayed at the start; only the links tell that it changed."""
    flip(path, feed[seq].ciphertext, 5)
    with closing(SqliteStore(path)) as store:
        with pytest.raises(DamagedStoreError, match=f"entry {seq} or {seq + 1} is damaged"):
            list(store.entries())
        with pytest.raises(StoreError, match="reopen"):
            store.append(feed[0])


def test_reading_from_the_middle_checks_what_it_reads(path: Path, feed: list[Envelope]) -> None:
    flip(path, feed[6].ciphertext, 5)
    with closing(SqliteStore(path)) as store:
        assert next(store.entries(5)) == feed[5]
        assert [*store.entries(7)] == feed[7:]
        with pytest.raises(DamagedStoreError):
            list(store.entries(5))


def test_opening_brings_the_head_note_level(path: Path, feed: list[Envelope]) -> None:
    """What is found is published next, so its loss must be noticed from now on."""
    note = note_path(path)
    for left in (None, HeadNote(4, feed[4].entry_hash)):
        note.unlink()
        if left is not None:
            note.write_bytes(f"gossamer head 1\n{left.seq}\n{left.entry_hash.hex()}\n".encode())
        SqliteStore(path).close()
        assert read_note(note) == HeadNote(8, feed[8].entry_hash)


def test_an_incarnation_that_could_not_be_begun_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each attempt on a full disk would begin one more."""

    def full(path: Path) -> SqliteStore:
        path.touch()
        path.with_name(path.name + ".lock").touch()
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(feeds, "SqliteStore", full)
        with pytest.raises(StoreError, match="full"):
            feeds.begin(tmp_path, 3)
    assert [*tmp_path.iterdir()] == []
    feeds.begin(tmp_path, 3).close()
    assert feeds.incarnations(tmp_path) == [3]


# The state -----------------------------------------------------------------------------------


@pytest.fixture
def state_path(tmp_path: Path) -> Path:
    path = tmp_path / "state.sqlite3"
    with closing(StateStore(path)) as state:
        for key, value in ROWS:
            state.put("roster", key, value)
        state.put("single", b"key", b"value")
        state.replace_lazily("cache", ROWS)
    return path


def test_a_row_whose_space_changed_is_missed(state_path: Path) -> None:
    """The newest row of a roster, in another space: without it a steward would sign it again."""
    flip(state_path, b"roster" + ROWS[4][0] + ROWS[4][1], 2)
    for store in (StateStore, LastingState):
        with closing(store(state_path)) as state:
            with pytest.raises(DamagedStoreError, match="a row of 'roster'"):
                state.items("roster")
            assert state.get("roster", ROWS[0][0]) == ROWS[0][1], "this one is what was put"
            with pytest.raises(DamagedStoreError):
                state.get("roster", ROWS[4][0])
            assert state.items("single") == [(b"key", b"value")]
            assert state.items("cache") == ROWS
    assert peek_items(state_path, "single") == [(b"key", b"value")]


def test_a_row_whose_key_changed_is_missed_when_it_is_asked_for(state_path: Path) -> None:
    flip(state_path, b"singlekey", 7)
    with closing(StateStore(state_path)) as state, pytest.raises(DamagedStoreError):
        state.get("single", b"key")


def test_the_name_of_a_space_may_become_no_text(state_path: Path) -> None:
    raw = bytearray(state_path.read_bytes())
    raw[raw.rindex(b"singlekey") + 3] |= 0x80
    state_path.write_bytes(raw)
    with closing(StateStore(state_path)) as state:
        with pytest.raises(DamagedStoreError):
            state.items("single")
        assert len(state.items("roster")) == 5


@pytest.mark.parametrize("offset", [2, 5])
def test_a_cache_can_be_written_anew_wherever_its_rows_went(state_path: Path, offset: int) -> None:
    flip(state_path, b"cache" + ROWS[4][0] + ROWS[4][1], offset)
    with closing(StateStore(state_path)) as state:
        with pytest.raises(DamagedStoreError):
            state.items("cache")
        state.replace_lazily("cache", ROWS[:3])
        assert state.items("cache") == ROWS[:3]
    with closing(StateStore(state_path)) as state:
        assert state.items("cache") == ROWS[:3]


def killed_state(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """(database, log) of a process that was killed, after caches and something that must stay."""
    path = folder / "state.sqlite3"
    with closing(StateStore(path)) as state:
        state.put("roster", *ROWS[0])
        state.put_lazily("cache", b"k", b"1")
        state.put_lazily("cache", b"k", b"2")
        state.put("roster", *ROWS[1])
        log = path.with_name(path.name + "-wal")
        yield path.read_bytes(), log.read_bytes() if log.exists() else b""


def test_a_log_that_was_moved_hides_nothing_newer(tmp_path: Path) -> None:
    """If it stayed, one flipped bit would make its older pages count more than the database's."""
    for database, log in killed_state(tmp_path):
        (tmp_path / "copy").mkdir()
        copy = tmp_path / "copy" / "state.sqlite3"
        for offset in [*range(0, len(log), 199), None]:
            raw = bytearray(log)
            if offset is not None:
                raw[offset] ^= 4
            for left in copy.parent.iterdir():
                left.unlink()
            copy.write_bytes(database)
            copy.with_name(copy.name + "-wal").write_bytes(raw)
            with closing(StateStore(copy)) as state:
                assert state.items("roster") == ROWS[:2]


def test_a_reader_of_the_log_does_not_keep_it_from_being_opened(
    path: Path, feed: list[Envelope], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not if it reads the newest state; if it holds an older one, what is newer cannot be moved."""
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", partial(connect, timeout=0.05))
    store = SqliteStore(path.with_name("live.sqlite3"))
    store.append(feed[0])
    store.append(feed[1])
    with closing(connect(path.with_name("live.sqlite3"))) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM entry").fetchall()
        store._abandon()  # as after an error; the log stays, for somebody reads
        with closing(SqliteStore(path.with_name("live.sqlite3"))) as again:
            assert [*again.entries()] == feed[:2]
            again.append(feed[2])
            again._abandon()
        with pytest.raises(StoreError, match="another program is reading it"):
            SqliteStore(path.with_name("live.sqlite3"))
