"""When a device learns and when it rests: budgets of bytes and flash, heat, memory, power, hours.

Theory of operation. `Sensors` (the only part that touches the machine) takes `Readings` in a
millisecond; the pure `Governor` turns them into `Permissions`, with hysteresis, and keeps the token
buckets; the pure `Pacer` turns permissions into the events that the core gets at a tick of the
rounds' timer. Agents and the simulator use the same governor and pacer, in real and virtual time.

What pauses: docs/budgets.md. This is not the place where memory or threads are limited.
"""

from gossamer_agent.pauses.bucket import TokenBucket
from gossamer_agent.pauses.governor import Governor, Left, Readings
from gossamer_agent.pauses.limits import DeviceLimits, effective_limits
from gossamer_agent.pauses.pacing import Pacer
from gossamer_agent.pauses.permissions import ALWAYS, Pause, PauseKind, Permissions

__all__ = [
    "ALWAYS",
    "DeviceLimits",
    "Governor",
    "Left",
    "Pacer",
    "Pause",
    "PauseKind",
    "Permissions",
    "Readings",
    "TokenBucket",
    "effective_limits",
]
