"""The fixed hold-out part: which samples are never trained on.

A sample belongs there by a keyed hash of its own bytes, so it does at every start, in whatever
file or order it comes, and its copies do too. The key is the device's own: whoever supplies data
cannot choose where it goes.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import numpy as np
import numpy.typing as npt

from gossamer_agent.data.arrays import HOLDOUT_SHARE
from gossamer_agent.learner import Samples
from gossamer_crypto.labels import HOLDOUT

DIGEST_BYTES: Final = 16
_LIMIT: Final = round(HOLDOUT_SHARE * 2**32)


def holdout_key(seed: bytes) -> bytes:
    """The device's key, 32 bytes, from the seed of its identity."""
    return hmac.digest(seed, HOLDOUT, "sha256")


def digests(samples: Samples, key: bytes) -> list[bytes]:
    """A keyed hash of each sample, 16 bytes: equal for equal values and label."""
    x = np.ascontiguousarray(samples.x, "<f4")
    y = np.ascontiguousarray(samples.y, "<f4" if samples.y.dtype.kind == "f" else "<i4")
    return [
        hashlib.blake2b(
            row.tobytes() + target.tobytes(), digest_size=DIGEST_BYTES, key=key
        ).digest()
        for row, target in zip(x, y, strict=True)
    ]


def is_held(digest: bytes) -> bool:
    """Whether the sample of this digest belongs to the hold-out part: one in ten does."""
    return int.from_bytes(digest[:4], "big") < _LIMIT


def split_by_hash(samples: Samples, key: bytes) -> tuple[Samples, Samples]:
    """Training and hold-out samples, at least one of each; >= 2 samples.

    With few samples chance may leave one side empty; then the one nearest to it changes sides.
    """
    hashed = digests(samples, key)
    held: npt.NDArray[np.bool_] = np.array([is_held(digest) for digest in hashed])
    if held.all():
        held[max(range(len(hashed)), key=hashed.__getitem__)] = False
    elif not held.any():
        held[min(range(len(hashed)), key=hashed.__getitem__)] = True
    return samples.take(np.flatnonzero(~held)), samples.take(np.flatnonzero(held))
