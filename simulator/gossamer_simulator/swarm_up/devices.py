"""The devices' folders: founded and joined as the commands `gossamer init` and `join` do it.

One process for all: importing libp2p takes a second, and a join hardly anything.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from gossamer_agent.device.config import Config, DeviceSettings, LearningSettings, NetworkSettings
from gossamer_agent.device.folder import begin_joining, create_device, finish_joining, holding
from gossamer_agent.groups import first_of_ours
from gossamer_agent.members.joining import Joined, ask
from gossamer_agent.members.stewardship import Stewardship, found_swarm
from gossamer_agent.models import absolute_model
from gossamer_agent.training.agreed import agreed_learner
from gossamer_crypto.genesis import Genesis
from gossamer_crypto.identity import Identity
from gossamer_crypto.invite import Invite
from gossamer_crypto.keyfile import Keys
from gossamer_crypto.prekey import PrekeySecret
from gossamer_simulator.swarm_up.plan import LOOPBACK, DevicePlan, Plan
from gossamer_transport.errors import NetworkError

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device

SWARM_NAME: Final = "swarm-up"
ATTEMPTS: Final = 5
AGAIN_S: Final = 3.0


def found(plan: Plan) -> Device:
    """Make the folder of the first device, which is the steward. AgentError."""
    keys, scenario = new_keys(), plan.scenario
    names = scenario.policy.personal
    learner = agreed_learner(plan.setup.learner, scenario.model, names)
    genesis = Genesis(
        name=SWARM_NAME,
        stewards=(keys.identity.peer_id,),
        contract=learner.contract.digest(),
        model_sha256=learner.model_sha256,
        policy=plan.scenario.policy.pack(),
        nonce=secrets.token_bytes(32),
    )
    prekey = keys.prekeys[0].sign(keys.identity)
    return create_device(
        plan.devices[0].folder,
        keys=keys,
        genesis=genesis,
        config=config_of(plan, plan.devices[0], port=plan.port),
        passphrase=None,
        fill=lambda state: found_swarm(state, keys.identity, prekey, genesis),
    )


def open_invite(founder: Device, plan: Plan) -> Invite:
    """An invite for all others. AgentError."""
    with closing(founder.open_state()) as state:
        stewardship = Stewardship(founder.identity, founder.genesis, state)
        address = f"/ip4/{LOOPBACK}/tcp/{plan.port}"
        return stewardship.open_invite([address], len(plan.devices) - 1, None)


async def join_all(plan: Plan, invite: Invite, say: Callable[[str], None]) -> None:
    """Let the other devices join, one after another, by asking the first one's running agent.

    Raises AgentError, NetworkError.
    """
    for device in plan.devices[1:]:
        say(f"{device.name} joins")
        await _join(plan, device, invite)


async def _join(plan: Plan, device: DevicePlan, invite: Invite) -> None:
    keys = new_keys()
    begin_joining(device.folder, keys, None)
    joined = await _admitted(keys, invite)
    addresses = {joined.steward: invite.addresses}
    finish_joining(
        device.folder,
        keys=keys,
        genesis=joined.genesis,
        config=config_of(plan, device, port=0),
        fill=holding(joined.genesis, joined.roster, addresses),
    )


async def _admitted(keys: Keys, invite: Invite) -> Joined:
    """Ask, and ask again where a steward is busy: it lets in few strangers at a time."""
    from gossamer_agent.members.calling import calling  # noqa: PLC0415  takes a second

    for attempt in range(1, ATTEMPTS + 1):
        try:
            with first_of_ours():
                async with calling(keys.identity, invite.swarm_id, invite.stewards) as network:
                    return await ask(network, invite, keys, say=_silently, keep=_silently)
        except NetworkError:
            if attempt == ATTEMPTS:
                raise
        await trio.sleep(AGAIN_S)
    raise AssertionError("the last attempt returns or raises")


def new_keys() -> Keys:
    """A fresh identity and its first prekey."""
    return Keys(Identity.generate(), (PrekeySecret.generate(),))


def config_of(plan: Plan, device: DevicePlan, *, port: int) -> Config:
    """The settings of one device: the loopback interface, no discovery, no timer of the keys."""
    scenario = plan.scenario
    model = scenario.model
    return Config(
        device=DeviceSettings(
            name=device.name,
            model=absolute_model(model, Path.cwd()),
            data=str(device.data.absolute()),
            test=str(plan.test.absolute()),
            profile=scenario.profile,
        ),
        network=NetworkSettings(
            listen=(f"/ip4/{LOOPBACK}/tcp/{port}",),
            rotate_hours=0.0,
        ),
        learning=LearningSettings(
            round_interval_s=plan.interval_s,
            local_steps=scenario.training_of(plan.devices.index(device)).steps,
            batch=scenario.batch,
            learning_rate=scenario.lr,
            momentum=scenario.momentum,
            optimiser=scenario.optimiser,
            moments=scenario.moments,
            schedule=scenario.lr_schedule,
            anneal_rounds=scenario.training.anneal_rounds,
            weight_decay=scenario.weight_decay,
            gradient_clip=scenario.gradient_clip,
            proximal=scenario.proximal,
            combine=scenario.combine,
            combine_rate=scenario.combine_rate,
            combine_t=scenario.combine_t,
            personal_steps=scenario.personal_steps,
            ditto=scenario.ditto,
            early_stop=scenario.early_stop,
            follow=scenario.follow,
            seed=device.seed,
        ),
    )


def _silently(*_said: str) -> None:
    """Takes what `ask` tells, and keeps nothing: the keys are on the disk already."""
