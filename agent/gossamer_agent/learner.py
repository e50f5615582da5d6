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
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import CLASSES_MAX, REGRESSION, Contract
from gossamer_agent.errors import AgentError, ConfigError, DataError, ModelError
from gossamer_agent.training.schedules import CONSTANT, SCHEDULES, rate_factor
from gossamer_agent.training.steppers import (
    ADAM,
    OPTIMISERS,
    SGD,
    Moments,
    clip_norm,
    stepper_of,
)

Vector: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Targets: TypeAlias = npt.NDArray[Any]
"""Labels int32 [n] of a classification, or float32 [n, outputs] of a regression."""
Gradient: TypeAlias = Callable[[Vector, Vector, Targets], tuple[float, Vector]]
"""(params [P], x [n, ...], y) -> (mean loss, gradient [P] that the caller may overwrite)."""

BATCH_MAX: Final = 1024
STEPS_MAX: Final = 10_000
ANNEAL_ROUNDS_MAX: Final = 1_000_000
# Gathering rows for many steps at once is cheaper than step by step; this bounds the memory.
_GATHER_STEPS: Final = 64


class DivergedError(AgentError):
    """Training left the range of numbers a peer may publish; lower the learning rate."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Labelled data, checked: x float32 [n, ...] finite, n >= 1, and y, which is one of
    int32 [n], 0 <= y: classes, and float32 [n, outputs], finite: what a regression predicts.

    Integer and other float inputs are converted; floats with two dimensions are targets of a
    regression. Raises DataError with one line. The arrays are read-only views; `check(contract)`
    compares them with what a model takes.
    """

    x: Vector
    y: Targets

    def __post_init__(self) -> None:
        x, y = _as_inputs(self.x), _as_targets(self.y)
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
        if contract.task == REGRESSION:
            if self.y.shape[1:] != (contract.classes,):
                wanted = f"(n, {contract.classes}) floats"
                raise DataError(f"y has shape {self.y.shape}, the model needs {wanted}")
            return
        if self.y.ndim != 1:
            raise DataError("y holds targets of a regression, the model needs classes 0, 1, ...")
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


def _as_targets(y: Any) -> Targets:
    raw = np.asarray(y)
    if raw.dtype.kind == "f" and raw.ndim == 2 and raw.shape[1] > 0:
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(raw, dtype=np.float32)
        if not np.isfinite(values).all():
            raise DataError("y holds a value that is not a finite float32")
        return values
    return _as_labels(raw)


def _as_labels(raw: npt.NDArray[Any]) -> Labels:
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carried:
    """What one call of training takes over from elsewhere, for learners that train with `sgd`.

    moments: what the optimiser remembers of an earlier call; None: it starts at rest. anchor:
    float32 [P], where the proximal term pulls to; None: where this call began. frozen: slices of
    the parameters that stay as they are.
    """

    moments: Moments | None = None
    anchor: Vector | None = None
    frozen: tuple[slice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings of one local training call. Raises ConfigError for values out of range.

    learning_rate, weight_decay, proximal: >= 0; momentum: 0..1 (exclusive), heavy ball, starts at
    rest in each call unless `carried` says otherwise; Adam has its own and takes none. proximal is
    FedProx's mu: it pulls towards the parameters that training began with (Li et al. 2020); 0 gives
    plain SGD bit for bit. gradient_clip: the largest norm of a batch's gradient, 0 for none; the
    pulls of weight decay and of FedProx come on top, they say nothing of the data. schedule,
    anneal_rounds: see `in_round`.
    """

    steps: int = 8
    batch: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    proximal: float = 0.0
    optimiser: str = SGD
    schedule: str = CONSTANT
    anneal_rounds: int = 100
    gradient_clip: float = 0.0
    carried: Carried | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, count, highest in (
            ("steps", self.steps, STEPS_MAX),
            ("batch", self.batch, BATCH_MAX),
            ("anneal_rounds", self.anneal_rounds, ANNEAL_ROUNDS_MAX),
        ):
            if not 1 <= count <= highest:
                raise ConfigError(f"{name} must be 1..{highest}, not {count}")
        for name, value in (
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("proximal", self.proximal),
            ("gradient_clip", self.gradient_clip),
        ):
            if not 0 <= value <= 1e6:
                raise ConfigError(f"{name} must be 0..1e6, not {value}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum must be at least 0 and less than 1, not {self.momentum}")
        for name, word, known in (
            ("optimiser", self.optimiser, OPTIMISERS),
            ("schedule", self.schedule, SCHEDULES),
        ):
            if word not in known:
                raise ConfigError(f"{name} must be {' or '.join(known)}, not {word!r}")

    @property
    def heavy_ball(self) -> float:
        """The momentum that counts: none with Adam."""
        return 0.0 if self.optimiser == ADAM else self.momentum

    def in_round(self, round_: int) -> Training:
        """These settings with the learning rate of a round, counted from 1."""
        factor = rate_factor(self.schedule, round_, self.anneal_rounds)
        return self if factor == 1.0 else replace(self, learning_rate=self.learning_rate * factor)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """params: float32 [P], new; loss: mean of the steps' losses, each before its step, in nats.

    moments: what the optimiser remembers, for a call that goes on from here; None: nothing.
    """

    params: Vector
    loss: float
    moments: Moments | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """loss: mean per sample; accuracy: 0..1; samples: how many were judged.

    blind: the loss of answering without looking at the sample, where it is not ln(classes).
    Of a regression, loss is the mean squared error, accuracy the coefficient of determination
    (R squared, 0 where it is negative).
    """

    loss: float
    accuracy: float
    samples: int
    blind: float | None = None


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
    """Gradient descent on random batches: optimiser, clipping, weight decay, FedProx's term.

    params: float32 [P]. Raises DivergedError when a gradient or the result is not finite or a
    parameter exceeds `bound`.
    """
    weights = params.copy()
    carried = settings.carried or Carried()
    anchor = params if carried.anchor is None else carried.anchor
    stepper = stepper_of(
        settings.optimiser,
        settings.learning_rate,
        settings.momentum,
        weights.size,
        carried.moments,
    )
    losses = 0.0
    # Divergence overflows on purpose and is reported once, as an error, not as warnings.
    with np.errstate(over="ignore", invalid="ignore"):
        for x, y in _gathered(data, batches(len(data), settings, rng)):
            loss, step = gradient(weights, x, y)
            losses += loss
            if settings.gradient_clip:
                clip_norm(step, settings.gradient_clip)
            if settings.weight_decay:
                step += np.float32(settings.weight_decay) * weights
            if settings.proximal:
                step += np.float32(settings.proximal) * (weights - anchor)
            step = stepper.step(step)
            for part in carried.frozen:
                step[part] = 0
            weights -= step
    if not (is_finite(weights) and float(np.abs(weights).max()) <= bound):
        raise DivergedError(
            f"training left the bound of {bound:g} on parameters;"
            f" lower the learning rate of {settings.learning_rate:g}"
        )
    return Trained(weights, losses / settings.steps, stepper.moments())


def _gathered(data: Samples, order: npt.NDArray[np.int64]) -> Iterator[tuple[Vector, Targets]]:
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
