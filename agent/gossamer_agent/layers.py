"""Which part of the flat vector is which layer: the table that a model file may carry.

Theory of operation. Whoever authors a model writes [name, offset, shape] of every tensor, as JSON,
into the metadata of the .tflite file; a name is "layer.tensor", such as "head.kernel". Reading it
needs neither a runtime nor the flatbuffers library: the few offsets on the way are followed here,
each checked against the file's end, because the file may be damaged or hostile.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from typing import Any, Final

from gossamer_agent.contract import DIMENSIONS_MAX, PARAMETERS_MAX
from gossamer_agent.errors import ModelError

METADATA_NAME: Final = b"gossamer"
LAYERS_MAX: Final = 4096
_JSON_BYTES_MAX: Final = 1 << 20
_ENTRIES_MAX: Final = 64
_FORMAT: Final = 1
# Numbers of fields in the schema of .tflite: Model.buffers, .metadata; Metadata; Buffer.data.
_BUFFERS, _METADATA = 4, 6
_NAME, _BUFFER = 0, 1
_DATA = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """A piece of the flat vector: `size` values from `offset` on. tensors: (name, shape) of what it
    is made of, in order.
    """

    name: str
    offset: int
    size: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]


def parse_layers(table: Any) -> tuple[Layer, ...]:
    """Layers from rows [name, offset, shape] in the order of the flat vector, which they cover
    without a gap. Raises ModelError.
    """
    if not isinstance(table, list) or not 1 <= len(table) <= LAYERS_MAX:
        raise _damaged()
    layers: list[Layer] = []
    at = 0
    for row in table:
        name, tensor, shape = _row(row, at)
        size = math.prod(shape)
        at += size
        if at > PARAMETERS_MAX:
            raise _damaged()
        if layers and layers[-1].name == name:
            last = layers.pop()
            layers.append(
                Layer(name, last.offset, last.size + size, (*last.tensors, (tensor, shape)))
            )
        else:
            layers.append(Layer(name, at - size, size, ((tensor, shape),)))
    if len({layer.name for layer in layers}) != len(layers):
        raise _damaged()
    return tuple(layers)


def _row(row: Any, at: int) -> tuple[str, str, tuple[int, ...]]:
    if not isinstance(row, list) or len(row) != 3:
        raise _damaged()
    name, offset, shape = row
    if not (isinstance(name, str) and name.isprintable() and 3 <= len(name) <= 200):
        raise _damaged()
    if not isinstance(shape, list) or not 1 <= len(shape) <= DIMENSIONS_MAX:
        raise _damaged()
    if not all(type(d) is int and 1 <= d <= PARAMETERS_MAX for d in shape) or offset != at:
        raise _damaged()
    layer, dot, tensor = name.rpartition(".")
    if not (layer and dot and tensor):
        raise _damaged()
    return layer, tensor, tuple(shape)


def read_layers(content: bytes) -> tuple[Layer, ...]:
    """The layer table of a .tflite file. Raises ModelError if it has none or it is damaged."""
    try:
        stored = _stored(content)
        if stored is None:
            raise ModelError("the file has no layer table; author or convert it with this version")
        table = json.loads(stored)
        if not isinstance(table, dict) or table.get("format") != _FORMAT:
            raise _damaged()
        return parse_layers(table.get("layers"))
    except (struct.error, ValueError, RecursionError):
        raise _damaged() from None


def _damaged() -> ModelError:
    return ModelError("the layer table is damaged")


# The way through the file ------------------------------------------------------------------------


def _stored(content: bytes) -> bytes | None:
    """The metadata called "gossamer". struct.error where an offset leads out of the file."""
    model = _follow(content, 0)
    entries, buffers = _field(content, model, _METADATA), _field(content, model, _BUFFERS)
    if entries is None or buffers is None:
        return None
    for entry in _tables(content, entries, _ENTRIES_MAX):
        name = _field(content, entry, _NAME)
        if name is None or _bytes_at(content, name, len(METADATA_NAME)) != METADATA_NAME:
            continue
        at = _field(content, entry, _BUFFER, is_offset=False)
        number = 0 if at is None else _uint(content, at)
        if number >= _uint(content, buffers):
            raise _damaged()
        slot = buffers + 4 + 4 * number
        data = _field(content, slot + _uint(content, slot), _DATA)
        return None if data is None else _bytes_at(content, data, _JSON_BYTES_MAX)
    return None


def _field(content: bytes, table: int, number: int, *, is_offset: bool = True) -> int | None:
    """Where a table's field is, or where it points; None if the table does not have it."""
    vtable = table - struct.unpack_from("<i", content, _inside(table))[0]
    size = struct.unpack_from("<H", content, _inside(vtable))[0]
    if 4 + 2 * number + 2 > size:
        return None
    shift = struct.unpack_from("<H", content, vtable + 4 + 2 * number)[0]
    if shift == 0:
        return None
    return _follow(content, table + shift) if is_offset else int(table + shift)


def _tables(content: bytes, vector: int, most: int) -> list[int]:
    count = _uint(content, vector)
    if count > most:
        raise _damaged()
    return [_follow(content, vector + 4 + 4 * index) for index in range(count)]


def _bytes_at(content: bytes, vector: int, most: int) -> bytes | None:
    """A vector of bytes, or None if it has more than `most`."""
    size = _uint(content, vector)
    if size > most:
        return None
    if vector + 4 + size > len(content):
        raise _damaged()
    return content[vector + 4 : vector + 4 + size]


def _follow(content: bytes, at: int) -> int:
    return at + _uint(content, at)


def _uint(content: bytes, at: int) -> int:
    value: int = struct.unpack_from("<I", content, _inside(at))[0]
    return value


def _inside(at: int) -> int:
    # struct counts negative offsets from the end.
    if at < 0:
        raise _damaged()
    return at
