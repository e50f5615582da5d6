"""A list of arrays, as deep-learning programs hold their parameters, and one flat float32 vector.

Floating arrays are carried as float32 and given back in the type that they had; float64 loses what
float32 cannot hold. A whole number by itself, such as the batch counter of a batch norm layer, is
given back as it was at first: it is no parameter. Arrays of anything else cannot be averaged and
are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import PARAMETERS_MAX
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Vector

ARRAYS_MAX: Final = 65_536


class Layout:
    """Shapes and types of the arrays, fixed by the first ones. Raises ModelError."""

    def __init__(self, arrays: object) -> None:
        first = _arrays(arrays)
        if not first:
            raise ModelError("there are no arrays; the first ones are the model's parameters")
        self._likes = first
        self._carried = [_is_carried(number, like) for number, like in enumerate(first)]
        self.parameters = sum(
            like.size for like, carried in zip(first, self._carried, strict=True) if carried
        )
        if not 1 <= self.parameters <= PARAMETERS_MAX:
            raise ModelError(
                f"the arrays have {self.parameters} floating values; it must be 1 to"
                f" {PARAMETERS_MAX}"
            )

    def flat(self, arrays: object) -> Vector:
        """Arrays of these shapes -> float32 [P], new; values may be anything. ModelError."""
        given = _arrays(arrays)
        if len(given) != len(self._likes):
            raise ModelError(f"{len(given)} arrays instead of {len(self._likes)}")
        parts = []
        for number, (array, like) in enumerate(zip(given, self._likes, strict=True)):
            if array.shape != like.shape or array.dtype.kind not in "fiub":
                raise ModelError(
                    f"array {number} is {array.dtype} {array.shape}, "
                    f"at first it was {like.dtype} {like.shape}"
                )
            if self._carried[number]:
                parts.append(array.reshape(-1))
        # What is too large for float32 becomes infinite, which the caller finds.
        with np.errstate(over="ignore"):
            return np.concatenate([part.astype(np.float32) for part in parts])

    def arrays(self, vector: Vector) -> list[npt.NDArray[Any]]:
        """float32 [P] -> new arrays that their receiver may change."""
        found: list[npt.NDArray[Any]] = []
        start = 0
        for like, carried in zip(self._likes, self._carried, strict=True):
            if carried:
                part = vector[start : start + like.size]
                found.append(part.reshape(like.shape).astype(like.dtype, copy=True))
                start += like.size
            else:
                found.append(like.copy())
        return found

    def agreed(self, one: object, other: object) -> Vector:
        """First parameters that all peers share, float32 [P], from those of two fresh models.

        Arrays that are equal in both are not drawn at random, and are taken. The others are drawn
        anew with a fixed seed: uniformly with Glorot's bound (Glorot and Bengio 2010) where they
        have two or more dimensions, and zero otherwise.
        """
        rng = np.random.default_rng(0)
        agreed = []
        for mine, theirs, carried in zip(_arrays(one), _arrays(other), self._carried, strict=True):
            drawn = _glorot(mine.shape, rng)
            same = mine.shape == theirs.shape and np.array_equal(mine, theirs)
            if carried:
                agreed.append(mine.copy() if same else drawn.astype(mine.dtype))
            else:
                agreed.append(mine.copy())
        return self.flat(agreed)


def _arrays(given: object) -> list[npt.NDArray[Any]]:
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise ModelError(f"parameters must be a list of arrays, not {type(given).__name__}")
    if len(given) > ARRAYS_MAX:
        raise ModelError(f"{len(given)} arrays are more than {ARRAYS_MAX}")
    return [_array(number, array) for number, array in enumerate(given)]


def _array(number: int, given: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(given)
    except Exception as error:
        # Lists of unequal rows, tensors on another device: each kind has an exception of its own.
        raise ModelError(f"array {number} cannot be read: {error}") from None


def _is_carried(number: int, array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind == "f":
        return True
    if array.dtype.kind in "iub" and array.size == 1:
        return False
    raise ModelError(
        f"array {number} is {array.dtype} {array.shape}: only floating arrays can be merged; leave"
        " it out of what is given and taken (get_parameters and set_parameters)"
    )


def _glorot(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    # random() and sqrt are exact everywhere, so that all peers draw the same.
    drawn = 2 * rng.random(shape) - 1
    if len(shape) < 2:
        return np.zeros(shape)
    field = int(np.prod(shape[2:], dtype=np.int64))
    fans = max(1, (shape[0] + shape[1]) * field)
    return np.asarray(drawn * np.sqrt(6.0 / fans))
