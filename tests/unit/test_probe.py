from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path

import numpy as np
import pytest

from gossamer_agent import probe
from gossamer_agent.errors import ModelError
from gossamer_agent.probe import ModelReport, check_model

GOOD = (importlib.resources.files("gossamer_profiles") / "models" / "mlp.tflite").read_bytes()

# A process and a runtime are started for each file.
pytestmark = pytest.mark.slow


def report(tmp_path: Path, content: bytes) -> ModelReport:
    path = tmp_path / "probed.tflite"
    path.write_bytes(content)
    found = check_model(path)
    assert found.path == path
    assert "\n" not in found.problem
    assert found.usable == (found.problem == "")
    return found


def test_a_good_model_is_described(tmp_path: Path) -> None:
    found = report(tmp_path, GOOD)
    assert found == ModelReport(
        path=tmp_path / "probed.tflite",
        usable=True,
        sha256=hashlib.sha256(GOOD).digest(),
        size=len(GOOD),
        parameters=4810,
        task="classification",
        classes=10,
        input_shape=(64,),
        signatures=("init", "infer", "grad", "grad_clipped"),
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "not a .tflite file"),
        (b"<html>not found</html>", "not a .tflite file"),
        (
            GOOD.replace(b"infer\0", b"infex\0"),
            "not a trainable model: signature infer is missing",
        ),
    ],
    ids=["empty", "html", "no infer"],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, problem: str) -> None:
    found = report(tmp_path, content)
    assert found.problem == problem
    assert not found.usable


def test_a_missing_file_is_a_report(tmp_path: Path) -> None:
    assert check_model(tmp_path / "none.tflite").problem == "no such file"


def test_truncated_files_take_nothing_down(tmp_path: Path) -> None:
    found = [report(tmp_path, GOOD[: len(GOOD) * part // 8]) for part in range(1, 8)]
    assert not any(one.usable for one in found)
    assert {one.problem for one in found} == {
        "the file is damaged: something lies beyond its end",
    }


def test_a_runtime_that_is_ended_by_a_signal_is_an_answer(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    program.chmod(0o700)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(probe.sys, "executable", str(program))
        found = check_model(tmp_path / "any.tflite")
    assert found.problem == "not a usable model: it ends the runtime with signal 11"


def test_random_bodies_take_nothing_down(tmp_path: Path) -> None:
    for seed in range(3):
        body = np.random.default_rng(seed).bytes(len(GOOD) - 8)
        assert not report(tmp_path, GOOD[:8] + body).usable


def test_flipped_bits_take_nothing_down(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(6):
        content = bytearray(GOOD)
        for at in rng.integers(0, len(GOOD), 8):
            content[at] ^= 1 << rng.integers(0, 8)
        # Many altered files run, with other weights: the digest tells them apart.
        found = report(tmp_path, bytes(content))
        assert found.sha256 in (b"", hashlib.sha256(content).digest())


def test_huge_numbers_take_nothing_down(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for at in rng.integers(len(GOOD) * 6 // 10, len(GOOD) - 4, 4):
        huge = b"\xff\xff\xff\x7f"
        content = GOOD[:at] + huge + GOOD[at + 4 :]
        found = report(tmp_path, content)
        assert found.sha256 in (b"", hashlib.sha256(content).digest())


def test_names_that_are_no_text_are_said_in_one_line(tmp_path: Path) -> None:
    found = report(tmp_path, GOOD.replace(b"logits\0", b"logit\xff\0"))
    assert "codec can't decode" in found.problem


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    found = check_model(tmp_path / "pipe.tflite")
    assert found.problem == "is no regular file"


def test_a_file_that_never_ends_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "slow.tflite"
    path.write_bytes(GOOD)
    found = check_model(path, timeout_s=0.01)
    assert not found.usable
    assert found.problem == "not a usable model: no answer in 0.01 s"


def test_nothing_of_the_current_folder_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert report(tmp_path, GOOD).usable


def test_a_device_that_cannot_start_a_process_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(ModelError, match="cannot start a process"):
        check_model(tmp_path / "any.tflite")
