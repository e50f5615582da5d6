"""The walk over a .tflite file before a runtime sees it."""

from __future__ import annotations

import importlib.resources

import numpy as np
import pytest

from gossamer_agent.errors import ModelError
from gossamer_agent.models import model_content, shipped_models
from gossamer_agent.tflite_file import check_file

GOOD = (importlib.resources.files("gossamer_profiles") / "models" / "softmax.tflite").read_bytes()


@pytest.mark.parametrize("name", shipped_models())
def test_what_ships_is_whole(name: str) -> None:
    check_file(model_content(name))


def test_no_part_of_a_file_is_the_file() -> None:
    for size in range(0, len(GOOD), 97):
        with pytest.raises(ModelError, match="the file is damaged"):
            check_file(GOOD[:size])


def test_damage_is_refused_or_harmless_and_never_another_error() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        content = bytearray(GOOD)
        at = int(rng.integers(8, len(GOOD) - 4))
        content[at : at + 4] = rng.bytes(4)
        try:
            check_file(bytes(content))
        except ModelError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 30  # most bytes are weights and names
