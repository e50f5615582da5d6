"""Messages of the local API: JSON or MessagePack, checked against the model's contract.

The types are made from the contract, so that the decoder itself refuses what does not fit, says
where, and never builds more than the batch. `x` is an array of the model's input shape, or its
float32 values as little-endian bytes: `bin` in MessagePack, base64 in JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from gossamer_agent.api.problems import ProblemError
from gossamer_agent.data.schema import Schema, is_regression
from gossamer_agent.errors import DataError

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
MEDIA_TYPES: Final = (JSON, MSGPACK, "application/x-msgpack", "application/vnd.msgpack")
BATCH_MAX: Final = 1024

_Type = TypeVar("_Type")


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """For one sample. label, word: the most probable class and its name; scores: of all classes;
    values: of a regression, instead.
    """

    label: int | None = None
    word: str | None = None
    scores: list[float] | None = None
    values: list[float] | None = None


class Inferred(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The answer of /v1/infer: `answer` to `x`, `answers` to `xs`; what answered; a receipt."""

    answer: Answer | None = None
    answers: list[Answer] | None = None
    round: int
    replica: str
    receipt: Any = None


class Observed(msgspec.Struct, kw_only=True):
    """The answer of /v1/observe. removed: old samples that made room."""

    taken: int
    duplicates: int
    removed: int


class Bodies:
    """Reads the requests to one agent. Raises ProblemError."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._shape = schema.contract.input_shape
        sample: Any = _array_of(float, self._shape) | bytes
        many: Any = Annotated[list[sample], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]
        label: Any = int | str
        if is_regression(schema.contract):
            label = _array_of(float, (schema.contract.classes,))
        labels: Any = Annotated[list[label], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]
        one_x, all_x = ("x", sample | None, None), ("xs", many | None, None)
        infer = _record("Infer", one_x, all_x)
        observe = _record(
            "Observe", one_x, all_x, ("y", label | None, None), ("ys", labels | None, None)
        )
        self._infer = _decoders(infer)
        self._observe = _decoders(observe)

    def infer(self, media_type: str, raw: bytes) -> tuple[npt.NDArray[np.float32], bool]:
        """Samples float32 [n, ...], checked, and whether there is one that is no batch."""
        body = _decoded(self._infer, media_type, raw)
        x, single = self._inputs(body)
        self._checked(lambda: self._schema.check(x))
        return x, single

    def observe(
        self, media_type: str, raw: bytes
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Samples and labels: float32 [n, ...], and int32 [n] or float32 [n, outputs]."""
        body = _decoded(self._observe, media_type, raw)
        x, single = self._inputs(body)
        if single == (body.y is None) or single != (body.ys is None):
            raise ProblemError(400, "x goes with y, xs with ys")
        labels = [body.y] if single else body.ys
        if len(labels) != len(x):
            raise ProblemError(400, f"{len(x)} samples but {len(labels)} labels")
        if is_regression(self._schema.contract):
            with np.errstate(over="ignore"):
                return x, np.array(labels, np.float32)
        numbers = self._checked(lambda: [self._schema.number(label) for label in labels])
        return x, np.array(numbers, np.int32)

    def _inputs(self, body: Any) -> tuple[npt.NDArray[np.float32], bool]:
        if (body.x is None) == (body.xs is None):
            raise ProblemError(400, "send one of x (a sample) and xs (a list of samples)")
        single = body.xs is None
        given = [body.x] if single else body.xs
        with np.errstate(over="ignore"):
            if not any(isinstance(sample, bytes) for sample in given):
                return np.array(given, np.float32), single
            return np.stack([self._one(sample) for sample in given]), single

    def _one(self, sample: Any) -> npt.NDArray[np.float32]:
        if not isinstance(sample, bytes):
            return np.array(sample, np.float32)
        wanted = 4 * int(np.prod(self._shape))
        if len(sample) != wanted:
            raise ProblemError(
                400, f"{len(sample)} bytes are no sample of {wanted} bytes (float32, little-endian)"
            )
        return np.frombuffer(sample, "<f4").astype(np.float32).reshape(self._shape)

    def _checked(self, check: Callable[[], _Type]) -> _Type:
        try:
            return check()
        except DataError as error:
            raise ProblemError(422, str(error)) from None


def answers_of(schema: Schema, scores: npt.NDArray[np.float32]) -> list[Answer]:
    """What to say to each sample, of scores float32 [n, outputs]."""
    if is_regression(schema.contract):
        return [Answer(values=row) for row in scores.tolist()]
    best = scores.argmax(axis=1).tolist()
    return [
        Answer(label=label, word=schema.word(label), scores=row)
        for label, row in zip(best, scores.tolist(), strict=True)
    ]


def encoded(media_type: str, message: Any) -> bytes:
    """A message in the form that the client reads."""
    if media_type == JSON:
        return msgspec.json.encode(message)
    return msgspec.msgpack.encode(message)


def _array_of(kind: Any, shape: tuple[int, ...]) -> Any:
    for length in reversed(shape):
        kind = Annotated[list[kind], msgspec.Meta(min_length=length, max_length=length)]
    return kind


def _record(name: str, *fields: tuple[str, Any, Any]) -> Any:
    return msgspec.defstruct(name, list(fields), kw_only=True, forbid_unknown_fields=True)


def _decoders(record: Any) -> dict[str, Any]:
    return {JSON: msgspec.json.Decoder(record), MSGPACK: msgspec.msgpack.Decoder(record)}


def _decoded(decoders: dict[str, Any], media_type: str, raw: bytes) -> Any:
    try:
        return decoders[media_type].decode(raw)
    # Deep nesting exhausts the decoder's recursion; text may be no UTF-8.
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise ProblemError(400, str(error) or "cannot be read") from None
