"""40 Sybils of one inviter against 10 honest peers, for 200 seeds: their share of every merge.

    python scripts/sybil_campaign.py [--seeds N]

Two processes; progress on stderr. Prints a table and exits with 1 if they had more than a third of
any merge.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from dataclasses import dataclass

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gossamer_simulator.vote_shares import sybil_shares

SEEDS = 200
ROW = "{:>9} {:>8} {:>13} {:>14} {:>12}"


@dataclass(frozen=True)
class Found:
    """What one seed gave. beyond: merges in which the Sybils had more than a third."""

    seed: int
    merges: int
    beyond: int
    most: float
    mean: float


def found(seed: int) -> Found:
    """Simulate one swarm."""
    shares = sybil_shares(seed)
    parts = [share.votes / share.total for share in shares]
    beyond = sum(not share.is_bounded for share in shares)
    return Found(seed, len(shares), beyond, max(parts), sum(parts) / len(parts))


def table(rows: list[Found]) -> str:
    """Twenty seeds a line, and all of them."""
    lines = [ROW.format("seeds", "merges", "over a third", "largest share", "mean share")]
    groups = [rows[start : start + 20] for start in range(0, len(rows), 20)]
    for group in [*groups, rows] if len(groups) > 1 else groups:
        merges = sum(row.merges for row in group)
        mean = sum(row.mean * row.merges for row in group) / merges
        lines.append(
            ROW.format(
                "all" if len(group) > 20 else f"{group[0].seed}-{group[-1].seed}",
                merges,
                sum(row.beyond for row in group),
                f"{max(row.most for row in group):.4f}",
                f"{mean:.4f}",
            )
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the share of votes of 40 Sybils.")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many (%(default)s)")
    seeds = parser.parse_args().seeds
    if seeds < 1:
        parser.error("--seeds: at least 1")
    rows = []
    with multiprocessing.Pool(2) as pool:
        for row in pool.imap(found, range(seeds)):
            rows.append(row)
            if len(rows) % 20 == 0:
                print(f"{len(rows)}/{seeds} seeds", file=sys.stderr)
    print("40 Sybils of one inviter against 10 honest peers: their votes in merges of the honest")
    print(table(rows))
    return 1 if any(row.beyond for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
