"""Runs where the extra `authoring` is installed; the shipped files are tested everywhere."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scripts import author_models
from scripts.numpy_nets import dense_net as numpy_dense
from scripts.shipped_models import SHIPPED, Shipped

from gossamer_agent.authoring import dense_net, initial, kinds, parameter_count
from gossamer_agent.authoring.convolutions import Conv, DepthwiseConv
from gossamer_agent.authoring.graph import File, Graph, Shape
from gossamer_agent.authoring.layers import (
    ACTIVATIONS,
    Activation,
    Add,
    Dense,
    Layer,
    Normalise,
    Pad,
    Pool,
    Reshape,
)
from gossamer_agent.authoring.net import Net, _grad, _infer, _init, quantised
from gossamer_agent.errors import ModelError
from gossamer_agent.layers import read_layers
from gossamer_agent.tflite import TfliteLearner

LAYERS = [(3, 2), (5, 4, 3), (7, 6, 5, 4, 3), (64, 64, 10)]

needs_extra = pytest.mark.skipif(
    not (importlib.util.find_spec("ai_edge_litert") and importlib.util.find_spec("flatbuffers")),
    reason="needs the extra authoring",
)


def golden(layers: tuple[int, ...], *, regression: bool = False) -> dict[str, Any]:
    task = "regression" if regression else "classification"
    oracle = numpy_dense(layers, regression=regression)
    return author_models.golden(Shipped("", kinds.dense(layers, task), oracle))


@needs_extra
@pytest.mark.parametrize("layers", LAYERS, ids=str)
def test_nets_of_any_depth_agree_with_float64_numpy(layers: tuple[int, ...]) -> None:
    learner, right = TfliteLearner(dense_net(layers, seed=3)), golden(layers)
    assert learner.contract.parameters == parameter_count(layers) == right["weights"].size
    assert learner.contract.classes == layers[-1]
    check_against(learner, right)


@needs_extra
@pytest.mark.parametrize("layers", [(3, 1), (5, 4, 3)], ids=str)
def test_regressions_agree_with_float64_numpy(layers: tuple[int, ...]) -> None:
    net = kinds.regression(layers[0], layers[1:-1], layers[-1])
    learner = TfliteLearner(net.file(net.initial(0)))
    assert (learner.contract.task, learner.contract.classes) == ("regression", layers[-1])
    check_against(learner, golden(layers, regression=True))


def check_against(learner: TfliteLearner, right: dict[str, Any]) -> None:
    loss, gradient = learner.grad(right["weights"], right["x"], right["y"])
    assert np.abs(gradient - right["grad"]).max() <= 1e-5
    assert loss == pytest.approx(float(right["loss"]), rel=1e-5)
    clipped = learner.grad_clipped(right["weights"], right["x"], right["y"], float(right["clip"]))
    assert np.abs(clipped.grad_sum - right["grad_sum"]).max() <= 1e-5


@needs_extra
@pytest.mark.parametrize("name", list(SHIPPED))
def test_shipped_files_and_golden_gradients_are_as_the_script_makes_them(name: str) -> None:
    made = SHIPPED[name]()
    kept = (author_models.MODELS / f"{name}.tflite").read_bytes()
    assert author_models.author(made) == kept
    row = json.loads((author_models.MODELS / "models.json").read_text())["models"][name]
    assert row == author_models.entry(name, made, kept)
    assert author_models._is_kept(name, made)
    assert len(kept) <= 200_000
    if made.described:
        assert sum(layer.size for layer in read_layers(kept)) == made.net.size


@needs_extra
def test_grad_may_be_any_graph_of_the_file() -> None:
    file, net = File("test"), kinds.dense((5, 4, 3))
    _infer(file, net)
    _init(file, net.initial(0))
    _grad(file, net)
    learner, right = TfliteLearner(file.pack()), golden((5, 4, 3))
    assert type(learner._grad).__name__ == "RunnerGradient"
    gradient = learner.grad(right["weights"], right["x"], right["y"])[1]
    assert np.abs(gradient - right["grad"]).max() <= 1e-5


@needs_extra
def test_wrong_types_shapes_and_fixed_batches_are_named() -> None:
    def net(x: Shape, y: str, weights: int, labels: Shape = (None,)) -> bytes:
        file, dense = File("test"), kinds.dense((5, 3))
        _infer(file, dense)
        _init(file, dense.initial(0))
        g = Graph(file, "grad")
        w, data = g.input("weights", [weights]), g.input("x", x)
        label = g.input("y", labels, y)
        g.output("loss", g.unary("NEG", w, "Neg"))
        g.output("grad", g.unary("NEG", data, "Neg"))
        g.unary("NEG", label, "Neg")
        file.add(g)
        return file.pack()

    for content, problem in (
        (net([None, 5], "f4", 18), "grad: y is float32, needs int32"),
        (net([None, 5], "i4", 18, [None, 3]), "grad: y is int32, needs float32"),
        (net([None, 5], "f4", 18, [4, 3]), "y must be classes"),
        (net([8, 5], "i4", 18), "grad: x must have a dynamic batch"),
        (net([None, 5], "i4", 17), "disagree about the shapes"),
        (net([None, 4], "i4", 18), "disagree about the shapes"),
        (net([None, 5], "i4", 18), r"grad returns shape \(2, 5\), not \(18,\)"),
    ):
        with pytest.raises(ModelError, match=problem):
            TfliteLearner(content)


# Layers, each against differences of its own loss ------------------------------------------------


def small_net(*layers: Layer, shape: tuple[int, ...]) -> Net:
    net = Net(shape)
    for number, layer in enumerate(layers):
        net.add(f"layer{number}", layer, [number - 1])
    net.add("flat", Reshape())
    net.add("head", Dense(3))
    return net


NETS = {
    "strided": small_net(Conv(2, (3, 2), (2, 2)), Conv(2, (2, 3), (2, 1)), shape=(7, 6, 2)),
    "valid": small_net(
        Conv(3, (2, 2), (1, 2), same=False, bias=False), Conv(2, (1, 1)), shape=(5, 6, 1)
    ),
    "depthwise": small_net(
        Conv(2, (1, 1)), DepthwiseConv((3, 3), (2, 2)), DepthwiseConv((2, 1)), shape=(5, 6, 2)
    ),
    "max": small_net(Conv(2, (2, 2)), Pool("MAX", (2, 2)), shape=(5, 6, 1)),
    "average": small_net(Conv(2, (2, 2)), Pool("AVERAGE", (2, 3)), shape=(5, 7, 1)),
    "pad": small_net(Conv(2, (1, 1)), Pad(((1, 0), (0, 2))), shape=(2, 3, 1)),
    "normalise": small_net(
        Conv(2, (1, 1)),
        Normalise(np.float32([0.1, 0.3]), np.float32([2, 0.5]), scale=True, offset=True),
        shape=(3, 2, 1),
    ),
    **{
        kind: small_net(Dense(6, bias=kind != "tanh"), Activation(kind, 0.2), shape=(4,))
        for kind in ACTIVATIONS
    },
}


@needs_extra
@pytest.mark.parametrize("name", list(NETS))
def test_gradients_of_layers_are_the_slopes_of_their_loss(name: str) -> None:
    net = NETS[name]
    check_slopes(net)


def check_slopes(net: Net) -> None:
    rng = np.random.default_rng(0)
    first = net.initial(1) + rng.normal(size=net.size).astype(np.float32) * np.float32(0.1)
    learner = TfliteLearner(net.file(first))
    x = rng.normal(size=(5, *net.input_shape)).astype(np.float32)
    y = (np.arange(5) % 3).astype(np.int32)
    gradient = learner.grad(first, x, y)[1].astype(float)
    for direction in rng.normal(size=(3, net.size)):
        step = (1e-3 * direction).astype(np.float32)
        slope = (learner.grad(first + step, x, y)[0] - learner.grad(first - step, x, y)[0]) / 2
        assert slope == pytest.approx(float(gradient @ step), rel=0.02, abs=3e-6)


@needs_extra
def test_a_residual_block_adds_the_errors_of_both_ways() -> None:
    net = Net((4,))
    start = net.add("first", Dense(4, relu=True), [-1])
    way = net.add("inside", Dense(4))
    net.add("sum", Add(), [start, way])
    net.add("head", Dense(3))
    check_slopes(net)


@needs_extra
def test_equal_maxima_share_the_error() -> None:
    net = small_net(Conv(1, (1, 1)), Pool("MAX", (2, 2)), shape=(2, 2, 1))
    learner = TfliteLearner(net.file(net.initial(0)))
    x, y = np.ones((1, 2, 2, 1), np.float32), np.zeros(1, np.int32)
    step = np.zeros(net.size, np.float32)
    step[0] = 1e-3
    slope = learner.grad(learner.init() + step, x, y)[0] - learner.grad(learner.init(), x, y)[0]
    gradient = learner.grad(learner.init(), x, y)[1]
    assert slope / 1e-3 == pytest.approx(float(gradient[0]), rel=0.02)


@needs_extra
def test_a_transfer_net_freezes_the_body_as_int8() -> None:
    body = kinds.cnn((8, 8), (4,), (), 5)
    weights = body.initial(3)
    net = kinds.transfer(body, weights, 10)
    learner = TfliteLearner(net.file(net.initial(0)))
    assert [name for name, *_ in net.layers()] == ["head.kernel", "head.bias"]
    assert "grad_clipped" in learner.signatures
    # The same features as those of the body with its kernel rounded, seen through the new head.
    whole = kinds.cnn((8, 8), (4,), (), 10)
    values, scales = quantised(weights[:36].reshape(4, 9))
    rounded = np.concatenate([(values * scales).ravel(), weights[36:40], learner.init()])
    other = TfliteLearner(whole.file(whole.initial(0)))
    x = np.random.default_rng(0).random((6, 8, 8)).astype(np.float32)
    right = other.infer(rounded.astype(np.float32), x)
    assert np.allclose(learner.infer(learner.init(), x), right, atol=1e-5)
    assert np.abs(values * scales - weights[:36].reshape(4, 9)).max() <= scales.max() / 2 + 1e-7
    with pytest.raises(ModelError, match="backbone has"):
        kinds.transfer(body, weights[1:], 10)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: kinds.cnn((8,), (4,), (), 2), "rows x columns"),
        (lambda: kinds.cnn((4, 4), (4, 4, 4), (), 2), "too small for another"),
        (lambda: kinds.cnn((4, 4), (), (), 2), "at least one layer"),
        (lambda: kinds.conv1d(0, 3, (2,), (), 2), "frames x channels"),
        (lambda: kinds.conv1d(3, 3, (2, 2), (), 2), "too small"),
    ],
)
def test_impossible_convolutions_are_refused(make: Callable[[], Net], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        make()


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
