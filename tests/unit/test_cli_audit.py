"""`gossamer log audit`, `blame` and `replay` on stored logs, which every Python must reproduce.

tests/vectors/audit/ is written by scripts/make_audit_vectors.py.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.records import MergeRecord
from gossamer_agent.store.exported import ExportedLog
from gossamer_agent.store.received import FILE_NAME, ReceivedStore
from gossamer_crypto.envelope import Kind, open_envelope
from gossamer_crypto.identity import peer_id_text
from gossamer_transport.replica import replica_hash

VECTORS = Path(__file__).parents[1] / "vectors" / "audit"
EXPECTED = json.loads((VECTORS / "expected.json").read_text(encoding="utf-8"))
NAMES = sorted(EXPECTED["logs"])
Gossamer = Callable[..., Any]


def author_of(file: str) -> str:
    with closing(ExportedLog(VECTORS / file)) as log:
        return peer_id_text(next(log.entries()).header.author)


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """One log alone, with the key: on another computer."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("peer-03.log", "epoch.key"):
        shutil.copy(VECTORS / name, folder / name)
    return folder / "peer-03.log"


class TestAudit:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_merge_of_the_stored_logs_is_reproduced(
        self, gossamer: Gossamer, name: str
    ) -> None:
        ran = gossamer("log", "audit", VECTORS / f"{name}.log", "--json")
        assert ran.code == 0, ran.err
        told = json.loads(ran.out)
        assert (told["missing"], told["mismatched"], told["troubles"]) == ([], [], [])
        assert told["merges"] == told["reproduced"] == len(EXPECTED["logs"][name]["merges"])

    @pytest.mark.parametrize("name", NAMES)
    def test_their_results_are_the_expected_ones(self, name: str) -> None:
        secret = (VECTORS / "epoch.key").read_bytes()
        with closing(ExportedLog(VECTORS / f"{name}.log")) as log:
            merges = [entry for entry in log.entries() if entry.header.kind is Kind.MERGE]
        records = [MergeRecord.unpack(open_envelope(entry, secret)) for entry in merges]
        hashes = [record.result_hash.hex() for record in records]
        assert hashes == EXPECTED["logs"][name]["merges"]

    def test_it_says_so_in_words(self, gossamer: Gossamer) -> None:
        lines = gossamer("log", "audit", VECTORS / "peer-03.log").out.splitlines()
        assert "10 (100 %), bit for bit" in lines[3]
        assert lines[-1] == "all merges are what the rule makes of what their authors signed"

    def test_without_the_others_it_names_what_is_missing(
        self, gossamer: Gossamer, moved: Path
    ) -> None:
        ran = gossamer("log", "audit", moved)
        assert ran.code == 0
        assert "nothing of it is at hand" in ran.out
        assert "10 cannot be made again" in ran.out
        again = gossamer("log", "audit", moved, "--peers", VECTORS)
        assert "10 (100 %)" in again.out

    def test_what_the_device_received_is_enough(self, gossamer: Gossamer, moved: Path) -> None:
        with closing(ReceivedStore(moved.parent / FILE_NAME, 1 << 30)) as store:
            for file in sorted(VECTORS.glob("*.log")):
                with closing(ExportedLog(file)) as log:
                    store.keep(e for e in log.entries() if e.header.kind is Kind.DELTA)
        assert "10 (100 %)" in gossamer("log", "audit", moved).out

    def test_a_key_can_come_from_elsewhere(self, gossamer: Gossamer, moved: Path) -> None:
        key = moved.with_name("epoch.key").rename(moved.parent.parent / "borrowed")
        ran = gossamer("log", "audit", moved)
        assert ran.code == ExitCode.STORE
        assert "--keys FOLDER" in ran.err
        assert gossamer("log", "audit", moved, "--keys", key).code == 0
        key.write_bytes(b"short")
        assert "not a key" in gossamer("log", "audit", moved, "--keys", key).err
        key.write_bytes(bytes(32))
        assert "terms cannot be read" in gossamer("log", "audit", moved, "--keys", key).err

    def test_a_log_that_does_not_verify_proves_nothing(
        self, gossamer: Gossamer, moved: Path
    ) -> None:
        raw = bytearray(moved.read_bytes())
        raw[2000] ^= 1
        moved.write_bytes(raw)
        ran = gossamer("log", "audit", moved, "--peers", VECTORS)
        assert ran.code == ExitCode.LOG_BROKEN
        assert "see gossamer log verify" in ran.err

    def test_another_model_is_refused(self, gossamer: Gossamer) -> None:
        ran = gossamer("log", "audit", VECTORS / "peer-03.log", "--model", "softmax")
        assert ran.code == ExitCode.MODEL
        assert "is not the one of swarm" in ran.err

    def test_merges_of_another_version_of_the_rule_are_no_mismatch(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gossamer_agent.audit import remerge

        rule = remerge.get_rule("gossamer")
        later = replace(rule, version=rule.version + 1)
        monkeypatch.setattr(remerge, "get_rule", lambda _: later)
        ran = gossamer("log", "audit", VECTORS / "peer-03.log")
        assert ran.code == 0
        why = f"version {rule.version} of rule gossamer, this program has {later.version}"
        assert "reproduced  0 (0 %), bit for bit" in ran.out
        assert f"10  made by {why}: cannot be replayed" in ran.out
        assert ran.out.splitlines()[-1].startswith("none of the merges can be made again here")
        told = json.loads(gossamer("log", "audit", VECTORS / "peer-03.log", "--json").out)
        assert (told["reproduced"], told["mismatched"], told["ok"]) == (0, [], True)
        assert len(told["other_version"]) == 10

    def test_a_mismatch_is_told_with_its_round_and_ends_with_5(
        self, gossamer: Gossamer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from gossamer_agent.audit import remerge

        true = remerge.merge

        def other(*arguments: Any, **options: Any) -> Any:
            merged = true(*arguments, **options)
            if options["round_"] == 7:
                merged.vector[3] = np.nextafter(merged.vector[3], np.float32(9))
            return merged

        monkeypatch.setattr(remerge, "merge", other)
        ran = gossamer("log", "audit", VECTORS / "peer-03.log")
        assert ran.code == ExitCode.LOG_BROKEN
        lines = ran.out.splitlines()
        assert lines[-2] == "differ      1"
        assert lines[-1].startswith("first       round 7, entry ")
        assert "the result has hash" in lines[-1]
        told = json.loads(gossamer("log", "audit", VECTORS / "peer-03.log", "--json").out)
        assert [finding["round"] for finding in told["mismatched"]] == [7]


class TestBlame:
    def test_liars_come_last_and_the_own_input_after_all(self, gossamer: Gossamer) -> None:
        told = json.loads(gossamer("log", "blame", VECTORS / "peer-03.log", "--json").out)
        assert told["ranked_by"] == "pull"
        names = [peer["peer"] for peer in told["peers"] if peer["merges"]]
        assert set(names[-3:-1]) == {author_of(file) for file in EXPECTED["without"]}
        assert names[-1] == told["author"]
        assert told["peers"][-1]["own"]

    def test_the_table_has_a_line_for_each(self, gossamer: Gossamer) -> None:
        out = gossamer("log", "blame", VECTORS / "peer-03.log").out
        assert "own" in out
        for file in EXPECTED["without"]:
            assert f"...{author_of(file)[-8:]}" in out

    def test_without_vectors_it_ranks_by_the_record_and_says_so(
        self, gossamer: Gossamer, moved: Path
    ) -> None:
        ran = gossamer("log", "blame", moved)
        assert "10 merges cannot be made again" in ran.out
        told = json.loads(gossamer("log", "blame", moved, "--json").out)
        assert told["ranked_by"] == "reach"
        assert {peer["pull"] for peer in told["peers"]} == {None}

    @pytest.mark.parametrize("suffix", ["svg", "png"])
    def test_a_plot(self, gossamer: Gossamer, tmp_path: Path, suffix: str) -> None:
        pytest.importorskip("matplotlib")
        file = tmp_path / f"blame.{suffix}"
        ran = gossamer("log", "blame", VECTORS / "peer-03.log", "--plot", file)
        assert ran.code == 0, ran.err
        raw = file.read_bytes()
        assert raw.startswith(b"<?xml" if suffix == "svg" else b"\x89PNG")
        gossamer("log", "blame", VECTORS / "peer-03.log", "--plot", file)
        assert file.read_bytes() == raw

    def test_a_plot_needs_matplotlib_and_says_how_to_get_it(
        self, gossamer: Gossamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        ran = gossamer("log", "blame", VECTORS / "peer-03.log", "--plot", tmp_path / "a.svg")
        assert ran.code == ExitCode.FAILURE
        assert ran.err.count("\n") == 1
        assert "pip install 'gossamer[sim]'" in ran.err

    def test_other_suffixes_are_refused_at_once(self, gossamer: Gossamer) -> None:
        assert gossamer("log", "blame", VECTORS / "peer-03.log", "--plot", "a.pdf").code == 2


class TestReplay:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_model_without_the_liars_is_the_expected_one(
        self, gossamer: Gossamer, tmp_path: Path, name: str
    ) -> None:
        out = tmp_path / "model.npz"
        without = [word for file in EXPECTED["without"] for word in ("--without", file)]
        ran = gossamer("log", "replay", VECTORS / f"{name}.log", *without, "--out", out)
        assert ran.code == 0, ran.err
        assert "taken elsewhere" in ran.out
        with np.load(out) as arrays:
            params = arrays["params"]
        assert params.dtype == np.float32
        assert replica_hash(params).hex() == EXPECTED["logs"][name]["without"]

    def test_bare_values(self, gossamer: Gossamer, tmp_path: Path) -> None:
        out = tmp_path / "model.tflite-weights"
        liar = author_of(EXPECTED["without"][0])
        log = VECTORS / "peer-03.log"
        ran = gossamer("log", "replay", log, "--without", f"...{liar[-8:]}", "--out", out)
        assert ran.code == 0, ran.err
        assert out.stat().st_size == 4 * 512

    def test_data_judge_both_models(
        self, gossamer: Gossamer, tmp_path: Path, samples_file: Path
    ) -> None:
        arguments = ("--without", EXPECTED["without"][0], "--data", samples_file)
        log, out = VECTORS / "peer-03.log", tmp_path / "m.npz"
        told = json.loads(gossamer("log", "replay", log, *arguments, "--out", out, "--json").out)
        assert told["before"]["loss"] != told["after"]["loss"]
        assert told["changed"] == told["merges"] == 10
        assert told["steps_taken_elsewhere"] is True
        words = gossamer("log", "replay", log, *arguments, "--out", tmp_path / "n.npz").out
        assert "before   accuracy" in words

    @pytest.mark.parametrize(
        ("arguments", "code", "says"),
        [
            (("--without", "nobody", "--out", "m.npz"), 2, "is no contributor of this log"),
            (("--without", "12D3KooW", "--out", "m.npz"), 2, "contributors; see gossamer log"),
            (("--without", "peer-02.log", "--out", "m.tflite"), 2, "ends in none of"),
            (("--without", "peer-02.log", "--out", str(VECTORS / "x/m.npz")), 7, "cannot be"),
            (("--without", "peer-02.log", "--out", "m.npz", "--data", "no.npz"), 3, "no.npz"),
        ],
    )
    def test_bad_input_costs_one_line(
        self,
        gossamer: Gossamer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: tuple[str, ...],
        code: int,
        says: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ran = gossamer("log", "replay", VECTORS / "peer-03.log", *arguments)
        assert ran.code == code
        assert says in ran.err
        assert not [*tmp_path.glob("m.*")]

    def test_the_own_votes_and_existing_files_are_left_alone(
        self, gossamer: Gossamer, tmp_path: Path
    ) -> None:
        own = author_of("peer-03.log")
        out = tmp_path / "m.npz"
        log = VECTORS / "peer-03.log"
        ran = gossamer("log", "replay", log, "--without", own, "--out", out)
        assert ran.code == 2
        assert "own votes" in ran.err
        out.write_bytes(b"precious")
        ran = gossamer("log", "replay", log, "--without", "peer-02.log", "--out", out)
        assert ran.code == ExitCode.STORE
        assert out.read_bytes() == b"precious"


def test_a_device_reads_its_own_log_with_its_own_keys(gossamer: Gossamer, garden: Any) -> None:
    """No merge yet, but terms and keys are found; the agent need not run."""
    from gossamer_agent.members.stewardship import load_roster
    from gossamer_agent.store.sqlite import SqliteStore
    from gossamer_crypto.epoch_ring import EpochRing
    from gossamer_crypto.feed import FeedWriter

    ring = EpochRing(garden.peer_id, garden.keys.prekeys)
    with closing(garden.open_state()) as state:
        ring.follow(load_roster(state, garden.genesis))
    writer = FeedWriter(garden.identity, garden.genesis.swarm_id, ring, bytes)
    with closing(SqliteStore(garden.feed_path)) as store:
        store.append(writer.append(Kind.START, garden.genesis.pack()))
    ran = gossamer("log", "audit", garden.path)
    assert ran.code == 0, ran.err
    assert "merges      0 by gossamer" in ran.out
    ran = gossamer("log", "replay", garden.path, "--without", "x", "--out", garden.path / "m.npz")
    assert ran.code == 2
