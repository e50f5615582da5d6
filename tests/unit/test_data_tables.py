"""Tables: CSV and Parquet as samples, and what is said of those that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.data import load_device_data
from gossamer_agent.data.layout import Layout, parse_shape
from gossamer_agent.data.loading import load_file
from gossamer_agent.data.summary import summarise
from gossamer_agent.errors import DataError

ROWS = [(0.1 * n, 1.0 - 0.01 * n, "wet" if n % 3 else "dry") for n in range(20)]
HEADER = "warm,damp,state"
BY_STATE = Layout(label="state")


def csv_file(folder: Path, *lines: str, header: str = HEADER, name: str = "a.csv") -> Path:
    path = folder / name
    body = lines or tuple(f"{warm:.3f},{damp:.3f},{state}" for warm, damp, state in ROWS)
    path.write_text("\n".join((header, *body)) + "\n", encoding="utf-8")
    return path


class TestCsv:
    def test_words_become_numbers_in_their_order(self, tmp_path: Path) -> None:
        data = load_device_data(csv_file(tmp_path), layout=BY_STATE)
        assert data.words == ("dry", "wet")
        assert data.features == ("warm", "damp")
        assert data.training.y.tolist() == [int(state == "wet") for *_, state in ROWS]
        np.testing.assert_allclose(data.training.x[3], [0.3, 0.97], rtol=1e-6)

    def test_given_words_keep_their_numbers(self, tmp_path: Path) -> None:
        layout = Layout(label="state", words=("wet", "frozen", "dry"))
        data = load_device_data(csv_file(tmp_path), layout=layout)
        assert set(data.training.y.tolist()) == {0, 2}

    def test_whole_numbers_are_labels_as_they_are(self, tmp_path: Path) -> None:
        lines = [f"0.5,0.5,{n % 4 + 1}" for n in range(16)]
        data = load_device_data(csv_file(tmp_path, *lines), layout=BY_STATE)
        assert data.words == ()
        assert set(data.training.y.tolist()) == {1, 2, 3, 4}

    def test_columns_are_chosen_and_ordered(self, tmp_path: Path) -> None:
        layout = Layout(label="state", features=("damp",))
        assert load_device_data(csv_file(tmp_path), layout=layout).training.x.shape == (20, 1)

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_other_delimiters(self, tmp_path: Path, delimiter: str) -> None:
        path = csv_file(tmp_path)
        path.write_text("\ufeff" + path.read_text().replace(",", delimiter), encoding="utf-8")
        assert len(load_device_data(path, layout=BY_STATE).training) == 20

    def test_images_have_a_shape(self, tmp_path: Path) -> None:
        lines = [f"1,2,3,4,{n % 2}" for n in range(16)]
        path = csv_file(tmp_path, *lines, header="a,b,c,d,state")
        data = load_device_data(path, layout=Layout(label="state", shape=(2, 2)))
        assert data.training.x[0].tolist() == [[1, 2], [3, 4]]
        with pytest.raises(DataError, match="4 feature columns do not make the shape 3x3"):
            load_device_data(path, layout=Layout(label="state", shape=(3, 3)))

    def test_a_regression_has_numbers_for_labels(self, tmp_path: Path) -> None:
        lines = [f"0.5,{n},{n / 2}" for n in range(16)]
        layout = Layout(label="damp,state", regression=True)
        data = load_device_data(csv_file(tmp_path, *lines), layout=layout)
        assert data.training.y.shape == (16, 2)
        assert data.training.y.dtype == np.float32

    def test_is_test_keeps_rows_apart(self, tmp_path: Path) -> None:
        lines = [f"0.5,0.1,dry,{int(n < 4)}" for n in range(20)]
        path = csv_file(tmp_path, *lines, header="warm,damp,state,is_test")
        data = load_device_data(path, layout=BY_STATE)
        assert data.test is not None
        assert (len(data.training), len(data.test)) == (16, 4)

    def test_a_test_file_counts_words_as_the_data_do(self, tmp_path: Path) -> None:
        test = csv_file(tmp_path, *["1,1,wet"] * 16, name="test.csv")
        data = load_device_data(csv_file(tmp_path), test, BY_STATE)
        assert data.test is not None
        assert set(data.test.y.tolist()) == {1}


@pytest.mark.parametrize(
    ("header", "line", "said"),
    [
        (HEADER, "0.1,abc,dry", "line 2, column 'damp': 'abc' is no number"),
        (HEADER, "0.1,,dry", "line 2, column 'damp': nothing is no number"),
        (HEADER, "0.1,nan,dry", "line 2, column 'damp': 'nan' is no number"),
        (HEADER, "0.1,1e40,dry", "line 2, column 'damp': '1e40' is no number"),
        (HEADER, "0.1,1_0,dry", "line 2, column 'damp': '1_0' is no number"),
        (HEADER, "0.1,0.2", "line 2 has 2 values, the header 3"),
        (HEADER, "0.1,0.2,", "line 2, column 'state': no label"),
        (HEADER, '0.1,"0.2,dry', "line 2: unexpected end of data"),
        ("warm,warm,state", "1,2,dry", "two columns are called 'warm'"),
        ("warm,,state", "1,2,dry", "column 2 has no name"),
        ("warm,damp,wet", "1,2,dry", "no label column 'state'; its columns are 'warm', 'damp'"),
        ("state", "dry", "no column beside the labels"),
        ("warm,state,is_test", "1,dry,maybe", "line 2, column 'is_test': 'maybe'"),
    ],
)
def test_a_fault_is_named_with_line_and_column(
    tmp_path: Path, header: str, line: str, said: str
) -> None:
    with pytest.raises(DataError) as raised:
        load_device_data(csv_file(tmp_path, line, header=header), layout=BY_STATE)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_word_is_named(tmp_path: Path) -> None:
    layout = Layout(label="state", words=("dry",))
    with pytest.raises(DataError, match="line 3, column 'state': 'wet' is none of the labels"):
        load_device_data(csv_file(tmp_path), layout=layout)


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"warm,state\n1,dry\n2,d\xffy\n")
    with pytest.raises(DataError, match="line 3: is not UTF-8"):
        load_device_data(path, layout=BY_STATE)


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_samples_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(raw)
    try:
        load_file(path, BY_STATE, rows_min=1)
    except DataError as error:
        assert "\n" not in str(error)


class TestParquet:
    def make(self, folder: Path, **columns: object) -> Path:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        path = folder / "a.parquet"
        parquet.write_table(pyarrow.table(columns), path)
        return path

    @pytest.mark.slow
    def test_is_read_as_the_same_table_of_text(self, tmp_path: Path) -> None:
        warm, damp, state = zip(*ROWS, strict=True)
        path = self.make(tmp_path, warm=warm, damp=damp, state=state)
        found = load_device_data(path, layout=BY_STATE)
        text = load_device_data(csv_file(tmp_path), layout=BY_STATE)
        np.testing.assert_allclose(found.training.x, text.training.x, atol=1e-3)
        assert found.training.y.tolist() == text.training.y.tolist()
        assert found.words == text.words

    @pytest.mark.slow
    def test_a_missing_value_is_named(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, warm=[0.5, None] * 8, state=[0, 1] * 8)
        with pytest.raises(DataError, match="line 2, column 'warm': no value"):
            load_device_data(path, layout=BY_STATE)

    @pytest.mark.slow
    def test_text_that_is_none(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        raw = pyarrow.array([b"d\xff"] * 16).view(pyarrow.string())
        path = self.make(tmp_path, warm=[0.5] * 16, state=raw)
        with pytest.raises(DataError, match="no readable Parquet file"):
            load_device_data(path, layout=BY_STATE)

    @pytest.mark.slow
    def test_a_damaged_file(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        path = tmp_path / "a.parquet"
        path.write_bytes(b"PAR1" + bytes(50))
        with pytest.raises(DataError, match="no readable Parquet file"):
            load_device_data(path, layout=BY_STATE)


def test_a_summary_counts_copies_and_contradictions(tmp_path: Path) -> None:
    lines = ["1,2,dry", "1,2,dry", "1,2,wet", "3,2,dry"] + [f"{n},2,wet" for n in range(9, 21)]
    found = summarise(load_file(csv_file(tmp_path, *lines), BY_STATE))
    assert (found.duplicates, found.contradictions, found.constant) == (1, 1, 1)
    assert found.labels == {"dry": 3, "wet": 13}


@pytest.mark.parametrize("text", ["", "x", "8x", "0x4", "-1", "8x8x8x8x8x8x8x8x8", "99999999"])
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match="shape"):
        parse_shape(text)
