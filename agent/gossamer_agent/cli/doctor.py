"""`gossamer doctor`: why peers do not connect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.here import in_folder, open_here
from gossamer_agent.cli.passphrase import passphrase_file_option
from gossamer_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from gossamer_agent.node.doctor import Finding, Observations


@click.command()
@in_folder
@passphrase_file_option
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
@click.pass_context
def doctor(ctx: click.Context, folder: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Say why peers do not connect, and what to do.

    Asks the running agent; where none runs, dials every known member itself. Ends with exit code 6
    if something is wrong.
    """
    import msgspec  # noqa: PLC0415

    from gossamer_agent.node.doctor import diagnose, is_ill  # noqa: PLC0415

    seen = _observe(folder, passphrase_file)
    findings = diagnose(seen)
    if as_json:
        click.echo(msgspec.json.encode(findings))
    else:
        for finding in findings:
            _tell(finding)
        linked = sum(peer.linked for peer in seen.status.peers)
        click.echo(f"{linked} of {len(seen.status.peers)} other members answer")
        if not findings:
            click.echo("nothing is wrong")
    if is_ill(findings):
        ctx.exit(ExitCode.NETWORK)


def _observe(folder: Path, passphrase_file: Path | None) -> Observations:
    import msgspec  # noqa: PLC0415

    from gossamer_agent.cli.asking import other_version  # noqa: PLC0415
    from gossamer_agent.errors import AgentError  # noqa: PLC0415
    from gossamer_agent.node.doctor import parse_observations  # noqa: PLC0415
    from gossamer_agent.node.statussocket import ask  # noqa: PLC0415

    answer = ask(folder, "doctor")
    if answer is None:
        from gossamer_agent.cli.probing import probe  # noqa: PLC0415  loads libp2p

        click.echo("no agent runs here: dialling the members that are known", err=True)
        return probe(open_here(folder, passphrase_file))
    if answer == b"null":
        raise AgentError(f"{folder}: the agent is just starting; try again")
    try:
        return parse_observations(answer)
    except msgspec.DecodeError:
        raise other_version(folder) from None


def _tell(finding: Finding) -> None:
    who = "this device" if finding.peer is None else f"peer {finding.peer}"
    click.echo(f"{finding.severity}: {who}: {finding.text}")
    click.echo(f"  -> {finding.remedy}")
