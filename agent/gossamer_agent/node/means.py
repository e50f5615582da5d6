"""What one device learns with: its model, its data and its settings, checked against the swarm's
terms before anything is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer_agent.data import DeviceData, load_device_data
from gossamer_agent.data.gathering import gather_intake, layout_of
from gossamer_agent.data.intake import Intake
from gossamer_agent.device.folder import Device
from gossamer_agent.errors import ModelError
from gossamer_agent.learner import Learner, Samples, Vector
from gossamer_agent.learners.own_data import NO_DATA, brings_data
from gossamer_agent.learning import LocalLearning
from gossamer_agent.models import load_learner
from gossamer_agent.node.capacity import bounded_training, bounded_view
from gossamer_agent.pauses.limits import DeviceLimits, effective_limits
from gossamer_agent.policy import Policy
from gossamer_agent.profile import load_profile
from gossamer_agent.round import Swarm
from gossamer_agent.tally import Judge
from gossamer_agent.training.own import own_learner, state_file
from gossamer_agent.training.serving import served_score
from gossamer_crypto.epoch_ring import EpochRing
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity
from gossamer_crypto.roster import Roster
from gossamer_transport.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """judge: accuracy on the test data, None without any. chance: a new generator for each core.

    limits: of the profile, and of its owner where they differ. warnings: lines for the user about
    the data, and about settings that the profile bounds.
    """

    folder: Path
    identity: Identity
    genesis: Genesis
    swarm: Swarm
    ring: EpochRing
    learning: LocalLearning
    judge: Judge | None
    round_interval_s: float
    announce_interval_s: float
    rounds: int | None
    limits: DeviceLimits
    memory_mb_max: int
    chance: Callable[[], np.random.Generator]
    intake: Intake
    warnings: tuple[str, ...] = ()


def gather(device: Device, roster: Roster, ring: EpochRing, *, rounds: int | None) -> Means:
    """Load model and data. Takes seconds with a large model; AgentError for whatever is wrong.

    roster, ring: live.
    """
    settings, genesis = device.config.learning, device.genesis
    policy = Policy.unpack(genesis.policy)
    learner = own_learner(
        load_learner(device.model),
        device.model,
        policy,
        personal_steps=settings.personal_steps,
        ditto=settings.ditto,
    )
    _check_model(device, learner)
    layout = layout_of(device.config.data, learner.contract)
    if brings_data(learner):
        data = DeviceData(NO_DATA, NO_DATA)
    else:
        data = load_device_data(device.data_path, device.test_path, layout)
    for samples in (data.training, data.test):
        if samples is not None:
            samples.check(learner.contract)
    chance = None if settings.seed is None else _stream(settings.seed, "holdout")
    intake = gather_intake(device, learner.contract, data, chance)
    own = intake.own
    profile = load_profile(device.profile)
    interval = settings.round_interval_s
    if interval is None:
        interval = profile.round_interval_s
    announce = device.config.network.announce_interval_s
    if announce is None:
        announce = profile.announce_interval_s
    training, warnings = bounded_training(settings.training(), profile)
    view_size, too_small = bounded_view(policy, profile)
    kept = state_file(device.path, learner, policy)
    learning = LocalLearning(
        learner=learner,
        training=own.training,
        holdout=own.holdout,
        present=intake.samples,
        settings=training,
        rng=_stream(settings.seed, "learning"),
        options=settings.options(policy.nominal_steps),
        keeper=kept.keep,
    )
    learning.restore(kept.load())
    return Means(
        folder=device.path,
        identity=device.identity,
        genesis=genesis,
        swarm=Swarm(
            swarm_id=genesis.swarm_id,
            contract=learner.contract,
            policy=policy,
            initial=learner.init(),
            epochs=ring,
            members=roster,
            inviter_of=roster.inviter_of,
            limits=Limits.for_model(learner.contract.parameters),
            view_size_max=view_size,
        ),
        ring=ring,
        learning=learning,
        judge=None if data.test is None else _judge(learner, data.test),
        round_interval_s=interval,
        announce_interval_s=announce,
        rounds=rounds,
        limits=effective_limits(profile, device.config),
        memory_mb_max=profile.memory_mb_max,
        chance=lambda: _stream(settings.seed, "core"),
        intake=intake,
        warnings=(*data.warnings, *warnings, *too_small),
    )


def _check_model(device: Device, learner: Learner) -> None:
    genesis = device.genesis
    if learner.contract.digest() != genesis.contract:
        raise ModelError(
            f"model {device.config.device.model!r} has other shapes than the swarm"
            f" {genesis.name!r} agreed on; set model in config.toml to the swarm's"
        )
    if learner.model_sha256 != genesis.model_sha256:
        raise ModelError(
            f"model {device.config.device.model!r} is another file than the swarm"
            f" {genesis.name!r} agreed on; get the same file, or the same version of gossamer"
        )


def _judge(learner: Learner, test: Samples) -> Judge:
    def accuracy(params: Vector) -> float:
        return served_score(learner, params, test).accuracy

    return accuracy


def _stream(seed: int | None, use: str) -> np.random.Generator:
    """Fresh randomness, or for experiments a stream of its own for each use of one seed."""
    if seed is None:
        return np.random.default_rng()
    return np.random.default_rng([seed, int.from_bytes(use.encode(), "big")])
