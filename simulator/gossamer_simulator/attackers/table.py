"""The attacks by name, and which attacker of a swarm makes which."""

from __future__ import annotations

from gossamer_agent.errors import ConfigError
from gossamer_simulator.attackers.cores import Forger, NonFiniteBomber, Replayer
from gossamer_simulator.attackers.vectors import VECTOR_ATTACKS

LABEL_FLIPPING = "label-flipping"
WIRE_ATTACKS = {"nan": NonFiniteBomber, "forge": Forger, "replay": Replayer}
MIX = ("sign-flipping", "alie", "gaussian", "nan", "replay", "forge")
ATTACKS = (*VECTOR_ATTACKS, LABEL_FLIPPING, *WIRE_ATTACKS, "mix")


def check_attack(name: str) -> None:
    if name not in ATTACKS:
        raise ConfigError(f"unknown attack {name!r}; choose from {', '.join(ATTACKS)}")


def assigned(name: str, attackers: int) -> list[str]:
    """The attack of each attacker: all the same, or those of the mix in turn."""
    return [MIX[i % len(MIX)] if name == "mix" else name for i in range(attackers)]
