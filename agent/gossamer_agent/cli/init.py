"""`gossamer init`: found a swarm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.passphrase import new_passphrase
from gossamer_agent.cli.settings import (
    NewDevice,
    check_data,
    device_options,
    make_config,
    with_words,
)
from gossamer_agent.cli.words import show_words

if TYPE_CHECKING:
    from gossamer_agent.learner import Learner
    from gossamer_agent.policy import Policy
    from gossamer_crypto.genesis import Genesis
    from gossamer_crypto.identity import Identity

HELP = """Found a swarm with this device as its steward.

Makes the folder DIR: a new identity, the swarm's terms and the settings (config.toml). The terms
are the model and how replicas are merged and sent; all members follow them and nobody can change
them later. The steward invites others, evicts members and renews the swarm's key.

\b
Example:
  gossamer init garden --swarm greenhouse --data sensors.csv --label state
  gossamer -C garden run
  gossamer -C garden invite --uses 5
"""


@click.command(help=HELP, short_help="Found a swarm with this device as its steward.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--swarm", metavar="NAME", required=True, help="What the swarm is called.")
@click.option(
    "--model",
    default="mlp",
    show_default=True,
    help="A name of gossamer model list, synthetic, a trainable .tflite file, flower:MODULE:NAME,"
    " or process:COMMAND.",
)
@device_options
@click.option(
    "--rule",
    default="gossamer",
    show_default=True,
    help="How replicas are merged: gossamer, mean, median, trimmed-mean, krum, multi-krum,"
    " geometric-median, centered-clipping, clipped-gossip, balance, ubar,"
    " weighted-median:accuracy or weighted-median:similarity; nnm+RULE or"
    " bucketing+RULE mixes them first.",
)
@click.option("--codec", default="sign1", show_default=True, help="Deltas: sign1, int8 or float32.")
@click.option(
    "--view", "view_size", default=8, show_default=True, help="Peers that each peer follows."
)
@click.option(
    "--quorum", default=3, show_default=True, help="Replicas that a merge takes, the own one too."
)
@click.option(
    "--stale-rounds",
    default=4,
    show_default=True,
    help="Rounds after which a replica that stands still has no vote.",
)
@click.option(
    "--nominal-steps",
    default=0,
    show_default=True,
    help="Scale every device's changes to so many local steps (FedNova); 0: not.",
)
@click.option(
    "--personal",
    default="",
    metavar="LAYERS",
    help="Layers that never leave a device, such as head; with commas between.",
)
def init(
    *,
    directory: Path,
    swarm: str,
    model: str,
    device: NewDevice,
    passphrase_file: Path | None,
    ask: bool,
    **terms: Any,
) -> None:
    from gossamer_agent.device.folder import check_place, create_device  # noqa: PLC0415
    from gossamer_agent.members.stewardship import found_swarm  # noqa: PLC0415
    from gossamer_agent.models import load_learner  # noqa: PLC0415
    from gossamer_agent.training.agreed import agreed_learner  # noqa: PLC0415
    from gossamer_crypto.identity import Identity, peer_id_text  # noqa: PLC0415
    from gossamer_crypto.keyfile import Keys  # noqa: PLC0415
    from gossamer_crypto.prekey import PrekeySecret  # noqa: PLC0415

    check_place(directory)
    policy = _policy(**terms)
    learner = agreed_learner(load_learner(model), model, policy.personal)
    data = check_data(device, learner)
    for line in data.warnings:
        click.echo(f"warning: {line}", err=True)
    config = make_config(directory, with_words(device, data.words), model)
    keys = Keys(Identity.generate(), (PrekeySecret.generate(),))
    genesis = _genesis(swarm, keys.identity, learner, policy)
    prekey = keys.prekeys[0].sign(keys.identity)
    create_device(
        directory,
        keys=keys,
        genesis=genesis,
        config=config,
        passphrase=new_passphrase(passphrase_file, ask),
        fill=lambda state: found_swarm(state, keys.identity, prekey, genesis),
    )
    click.echo(f"swarm    {genesis.name}, id {genesis.swarm_id.hex()[:16]}")
    click.echo(f"device   {peer_id_text(keys.identity.peer_id)}, steward")
    if data.words:
        click.echo(f"labels   {show_words(data.words)}")
    click.echo(f"folder   {directory}")
    click.echo(f"\nNext:\n  gossamer -C {directory} run\n  gossamer -C {directory} invite --uses 5")


def _policy(
    *,
    rule: str,
    codec: str,
    view_size: int,
    quorum: int,
    stale_rounds: int,
    nominal_steps: int,
    personal: str,
) -> Policy:
    from gossamer_agent.errors import ConfigError  # noqa: PLC0415
    from gossamer_agent.merge.rules import get_rule  # noqa: PLC0415
    from gossamer_agent.policy import Policy  # noqa: PLC0415
    from gossamer_agent.training.agreed import parse_names  # noqa: PLC0415
    from gossamer_transport.codec import Codec  # noqa: PLC0415

    get_rule(rule)
    codecs = {known.name.lower(): known for known in Codec}
    if codec not in codecs:
        raise ConfigError(f"unknown codec {codec!r}; choose from {', '.join(codecs)}")
    for name, value, low, high in (
        ("view", view_size, 1, 1024),
        ("quorum", quorum, 1, 1024),
        ("stale-rounds", stale_rounds, 1, 1024),
        ("nominal-steps", nominal_steps, 0, 10_000),
    ):
        if not low <= value <= high:
            raise ConfigError(f"--{name} {value} is out of range; it must be {low} to {high}")
    if quorum > view_size + 1:
        raise ConfigError(
            f"nobody could merge: --quorum {quorum} replicas with the own one, but a peer that "
            f"follows --view {view_size} has {view_size + 1} at most"
        )
    return Policy(
        rule=rule,
        codec=codecs[codec],
        view_size=view_size,
        quorum=quorum,
        stale_rounds=stale_rounds,
        nominal_steps=nominal_steps,
        personal=parse_names(personal),
    )


def _genesis(swarm: str, steward: Identity, learner: Learner, policy: Policy) -> Genesis:
    import secrets  # noqa: PLC0415

    from gossamer_agent.errors import ConfigError  # noqa: PLC0415
    from gossamer_crypto.errors import GenesisError  # noqa: PLC0415
    from gossamer_crypto.genesis import Genesis  # noqa: PLC0415

    try:
        return Genesis(
            name=swarm,
            stewards=(steward.peer_id,),
            contract=learner.contract.digest(),
            model_sha256=learner.model_sha256,
            policy=policy.pack(),
            nonce=secrets.token_bytes(32),
        )
    except GenesisError as error:
        raise ConfigError(f"--swarm {swarm!r:.80}: {error.detail}") from None
