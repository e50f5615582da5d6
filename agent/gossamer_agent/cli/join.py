"""`gossamer join`: become a member of a swarm."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import key_passphrase
from gossamer_agent.cli.passphrase import new_passphrase
from gossamer_agent.cli.settings import (
    NewDevice,
    check_data,
    device_options,
    make_config,
    need_words,
    with_model,
)
from gossamer_agent.errors import MembershipError

if TYPE_CHECKING:
    from gossamer_agent.members.joining import Joined
    from gossamer_crypto.invite import Invite
    from gossamer_crypto.keyfile import Keys

HELP = """Join a swarm with an invite.

INVITE is the text that `gossamer invite` printed, a file that holds it, or - to read it from the
standard input. Makes the folder DIR with a new identity and asks a steward, whose agent must run,
to admit it. If that breaks off, run the same command again: it goes on with the same identity, and
the invite is not used up twice.

\b
Example:
  gossamer join "gossamer1..." shed --data other.npz
  gossamer -C shed run
"""

_INVITE_CHARS_MAX = 64 * 1024
_UNKNOWN = "mlp"  # in place of the model until the swarm has named it
_PREFIX = "gossamer1"


@click.command(help=HELP, short_help="Join a swarm with an invite.")
@click.argument("invite")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--model",
    help="The swarm's model, if it is none of those that ship with gossamer: a .tflite file,"
    " flower:MODULE:NAME or process:COMMAND.",
)
@device_options
def join(
    *,
    invite: str,
    directory: Path,
    model: str | None,
    device: NewDevice,
    passphrase_file: Path | None,
    ask: bool,
) -> None:
    from gossamer_agent.device.folder import finish_joining, holding  # noqa: PLC0415
    from gossamer_agent.members.joining import find_model, read_invite  # noqa: PLC0415
    from gossamer_agent.models import load_learner  # noqa: PLC0415
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415

    # Whatever can be found wrong here is found before the invite is used.
    ticket = read_invite(_text_of(invite))
    attempt = _Attempt.begin(directory, passphrase_file, ask)
    data = check_data(device, None if model is None else load_learner(model))
    need_words(device, data.words)
    for line in data.warnings:
        _say(f"warning: {line}")
    config = make_config(directory, device, model or _UNKNOWN)
    joined = attempt.ask(ticket)
    _say(f"admitted to {joined.genesis.name}")
    reference, learner = find_model(joined.genesis, model)
    check_data(device, learner)
    made = finish_joining(
        directory,
        keys=attempt.keys,
        genesis=joined.genesis,
        config=with_model(config, reference),
        fill=holding(joined.genesis, joined.roster, {joined.steward: ticket.addresses}),
    )
    click.echo(f"swarm    {joined.genesis.name}, id {joined.genesis.swarm_id.hex()[:16]}")
    click.echo(f"device   {peer_id_text(made.peer_id)}, member")
    click.echo(f"model    {reference}")
    click.echo(f"folder   {directory}")
    click.echo(f"\nNext:\n  gossamer -C {directory} run")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One try to join. resumed: an earlier one broke off and left its identity."""

    directory: Path
    keys: Keys
    passphrase: str | None
    resumed: bool

    @classmethod
    def begin(cls, directory: Path, passphrase_file: Path | None, ask: bool) -> _Attempt:
        from gossamer_agent.device.folder import KEY_NAME, check_place, is_joining  # noqa: PLC0415
        from gossamer_crypto.identity import Identity  # noqa: PLC0415
        from gossamer_crypto.keyfile import Keys, load_keys  # noqa: PLC0415
        from gossamer_crypto.prekey import PrekeySecret  # noqa: PLC0415

        if is_joining(directory):
            _say(f"going on with the join that was begun in {directory}")
            passphrase = key_passphrase(directory, passphrase_file)
            return cls(directory, load_keys(directory / KEY_NAME, passphrase), passphrase, True)
        check_place(directory)
        keys = Keys(Identity.generate(), (PrekeySecret.generate(),))
        return cls(directory, keys, new_passphrase(passphrase_file, ask), False)

    def ask(self, invite: Invite) -> Joined:
        """Ask the stewards of the invite. What was begun for nothing is removed again."""
        from gossamer_agent.cli.visiting import visit  # noqa: PLC0415
        from gossamer_agent.device.folder import abandon_joining, is_joining  # noqa: PLC0415
        from gossamer_agent.members.joining import RefusedError  # noqa: PLC0415
        from gossamer_transport.errors import NetworkError  # noqa: PLC0415

        _say("opening the network")
        try:
            return visit(partial(self._ask, invite))
        except RefusedError:
            if not self.resumed:
                abandon_joining(self.directory)
            raise
        except NetworkError as error:
            if not is_joining(self.directory):
                raise
            raise NetworkError(
                f"{error}; run the same command again, the invite is not used up twice"
            ) from error

    async def _ask(self, invite: Invite) -> Joined:
        from gossamer_agent.members import calling, joining  # noqa: PLC0415

        who = (self.keys.identity, invite.swarm_id, invite.stewards)
        async with calling.calling(*who) as network:
            return await joining.ask(network, invite, self.keys, say=_say, keep=self._keep)

    def _keep(self) -> None:
        from gossamer_agent.device.folder import begin_joining, is_joining  # noqa: PLC0415

        if not is_joining(self.directory):
            begin_joining(self.directory, self.keys, self.passphrase)


def _text_of(reference: str) -> str:
    """The invite itself, from the standard input or from a file. Raises MembershipError."""
    if reference == "-":
        return sys.stdin.read(_INVITE_CHARS_MAX)
    if reference.strip().lower().startswith(_PREFIX):
        return reference
    try:
        with Path(reference).expanduser().open(encoding="ascii", errors="replace") as file:
            return file.read(_INVITE_CHARS_MAX)
    except (OSError, ValueError, RuntimeError):
        raise MembershipError(
            f"{reference!r:.60} is neither an invite, which begins with {_PREFIX}, nor a file"
        ) from None


def _say(line: str) -> None:
    click.echo(line, err=True)
