"""All settings of one simulation. The same scenario gives the same trace."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossamer_agent.errors import ConfigError
from gossamer_agent.learner import BATCH_MAX, STEPS_MAX, Training
from gossamer_agent.merge.rules import RULES
from gossamer_agent.policy import Policy
from gossamer_simulator.attackers.table import check_attack
from gossamer_simulator.churn import CHURN_MAX
from gossamer_simulator.partitions import check_spec
from gossamer_transport.codec import Codec
from gossamer_transport.errors import CodecError

PEERS_MAX = 10_000
ROUNDS_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One simulated swarm. byzantine, loss, duplicate, churn: shares of 1; latency_ms: one way."""

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
    loss: float = 0.01
    duplicate: float = 0.01
    latency_ms: float = 50.0
    churn: float = 0.0
    profile: str = "mixed"
    seed: int = 0

    def check(self) -> None:
        """ConfigError, one line, for the first setting that cannot be simulated."""
        _within("peers", self.peers, 1, PEERS_MAX)
        _within("rounds", self.rounds, 1, ROUNDS_MAX)
        _within("view", self.view, 1, 1024)
        _within("local-steps", self.local_steps, 1, STEPS_MAX)
        _within("batch", self.batch, 1, BATCH_MAX)
        _within("byzantine", self.byzantine, 0.0, 1.0)
        _within("loss", self.loss, 0.0, 0.9)
        _within("duplicate", self.duplicate, 0.0, 0.9)
        _within("churn", self.churn, 0.0, CHURN_MAX)
        _within("latency", self.latency_ms, 0.0, 60_000.0)
        _within("lr", self.lr, 1e-6, 100.0)
        _within("momentum", self.momentum, 0.0, 0.99)
        _within("seed", self.seed, 0, 2**63 - 1)
        if self.attackers >= self.peers:
            raise ConfigError(
                f"--byzantine {self.byzantine:g} of {self.peers} peers leaves no honest peer"
            )
        if self.rule not in RULES:
            raise ConfigError(f"unknown rule {self.rule!r}; choose from {', '.join(sorted(RULES))}")
        try:
            Codec.parse(self.codec)
        except (CodecError, ValueError) as error:
            choices = ", ".join(codec.name.lower() for codec in Codec)
            raise ConfigError(f"unknown codec {self.codec!r}; choose from {choices}") from error
        check_attack(self.attack)
        check_spec(self.partition)

    @property
    def attackers(self) -> int:
        return round(self.byzantine * self.peers)

    @property
    def policy(self) -> Policy:
        return Policy(rule=self.rule, codec=Codec.parse(self.codec), view_size=self.view)

    @property
    def training(self) -> Training:
        return Training(
            steps=self.local_steps,
            batch=self.batch,
            learning_rate=self.lr,
            momentum=self.momentum,
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
        if self.byzantine > 0 and self.attackers == 0:
            lines.append(f"{self.byzantine:g} of {self.peers} peers rounds to none: nobody attacks")
        quorum, replicas = self.policy.quorum, 1 + min(self.view, self.peers - 1)
        if replicas < quorum:
            lines.append(
                f"nobody merges: that takes {quorum} replicas with the own one, "
                f"and here a peer has {replicas} at most; use more --peers or --view"
            )
        return tuple(lines)

    def with_rule(self, rule: str) -> Scenario:
        return replace(self, rule=rule)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"--{name} {value:g} is out of range; it must be {low:g} to {high:g}")
