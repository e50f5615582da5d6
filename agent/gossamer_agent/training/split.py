"""Which values of a flat parameter vector are the swarm's and which are the device's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gossamer_agent.errors import ConfigError, ModelError
from gossamer_agent.layers import Layer
from gossamer_agent.learner import Vector


@dataclass(frozen=True, slots=True)
class Split:
    """size: P, of the whole vector; personal, shared: slices that together are all of it."""

    size: int
    personal: tuple[slice, ...]
    shared: tuple[slice, ...]

    @property
    def shared_size(self) -> int:
        return sum(part.stop - part.start for part in self.shared)

    @property
    def personal_size(self) -> int:
        return self.size - self.shared_size

    def shared_part(self, whole: Vector) -> Vector:
        """float32 [P] -> what is published and merged, float32 [shared_size], copied."""
        return np.concatenate([whole[part] for part in self.shared])

    def personal_part(self, whole: Vector) -> Vector:
        """float32 [P] -> what never leaves the device, float32 [personal_size], copied."""
        return np.concatenate([whole[part] for part in self.personal])

    def join(self, shared: Vector, personal: Vector) -> Vector:
        """The whole vector float32 [P] of its two parts."""
        whole = np.empty(self.size, np.float32)
        _scatter(whole, self.shared, shared)
        _scatter(whole, self.personal, personal)
        return whole


def split_by(layers: Sequence[Layer], names: Sequence[str], size: int) -> Split:
    """The split that makes the named layers personal. size: P.

    Raises ConfigError, one line, for a name that no layer has, and where nothing would be shared;
    ModelError for layers that are not disjoint runs of the vector.
    """
    known = {layer.name for layer in layers}
    for name in names:
        if name not in known:
            listed = ", ".join(layer.name for layer in layers) or "no named layers"
            raise ConfigError(f"the model has no layer {name!r}; it has {listed}")
    owned = np.zeros(size, np.int8)
    for layer in layers:
        if layer.offset < 0 or layer.size < 1 or layer.offset + layer.size > size:
            raise ModelError(f"layer {layer.name!r} is not inside the {size} parameters")
        if layer.name in names:
            owned[layer.offset : layer.offset + layer.size] += 1
    if owned.max(initial=0) > 1:
        raise ModelError("two personal layers share parameters")
    if not owned.any():
        raise ConfigError("personal names no layer")
    if owned.all():
        raise ConfigError("all layers are personal: there would be nothing to share")
    return Split(size, _runs(owned == 1), _runs(owned == 0))


def _runs(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> tuple[slice, ...]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    pairs = edges.reshape(-1, 2).tolist()
    return tuple(slice(start, stop) for start, stop in pairs)


def _scatter(whole: Vector, parts: Sequence[slice], values: Vector) -> None:
    at = 0
    for part in parts:
        length = part.stop - part.start
        whole[part] = values[at : at + length]
        at += length
