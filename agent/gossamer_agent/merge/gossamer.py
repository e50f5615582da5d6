"""The default rule: who is like whom, who stands apart, who pulls back; then a guarded mean.

Theory of operation. All judgement comes from one exact Gram matrix (`exact.py`) of the differences
of the inputs to their plain coordinate-wise median, and costs K x K scalars:

1. *Share by distance*: near copies have one vote together (`sharing.py`).
2. *Stand apart*: the ball around an input that holds most of the votes is small for all of a
   majority that agrees. Whose ball is more than three times the smallest one has no vote.
3. *Progress*: who lies behind in the direction learnt since genesis loses votes (`progress.py`).
4. *Share by direction*: inputs that pull the same way have one vote together, noise or not.
5. *Bounds*: newcomers, and the subtree of an inviter, hold at most a third (`caps.py`).

The vectors are passed over once more, for the mean by votes of values that were drawn to where most
inputs agree (`winsorised.py`). The own input keeps a vote whatever happens. Scalars are exact, the
rest is elementwise float32: the result has the same bits on every CPU.

Sources: the design, section 8a; docs/adr/0009 tells what was tried and measured. The ball is
Krum's, Blanchard et al. 2017; sharing by direction follows FoolsGold, Fung et al. 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

from gossamer_agent.merge.balls import squared_balls
from gossamer_agent.merge.caps import cap_votes
from gossamer_agent.merge.copies import distinct
from gossamer_agent.merge.exact import Scalars, exact_gram, peak_of
from gossamer_agent.merge.kernels import Rows, Vector, check_rows, coordinate_median
from gossamer_agent.merge.progress import kept_by_progress
from gossamer_agent.merge.result import ONE_VOTE, Merged
from gossamer_agent.merge.setting import Setting
from gossamer_agent.merge.sharing import share_by_direction, share_by_distance
from gossamer_agent.merge.winsorised import winsorised_mean

Along: TypeAlias = Scalars | None

APART: Final = 3.0
"""Whose ball is larger than so many times the smallest one has no vote."""


def gossamer(rows: Rows, setting: Setting) -> Merged:
    """Merge K >= 1 finite rows float32[P].

    In the result `distances` are the radii of the balls around the inputs that hold most of the
    votes, and `radius` is the smallest of them; `clip` is the share of an input's values that
    counted in full. Raises ValueError for no rows or rows of unlike shape.
    """
    rows = check_rows(rows)
    different = distinct(rows, setting)
    if len(different.kept) < len(rows):
        kept = [rows[index] for index in different.kept]
        return different.widened(_merged(kept, different.setting(setting)))
    return _merged(rows, setting)


def _merged(rows: Sequence[Vector], setting: Setting) -> Merged:
    """Merge rows of which none equals another."""
    inner, squares, along, progress = _geometry(rows, setting.initial)
    votes = share_by_distance(squares, np.diagonal(inner))
    balls = squared_balls(squares, votes)
    kept = _within_reach(balls, setting.own)
    if along is not None:
        kept *= kept_by_progress(along, votes * (kept > 0.0), setting.own)
    votes = np.rint(votes * kept).astype(np.int64)
    whole = np.rint(kept * ONE_VOTE).astype(np.int64)
    votes = cap_votes(share_by_direction(inner, votes, whole), setting.groups)
    vector, clip = winsorised_mean(rows, votes)
    distances = np.sqrt(balls)
    return Merged(vector, votes, clip, distances, float(distances.min()), progress=progress)


def _geometry(
    rows: Sequence[Vector], initial: Vector | None
) -> tuple[Scalars, Scalars, Along, float]:
    """Products of the differences to the median [K, K], squared distances [K, K], progress [K], and
    how far the median is from genesis, 0 for unknown.
    """
    count = len(rows)
    peaks = np.empty(count, np.float32)
    centre = coordinate_median(rows, peaks=peaks)
    if initial is None:
        gram = exact_gram(rows, centre, peaks=peaks)
        return gram.inner(), gram.squared_distances(), None, 0.0
    # Seen from the median, what all started from lies straight behind.
    peaks = np.append(peaks, peak_of(initial, centre))
    gram = exact_gram([*rows, initial], centre, peaks=peaks)
    inner, squares = gram.inner(), gram.squared_distances()
    progress = float(np.sqrt(inner[count, count]))
    return inner[:count, :count], squares[:count, :count], -inner[:count, count], progress


def _within_reach(balls: Scalars, own: int) -> Scalars:
    """1 for an input that does not stand apart, else 0, [K]; without a scale nobody does."""
    smallest = balls.min()
    apart = (balls > APART * APART * smallest) & (smallest > 0.0)
    apart[own] = False
    return np.where(apart, 0.0, 1.0)
