"""Medians whose votes are weighted by what the receiver itself can measure.

    weighted-median:accuracy     by the loss of each input on the own hold-out data
    weighted-median:similarity   by how far each input pulls the way the own one does

    v_j = share_j * min(w_j, CAP * median_k w_k)

and the result is the weighted lower median of each coordinate: the smallest value at which the
votes of it and of all below reach half. share_j is the vote that near copies have together, as in
`gossamer`: colluders who copy us, or one good model, would otherwise score best. Groups are bounded
as there. No weight is taken from what a peer says of itself, such as its number of samples.

    accuracy     w_j = loss_median / loss_j       0 for a loss that is not finite
    similarity   w_j = (1 + cos(V_j - c, V_i - c)) / 2,   c the coordinate-wise median

A ratio of losses and a cosine are made of + - * / and square root alone and are the same on every
CPU; the softmax of the literature would need exp. The cosine is taken about the median of the
inputs, which an auditor has, not about the last merge; there inputs that have nothing in common
have a cosine near 0, and max(0, cos) would leave little but the own input.

Breakdown: as the median's with liars of CAP votes each, so a third of the inputs at worst. Weights
punish honest peers with unusual data; `gossamer` uses none.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer_agent.merge.caps import cap_votes
from gossamer_agent.merge.exact import Scalars, exact_gram
from gossamer_agent.merge.kernels import Rows, Votes, check_rows, coordinate_median
from gossamer_agent.merge.result import ONE_VOTE, Merged, voted
from gossamer_agent.merge.setting import Setting
from gossamer_agent.merge.sharing import share_by_distance
from gossamer_agent.merge.weighted import weighted_lower_median

CAP: Final = 2.0
"""No weight is above so many times the median weight, whatever it is made of."""
_LOSS_MIN: Final = 1e-9


def median_by_accuracy(rows: Rows, setting: Setting) -> Merged:
    """`losses` holds those of all rows. Without hold-out data all weigh the same."""
    rows = check_rows(rows)
    loss_of = setting.loss_of
    if loss_of is None:
        return _weighted(rows, setting, np.ones(len(rows)), None)
    losses = np.array([loss_of(row) for row in rows])
    finite = np.isfinite(losses)
    weights = np.zeros(len(rows))
    if finite.any():
        known = np.maximum(losses[finite], _LOSS_MIN)
        weights[finite] = _lower_median(known) / known
    return _weighted(rows, setting, weights, losses)


def median_by_similarity(rows: Rows, setting: Setting) -> Merged:
    """The own row weighs most."""
    rows = check_rows(rows)
    inner = exact_gram(rows, coordinate_median(rows)).inner()
    norms = np.sqrt(np.diagonal(inner))
    products = norms * norms[setting.own]
    cosines = np.divide(inner[setting.own], products, out=np.zeros(len(rows)), where=products > 0.0)
    cosines[setting.own] = 1.0
    return _weighted(rows, setting, (1.0 + np.clip(cosines, -1.0, 1.0)) / 2.0, None)


def capped(weights: Scalars) -> Scalars:
    """Weights float64[K] >= 0, none above CAP times the lower median of those above 0."""
    positive = weights[weights > 0.0]
    if not positive.size:
        return weights
    return np.minimum(weights, CAP * _lower_median(positive))


def votes_by(shared: Votes, weights: Scalars) -> Votes:
    """Votes int64[K]: the shared ones times the capped weights, these scaled to a median of 1.

    Where nothing would be left, the shared ones.
    """
    positive = weights[weights > 0.0]
    if not positive.size:
        return shared
    scaled = capped(weights) / _lower_median(positive)
    votes = np.rint(shared * scaled).astype(np.int64)
    return votes if votes.any() else shared


def _weighted(rows: Rows, setting: Setting, weights: Scalars, losses: Scalars | None) -> Merged:
    gram = exact_gram(rows, coordinate_median(rows))
    shared = share_by_distance(gram.squared_distances(), np.diagonal(gram.inner()))
    votes = cap_votes(votes_by(shared, weights), setting.groups)
    clip = votes / (CAP * ONE_VOTE)  # against the heaviest that there can be
    return voted(weighted_lower_median(rows, votes), rows, votes, clip=clip, losses=losses)


def _lower_median(values: Scalars) -> float:
    return float(np.sort(values)[(values.size - 1) // 2])
