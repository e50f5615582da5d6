"""`gossamer evict`: remove a member."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import with_device
from gossamer_agent.errors import MembershipError

if TYPE_CHECKING:
    from gossamer_agent.device.folder import Device
    from gossamer_crypto.identity import PeerId

HELP = """Remove a member from the swarm for good (stewards only).

PEER is the member's id as `gossamer peers` shows it, or an end of it that fits one member only. The
swarm gets a new key that the member cannot have: it reads nothing that is sent from then on, and
keeps what it saw before. A running agent tells the others at once; otherwise they hear of it when
it runs next.

\b
Example:
  gossamer -C garden evict ...tK5pV9
"""


@click.command(help=HELP, short_help="Remove a member from the swarm (stewards).")
@click.argument("peer")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@with_device
def evict(device: Device, *, peer: str, yes: bool) -> None:
    from gossamer_agent.members.stewardship import Stewardship, load_roster  # noqa: PLC0415
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415

    with closing(device.open_state()) as state:
        stewardship = Stewardship(device.identity, device.genesis, state)
        if not stewardship.is_steward:
            raise MembershipError(
                f"only a steward can evict from {device.genesis.name!r}: ask "
                f"{peer_id_text(device.genesis.stewards[0])}"
            )
        member = find_member(load_roster(state, device.genesis).members, peer)
        name = peer_id_text(member)
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("there is no terminal to ask on: add --yes if this is meant")
            click.confirm(f"Remove {name} from {device.genesis.name} for good?", abort=True)
        stewardship.evict(member)
        epoch = load_roster(state, device.genesis).epoch
    click.echo(f"evicted {name}; epoch {epoch} has a new key")


def find_member(members: Iterable[PeerId], said: str) -> PeerId:
    """The one member whose id is, begins or ends with `said`. Raises MembershipError."""
    from gossamer_crypto.identity import peer_id_text  # noqa: PLC0415

    part = said.strip().strip(".…")
    names = {peer_id_text(member): member for member in members}
    if part in names:
        return names[part]
    found = [name for name in names if part and (name.startswith(part) or name.endswith(part))]
    if not found:
        raise MembershipError(f"no member is called {said!r:.80}; see `gossamer peers`")
    if len(found) > 1:
        raise MembershipError(
            f"{said!r:.80} fits {len(found)} members; say more of the id, its end tells them apart"
        )
    return names[found[0]]
