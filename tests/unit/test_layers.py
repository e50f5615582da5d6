"""The layer table of a file: right, damaged, hostile."""

from __future__ import annotations

import contextlib
import importlib.resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.errors import ModelError
from gossamer_agent.layers import Layer, parse_layers, read_layers

FOLDER = importlib.resources.files("gossamer_profiles") / "models"
CNN = (FOLDER / "cnn.tflite").read_bytes()


def test_rows_of_one_layer_become_one() -> None:
    table = [["a.kernel", 0, [2, 3]], ["a.bias", 6, [2]], ["b/c.d.kernel", 8, [1]]]
    assert parse_layers(table) == (
        Layer("a", 0, 8, (("kernel", (2, 3)), ("bias", (2,)))),
        Layer("b/c.d", 8, 1, (("kernel", (1,)),)),
    )


@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        {},
        [["a.b", 0]],
        [["a.b", 1, [2]]],
        [["ab", 0, [2]]],
        [[".b", 0, [2]]],
        [["a.", 0, [2]]],
        [["a\n.b", 0, [2]]],
        [["a.b", 0, []]],
        [["a.b", 0, [0]]],
        [["a.b", 0, [-1]]],
        [["a.b", 0, [True]]],
        [["a.b", 0, [1 << 40]]],
        [["a.b", 0, [1 << 13] * 3]],
        [["a.b", 0, [2.0]]],
        [["a.b", 0, [1]], ["b.b", 1, [1]], ["a.c", 2, [1]]],
        [["a.b", 0, [1]]] * 5000,
    ],
)
def test_wrong_tables_are_refused(table: Any) -> None:
    with pytest.raises(ModelError, match="layer table is damaged"):
        parse_layers(table)


@settings(max_examples=40)
@given(st.binary(max_size=300))
def test_any_bytes_give_layers_or_a_model_error(body: bytes) -> None:
    for content in (body, CNN[:8] + body, body[:4] + CNN[4:]):
        with contextlib.suppress(ModelError):
            read_layers(content)


@settings(max_examples=40)
@given(st.integers(0, len(CNN) - 1), st.integers(0, 255), st.integers(0, len(CNN)))
def test_damaged_files_give_layers_or_a_model_error(at: int, value: int, end: int) -> None:
    altered = bytearray(CNN)
    altered[at] = value
    for content in (bytes(altered), CNN[:end]):
        with contextlib.suppress(ModelError):
            assert read_layers(content)


@settings(max_examples=40)
@given(st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_huge_offsets_give_layers_or_a_model_error(at: int, value: int) -> None:
    for place in (at, len(CNN) - 4 - at):
        content = CNN[:place] + value.to_bytes(4, "little") + CNN[place + 4 :]
        with contextlib.suppress(ModelError):
            assert read_layers(content)
