"""A device's own data: training and test rows out of .npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.data import load_device_data, split_holdout
from gossamer_agent.errors import DataError
from gossamer_agent.learner import Samples

ROWS = 40


def write(folder: Path, name: str = "own.npz", **changes: Any) -> Path:
    columns = {"x": np.arange(ROWS * 3).reshape(ROWS, 3) / 120, "y": np.arange(ROWS) % 4}
    path = folder / name
    np.savez(path, **{k: v for k, v in {**columns, **changes}.items() if v is not None})
    return path


def test_without_is_test_all_rows_are_for_training(tmp_path: Path) -> None:
    data = load_device_data(write(tmp_path))
    assert data.training.x.shape == (ROWS, 3)
    assert data.training.x.dtype == np.float32
    assert data.training.y.dtype == np.int32
    assert (data.test, data.warnings) == (None, ())


def test_is_test_rows_are_kept_apart(tmp_path: Path) -> None:
    data = load_device_data(write(tmp_path, is_test=np.arange(ROWS) < 10))
    assert data.test is not None
    assert (len(data.training), len(data.test)) == (ROWS - 10, 10)
    assert np.array_equal(data.test.y, np.arange(10) % 4)


def test_a_test_file_counts_whole(tmp_path: Path) -> None:
    test = write(tmp_path, "test.npz", y=np.arange(ROWS) % 3)
    data = load_device_data(write(tmp_path, is_test=np.arange(ROWS) < 10), test)
    assert data.test is not None
    assert len(data.training) == ROWS - 10
    assert len(data.test) == ROWS
    assert data.test.y.max() == 2


def test_of_a_test_file_with_is_test_only_those_rows_count(tmp_path: Path) -> None:
    pooled = write(tmp_path, "pooled.npz", is_test=np.arange(ROWS) >= 30)
    data = load_device_data(write(tmp_path), pooled)
    assert data.test is not None
    assert np.array_equal(data.test.y, np.arange(30, ROWS) % 4)


def test_one_label_is_enough_for_a_device(tmp_path: Path) -> None:
    data = load_device_data(write(tmp_path, y=np.full(ROWS, 7)))
    assert set(data.training.y) == {7}


def test_unscaled_values_are_warned_of_for_each_file(tmp_path: Path) -> None:
    large = np.full((ROWS, 3), 400.0)
    data = load_device_data(write(tmp_path, x=large), write(tmp_path, "test.npz", x=large))
    own, test = data.warnings
    assert "own.npz" in own
    assert "test.npz" in test


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": None}, "has no array y"),
        ({"x": np.zeros((8, 3)), "y": np.zeros(8, int)}, "has 8 rows; it needs at least 16"),
        ({"x": np.full((ROWS, 3), np.nan)}, "x holds NaN"),
        ({"is_test": np.ones(ROWS)}, "is_test must hold only false and true"),
        ({"y": np.array(["a"] * ROWS)}, "y holds <U1 values"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write(tmp_path, **changes)
    for files in ((path, None), (write(tmp_path, "good.npz"), path)):
        with pytest.raises(DataError) as caught:
            load_device_data(*files)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["gone.npz", "", "a\0b", "~nobody-at-all/x.npz"])
def test_a_file_that_is_not_there(name: str) -> None:
    with pytest.raises(DataError, match=r"no such file; give the path of an \.npz file"):
        load_device_data(name)


@pytest.mark.parametrize(("rows", "held"), [(2, 1), (16, 2), (40, 4), (100, 10)])
def test_the_holdout_is_a_tenth_and_keeps_every_row_once(rows: int, held: int) -> None:
    samples = Samples(np.arange(rows, dtype=np.float32).reshape(rows, 1), np.zeros(rows, int))
    training, holdout = split_holdout(samples, np.random.default_rng(0))
    assert len(holdout) == held
    both = np.concatenate([training.x, holdout.x])[:, 0]
    assert sorted(both) == list(range(rows))
