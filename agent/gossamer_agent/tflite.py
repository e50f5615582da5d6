"""A learner that runs the stateless signatures of a trainable .tflite file.

Theory of operation. The file holds `init`, `infer`, `grad` and perhaps `grad_clipped`; weights are
an input of each, so one interpreter serves every agent of a process. This is the only module that
imports a TFLite runtime, and it treats the runtime as what it is: a C++ library that trusts its
caller. It accepts a short weight vector, takes label 99 for "no loss", and answers an empty batch
with NaN. Whatever goes in is therefore checked here, and whatever comes out is checked for finite
values and copied.

`grad` runs tens of thousands of times in a simulation and has a fast path (`tflite_gradient`). The
paths give the same result whatever was called before, but not the same bits as each other on every
runtime, hence one is chosen when the file is loaded and kept.

The interpreter is not thread safe: wrong numbers, no exception. One lock guards it. A file that is
not pinned by its SHA-256 may crash the process; `probe` tries such files in another one first.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import math
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import CLASSIFICATION, REGRESSION, Contract
from gossamer_agent.errors import DataError, ModelError
from gossamer_agent.learner import (
    BATCH_MAX,
    DivergedError,
    Samples,
    Score,
    Targets,
    Trained,
    Training,
    Vector,
    check_params,
    is_finite,
    sgd,
)
from gossamer_agent.tflite_gradient import gradient_path

MODEL_BYTES_MAX: Final = 64 << 20
_RUNTIMES: Final = ("tflite_runtime.interpreter", "ai_edge_litert.interpreter")
_INFER_BATCH: Final = 256
# Two threads that redirect descriptor 2 at once would leave it redirected.
_CHATTER_LOCK: Final = threading.Lock()

# Signature -> (inputs, outputs). All are float32 but the classes y.
_SIGNATURES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "init": ((), ("weights",)),
    "infer": (("weights", "x"), ("logits",)),
    "grad": (("weights", "x", "y"), ("loss", "grad")),
    "grad_clipped": (("weights", "x", "y", "clip"), ("loss_sum", "grad_sum", "norms")),
}
_OPTIONAL: Final = frozenset({"grad_clipped"})


@dataclass(frozen=True, slots=True, eq=False)
class ClippedGradient:
    """Sums over a batch of per-sample gradients, each scaled to a norm of at most `clip`.

    loss_sum: sum of the samples' losses; grad_sum: float32 [P]; norms: float32 [n], before
    clipping (Abadi et al. 2016).
    """

    loss_sum: float
    grad_sum: Vector
    norms: Vector


class TfliteLearner:
    """The learner protocol on a .tflite file.

    model: a path, or the bytes of the file; expected_sha256: 32 bytes, compared before the runtime
    sees a byte. Raises ModelError with one line that names everything the file lacks.
    """

    def __init__(
        self, model: str | Path | bytes, expected_sha256: bytes | None = None, bound: float = 1e4
    ) -> None:
        content = model if isinstance(model, bytes) else read_model(Path(model))
        name = "model" if isinstance(model, bytes) else str(model)
        self._model_sha256 = hashlib.sha256(content).digest()
        if expected_sha256 is not None and self._model_sha256 != expected_sha256:
            raise ModelError(
                f"{name}: SHA-256 is {self._model_sha256.hex()[:16]}...,"
                f" expected {expected_sha256.hex()[:16]}...; the file was altered or is another one"
            )
        self._lock = threading.Lock()
        try:
            self._load(content, bound)
        except ModelError as error:
            raise ModelError(f"{name}: {error}") from None

    def _load(self, content: bytes, bound: float) -> None:
        interpreter_class = runtime()
        with _native_chatter_hidden():
            self._interpreter = _open(interpreter_class, content)
            problems = list(_missing(self._interpreter.get_signature_list()))
            if problems:
                raise ModelError("not a trainable model: " + "; ".join(problems))
            self._runners = {
                name: self._interpreter.get_signature_runner(name)
                for name in _SIGNATURES
                if name in self._interpreter.get_signature_list()
            }
            problems = list(_mistyped(self._runners))
            if problems:
                raise ModelError("not a trainable model: " + "; ".join(problems))
            self._grad = gradient_path(_open(interpreter_class, content), self._runners["grad"])
            self._contract, self._first = self._trial_run(bound)

    def _trial_run(self, bound: float) -> tuple[Contract, Vector]:
        """Run every signature on two samples of zeros: what they return fixes the contract."""
        details = self._runners["grad"].get_input_details()
        size = int(details["weights"]["shape"][0])
        shape = tuple(int(d) for d in details["x"]["shape"][1:])
        try:
            first = np.asarray(self._runners["init"]()["weights"]).copy()
            if first.shape != (size,):
                raise ModelError(f"init returns shape {first.shape}, grad takes ({size},)")
            if not is_finite(first):
                raise ModelError("init returns values that are not finite")
            x, y = np.zeros((2, *shape), np.float32), _targets_of_zeros(details["y"])
            logits = self._runners["infer"](weights=first, x=x)["logits"]
            gradient = self._grad(first, x, y)[1]
            if "grad_clipped" in self._runners:
                self._runners["grad_clipped"](weights=first, x=x, y=y, clip=np.float32(1))
        except (RuntimeError, ValueError) as error:
            raise _does_not_run(error) from None
        if logits.ndim != 2 or len(logits) != 2:
            raise ModelError(f"infer returns shape {logits.shape} for 2 samples, not (2, classes)")
        if gradient.shape != (size,):
            raise ModelError(f"grad returns shape {gradient.shape}, not ({size},)")
        task, outputs = CLASSIFICATION, int(logits.shape[1])
        if y.ndim == 2:
            task = REGRESSION
            if y.shape[1] != outputs:
                raise ModelError(f"infer has {outputs} outputs, y of grad has {y.shape[1]}")
        contract = Contract(task, outputs, shape, size, bound)
        first.flags.writeable = False
        return contract, first

    @property
    def contract(self) -> Contract:
        return self._contract

    @property
    def model_sha256(self) -> bytes:
        return self._model_sha256

    @property
    def signatures(self) -> tuple[str, ...]:
        """Names of the signatures of the contract that the file has."""
        return tuple(self._runners)

    def init(self) -> Vector:
        """The first parameters, float32 [P], stored in the file."""
        return self._first.copy()

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Logits float32 [n, classes] of x float32 [n, ...], n >= 1. ModelError if not finite."""
        logits = self._infer(params, x)
        if not is_finite(logits.ravel()):
            raise ModelError("the model's output is not finite for these parameters")
        return logits

    def _infer(self, params: Vector, x: Vector) -> Vector:
        check_params(self._contract, params)
        self._check_inputs(x)
        return np.concatenate(
            [
                self._run("infer", weights=params, x=x[start : start + _INFER_BATCH])["logits"]
                for start in range(0, len(x), _INFER_BATCH)
            ]
        )

    def grad(self, params: Vector, x: Vector, y: Targets) -> tuple[float, Vector]:
        """Mean loss and gradient float32 [P] of one batch, x float32 [n, ...], y as in `Samples`.

        n is 1..1024. Raises DivergedError when loss or gradient is not finite.
        """
        check_params(self._contract, params)
        self._check_batch(x, y)
        return self._checked_grad(params, x, y)

    def _checked_grad(self, params: Vector, x: Vector, y: Targets) -> tuple[float, Vector]:
        try:
            with self._lock:
                loss, gradient = self._grad(params, x, y)
        except (RuntimeError, ValueError) as error:
            raise _does_not_run(error) from None
        if not (math.isfinite(loss) and is_finite(gradient)):
            raise DivergedError("the gradient is not finite; lower the learning rate")
        return loss, gradient

    def _run(self, signature: str, **inputs: Any) -> Mapping[str, npt.NDArray[Any]]:
        try:
            with self._lock:
                outputs: Mapping[str, npt.NDArray[Any]] = self._runners[signature](**inputs)
        except (RuntimeError, ValueError) as error:
            raise _does_not_run(error) from None
        return outputs

    def grad_clipped(self, params: Vector, x: Vector, y: Targets, clip: float) -> ClippedGradient:
        """Sum of clipped per-sample gradients, for DP-SGD. ModelError if the file lacks it."""
        if "grad_clipped" not in self._runners:
            raise ModelError("the model has no signature grad_clipped")
        if not (math.isfinite(clip) and clip > 0):
            raise ModelError(f"clip must be finite and positive, not {clip}")
        check_params(self._contract, params)
        self._check_batch(x, y)
        out = self._run("grad_clipped", weights=params, x=x, y=y, clip=np.float32(clip))
        loss_sum = float(np.ravel(out["loss_sum"])[0])
        result = ClippedGradient(loss_sum, out["grad_sum"].copy(), out["norms"].copy())
        if not (math.isfinite(loss_sum) and is_finite(result.grad_sum) and is_finite(result.norms)):
            raise DivergedError("the clipped gradient is not finite; lower the learning rate")
        return result

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """Local steps of SGD from params float32 [P]; see `learner.sgd`."""
        check_params(self._contract, params)
        data.check(self._contract)
        # `data` and `params` are checked as a whole, so the steps need not check each batch again.
        bound = self._contract.bound
        return sgd(self._checked_grad, params, data, settings, rng, bound=bound)

    def evaluate(self, params: Vector, data: Samples) -> Score:
        """Mean cross-entropy in nats and accuracy on `data`; of a regression see `Score`.

        The loss is infinite where an output is not finite: what peers sent is judged by it, and
        in a deep net parameters within the bound can overflow.
        """
        data.check(self._contract)
        logits = self._infer(params, data.x).astype(np.float64)
        if not np.isfinite(logits).all():
            return Score(math.inf, 0.0, len(data))
        if self._contract.task == REGRESSION:
            return squared_error(logits, data.y)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=1))
        losses = log_sum - shifted[np.arange(len(data)), data.y]
        hits = int(np.count_nonzero(logits.argmax(axis=1) == data.y))
        return Score(float(losses.mean()), hits / len(data), len(data))

    def _check_inputs(self, x: Vector) -> None:
        shape = self._contract.input_shape
        if x.dtype != np.float32 or x.shape[1:] != shape or len(x) == 0:
            wanted = ", ".join(map(str, ("n >= 1", *shape)))
            raise DataError(f"samples must be float32 ({wanted}), not {x.dtype} {x.shape}")
        if not np.isfinite(x).all():
            raise DataError("samples hold a value that is not finite")

    def _check_batch(self, x: Vector, y: Targets) -> None:
        self._check_inputs(x)
        if self._contract.task == REGRESSION:
            wanted = (len(x), self._contract.classes)
            if y.dtype != np.float32 or y.shape != wanted or not np.isfinite(y).all():
                raise DataError(f"targets must be finite float32 {wanted}, not {y.dtype} {y.shape}")
            self._check_batch_size(x)
            return
        if y.dtype != np.int32 or y.shape != (len(x),):
            raise DataError(f"labels must be int32 ({len(x)},), not {y.dtype} {y.shape}")
        self._check_batch_size(x)
        classes = self._contract.classes
        if int(y.min()) < 0 or int(y.max()) >= classes:
            raise DataError(f"labels must be 0..{classes - 1}, not {y.min()}..{y.max()}")

    def _check_batch_size(self, x: Vector) -> None:
        if len(x) > BATCH_MAX:
            raise DataError(f"a batch of {len(x)} exceeds {BATCH_MAX}")


def squared_error(predicted: npt.NDArray[np.float64], wanted: Targets) -> Score:
    """Score of a regression, both [n, outputs].

    blind: the loss of answering zero, but at least 1, the variance of targets that were scaled as
    they should be: a device whose own targets lie close together must not refuse honest merges.
    """
    targets = wanted.astype(np.float64)
    loss = float(((predicted - targets) ** 2).mean())
    spread = float(((targets - targets.mean(axis=0)) ** 2).mean())
    explained = 1.0 - loss / spread if spread > 0 else 0.0
    blind = max(1.0, float((targets**2).mean()))
    return Score(loss, max(0.0, explained), len(targets), blind)


def infer_only(content: bytes, x: Vector) -> Vector:
    """What a baked file answers to x float32 [n, ...]. ModelError if it does not run."""
    with _native_chatter_hidden():
        interpreter = _open(runtime(), content)
        try:
            answer: Vector = interpreter.get_signature_runner("infer")(x=x)["logits"].copy()
        except (RuntimeError, ValueError, KeyError) as error:
            raise _does_not_run(error) from None
    return answer


# Loading -----------------------------------------------------------------------------------------


def read_model(path: Path) -> bytes:
    """The bytes of a model file, at most 64 MiB. Raises ModelError."""
    try:
        status = path.stat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ModelError(f"{path}: is no regular file")  # reading a pipe may never end
        size = status.st_size
        if size > MODEL_BYTES_MAX:
            raise ModelError(f"{path}: {size} bytes exceed the limit of {MODEL_BYTES_MAX}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    if content[4:8] != b"TFL3":
        raise ModelError(f"{path}: not a .tflite file")
    return content


def runtime() -> Any:
    """The installed runtime's Interpreter class. Raises ModelError when there is none."""
    for module in _RUNTIMES:
        try:
            found = importlib.import_module(module).Interpreter
        except ImportError:
            continue
        if module.startswith("tflite_runtime") and int(np.__version__.split(".", 1)[0]) >= 2:
            raise ModelError(
                f"tflite-runtime cannot work with numpy {np.__version__}; install 'numpy<2'"
            )
        return found
    raise ModelError(
        "no TFLite runtime is installed; install tflite-runtime (Python 3.11) or ai-edge-litert"
    )


def _open(interpreter_class: Any, content: bytes) -> Any:
    try:
        # More threads make small models up to a hundred times slower.
        return interpreter_class(model_content=content, num_threads=1)
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"the runtime refuses the file: {_first_line(error)}") from None


def _missing(present: Mapping[str, Mapping[str, list[str]]]) -> Iterator[str]:
    for name, (inputs, outputs) in _SIGNATURES.items():
        if name not in present:
            if name not in _OPTIONAL:
                yield f"signature {name} is missing"
            continue
        for kind, wanted in (("inputs", inputs), ("outputs", outputs)):
            found = present[name][kind]
            if set(found) != set(wanted):
                yield f"{name} has {kind} {_listed(found)}, needs {_listed(wanted)}"


def _mistyped(runners: Mapping[str, Any]) -> Iterator[str]:
    shapes = set()
    for name, runner in runners.items():
        details = {**runner.get_output_details(), **runner.get_input_details()}
        for tensor, info in details.items():
            regression = tensor == "y" and len(info["shape_signature"]) == 2
            wanted = np.dtype(np.int32 if tensor == "y" and not regression else np.float32)
            if np.dtype(info["dtype"]) != wanted:
                yield f"{name}: {tensor} is {np.dtype(info['dtype'])}, needs {wanted}"
        if name == "init":
            continue
        if len(details["weights"]["shape"]) != 1:
            yield f"{name}: weights must be one flat vector"
        if len(details["x"]["shape"]) < 2 or details["x"]["shape_signature"][0] != -1:
            yield f"{name}: x must have a dynamic batch as its first dimension"
        elif "y" in details and not _is_label_shape(list(details["y"]["shape_signature"])):
            yield f"{name}: y must be classes [n] or targets [n, outputs] with a dynamic n"
        shapes.add((tuple(details["weights"]["shape"]), tuple(details["x"]["shape_signature"])))
    if len(shapes) > 1:
        yield "the signatures disagree about the shapes of weights or x"


def _is_label_shape(shape: list[int]) -> bool:
    return shape == [-1] or (len(shape) == 2 and shape[0] == -1 and shape[1] > 0)


def _targets_of_zeros(y: Mapping[str, Any]) -> Targets:
    """Two labels for a trial run, for the input `y` of `grad`."""
    outputs = [int(size) for size in y["shape_signature"][1:]]
    return np.zeros((2, *outputs), np.float32 if outputs else np.int32)


def _does_not_run(error: Exception) -> ModelError:
    return ModelError(f"the model does not run: {_first_line(error)}")


def _listed(names: Any) -> str:
    return "(" + ", ".join(sorted(names)) + ")"


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.sub(r"\S+\.(cc|h):\d+ ", "", line)  # where in the runtime's source


@contextlib.contextmanager
def _native_chatter_hidden() -> Iterator[None]:
    """Drop the runtime's INFO lines, which C++ writes to descriptor 2; other lines pass."""
    if sys.platform != "linux":
        yield
        return
    with _CHATTER_LOCK, contextlib.ExitStack() as undo:
        try:
            saved = os.dup(2)
        except OSError:  # a daemon may have closed its standard error
            yield
            return
        undo.callback(os.close, saved)
        caught = undo.enter_context(os.fdopen(os.memfd_create("stderr"), "r+b"))
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            caught.seek(0)
            for line in caught:
                if not line.startswith(b"INFO:"):
                    os.write(2, line)
