from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gossamer_agent.data import arrays as device_data
from gossamer_agent.errors import DataError
from gossamer_agent.exit_codes import ExitCode
from gossamer_simulator.datasets import load_dataset

ROWS = 40


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def columns(**changes: Any) -> dict[str, Any]:
    """A data set that is fine: 40 rows, 3 features, 4 classes, 5 devices, 10 test rows."""
    made = {
        "x": rng(1).random((ROWS, 3)).astype(np.float32),
        "y": (np.arange(ROWS) % 4).astype(np.uint8),
        "device": np.arange(ROWS) % 5,
        "is_test": np.arange(ROWS) < 10,
    }
    made.update(changes)
    return {name: values for name, values in made.items() if values is not None}


def write(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "garden.npz"
    np.savez_compressed(path, **columns(**changes))
    return str(path)


def refusal(reference: str, test_share: float = 0.2) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(reference, rng(), test_share)
    assert caught.value.exit_code is ExitCode.DATA
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300
    return message


def test_digits_ship_with_the_package() -> None:
    digits = load_dataset("digits", rng())
    assert digits.name == "digits"
    assert digits.x.shape == (1438, 64)
    assert digits.test.x.shape == (359, 64)
    assert digits.x.dtype == np.float32
    assert digits.y.dtype == np.int32
    assert (digits.x.min(), digits.x.max()) == (0.0, 1.0)
    assert digits.classes == 10
    assert digits.device is None
    assert digits.warnings == ()


def test_digits_can_be_told_apart_by_their_nearest_mean() -> None:
    digits = load_dataset("digits", rng())
    means = np.stack([digits.x[digits.y == label].mean(axis=0) for label in range(10)])
    distance = ((digits.test.x[:, None] - means[None]) ** 2).sum(axis=2)
    assert np.mean(distance.argmin(axis=1) == digits.test.y) > 0.85


def test_the_seed_decides_the_split() -> None:
    first, again, other = (load_dataset("digits", rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.test.x, again.test.x)
    assert not np.array_equal(first.test.y, other.test.y)


def test_split_keeps_every_row_once(tmp_path: Path) -> None:
    x = np.arange(ROWS, dtype=np.float32).reshape(ROWS, 1) / ROWS
    data = load_dataset(write(tmp_path, x=x, is_test=None), rng(), test_share=0.3)
    assert len(data.test.x) == 12
    assert sorted(np.concatenate([data.x, data.test.x])[:, 0]) == sorted(x[:, 0])


@pytest.mark.parametrize(("share", "tests"), [(1e-9, 1), (0.999999, ROWS - 1)])
def test_both_sides_of_the_split_have_rows(tmp_path: Path, share: float, tests: int) -> None:
    data = load_dataset(write(tmp_path, is_test=None), rng(), share)
    assert len(data.test.y) == tests


def test_official_test_rows_are_honoured(tmp_path: Path) -> None:
    data = load_dataset(write(tmp_path), rng())
    assert np.array_equal(data.test.y, np.arange(10) % 4)
    assert np.array_equal(data.y, np.arange(10, ROWS) % 4)
    assert data.device is not None
    assert np.array_equal(data.device, np.arange(10, ROWS) % 5)
    assert data.name == "garden"


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float64])
def test_inputs_of_any_number_type_become_float32(tmp_path: Path, dtype: type) -> None:
    x = (np.arange(ROWS * 6) % 2).reshape(ROWS, 2, 3).astype(dtype)
    data = load_dataset(write(tmp_path, x=x), rng())
    assert data.x.dtype == data.test.x.dtype == np.float32
    assert data.x.shape == (ROWS - 10, 2, 3)
    assert np.array_equal(data.test.x, x[:10].astype(np.float32))


def test_a_subject_column_serves_as_device_and_comes_before_it(tmp_path: Path) -> None:
    subject = np.array(["ann", "bob", "eve", "ann"] * (ROWS // 4))
    for device in (None, np.arange(ROWS) % 5):
        data = load_dataset(write(tmp_path, device=device, subject=subject, is_test=None), rng())
        assert data.device is not None
        assert set(data.device) == {0, 1, 2}
    assert "subject has shape (7,)" in refusal(write(tmp_path, subject=np.arange(7)))
    assert "subject holds float64 values" in refusal(write(tmp_path, subject=np.zeros(ROWS)))


@pytest.mark.parametrize("names", [["b", "a"], [700, -3]])
def test_devices_are_renumbered_in_sorted_order(tmp_path: Path, names: list[Any]) -> None:
    device = np.array(names * (ROWS // 2))
    data = load_dataset(write(tmp_path, device=device, is_test=None), rng())
    assert data.device is not None
    assert data.device.dtype == np.int32
    assert set(data.device) == {0, 1}
    in_order = load_dataset(write(tmp_path, device=device), rng()).device
    assert in_order is not None
    assert in_order[0] == 1  # row 10 holds the first name, which sorts last


def test_unscaled_values_are_kept_and_warned_about(tmp_path: Path) -> None:
    x = np.full((ROWS, 3), 415.5)
    data = load_dataset(write(tmp_path, x=x), rng())
    assert data.x.max() == np.float32(415.5)
    (warning,) = data.warnings
    assert "reach 415.5 and are not scaled" in warning


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": None}, "has no array x;"),
        ({"y": None}, "has no array y;"),
        ({"x": None, "y": None}, "has no array x and y;"),
        ({"x": np.full((ROWS, 3), np.nan)}, "NaN, infinite or too large values in 40 rows"),
        ({"x": np.full((ROWS, 3), 1e300)}, "too large values in 40 rows, the first is row 0"),
        ({"x": np.zeros(ROWS)}, "x has shape (40,)"),
        ({"x": np.float64(3.0)}, "x has shape ()"),
        ({"x": np.zeros((ROWS, 0))}, "x has shape (40, 0)"),
        ({"x": np.zeros((3, 3)), "y": np.arange(3)}, "has 3 rows; it needs at least 16"),
        ({"x": np.zeros((ROWS, 3), complex)}, "x holds complex128 values"),
        ({"x": np.full((ROWS, 3), "1")}, "x holds <U1 values"),
        ({"y": np.arange(ROWS) - 1}, "y holds the negative label -1"),
        ({"y": np.arange(ROWS) * 100}, "at most 1000 classes"),
        ({"y": np.full(ROWS, 2**64 - 1, np.uint64)}, "label 18446744073709551615"),
        ({"y": np.zeros(ROWS, int)}, "every label in y is 0"),
        ({"y": np.arange(ROWS) / 2}, "y holds float64 values"),
        ({"y": np.arange(ROWS - 1)}, "y has shape (39,); x has 40 rows"),
        ({"y": np.zeros((ROWS, 1), int)}, "y has shape (40, 1)"),
        ({"device": np.arange(7)}, "device has shape (7,)"),
        ({"device": np.zeros(ROWS)}, "device holds float64 values"),
        ({"is_test": np.arange(ROWS)}, "is_test must hold only false and true"),
        ({"is_test": np.ones(ROWS, bool)}, "is_test leaves no training rows"),
        ({"is_test": np.zeros(ROWS, int)}, "is_test leaves no test rows"),
        ({"is_test": np.zeros(3, bool)}, "is_test has shape (3,)"),
    ],
)
def test_unusable_columns_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(write(tmp_path, **changes))


def test_the_first_bad_row_is_named(tmp_path: Path) -> None:
    x = np.zeros((ROWS, 3))
    x[7, 1] = np.inf
    assert "in 1 rows, the first is row 7" in refusal(write(tmp_path, x=x))


@pytest.mark.parametrize("reference", ["nowhere.npz", "mnist", "", "a\0b", "x" * 5000])
def test_missing_files_are_refused(reference: str) -> None:
    with pytest.raises(DataError, match="no such file; give the path of an"):
        load_dataset(reference, rng())


def test_a_folder_is_not_a_data_set(tmp_path: Path) -> None:
    assert "no such file" in refusal(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04" + bytes(60)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.npz"
    path.write_bytes(content)
    assert "cannot be read as an .npz file" in refusal(str(path))


def test_a_bare_npy_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((ROWS, 3)))
    assert "numpy.savez_compressed" in refusal(str(tmp_path / "x.npy"))


def test_pickled_objects_are_refused_and_not_loaded(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}] * ROWS, dtype=object)
    assert "Python objects, which are never loaded" in refusal(write(tmp_path, y=objects))


def test_arrays_that_are_not_read_may_be_anything(tmp_path: Path) -> None:
    path = write(tmp_path, notes=np.array([{"a": 1}], dtype=object))
    assert load_dataset(path, rng()).classes == 4


def test_size_is_checked_before_anything_is_unpacked(tmp_path: Path) -> None:
    path = Path(write(tmp_path, x=np.zeros((ROWS, 30_000), np.uint8)))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(DataError, match="at most 1 MiB are read"):
        device_data.read_columns(str(path), path, ("x", "y"), bytes_max=1 << 20)


def test_a_header_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4503599627370496, 64), }"
    padded = header.ljust(117) + b"\n"
    path = tmp_path / "huge.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded)
    assert refusal(str(path)).startswith(f"data set {str(path)!r}: ")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_test_share_must_be_a_share(share: float) -> None:
    assert "is not between 0 and 1" in refusal("digits", share)


@pytest.mark.slow
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(Path(write(tmp_path)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        load_dataset(str(path), rng())
    except DataError as refused:
        assert "\n" not in str(refused)
