"""Writes docs/robustness.md and its figures from a table of averages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from scripts.robustness.cells import NONE, Outcome
from scripts.robustness.findings import findings
from scripts.robustness.heatmap import heat_map
from scripts.robustness.markdown import number, paragraph, signed, slashed, table_lines
from scripts.robustness.markdown import share as percent
from scripts.robustness.material import DIGITS
from scripts.robustness.plan import (
    BACKDOOR,
    CODECS,
    DATA,
    FLIPPING,
    LITERATURE,
    MEAN,
    OTHERS,
    OURS,
    PARTITIONS,
    POISONING,
    SILENT,
    SLEEPER,
    large_cell,
)
from scripts.robustness.table import Panel, Table, lowest
from scripts.robustness.verdicts import (
    GROSS,
    OUT_WITHIN,
    Verdict,
    asleep,
    attackers_out,
    backdoor_success,
    framed_score,
    honest_out,
    readmitted,
    verdicts,
)

from gossamer_simulator.formatting import listed

COMMAND = "make robustness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How the figures came about. planned: cells that a whole campaign has.

    code: digest of the sources that our rule depends on; stale: cells that other code made;
    lacking: lines about what was skipped.
    """

    planned: int
    code: str
    stale: int = 0
    lacking: Sequence[str] = ()


def write_page(table: Table, made: Made, docs: Path) -> Path:
    """Write robustness.md and images/robustness-*.svg below `docs`."""
    images = docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    figures = {}
    for data in DATA:
        panels = _panels(table, data)
        rules, attacks = _shown(panels)
        if rules:
            figures[data] = f"robustness-{data}.svg"
            drawn = heat_map(panels, rules, attacks)
            (images / figures[data]).write_text(drawn, encoding="utf-8")
    path = docs / "robustness.md"
    path.write_text("\n".join(page(table, made, figures)).rstrip() + "\n", encoding="utf-8")
    return path


def page(table: Table, made: Made, figures: dict[str, str]) -> Iterator[str]:
    """The lines of the page. figures: file name by data set."""
    promised = verdicts(table)
    yield from ("# Robustness", "", f"Written by `{COMMAND}`; do not edit.", "")
    yield from _warnings(table, made)
    yield from ("## What was found", "")
    for sentence in findings(table, promised):
        yield from paragraph(f"- {sentence}", "  ")
    yield ""
    yield from _how(table, made)
    for data, file in figures.items():
        yield from (f"## {data} at a glance", "")
        yield f"![Accuracy on {data}: rules by attacks, for three partitions](images/{file})"
        yield ""
    yield from _promises(promised)
    for data in figures:
        yield from _tables(_panels(table, data), data)
        yield from _worst_peers(_panels(table, data), data)
        yield from _reputation(_panels(table, data), data)
    yield from _large(table)
    yield from _backdoor(table)
    yield from _repeat()


def _panels(table: Table, data: str) -> list[Panel]:
    return [Panel(table, data, partition) for partition in PARTITIONS]


def _shown(panels: Sequence[Panel]) -> tuple[list[str], list[str]]:
    """Rules and attacks that have a figure in any of the panels."""
    attacks = (NONE, *POISONING)
    rules = [
        rule
        for rule in (OURS, *LITERATURE)
        if any(panel.accuracy(rule, a) is not None for panel in panels for a in attacks)
    ]
    seen = [
        attack
        for attack in POISONING
        if any(panel.accuracy(rule, attack) is not None for panel in panels for rule in rules)
    ]
    return rules, seen


def _warnings(table: Table, made: Made) -> Iterator[str]:
    lines = []
    if len(table) < made.planned:
        lines.append(
            f"**Not finished: {len(table)} of {made.planned} cells.** What is missing is a dot."
        )
    if made.stale:
        lines.append(
            f"**{made.stale} cells were made by earlier code** and kept with `--keep-stale`."
        )
    lines += [f"{line}." for line in made.lacking]
    for line in lines:
        yield from (*paragraph(f"> {line}", "> "), "")


def _how(table: Table, made: Made) -> Iterator[str]:
    seeds = ", ".join(map(str, table.seeds))
    yield from ("## How it was measured", "")
    yield from paragraph(
        "Each cell is one run of the real simulator, `gossamer simulate`: every peer is a whole "
        "agent that learns, codes, signs, checks, merges and keeps its log; attackers lie through "
        "the same wire and, where their papers say so, see all honest vectors and collude. "
        "30 % of the peers are attackers; views of 8, rounds of 8 steps of 16 samples, "
        "codec `float32`, so that the rules are compared and not how they stand coding noise (the "
        "swarm of 50 shows that), 1 % of the frames lost. digits: 20 peers, 40 "
        "rounds, the shipped MLP of 4,810 parameters, learning rate 0.3. fsdd: spoken digits, 12 "
        "peers, 30 rounds, 576-16-10 MLP, learning rate 0.05. "
        f"Seeds {seeds}; a figure is their mean, of the accuracy on the test set, of all honest "
        "peers and the last three rounds, in percent. Three seeds leave about a point of chance. "
        "With attackers the swarm has the data of 70 % of its devices only: the row "
        f"`{MEAN}`, attackers silent, is what a rule that knew them would reach."
    )
    yield ""
    yield from paragraph(
        f"{len(table):,} cells. Sources of `{OURS}`: {made.code}, which "
        "`python -m scripts.robustness --plan` prints for this checkout."
    )
    yield ""


def _promises(promised: dict[str, list[Verdict]]) -> Iterator[str]:
    yield from ("## Promised and measured", "")
    yield from paragraph(
        f"For `{OURS}`, means over seeds. *Clean mean*: the rule `{MEAN}` with nobody attacking. "
        f"*Gross* attackers: {listed(GROSS)} (a sleeper from its turn on)."
    )
    yield ""
    rows = []
    for subject, verdicts_ in promised.items():
        for verdict in verdicts_:
            sign = "≤" if verdict.at_most else "≥"
            unit = " %" if verdict.unit == "%" else ""
            measured = number(verdict.measured, 2 if verdict.limit < 2 else 1)
            where = f" ({verdict.where})" if verdict.where else ""
            rows.append(
                [
                    subject,
                    verdict.claim,
                    f"{sign} {verdict.limit:g}{unit}",
                    f"{measured}{unit if verdict.measured is not None else ''}{where}",
                    verdict.words,
                ]
            )
    yield from table_lines(["", "promise", "needed", "measured", "verdict"], rows, "lllll")
    yield ""


def _tables(panels: Sequence[Panel], data: str) -> Iterator[str]:
    yield from (f"## Accuracy on {data}", "")
    yield from paragraph(
        "Percent. **Bold**: the best rule of the literature in the column; *ahead*: points of "
        f"`{OURS}` above it. *Worst*: the lowest figure of the row under attack, and where."
    )
    rules, attacks = _shown(panels)
    columns = [NONE, *attacks]
    for panel in panels:
        yield from ("", f"### {data}, {panel.partition}", "")
        best = {attack: panel.best_literature(attack) for attack in columns}
        rows = []
        for rule in rules:
            cells = []
            for attack in columns:
                text, leader = number(panel.accuracy(rule, attack)), best[attack]
                bold = leader is not None and leader.where == rule
                cells.append(f"**{text}**" if bold else text)
            worst = panel.worst(rule, attacks)
            tail = ["·", ""] if worst is None else [number(worst.value), worst.where]
            rows.append([f"`{rule}`", *cells, *tail])
        silent = number(panel.accuracy(MEAN, SILENT))
        rows.append(["*ahead*", *(signed(panel.lead(a)) for a in columns), "", ""])
        header = ["rule", *columns, "worst", "where"]
        yield from table_lines(header, rows, "l" + "r" * (len(columns) + 1) + "l")
        yield from ("", f"`{MEAN}`, attackers silent: {silent}.")
    yield ""


def _worst_peers(panels: Sequence[Panel], data: str) -> Iterator[str]:
    yield from (f"## The worst honest peer on {data}", "")
    yield "Percent at the end, mean over seeds; the attack is the one where it is lowest."
    yield ""
    rules, attacks = _shown(panels)
    rows = []
    for rule in rules:
        row = [f"`{rule}`"]
        for panel in panels:
            found = lowest((panel.worst_peer(rule, attack), attack) for attack in attacks)
            row.append(number(panel.worst_peer(rule, NONE)))
            row.append("·" if found is None else f"{number(found.value)} {found.where}")
        rows.append(row)
    header = ["rule"]
    for panel in panels:
        header += [f"{panel.partition}, no attack", "worst attack"]
    yield from (*table_lines(header, rows, "l" + "rl" * len(panels)), "")


def _reputation(panels: Sequence[Panel], data: str) -> Iterator[str]:
    yield from (f"## Who is shut out on {data}", "")
    yield from paragraph(
        f"Of `{OURS}`, by partition ({', '.join(PARTITIONS)}), percent. *Out*: shares of the pairs "
        "of an honest observer and a peer it knows that are in quarantine. Attackers whose "
        "messages are refused on arrival, or who stay close to honest peers, need not be there. "
        f"A sleeper turns after round {asleep(panels[0].cell(OURS, SLEEPER))}."
    )
    yield ""
    header = [
        "attack",
        "accuracy",
        "worst peer",
        "honest out at the end",
        f"attackers out within {OUT_WITHIN} rounds",
        "attackers out at the end",
        "merges the gate refused",
    ]
    rows = []
    for attack in (NONE, *POISONING, *OTHERS):
        if all(panel.accuracy(OURS, attack) is None for panel in panels):
            continue
        columns = [
            [panel.accuracy(OURS, attack) for panel in panels],
            [panel.worst_peer(OURS, attack) for panel in panels],
            [honest_out(panel, attack) for panel in panels],
            [None if attack == NONE else attackers_out(panel, attack) for panel in panels],
            [None if attack == NONE else _out_at_end(panel, attack) for panel in panels],
            [_refusals(panel, attack) for panel in panels],
        ]
        rows.append([attack, *map(slashed, columns)])
    yield from (*table_lines(header, rows, "l" + "r" * 6), "")
    yield from paragraph(
        "Devices that send noise in rounds 5 to 12 and are honest before and after, a tenth of the "
        "swarm, 40 rounds: of the quarantines they got, "
        f"{slashed(readmitted(panel) for panel in panels)} % have ended. " + _framing(panels)
    )
    yield ""


def _framing(panels: Sequence[Panel]) -> str:
    scores = [framed_score(panel) for panel in panels]
    if all(framed is None for framed, _ in scores):
        return ""
    pairs = " / ".join(f"{number(a, 2)} ({number(b, 2)})" for a, b in scores)
    return (
        f"Mean reputation of the framed peer, and of the same peer with nobody attacking: {pairs}."
    )


def _out_at_end(panel: Panel, attack: str) -> float | None:
    return panel.table.mean(panel.cell(OURS, attack), lambda o: 100 * o.attackers_out[-1])


def _refusals(panel: Panel, attack: str) -> float | None:
    def share(outcome: Outcome) -> float | None:
        return 100 * outcome.refusals / outcome.merges if outcome.merges else None

    return panel.table.mean(panel.cell(OURS, attack), share)


def _large(table: Table) -> Iterator[str]:
    yield from (f"## Fifty peers, one bit per value ({DIGITS}, dirichlet:0.5, 40 rounds)", "")
    yield "Mean of the last three rounds / worst honest peer at the end, percent."
    yield ""
    shares = [(NONE, 0.0), (FLIPPING, 0.2), *((attack, 0.3) for attack in (*POISONING, *OTHERS))]
    rows = []
    for attack, share in shares:
        cells = [large_cell(attack, share, 0, codec=codec) for codec in CODECS]
        figures = [(table.accuracy(cell), table.worst_peer(cell)) for cell in cells]
        if any(mean is not None for mean, _ in figures):
            name = attack if attack == NONE else f"{attack}, {percent(share)}"
            rows.append([name, *(f"{number(mean)} / {number(worst)}" for mean, worst in figures)])
    yield from (*table_lines(["attack", *CODECS], rows, "lrr"), "")


def _backdoor(table: Table) -> Iterator[str]:
    yield from ("## Backdoor (50 peers, 20 % attackers)", "")
    yield from paragraph(
        "Success: the share of test rows with the trigger, of other classes, that get the "
        "attackers' label."
    )
    yield ""
    rows = []
    for rule, codec in product((OURS, MEAN), CODECS):
        clean, attacked = (
            large_cell(attack, 0.2, 0, codec=codec, rule=rule) for attack in (NONE, BACKDOOR)
        )
        figures = [table.accuracy(clean), table.accuracy(attacked)]
        named = f"`{rule}`, `{codec}`"
        rows.append([named, *map(number, figures), number(backdoor_success(table, attacked))])
    header = ["rule, codec", "nobody attacks", "clean accuracy under attack", "success"]
    yield from (*table_lines(header, rows, "lrrr"), "")


def _repeat() -> Iterator[str]:
    yield from ("## Repeat it", "", f"    {COMMAND}", "")
    yield from paragraph(
        "Finished cells are kept in build/robustness and survive an interruption; a cell runs "
        "again when a source that it depends on has changed. `python -m scripts.robustness --plan` "
        "says how many are missing and what they cost; `--only rule=gossamer,attack=ipm` runs a "
        "part; `--quick` takes one seed. fsdd takes part when its file is there (`--data FOLDER`)."
    )
