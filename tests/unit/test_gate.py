"""The gate refuses catastrophes, and only these."""

from __future__ import annotations

import math

import pytest

from gossamer_agent.gate import HoldoutGate, Verdict
from gossamer_agent.learner import Score


def decide(
    current: float,
    candidate: float,
    *,
    classes: int = 10,
    samples: int = 20,
    gate: HoldoutGate | None = None,
) -> Verdict:
    scores = (Score(loss, 0.5, samples) for loss in (current, candidate))
    return (gate or HoldoutGate()).decide(*scores, classes)


@pytest.mark.parametrize("candidate", [0.1, 0.5, 1.6])
def test_better_and_somewhat_worse_candidates_pass(candidate: float) -> None:
    assert decide(0.5, candidate).commit


def test_the_margin_is_half_the_loss_of_guessing() -> None:
    margin = 0.5 * math.log(10)
    assert decide(0.0, margin).commit
    verdict = decide(0.0, margin + 1e-9)
    assert not verdict.commit
    assert "1.151" in verdict.why
    assert not decide(0.0, margin, classes=9).commit


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("samples", [1, 20])
def test_a_candidate_without_finite_loss_never_passes(loss: float, samples: int) -> None:
    assert not decide(0.5, loss, samples=samples).commit
    assert not decide(math.nan, loss, samples=samples).commit


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_anything_finite_beats_broken_parameters(loss: float) -> None:
    assert decide(loss, 50.0).commit


def test_a_handful_of_samples_cannot_lock_a_device_out() -> None:
    assert decide(0.1, 9.0, samples=4).commit
    assert not decide(0.1, 9.0, samples=5).commit


def test_a_gate_without_margin_refuses_any_loss() -> None:
    gate = HoldoutGate(margin_share=0.0)
    assert decide(1.0, 1.0, gate=gate).commit
    assert not decide(1.0, 1.0001, gate=gate).commit


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="classes"):
        decide(1.0, 1.0, classes=1)
    for share in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="margin_share"):
            HoldoutGate(margin_share=share)
