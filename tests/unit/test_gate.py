"""The gate refuses catastrophes, and only these."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gossamer_agent.gate import HoldoutGate, Verdict, one_sidedness
from gossamer_agent.learner import Score

GUESSING = math.log(10)


def decide(
    current: float,
    candidate: float,
    *,
    classes: int = 10,
    samples: int = 20,
    gate: HoldoutGate | None = None,
    refused: int = 0,
    one_sided: float | None = None,
) -> Verdict:
    before, after = (Score(loss, 0.5, samples) for loss in (current, candidate))
    gate = gate or HoldoutGate()
    return gate.decide(before, after, classes, refused=refused, one_sided=one_sided)


@pytest.mark.parametrize("candidate", [0.0, 0.1, GUESSING, 1.5 * GUESSING])
def test_a_skewed_holdout_does_not_refuse_honest_merges(candidate: float) -> None:
    """Parameters that fit two own classes have hardly any loss; those of the swarm have more."""
    assert decide(0.01, candidate).commit


def test_far_worse_than_guessing_is_catastrophic() -> None:
    verdict = decide(0.5, 1.5 * GUESSING + 1e-9)
    assert not verdict.commit
    assert "3.454" in verdict.why
    assert not decide(0.5, 1.5 * GUESSING, classes=9).commit


def test_a_better_candidate_passes_however_bad_it_is() -> None:
    assert decide(50.0, 49.9).commit
    assert decide(50.0, 50.0).commit
    assert not decide(50.0, 50.1).commit


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("samples", [1, 20])
def test_a_candidate_without_finite_loss_never_passes(loss: float, samples: int) -> None:
    assert not decide(0.5, loss, samples=samples).commit
    assert not decide(math.nan, loss, samples=samples).commit


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_anything_finite_beats_broken_parameters(loss: float) -> None:
    assert decide(loss, 50.0).commit


def test_a_handful_of_samples_cannot_lock_a_device_out() -> None:
    enough = HoldoutGate().samples_min
    assert decide(0.1, 9.0, samples=enough - 1).commit
    assert not decide(0.1, 9.0, samples=enough).commit


def test_a_stricter_gate() -> None:
    gate = HoldoutGate(guessing_share=1.0)
    assert decide(0.1, GUESSING, gate=gate).commit
    assert not decide(0.1, GUESSING + 1e-9, gate=gate).commit


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="classes"):
        decide(1.0, 1.0, classes=1)
    for share in (0.9, math.nan, math.inf):
        with pytest.raises(ValueError, match="guessing_share"):
            HoldoutGate(guessing_share=share)


def test_who_refuses_everything_tries_one_in_the_end() -> None:
    patience = HoldoutGate().patience
    assert not decide(0.1, 9.0, refused=patience - 1).commit
    verdict = decide(0.1, 9.0, refused=patience)
    assert verdict.commit
    assert "trial" in verdict.why
    assert not decide(0.1, math.inf, refused=patience).commit


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0] * 8, 1.0),
        ([0, 1] * 4, 0.0),
        ([0] * 3 + [1] * 8, 25 / 121),  # (73/121 - 1/2) / (1/2)
    ],
)
def test_how_one_sided_labels_are(labels: list[int], expected: float) -> None:
    assert one_sidedness(np.array(labels, np.int32), 2) == pytest.approx(expected)


def test_targets_of_a_regression_have_no_side() -> None:
    assert one_sidedness(np.zeros((4, 1), np.float32), 1) is None
    assert one_sidedness(np.zeros(4, np.int32), 1) is None
    assert one_sidedness(np.zeros(0, np.int32), 2) == 0.0


def test_a_holdout_of_one_class_may_be_missed_by_a_swarm_that_hardly_met_it() -> None:
    """A phone with spam only, among phones with hardly any: -ln of a share of 7 % is 2.7 nats."""
    rare = -math.log(0.07)
    assert not decide(0.1, rare, classes=2, samples=8).commit
    assert decide(0.1, rare, classes=2, samples=8, one_sided=1.0).commit
    assert not decide(0.1, rare, classes=2, samples=1000, one_sided=0.0).commit
    assert decide(0.5, 1.3, classes=2, samples=11, one_sided=0.0).commit  # 11 rows tell little


@pytest.mark.parametrize("one_sided", [0.0, 1.0])
def test_poison_costs_more_than_any_holdout_excuses(one_sided: float) -> None:
    """What sign flipping did to the one device that it captured: 22 nats."""
    assert not decide(0.5, 22.0, samples=3, one_sided=one_sided).commit
    assert not decide(0.5, 8.0, samples=3, one_sided=one_sided).commit


def test_a_score_in_units_of_its_own_gets_no_nats() -> None:
    before, after = (Score(loss, 0.0, 4, blind=1.0) for loss in (0.5, 1.6))
    assert not HoldoutGate().decide(before, after, 1, one_sided=1.0).commit
