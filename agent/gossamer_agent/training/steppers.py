"""The local optimisers: from a gradient to what is subtracted from the parameters.

All is elementwise float32 with + - * / and square root, which IEEE 754 rounds correctly, so the
steps have the same bits on every CPU; only the gradient norm is a long sum, and that is taken on
the exact grid of `merge.exact`. No pow: it differs between C libraries, so powers of the decay
rates are kept as running products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from gossamer_agent.merge.exact import distances_to

SGD: Final = "sgd"
ADAM: Final = "adam"
OPTIMISERS: Final = (SGD, ADAM)

ADAM_FIRST: Final = 0.9
ADAM_SECOND: Final = 0.999
ADAM_EPSILON: Final = 1e-8

_Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """What an optimiser remembers: float32 [P] vectors, and the running products of decay rates."""

    vectors: tuple[_Vector, ...]
    decays: tuple[float, ...] = ()


class Stepper(Protocol):
    """One optimiser in the course of one call of training."""

    def step(self, gradient: _Vector) -> _Vector:
        """What to subtract from the parameters, float32 [P]. May overwrite `gradient`."""
        ...

    def moments(self) -> Moments | None:
        """What to go on with in a later call; None: nothing."""
        ...


def stepper_of(
    optimiser: str, rate: float, momentum: float, size: int, before: Moments | None
) -> Stepper:
    """A stepper for float32 [size]. before: what an earlier call of the same optimiser left.

    Moments of another shape or optimiser are ignored: the stepper then starts at rest.
    """
    if optimiser == ADAM:
        return AdamStepper(rate, size, _fitting(before, size, vectors=2, decays=2))
    if momentum:
        return MomentumStepper(rate, momentum, size, _fitting(before, size, vectors=1, decays=0))
    return PlainStepper(rate)


class PlainStepper:
    """`rate * g`."""

    def __init__(self, rate: float) -> None:
        self._rate = np.float32(rate)

    def step(self, gradient: _Vector) -> _Vector:
        gradient *= self._rate
        return gradient

    def moments(self) -> Moments | None:
        return None


class MomentumStepper:
    """Heavy ball, `u = momentum u + g; rate * u` (Polyak 1964)."""

    def __init__(self, rate: float, momentum: float, size: int, before: Moments | None) -> None:
        self._rate = np.float32(rate)
        self._momentum = np.float32(momentum)
        self._velocity = np.zeros(size, np.float32) if before is None else before.vectors[0].copy()

    def step(self, gradient: _Vector) -> _Vector:
        self._velocity *= self._momentum
        self._velocity += gradient
        np.multiply(self._velocity, self._rate, out=gradient)
        return gradient

    def moments(self) -> Moments | None:
        return Moments((self._velocity,))


class AdamStepper:
    """Adam (Kingma, Ba 2015, algorithm 1), with its bias correction and its usual constants.

    m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
    rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + e)
    """

    def __init__(self, rate: float, size: int, before: Moments | None) -> None:
        self._rate = rate
        if before is None:
            self._first, self._second = np.zeros(size, np.float32), np.zeros(size, np.float32)
            self._decays = (1.0, 1.0)
        else:
            self._first, self._second = (vector.copy() for vector in before.vectors)
            self._decays = (before.decays[0], before.decays[1])

    def step(self, gradient: _Vector) -> _Vector:
        first, second = np.float32(ADAM_FIRST), np.float32(ADAM_SECOND)
        self._decays = (self._decays[0] * ADAM_FIRST, self._decays[1] * ADAM_SECOND)
        self._first *= first
        self._first += (np.float32(1) - first) * gradient
        gradient *= gradient
        gradient *= np.float32(1) - second
        self._second *= second
        self._second += gradient
        np.multiply(self._second, np.float32(1.0 / (1.0 - self._decays[1])), out=gradient)
        np.sqrt(gradient, out=gradient)
        gradient += np.float32(ADAM_EPSILON)
        np.divide(self._first, gradient, out=gradient)
        gradient *= np.float32(self._rate / (1.0 - self._decays[0]))
        return gradient

    def moments(self) -> Moments | None:
        return Moments((self._first, self._second), self._decays)


def clip_norm(gradient: _Vector, limit: float) -> None:
    """Shorten float32 [P] in place to the Euclidean norm `limit` (Pascanu et al. 2013).

    Leaves alone what is not finite or too large to square: training then says that it diverged.
    """
    largest = float(np.abs(gradient).max())
    if not 0.0 < largest < 1e30:
        return
    norm = float(distances_to([gradient], np.zeros_like(gradient))[0])
    if norm > limit:
        gradient *= np.float32(limit / norm)


def _fitting(before: Moments | None, size: int, *, vectors: int, decays: int) -> Moments | None:
    if before is None or len(before.vectors) != vectors or len(before.decays) != decays:
        return None
    return before if all(vector.shape == (size,) for vector in before.vectors) else None
