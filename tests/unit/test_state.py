"""The state store: several processes at once, power cuts, and bits that flip."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.errors import StoreError
from gossamer_agent.store import DamagedStoreError
from gossamer_agent.store import state as state_module
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_agent.store.state import FILE_NAME, BusyStoreError, StateStore

ROWS = [(bytes([number]), b"value %d" % number * 9) for number in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def state(path: Path) -> Iterator[StateStore]:
    with closing(StateStore(path)) as state:
        yield state


def tamper(path: Path, statement: str, *arguments: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, arguments)
        connection.commit()


class TestRows:
    def test_what_was_put_comes_back(self, state: StateStore) -> None:
        assert state.get("a", b"k") is None
        state.put("a", b"k", b"v")
        state.put("a", b"", b"")
        state.put("b", b"k", b"other")
        assert (state.get("a", b"k"), state.get("b", b"k")) == (b"v", b"other")
        assert state.items("a") == [(b"", b""), (b"k", b"v")]
        assert state.items("c") == []

    def test_the_last_put_wins(self, state: StateStore) -> None:
        for value in (b"1", b"2", b"2"):
            state.put("a", b"k", value)
        assert state.items("a") == [(b"k", b"2")]

    def test_delete(self, state: StateStore) -> None:
        state.put("a", b"k", b"v")
        state.delete("a", b"k")
        state.delete("a", b"k")
        assert state.get("a", b"k") is None

    def test_a_cache_is_replaced_as_a_whole(self, state: StateStore) -> None:
        state.replace_lazily("a", ROWS[:5])
        state.put("b", b"k", b"v")
        state.replace_lazily("a", [ROWS[4], ROWS[7]])
        assert state.items("a") == [ROWS[4], ROWS[7]]
        assert state.items("b") == [(b"k", b"v")]

    def test_survives_reopening(self, path: Path) -> None:
        with closing(StateStore(path)) as state:
            state.put("a", b"k", b"v")
            state.put_lazily("a", b"lazy", b"v")
        with closing(StateStore(path)) as state:
            assert state.items("a") == [(b"k", b"v"), (b"lazy", b"v")]

    @pytest.mark.slow
    @settings(max_examples=30, deadline=None)
    @given(rows=st.dictionaries(st.binary(max_size=8), st.binary(max_size=99)), space=st.text())
    def test_any_bytes(
        self, tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, bytes], space: str
    ) -> None:
        path = tmp_path_factory.mktemp("any") / FILE_NAME
        try:
            space.encode()
        except UnicodeEncodeError:
            return
        with closing(StateStore(path)) as state:
            state.replace_lazily(space, rows.items())
            assert state.items(space) == sorted(rows.items())


class TestTransactions:
    def test_all_or_nothing(self, state: StateStore) -> None:
        with pytest.raises(ZeroDivisionError), state.transaction():
            state.put("a", b"k", b"v")
            raise ZeroDivisionError
        assert state.items("a") == []
        with state.transaction():
            state.put("a", b"k", b"v")
            state.put_lazily("a", b"l", b"v")
        assert len(state.items("a")) == 2

    def test_one_inside_another_is_undone_by_itself(self, state: StateStore) -> None:
        with state.transaction():
            state.put("a", b"1", b"")
            with pytest.raises(ZeroDivisionError), state.transaction():
                state.put("a", b"2", b"")
                raise ZeroDivisionError
            with state.transaction():
                state.put("a", b"3", b"")
        assert [key for key, _ in state.items("a")] == [b"1", b"3"]

    def test_an_outer_failure_undoes_the_inner_ones(self, state: StateStore) -> None:
        with pytest.raises(ZeroDivisionError), state.transaction():
            with state.transaction():
                state.put("a", b"1", b"")
            raise ZeroDivisionError
        assert state.items("a") == []

    def test_commits_are_synced_and_caches_are_not(self, state: StateStore) -> None:
        def synchronous() -> int:
            connection = state._connection
            assert connection is not None
            return int(connection.execute("PRAGMA synchronous").fetchone()[0])

        seen = []
        with state._lazily():
            seen.append(synchronous())
        with state.transaction():
            seen.append(synchronous())
            with state._lazily():
                seen.append(synchronous())
        assert [*seen, synchronous()] == [1, 2, 2, 2]

    def test_threads_take_turns(self, state: StateStore) -> None:
        def count() -> None:
            for _ in range(25):
                with state.transaction():
                    before = state.get("a", b"n") or b"\0"
                    state.put("a", b"n", bytes([before[0] + 1]))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.get("a", b"n") == bytes([100])


class TestTwoAtOnce:
    def test_each_sees_what_the_other_wrote(self, path: Path, state: StateStore) -> None:
        with closing(StateStore(path)) as other:
            state.put("a", b"k", b"1")
            assert other.get("a", b"k") == b"1"
            other.put("a", b"k", b"2")
            assert state.get("a", b"k") == b"2"

    def test_changed_tells_of_the_others_writes_only(self, path: Path, state: StateStore) -> None:
        state.put("a", b"k", b"1")
        assert not state.changed()
        with closing(StateStore(path)) as other:
            assert not state.changed()
            other.put("a", b"k", b"2")
            assert state.changed()
            assert not state.changed()
            other.put_lazily("a", b"k", b"3")
            assert state.changed()
            assert not other.changed()

    def test_a_writer_waits_for_the_other(self, path: Path, state: StateStore) -> None:
        """Both count up; none of the two hundred is lost."""

        def count() -> None:
            with closing(StateStore(path)) as mine:
                for _ in range(50):
                    with mine.transaction():
                        before = int(mine.get("a", b"n") or b"0")
                        mine.put("a", b"n", b"%d" % (before + 1))

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.get("a", b"n") == b"200"

    def test_who_does_not_let_go_is_named_and_nothing_is_lost(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(state_module, "BUSY_TIMEOUT_S", 0.01)
        with closing(StateStore(path)) as one, closing(StateStore(path)) as other:
            with one.transaction():
                one.put("a", b"k", b"1")
                with pytest.raises(BusyStoreError, match="another process is writing"):
                    other.put("a", b"k", b"2")
                assert other.get("a", b"k") is None, "reading is never blocked"
            other.put("a", b"k", b"2")
            assert one.get("a", b"k") == b"2"

    def test_many_create_it_at_once(self, path: Path) -> None:
        errors: list[BaseException] = []

        def begin(number: int) -> None:
            try:
                with closing(StateStore(path)) as state:
                    state.put("a", bytes([number]), b"")
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=begin, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with closing(StateStore(path)) as state:
            assert len(state.items("a")) == 8


class TestCrashes:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("where", "kept"), [("inside", []), ("after", [(b"k", b"1"), (b"l", b"2")])]
    )
    def test_a_process_dies(self, path: Path, where: str, kept: list[tuple[bytes, bytes]]) -> None:
        # The process dies by os._exit, so nothing is flushed or closed on the way out.
        program = (
            "import os, sys; from pathlib import Path\n"
            "from gossamer_agent.store.state import StateStore\n"
            "state = StateStore(Path(sys.argv[1]))\n"
            "with state.transaction():\n"
            "    state.put('a', b'k', b'1')\n"
            "    state.put('a', b'l', b'2')\n"
            "    if sys.argv[2] == 'inside': os._exit(9)\n"
            "os._exit(9)"
        )
        done = subprocess.run([sys.executable, "-c", program, path, where], check=False)
        assert done.returncode == 9
        with closing(StateStore(path)) as state:
            assert state.items("a") == kept

    def test_what_is_durable_leaves_the_log_at_once(self, path: Path, state: StateStore) -> None:
        """One flipped bit in the log would drop it and all that follows, without an error."""
        state.put("a", b"k", b"v")
        copy = path.with_name("copy.sqlite3")
        copy.write_bytes(path.read_bytes())
        with closing(StateStore(copy)) as alone:
            assert alone.get("a", b"k") == b"v"

    def test_an_error_kills_the_handle_until_reopened(self, path: Path, state: StateStore) -> None:
        trigger = "BEFORE INSERT ON item BEGIN SELECT raise(FAIL, 'full'); END"
        tamper(path, f"CREATE TRIGGER full {trigger}")
        with pytest.raises(StoreError, match="cannot write: full"):
            state.put("a", b"k", b"v")
        tamper(path, "DROP TRIGGER full")
        with pytest.raises(StoreError, match="reopen"):
            state.put("a", b"k", b"v")
        with closing(StateStore(path)) as reopened:
            reopened.put("a", b"k", b"v")

    def test_a_closed_store_says_so(self, path: Path) -> None:
        state = StateStore(path)
        state.close()
        state.close()
        uses: list[Callable[[], object]] = [
            lambda: state.get("a", b""),
            lambda: state.items("a"),
            lambda: state.put("a", b"", b""),
            lambda: state.replace_lazily("a", []),
            state.changed,
        ]
        for use in uses:
            with pytest.raises(StoreError, match="closed"):
                use()


class TestDamage:
    @pytest.mark.parametrize(
        "statement",
        [
            pytest.param("UPDATE item SET value = x'00' WHERE key = x'05'", id="value"),
            pytest.param("UPDATE item SET key = x'ff' WHERE key = x'05'", id="key"),
            pytest.param("UPDATE item SET checksum = x'00' WHERE key = x'05'", id="checksum"),
            pytest.param("UPDATE item SET space = 'b' WHERE key = x'05'", id="space"),
        ],
    )
    def test_a_row_that_was_altered_is_refused(self, path: Path, statement: str) -> None:
        with closing(StateStore(path)) as state:
            state.replace_lazily("a", ROWS)
            state.put("other", b"k", b"v")
        tamper(path, statement)
        with closing(StateStore(path)) as state:
            space = "b" if "space" in statement else "a"
            with pytest.raises(DamagedStoreError, match=f"a row of '{space}' is damaged"):
                state.items(space)
            assert state.get("other", b"k") == b"v", "the others are as they were"
            state.replace_lazily(space, ROWS)
            assert state.items(space) == ROWS, "a cache can be written anew"

    @pytest.mark.slow
    def test_no_flipped_bit_is_taken_for_what_was_put(self, path: Path) -> None:
        with closing(StateStore(path)) as state:
            state.replace_lazily("a", ROWS)
            state.put("a", *ROWS[0])
        assert not path.with_name(path.name + "-wal").exists()
        original = path.read_bytes()
        found = 0
        for offset in range(0, len(original), 7):
            raw = bytearray(original)
            raw[offset] ^= 1 << offset % 8
            path.write_bytes(raw)
            try:
                with closing(StateStore(path)) as state:
                    rows = state.items("a")
            except StoreError:
                found += 1
                continue
            assert set(rows) <= set(ROWS), "lost perhaps, but never altered"
        assert found > 200

    def test_flipped_bits_in_the_log_lose_no_act_by_halves(self, path: Path) -> None:
        with closing(StateStore(path)) as state:
            for number in range(4):
                with state._all_or_nothing():  # as durable ones are before they leave the log
                    state._put("a", bytes([2 * number]), b"x" * 999)
                    state._put("a", bytes([2 * number + 1]), b"x" * 999)
            database = path.read_bytes()
            log = path.with_name(path.name + "-wal").read_bytes()
        copy = path.with_name("copy.sqlite3")
        for offset in range(40, len(log), 997):
            raw = bytearray(log)
            raw[offset] ^= 1 << offset % 8
            copy.write_bytes(database)
            copy.with_name(copy.name + "-wal").write_bytes(raw)
            copy.with_name(copy.name + "-shm").unlink(missing_ok=True)
            with closing(StateStore(copy)) as state:
                assert len(state.items("a")) % 2 == 0


class TestFiles:
    def test_only_the_owner_reads_it(self, path: Path, state: StateStore) -> None:
        state.put("a", b"k", b"v")
        files = list(path.parent.iterdir())
        assert len(files) == 4, "the database, its log and index, and the lock"
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}

    def test_a_file_open_to_others_is_closed_to_them(self, path: Path) -> None:
        StateStore(path).close()
        path.chmod(0o644)
        StateStore(path).close()
        assert path.stat().st_mode & 0o777 == 0o600

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
            pytest.param(lambda path: SqliteStore(path).close(), "another program", id="a feed"),
            pytest.param(
                lambda path: (StateStore(path).close(), tamper(path, "PRAGMA user_version = 2")),
                "has format 2",
                id="newer",
            ),
        ],
    )
    def test_refuses_what_is_no_state(
        self, path: Path, prepare: Callable[[Path], object], message: str
    ) -> None:
        prepare(path)
        with pytest.raises(StoreError, match=message) as caught:
            StateStore(path)
        assert "\n" not in str(caught.value)

    def test_refuses_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="No such file or directory"):
            StateStore(tmp_path / "gone" / FILE_NAME)
