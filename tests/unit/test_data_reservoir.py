"""What arrives while the agent runs: kept within bounds, held out for good, seen by training."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.contract import Contract
from gossamer_agent.data.drift import WINDOW_MIN, DriftWatch
from gossamer_agent.data.gathering import take_file
from gossamer_agent.data.holdout import digests, holdout_key, is_held, split_by_hash
from gossamer_agent.data.intake import Intake, Split
from gossamer_agent.data.layout import Layout
from gossamer_agent.data.reservoir import Reservoir
from gossamer_agent.data.retention import quotas
from gossamer_agent.data.schema import learn_schema
from gossamer_agent.data.watched import WatchedFolder
from gossamer_agent.errors import DataError, StoreError
from gossamer_agent.learner import Samples

CONTRACT = Contract("classification", 4, (3,), 10)
KEY = holdout_key(bytes(32))


def some(count: int, seed: int = 0, labels: Sequence[int] = (0, 1, 2, 3)) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(rng.random((count, 3)).astype(np.float32), rng.choice(labels, count))


OPENED: list[Reservoir] = []


@pytest.fixture(autouse=True)
def _all_are_closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def reservoir(folder: Path, contract: Contract = CONTRACT, **settings: Any) -> Reservoir:
    defaults = {"rows_max": 1000, "bytes_max": 1 << 20, "retention": "newest"}
    OPENED.append(Reservoir(folder / "data.sqlite3", contract, KEY, **defaults | settings))
    return OPENED[-1]


def intake(folder: Path, **settings: Any) -> Intake:
    own = some(40, seed=99)
    return Intake(
        Split(*split_by_hash(own, KEY)),
        learn_schema(own, CONTRACT, names=("a", "b", "c"), words=("w", "x", "y", "z")),
        reservoir(folder, **settings),
        drift_threshold=0.25,
    )


class TestReservoir:
    def test_gives_back_what_it_was_given(self, tmp_path: Path) -> None:
        given_ = some(200)
        kept = reservoir(tmp_path)
        assert kept.add(given_, "test").taken == 200
        training, held = reservoir(tmp_path).samples()
        assert training is not None
        assert held is not None
        assert len(training) + len(held) == 200
        assert {*digests(training, KEY), *digests(held, KEY)} == {*digests(given_, KEY)}

    def test_no_file_before_the_first_sample(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path)
        assert kept.samples() == (None, None)
        assert kept.kept().rows == 0
        assert not kept.path.exists()

    def test_only_the_owner_can_read_it(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path)
        kept.add(some(1), "test")
        for path in tmp_path.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def test_copies_are_kept_once(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path)
        kept.add(some(50), "test")
        added = kept.add(some(50), "again")
        assert (added.taken, added.duplicates) == (0, 50)

    def test_the_oldest_go_first(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path, rows_max=30)
        kept.add(some(20, seed=1), "first")
        assert kept.add(some(20, seed=2), "second").removed == 10
        training, held = kept.samples()
        assert training is not None
        found = {*digests(training, KEY), *(digests(held, KEY) if held else ())}
        assert {*digests(some(20, seed=2), KEY)} <= found
        assert len(found) == 30

    def test_a_rare_class_stays_where_classes_are_balanced(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path, rows_max=40, retention="class-balanced")
        kept.add(some(10, seed=1, labels=[3]), "rare")
        kept.add(some(200, seed=2, labels=[0]), "frequent")
        assert dict(kept.kept().classes) == {0: 30, 3: 10}

    def test_bytes_bound_it_too(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path, bytes_max=1120)
        kept.add(some(100), "test")
        assert kept.kept().rows == kept.rows_max == 10

    @pytest.mark.parametrize("retention", ["newest", "class-balanced"])
    def test_a_large_batch_does_not_grow_the_file(self, tmp_path: Path, retention: str) -> None:
        kept = reservoir(tmp_path, rows_max=200, retention=retention)
        added = kept.add(some(8000), "test")
        assert (added.taken, added.removed) == (8000, 7800)
        assert kept.kept().rows == 200
        kept.close()
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 100_000

    def test_a_file_that_was_moved_away_is_begun_anew(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path)
        kept.add(some(5), "test")
        for path in list(tmp_path.iterdir()):
            path.rename(path.with_name(f"old-{path.name}"))
        assert kept.version() == (0, 0)
        kept.add(some(7, seed=1), "test")
        assert reservoir(tmp_path).kept().rows == 7

    def test_another_handle_is_another_version(self, tmp_path: Path) -> None:
        kept = reservoir(tmp_path)
        kept.add(some(5), "test")
        before = kept.version()
        kept.close()
        assert kept.version() != before

    def test_what_the_system_refuses_is_a_store_error(self, tmp_path: Path) -> None:
        (tmp_path / "data.sqlite3").mkdir()  # as a card that became read-only, for root too
        with pytest.raises(StoreError, match=r"data\.sqlite3"):
            reservoir(tmp_path).add(some(1), "test")
        data = intake(tmp_path)
        assert data.samples()[0] is data.own.training

    def test_a_source_that_is_no_text_is_kept(self, tmp_path: Path) -> None:
        assert reservoir(tmp_path).add(some(1), "file a\udcff.csv").taken == 1

    def test_another_process_is_noticed(self, tmp_path: Path) -> None:
        kept, other = reservoir(tmp_path), reservoir(tmp_path)
        kept.add(some(5), "test")
        before = kept.version()
        assert kept.version() == before
        other.add(some(5, seed=3), "test")
        assert kept.version() != before

    def test_samples_of_another_model_are_told(self, tmp_path: Path) -> None:
        reservoir(tmp_path).add(some(5), "test")
        contract = Contract("classification", 4, (5,), 10)
        other = reservoir(tmp_path, contract)
        with pytest.raises(StoreError, match="samples of shape 3, the model needs 5"):
            other.kept()

    def test_a_damaged_file_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "data.sqlite3").write_bytes(b"no database" * 100)
        with pytest.raises(StoreError, match=r"data\.sqlite3"):
            reservoir(tmp_path).samples()


class TestHoldout:
    def test_a_sample_stays_on_its_side_whatever_comes_with_it(self, tmp_path: Path) -> None:
        data = some(400)
        held = {digest for digest in digests(data, KEY) if is_held(digest)}
        training, holdout = split_by_hash(data, KEY)
        assert {*digests(holdout, KEY)} == held
        assert not held & {*digests(training, KEY)}
        assert 20 <= len(held) <= 60
        part = data.take(np.arange(200, 400))
        assert {*digests(split_by_hash(part, KEY)[1], KEY)} <= held

    def test_another_device_holds_out_others(self) -> None:
        other = holdout_key(b"1" * 32)
        one, two = split_by_hash(some(400), KEY), split_by_hash(some(400), other)
        assert not np.array_equal(one[1].x, two[1].x)

    @given(count=st.integers(2, 30), seed=st.integers(0, 50))
    def test_no_side_is_empty(self, count: int, seed: int) -> None:
        training, holdout = split_by_hash(some(count, seed), KEY)
        assert len(training) + len(holdout) == count


@given(
    counts=st.dictionaries(st.integers(0, 9), st.integers(0, 100), min_size=1),
    keep=st.integers(0, 300),
)
def test_quotas_are_as_equal_as_they_can_be(counts: dict[int, int], keep: int) -> None:
    found = quotas(counts, keep)
    assert sum(found.values()) == min(keep, sum(counts.values()))
    assert all(0 <= found[label] <= counts[label] for label in counts)
    cut = [found[label] for label in counts if found[label] < counts[label]]
    if cut:
        assert max(cut) - min(cut) <= 1
        assert max(found.values()) <= max(cut) + 1


class TestIntake:
    def test_nothing_arrived_is_the_very_file(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        assert data.samples() == (data.own.training, data.own.holdout)
        assert data.samples()[0] is data.own.training

    def test_what_arrived_is_trained_on_next(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        new = some(100, seed=7)
        data.observe(new.x, new.y, "test")
        training, holdout = data.samples()
        held = sum(is_held(digest) for digest in digests(new, KEY))
        assert len(training) == len(data.own.training) + 100 - held
        assert len(holdout) == len(data.own.holdout) + held
        assert data.report().reservoir == 100

    def test_a_copy_of_the_file_is_no_news(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        own = some(40, seed=99)
        added = data.observe(own.x, own.y, "test")
        assert (added.taken, added.duplicates) == (0, 40)
        assert data.samples()[0] is data.own.training

    def test_a_broken_sensor_is_refused_and_counted(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        with pytest.raises(DataError, match="sample 1, b: 1e\\+09 is out of range"):
            data.observe(np.array([[0, 0, 0], [0, 1e9, 0]], np.float32), np.array([0, 1]), "test")
        assert data.report().refused == 2
        assert data.samples()[0] is data.own.training

    def test_a_file_that_breaks_leaves_what_was_known(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        (tmp_path / "data.sqlite3").write_bytes(b"no database" * 100)
        assert data.samples()[0] is data.own.training
        assert "data.sqlite3" in data.troubles()[0]

    def test_the_status_does_not_wait_for_the_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = intake(tmp_path)
        data.observe(some(9).x, some(9).y, "test")
        begun, go_on = threading.Event(), threading.Event()

        def slow(self: Reservoir) -> tuple[None, None]:
            begun.set()
            assert go_on.wait(10)
            return None, None

        monkeypatch.setattr(Reservoir, "samples", slow)
        reading = threading.Thread(target=data.present)
        reading.start()
        try:
            assert begun.wait(10)
            told: list[object] = []
            telling = threading.Thread(target=lambda: told.append(data.report()), daemon=True)
            telling.start()
            telling.join(2)
            assert told
        finally:
            go_on.set()
            reading.join()

    def test_declared_ranges_rule(self) -> None:
        schema = learn_schema(some(20), CONTRACT, declared=(0.0, 1.0))
        with pytest.raises(DataError, match=r"feature 2: 1\.5 is out of range \(0 to 1 is taken\)"):
            schema.check(np.array([[0, 0, 1.5]], np.float32))


class TestDrift:
    def test_the_same_distribution_is_none(self) -> None:
        watch = DriftWatch(some(300, seed=1).x)
        watch.notice(some(1000, seed=2).x)
        assert watch.judge().drifted == 0

    def test_a_shifted_feature_is_named(self) -> None:
        watch = DriftWatch(some(300, seed=1).x)
        shifted = some(500, seed=2).x.copy()
        shifted[:, 1] += 0.8
        watch.notice(shifted)
        found = watch.judge()
        assert (found.drifted, found.feature) == (1, 1)
        assert found.index > found.threshold > 0.25

    def test_old_inputs_are_forgotten(self) -> None:
        watch = DriftWatch(some(300, seed=1).x)
        watch.notice(some(500, seed=2).x + np.float32(3))
        watch.notice(some(1000, seed=3).x)
        assert watch.judge().drifted == 0

    def test_few_inputs_say_nothing(self) -> None:
        watch = DriftWatch(some(300, seed=1).x)
        watch.notice(some(WINDOW_MIN - 1, seed=2).x + np.float32(3))
        assert watch.judge().feature is None

    def test_small_references_do_not_cry_wolf(self) -> None:
        for seed in range(20):
            watch = DriftWatch(some(40, seed=seed).x)
            watch.notice(some(200, seed=100 + seed).x)
            assert watch.judge().drifted == 0, seed


class TestWatchedFolder:
    def test_a_file_is_read_once_when_it_is_complete(self, tmp_path: Path) -> None:
        read: list[str] = []
        watched = WatchedFolder(tmp_path / "in", lambda path: read.append(path.name))
        watched.look()
        file = tmp_path / "in" / "a.csv"
        file.write_text("1")
        watched.look()
        file.write_text("12")  # still growing
        watched.look()
        assert read == []
        watched.look()
        watched.look()
        assert read == ["a.csv"]
        assert (tmp_path / "in" / "taken" / "a.csv").read_text() == "12"

    def test_a_bad_file_is_set_aside_with_its_reason(self, tmp_path: Path) -> None:
        def refuse(path: Path) -> None:
            raise DataError(f"{path.name}: line 3 is wrong")

        watched = WatchedFolder(tmp_path, refuse)
        for name in ("a.csv", "b.exe", ".hidden"):
            (tmp_path / name).write_text("1")
        watched.look()
        watched.look()
        aside = {path.name for path in (tmp_path / "refused").iterdir()}
        assert aside == {"a.csv", "a.csv.reason.txt", "b.exe", "b.exe.reason.txt"}
        assert "line 3" in (tmp_path / "refused" / "a.csv.reason.txt").read_text()
        assert watched.refused == 2

    def test_whatever_goes_wrong_with_a_file_costs_that_file(self, tmp_path: Path) -> None:
        def fail(path: Path) -> None:
            raise MemoryError

        odd = tmp_path / os.fsdecode(b"a\xff.csv")
        odd.write_text("1")
        (tmp_path / os.fsdecode(b"b\xff.exe")).write_text("1")
        watched = WatchedFolder(tmp_path, fail)
        watched.look()
        watched.look()
        assert not odd.exists()
        assert watched.refused == 2
        assert "MemoryError" in (tmp_path / "refused" / f"{odd.name}.reason.txt").read_text()

    def test_nothing_is_moved_or_written_through_a_link(self, tmp_path: Path) -> None:
        folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
        (folder / "refused").mkdir(parents=True)
        elsewhere.mkdir()
        (folder / "taken").symlink_to(elsewhere)
        (folder / "refused" / "b.exe.reason.txt").symlink_to(elsewhere / "reason")
        (folder / "b.exe").write_text("1")
        watched = WatchedFolder(folder, lambda path: None)
        watched.look()
        watched.look()
        assert (folder / "refused" / "b-1.exe.reason.txt").exists()
        (folder / "a.csv").write_text("1")
        watched.look()
        with pytest.raises(OSError, match="taken"):
            watched.look()
        assert not list(elsewhere.iterdir())

    def test_words_mean_what_they_mean_in_the_own_data(self, tmp_path: Path) -> None:
        data = intake(tmp_path)
        (tmp_path / "a.csv").write_text("a,b,c,label,is_test\n0,0,1,y,0\n0,1,0,z,0\n1,0,0,w,1\n")
        assert take_file(tmp_path / "a.csv", Layout(), data).taken == 2  # without the test row
        assert data.report().taken == 2
        sides = [side for side in reservoir(tmp_path).samples() if side is not None]
        assert sorted(y for side in sides for y in side.y.tolist()) == [2, 3]
        own = some(40, seed=99)
        wordless = Intake(
            data.own, learn_schema(own, CONTRACT), reservoir(tmp_path), drift_threshold=0.25
        )
        with pytest.raises(DataError, match="set labels"):
            take_file(tmp_path / "a.csv", Layout(), wordless)
        assert wordless.report().refused == 1

    @pytest.mark.parametrize("suffix", ["csv", "npz"])
    def test_a_file_that_is_too_large_is_not_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
    ) -> None:
        monkeypatch.setattr("gossamer_agent.data.gathering.FILE_BYTES_MIN", 1000)
        path = tmp_path / f"a.{suffix}"
        if suffix == "csv":
            path.write_text("a,b,c,label\n" + "0,0,1,y\n" * 1000)
        else:  # a small file that unpacks to a large one
            np.savez_compressed(path, x=np.zeros((1000, 3)), y=np.zeros(1000, int))
        data = intake(tmp_path, bytes_max=1000)
        with pytest.raises(DataError, match=r"larger than 0 MiB|at most 0 MiB are read"):
            take_file(path, Layout(), data)

    def test_what_cannot_be_kept_now_waits(self, tmp_path: Path) -> None:
        def fail(path: Path) -> None:
            raise StoreError("the disk is full")

        (tmp_path / "a.csv").write_text("1")
        (tmp_path / "link.csv").symlink_to("/etc/passwd")
        watched = WatchedFolder(tmp_path, fail)
        watched.look()
        with pytest.raises(StoreError):
            watched.look()
        assert (tmp_path / "a.csv").exists()
