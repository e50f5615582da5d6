"""What a simulation found, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gossamer_simulator.formatting import byte_size, counted, duration, percent
from gossamer_simulator.results import Result, parse_result

BAR_WIDTH_MAX = 20
TEXT_WIDTH = 58
"""What the accuracy table needs beside its bars; a narrower console gets shorter bars or none."""
REASONS_SHOWN = 12


def print_summary(result: Mapping[str, object], console: Console) -> None:
    """Print the tables of `result`, the JSON object of gossamer_simulator.results.

    Raises DataError if the object is malformed.
    """
    parsed = parse_result(result)
    console.print()
    console.print(_accuracy_table(parsed, console))
    if parsed.quarantine is not None:
        console.print(_quarantine_table(parsed))
    if parsed.refused_by_count:
        console.print(_refused_table(parsed))
    console.print(_cost_table(parsed))


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )


def _accuracy_table(result: Result, console: Console) -> Table:
    accuracy, baselines = result.accuracy, result.baselines
    among = f"{percent(accuracy.min)} to {percent(accuracy.max)} by peer"
    mean_rule = baselines.mean_rule.mean if baselines.mean_rule else None
    own = None if result.own_data is None else result.own_data.mean
    rows: list[tuple[str, float | None, str, str]] = [
        ("swarm", accuracy.mean, "bold blue", among),
        ("own data", own, "", _own_remark(result)),
        ("plain mean", mean_rule, "red", "same attack, no robust merge"),
        ("alone", baselines.local_only, "", "a device with its own data"),
        ("central", baselines.central, "", "all data in one place"),
    ]
    width = min(BAR_WIDTH_MAX, console.width - TEXT_WIDTH)
    symbol = "█" if console.encoding.lower().startswith("utf") else "#"
    table = _table("Accuracy on the test rows")
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    if width >= 4:
        table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for name, value, style, remark in rows:
        if value is not None:
            bar = [Text(symbol * round(value * width), style=style)] if width >= 4 else []
            table.add_row(Text(name, style=style), percent(value), *bar, remark)
    return table


def _own_remark(result: Result) -> str:
    """Of the row on own data: the worst peer, and what devices alone reach there."""
    if result.own_data is None:
        return ""
    alone = result.baselines.local_only_own
    told = f"on data like a peer's own, at least {percent(result.own_data.min)}"
    return told if alone is None else f"{told}; alone {percent(alone.mean)}"


def _quarantine_table(result: Result) -> Table:
    quarantine = result.quarantine
    assert quarantine is not None
    table = _table("Quarantine by honest peers, at the end")
    table.add_column("")
    table.add_column("peers", justify="right")
    table.add_column("shut out", justify="right")
    table.add_column("")
    peers = result.reputation.peers if result.reputation else ()
    honest = sum(subject.attack is None for subject in peers)
    wrongly = quarantine.honest_rate
    table.add_row(
        "honest",
        f"{honest:,}" if peers else "",
        percent(wrongly),
        "rightly none" if wrongly == 0 else Text("wrongly", style="yellow"),
    )
    for attack, found in sorted(quarantine.by_attack.items()):
        table.add_row(Text(attack), f"{found.peers:,}", percent(found.rate), _rightly(found.rate))
    if len(quarantine.by_attack) > 1:
        attackers = sum(found.peers for found in quarantine.by_attack.values())
        rate = quarantine.byzantine_rate
        table.add_row("all attackers", f"{attackers:,}", percent(rate), "")
    return table


def _rightly(rate: float) -> Text:
    if rate >= 0.9:
        return Text("rightly")
    if rate >= 0.5:
        return Text("by most", style="yellow")
    who = "few" if rate else "nobody"
    return Text(f"by {who}: the merge alone had to hold", style="yellow")


def _refused_table(result: Result) -> Table:
    table = _table("Refused messages")
    table.add_column("reason")
    table.add_column("messages", justify="right")
    table.add_column("share", justify="right")
    rows = result.refused_by_count
    for reason, count in rows[:REASONS_SHOWN]:
        table.add_row(Text(reason), f"{count:,}", percent(count / result.refused_total))
    rest = sum(count for _, count in rows[REASONS_SHOWN:])
    if rest:
        others = counted(len(rows) - REASONS_SHOWN, "other")
        table.add_row(others, f"{rest:,}", percent(rest / result.refused_total))
    return table


def _cost_table(result: Result) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    sent = (
        f"{byte_size(result.bytes.per_peer_round)} per peer and round, "
        f"{byte_size(result.bytes.total)} in {counted(result.messages, 'message')}"
    )
    table.add_row("sent", sent)
    if result.gate is not None:
        merges = counted(result.gate.merges, "merge")
        table.add_row("merged", f"{merges}, {result.gate.refused:,} of them refused by the gate")
    if result.rested:
        shares = ", ".join(f"{kind} {percent(share)}" for kind, share in result.rested.items())
        table.add_row("rested", f"{shares} of the rounds")
    if result.ledger is not None:
        table.add_row("log", _ledger_text(result.ledger.entries, result.ledger.verified))
    if result.cpu_seconds is not None:
        cost = f"{duration(result.cpu_seconds)} of CPU time"
        if result.peak_rss_mb is not None:
            cost += f", at most {byte_size(result.peak_rss_mb * 1e6)} of memory"
        table.add_row("cost", cost)
    if result.trace_hash:
        table.add_row("trace", Text(result.trace_hash))
    return table


def _ledger_text(entries: int, verified: bool) -> Text:
    if verified:
        return Text(f"verified, {counted(entries, 'entry', 'entries')}", style="green")
    return Text(f"BROKEN, in {counted(entries, 'entry', 'entries')}", style="bold red")
