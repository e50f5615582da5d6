"""The command line of the campaign."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Final

from scripts.robustness.cache import Cache
from scripts.robustness.cells import NONE, Cell, Material, Outcome, Record, key_of
from scripts.robustness.compare import FIGURES, Column, compare_lines
from scripts.robustness.material import MissingError, material
from scripts.robustness.page import Made, write_page
from scripts.robustness.plan import (
    OURS,
    POISONING,
    SEEDS,
    all_cells,
    known,
    large_cells,
    matches,
    parse_only,
    table_cells,
)
from scripts.robustness.running import Task, run_all
from scripts.robustness.sources import ROOT, code_digest
from scripts.robustness.table import Table

from gossamer_agent.errors import ConfigError
from gossamer_simulator.formatting import duration

BUILD: Final = ROOT / "build" / "robustness"
CPU_SECONDS: Final = {("digits", 20): 1.6, ("fsdd", 12): 1.0, ("digits", 50): 6.0}
"""What a cell takes where none was measured yet; on one core of 2.5 GHz."""

INTERRUPTED: Final = 130


@dataclass(slots=True)
class Campaign:
    """The cells of one call: which are known, and which are to be run. said: what was skipped."""

    build: Path
    source: Path
    stale: bool
    cache: Cache = field(init=False)
    said: list[str] = field(default_factory=list)
    _material: dict[str, Material | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = Cache(self.build / "cells.jsonl")
        if self.cache.skipped:
            self.say(f"{self.cache.skipped} unreadable lines in the file of cells, skipped")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def runnable(self, cells: Sequence[Cell]) -> list[Cell]:
        """Without those whose rule, attack or data are not there; a line for each of these."""
        able, lacking = known(cells)
        able = [cell for cell in able if self._made(cell.data, lacking) is not None]
        for line in lacking:
            self.say(line)
        self.said += lacking
        return able

    def _made(self, data: str, lacking: list[str]) -> Material | None:
        if data not in self._material:
            try:
                self._material[data] = material(data, self.source, self.build)
            except MissingError as error:
                self._material[data] = None
                lacking.append(f"{error}; skipped")
        return self._material[data]

    def task(self, cell: Cell) -> Task:
        made = self._material[cell.data]
        assert made is not None, "only cells that are runnable"
        return Task(cell, made, key_of(cell, made), code_digest(cell.rule))

    def record(self, cell: Cell) -> Record | None:
        task = self.task(cell)
        return self.cache.get(task.key, task.code, stale=self.stale)

    def before(self, cell: Cell) -> Record | None:
        """What earlier code made of it."""
        task = self.task(cell)
        return self.cache.before(task.key, task.code)

    def missing(self, cells: Sequence[Cell]) -> list[Task]:
        return [self.task(cell) for cell in cells if self.record(cell) is None]

    def outcomes(self, cells: Sequence[Cell]) -> dict[Cell, Outcome]:
        records = ((cell, self.record(cell)) for cell in cells)
        return {cell: record.outcome for cell, record in records if record is not None}

    def stale_cells(self, cells: Sequence[Cell]) -> int:
        records = [(record, cell) for cell in cells if (record := self.record(cell)) is not None]
        return sum(record.code != code_digest(cell.rule) for record, cell in records)

    def run(self, tasks: Sequence[Task], jobs: int) -> bool:
        """Whether all of them ended well."""
        if not tasks:
            return True
        failed = run_all(tasks, jobs, self.cache.add)
        for line in failed:
            self.say(f"failed: {line}")
        return not failed

    def estimate(self, tasks: Sequence[Task]) -> float:
        """CPU seconds, from cells of the same kind as far as there are any."""
        took = self.cache.cpu_seconds()
        kinds = [(task.cell.data, task.cell.peers) for task in tasks]
        typical = CPU_SECONDS | {kind: median(seconds) for kind, seconds in took.items()}
        return sum(typical.get(kind, 2.0) for kind in kinds)


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    try:
        return int(asked.command(asked))
    except KeyboardInterrupt:
        print("interrupted; finished cells are kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, ValueError) as error:
        print(f"robustness: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.robustness",
        description="Simulate every merge rule under every attack and write docs/robustness.md.",
    )
    parser.set_defaults(command=campaign)
    _common(parser)
    parser.add_argument("--plan", action="store_true", help="say what there is to do, and stop")
    parser.add_argument("--no-run", action="store_true", help="write the page of what there is")
    parser.add_argument(
        "--docs", type=Path, help="where the page goes (docs, if the whole page was asked for)"
    )
    commands = parser.add_subparsers(metavar="compare")
    beside = commands.add_parser("compare", help="print columns of rules side by side")
    beside.set_defaults(command=compare)
    _common(beside)
    beside.add_argument("--rules", default=OURS, help="comma-separated; the first is the base")
    beside.add_argument("--attacks", help="comma-separated; none is added (all that poison)")
    beside.add_argument("--large", action="store_true", help="the swarm of 50 instead of the table")
    beside.add_argument("--before", action="store_true", help="show what earlier code made, too")
    beside.add_argument("--figure", choices=FIGURES, default=FIGURES[0])
    beside.add_argument("--no-run", action="store_true", help="show what there is")
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="(1 2 3)")
    parser.add_argument("--quick", action="store_true", help="the first seed alone")
    parser.add_argument(
        "--only",
        type=parse_only,
        default={},
        metavar="FIELD=VALUE,...",
        help="a part: rule=gossamer,attack=ipm,partition=iid,data=digits,seed=1,codec=sign1 ...",
    )
    parser.add_argument(
        "--keep-stale", action="store_true", help="take cells of other code, and say so"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        help="folder of fsdd.npz (../shared/data)",
    )
    parser.add_argument("--build", type=Path, default=BUILD, help="where finished cells are kept")


def _seeds(asked: argparse.Namespace) -> list[int]:
    seeds: list[int] = asked.seeds
    return seeds[:1] if asked.quick else seeds


def campaign(asked: argparse.Namespace) -> int:
    """Run what is missing and write the page."""
    seeds = _seeds(asked)
    work = Campaign(asked.build, asked.data, asked.keep_stale)
    planned = all_cells(seeds)
    cells = work.runnable(planned)
    chosen = [cell for cell in cells if matches(cell, asked.only)]
    tasks = work.missing(chosen)
    if asked.plan:
        print("\n".join(_plan_lines(work, chosen, tasks, asked.jobs)))
        if len(cells) < len(planned):
            print(f"{len(planned) - len(cells)} more cells of the page cannot be run here")
        return 0
    well = asked.no_run or work.run(tasks, asked.jobs)
    made = Made(
        planned=len(planned),
        code=code_digest(OURS),
        stale=work.stale_cells(cells),
        lacking=work.said,
    )
    if asked.docs is None and (asked.only or seeds != list(SEEDS)):
        print("a part is kept in the cache, not written as the page; --docs FOLDER writes it")
    else:
        path = write_page(Table(work.outcomes(cells), seeds), made, asked.docs or ROOT / "docs")
        print(f"wrote {path}")
    return 0 if well else 1


def _plan_lines(
    work: Campaign, cells: Sequence[Cell], tasks: Sequence[Task], jobs: int
) -> Iterator[str]:
    by_kind: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        by_kind.setdefault((task.cell.data, task.cell.peers), []).append(task)
    for (data, peers), mine in by_kind.items():
        seconds = work.estimate(mine)
        yield f"{data}, {peers} peers: {len(mine)} cells, {seconds / 3600:.2f} CPU hours"
    seconds = work.estimate(tasks)
    yield (
        f"{len(cells)} cells, {len(cells) - len(tasks)} done, {len(tasks)} to run: "
        f"{seconds / 3600:.2f} CPU hours, {duration(seconds / jobs)} with {jobs} free cores"
    )
    yield f"sources of {OURS}: {code_digest(OURS)}"


def compare(asked: argparse.Namespace) -> int:
    """Run what is missing of some columns and print them."""
    seeds, rules = _seeds(asked), _words(asked.rules)
    attacks = _words(asked.attacks) if asked.attacks else list(POISONING)
    work = Campaign(asked.build, asked.data, asked.keep_stale)
    cells = _compared(rules, attacks, seeds, large=asked.large)
    chosen = work.runnable([cell for cell in cells if matches(cell, asked.only)])
    seeds = [seed for seed in seeds if any(cell.seed == seed for cell in chosen)]
    if not chosen:
        raise ValueError("nothing is left to compare")
    well = asked.no_run or work.run(work.missing(chosen), asked.jobs)
    columns = []
    for rule in dict.fromkeys(cell.rule for cell in chosen):
        mine = [cell for cell in chosen if cell.rule == rule]
        if asked.before:
            records = ((cell, work.before(cell)) for cell in mine)
            old = {cell: record.outcome for cell, record in records if record is not None}
            if old:
                columns.append(Column(f"{rule} before", rule, old))
        columns.append(Column(rule, rule, work.outcomes(mine)))
    for line in compare_lines(chosen, columns, seeds, asked.figure):
        print(line)
    return 0 if well else 1


def _compared(
    rules: Sequence[str], attacks: Sequence[str], seeds: Sequence[int], *, large: bool
) -> list[Cell]:
    if not large:
        return table_cells(rules, [attack for attack in attacks if attack != NONE], seeds)
    wanted = {NONE, *attacks}
    return [
        replace(cell, rule=rule)
        for rule in rules
        for cell in large_cells(seeds)
        if cell.attack in wanted
    ]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
