"""What learning keeps over a restart, as the bytes of one file, and the file.

    magic || 32 bytes: what it belongs to || MessagePack || SHA-256 of all before

The MessagePack is [version, round, [[name, float32 little-endian], ...], [decay, ...]]. The file
never leaves the device. It is replaced whole (`store.replacing`): after a power cut the old or the
new one is there. A large one is written less often, so that flash takes about SAVED_PER_ROUND bytes
in each round; what is lost then is a few rounds of the device's own training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from gossamer_agent.errors import StoreError
from gossamer_agent.learner import Vector
from gossamer_agent.store.replacing import replace_file
from gossamer_agent.training.combining import AdaptiveState
from gossamer_agent.training.steppers import Moments

FILE_NAME: Final = "learning.state"
SAVED_PER_ROUND: Final = 1 << 16

_MAGIC: Final = b"gossamer/v1/learning-state\0"
_HASH: Final = 32
_OVERHEAD: Final = 1 << 12
_VECTORS_MAX: Final = 8

_Name = Annotated[str, msgspec.Meta(max_length=16)]
_Vectors = Annotated[list[tuple[_Name, bytes]], msgspec.Meta(max_length=_VECTORS_MAX)]
_Decays = Annotated[
    list[Annotated[float, msgspec.Meta(ge=0, le=1)]], msgspec.Meta(max_length=_VECTORS_MAX)
]
_DECODER = msgspec.msgpack.Decoder(
    tuple[Literal[1], Annotated[int, msgspec.Meta(ge=0)], _Vectors, _Decays]
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LearningState:
    """personal: the part that never leaves the device, float32 [n]; None where all is shared."""

    personal: Vector | None = None
    moments: Moments | None = None
    adaptive: AdaptiveState | None = None

    @property
    def is_empty(self) -> bool:
        return self.personal is None and self.moments is None and self.adaptive is None

    def pack(self, binding: bytes, round_: int) -> bytes:
        """binding: 32 bytes, what it belongs to."""
        vectors: list[tuple[str, Vector]] = []
        decays: tuple[float, ...] = ()
        if self.personal is not None:
            vectors.append(("personal", self.personal))
        if self.moments is not None:
            vectors += [("moment", vector) for vector in self.moments.vectors]
            decays = self.moments.decays
        if self.adaptive is not None:
            vectors += [("u", self.adaptive.u), ("v", self.adaptive.v)]
        raw = [(name, vector.astype("<f4").tobytes()) for name, vector in vectors]
        body = _MAGIC + binding + msgspec.msgpack.encode((1, round_, raw, decays))
        return body + hashlib.sha256(body).digest()

    @classmethod
    def unpack(cls, raw: bytes, binding: bytes) -> LearningState:
        """Raises StoreError, one line, for whatever `pack` has not made, and for other bindings."""
        body, digest = raw[:-_HASH], raw[-_HASH:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise StoreError("damaged")
        content = body[len(_MAGIC) :]
        if content[:_HASH] != binding:
            raise StoreError("made with another model or other personal layers")
        try:
            _, _, named, decays = _DECODER.decode(content[_HASH:])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise StoreError("damaged") from None
        found: dict[str, list[Vector]] = {}
        for name, data in named:
            found.setdefault(name, []).append(_vector(data))
        moments = found.pop("moment", None)
        personal, u, v = (found.pop(name, []) for name in ("personal", "u", "v"))
        if found or len(personal) > 1 or not len(u) == len(v) <= 1:
            raise StoreError("damaged")
        return cls(
            personal=personal[0] if personal else None,
            moments=None if moments is None else Moments(tuple(moments), tuple(decays)),
            adaptive=AdaptiveState(u[0], v[0]) if u else None,
        )


class StateFile:
    """One device's `learning.state`. binding: 32 bytes; size_max: bytes, of a file to read."""

    def __init__(self, path: Path, binding: bytes, parameters: int) -> None:
        self._path = path
        self._binding = binding
        self._size_max = 4 * parameters * _VECTORS_MAX + _OVERHEAD
        self._saved: int | None = None  # round

    def load(self) -> LearningState:
        """What was kept; an empty state where there is no file. Raises StoreError."""
        try:
            with self._path.open("rb") as file:
                raw = file.read(self._size_max + 1)
        except FileNotFoundError:
            return LearningState()
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be read: {error.strerror}") from error
        try:
            # What was cut off at the limit has another hash than it ends with.
            return LearningState.unpack(raw, self._binding)
        except StoreError as error:
            raise StoreError(
                f"{self._path}: {error}; move it away and the device learns its own part anew"
            ) from None

    def keep(self, state: LearningState, round_: int) -> None:
        """Write `state` if it is time to; see the module. Raises StoreError."""
        if state.is_empty:
            return
        raw = state.pack(self._binding, round_)
        if self._saved is not None:
            rounds = round_ - self._saved
            if rounds >= 0 and rounds * SAVED_PER_ROUND < len(raw) - SAVED_PER_ROUND:
                return
        replace_file(self._path, raw)
        self._saved = round_


def _vector(data: bytes) -> Vector:
    if len(data) % 4:
        raise StoreError("damaged")
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise StoreError("damaged")
    return vector
