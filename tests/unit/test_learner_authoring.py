"""Runs where the extra `authoring` is installed; the shipped files are tested everywhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gossamer_agent import authoring
from gossamer_agent.authoring import dense_net, initial, parameter_count
from gossamer_agent.errors import ModelError
from gossamer_agent.tflite import TfliteLearner

ROOT = Path(__file__).resolve().parents[2]
LAYERS = [(3, 2), (5, 4, 3), (7, 6, 5, 4, 3), (64, 64, 10)]

needs_extra = pytest.mark.skipif(
    not (importlib.util.find_spec("ai_edge_litert") and importlib.util.find_spec("flatbuffers")),
    reason="needs the extra authoring",
)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "author_models", ROOT / "scripts" / "author_models.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_extra
@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_nets_of_any_depth_agree_with_float64_numpy(layers: tuple[int, ...]) -> None:
    learner = TfliteLearner(dense_net(layers, seed=3))
    right = script().golden(layers)
    assert learner.contract.parameters == parameter_count(layers) == right["weights"].size
    assert learner.contract.classes == layers[-1]
    loss, gradient = learner.grad(right["weights"], right["x"], right["y"])
    assert np.abs(gradient - right["grad"]).max() <= 1e-5
    assert loss == pytest.approx(float(right["loss"]), rel=1e-5)
    clipped = learner.grad_clipped(right["weights"], right["x"], right["y"], float(right["clip"]))
    assert np.abs(clipped.grad_sum - right["grad_sum"]).max() <= 1e-5


@needs_extra
def test_shipped_files_and_golden_gradients_are_as_the_script_makes_them() -> None:
    made = script()
    files = {name: dense_net(layers, made.SEED) for name, layers in made.LAYERS.items()}
    goldens = {name: made.golden(layers) for name, layers in made.LAYERS.items()}
    assert made.differences(files, goldens) == []


@needs_extra
def test_grad_may_be_any_graph_of_the_file() -> None:
    file = authoring._File()
    authoring._infer(file, (5, 4, 3))
    authoring._init(file, initial((5, 4, 3), 0))
    authoring._grad(file, (5, 4, 3))
    learner, right = TfliteLearner(file.pack()), script().golden((5, 4, 3))
    assert type(learner._grad).__name__ == "RunnerGradient"
    gradient = learner.grad(right["weights"], right["x"], right["y"])[1]
    assert np.abs(gradient - right["grad"]).max() <= 1e-5


@needs_extra
def test_wrong_types_shapes_and_fixed_batches_are_named() -> None:
    def net(x: authoring.Shape, y: str, weights: int) -> bytes:
        file = authoring._File()
        authoring._infer(file, (5, 3))
        authoring._init(file, initial((5, 3), 0))
        g = authoring._Graph(file, "grad")
        w, data = g.input("weights", [weights]), g.input("x", x)
        label = g.input("y", [None], y)
        g.output("loss", g.unary("NEG", w, "Neg"))
        g.output("grad", g.unary("NEG", data, "Neg"))
        g.unary("NEG", label, "Neg")
        file.add(g)
        return file.pack()

    for content, problem in (
        (net([None, 5], "f4", 18), "grad: y is float32, needs int32"),
        (net([8, 5], "i4", 18), "grad: x must have a dynamic batch"),
        (net([None, 5], "i4", 17), "disagree about the shapes"),
        (net([None, 4], "i4", 18), "disagree about the shapes"),
        (net([None, 5], "i4", 18), r"grad returns shape \(2, 5\), not \(18,\)"),
    ):
        with pytest.raises(ModelError, match=problem):
            TfliteLearner(content)


def test_initial_parameters_follow_the_seed_and_leave_biases_at_zero() -> None:
    first = initial((5, 4, 3), 0)
    assert first.dtype == np.float32
    assert first.shape == (parameter_count((5, 4, 3)),) == (39,)
    assert np.array_equal(first, initial((5, 4, 3), 0))
    assert not np.array_equal(first, initial((5, 4, 3), 1))
    assert not first[20:24].any()
    assert not first[36:].any()
    assert np.abs(first).max() <= np.sqrt(6 / 4)


@pytest.mark.parametrize("layers", [(), (5,), (5, 0)])
def test_impossible_layers_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="at least two positive layer sizes"):
        dense_net(layers)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(ModelError, match=r"gossamer\[authoring\]"):
        dense_net((5, 3))
