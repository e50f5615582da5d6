"""Averages over seeds, and what they are compared with. Accuracies in percent, rates of 1.

A missing cell is a missing number: an average over fewer seeds than were asked for is not made, so
that a half-finished campaign never looks like a finished one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scripts.robustness.cells import Cell, Outcome
from scripts.robustness.plan import LITERATURE, OURS, table_cell


@dataclass(frozen=True, slots=True)
class Worst:
    """The lowest of several averages, and where. missing: how many are not known."""

    value: float
    where: str
    missing: int = 0


class Table:
    """Outcomes by cell. Cells are named without their seed: any seed of the table stands in."""

    def __init__(self, outcomes: Mapping[Cell, Outcome], seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self._size = len(outcomes)
        self._by_seed: dict[Cell, dict[int, Outcome]] = {}
        for cell, outcome in outcomes.items():
            self._by_seed.setdefault(replace(cell, seed=0), {})[cell.seed] = outcome

    def __len__(self) -> int:
        return self._size

    def outcomes(self, cell: Cell) -> list[Outcome] | None:
        """Of all seeds, in their order; None if one is missing."""
        found = self._by_seed.get(replace(cell, seed=0), {})
        whole = [found[seed] for seed in self.seeds if seed in found]
        return whole if whole and len(whole) == len(self.seeds) else None

    def mean(self, cell: Cell, of: Callable[[Outcome], float | None]) -> float | None:
        """The mean over seeds of a figure; None if a cell is missing or has no such figure."""
        values = [of(outcome) for outcome in self.outcomes(cell) or ()]
        known = [value for value in values if value is not None]
        return fmean(known) if known and len(known) == len(values) else None

    def accuracy(self, cell: Cell) -> float | None:
        """Percent: mean over seeds, honest peers and the last three rounds."""
        return self.mean(cell, lambda outcome: 100 * outcome.accuracy)

    def worst_peer(self, cell: Cell) -> float | None:
        """Percent: the worst honest peer at the end, mean over seeds."""
        return self.mean(cell, lambda outcome: 100 * outcome.worst)

    def per_round(self, cell: Cell) -> list[float] | None:
        """Percent by round, means over seeds and peers."""
        outcomes = self.outcomes(cell)
        if outcomes is None:
            return None
        series = [outcome.per_round for outcome in outcomes]
        return [100 * fmean(values) for values in zip(*series, strict=True)]


@dataclass(frozen=True, slots=True)
class Panel:
    """One data set and one partition: rules by attacks."""

    table: Table
    data: str
    partition: str

    def cell(self, rule: str, attack: str) -> Cell:
        return table_cell(self.data, self.partition, rule, attack, self.table.seeds[0])

    def accuracy(self, rule: str, attack: str) -> float | None:
        return self.table.accuracy(self.cell(rule, attack))

    def worst_peer(self, rule: str, attack: str) -> float | None:
        return self.table.worst_peer(self.cell(rule, attack))

    def rules(self, names: Iterable[str], attacks: Sequence[str]) -> list[str]:
        """Those of which the panel has at least one figure."""
        return [n for n in names if any(self.accuracy(n, a) is not None for a in attacks)]

    def attacks(self, names: Iterable[str], rules: Sequence[str]) -> list[str]:
        return [n for n in names if any(self.accuracy(r, n) is not None for r in rules)]

    def worst(self, rule: str, attacks: Sequence[str]) -> Worst | None:
        """The lowest accuracy of a rule under these attacks."""
        return lowest((self.accuracy(rule, attack), attack) for attack in attacks)

    def best_literature(self, attack: str) -> Worst | None:
        """The best single rule of the literature in this column, as far as there are figures."""
        return highest((self.accuracy(rule, attack), rule) for rule in LITERATURE)

    def lead(self, attack: str) -> float | None:
        """Points of our rule above the best one of the literature in this column."""
        ours, best = self.accuracy(OURS, attack), self.best_literature(attack)
        return None if ours is None or best is None else ours - best.value


def lowest(figures: Iterable[tuple[float | None, str]]) -> Worst | None:
    """The lowest figure that is known, and its name; None if none is."""
    listed = list(figures)
    known = [(value, name) for value, name in listed if value is not None]
    if not known:
        return None
    value, name = min(known, key=lambda item: item[0])
    return Worst(value, name, missing=len(listed) - len(known))


def highest(figures: Iterable[tuple[float | None, str]]) -> Worst | None:
    """The highest figure that is known, and its name; None if none is."""
    found = lowest((None if value is None else -value, name) for value, name in figures)
    return None if found is None else Worst(-found.value, found.where, found.missing)
