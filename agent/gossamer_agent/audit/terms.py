"""What a swarm agreed on, as its logs tell: the genesis, and the model that the genesis pins."""

from __future__ import annotations

from dataclasses import dataclass

from gossamer_agent.contract import Contract
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Learner, Vector
from gossamer_agent.models import load_learner, model_by_sha256
from gossamer_agent.policy import Policy
from gossamer_agent.training.agreed import agreed_learner
from gossamer_crypto.genesis import Genesis
from gossamer_transport.replica import Replica


@dataclass(frozen=True, slots=True)
class Terms:
    """initial: float32[P], the canonical vector from which every replica of the swarm starts.

    given: the same as the model has it, which merge rules are given; it differs in signs of zeros
    and in what is as good as zero, if at all.
    """

    genesis: Genesis
    policy: Policy
    learner: Learner
    initial: Vector
    given: Vector

    @property
    def contract(self) -> Contract:
        return self.learner.contract

    def replica(self, vector: Vector | None = None) -> Replica:
        """A replica at `vector`, which is canonical; without it, as new followers begin.

        Raises ValueError where the vector is not finite or out of bounds.
        """
        start = self.initial if vector is None else vector
        return Replica(start, self.policy.codec, self.contract.bound)


def terms_of(genesis: Genesis, model: str | None = None) -> Terms:
    """The terms of a swarm. model: a reference for `load_learner`, where it is no shipped one.

    Raises ModelError where the model is not the one that the genesis pins, or is not at hand.
    """
    pinned = genesis.model_sha256
    reference = model_by_sha256(pinned) if model is None else model
    if reference is None:
        raise ModelError(
            f"the model of swarm {genesis.name!r} is none that comes with gossamer; name its file:"
            f" --model FILE (its SHA-256 is {pinned.hex()})"
        )
    policy = Policy.unpack(genesis.policy)
    learner = load_learner(reference)
    if learner.model_sha256 == pinned:
        learner = agreed_learner(learner, reference, policy.personal)
    if learner.model_sha256 != pinned or learner.contract.digest() != genesis.contract:
        raise ModelError(
            f"model {reference!r} is not the one of swarm {genesis.name!r}, whose SHA-256 is"
            f" {pinned.hex()}"
        )
    given = learner.init()
    vector = Replica(given, policy.codec, learner.contract.bound).vector
    return Terms(genesis, policy, learner, vector, given)
