"""The program: what it prints, what it ends with, and what it does not import."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import NamedTuple

import click
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gossamer_agent.cli
from gossamer_agent.cli import group, run_program
from gossamer_agent.cli.bodies import describe
from gossamer_agent.cli.failures import exit_code_of, one_line
from gossamer_agent.cli.help import MEANING
from gossamer_agent.errors import AgentError, DataError, StoreError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.records import StandingRecord
from gossamer_agent.reputation import Standing
from gossamer_agent.store.headnote import note_path
from gossamer_agent.store.sqlite import SqliteStore
from gossamer_crypto.envelope import Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.errors import GossamerError, PeerError, Reason
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity, peer_id_text
from gossamer_transport.errors import Unreachable

ROOT = Path(__file__).parents[2]
SECRET = bytes(range(32))
IDENTITY = Identity.from_seed(b"\1" * 32)


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Gossamer = Callable[..., Ran]


@pytest.fixture
def gossamer(capsys: pytest.CaptureFixture[str]) -> Gossamer:
    def call(*arguments: str | Path) -> Ran:
        code = run_program([str(argument) for argument in arguments])
        return Ran(code, *capsys.readouterr())

    return call


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.sqlite3"
    salts = iter(range(99))
    writer = FeedWriter(
        IDENTITY, bytes(32), FixedEpoch(SECRET), lambda size: next(salts).to_bytes(size, "big")
    )
    with closing(SqliteStore(path)) as store:
        store.append(writer.append(Kind.START, b"genesis"))
        for step in range(1, 4):
            body: bytes = msgpack.packb([1, 1, step, "median", b"four"])
            store.append(writer.append(Kind.DELTA, body))
    return path


def tamper(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


class TestHelp:
    def test_lists_commands_and_exit_codes(self, gossamer: Gossamer) -> None:
        ran = gossamer("--help")
        assert ran.code == 0
        for name in gossamer_agent.cli.COMMANDS:
            assert re.search(rf"^  {name} +\S", ran.out, re.M)
        for code, meaning in MEANING.items():
            assert re.search(rf"^ +{code:d}  {re.escape(meaning)}$", ran.out, re.M)

    def test_every_exit_code_has_a_meaning_and_a_row_in_the_docs(self) -> None:
        text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
        rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| (.+?) \|", text, re.M)
        assert [(int(number), name) for number, name, _ in rows] == [
            (code.value, code.name) for code in ExitCode
        ]
        assert [*MEANING] == [*ExitCode]

    def test_the_table_agrees_with_the_commands(self) -> None:
        context = click.Context(gossamer_agent.cli.gossamer)
        for name, (_, line) in gossamer_agent.cli.COMMANDS.items():
            command = gossamer_agent.cli.gossamer.get_command(context, name)
            assert command is not None
            assert command.get_short_help_str(limit=100) == line

    @pytest.mark.slow
    def test_imports_nothing_heavy(self) -> None:
        program = (
            "import sys; from gossamer_agent.cli import run_program; run_program(['--help'])\n"
            "heavy = {'numpy', 'matplotlib', 'trio', 'libp2p', 'tflite_runtime'}\n"
            "print(sorted(heavy & {*sys.modules}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (GossamerError("x"), ExitCode.FAILURE),
            (AgentError("x"), ExitCode.FAILURE),
            (DataError("x"), ExitCode.DATA),
            (StoreError("x"), ExitCode.STORE),
            (Unreachable("x"), ExitCode.NETWORK),
            (PeerError(Reason.FORK), ExitCode.FAILURE),
            (OSError(28, "No space left on device", "report.html"), ExitCode.FAILURE),
        ],
    )
    def test_each_error_has_its_code(self, error: Exception, code: ExitCode) -> None:
        assert exit_code_of(error) is code

    @given(st.text())
    def test_a_message_is_one_printable_line(self, text: str) -> None:
        line = one_line(GossamerError(text))
        assert line.isprintable()
        assert line

    def test_an_error_of_the_system_names_the_file(self) -> None:
        assert one_line(OSError(2, "No such file", "a\x1b[31m")) == "a?[31m: No such file"

    @pytest.mark.parametrize(
        ("raised", "code", "err"),
        [
            (DataError("no such\ndata"), ExitCode.DATA, "gossamer: no such data\n"),
            (KeyboardInterrupt(), ExitCode.INTERRUPTED, "gossamer: interrupted\n"),
            (OSError(13, "Permission denied", "r"), 1, "gossamer: r: Permission denied\n"),
        ],
    )
    def test_a_command_that_fails_costs_one_line(
        self,
        gossamer: Gossamer,
        monkeypatch: pytest.MonkeyPatch,
        raised: BaseException,
        code: int,
        err: str,
    ) -> None:
        def fail() -> None:
            raise raised

        monkeypatch.setattr(group, "_load", lambda _: click.Command("version", callback=fail))
        ran = gossamer("version")
        assert (ran.code, ran.out) == (code, "")
        # click ends the line of the ^C that the terminal shows.
        assert ran.err.removeprefix("\n") == err

    def test_a_bug_keeps_its_traceback(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bug = click.Command("version", callback=lambda: 1 // 0)
        monkeypatch.setattr(group, "_load", lambda _: bug)
        with pytest.raises(ZeroDivisionError):
            gossamer("version")

    def test_traceback_shows_where_an_error_arose(self, gossamer: Gossamer) -> None:
        quiet = gossamer("profile", "show", "pi-9")
        loud = gossamer("--traceback", "profile", "show", "pi-9")
        assert quiet.code == loud.code == ExitCode.CONFIG
        assert len(quiet.err.splitlines()) == 1
        assert loud.err.startswith("Traceback")
        assert loud.err.endswith(quiet.err)

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["log", "verify"], ["version", "--up"]])
    def test_a_wrong_command_line_is_usage(self, gossamer: Gossamer, arguments: list[str]) -> None:
        assert gossamer(*arguments).code == ExitCode.USAGE

    @pytest.mark.slow
    def test_a_reader_that_leaves_costs_no_traceback(self, feed: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", "gossamer_agent", "log", "show", feed],
                stdout=closed,
                stderr=subprocess.PIPE,
                check=False,
            )
        assert (done.returncode, done.stderr) == (ExitCode.FAILURE, b"")


class TestEntryPoints:
    @staticmethod
    def register(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        points = EntryPoints([EntryPoint(name, value, group.ENTRY_POINTS)])
        monkeypatch.setattr(group, "entry_points", points.select)

    def test_adds_a_command_of_another_distribution(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.register(monkeypatch, "again", "gossamer_agent.cli.version:version")
        assert re.search("^  again +Show the versions", gossamer("--help").out, re.M)
        assert gossamer("again") == gossamer("version")

    @pytest.mark.parametrize("value", ["gone.module:x", "gossamer_agent.cli:gone", "json:dumps"])
    def test_a_broken_one_breaks_only_itself(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        self.register(monkeypatch, "broken", value)
        listed = gossamer("--help")
        assert listed.code == 0
        assert "the command broken cannot be loaded" in " ".join(listed.out.split())
        called = gossamer("broken")
        assert called.code == ExitCode.CONFIG
        assert called.err.startswith("gossamer: the command broken cannot be loaded")

    def test_cannot_replace_a_command_of_ours(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.register(monkeypatch, "version", "gone.module:x")
        assert gossamer("version").code == 0


class TestVersion:
    def test_names_what_decides_results(self, gossamer: Gossamer) -> None:
        out = gossamer("version").out
        for name in ("gossamer", "numpy", "cryptography", "python", "machine"):
            assert re.search(rf"^{name} +\S", out, re.M)


class TestProfile:
    def test_lists_names_and_titles(self, gossamer: Gossamer) -> None:
        ran = gossamer("profile", "list")
        assert re.search("^pi-zero-2w +Raspberry Pi Zero 2 W", ran.out, re.M)
        assert len(ran.out.splitlines()) == len(
            json.loads(gossamer("profile", "list", "--json").out)
        )

    def test_shows_what_is_inherited(self, gossamer: Gossamer) -> None:
        ran = gossamer("profile", "show", "pi-5")
        assert re.search(r"^link\.latency_ms +5$", ran.out, re.M)
        assert re.search(r"^figures +estimate$", ran.out, re.M)
        shown = json.loads(gossamer("profile", "show", "pi-5", "--json").out)
        assert shown["speed"]["seal_ms"] == 0.12

    def test_an_unknown_one_is_a_config_error(self, gossamer: Gossamer) -> None:
        ran = gossamer("profile", "show", "pi-9")
        assert (ran.code, ran.out) == (ExitCode.CONFIG, "")
        assert ran.err.startswith("gossamer: no profile 'pi-9'")


class TestProfileDetect:
    def test_says_what_and_why(self, gossamer: Gossamer) -> None:
        told = json.loads(gossamer("profile", "detect", "--json").out)
        assert told["profile"] in json.loads(gossamer("profile", "list", "--json").out)
        assert told["machine"]["cpus"] >= 1
        ran = gossamer("profile", "detect")
        assert re.search(rf"^profile +{told['profile']} \(", ran.out, re.M)
        assert re.search(r"^because +\w", ran.out, re.M)


class TestProfileCheck:
    def test_a_right_one(self, gossamer: Gossamer) -> None:
        ran = gossamer("profile", "check", "pi-4")
        assert (ran.code, ran.err) == (0, "")
        assert (
            ran.out
            == "pi-4: all right (Raspberry Pi 4 Model B, 2 GB or more over generic-aarch64)\n"
        )
        assert json.loads(gossamer("profile", "check", "pi-4", "--json").out)["ok"]

    def test_a_wrong_one(self, gossamer: Gossamer, tmp_path: Path) -> None:
        file = tmp_path / "my.toml"
        file.write_text('base = "pi-4"\nround_interval_ms = 5\n[budget]\nblobs_mb = -1\n')
        ran = gossamer("profile", "check", file)
        assert ran.code == ExitCode.CONFIG
        first, second = ran.out.splitlines()
        assert first.startswith(f"{file}:2: wrong unit in 'round_interval_ms'; round_interval_s is")
        assert second.startswith(f"{file}:4: [budget] blobs_mb must be a whole number from 0 to")
        assert ran.err == f"gossamer: {file}: 2 wrong keys\n"
        told = json.loads(gossamer("profile", "check", file, "--json").out)
        assert [finding["line"] for finding in told["findings"]] == [2, 4]
        assert told["findings"][0]["allowed"] == "a number from 0.1 to 86,400"


class TestProfileCalibrate:
    @pytest.mark.slow
    def test_writes_what_it_measured(self, gossamer: Gossamer, tmp_path: Path) -> None:
        file = tmp_path / "mine.toml"
        ran = gossamer("profile", "calibrate", "--seconds", "1", "--write", file, "--json")
        assert ran.code == 0
        told = json.loads(ran.out)
        shown = json.loads(gossamer("profile", "show", file, "--json").out)
        assert shown["speed"] == told["measured"]["speed"]
        assert (shown["figures"], shown["base"]) == ("measured", told["profile"])
        assert gossamer("profile", "check", file).code == 0
        assert "training steps" in ran.err

    @pytest.mark.parametrize(
        ("name", "said"),
        [("x.txt", "must end in .toml"), ("gone/x.toml", "no such folder"), ("old.toml", "exists")],
    )
    def test_refuses_a_file_before_it_measures(
        self, gossamer: Gossamer, tmp_path: Path, name: str, said: str
    ) -> None:
        (tmp_path / "old.toml").write_text("")
        ran = gossamer("profile", "calibrate", "--write", tmp_path / name)
        assert (ran.code, "measuring" in ran.err) == (ExitCode.CONFIG, False)
        assert said in ran.err


class TestModel:
    @pytest.mark.slow
    def test_checks_a_shipped_model(self, gossamer: Gossamer) -> None:
        ran = gossamer("model", "check", ROOT / "firmware-profiles" / "models" / "mlp.tflite")
        assert ran.code == 0, ran.err
        assert re.search("^parameters +4 810$", ran.out, re.M)
        assert ran.out.endswith("usable\n")

    @pytest.mark.slow
    def test_a_file_that_is_no_model_ends_with_the_models_code(
        self, gossamer: Gossamer, tmp_path: Path
    ) -> None:
        path = tmp_path / "x.tflite"
        path.write_bytes(b"\0" * 100)
        ran = gossamer("model", "check", path)
        assert (ran.code, ran.out) == (ExitCode.MODEL, "")
        assert ran.err.startswith(f"gossamer: {path}: ")


class TestLogVerify:
    def test_verifies_a_file_and_its_folder(self, gossamer: Gossamer, feed: Path) -> None:
        ran = gossamer("log", "verify", feed)
        assert ran.code == 0
        author, entries, head, verdict, left_open = ran.out.splitlines()
        assert author == f"author   {peer_id_text(IDENTITY.peer_id)}"
        assert entries == "entries  4"
        assert re.fullmatch("head     [0-9a-f]{64}", head)
        assert verdict == "verified"
        assert left_open.startswith("open     nobody else vouches for it here")
        assert gossamer("log", "verify", feed.parent) == ran

    def test_an_empty_log_verifies(self, gossamer: Gossamer, tmp_path: Path) -> None:
        SqliteStore(tmp_path / "feed.sqlite3").close()
        ran = gossamer("log", "verify", tmp_path)
        assert (ran.code, ran.out.splitlines()[:2]) == (0, ["entries  0", "verified"])

    def test_verifies_every_incarnation_in_a_folder(self, gossamer: Gossamer, feed: Path) -> None:
        later = feed.with_name("feed-2.sqlite3")
        shutil.copy(feed, later)
        ran = gossamer("log", "verify", feed.parent)
        assert ran.code == 0
        assert [line for line in ran.out.splitlines() if line.startswith("log ")] == [
            "log      feed.sqlite3",
            "log      feed-2.sqlite3",
        ]
        tamper(later, "UPDATE entry SET signature = zeroblob(64) WHERE seq = 2")
        ran = gossamer("log", "verify", feed.parent)
        assert ran.code == ExitCode.LOG_BROKEN
        assert "broken at entry 2: " in ran.out

    @pytest.mark.parametrize(
        ("statement", "seq"),
        [
            ("UPDATE entry SET signature = zeroblob(64) WHERE seq = 2", 2),
            ("UPDATE entry SET ciphertext = zeroblob(length(ciphertext)) WHERE seq = 1", 1),
            ("DELETE FROM entry WHERE seq = 2", 2),
            ("UPDATE entry SET header = x'00' WHERE seq = 3", 3),
            ("UPDATE entry SET kind = 9 WHERE seq = 0", 0),
        ],
    )
    def test_names_the_first_bad_entry(
        self, gossamer: Gossamer, feed: Path, statement: str, seq: int
    ) -> None:
        tamper(feed, statement)
        ran = gossamer("log", "verify", feed)
        assert ran.code == ExitCode.LOG_BROKEN
        assert f"broken at entry {seq}: " in ran.out
        assert "verified" not in ran.out

    def test_a_lost_tail_is_broken(self, gossamer: Gossamer, feed: Path) -> None:
        tamper(feed, "DELETE FROM entry WHERE seq = 3")
        ran = gossamer("log", "verify", feed)
        assert ran.code == ExitCode.LOG_BROKEN
        assert "broken at entry 3: ends after 3 entries, but its head note names entry 3" in ran.out
        note_path(feed).unlink()
        assert gossamer("log", "verify", feed).code == 0

    def test_a_file_that_is_no_database_is_damaged(self, gossamer: Gossamer, feed: Path) -> None:
        feed.write_bytes(b"\0" * 8192)
        ran = gossamer("log", "verify", feed)
        assert (ran.code, ran.out) == (ExitCode.LOG_BROKEN, "")
        assert "not a database" in ran.err

    def test_a_log_that_is_not_there_is_the_stores(
        self, gossamer: Gossamer, tmp_path: Path
    ) -> None:
        ran = gossamer("log", "verify", tmp_path / "gone")
        assert ran.code == ExitCode.STORE
        assert ran.err.startswith(f"gossamer: {tmp_path / 'gone'}: there is no such file")


class TestLogShow:
    def test_lists_sealed_entries_without_a_key(self, gossamer: Gossamer, feed: Path) -> None:
        lines = gossamer("log", "show", feed).out.splitlines()
        assert len(lines) == 5
        assert re.fullmatch(r" +0  start +[0-9a-f]{16} +281  sealed", lines[1])

    def test_json_has_one_object_per_line(self, gossamer: Gossamer, feed: Path) -> None:
        lines = gossamer("log", "show", feed, "--json").out.splitlines()
        entries = [json.loads(line) for line in lines]
        assert [entry["seq"] for entry in entries] == [0, 1, 2, 3]
        assert [entry["prev"] for entry in entries[1:]] == [entry["hash"] for entry in entries[:-1]]
        assert "contents" not in entries[0]

    def test_shows_contents_with_the_key_beside_it(self, gossamer: Gossamer, feed: Path) -> None:
        feed.with_name("epoch.key").write_bytes(SECRET)
        lines = gossamer("log", "show", feed).out.splitlines()
        assert lines[1].endswith("  7 bytes")
        assert lines[4].endswith("  1 1 3 'median' <4 bytes>")

    def test_another_key_opens_nothing(self, gossamer: Gossamer, feed: Path) -> None:
        feed.with_name("epoch.key").write_bytes(bytes(32))
        lines = gossamer("log", "show", feed).out.splitlines()
        assert all(line.endswith("sealed (bad-commitment)") for line in lines[1:])

    @pytest.mark.parametrize("size", [0, 31, 33, 4096])
    def test_a_key_of_the_wrong_size_is_refused(
        self, gossamer: Gossamer, feed: Path, size: int
    ) -> None:
        feed.with_name("epoch.key").write_bytes(bytes(size))
        ran = gossamer("log", "show", feed)
        assert ran.code == ExitCode.STORE
        assert "must be 32 bytes long" in ran.err

    def test_damage_ends_the_list(self, gossamer: Gossamer, feed: Path) -> None:
        tamper(feed, "UPDATE entry SET header = x'00' WHERE seq = 2")
        ran = gossamer("log", "show", feed)
        assert ran.code == ExitCode.LOG_BROKEN
        assert len(ran.out.splitlines()) == 3
        assert "entry 2 is damaged" in ran.err

    @given(st.binary(max_size=300))
    def test_any_body_has_a_description(self, body: bytes) -> None:
        assert describe(body).isprintable()

    def test_a_body_cannot_reach_the_terminal(self) -> None:
        assert describe(msgpack.packb(["\x1b[31m"])) == r"'\x1b[31m'"

    def test_words_in_a_record_cannot_reach_the_terminal(
        self, gossamer: Gossamer, tmp_path: Path
    ) -> None:
        author = Identity.from_seed(bytes(32))
        writer = FeedWriter(author, bytes(32), FixedEpoch(SECRET), os.urandom)
        record = StandingRecord(
            round=1,
            peer=author.peer_id,
            standing=Standing.BANNED,
            score=0.0,
            reason="\x1b[2J\nbad",
        )
        file = tmp_path / "hostile.sqlite3"
        with closing(SqliteStore(file)) as store:
            store.append(writer.append(Kind.START, b"genesis"))
            store.append(writer.append(Kind.STANDING, record.pack()))
        file.with_name("epoch.key").write_bytes(SECRET)
        ran = gossamer("log", "show", file)
        lines = ran.out.splitlines()
        assert (ran.code, len(lines)) == (0, 3)
        assert "\x1b" not in ran.out
        assert lines[2].endswith("banned, ?[2J?bad, score 0.00")

    def test_a_body_of_a_million_empty_lists_costs_nothing(self) -> None:
        body = b"\xdd" + (10**6).to_bytes(4, "big") + b"\x90" * 10**6
        assert describe(body) == f"{len(body)} bytes"
