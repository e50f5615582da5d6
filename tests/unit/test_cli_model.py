"""`gossamer model`: author, info, list, bake; and convert where Keras is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from gossamer_agent.audit.counterfactual import Counterfactual, Pair
from gossamer_agent.authoring.bake import bake
from gossamer_agent.authoring.trial import answers_of
from gossamer_agent.cli import model_served
from gossamer_agent.errors import ModelError
from gossamer_agent.exit_codes import ExitCode
from gossamer_agent.models import load_learner, model_content
from gossamer_agent.tflite import TfliteLearner, infer_only
from gossamer_agent.weights import read_weights

Gossamer = Callable[..., Any]
NAMES = ("softmax", "mlp", "mlp-wide", "cnn", "conv1d", "text", "regression", "transfer")

needs_extra = pytest.mark.skipif(
    not (importlib.util.find_spec("ai_edge_litert") and importlib.util.find_spec("flatbuffers")),
    reason="needs the extra authoring",
)


def test_lists_what_ships(gossamer: Gossamer) -> None:
    ran = gossamer("model", "list")
    assert [line.split()[0] for line in ran.out.splitlines()[:8]] == list(NAMES)
    assert list(json.loads(gossamer("model", "list", "--json").out)) == list(NAMES)


@pytest.mark.slow  # starts a process
def test_tells_of_a_shipped_model(gossamer: Gossamer) -> None:
    told = json.loads(gossamer("model", "info", "cnn", "--json").out)
    assert (told["task"], told["classes"], told["input_shape"]) == ("classification", 10, [64])
    assert [layer["name"] for layer in told["layers"]] == ["conv1", "conv2", "head"]
    assert not told["grad_clipped"]
    ran = gossamer("model", "info", "nothing.tflite")
    assert (ran.code, ran.err) == (ExitCode.MODEL, "gossamer: nothing.tflite: no such file\n")


@pytest.mark.slow  # starts processes
def test_a_file_is_asked_in_a_process_of_its_own() -> None:
    learner, x = load_learner("softmax"), np.full((3, 64), 0.5, np.float32)
    asked = answers_of(model_content("softmax"), x)
    np.testing.assert_array_equal(asked, learner.infer(learner.init(), x))
    with pytest.raises(ModelError, match="the runtime refuses the file"):
        answers_of(b"TFL3", x)


# Author ------------------------------------------------------------------------------------------


@needs_extra
@pytest.mark.parametrize(
    ("words", "shape", "parameters"),
    [
        ("softmax --inputs 5 --classes 3", (5,), 18),
        ("mlp --inputs 5 --hidden 4 --hidden 3 --classes 2", (5,), 47),
        ("cnn --inputs 4x4 --filters 2 --classes 2", (4, 4), 38),
        ("cnn --inputs 4x4x3 --filters 2 --hidden 3 --classes 2 --flat", (48,), 91),
        ("conv1d --inputs 8x3 --filters 2 --classes 2 --kernel 3", (8, 3), 38),
        ("text", (1024,), 2050),
        ("regression --inputs 3 --hidden 2 --outputs 2", (3,), 14),
    ],
)
def test_authors(
    gossamer: Gossamer, tmp_path: Path, words: str, shape: tuple[int, ...], parameters: int
) -> None:
    out = tmp_path / "m.tflite"
    ran = gossamer("model", "author", *words.split(), "--out", out)
    assert ran.code == 0, ran.err
    learner = TfliteLearner(out)
    assert learner.contract.input_shape == shape
    assert learner.contract.parameters == parameters
    assert learner.model_sha256.hex() in ran.out
    again = gossamer("model", "author", *words.split(), "--out", out)
    assert again.code == ExitCode.STORE
    assert "is there already" in again.err


@needs_extra
def test_authors_a_new_head_on_trained_weights(gossamer: Gossamer, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weights=load_learner("cnn").init())
    words = ("transfer", "--backbone", tmp_path / "w.npz", "--inputs", "8x8", "--flat")
    out = tmp_path / "m.tflite"
    assert gossamer("model", "author", *words, "--classes", "4", "--out", out).code == 0
    assert TfliteLearner(out).contract.parameters == 4 * 129
    ran = gossamer("model", "author", *words, "--filters", "3", "--classes", "4", "--out", "no")
    assert (ran.code, "do not fit a cnn" in ran.err) == (ExitCode.MODEL, True)


@pytest.mark.parametrize("inputs", ["8", "8x", "0x8", "8x8x1x1", "axb", "9999999x9"])
def test_impossible_dimensions_are_refused(gossamer: Gossamer, inputs: str) -> None:
    words = ("cnn", "--inputs", inputs, "--classes", "2", "--out", "m.tflite")
    assert gossamer("model", "author", *words).code == ExitCode.USAGE


# Bake --------------------------------------------------------------------------------------------


@needs_extra
@pytest.mark.parametrize("name", NAMES)
def test_a_baked_model_answers_the_same_bits(name: str) -> None:
    learner, content = load_learner(name), model_content(name)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=learner.contract.parameters).astype(np.float32)
    baked = bake(content, weights)
    for rows in (1, 5, 64):
        x = rng.random((rows, *learner.contract.input_shape)).astype(np.float32)
        assert infer_only(baked, x).tobytes() == learner.infer(weights, x).tobytes()
    assert len(baked) < len(content)
    with pytest.raises(ModelError, match="baked already"):
        bake(baked, weights)
    with pytest.raises(ModelError, match="weights, not"):
        bake(content, weights[1:])


@needs_extra
def test_bakes_weights_of_a_file(gossamer: Gossamer, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", load_learner("cnn").init())
    out = tmp_path / "b.tflite"
    ran = gossamer("model", "bake", tmp_path / "w.npy", "--model", "cnn", "--out", out)
    assert ran.code == 0, ran.err
    assert "equal to the last bit" in ran.out
    x = np.zeros((2, 64), np.float32)
    learner = load_learner("cnn")
    assert np.array_equal(infer_only(out.read_bytes(), x), learner.infer(learner.init(), x))
    ran = gossamer("model", "bake", tmp_path / "w.npy", "--out", tmp_path / "c.tflite")
    assert (ran.code, "--model is needed" in ran.err) == (ExitCode.USAGE, True)
    ran = gossamer("model", "bake", tmp_path / "w.npy", "--model", "mlp", "--out", "d.tflite")
    assert (ran.code, "takes (4810,) weights" in ran.err) == (ExitCode.MODEL, True)


@pytest.mark.parametrize("combine", ["replace", "adam"])
def test_a_device_s_weights_are_what_it_answers_with(
    monkeypatch: pytest.MonkeyPatch, garden: Any, combine: str
) -> None:
    """Steps towards merges are in no log, and a merge is not what such a device answers with."""
    merge, newest = (np.full(512, value, np.float32) for value in (1, 2))
    told = Counterfactual(served=Pair(merge, merge), replica=Pair(newest, newest), round=3)
    monkeypatch.setattr(model_served, "gathered", lambda *_, **__: nullcontext(MagicMock()))
    monkeypatch.setattr(model_served, "counterfactual", lambda *_: told)
    config = garden.path / "config.toml"
    config.write_text(config.read_text().replace('combine = "replace"', f'combine = "{combine}"'))
    served = model_served.served_weights(garden.path, None)
    assert served.weights is (merge if combine == "replace" else newest)
    assert ("steps that no log holds" in served.told) == (combine == "adam")


@needs_extra
def test_damaged_models_are_not_baked() -> None:
    content, weights = model_content("softmax"), np.zeros(650, np.float32)
    rng = np.random.default_rng(0)
    for _ in range(20):
        altered = bytearray(content)
        for at in rng.integers(0, len(content), 6):
            altered[at] = rng.integers(0, 256)
        try:
            bake(bytes(altered), weights)
        except ModelError as error:
            assert "\n" not in str(error)


# Weights -----------------------------------------------------------------------------------------


def test_weights_are_read_in_every_form(tmp_path: Path) -> None:
    right = np.arange(5, dtype=np.float32)
    np.save(tmp_path / "w.npy", right.astype(float))
    np.savez(tmp_path / "a.npz", params=right, other=np.zeros(2))
    np.savez_compressed(tmp_path / "b.npz", mine=right)
    (tmp_path / "c.tflite-weights").write_bytes(right.astype("<f4").tobytes())
    for name in ("w.npy", "a.npz", "b.npz", "c.tflite-weights"):
        assert np.array_equal(read_weights(tmp_path / name), right)


def test_bad_weights_are_refused(tmp_path: Path) -> None:
    def refused(name: str, problem: str) -> None:
        with pytest.raises(ModelError, match=problem):
            read_weights(tmp_path / name)

    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(2))
    np.save(tmp_path / "square.npy", np.zeros((2, 2)))
    np.save(tmp_path / "whole.npy", np.zeros(2, int))
    np.save(tmp_path / "nan.npy", np.array([np.nan]))
    np.save(tmp_path / "object.npy", np.array([{}], object))
    (tmp_path / "odd.tflite-weights").write_bytes(b"abc")
    (tmp_path / "text.npy").write_bytes(b"hello")
    huge = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + huge.ljust(117) + b"\n"
    (tmp_path / "huge.npy").write_bytes(header)
    refused("two.npz", "has no array weights or params")
    refused("square.npy", "one vector of floats")
    refused("whole.npy", "one vector of floats")
    refused("nan.npy", "not a finite")
    refused("none.npy", "no such file")
    for name in ("object.npy", "odd.tflite-weights", "text.npy", "huge.npy"):
        refused(name, "cannot be read as weights")


# Convert -----------------------------------------------------------------------------------------


def test_convert_names_the_extras(
    gossamer: Gossamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keras", None)
    (tmp_path / "m.keras").write_bytes(b"")
    ran = gossamer("model", "convert", tmp_path / "m.keras", "--out", tmp_path / "m.tflite")
    assert (ran.code, "gossamer[authoring,keras]" in ran.err) == (ExitCode.MODEL, True)
    ran = gossamer("model", "convert", tmp_path / "n.keras", "--out", tmp_path / "m.tflite")
    assert "n.keras: no such file" in ran.err
