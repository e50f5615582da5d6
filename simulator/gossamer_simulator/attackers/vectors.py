"""Poisoned parameter vectors of colluding, omniscient attackers.

Notation: `honest` float32[H, P] holds the parameters of all honest peers after their local steps;
mu and sd are its mean and standard deviation by coordinate. Every function returns float32[P].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer_agent.learner import Vector

SIGN_FLIPPING_SCALE = 5.0  # our choice, so that few flippers in a mix break the mean: ADR 3
ALIE_Z = 1.5
GAUSSIAN_SD = 0.5
NOISE_SD_SHARE = 0.8
IPM_STEP = 1.1


@dataclass(frozen=True, slots=True)
class Seen:
    """What the attackers know. before: float32[P], the honest mean before the last local steps."""

    honest: NDArray[np.float32]
    mean: Vector
    sd: Vector
    before: Vector


VectorAttack: TypeAlias = Callable[[Seen, np.random.Generator], Vector]


def sign_flipping(seen: Seen, rng: np.random.Generator) -> Vector:
    """-5 mu: the honest mean negated, as in Li et al. (RSA, 2019), and enlarged."""
    return np.float32(-SIGN_FLIPPING_SCALE) * seen.mean


def gaussian(seen: Seen, rng: np.random.Generator) -> Vector:
    """mu + N(0, 0.5^2) on every coordinate, fresh each round; N as in `_normal`."""
    return seen.mean + _normal(rng, seen.mean.size) * np.float32(GAUSSIAN_SD)


def alie(seen: Seen, rng: np.random.Generator) -> Vector:
    """mu - z sd: a shift that hides in the spread (A Little Is Enough; Baruch et al., 2019)."""
    return seen.mean - np.float32(ALIE_Z) * seen.sd


def noisy_alie(seen: Seen, rng: np.random.Generator) -> Vector:
    """ALIE with noise of its own for each attacker, made against vote sharing."""
    return alie(seen, rng) + _noise(seen, rng)


def ipm(seen: Seen, rng: np.random.Generator) -> Vector:
    """m - 1.1 Delta: the honest step reversed (inner product manipulation; Xie et al., 2019).

    m is the honest mean before the local steps, Delta the mean step: the vector looks central.
    """
    return seen.before - np.float32(IPM_STEP) * (seen.mean - seen.before)


def noisy_ipm(seen: Seen, rng: np.random.Generator) -> Vector:
    """IPM with noise of its own for each attacker, made against vote sharing."""
    return ipm(seen, rng) + _noise(seen, rng)


def min_max(seen: Seen, rng: np.random.Generator) -> Vector:
    """mu - g sd with the largest g that keeps it within the honest diameter (Shejwalkar, 2021).

    The distance to an honest vector is convex in g, so bisection finds the largest allowed one.
    """
    offsets = seen.honest.astype(np.float64) - seen.mean
    sd = seen.sd.astype(np.float64)
    along, squares, own = offsets @ sd, np.sum(np.square(offsets), axis=1), float(sd @ sd)
    diameter = float(np.max(squares[:, None] + squares[None, :] - 2.0 * (offsets @ offsets.T)))
    low, high = 0.0, 20.0
    for _ in range(20):
        g = (low + high) / 2
        farthest = float(np.max(squares + 2.0 * g * along + g * g * own))
        low, high = (g, high) if farthest <= diameter else (low, g)
    return seen.mean - np.float32(low) * seen.sd


def mimic(seen: Seen, rng: np.random.Generator) -> Vector:
    """The honest vector farthest from mu, sent by all attackers (Karimireddy et al., 2022)."""
    distances = np.sum(np.square(seen.honest - seen.mean), axis=1)
    farthest: Vector = seen.honest[int(np.argmax(distances))].copy()
    return farthest


VECTOR_ATTACKS: dict[str, VectorAttack] = {
    "sign-flipping": sign_flipping,
    "gaussian": gaussian,
    "alie": alie,
    "noisy-alie": noisy_alie,
    "ipm": ipm,
    "noisy-ipm": noisy_ipm,
    "min-max": min_max,
    "mimic": mimic,
}


def _normal(rng: np.random.Generator, size: int) -> Vector:
    """Sums of twelve uniform draws, mean 0 and variance 1 - 2^-32, within +-6.

    Whole numbers until the last step: `standard_normal` takes logarithms, and those of two C
    libraries differ in the last bit.
    """
    total = rng.integers(0, 1 << 16, (12, size)).sum(axis=0)
    centred: Vector = (total - 6 * 0xFFFF).astype(np.float32) / np.float32(1 << 16)
    return centred


def _noise(seen: Seen, rng: np.random.Generator) -> Vector:
    return np.float32(NOISE_SD_SHARE) * seen.sd * _normal(rng, seen.mean.size)
