"""Whether what a .tflite file points at lies inside the file.

A .tflite is a FlatBuffer: tables that name others by distances in bytes. The runtime follows them
unchecked, so a single flipped bit lets it read what happens to lie elsewhere in memory: the file
works in one process and ends the next one with a signal. Trying a file is therefore not enough;
this walks all of it first, and looks at the numbers of tensors and buffers as well. The layout is
that of tensorflow/lite/schema/schema.fbs, as far as it concerns files that can be trained. What
newer schemas add behind the fields below, and the options of rare operators, are taken as numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gossamer_agent.errors import ModelError

# Fields in order. A digit: a number of so many bytes; a name: a table; [ in front: a list of them;
# -: skipped.
_TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "Model": ("4", "[Code", "[Graph", "[1", "[Buffer", "[4", "[Metadata", "[Signature"),
    "Code": ("1", "[1", "4", "4"),
    "Graph": ("[Tensor", "[4", "[4", "[Operator", "[1", "4"),
    "Tensor": ("[4", "1", "4", "[1", "Quantization", "1", "Sparsity", "[4", "1"),
    "Operator": ("4", "[4", "[4", "1", "Options", "[1", "1", "[1", "[4", "8", "8", "1", "Options"),
    "Quantization": ("[4", "[4", "[4", "[8", "1", "Options", "4"),
    "Buffer": ("[1", "8", "8"),
    "Metadata": ("[1", "4"),
    "Signature": ("[Map", "[Map", "[1", "-", "4"),
    "Map": ("[1", "4"),
    "Sparsity": ("[4", "[4"),
    "Options": (),
    "WithList": ("[4",),
}
_WITH_LIST: Final = (17, 30)
"""Options of RESHAPE and SQUEEZE, whose first field is a list."""


def check_file(content: bytes) -> None:
    """Raise ModelError unless every table, list and number of the file points into it."""
    try:
        model = _Reader(content).table(_unpack("<I", content, 0), "Model")
        _check_numbers(model)
    except (_OutsideError, struct.error) as error:
        what = "something lies beyond its end" if isinstance(error, struct.error) else error
        raise ModelError(f"the file is damaged: {what}") from None


class _OutsideError(Exception):
    """Something lies outside the file."""


def _unpack(form: str, content: bytes, at: int) -> int:
    if at < 0:  # Python would count from the end
        raise _OutsideError("a table lies before its beginning")
    (value,) = struct.unpack_from(form, content, at)
    return int(value)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def table(self, at: int, kind: str) -> dict[int, Any]:
        """The fields that are there, by their place; lists as Python lists."""
        content = self._content
        layout = at - _unpack("<i", content, at)
        layout_size = _unpack("<H", content, layout)
        size = _unpack("<H", content, layout + 2)
        if layout_size < 4 or size < 4 or max(layout + layout_size, at + size) > len(content):
            raise _OutsideError(f"a {kind} goes beyond its end")
        kinds = _TABLES[kind]
        fields: dict[int, Any] = {}
        for place in range((layout_size - 4) // 2):
            inside = _unpack("<H", content, layout + 4 + 2 * place)
            if inside:
                known = kinds[place] if place < len(kinds) else "1"
                if kind == "Operator" and known == "Options" and fields.get(3) in _WITH_LIST:
                    known = "WithList"
                wide = int(known) if known.isdigit() else 1 if known == "-" else 4
                if inside + wide > size:
                    raise _OutsideError(f"a field goes beyond its {kind}")
                fields[place] = self._field(at + inside, known)
        return fields

    def _field(self, at: int, kind: str) -> Any:
        if kind == "-":
            return None
        if kind.isdigit():
            form = {"1": "<B", "4": "<i", "8": "<q"}[kind]
            return _unpack(form, self._content, at)
        target = at + _unpack("<I", self._content, at)
        if kind[0] != "[":
            return self.table(target, kind)
        return list(self._items(target, kind[1:]))

    def _items(self, at: int, kind: str) -> Iterator[Any]:
        count = _unpack("<I", self._content, at)
        wide = int(kind) if kind.isdigit() else 4
        if at + 4 + count * wide > len(self._content):
            raise _OutsideError("a list goes beyond its end")
        if kind == "4":
            yield from struct.unpack_from(f"<{count}i", self._content, at + 4)
        elif not kind.isdigit():
            for place in range(at + 4, at + 4 + 4 * count, 4):
                yield self.table(place + _unpack("<I", self._content, place), kind)


def _check_numbers(model: dict[int, Any]) -> None:
    codes, buffers = len(model.get(1, ())), len(model.get(4, ()))
    graphs = model.get(2, [])
    for graph in graphs:
        tensors = graph.get(0, [])
        for tensor in tensors:
            _below(tensor.get(2, 0), buffers, "buffer")
        for operator in graph.get(3, ()):
            _below(operator.get(0, 0), codes, "operator code")
            for place in (1, 2, 8):
                for index in operator.get(place, ()):
                    _below(index, len(tensors), "tensor", least=-1)  # -1: an input that is left out
        for place in (1, 2):
            for index in graph.get(place, ()):
                _below(index, len(tensors), "tensor")
    for signature in model.get(7, ()):
        number = signature.get(4, 0)
        _below(number, len(graphs), "graph")
        for place in (0, 1):
            for one in signature.get(place, ()):
                _below(one.get(1, 0), len(graphs[number].get(0, ())), "tensor")
    for entry in model.get(6, ()):
        _below(entry.get(1, 0), buffers, "buffer")


def _below(number: int, count: int, what: str, least: int = 0) -> None:
    if not least <= number < count:
        raise _OutsideError(f"there is no {what} {number}")
