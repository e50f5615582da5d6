"""How a device learns, beyond the settings of one call of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gossamer_agent.errors import ConfigError
from gossamer_agent.training.combining import COMBINES, REPLACE

RESET: Final = "reset"
KEEP: Final = "keep"
MOMENTS: Final = (RESET, KEEP)

RANDOM: Final = "random"
USEFUL: Final = "useful"
FOLLOWS: Final = (RANDOM, USEFUL)

CHECKS_MAX: Final = 100
NOMINAL_STEPS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """The defaults change nothing. Raises ConfigError for values out of range.

    moments: whether the optimiser starts at rest in each round ("reset") or goes on ("keep").
    combine: what becomes of a merge, see `training.combining`, with its rate and t. nominal_steps:
    the policy's, see `training.nova`; 0 for none. early_stop: how often the hold-out data are asked
    in a round, see `training.local`; 0 for never. follow: which peers keep their slots, the ones of
    good standing ("random": otherwise chance decides) or those whose replicas helped ("useful").
    """

    moments: str = RESET
    combine: str = REPLACE
    combine_rate: float = 0.03
    combine_t: float = 0.001
    nominal_steps: int = 0
    early_stop: int = 0
    follow: str = RANDOM

    def __post_init__(self) -> None:
        for name, word, known in (
            ("moments", self.moments, MOMENTS),
            ("combine", self.combine, COMBINES),
            ("follow", self.follow, FOLLOWS),
        ):
            if word not in known:
                raise ConfigError(f"{name} must be {' or '.join(known)}, not {word!r}")
        for name, value in (("combine_rate", self.combine_rate), ("combine_t", self.combine_t)):
            if not 1e-9 <= value <= 100:
                raise ConfigError(f"{name} must be 1e-9..100, not {value}")
        for name, count, highest in (
            ("nominal_steps", self.nominal_steps, NOMINAL_STEPS_MAX),
            ("early_stop", self.early_stop, CHECKS_MAX),
        ):
            if not 0 <= count <= highest:
                raise ConfigError(f"{name} must be 0..{highest}, not {count}")
