"""`gossamer status`: what the agent of a device does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import in_folder
from gossamer_agent.cli.passphrase import passphrase_file_option

if TYPE_CHECKING:
    from rich.table import Table

    from gossamer_agent.node.status import AgentStatus, BudgetStatus


@click.command()
@in_folder
@passphrase_file_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status(folder: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Show what the agent of this device does: state, round, members, links, refusals.

    Where no agent runs, it shows what the folder tells, and says so.
    """
    from gossamer_agent.cli.asking import status_of  # noqa: PLC0415  loads numpy
    from gossamer_agent.node.status import pack_status  # noqa: PLC0415

    found = status_of(folder, passphrase_file)
    if as_json:
        click.echo(pack_status(found))
        return
    from rich.console import Console  # noqa: PLC0415  takes a tenth of a second

    Console(highlight=False).print(_table(found))


def _table(found: AgentStatus) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, Text(value))
    return table


def _rows(found: AgentStatus) -> list[tuple[str, str]]:
    role = "steward" if found.steward else "member"
    head = "none yet" if found.head_seq is None else f"entry {found.head_seq}"
    if found.incarnation:
        head += f", incarnation {found.incarnation}"
    members = "1 member" if found.members == 1 else f"{found.members} members"
    rows = [
        ("device", f"{found.name}, {role}"),
        ("peer", found.peer),
        ("swarm", f"{found.swarm}, id {found.swarm_id[:16]}, {members}"),
        ("state", found.state),
        ("epoch", str(found.epoch)),
        ("newest entry", head),
        ("vouched", _vouched(found)),
    ]
    for pause in found.pauses:
        told = f"{pause.kind}, for {_lasting(pause.lasts_s)}: {pause.why}; ends {pause.ends}"
        rows.append(("paused", told))
    if found.running:
        rows += _running_rows(found)
    for peer in found.peers:
        if peer.ban:
            rows.append(("banned", f"...{peer.peer[-8:]}, {peer.ban}"))
    if found.forked is not None:
        rows.append(("look at", f"shut out by all: this identity {found.forked}"))
    rows += [("look at", trouble) for trouble in found.troubles]
    if found.roster_forked:
        rows.append(("look at", "a steward signed two different rosters"))
    return rows


def _vouched(found: AgentStatus) -> str:
    vouched = found.vouched
    if vouched is None:
        return "no peer vouches for the log yet"
    number = len(vouched.peers)
    text = f"{number} peer{' vouches' if number == 1 else 's vouch'} for entry {vouched.seq}"
    if vouched.incarnation != found.incarnation:
        text += f" of incarnation {vouched.incarnation}"
    return text


def _running_rows(found: AgentStatus) -> list[tuple[str, str]]:
    refused = ", ".join(f"{reason} {count}" for reason, count in found.refused.items())
    last = found.history[-1] if found.history else None
    accuracy = "" if last is None or last.accuracy is None else f", accuracy {last.accuracy:.1%}"
    return [
        ("up", f"{found.uptime_s:.0f} s, process {found.pid}"),
        ("round", f"{found.round}, {found.merges} merges{accuracy}"),
        ("gate", f"refused {found.gate_refusals} merges"),
        (
            "links",
            f"{found.linked} linked, {found.following} followed, {found.followers} followers",
        ),
        ("addresses", "\n".join(found.addresses) or "none"),
        (
            "traffic",
            f"{found.bytes_sent / 1e6:.2f} MB sent in {found.frames_sent} frames, "
            f"{found.bytes_received / 1e6:.2f} MB received",
        ),
        ("refused", refused or "nothing"),
        ("left today", _left(found.budgets)),
        ("cost", f"{found.cpu_seconds:.1f} s CPU, {found.rss_mb:.0f} MB{_heat(found.celsius)}"),
    ]


def _left(budgets: BudgetStatus | None) -> str:
    """What is left of the budgets of a day."""
    if budgets is None:
        return "not known"
    network = f"{budgets.network_mb_left:.1f} of {budgets.network_mb_per_day:g} MB of network"
    if budgets.flash_mb_left is None:
        return f"{network}; what is written cannot be counted here"
    return f"{network}, {budgets.flash_mb_left:.1f} of {budgets.flash_mb_per_day:g} MB of flash"


def _heat(celsius: float | None) -> str:
    return "" if celsius is None else f", {celsius:.0f} °C"


def _lasting(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
