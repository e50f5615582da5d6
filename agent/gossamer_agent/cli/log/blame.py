"""`gossamer log blame`: who moved the model of a device, and how far."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.log.opening import json_option, path_argument
from gossamer_agent.cli.log.where import evidence_options
from gossamer_agent.errors import LogError
from gossamer_crypto.identity import peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.audit.blame import Blame, Share
    from gossamer_agent.cli.log.evidence import Case, Log

HELP = """List what each contributor did to the model, by the log at PATH, the strongest first.

\b
  merges    in which it was an input
  votes     its share of them: mean, and the largest
  clipped   in how many merges not all of it counted, and how much did not, on average
  pull      its part of the way that a merge took the model, on average; below 0: against it
  moved     how far it moved the model in all, along the ways that the merges took
  reach     votes times clip times distance, by the record alone: how far it could have moved it
  notes     in how many merges it was followed and left out, and why: quarantined,
            banned, stale, silent; or refused by the rule: no vote

pull and moved need the replicas that were merged. They are known for merges that can be made again
(see gossamer log audit for what that takes) and count those that were committed; where they are not
known for all, peers are ranked by "reach".

A strong pull is no fault: somebody has to lead. Who sends nonsense ends up last, because what
clipping leaves of it does not lead where the others lead, or the rule refuses it; those who moved
nothing at all stand in order of their distance to the results. What an input brought of what its
author had from others counts as its author's.

\b
Examples:
  gossamer log blame logs/peer-03
  gossamer log blame logs/peer-03 --plot blame.svg
  gossamer log blame garden --json
"""

_SORTS = ("pull", "moved", "reach")


def _plot_file(_: click.Context, __: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in (".svg", ".png"):
        raise click.BadParameter(f"{str(value)!r:.80} ends neither in .svg nor in .png")
    return value


@click.command(help=HELP, short_help="List who moved the model of a log, and how far.")
@path_argument
@click.option("--by", type=click.Choice(_SORTS), help="Rank by this column.")
@click.option(
    "--plot",
    "plot_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    callback=_plot_file,
    help="Draw how far each had moved the model by each round: FILE.svg or FILE.png.",
)
@evidence_options
@json_option
def blame(
    path: Path, *, by: str | None, plot_file: Path | None, as_json: bool, **where: Any
) -> None:
    from gossamer_agent.audit.blame import blame as blamed  # noqa: PLC0415  loads numpy
    from gossamer_agent.cli.log.evidence import gathered  # noqa: PLC0415

    by = None if by is None else by.replace("-", "_")
    with gathered(path, **where) as case:
        for log in case.logs:
            told = blamed(case.events(log), case.replicas, case.terms)
            if as_json:
                click.echo(_json(case, log, told, by))
            else:
                _show(case, log, told, by)
        if plot_file is not None:
            _plot(told, plot_file)


def _plot(told: Blame, file: Path) -> None:
    from gossamer_agent.audit.plot import plot_blame  # noqa: PLC0415

    if not told.reproduced:
        raise LogError(f"{file}: not drawn: no merge of the log can be made again")
    plot_blame(told, file)
    click.echo(f"plot: {file}", err=True)


def _show(case: Case, log: Log, told: Blame, by: str | None) -> None:
    from rich.console import Console  # noqa: PLC0415  a third of the time of a command
    from rich.table import Table  # noqa: PLC0415

    click.echo(f"log     {log.source.path}")
    click.echo(
        f"merges  {told.merges}, {told.committed} of them committed,"
        f" {told.reproduced} made again; together they moved the model {told.length:.3g}"
    )
    if not told.shares:
        click.echo("nobody was in a merge, or followed, yet")
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("peer", no_wrap=True)
    for name in ("merges", "votes (max)", "clipped", "pull", "moved", "reach"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for share in told.ranked(by):
        table.add_row(*_row(share))
    Console(highlight=False).print(table)
    if not told.exact:
        lacking = told.merges - told.reproduced
        click.echo(
            f"{lacking} merges cannot be made again, so pull and moved leave them out:"
            " gossamer log audit says what is missing"
        )
    for line in case.troubles:
        click.echo(f"trouble: {line}")


def _row(share: Share) -> list[str]:
    known = share.projected > 0 and not share.own
    left = [f"{word} {count}" for word, count in sorted(share.left_out.items())]
    refused = [f"no vote {share.refused}"] if share.refused else []
    own = ["own replica"] if share.own else []
    votes = f"{100 * share.share_mean:.1f}% ({100 * share.share_max:.1f})"
    return [
        f"...{peer_id_text(share.peer)[-8:]}",
        str(share.merges),
        votes if share.merges else "-",
        f"{share.clipped} by {100 * share.cut_mean:.0f}%" if share.clipped else "-",
        f"{100 * share.pull:.1f}%" if known else "-",
        f"{share.moved:.3f}" if known else "-",
        f"{share.reach:.3f}",
        ", ".join(own + refused + left),
    ]


def _json(case: Case, log: Log, told: Blame, by: str | None) -> str:
    return json.dumps(
        {
            "log": str(log.source.path),
            "author": peer_id_text(log.author),
            "incarnation": log.incarnation,
            "merges": told.merges,
            "committed": told.committed,
            "reproduced": told.reproduced,
            "length": told.length,
            "ranked_by": by or ("pull" if told.exact else "reach"),
            "peers": [_peer(share) for share in told.ranked(by)],
            "troubles": case.troubles,
        }
    )


def _peer(share: Share) -> dict[str, Any]:
    known = share.projected > 0
    return {
        "peer": peer_id_text(share.peer),
        "own": share.own,
        "merges": share.merges,
        "committed": share.committed,
        "votes_mean": share.share_mean,
        "votes_max": share.share_max,
        "clipped": share.clipped,
        "cut_mean": share.cut_mean,
        "refused": share.refused,
        "pull": share.pull if known else None,
        "moved": share.moved if known else None,
        "known": share.projected,
        "reach": share.reach,
        "distance_radii": share.radii_mean if math.isfinite(share.radii_mean) else None,
        "left_out": dict(sorted(share.left_out.items())),
    }
