"""The wrapper against the runtime that is installed; run on each Python for each runtime."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import gossamer_agent.tflite as module
from gossamer_agent import tflite_gradient
from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import DivergedError, Samples, Score, Training
from gossamer_agent.models import load_learner
from gossamer_agent.tflite import TfliteLearner, read_model, runtime

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "firmware-profiles" / "models"
DIGITS = ROOT / "simulator" / "gossamer_simulator" / "data" / "digits.npz"
NAMES = ("softmax", "mlp", "mlp-wide", "cnn", "conv1d", "text", "regression", "transfer")
DENSE = tuple(name for name in NAMES if name not in ("cnn", "conv1d"))
P = 4810

Golden = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def mlp() -> TfliteLearner:
    return TfliteLearner(MODELS / "mlp.tflite")


@pytest.fixture(params=[True, False], ids=["direct", "runner"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to call `grad`: the second serves files whose first graph is another."""
    if not request.param:
        monkeypatch.setattr(tflite_gradient, "_identities", lambda details: object())


def golden(name: str) -> Golden:
    with np.load(ROOT / "tests" / "vectors" / f"golden_{name}.npz") as arrays:
        return dict(arrays)


def batch(count: int = 16, seed: int = 0) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return rng.random((count, 64), np.float32), rng.integers(0, 10, count).astype(np.int32)


def altered(old: bytes, new: bytes) -> bytes:
    content = (MODELS / "mlp.tflite").read_bytes()
    assert old in content
    assert len(old) == len(new)
    return content.replace(old, new)


# Right answers -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_float64_numpy(name: str) -> None:
    learner, right = TfliteLearner(MODELS / f"{name}.tflite"), golden(name)
    loss, gradient = learner.grad(right["weights"], right["x"], right["y"])
    assert np.abs(gradient - right["grad"]).max() <= 1e-5
    assert loss == pytest.approx(float(right["loss"]), rel=1e-5)
    assert np.allclose(learner.infer(right["weights"], right["x"]), right["logits"], atol=1e-5)


@pytest.mark.parametrize("name", DENSE)
def test_clipped_gradient_is_that_of_float64_numpy(name: str) -> None:
    learner, right = TfliteLearner(MODELS / f"{name}.tflite"), golden(name)
    clip = float(right["clip"])
    assert (right["norms"] > clip).any()
    out = learner.grad_clipped(right["weights"], right["x"], right["y"], clip)
    assert np.abs(out.grad_sum - right["grad_sum"]).max() <= 1e-5
    assert np.allclose(out.norms, right["norms"], rtol=1e-5)
    assert out.loss_sum == pytest.approx(float(right["loss_sum"]), rel=1e-5)


def test_clipped_gradient_is_the_sum_of_clipped_single_gradients(mlp: TfliteLearner) -> None:
    (x, y), params, clip = batch(7), mlp.init(), 3.0
    total = np.zeros(P)
    for row in range(7):
        gradient = mlp.grad(params, x[row : row + 1], y[row : row + 1])[1].astype(float)
        total += gradient * min(1, clip / np.linalg.norm(gradient))
    assert np.allclose(mlp.grad_clipped(params, x, y, clip).grad_sum, total, atol=1e-5)


def test_extreme_parameters_give_finite_gradients(mlp: TfliteLearner) -> None:
    x, y = batch()
    rng = np.random.default_rng(2)
    at_the_bound = (rng.integers(0, 2, P) * 2 - 1).astype(np.float32) * np.float32(1e4)
    loss, gradient = mlp.grad(at_the_bound, x, y)
    assert loss > 1e6
    assert np.isfinite(gradient).all()


@pytest.mark.usefixtures("either_path")
def test_results_do_not_depend_on_what_was_called_before() -> None:
    data = {size: batch(size, size) for size in (1, 2, 16, 17, 300)}
    seen: dict[tuple[str, int], set[bytes]] = {}
    for seed in range(3):
        record_calls_in_random_order(TfliteLearner(MODELS / "softmax.tflite"), data, seed, seen)
    assert len(seen) == 15
    assert all(len(results) == 1 for results in seen.values())


def record_calls_in_random_order(
    learner: TfliteLearner,
    data: dict[int, tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    seed: int,
    seen: dict[tuple[str, int], set[bytes]],
) -> None:
    params = learner.init()
    calls: dict[str, Callable[..., npt.NDArray[Any]]] = {
        "infer": lambda x, y: learner.infer(params, x),
        "grad": lambda x, y: learner.grad(params, x, y)[1],
        "grad_clipped": lambda x, y: learner.grad_clipped(params, x, y, 1).grad_sum,
    }
    kinds = [(name, size) for name in calls for size in data]
    for i in np.random.default_rng(seed).permutation(np.repeat(np.arange(len(kinds)), 3)):
        name, size = kinds[i]
        seen.setdefault(kinds[i], set()).add(calls[name](*data[size]).tobytes())


def test_outputs_are_copies(mlp: TfliteLearner) -> None:
    params, (x, y) = mlp.init(), batch()
    first = mlp.grad(params, x, y)[1]
    kept = first.copy()
    mlp.grad(params, x + 1, y)
    assert np.array_equal(first, kept)
    logits = mlp.infer(params, x)
    logits_kept = logits.copy()
    mlp.infer(params, x + 1)
    assert np.array_equal(logits, logits_kept)
    params[:] = 0
    assert mlp.init().any()


def test_inference_in_chunks_gives_one_row_for_each_sample(mlp: TfliteLearner) -> None:
    x, _ = batch(600)
    params = mlp.init()
    logits = mlp.infer(params, x)
    assert logits.shape == (600, 10)
    for row in (0, 255, 256, 599):
        assert np.allclose(logits[row], mlp.infer(params, x[row : row + 1])[0], atol=1e-5)


@pytest.mark.usefixtures("either_path")
def test_threads_share_a_learner() -> None:
    learner = TfliteLearner(MODELS / "mlp.tflite")
    params = learner.init()
    data = [batch(4 + i, i) for i in range(4)]
    right = [learner.grad(params, x, y)[1] for x, y in data]
    wrong: list[int] = []

    def work(i: int) -> None:
        results = [learner.grad(params, *data[i])[1] for _ in range(60)]
        wrong.extend(i for result in results if not np.array_equal(result, right[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# What the runtime lets pass ----------------------------------------------------------------------


def with_value(vector: npt.NDArray[Any], value: float) -> npt.NDArray[Any]:
    out = vector.copy()
    out.flat[3] = value
    return out


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w[:-1],
        lambda w: np.append(w, np.float32(0)),
        lambda w: w[:, None],
        lambda w: w.astype(np.float64),
        lambda w: with_value(w, np.nan),
        lambda w: with_value(w, np.inf),
    ],
    ids=["short", "long", "column", "float64", "nan", "inf"],
)
def test_bad_parameters_are_refused(mlp: TfliteLearner, change: Callable[[Any], Any]) -> None:
    params, (x, y) = change(mlp.init()), batch()
    data = Samples(x, y)
    rng = np.random.default_rng(0)
    for call in (
        lambda: mlp.infer(params, x),
        lambda: mlp.grad(params, x, y),
        lambda: mlp.grad_clipped(params, x, y, 1),
        lambda: mlp.train(params, data, Training(), rng),
        lambda: mlp.evaluate(params, data),
    ):
        with pytest.raises(ModelError, match="parameters"):
            call()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:0],
        lambda x: x[:, :-1],
        lambda x: x[0],
        lambda x: x.reshape(-1, 8, 8),
        lambda x: x.astype(np.float64),
        lambda x: with_value(x, np.nan),
    ],
    ids=["empty", "narrow", "one row", "image", "float64", "nan"],
)
def test_bad_samples_are_refused(mlp: TfliteLearner, change: Callable[[Any], Any]) -> None:
    params, (x, y) = mlp.init(), batch()
    x = change(x)
    y = y[: len(x)]
    for call in (
        lambda: mlp.infer(params, x),
        lambda: mlp.grad(params, x, y),
        lambda: mlp.grad_clipped(params, x, y, 1),
    ):
        with pytest.raises(DataError, match="samples"):
            call()


@pytest.mark.parametrize(
    "change",
    [
        lambda y: with_value(y, 99),
        lambda y: with_value(y, 10),
        lambda y: with_value(y, -1),
        lambda y: y[:-1],
        lambda y: y[:, None],
        lambda y: y.astype(np.int64),
        lambda y: y.astype(np.float32),
    ],
    ids=["99", "10", "-1", "fewer", "column", "int64", "float32"],
)
def test_bad_labels_are_refused(mlp: TfliteLearner, change: Callable[[Any], Any]) -> None:
    params, (x, y) = mlp.init(), batch()
    with pytest.raises(DataError, match="labels"):
        mlp.grad(params, x, change(y))
    with pytest.raises(DataError, match="labels"):
        mlp.grad_clipped(params, x, change(y), 1)


def test_data_of_another_contract_are_refused(mlp: TfliteLearner) -> None:
    rng, params = np.random.default_rng(0), mlp.init()
    for data in (Samples(np.zeros((3, 63)), np.zeros(3, int)), Samples(batch(3)[0], [0, 1, 10])):
        with pytest.raises(DataError):
            mlp.train(params, data, Training(), rng)
        with pytest.raises(DataError):
            mlp.evaluate(params, data)


def test_a_batch_has_a_limit(mlp: TfliteLearner) -> None:
    mlp.grad(mlp.init(), *batch(1024))
    with pytest.raises(DataError, match="1025 exceeds 1024"):
        mlp.grad(mlp.init(), *batch(1025))


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_clip_is_refused(mlp: TfliteLearner, clip: float) -> None:
    with pytest.raises(ModelError, match="clip"):
        mlp.grad_clipped(mlp.init(), *batch(), clip)


def test_results_that_are_not_finite_are_errors(
    mlp: TfliteLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One runtime saturates where the other overflows, so the results are put in.
    bad = np.array([0, np.nan], np.float32)
    outputs = {"logits": bad[:, None], "loss_sum": bad[:1], "grad_sum": bad, "norms": bad[:1]}
    monkeypatch.setattr(mlp, "_run", lambda signature, **inputs: outputs)
    with pytest.raises(ModelError, match="not finite"):
        mlp.infer(mlp.init(), batch()[0])
    # What a peer sent must not end the agent that judges it.
    assert mlp.evaluate(mlp.init(), Samples(*batch())) == Score(math.inf, 0.0, len(batch()[1]))
    with pytest.raises(DivergedError, match="not finite"):
        mlp.grad_clipped(mlp.init(), *batch(), 1)
    for loss, gradient in ((0.0, bad), (float("nan"), np.zeros(P, np.float32))):
        monkeypatch.setattr(mlp, "_grad", lambda w, x, y, out=(loss, gradient): out)
        with pytest.raises(DivergedError, match="not finite"):
            mlp.grad(mlp.init(), *batch())


def test_overflowing_parameters_diverge(mlp: TfliteLearner) -> None:
    with pytest.raises(DivergedError, match="not finite"):
        mlp.grad(np.full(P, 3e38, np.float32), *batch())


def test_an_error_of_the_runtime_is_one_line(
    mlp: TfliteLearner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any, **inputs: Any) -> Any:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(mlp, "_grad", fails)
    monkeypatch.setitem(mlp._runners, "infer", fails)
    for call in (lambda: mlp.grad(mlp.init(), *batch()), lambda: mlp.infer(mlp.init(), batch()[0])):
        with pytest.raises(ModelError, match=r"does not run: first line$"):
            call()


@pytest.mark.usefixtures("either_path")
def test_a_refused_call_leaves_the_next_one_right() -> None:
    learner, right = TfliteLearner(MODELS / "mlp.tflite"), golden("mlp")
    for bad in (right["weights"][:-1], right["weights"] * np.float32(np.inf)):
        with pytest.raises(ModelError):
            learner.grad(bad, right["x"], right["y"])
    with contextlib.suppress(DivergedError):
        learner.grad(np.full(P, 3e38, np.float32), right["x"][:3], right["y"][:3])
    gradient = learner.grad(right["weights"], right["x"], right["y"])[1]
    assert np.abs(gradient - right["grad"]).max() <= 1e-5


def test_fortran_order_and_strides_do_not_matter(mlp: TfliteLearner) -> None:
    params, (x, y) = mlp.init(), batch()
    right = mlp.grad(params, x, y)[1]
    doubled = np.repeat(x, 2, axis=0)[::2]
    for other in (np.asfortranarray(x), doubled):
        assert np.array_equal(mlp.grad(params, other, y)[1], right)


# Files -------------------------------------------------------------------------------------------


def test_an_altered_file_is_refused_before_the_runtime_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = (MODELS / "mlp.tflite").read_bytes()
    pin = TfliteLearner(content).model_sha256
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1

    def never() -> Any:
        raise AssertionError("the runtime was called")

    monkeypatch.setattr(module, "runtime", never)
    with pytest.raises(ModelError, match="altered or is another"):
        TfliteLearner(bytes(flipped), expected_sha256=pin)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"infer\0", b"infex\0", "signature infer is missing"),
        (b"init\0", b"inix\0", "signature init is missing"),
        (b"grad\0", b"grax\0", "signature grad is missing"),
        (b"logits\0", b"logitz\0", r"infer has outputs \(logitz\), needs \(logits\)"),
        (b"norms\0", b"normz\0", r"grad_clipped has outputs \(.*normz\)"),
    ],
)
def test_what_a_file_lacks_is_named(old: bytes, new: bytes, problem: str) -> None:
    with pytest.raises(ModelError, match=problem) as caught:
        TfliteLearner(altered(old, new))
    assert "\n" not in str(caught.value)


def test_everything_that_is_missing_is_named_at_once() -> None:
    content = altered(b"infer\0", b"infex\0").replace(b"init\0", b"inix\0")
    with pytest.raises(ModelError, match="signature init is missing; signature infer is missing"):
        TfliteLearner(content)


def test_clipping_is_optional() -> None:
    learner = TfliteLearner(altered(b"grad_clipped\0", b"grad_clippex\0"))
    assert learner.signatures == ("init", "infer", "grad")
    with pytest.raises(ModelError, match="no signature grad_clipped"):
        learner.grad_clipped(learner.init(), *batch(), 1)


def test_unreadable_files_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("a model, honestly")
    large = tmp_path / "large.tflite"
    with large.open("wb") as file:
        file.truncate((64 << 20) + 1)
    for path, message in (
        (tmp_path / "none.tflite", "no such file"),
        (tmp_path, "cannot be read"),
        (text, r"not a \.tflite file"),
        (large, "exceed the limit"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            read_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_runtime_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RUNTIMES", ("no_such_runtime.interpreter",))
    with pytest.raises(ModelError, match="no TFLite runtime is installed"):
        runtime()


def test_the_old_runtime_refuses_the_new_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tflite_runtime")
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(ModelError, match="install 'numpy<2'"):
        runtime()


def test_loading_is_silent_but_hides_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    load_learner("softmax")
    assert capfd.readouterr().err == ""
    with module._native_chatter_hidden():
        os.write(2, b"INFO: chatter\nERROR: real\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "ERROR: real\nafter\n"


# Learning ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "reached"), [("softmax", 0.94), ("mlp", 0.95)])
def test_handwritten_digits_are_learned(name: str, reached: float) -> None:
    with np.load(DIGITS) as file:
        data = Samples(file["x"].astype(np.float32) / 16, file["y"])
    order = np.random.default_rng(0).permutation(len(data))
    held_out, kept = data.take(order[:360]), data.take(order[360:])
    learner, rng = load_learner(name), np.random.default_rng(1)
    start = learner.init()
    before = learner.evaluate(start, held_out)
    trained = learner.train(start, kept, Training(steps=1500, learning_rate=0.2), rng)
    after = learner.evaluate(trained.params, held_out)
    assert before.accuracy < 0.3
    assert after.accuracy > reached
    assert after.loss < before.loss / 4
    assert after.samples == 360


def test_evaluation_counts_hits_and_nats(mlp: TfliteLearner) -> None:
    data, params = Samples(*batch(50)), mlp.init()
    logits = mlp.infer(params, data.x).astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    score = mlp.evaluate(params, data)
    assert score.accuracy == (logits.argmax(1) == data.y).mean()
    assert score.loss == pytest.approx(-np.log(chances[np.arange(50), data.y]).mean())


def test_one_seed_gives_one_result(mlp: TfliteLearner) -> None:
    data, params = Samples(*batch(50)), mlp.init()

    def train(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        return mlp.train(params, data, Training(), rng).params.tobytes()

    assert train(1) == train(1) != train(2)
