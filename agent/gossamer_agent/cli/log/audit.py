"""`gossamer log audit`: are the merges of a log what the rule makes of their inputs?"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from gossamer_agent.cli.log.opening import json_option, path_argument
from gossamer_agent.cli.log.where import evidence_options
from gossamer_agent.exit_codes import ExitCode
from gossamer_crypto.identity import peer_id_text

if TYPE_CHECKING:
    from gossamer_agent.audit.replay import Finding, LogAudit
    from gossamer_agent.cli.log.evidence import Case, Log

REASONS_SHOWN: Final = 8

HELP = """Make every merge of the log at PATH again, from the deltas up, and compare.

A merge selects and clips values in a fixed order, so the same inputs give the same bits on every
computer. The replicas that went into a merge are rebuilt from the deltas that their authors signed,
and the rule of the swarm is applied to them. Hash of the result, votes, clip factors, distances and
radius must be those that were logged. Merges that the hold-out test refused are made again as well.

\b
What is needed, and where it is looked for:
  the log          PATH: a device's folder, a feed.sqlite3, an exported log
  deltas of peers  received.sqlite3 beside the log, and logs of others below --peers
                   (without it: beside PATH, as after gossamer simulate --keep-logs)
  keys             epoch.key or the device's own, or those of any member: --keys
  the model        one of gossamer's own, found by its hash, or --model

A merge whose inputs are not at hand cannot be judged; it is counted, and the missing input named.
Nor can one that was made by another version of its rule than this program has: records name it.
That the author listened to all it should have, and measured the losses it logged, no log can show.

Ends with exit code 5 if a merge differs from its record or the log does not verify.

\b
Examples:
  gossamer simulate --keep-logs logs
  gossamer log audit logs/peer-03
  gossamer log audit garden --json
  gossamer log audit shed.log --peers ~/logs --keys garden
"""


@click.command(help=HELP, short_help="Make all merges of a log again and compare.")
@path_argument
@evidence_options
@json_option
@click.pass_context
def audit(ctx: click.Context, /, path: Path, *, as_json: bool, **where: Any) -> None:
    from gossamer_agent.audit.replay import LogAudit, findings  # noqa: PLC0415  loads numpy
    from gossamer_agent.cli.log.evidence import gathered  # noqa: PLC0415

    fine = True
    with gathered(path, **where) as case:
        for log in case.logs:
            account = LogAudit()
            for finding in findings(case.events(log), case.replicas, case.terms):
                account.count(finding)
            fine = fine and account.ok
            told = _json(case, log, account) if as_json else _text(case, log, account)
            click.echo(told)
    if not fine:
        ctx.exit(ExitCode.LOG_BROKEN)


def _text(case: Case, log: Log, account: LogAudit) -> str:
    share = f" ({100 * account.reproduced / account.merges:.4g} %)" if account.merges else ""
    lines = [
        f"log         {log.source.path}",
        f"author      {peer_id_text(log.author)}",
        f"merges      {account.merges} by {case.terms.policy.rule}"
        f", {account.refused} of them not committed",
        f"reproduced  {account.reproduced}{share}, bit for bit",
    ]
    if account.missing:
        lines.append(f"unknown     {len(account.missing)} cannot be made again:")
        lines += [f"  {count:>8}  {why}" for why, count in _reasons(account.missing)]
    lines += [f"trouble     {line}" for line in case.troubles]
    if account.other_version:
        lines.append(f"version     {len(account.other_version)} by another version of the rule:")
        lines += [f"  {count:>8}  {why}" for why, count in _reasons(account.other_version)]
    if account.mismatched:
        first = account.mismatched[0]
        lines.append(f"differ      {len(account.mismatched)}")
        lines.append(f"first       round {first.round}, entry {first.place.seq}: {first.why}")
    elif not account.merges:
        lines.append("the log has no merge yet: there is nothing to make again")
    elif account.merges == account.reproduced:
        lines.append("all merges are what the rule makes of what their authors signed")
    elif account.reproduced:
        lines.append("none of the merges that could be made again differs")
    else:
        lines.append("none of the merges can be made again here: nothing is proven or refuted")
    return "\n".join(lines)


def _json(case: Case, log: Log, account: LogAudit) -> str:
    from gossamer_agent.merge.rules import get_rule  # noqa: PLC0415  loads numpy

    return json.dumps(
        {
            "log": str(log.source.path),
            "author": peer_id_text(log.author),
            "incarnation": log.incarnation,
            "swarm": case.terms.genesis.swarm_id.hex(),
            "rule": case.terms.policy.rule,
            "rule_version": get_rule(case.terms.policy.rule).version,
            "merges": account.merges,
            "not_committed": account.refused,
            "reproduced": account.reproduced,
            "missing": [_finding(finding) for finding in account.missing],
            "other_version": [_finding(finding) for finding in account.other_version],
            "mismatched": [_finding(finding) for finding in account.mismatched],
            "troubles": case.troubles,
            "ok": account.ok,
        }
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {"round": finding.round, "seq": finding.place.seq, "why": finding.why}


def _reasons(missing: list[Finding]) -> list[tuple[str, int]]:
    """What lacks, the most frequent first."""
    return Counter(finding.why for finding in missing).most_common(REASONS_SHOWN)
