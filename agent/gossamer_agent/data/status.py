"""What the status of a running agent says of its data. Light: `gossamer status` imports it."""

from __future__ import annotations

import msgspec


class DataStatus(msgspec.Struct, kw_only=True):
    """The data of a running agent, for its status.

    training, held: samples that are trained on, held out; of these `reservoir` arrived at run time.
    taken, duplicates, refused: samples since the start; a file that was refused counts as one.
    drift: the largest population stability index of a feature over the newest `inputs` inputs, None
    before they suffice; drifted: how many features are above `drift_threshold`; drift_feature: the
    one with the largest.
    """

    training: int
    held: int
    reservoir: int
    rows_max: int
    taken: int
    duplicates: int
    refused: int
    inputs: int
    drift: float | None
    drift_threshold: float
    drifted: int
    drift_feature: str | None
