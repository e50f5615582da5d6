from __future__ import annotations

import hashlib
import importlib.resources
import itertools
import json
import math
from pathlib import Path

import pytest

from gossamer_agent import models
from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.models import layers_of, load_learner, model_names

FOLDER = importlib.resources.files("gossamer_profiles") / "models"


SHIPPED = {
    "softmax": Contract("classification", 10, (64,), 650),
    "mlp": Contract("classification", 10, (64,), 4810),
    "mlp-wide": Contract("classification", 10, (64,), 30010),
    "cnn": Contract("classification", 10, (64,), 6090),
    "conv1d": Contract("classification", 10, (24, 24), 8706),
    "text": Contract("classification", 2, (1024,), 2050),
    "regression": Contract("regression", 1, (8,), 321),
    "transfer": Contract("classification", 10, (64,), 1290),
}


@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_models_are_what_they_say(name: str) -> None:
    learner, parameters = load_learner(name), SHIPPED[name].parameters
    assert learner.contract == SHIPPED[name]
    assert learner.init().shape == (parameters,)
    assert learner.model_sha256.hex() == entry(name)["sha256"]


def entry(name: str) -> dict[str, object]:
    table = json.loads((FOLDER / "models.json").read_text())
    found: dict[str, object] = table["models"][name]
    return found


def test_the_table_describes_every_shipped_file() -> None:
    table = json.loads((FOLDER / "models.json").read_text())["models"]
    files = {file.name for file in FOLDER.iterdir() if file.name.endswith(".tflite")}
    assert {row["file"] for row in table.values()} == files
    for row in table.values():
        content = (FOLDER / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert len(content) == row["bytes"]
        assert sum(math.prod(shape) for *_, shape in row["layers"]) == row["parameters"]
        assert len(content) <= 200_000


@pytest.mark.parametrize("name", list(SHIPPED))
def test_layers_cover_the_vector(name: str) -> None:
    layers = layers_of(name)
    assert layers_of(str(FOLDER / f"{name}.tflite")) == layers
    assert layers[0].offset == 0
    for one, other in itertools.pairwise(layers):
        assert one.offset + one.size == other.offset
    assert layers[-1].offset + layers[-1].size == SHIPPED[name].parameters
    assert layers[-1].name == "head"


def test_models_without_layers_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no layers"):
        layers_of("synthetic")
    with pytest.raises(ModelError, match="no such file"):
        layers_of(str(tmp_path / "none.tflite"))
    bare = tmp_path / "bare.tflite"
    bare.write_bytes((FOLDER / "mlp.tflite").read_bytes() + b"\0")
    with pytest.raises(ModelError, match="no layer table"):
        layers_of(str(bare))


def test_names_are_listed() -> None:
    assert model_names() == (*SHIPPED, "synthetic")
    for name in model_names():
        assert len(load_learner(name).model_sha256) == 32


def test_a_damaged_shipped_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.json").write_text((FOLDER / "models.json").read_text())
    content = bytearray((FOLDER / "mlp.tflite").read_bytes())
    content[-1000] ^= 4
    (tmp_path / "mlp.tflite").write_bytes(content)
    monkeypatch.setattr(models, "_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="altered"):
        load_learner("mlp")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "models": {}}'])
def test_a_damaged_table_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(models, "_folder", lambda: tmp_path)
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(ModelError, match="install the package again"):
        load_learner("mlp")


@pytest.mark.parametrize("reference", ["", "mpl", "tf:mlp"])
def test_an_unknown_name_lists_the_known_ones(reference: str) -> None:
    with pytest.raises(ModelError, match=", ".join([*SHIPPED, "synthetic"])):
        load_learner(reference)


@pytest.mark.slow
def test_a_file_of_the_user_is_probed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine.tflite"
    content = (FOLDER / "softmax.tflite").read_bytes()
    mine.write_bytes(content)
    learner = load_learner(str(mine))
    assert learner.contract.parameters == 650
    assert learner.model_sha256 == hashlib.sha256(content).digest()

    monkeypatch.chdir(tmp_path)
    assert load_learner("mine.tflite").model_sha256 == learner.model_sha256
    mine.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"mine\.tflite: "):
        load_learner("mine.tflite")
    with pytest.raises(ModelError, match=r"none\.tflite: no such file"):
        load_learner("none.tflite")


def test_a_file_replaced_after_the_probe_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gossamer_agent import probe

    mine = tmp_path / "mine.tflite"
    mine.write_bytes((FOLDER / "mlp.tflite").read_bytes())
    tried = hashlib.sha256((FOLDER / "softmax.tflite").read_bytes()).digest()
    monkeypatch.setattr(
        probe, "check_model", lambda path: probe.ModelReport(path, usable=True, sha256=tried)
    )
    with pytest.raises(ModelError, match="altered or is another"):
        load_learner(str(mine))
