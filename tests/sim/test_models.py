"""A shipped model learns in a swarm what it learns alone; the others: make models."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scripts.model_parity import MARGIN, TRIALS, alone, swarm


@pytest.mark.slow
def test_a_swarm_of_twenty_is_within_a_point_of_numpy_with_the_same_steps() -> None:
    trial = replace(TRIALS["mlp"], rounds=30)
    assert swarm("mlp", trial, "digits") >= alone("mlp", trial, "digits") - MARGIN
