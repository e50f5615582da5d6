"""What the agent asks of a model, and the training loop that all models share.

Theory of operation. The agent owns the parameters as one flat float32 vector; a learner is a set of
pure functions over such vectors and holds no state between calls, so any number of agents may share
one. A model supplies loss and gradient of a batch; the optimiser is plain numpy here, elementwise,
so it gives the same bits wherever the gradient does.

Nothing here mutates a vector that came in. Data are checked once, when `Samples` is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import CLASSES_MAX, Contract
from gossamer_agent.errors import AgentError, ConfigError, DataError, ModelError

Vector: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Gradient: TypeAlias = Callable[[Vector, Vector, Labels], tuple[float, Vector]]
"""(params [P], x [n, ...], y [n]) -> (mean loss, gradient [P] that the caller may overwrite)."""

BATCH_MAX: Final = 1024
STEPS_MAX: Final = 10_000
# Gathering rows for many steps at once is cheaper than step by step; this bounds the memory.
_GATHER_STEPS: Final = 64


class DivergedError(AgentError):
    """Training left the range of numbers a peer may publish; lower the learning rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Labelled data, checked: x float32 [n, ...] finite, y int32 [n], 0 <= y; n >= 1.

    Integer and other float inputs are converted. Raises DataError with one line. The arrays are
    read-only views; `check(contract)` compares them with what a model takes.
    """

    x: Vector
    y: Labels

    def __post_init__(self) -> None:
        x, y = _as_inputs(self.x), _as_labels(self.y)
        if len(x) != len(y):
            raise DataError(f"{len(x)} samples but {len(y)} labels")
        if len(x) == 0:
            raise DataError("no samples")
        object.__setattr__(self, "x", _read_only(x))
        object.__setattr__(self, "y", _read_only(y))

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: npt.NDArray[np.int64]) -> Samples:
        """The samples at these row numbers, copied. Raises DataError when there are none."""
        return Samples(self.x[rows], self.y[rows])

    def check(self, contract: Contract) -> None:
        """Raise DataError unless a model of this contract can take the samples."""
        if self.x.shape[1:] != contract.input_shape:
            raise DataError(
                f"samples have shape {self.x.shape[1:]}, the model takes {contract.input_shape}"
            )
        highest = int(self.y.max())
        if highest >= contract.classes:
            raise DataError(f"label {highest} is out of range 0..{contract.classes - 1}")


def _as_inputs(x: Any) -> Vector:
    raw = np.asarray(x)
    if raw.dtype.kind not in "fiu":
        raise DataError(f"samples must be numbers, not {raw.dtype}")
    if raw.ndim < 2:
        raise DataError(f"samples must have at least 2 dimensions, not shape {raw.shape}")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(raw, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        raise DataError(f"sample {row} holds a value that is not a finite float32")
    return values


def _as_labels(y: Any) -> Labels:
    raw = np.asarray(y)
    if raw.dtype.kind not in "iu":
        raise DataError(f"labels must be integers, not {raw.dtype}")
    if raw.ndim != 1:
        raise DataError(f"labels must have 1 dimension, not shape {raw.shape}")
    if raw.size and not (int(raw.min()) >= 0 and int(raw.max()) < CLASSES_MAX):
        raise DataError(
            f"labels must be 0..{CLASSES_MAX - 1}, not {int(raw.min())}..{int(raw.max())}"
        )
    return np.ascontiguousarray(raw, dtype=np.int32)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings of one local training call. Raises ConfigError for values out of range.

    learning_rate, weight_decay, proximal: >= 0; momentum: 0..1 (exclusive), heavy ball, starts at
    rest in each call. proximal is FedProx's mu: it pulls towards the parameters that training
    began with (Li et al. 2020); 0 gives plain SGD bit for bit.
    """

    steps: int = 8
    batch: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0

    def __post_init__(self) -> None:
        for name, count, highest in (
            ("steps", self.steps, STEPS_MAX),
            ("batch", self.batch, BATCH_MAX),
        ):
            if not 1 <= count <= highest:
                raise ConfigError(f"{name} must be 1..{highest}, not {count}")
        for name, value in (
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("proximal", self.proximal),
        ):
            if not 0 <= value <= 1e6:
                raise ConfigError(f"{name} must be 0..1e6, not {value}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and less than 1, not {self.momentum}")


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """params: float32 [P], new; loss: mean of the steps' losses, each before its step, in nats."""

    params: Vector
    loss: float


@dataclass(frozen=True, slots=True)
class Score:
    """loss: mean per sample; accuracy: 0..1; samples: how many were judged."""

    loss: float
    accuracy: float
    samples: int


class Learner(Protocol):
    """A model as stateless functions over flat float32 vectors. Safe to share between threads.

    Every method raises ModelError for vectors that are not finite float32 [P], DataError for
    samples that do not fit the contract, and changes none of its arguments.
    """

    __slots__ = ()

    @property
    def contract(self) -> Contract:
        """Shapes and meaning."""
        ...

    @property
    def model_sha256(self) -> bytes:
        """32 bytes: identity of the model file, or of the definition of a built-in model."""
        ...

    def init(self) -> Vector:
        """The first parameters, float32 [P], the same at every call."""
        ...

    def infer(self, params: Vector, x: Vector) -> Vector:
        """Logits float32 [n, classes] of x float32 [n, ...], n >= 1."""
        ...

    def train(
        self, params: Vector, data: Samples, settings: Training, rng: np.random.Generator
    ) -> Trained:
        """Some local steps from `params`. DivergedError when the result is not publishable."""
        ...

    def evaluate(self, params: Vector, data: Samples) -> Score:
        """Loss and accuracy on `data`."""
        ...


def batches(samples: int, settings: Training, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Row numbers int64 [steps, batch] of reshuffled passes over the data, end to end.

    Every sample is used before one is used again; with fewer samples than `batch`, all of them
    make one batch.
    """
    size = min(settings.batch, samples)
    wanted = settings.steps * size
    passes = [rng.permutation(samples) for _ in range(math.ceil(wanted / samples))]
    order: npt.NDArray[np.int64] = np.concatenate(passes)[:wanted]
    return order.reshape(settings.steps, size)


def sgd(
    gradient: Gradient,
    params: Vector,
    data: Samples,
    settings: Training,
    rng: np.random.Generator,
    *,
    bound: float,
) -> Trained:
    """Stochastic gradient descent with momentum, weight decay and FedProx's proximal term.

    params: float32 [P]. Raises DivergedError when a gradient or the result is not finite or a
    parameter exceeds `bound`.
    """
    weights = params.copy()
    rate = np.float32(settings.learning_rate)
    velocity = np.zeros_like(weights) if settings.momentum else None
    losses = 0.0
    # Divergence overflows on purpose and is reported once, as an error, not as warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        for x, y in _gathered(data, batches(len(data), settings, rng)):
            loss, step = gradient(weights, x, y)
            losses += loss
            if settings.weight_decay:
                step += np.float32(settings.weight_decay) * weights
            if settings.proximal:
                step += np.float32(settings.proximal) * (weights - params)
            if velocity is not None:
                velocity *= np.float32(settings.momentum)
                velocity += step
                np.copyto(step, velocity)
            step *= rate
            weights -= step
    if not (is_finite(weights) and float(np.abs(weights).max()) <= bound):
        raise DivergedError(
            f"training left the bound of {bound:g} on parameters;"
            f" lower the learning rate of {settings.learning_rate:g}"
        )
    return Trained(weights, losses / settings.steps)


def _gathered(data: Samples, order: npt.NDArray[np.int64]) -> Iterator[tuple[Vector, Labels]]:
    for start in range(0, len(order), _GATHER_STEPS):
        rows = order[start : start + _GATHER_STEPS]
        yield from zip(data.x[rows], data.y[rows], strict=True)


def check_params(contract: Contract, params: Vector) -> None:
    """Raise ModelError unless `params` is a finite float32 vector of the contract's length."""
    size = contract.parameters
    if params.dtype != np.float32 or params.shape != (size,):
        raise ModelError(f"parameters must be float32 ({size},), not {params.dtype} {params.shape}")
    if not is_finite(params):
        raise ModelError("parameters hold a value that is not finite")


def is_finite(vector: Vector) -> bool:
    """Whether a flat vector holds no NaN and no infinity."""
    return bool(np.isfinite(vector).all())
