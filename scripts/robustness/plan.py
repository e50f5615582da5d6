"""Which cells the page needs.

Four studies share one cache. The table: rules by attacks by partitions by data sets, 30 % of the
peers lie. Attacks that no vector shows (replays, forgeries, Sybils) are asked of `gossamer`
alone: other rules do not see them. `mean` under `nan` stands for a rule that knows the attackers,
because what they send is refused on arrival. The large swarm: 50 peers with the codec `sign1` and
with `float32`. The backdoor: 20 % of 50. The fault: devices that are broken for eight rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Final

from scripts.robustness.cells import FAULT, NONE, Cell
from scripts.robustness.material import DIGITS, FSDD

from gossamer_agent.errors import ConfigError
from gossamer_agent.merge.rules import get_rule
from gossamer_simulator.attackers.table import check_attack

OURS: Final = "gossamer"
MEAN: Final = "mean"
LITERATURE: Final = (
    MEAN,
    "median",
    "trimmed-mean",
    "krum",
    "multi-krum",
    "geometric-median",
    "centered-clipping",
    "clipped-gossip",
    "nnm+median",
    "nnm+trimmed-mean",
    "bucketing+centered-clipping",
    "balance",
    "ubar",
)
BACKDOOR: Final = "backdoor"
SLEEPER: Final = "sleeper"
FLIPPING: Final = "label-flipping"
POISONING: Final = (
    "sign-flipping",
    "gaussian",
    "alie",
    "noisy-alie",
    "min-max",
    "ipm",
    "noisy-ipm",
    "ipm-whole",
    "mimic",
    "dissensus",
    FLIPPING,
    BACKDOOR,
    "free-rider",
    "stale",
    SLEEPER,
    "on-off",
)
SILENT: Final = "nan"
FRAMING: Final = "framing"
OTHERS: Final = (
    SILENT,
    "scale-bomb",
    "replay",
    "forge",
    "whitewash",
    "sybil",
    FRAMING,
    "eclipse",
    "equivocation",
)
DATA: Final = (DIGITS, FSDD)
IID, SKEWED, VERY_SKEWED = PARTITIONS = ("iid", "dirichlet:0.5", "dirichlet:0.1")
SEEDS: Final = (1, 2, 3)
SIZES: Final = {DIGITS: {"peers": 20, "rounds": 40}, FSDD: {"peers": 12, "rounds": 30}}
SIGN1, FLOAT32 = CODECS = ("sign1", "float32")

Only = Mapping[str, Sequence[str]]
_FIELDS: Final = tuple(field.name for field in fields(Cell))


def table_cells(rules: Sequence[str], attacks: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Rules by attacks on all data sets and partitions; `none` is always among the attacks."""
    return [
        cell
        for data in DATA
        for partition in PARTITIONS
        for rule in rules
        for attack in (NONE, *attacks)
        for seed in seeds
        for cell in (table_cell(data, partition, rule, attack, seed),)
    ]


def table_cell(data: str, partition: str, rule: str, attack: str, seed: int) -> Cell:
    """A cell of the table."""
    share = 0.0 if attack == NONE else 0.3
    return Cell(
        data=data,
        partition=partition,
        rule=rule,
        attack=attack,
        seed=seed,
        byzantine=share,
        **SIZES[data],
    )


def large_cell(attack: str, share: float, seed: int, *, codec: str, rule: str = OURS) -> Cell:
    """A cell of the swarm of 50 on digits."""
    return Cell(
        data=DIGITS,
        partition=SKEWED,
        rule=rule,
        attack=attack,
        seed=seed,
        byzantine=0.0 if attack == NONE else share,
        peers=50,
        rounds=40,
        codec=codec,
    )


def large_cells(seeds: Sequence[int]) -> list[Cell]:
    """Both codecs: nobody attacks, a fifth flips labels, 30 % make any attack."""
    shares = [(NONE, 0.0), (FLIPPING, 0.2), *((attack, 0.3) for attack in (*POISONING, *OTHERS))]
    return [
        large_cell(attack, share, seed, codec=codec)
        for codec in CODECS
        for attack, share in shares
        for seed in seeds
    ]


def backdoor_cells(seeds: Sequence[int]) -> list[Cell]:
    """A fifth plants a backdoor; what plain averaging makes of it shows that it works."""
    return [
        large_cell(attack, 0.2, seed, codec=codec, rule=rule)
        for codec in CODECS
        for rule in (OURS, MEAN)
        for attack in (NONE, BACKDOOR)
        for seed in seeds
    ]


def fault_cell(data: str, partition: str, seed: int) -> Cell:
    """A tenth of the devices is faulty for a while; long enough to come back."""
    return Cell(
        data=data,
        partition=partition,
        rule=OURS,
        attack=FAULT,
        seed=seed,
        byzantine=0.1,
        **SIZES[data],
    )


def all_cells(seeds: Sequence[int] = SEEDS) -> list[Cell]:
    """Everything on the page, each cell once; what answers most questions comes first."""
    cells = [
        *table_cells((OURS, *LITERATURE), POISONING, seeds),
        *table_cells((OURS,), OTHERS, seeds),
        *table_cells((MEAN,), (SILENT,), seeds),
        *(fault_cell(data, split, seed) for data in DATA for split in PARTITIONS for seed in seeds),
        *large_cells(seeds),
        *backdoor_cells(seeds),
    ]
    return list(dict.fromkeys(cells))


def known(cells: Sequence[Cell]) -> tuple[list[Cell], list[str]]:
    """Those that this simulator can run, and a line for the rules and the attacks that it lacks."""
    rules = _known({cell.rule for cell in cells}, get_rule)
    ours = {NONE, FAULT}
    attacks = _known({cell.attack for cell in cells} - ours, check_attack) | ours
    lacking = [
        f"{kind}s not known here, skipped: {', '.join(names)}"
        for kind, good in (("rule", rules), ("attack", attacks))
        if (names := list(_rest(cells, kind, good)))
    ]
    return [cell for cell in cells if cell.rule in rules and cell.attack in attacks], lacking


def _known(names: set[str], check: Callable[[str], object]) -> set[str]:
    good = set()
    for name in names:
        try:
            check(name)
        except ConfigError:
            continue
        good.add(name)
    return good


def _rest(cells: Sequence[Cell], field: str, good: set[str]) -> Iterator[str]:
    names = dict.fromkeys(getattr(cell, field) for cell in cells)
    return (name for name in names if name not in good)


def parse_only(text: str) -> Only:
    """`rule=gossamer,attack=ipm`: field to the values that are wanted. ValueError, one line.

    A field may be named more than once: any of its values will do.
    """
    only: dict[str, list[str]] = {}
    for part in filter(None, text.split(",")):
        field, equals, value = part.partition("=")
        if not equals or field not in _FIELDS:
            raise ValueError(f"{part!r}: write FIELD=VALUE with one of {', '.join(_FIELDS)}")
        only.setdefault(field, []).append(value)
    return only


def matches(cell: Cell, only: Only) -> bool:
    return all(str(getattr(cell, field)) in values for field, values in only.items())
