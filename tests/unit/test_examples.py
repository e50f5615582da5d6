"""The examples: from raw files, made by hand here, to a story that is told."""

from __future__ import annotations

import importlib.util
import sys
import wave
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def program(folder: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"{folder}_{name}", EXAMPLES / folder / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [str(module.__file__), *map(str, words)])
    module.main()


# Raw files ---------------------------------------------------------------------------------------


def write_messages(folder: Path) -> Path:
    lines = []
    for number in range(150):
        if number % 3 == 0:
            lines.append(f"spam\tWIN a £{number * 100} prize! Call 0906170146{number % 10} now")
        else:
            lines.append(f"ham\tOk, see you at {number % 12} then, I'm on my way home")
    path = folder / "SMSSpamCollection"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_recordings(folder: Path) -> Path:
    recordings = folder / "recordings"
    recordings.mkdir()
    chance = np.random.default_rng(0)
    for speaker in ("george", "jackson", "lucas", "nicolas", "theo", "yweweler"):
        for digit in range(10):
            for take in (4, 5, 6):
                moments = np.arange(int(chance.integers(100, 1600))) / 8000
                tone = np.sin(2 * np.pi * (300 + 300 * digit) * moments)
                with wave.open(str(recordings / f"{digit}_{speaker}_{take}.wav"), "wb") as file:
                    file.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
                    file.writeframes((tone * 20_000).astype("<i2").tobytes())
    (recordings / "README.wav.txt").touch()
    return recordings


def write_readings(folder: Path) -> Path:
    header = '"date","Temperature","Humidity","Light","CO2","HumidityRatio","Occupancy"\n'
    # A week to learn from, and days before and after it, as the real files have it.
    for name, first, days in (
        ("datatraining.txt", 4, 7),
        ("datatest.txt", 2, 2),
        ("datatest2.txt", 11, 2),
    ):
        with (folder / name).open("w", encoding="ascii") as file:
            file.write(header)
            for number in range(days * 24):
                when = datetime(2015, 2, first) + timedelta(hours=number)
                there = 8 <= when.hour <= 17
                light, gas = (430.5, 900) if there else (0, 440)
                file.write(f'"{number}","{when}",21.5,27.2,{light},{gas},0.0042,{int(there)}\n')
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "spam-filter": write_messages,
    "spoken-digits": write_recordings,
    "occupancy": write_readings,
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes the .npz file of an example from raw files."""

    def make(example: str) -> Path:
        out = tmp_path / f"{example}.npz"
        raw = WRITERS[example](tmp_path)
        call(monkeypatch, program(example, "make_data"), raw, out)
        return out

    return make


def arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


# From raw files ----------------------------------------------------------------------------------


def test_messages_become_rows_without_their_text(made: Callable[[str], Path]) -> None:
    data = arrays(made("spam-filter"))
    assert data.keys() == {"x", "y", "is_test"}
    assert (data["x"].shape, data["x"].dtype) == ((150, 1024), np.uint8)
    assert data["y"].sum() == 50
    assert np.flatnonzero(data["is_test"])[:3].tolist() == [0, 5, 10]


def test_a_line_without_a_label_is_named(tmp_path: Path) -> None:
    path = tmp_path / "messages"
    path.write_text("ham\tfine\nhello\n")
    with pytest.raises(ValueError, match="line 2 does not begin with ham or spam"):
        program("spam-filter", "make_data").read_messages(path)


def test_recordings_become_spectrograms(made: Callable[[str], Path]) -> None:
    data = arrays(made("spoken-digits"))
    assert data["x"].shape == (180, 24, 24)
    assert np.isfinite(data["x"]).all()
    assert data["is_test"].sum() == 60
    assert sorted(set(data["device"].tolist()))[0] == "george"
    # A higher tone is in a higher band.
    loudest = [
        int(data["x"][data["y"] == d].astype(float).mean((0, 1)).argmax()) for d in range(10)
    ]
    assert loudest == sorted(loudest)
    assert loudest[0] < loudest[9]


def test_a_recording_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "1_theo_0.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", "not compressed"))
        file.writeframes(bytes(400))
    with pytest.raises(ValueError, match=r"1_theo_0\.wav: is not 8000 Hz"):
        program("spoken-digits", "make_data").read_wave(path)


def test_readings_become_scaled_rows(made: Callable[[str], Path]) -> None:
    data = arrays(made("occupancy"))
    assert data["x"].shape == (11 * 24, 8)
    assert np.abs(data["x"]).max() <= 1
    assert data["x"][12, :5].tolist() == pytest.approx([0.3, 0.22, 0.4305, 0.9, 0.42])
    assert data["x"][12, 5:].tolist() == pytest.approx([0, -1, 0], abs=1e-6)  # noon on a Wednesday
    assert data["x"][3 * 24, 7] == 1  # Saturday, 7 February 2015
    assert data["is_test"].sum() == 4 * 24
    assert sorted(set(data["device"][~data["is_test"]].tolist())) == [2, 3, 4, 5, 6, 7, 8]


def test_a_reading_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "datatest.txt"
    path.write_text('"date"\n"1","2015-02-04 17:51:00",23.18,27.272\n')
    with pytest.raises(ValueError, match="line 2: date, five numbers"):
        program("occupancy", "make_data").read_file(path)


# Stories -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("example", WRITERS)
def test_the_story_is_told(
    made: Callable[[str], Path],
    gossamer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    example: str,
) -> None:
    module = program(example, "run")
    failures = []

    def in_this_process(command: list[str], **_: object) -> None:
        assert command[:3] == [sys.executable, "-m", "gossamer_agent"]
        ran = gossamer(*command[3:])
        if ran.code:
            failures.append(ran.err)

    data = made(example)
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(module, "subprocess", SimpleNamespace(run=in_this_process))
        patched.setattr(module, "print", lambda *words, **_: told.append(words), raising=False)
        told: list[tuple[object, ...]] = []
        call(patched, module, data, "--rounds", "2", "--local-steps", "2")
    assert not failures
    text = "\n".join(" ".join(map(str, words)) for words in told)
    assert text.startswith("$ gossamer simulate --data")
    assert "learns alone, on average" in text
    assert "of the swarm" in text
    assert "in one place" in text
    assert "kB in each of 2 rounds" in text


@pytest.mark.parametrize("example", WRITERS)
def test_the_command_of_the_story_is_in_its_readme(example: str) -> None:
    text = (EXAMPLES / example / "README.md").read_text(encoding="utf-8")
    for name, value in program(example, "run").OPTIONS.items():
        assert f"--{name} {Path(value).name}" in text
