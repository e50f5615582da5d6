"""Learners that bring their own data: what stands where the device's would.

Such a learner has `brings_data = True`. It looks at no `Samples` that it is given: it trains on
data of its own, and what it calls evaluation is the hold-out that the gate judges by.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gossamer_agent.learner import Learner, Samples

NO_DATA: Final = Samples(np.zeros((4, 1), np.float32), np.arange(4, dtype=np.int32) % 2)
"""Samples that nobody reads, enough of them for a hold-out part."""


def brings_data(learner: Learner) -> bool:
    """Whether the device's data are of no use to the learner."""
    return bool(getattr(learner, "brings_data", False))
