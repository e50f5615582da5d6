"""Which samples of a full reservoir go: the oldest, or the oldest of the classes with most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NEWEST: Final = "newest"
BALANCED: Final = "class-balanced"
RETENTIONS: Final = (NEWEST, BALANCED)


def quotas(counts: Mapping[int, int], keep: int) -> dict[int, int]:
    """How many of each class stay when `keep` may: as equal as they can be, the rest untouched.

    The sum is min(keep, all). Where it does not divide, lower classes get one more.
    """
    left, kept = keep, dict.fromkeys(counts, 0)
    open_classes = sorted(counts, key=lambda label: (counts[label], label))
    while open_classes:
        # The smallest class first: what it does not use is for the others.
        label = open_classes[0]
        share = left // len(open_classes)
        if counts[label] <= share:
            kept[label] = counts[label]
            left -= counts[label]
            open_classes.pop(0)
            continue
        extra = left - share * len(open_classes)
        for place, other in enumerate(sorted(open_classes)):
            kept[other] = min(share + (place < extra), counts[other])
        break
    return kept
