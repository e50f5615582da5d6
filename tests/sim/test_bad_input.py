"""Whatever a user gets wrong ends in one line and a documented exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer_agent.exit_codes import ExitCode

Gossamer = Callable[..., Any]

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "firmware-profiles" / "models"
ROWS = 60


def dataset(folder: Path, **changes: Any) -> Path:
    chance = np.random.default_rng(0)
    columns = {
        "x": chance.random((ROWS, 64), dtype=np.float32),
        "y": (np.arange(ROWS) % 10).astype(np.int32),
    }
    path = folder / "mine.npz"
    np.savez(path, **columns | changes)
    return path


def refused(gossamer: Gossamer, code: ExitCode, *options: str | Path) -> str:
    ended = gossamer("simulate", "--peers", "4", "--rounds", "1", *options)
    assert ended.code == code
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("gossamer: ")
    return str(line)


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--peers 0", "--peers 0 is out of range; it must be 1 to 10000"),
        ("--rounds 0", "--rounds 0 is out of range; it must be 1 to 100000"),
        ("--loss -0.1", "--loss -0.1 is out of range; it must be 0 to 0.9"),
        ("--byzantine 1.0", "--byzantine 1 of 4 peers leaves no honest peer"),
        ("--byzantine nan", "--byzantine nan is out of range"),
        ("--attack ddos", "unknown attack 'ddos'; choose from sign-flipping, "),
        ("--rule vote", "unknown rule 'vote'; choose from gossamer, "),
        ("--codec zip", "unknown codec 'zip'; choose from sign1, int8, float32"),
        ("--profile toaster", "no profile 'toaster': use "),
        ("--partition shards", "partition 'shards' is not known; use iid, dirichlet:A"),
        ("--partition dirichlet:much", "write dirichlet:A"),
        ("--partition shards --model synthetic", "partition 'shards' is not known"),
    ],
)
def test_a_wrong_setting(gossamer: Gossamer, options: str, line: str) -> None:
    assert line in refused(gossamer, ExitCode.CONFIG, *options.split())


@pytest.mark.parametrize(
    "arguments", ["--peers many", "--peers", "--nonsense", "stray", "--loss 0,1"]
)
def test_an_option_that_cannot_be_parsed_is_a_usage_error(
    gossamer: Gossamer, arguments: str
) -> None:
    ended = gossamer("simulate", *arguments.split())
    assert ended.code == ExitCode.USAGE
    assert "Error: " in ended.err
    assert "Traceback" not in ended.err


# Data --------------------------------------------------------------------------------------------


def test_data_that_are_not_there(gossamer: Gossamer) -> None:
    line = refused(gossamer, ExitCode.DATA, "--data", "nowhere.npz")
    assert "'nowhere.npz': no such file; give the path of an .npz file or 'digits'" in line


def test_data_with_nan(gossamer: Gossamer, tmp_path: Path) -> None:
    x = np.zeros((ROWS, 64), np.float32)
    x[7, 3] = np.nan
    line = refused(gossamer, ExitCode.DATA, "--data", dataset(tmp_path, x=x))
    assert "NaN" in line
    assert "row 7" in line


@pytest.mark.parametrize("shift", [-1, 3])
def test_labels_out_of_range(gossamer: Gossamer, tmp_path: Path, shift: int) -> None:
    path = dataset(tmp_path, y=(np.arange(ROWS) % 10 + shift).astype(np.int32))
    line = refused(gossamer, ExitCode.DATA, "--data", path)
    assert str(path) in line
    assert "negative label -1" in line if shift < 0 else "label 12 is out of range 0..9" in line


def test_data_that_do_not_fit_the_model_say_what_to_do(gossamer: Gossamer, tmp_path: Path) -> None:
    path = dataset(tmp_path, x=np.zeros((ROWS, 24, 24), np.float32))
    line = refused(gossamer, ExitCode.DATA, "--data", path)
    assert f"data set '{path}' does not fit model 'mlp'" in line
    assert "samples have shape (24, 24), the model takes (64,)" in line
    assert "change the file, or give a .tflite that is made for it with --model" in line


def test_a_partition_by_subjects_needs_subjects(gossamer: Gossamer) -> None:
    line = refused(gossamer, ExitCode.DATA, "--partition", "subject")
    assert "needs a data set with an array `subject` or `device`" in line


def test_more_peers_than_rows_for_them(gossamer: Gossamer) -> None:
    line = refused(gossamer, ExitCode.DATA, "--peers", "5000")
    assert "use at most 359 peers or more data" in line


@pytest.mark.slow
@pytest.mark.parametrize("column", ["subject", "device"])
def test_both_names_of_the_column_of_subjects_work(
    gossamer: Gossamer, tmp_path: Path, column: str
) -> None:
    path = dataset(tmp_path, **{column: np.arange(ROWS) % 5})
    options = ("--partition", "subject", "--peers", "3", "--rounds", "1", "--quiet")
    assert gossamer("simulate", "--data", path, *options) == (0, "", "")


# Models ------------------------------------------------------------------------------------------


def test_an_unknown_model(gossamer: Gossamer) -> None:
    line = refused(gossamer, ExitCode.MODEL, "--model", "gpt")
    assert "model 'gpt' is unknown; use one of softmax, mlp, mlp-wide, cnn, conv1d, text" in line


def test_a_model_file_that_is_not_there(gossamer: Gossamer) -> None:
    line = refused(gossamer, ExitCode.MODEL, "--model", "nowhere.tflite")
    assert line == "gossamer: nowhere.tflite: no such file"


@pytest.mark.slow
def test_a_truncated_model_file(gossamer: Gossamer, tmp_path: Path) -> None:
    whole = (MODELS / "mlp.tflite").read_bytes()
    path = tmp_path / "half.tflite"
    path.write_bytes(whole[: len(whole) // 2])
    assert str(path) in refused(gossamer, ExitCode.MODEL, "--model", path)


@pytest.mark.slow
def test_a_model_file_without_the_signatures(gossamer: Gossamer, tmp_path: Path) -> None:
    whole = (MODELS / "mlp.tflite").read_bytes()
    path = tmp_path / "plain.tflite"
    for name in (b"infer", b"init", b"grad"):
        whole = whole.replace(name, b"x" * len(name))
    path.write_bytes(whole)
    line = refused(gossamer, ExitCode.MODEL, "--model", path)
    assert "not a trainable model: signature" in line
    assert "missing" in line


# Outputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--report", "--json"])
def test_an_output_that_cannot_be_written_is_found_before_the_simulation(
    gossamer: Gossamer, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "no" / "result"
    line = refused(gossamer, ExitCode.CONFIG, option, missing)
    assert f"the folder {missing.parent} does not exist" in line
    line = refused(gossamer, ExitCode.CONFIG, option, tmp_path)
    assert f"{tmp_path}: is a folder; give the name of a file" in line
    assert "is a folder" in refused(gossamer, ExitCode.CONFIG, option, "")


def test_a_folder_for_logs_must_not_hold_some(gossamer: Gossamer, tmp_path: Path) -> None:
    (tmp_path / "peer-00").mkdir()
    line = refused(gossamer, ExitCode.STORE, "--keep-logs", tmp_path)
    assert "holds logs already; choose another folder for --keep-logs" in line
    file = tmp_path / "file"
    file.touch()
    assert "cannot be used for logs" in refused(gossamer, ExitCode.STORE, "--keep-logs", file)


def test_settings_are_checked_before_a_folder_is_made(gossamer: Gossamer, tmp_path: Path) -> None:
    refused(gossamer, ExitCode.CONFIG, "--rule", "vote", "--keep-logs", tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


# Allowed, with a warning -------------------------------------------------------------------------


@pytest.mark.slow
def test_half_of_the_peers_may_lie_but_it_warns(gossamer: Gossamer) -> None:
    options = "--model synthetic --peers 6 --rounds 2 --byzantine 0.5"
    ended = gossamer("simulate", *options.split())
    assert (ended.code, ended.err) == (0, "")
    words = " ".join(ended.out.split())
    assert words.count("warning: ") == 1
    assert (
        "warning: 3 of 6 peers are Byzantine: no rule can protect a swarm without an honest "
        "majority round 1/2"
    ) in words


@pytest.mark.slow
def test_a_learning_rate_at_which_everybody_diverges(gossamer: Gossamer) -> None:
    ended = gossamer("simulate", "--peers", "4", "--rounds", "2", "--lr", "100", "--quiet")
    assert ended.code == ExitCode.FAILURE
    (line,) = ended.err.splitlines()
    assert line.startswith("gossamer: training left the bound")
    assert "lower the learning rate of 100" in line


@pytest.mark.slow
def test_the_program_itself_leaves_with_the_code_and_the_line(
    program: Callable[..., Any], tmp_path: Path
) -> None:
    ended = program(f"simulate --data {tmp_path}/nowhere.npz")
    assert ended.code == ExitCode.DATA
    assert ended.out == ""
    assert ended.err == (
        f"gossamer: data set '{tmp_path}/nowhere.npz': no such file; "
        "give the path of an .npz file or 'digits'\n"
    )
