"""The frames between an agent and a learner that is a program of its own. Pure.

Each frame is a flat msgpack array; the pipe puts its length before it (`child`). An answer repeats
the kind of its request, or is `[0, text]` when the program cannot do what it was asked. Arrays
travel as bins of little-endian float32 or int32. Format: docs/spec/process-learner.md.

What a program answers is believed only as far as the contract goes: lengths are fixed by what was
asked, and everything else is nonsense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

import msgpack
import numpy as np
import numpy.typing as npt

from gossamer_agent.contract import DIMENSIONS_MAX, Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Samples, Score, Trained, Training, Vector

VERSION: Final = 1
ERROR, CONTRACT, INIT, INFER, TRAIN, EVALUATE = range(6)

REQUEST_BYTES_MAX: Final = 1 << 30
ANSWER_ROOM_BYTES: Final = 4096
"""What an answer may be longer than the array in it."""
PATIENCE_S_MAX: Final = 86_400
SEED_MAX: Final = 1 << 31
_TEXT_BYTES_MAX: Final = 2048
_CONTRACT_FIELDS: Final = 8  # and the input shape

Field: TypeAlias = int | float | str | bytes


class NonsenseError(ValueError):
    """Bytes of a program that are no answer to what it was asked."""


class SaidError(ModelError):
    """The program answered that it cannot; the text is its own."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What a program says of itself. patience_s: how long an answer may take, 1..86 400."""

    name: str
    contract: Contract
    patience_s: int


# Requests ----------------------------------------------------------------------------------------


def contract_request() -> bytes:
    return _pack(CONTRACT, VERSION)


def init_request() -> bytes:
    return _pack(INIT)


def infer_request(params: Vector, x: Vector) -> bytes:
    """params: float32 [P]; x: float32 [n, ...]."""
    return _pack(INFER, _floats(params), len(x), _floats(x))


def evaluate_request(params: Vector, data: Samples) -> bytes:
    return _pack(EVALUATE, _floats(params), len(data), _floats(data.x), _targets(data))


def train_request(params: Vector, data: Samples, settings: Training, seed: int) -> bytes:
    """settings go as pairs of name and value, so that a program can leave out what it knows not.

    seed: 0..2^31 - 1, for whatever chance the program needs.
    """
    arrays = (_floats(params), len(data), _floats(data.x), _targets(data), seed)
    return _pack(TRAIN, *arrays, *_pairs(settings))


def _pairs(settings: Training) -> list[Field]:
    pairs: list[Field] = []
    for spec in fields(settings):
        value = getattr(settings, spec.name)
        if isinstance(value, int | float | str):
            pairs += (spec.name, int(value) if isinstance(value, bool) else value)
    return pairs


def _pack(*parts: Field) -> bytes:
    size = sum(len(part) for part in parts if isinstance(part, bytes))
    if size > REQUEST_BYTES_MAX - ANSWER_ROOM_BYTES:
        raise ModelError(
            f"{size >> 20} MiB are too much for a learner that is a program of its own;"
            f" it is given at most {REQUEST_BYTES_MAX >> 20} MiB at once"
        )
    packed: bytes = msgpack.packb(parts, use_bin_type=True)
    return packed


def _floats(array: npt.NDArray[np.float32]) -> bytes:
    return array.astype("<f4", copy=False).tobytes()


def _targets(data: Samples) -> bytes:
    kind = "<f4" if data.y.dtype.kind == "f" else "<i4"
    return data.y.astype(kind, copy=False).tobytes()


# Answers -----------------------------------------------------------------------------------------


def parse_contract(raw: bytes) -> Declared:
    """`[1, version, name, task, classes, parameters, bound, patience_s, dimension, ...]`.

    Raises NonsenseError, SaidError, and ModelError for a contract out of range.
    """
    answer = _answer(raw, CONTRACT, ANSWER_ROOM_BYTES)
    shape = tuple(_whole(field, "dimension") for field in answer[_CONTRACT_FIELDS - 1 :])
    if not 1 <= len(shape) <= DIMENSIONS_MAX:
        raise NonsenseError(f"a contract with {len(shape)} input dimensions")
    version, name, task = answer[0], answer[1], answer[2]
    if version != VERSION:
        raise ModelError(
            f"the learner speaks version {version!r:.20} of the protocol, this agent {VERSION}"
        )
    if not (isinstance(name, str) and isinstance(task, str)):
        raise NonsenseError("name and task of a contract must be texts")
    patience_s = _whole(answer[6], "patience_s")
    if not 1 <= patience_s <= PATIENCE_S_MAX:
        raise ModelError(f"patience_s must be 1..{PATIENCE_S_MAX}, not {patience_s}")
    contract = Contract(
        task=task,
        classes=_whole(answer[3], "classes"),
        input_shape=shape,
        parameters=_whole(answer[4], "parameters"),
        bound=_number(answer[5], "bound"),
    )
    return Declared(name, contract, patience_s)


def parse_init(raw: bytes, contract: Contract) -> Vector:
    """`[2, parameters]`."""
    (params,) = _exactly(_answer(raw, INIT, 4 * contract.parameters), 1)
    return _vector(params, contract.parameters)


def parse_infer(raw: bytes, contract: Contract, samples: int) -> Vector:
    """`[3, outputs]` -> float32 [samples, classes]; they may be anything but NaN."""
    size = samples * contract.classes
    (outputs,) = _exactly(_answer(raw, INFER, 4 * size), 1)
    values = _vector(outputs, size)
    if np.isnan(values).any():
        raise NonsenseError("an output is NaN")
    return values.reshape(samples, contract.classes)


def parse_train(raw: bytes, contract: Contract) -> Trained:
    """`[4, parameters, loss]`; the caller looks at the values."""
    params, loss = _exactly(_answer(raw, TRAIN, 4 * contract.parameters), 2)
    return Trained(_vector(params, contract.parameters), _number(loss, "loss"))


def parse_evaluate(raw: bytes, samples: int) -> Score:
    """`[5, loss, accuracy]`, and for a regression the loss of a blind guess as a third.

    A loss that is NaN counts as infinite: parameters of peers can come to that, and it must not be
    taken for a fault of the program.
    """
    answer = _answer(raw, EVALUATE, 0)
    loss, accuracy = _exactly(answer[:2], 2)
    rest = answer[2:]
    if len(rest) > 1:
        raise NonsenseError(f"{len(answer)} fields in a score")
    share = _number(accuracy, "accuracy")
    if not 0 <= share <= 1:
        raise NonsenseError(f"an accuracy of {share:g}")
    failed = isinstance(loss, float) and math.isnan(loss)
    score = Score(math.inf if failed else _number(loss, "loss"), share, samples)
    if not rest:
        return score
    return Score(score.loss, score.accuracy, samples, blind=_number(rest[0], "blind loss"))


def _answer(raw: bytes, kind: int, array_bytes: int) -> list[Field]:
    """The fields after the kind. Raises SaidError where the program said that it cannot."""
    fields_ = _unpack(raw, array_bytes)
    if fields_[:1] == [ERROR] and len(fields_) == 2 and isinstance(fields_[1], str):
        said = " ".join(fields_[1].split())
        raise SaidError(said or "it gives no reason")
    if not fields_ or type(fields_[0]) is not int or fields_[0] != kind:
        raise NonsenseError(f"an answer of another kind than {kind}")
    return fields_[1:]


def _unpack(raw: bytes, bin_bytes_max: int) -> list[Field]:
    # As gossamer_transport.flat: whatever nests is refused at its first byte.
    unpacker = msgpack.Unpacker(
        None,
        raw=False,
        max_buffer_size=max(1, len(raw)),
        max_bin_len=bin_bytes_max,
        max_str_len=_TEXT_BYTES_MAX,
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    try:
        unpacker.feed(raw)
        count = unpacker.read_array_header()
        if count > _CONTRACT_FIELDS + DIMENSIONS_MAX:
            raise NonsenseError(f"{count} fields")
        found: list[Any] = [unpacker.unpack() for _ in range(count)]
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise NonsenseError(f"no msgpack array: {str(error) or type(error).__name__}") from None
    if unpacker.tell() != len(raw):
        raise NonsenseError("bytes after the array")
    for field in found:
        if isinstance(field, bool) or not isinstance(field, int | float | str | bytes):
            raise NonsenseError(f"a field of type {type(field).__name__}")
    return found


def _exactly(found: list[Field], count: int) -> list[Field]:
    if len(found) != count:
        raise NonsenseError(f"{len(found)} fields instead of {count}")
    return found


def _vector(field: Field, size: int) -> Vector:
    if not isinstance(field, bytes) or len(field) != 4 * size:
        got = len(field) if isinstance(field, bytes) else f"{type(field).__name__} and no"
        raise NonsenseError(f"{got} bytes where {size} float32 are {4 * size}")
    return np.frombuffer(field, "<f4").astype(np.float32)


def _whole(field: Field, what: str) -> int:
    if not isinstance(field, int):
        raise NonsenseError(f"{what} must be a whole number, not {field!r:.40}")
    return field


def _number(field: Field, what: str) -> float:
    if not isinstance(field, int | float):
        raise NonsenseError(f"{what} must be a number, not {field!r:.40}")
    value = float(field)
    if math.isnan(value):
        raise NonsenseError(f"{what} is NaN")
    return value
