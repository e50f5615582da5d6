"""Both stores keep the contract of `FeedStore`; the SQLite one survives what disks do."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gossamer_agent.errors import StoreError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.store import DamagedStoreError, FeedStore, sqlite
from gossamer_agent.store.archive import FeedArchive
from gossamer_agent.store.headnote import HeadNote, note_path, read_note, write_note
from gossamer_agent.store.memory import MemoryStore
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter, verify_chain
from gossamer_crypto.identity import Identity

SWARM = bytes(range(32))


def make_feed(
    count: int, *, seed: int = 1, incarnation: int = 0, swarm: bytes = SWARM
) -> list[Envelope]:
    salts = iter(range(1000))
    writer = FeedWriter(
        Identity.from_seed(bytes([seed]) * 32),
        swarm,
        FixedEpoch(bytes(32)),
        lambda size: next(salts).to_bytes(size, "big"),
        incarnation=incarnation,
    )
    kinds = [Kind.START] + [Kind.DELTA] * (count - 1)
    return [writer.append(kind, b"x" * seq) for seq, kind in enumerate(kinds)]


FEED = make_feed(6)


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], FeedStore]:
    if request.param == "memory":
        return MemoryStore
    return lambda: SqliteStore(tmp_path / "feed.sqlite3")


@pytest.fixture
def store(open_store: Callable[[], FeedStore]) -> Iterator[FeedStore]:
    with closing(open_store()) as store:
        yield store


class TestConformance:
    def test_an_empty_store_has_no_head(self, store: FeedStore) -> None:
        assert store.head() is None
        assert [*store.entries()] == []

    def test_gives_back_what_was_appended(self, store: FeedStore) -> None:
        for envelope in FEED:
            store.append(envelope)
            assert store.head() == envelope.head
        assert [*store.entries()] == FEED
        assert [*store.entries(4)] == FEED[4:]
        assert [*store.entries(99)] == []
        assert [*store.entries(-1)] == FEED

    def test_iterates_over_what_was_there(self, store: FeedStore) -> None:
        store.append(FEED[0])
        entries = store.entries()
        store.append(FEED[1])
        first = next(entries)
        assert first == FEED[0]

    @pytest.mark.parametrize(
        "second",
        [
            pytest.param(FEED[0], id="the same again"),
            pytest.param(FEED[2], id="a gap"),
            pytest.param(make_feed(2, incarnation=1)[1], id="another chain"),
        ],
    )
    def test_refuses_what_does_not_continue_the_feed(
        self, store: FeedStore, second: Envelope
    ) -> None:
        store.append(FEED[0])
        with pytest.raises(StoreError):
            store.append(second)
        store.append(FEED[1])
        assert [*store.entries()] == FEED[:2]

    def test_refuses_to_begin_in_the_middle(self, store: FeedStore) -> None:
        with pytest.raises(StoreError, match="next entry is 0, not 1"):
            store.append(FEED[1])
        assert store.head() is None

    def test_a_closed_store_says_so(self, store: FeedStore) -> None:
        store.close()
        store.close()
        for use in (store.head, store.entries, lambda: store.append(FEED[0])):
            with pytest.raises(StoreError, match="closed"):
                use()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feed.sqlite3"


def fill(path: Path, envelopes: list[Envelope] = FEED) -> None:
    with closing(SqliteStore(path)) as store:
        for envelope in envelopes[0 if (head := store.head()) is None else head.header.seq + 1 :]:
            store.append(envelope)


def tamper(path: Path, statement: str, *arguments: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, arguments)
        connection.commit()


class TestSqlite:
    def test_survives_reopening(self, path: Path) -> None:
        fill(path, FEED[:3])
        fill(path, FEED)
        with closing(SqliteStore(path)) as store:
            assert store.head() == FEED[-1].head
            assert verify_chain(store.entries()).ok

    @pytest.mark.slow
    def test_an_entry_is_in_the_file_when_append_returns(self, path: Path) -> None:
        # The process dies by os._exit, so nothing is flushed or closed on the way out.
        program = (
            "import os, sys; from pathlib import Path\n"
            "from gossamer_agent.store.archive import FeedArchive\n"
            "from gossamer_agent.store.sqlite import SqliteStore\n"
            "store = SqliteStore(Path(sys.argv[2]))\n"
            "for envelope in FeedArchive(Path(sys.argv[1])).entries(): store.append(envelope)\n"
            "os._exit(9)"
        )
        copy = path.with_name("copy.sqlite3")
        fill(path)
        done = subprocess.run([sys.executable, "-c", program, path, copy], check=False)
        assert done.returncode == 9
        with closing(SqliteStore(copy)) as store:
            assert [*store.entries()] == FEED

    def test_syncs_every_commit(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            connection = store._connection
            assert connection is not None
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_keeps_the_write_ahead_log_short(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite, "CHECKPOINT_ENTRIES", 3)
        wal = path.with_name(path.name + "-wal")
        sizes = []
        with closing(SqliteStore(path)) as store:
            for envelope in FEED:
                store.append(envelope)
                sizes.append(wal.stat().st_size)
        assert [size > 0 for size in sizes] == [True, True, False, True, True, False]

    def test_two_agents_cannot_share_it(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            with pytest.raises(StoreError, match="another agent uses this store"):
                SqliteStore(path)
            store.append(FEED[0])

    def test_an_error_kills_the_handle_until_reopened(self, path: Path) -> None:
        store = SqliteStore(path)
        store.append(FEED[0])
        trigger = "BEFORE INSERT ON entry BEGIN SELECT raise(FAIL, 'full'); END"
        tamper(path, f"CREATE TRIGGER full {trigger}")
        with pytest.raises(StoreError, match="cannot write: full"):
            store.append(FEED[1])
        tamper(path, "DROP TRIGGER full")
        with pytest.raises(StoreError, match="reopen"):
            store.append(FEED[1])
        fill(path)
        with closing(FeedArchive(path)) as archive:
            assert [*archive.entries()] == FEED

    def test_a_failed_head_note_kills_the_handle_and_loses_nothing(self, path: Path) -> None:
        store = SqliteStore(path)
        obstacle = note_path(path).with_name(note_path(path).name + ".new")
        obstacle.mkdir()
        with pytest.raises(StoreError, match="head: cannot be written"):
            store.append(FEED[0])
        obstacle.rmdir()
        with pytest.raises(StoreError, match="reopen"):
            store.head()
        with closing(SqliteStore(path)) as reopened:
            assert reopened.head() == FEED[0].head

    @pytest.mark.parametrize(
        ("prepare", "message"),
        [
            pytest.param(lambda path: path.mkdir(), "unable to open", id="a folder"),
            pytest.param(
                lambda path: path.write_bytes(b"no database" * 99), "not a database", id="text"
            ),
            pytest.param(
                lambda path: tamper(path, "CREATE TABLE t (x)"), "another program", id="foreign"
            ),
            pytest.param(
                lambda path: (fill(path), tamper(path, "PRAGMA user_version = 2")),
                "has format 2",
                id="newer",
            ),
        ],
    )
    def test_refuses_what_is_no_feed(
        self, path: Path, prepare: Callable[[Path], object], message: str
    ) -> None:
        prepare(path)
        with pytest.raises(StoreError, match=message) as caught:
            SqliteStore(path)
        assert "\n" not in str(caught.value)

    def test_a_foreign_database_stays_as_it_was(self, path: Path) -> None:
        tamper(path, "CREATE TABLE t (x)")
        before = path.read_bytes()
        with pytest.raises(StoreError):
            SqliteStore(path)
        assert path.read_bytes() == before

    def test_refuses_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="No such file or directory"):
            SqliteStore(tmp_path / "gone" / "feed.sqlite3")

    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param("DELETE FROM entry WHERE seq = 5", id="lost tail"),
            pytest.param("DELETE FROM entry", id="lost all"),
            pytest.param("UPDATE entry SET signature = zeroblob(64) WHERE seq = 5", id="signature"),
            pytest.param("UPDATE entry SET ciphertext = x'00' WHERE seq = 5", id="ciphertext"),
            pytest.param("UPDATE entry SET header = x'00' WHERE seq = 5", id="header"),
            pytest.param("UPDATE entry SET kind = 4 WHERE seq = 5", id="kind"),
            pytest.param("UPDATE entry SET seq = 9 WHERE seq = 5", id="seq"),
        ],
    )
    def test_does_not_open_what_it_did_not_write(self, path: Path, statement: str) -> None:
        fill(path)
        tamper(path, statement)
        with pytest.raises(DamagedStoreError) as caught:
            SqliteStore(path)
        assert caught.value.exit_code is ExitCode.LOG_BROKEN

    def test_does_not_open_when_another_chain_took_its_place(self, path: Path) -> None:
        fill(path)
        other = path.with_name("other.sqlite3")
        fill(other, make_feed(8, seed=2))
        other.replace(path)
        with pytest.raises(DamagedStoreError, match="entry 5 is not the one that was written"):
            SqliteStore(path)

    def test_names_an_entry_that_is_gone(self, path: Path) -> None:
        fill(path)
        tamper(path, "DELETE FROM entry WHERE seq = 2")
        store = SqliteStore(path)
        entries = store.entries()
        assert [next(entries), next(entries)] == FEED[:2]
        with pytest.raises(DamagedStoreError, match="entry 2 is gone"):
            next(entries)
        with pytest.raises(StoreError, match="reopen"):
            store.head()

    def test_finds_a_tail_that_a_damaged_write_ahead_log_dropped(self, path: Path) -> None:
        store = SqliteStore(path)
        for envelope in FEED:
            store.append(envelope)
        wal = path.with_name(path.name + "-wal")
        raw = bytearray(wal.read_bytes())
        # The log as a power cut leaves it, with one bit flipped in its middle.
        raw[len(raw) // 2] ^= 1
        damaged = path.with_name("damaged.sqlite3")
        damaged.write_bytes(path.read_bytes())
        damaged.with_name(damaged.name + "-wal").write_bytes(raw)
        note_path(damaged).write_bytes(note_path(path).read_bytes())
        store.close()
        with pytest.raises(DamagedStoreError, match="the newest entries are lost"):
            SqliteStore(damaged)


class TestArchive:
    def test_reads_a_copy_and_leaves_nothing_behind(self, path: Path) -> None:
        fill(path)
        before = {file: file.read_bytes() for file in path.parent.iterdir()}
        with closing(FeedArchive(path)) as archive:
            assert [*archive.entries()] == FEED
            assert archive.head_note() == HeadNote(5, FEED[5].entry_hash)
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before

    def test_reads_a_folder_that_holds_one(self, path: Path) -> None:
        fill(path)
        with closing(FeedArchive(path.parent)) as archive:
            assert archive.path == path
            assert [*archive.entries(3)] == FEED[3:]

    def test_reads_a_live_store(self, path: Path) -> None:
        with closing(SqliteStore(path)) as store:
            for envelope in FEED[:3]:
                store.append(envelope)
            with closing(FeedArchive(path)) as archive:
                assert [*archive.entries()] == FEED[:3]
            store.append(FEED[3])

    def test_says_when_the_file_changed_meanwhile(self, path: Path) -> None:
        fill(path, FEED[:3])
        with closing(FeedArchive(path)) as archive:
            entries = archive.entries()
            next(entries)
            fill(path)
            with pytest.raises(StoreError, match="changed while it was read"):
                list(entries)

    def test_hands_out_a_gap_for_the_chain_to_find(self, path: Path) -> None:
        fill(path)
        tamper(path, "DELETE FROM entry WHERE seq = 2")
        with closing(FeedArchive(path)) as archive:
            report = verify_chain(archive.entries())
        assert (report.ok, report.bad_seq) == (False, 2)

    @pytest.mark.parametrize("name", ["a b.sqlite3", "50%.sqlite3", "what?.sqlite3", "a#b.sqlite3"])
    def test_opens_files_with_odd_names(self, tmp_path: Path, name: str) -> None:
        fill(tmp_path / name)
        with closing(FeedArchive(tmp_path / name)) as archive:
            assert [*archive.entries()] == FEED

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        for missing in (tmp_path, tmp_path / "feed.sqlite3"):
            with pytest.raises(StoreError, match="there is no such file"):
                FeedArchive(missing)

    def test_refuses_an_empty_file(self, path: Path) -> None:
        path.touch()
        with pytest.raises(StoreError, match="holds no feed"):
            FeedArchive(path)

    @pytest.mark.slow
    def test_no_flipped_bit_is_taken_for_the_original(self, path: Path) -> None:
        fill(path)
        original = path.read_bytes()
        found = 0
        for offset in range(0, len(original), 7):
            raw = bytearray(original)
            raw[offset] ^= 1 << offset % 8
            path.write_bytes(raw)
            try:
                with closing(FeedArchive(path)) as archive:
                    entries = [*archive.entries()]
            except StoreError:
                found += 1
                continue
            # Harmless (unused space), or refused by the chain.
            if entries != FEED:
                found += 1
                report = verify_chain(entries)
                assert not report.ok or report.entries < len(FEED)
        assert found > len(FEED) * 30


class TestHeadNote:
    def test_round_trip(self, tmp_path: Path) -> None:
        note = HeadNote(2**62, bytes(range(32)))
        write_note(tmp_path / "head", note)
        assert read_note(tmp_path / "head") == note
        assert [*tmp_path.iterdir()] == [tmp_path / "head"]

    def test_none_where_there_is_no_file(self, tmp_path: Path) -> None:
        assert read_note(tmp_path / "head") is None

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"gossamer head 1\n",
            b"gossamer head 2\n1\n" + b"0" * 64 + b"\n",
            b"gossamer head 1\n01\n" + b"0" * 64 + b"\n",
            b"gossamer head 1\n-1\n" + b"0" * 64 + b"\n",
            b"gossamer head 1\n1\n" + b"0" * 63 + b"\n",
            b"gossamer head 1\n1\n" + b"0" * 64 + b"\nmore",
            b"\xff" * 1000,
        ],
    )
    def test_refuses_anything_else(self, tmp_path: Path, raw: bytes) -> None:
        (tmp_path / "head").write_bytes(raw)
        with pytest.raises(DamagedStoreError, match="not a head note"):
            read_note(tmp_path / "head")
