"""The budgets as one row of the state store, so that a restart neither grants nor takes a day."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from gossamer_agent.errors import StoreError
from gossamer_agent.pauses.bucket import DAY_S
from gossamer_agent.pauses.governor import Spent

SPACE: Final = "budgets"
KEY: Final = b"spent"
ROW_BYTES_MAX: Final = 1024

_Bytes = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
_Time = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    saved_at: _Time  # seconds since 1970
    network_level: _Bytes
    flash_level: _Bytes
    network_paused: bool
    flash_paused: bool


def pack_spent(spent: Spent, wall_s: float) -> bytes:
    """The row. wall_s: seconds since 1970, because the next run has another monotonic clock."""
    row = _Row(
        format=1,
        saved_at=min(max(wall_s, 0.0), 1e12),
        network_level=spent.network_level,
        flash_level=spent.flash_level,
        network_paused=spent.network_paused,
        flash_paused=spent.flash_paused,
    )
    return msgspec.json.encode(row)


def parse_spent(raw: bytes, wall_s: float) -> tuple[Spent, float]:
    """What the last run left, and the seconds since then: 0 where the clock went back, a day at
    most. Raises StoreError.
    """
    if len(raw) > ROW_BYTES_MAX:
        raise StoreError("the row of the budgets is damaged: too long")
    try:
        row = msgspec.json.decode(raw, type=_Row)
    except ValueError as error:
        raise StoreError(f"the row of the budgets is damaged: {error}") from None
    spent = Spent(
        network_level=row.network_level,
        flash_level=row.flash_level,
        network_paused=row.network_paused,
        flash_paused=row.flash_paused,
    )
    return spent, min(max(wall_s - row.saved_at, 0.0), DAY_S)
