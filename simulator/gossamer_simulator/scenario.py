"""All settings of one simulation. The same scenario gives the same trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Final

import numpy as np

from gossamer_agent.errors import ConfigError
from gossamer_agent.learner import ANNEAL_ROUNDS_MAX, BATCH_MAX, STEPS_MAX, Training
from gossamer_agent.merge.rules import get_rule
from gossamer_agent.policy import Policy
from gossamer_agent.training.agreed import parse_names
from gossamer_agent.training.combining import COMBINES
from gossamer_agent.training.options import (
    CHECKS_MAX,
    FOLLOWS,
    MOMENTS,
    NOMINAL_STEPS_MAX,
    LocalOptions,
)
from gossamer_agent.training.schedules import SCHEDULES
from gossamer_agent.training.steppers import OPTIMISERS
from gossamer_simulator.attackers.schedule import PEERS_MAX, Scheduled
from gossamer_simulator.attackers.table import ROUNDS_MAX, check_attack
from gossamer_simulator.churn import CHURN_MAX
from gossamer_simulator.partitions import check_spec
from gossamer_simulator.resting import NO_BUDGETS, OUTAGES_MAX, check_budgets, check_hours
from gossamer_transport.codec import Codec
from gossamer_transport.errors import CodecError

RANGES: Final[dict[str, tuple[float, float]]] = {
    "peers": (1, PEERS_MAX),
    "rounds": (1, ROUNDS_MAX),
    "view": (1, 1024),
    "local_steps": (1, STEPS_MAX),
    "batch": (1, BATCH_MAX),
    "byzantine": (0.0, 1.0),
    "loss": (0.0, 0.9),
    "duplicate": (0.0, 0.9),
    "churn": (0.0, CHURN_MAX),
    "interval": (0.1, 1440.0),
    "outages": (0.0, OUTAGES_MAX),
    "heat": (0.0, 1.0),
    "latency_ms": (0.0, 60_000.0),
    "lr": (1e-6, 100.0),
    "momentum": (0.0, 0.99),
    "anneal_rounds": (0, ANNEAL_ROUNDS_MAX),
    "weight_decay": (0.0, 10.0),
    "gradient_clip": (0.0, 1e6),
    "proximal": (0.0, 1000.0),
    "combine_rate": (1e-6, 100.0),
    "combine_t": (1e-9, 100.0),
    "nominal_steps": (0, NOMINAL_STEPS_MAX),
    "personal_steps": (0, STEPS_MAX),
    "ditto": (0.0, 1000.0),
    "early_stop": (0, CHECKS_MAX),
    "stale_rounds": (1, 1024),
    "steps_spread": (1.0, 100.0),
    "seed": (0, 2**63 - 1),
}
"""The numbers among the settings, and from where to where each may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One simulated swarm. byzantine, loss, duplicate, churn: shares of 1; latency_ms: one way;
    steps_spread: peers make from 1/S to S times `local_steps`; personal: names with commas.

    interval: minutes of the devices' lives from round to round; hours, outages, heat, budgets: when
    they rest (`resting`). schedule: attackers beside the `byzantine` ones, each of which lies for
    some rounds only.
    """

    peers: int = 50
    rounds: int = 40
    byzantine: float = 0.0
    attack: str = "mix"
    data: str = "digits"
    partition: str = "dirichlet:0.5"
    model: str = "mlp"
    rule: str = "gossamer"
    codec: str = "sign1"
    view: int = 8
    local_steps: int = 8
    batch: int = 16
    lr: float = 0.3
    momentum: float = 0.5
    optimiser: str = "sgd"
    moments: str = "reset"
    lr_schedule: str = "constant"
    anneal_rounds: int = 0
    weight_decay: float = 0.0
    gradient_clip: float = 0.0
    proximal: float = 0.0
    combine: str = "replace"
    combine_rate: float = 0.03
    combine_t: float = 0.001
    nominal_steps: int = 0
    personal: str = ""
    personal_steps: int = 0
    ditto: float = 0.0
    early_stop: int = 0
    follow: str = "random"
    stale_rounds: int = 4
    steps_spread: float = 1.0
    loss: float = 0.01
    duplicate: float = 0.01
    latency_ms: float = 50.0
    churn: float = 0.0
    interval: float = 1.0
    hours: str = ""
    outages: float = 0.0
    heat: float = 0.0
    budgets: str = NO_BUDGETS
    profile: str = "mixed"
    seed: int = 0
    schedule: tuple[Scheduled, ...] = ()

    def check(self) -> None:
        """ConfigError, one line, for the first setting that cannot be simulated."""
        for spec in fields(self):
            check_setting(spec.name, getattr(self, spec.name))
        if self.attackers >= self.peers:
            others = " and the scheduled attackers" if self.schedule else ""
            raise ConfigError(
                f"--byzantine {self.byzantine:g} of {self.peers} peers{others} "
                f"leaves no honest peer"
            )

    @property
    def attackers(self) -> int:
        """How many peers are not honest in some round."""
        scheduled = sum(window.count(self.peers) for window in self.schedule)
        return self.constant_attackers + scheduled

    @property
    def constant_attackers(self) -> int:
        """How many attack by `attack`, from the first round to the last."""
        return round(self.byzantine * self.peers)

    @property
    def policy(self) -> Policy:
        return Policy(
            rule=self.rule,
            codec=Codec.parse(self.codec),
            view_size=self.view,
            stale_rounds=self.stale_rounds,
            nominal_steps=self.nominal_steps,
            personal=parse_names(self.personal),
        )

    @property
    def training(self) -> Training:
        return Training(
            steps=self.local_steps,
            batch=self.batch,
            learning_rate=self.lr,
            momentum=self.momentum,
            optimiser=self.optimiser,
            schedule=self.lr_schedule,
            anneal_rounds=self.anneal_rounds or self.rounds,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            proximal=self.proximal,
        )

    def training_of(self, index: int) -> Training:
        """Those of one peer, with its own number of steps where these differ: log-uniform."""
        settings, spread = self.training, self.steps_spread
        if spread == 1.0:
            return settings
        chance = np.random.default_rng([self.seed, int.from_bytes(b"local steps"), index])
        steps = round(settings.steps * spread ** chance.uniform(-1.0, 1.0))
        return replace(settings, steps=min(max(steps, 1), STEPS_MAX))

    @property
    def options(self) -> LocalOptions:
        return LocalOptions(
            moments=self.moments,
            combine=self.combine,
            combine_rate=self.combine_rate,
            combine_t=self.combine_t,
            nominal_steps=self.nominal_steps,
            early_stop=self.early_stop,
            follow=self.follow,
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know although the simulation runs."""
        lines = []
        if 2 * self.attackers >= self.peers:
            lines.append(
                f"{self.attackers} of {self.peers} peers are Byzantine: "
                "no rule can protect a swarm without an honest majority"
            )
        if self.byzantine > 0 and self.constant_attackers == 0:
            lines.append(f"{self.byzantine:g} of {self.peers} peers rounds to none: nobody attacks")
        for number, window in enumerate(self.schedule, start=1):
            table = f"[[attack]] {number}, {window.name}"
            if window.count(self.peers) == 0:
                told = f"{window.share:g} of {self.peers} peers rounds to none"
                lines.append(f"{table}: {told}: nobody attacks")
            elif window.from_round > self.rounds:
                told = f"begins in round {window.from_round} of {self.rounds}"
                lines.append(f"{table}: {told}: nobody attacks")
        quorum, replicas = self.policy.quorum, 1 + min(self.view, self.peers - 1)
        if replicas < quorum:
            lines.append(
                f"nobody merges: that takes {quorum} replicas with the own one, "
                f"and here a peer has {replicas} at most; use more --peers or --view"
            )
        return tuple(lines)

    @property
    def rests(self) -> bool:
        """Whether honest devices have anything that makes them rest."""
        return bool(self.hours) or self.heat > 0 or self.budgets != NO_BUDGETS or self.outages > 0

    def with_rule(self, rule: str) -> Scenario:
        return replace(self, rule=rule)


def option_name(setting: str) -> str:
    """What a setting is called on the command line and in a scenario file."""
    return "latency" if setting == "latency_ms" else setting.replace("_", "-")


def check_setting(name: str, value: object) -> None:
    """ConfigError, one line, if this setting of a `Scenario` cannot be simulated by itself."""
    if name in RANGES:
        low, high = RANGES[name]
        assert isinstance(value, int | float)
        if not low <= value <= high:
            option = f"--{option_name(name)} {value:g}"
            raise ConfigError(f"{option} is out of range; it must be {low:g} to {high:g}")
    elif isinstance(value, str) and name in _CHECKS:
        _CHECKS[name](value)


def _check_codec(codec: str) -> None:
    try:
        Codec.parse(codec)
    except (CodecError, ValueError) as error:
        choices = ", ".join(codec.name.lower() for codec in Codec)
        raise ConfigError(f"unknown codec {codec!r}; choose from {choices}") from error


def _check_word(option: str, known: tuple[str, ...], word: str) -> None:
    if word not in known:
        raise ConfigError(f"--{option} {word!r:.40} is not known; choose from {', '.join(known)}")


_CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "rule": get_rule,
    "codec": _check_codec,
    "attack": check_attack,
    "partition": check_spec,
    "personal": parse_names,
    "optimiser": partial(_check_word, "optimiser", OPTIMISERS),
    "lr_schedule": partial(_check_word, "lr-schedule", SCHEDULES),
    "moments": partial(_check_word, "moments", MOMENTS),
    "combine": partial(_check_word, "combine", COMBINES),
    "follow": partial(_check_word, "follow", FOLLOWS),
    "hours": check_hours,
    "budgets": check_budgets,
}
