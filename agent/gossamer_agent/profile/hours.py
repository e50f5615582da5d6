"""Hours of the day as a profile writes them: "22:00-06:00", local time, across midnight too."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MINUTES_A_DAY: Final = 24 * 60
_HOURS: Final = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


def minutes_of(hours: str) -> tuple[int, int]:
    """First minute of the day and the one after the last, as in (1320, 360) for "22:00-06:00".

    The second is 1440 for "24:00", and smaller than the first across midnight. Raises ValueError,
    whose message follows the text: "'9-17' is no ...".
    """
    found = _HOURS.fullmatch(hours)
    if found is None:
        raise ValueError(f'{hours!r:.40} is no span of hours such as "22:00-06:00"')
    from_hour, from_minute, to_hour, to_minute = map(int, found.groups())
    begin, end = 60 * from_hour + from_minute, 60 * to_hour + to_minute
    if from_minute > 59 or to_minute > 59 or begin >= MINUTES_A_DAY or end > MINUTES_A_DAY:
        raise ValueError(f"{hours!r} is no span of hours: from 00:00-... to ...-24:00")
    if begin == end:
        raise ValueError(f"{hours!r} is an empty span; leave the list empty for the whole day")
    return begin, end


def in_hours(hours: Iterable[str], minute: float) -> bool:
    """Whether `minute` of the day, 0 <= minute < 1440, lies in one of the spans; always if none."""
    spans = [minutes_of(text) for text in hours]
    return not spans or any(
        begin <= minute < end if begin < end else minute >= begin or minute < end
        for begin, end in spans
    )
