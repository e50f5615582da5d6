"""Normalised local steps: a device that makes more of them does not pull harder.

FedNova (Wang et al., Tackling the Objective Inconsistency Problem, 2020) has a server that divides
each client's change by its number of steps tau_j, averages, and multiplies by an effective number:

    d_j = (x_j before - x_j after) / tau_j;    m' = m - tau_eff * sum_j p_j d_j

Here nobody sends a tau_j: it would be a claim, and a liar's to make. The policy of the swarm names
the nominal steps instead, and each device scales its own change to them before it publishes:

    x_j = x_j before + (x_j after - x_j before) * tau_nominal / tau_j

For a rule that averages, equal weights p_j and a common start this is FedNova with tau_eff =
tau_nominal; where all make as many steps as is nominal it is FedAvg, bit for bit. A device that
lies about its steps sends what it could send anyway, and meets the same merge.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer_agent.learner import Vector

SCALE_MAX: Final = 8.0
"""A change is enlarged so many times at most: one batch, made as long as many, is mostly noise."""


def effective_steps(steps: int, momentum: float) -> float:
    """tau of `steps` >= 1 steps: with momentum rho (t - rho (1 - rho^t) / (1 - rho)) / (1 - rho).

    Later steps repeat earlier gradients, so t steps with momentum move as far as more without;
    with momentum 0 it is t. The optimiser starts at rest (section 4.1 and appendix of the paper);
    that one with kept moments moves further is not counted.
    """
    if momentum == 0.0:
        return float(steps)
    rest = 1.0 - momentum
    return (steps - momentum * (1.0 - momentum**steps) / rest) / rest


def normalised(before: Vector, after: Vector, tau: float, nominal: float) -> Vector:
    """`after` with its change from `before` scaled to `nominal` steps; float32 [P].

    With tau equal to nominal it is `after` itself.
    """
    scale = min(nominal / tau, SCALE_MAX)
    if scale == 1.0:
        return after
    scaled: Vector = before + (after - before) * np.float32(scale)
    return scaled
