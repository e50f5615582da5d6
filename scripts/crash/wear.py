"""How much a device writes to its flash: python -m scripts.crash.wear

Counts, under strace, the blocks of 4 KiB that are found changed whenever a file is synced, or, for
what is written without a sync, whenever the kernel writes by itself, which it does after half a
minute at the latest. Entries have the sizes that docs/durability.md measures; the stores are the
real ones. What the file system writes for itself (its journal, the table of the folder) comes on
top and is not seen here.

    a round     a delta and a merge appended to the own log
    a save      the caches of what is known of others: one head, one watermark, all scores changed
    a batch     what eight followed peers published, kept for audits

Saves come every 30 s, but only if something changed: at most once for each entry of each member,
and once for each own round. Batches come every 10 minutes, if something was received.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import Final

from scripts.crash.script import AUTHOR, SWARM, tell
from scripts.crash.trace import Op, run, run_module

from gossamer_agent.members.remembered import HEADS, REPUTATION, WATERMARKS
from gossamer_agent.profile import list_profiles, load_profile
from gossamer_agent.store.received import ReceivedStore
from gossamer_agent.store.sqlite import CHECKPOINT_ENTRIES, SqliteStore
from gossamer_agent.store.state import StateStore
from gossamer_crypto.envelope import Envelope, Kind
from gossamer_crypto.epoch import FixedEpoch
from gossamer_crypto.feed import FeedWriter
from gossamer_crypto.identity import Identity

BLOCK: Final = 4096
ENTRY_BYTES: Final = {Kind.DELTA: 959, Kind.MERGE: 1154}
ENVELOPE_BYTES: Final = 274
ROUNDS: Final = 4 * CHECKPOINT_ENTRIES
SAVES: Final = 400
BATCHES: Final = 100
MEMBERS: Final = 12
FOLLOWED: Final = 8
HEAD_BYTES: Final = 300
SCORE_BYTES: Final = 170
HOURS: Final = 8766
SAVES_AN_HOUR: Final = 120
BATCHES_AN_HOUR: Final = 6
MB: Final = 1_000_000


def append_rounds(folder: Path) -> None:
    """So many rounds of entries, as an agent appends them."""
    writer = FeedWriter(AUTHOR, SWARM, FixedEpoch(bytes(32)), os.urandom)
    with closing(SqliteStore(folder / "feed.sqlite3")) as store:
        for _ in range(ROUNDS):
            for kind in ENTRY_BYTES:
                store.append(_entry(writer, kind))


def save_caches(folder: Path) -> None:
    """So many saves of what an agent knows of others."""
    chance = random.Random(1)
    names = [chance.randbytes(32) for _ in range(MEMBERS)]
    heads = {name: chance.randbytes(HEAD_BYTES) for name in names}
    marks = {bytes([number]): chance.randbytes(HEAD_BYTES) for number in range(FOLLOWED)}
    with closing(StateStore(folder / "state.sqlite3")) as state:
        for _ in range(SAVES):
            heads[chance.choice(names)] = chance.randbytes(HEAD_BYTES)
            marks[bytes([chance.randrange(FOLLOWED)])] = chance.randbytes(HEAD_BYTES)
            scores = [(name, chance.randbytes(SCORE_BYTES)) for name in names[:FOLLOWED]]
            state.replace_lazily(REPUTATION, scores)
            state.replace_lazily(WATERMARKS, marks.items())
            state.replace_lazily(HEADS, heads.items())
            tell("saved")


def keep_batches(folder: Path) -> None:
    """So many batches of what others published."""
    writers = [
        FeedWriter(Identity.from_seed(bytes([n]) * 32), SWARM, FixedEpoch(bytes(32)), os.urandom)
        for n in range(FOLLOWED)
    ]
    with closing(ReceivedStore(folder / "received.sqlite3", 64 << 20)) as store:
        for _ in range(BATCHES):
            store.keep([_entry(writer, Kind.DELTA) for writer in writers])
            tell("kept")


PARTS: Final = {
    "round": (append_rounds, ROUNDS),
    "save": (save_caches, SAVES),
    "batch": (keep_batches, BATCHES),
}


def _entry(writer: FeedWriter, kind: Kind) -> Envelope:
    return writer.append(kind, random.randbytes(ENTRY_BYTES[kind] - ENVELOPE_BYTES))


def written(ops: list[Op]) -> tuple[Counter[str], Counter[str]]:
    """(bytes by the file's name, number of syncs by call). A mark: the kernel writes all."""
    changed: dict[str, set[int]] = defaultdict(set)
    volume: Counter[str] = Counter()
    syncs: Counter[str] = Counter()
    for op in ops:
        if op.call in ("write", "pwrite64") and not op.path.endswith("-shm"):
            start = max(op.offset, 0)
            changed[op.path].update(range(start // BLOCK, (start + len(op.data) - 1) // BLOCK + 1))
        elif op.call in ("fsync", "fdatasync", "mark"):
            for path in [*changed] if op.call == "mark" else [op.path]:
                volume[path.rpartition("/")[2]] += BLOCK * len(changed.pop(path, ()))
            syncs[op.call] += op.call != "mark"
    return volume, syncs


def measure(part: str) -> float:
    """Bytes that one round, save or batch writes; prints them by file."""
    folder = Path(tempfile.mkdtemp())
    try:
        ran = run(run_module(["scripts.crash.wear", part, str(folder)]), folder)
        assert ran.code == 0, ran.errors
    finally:
        shutil.rmtree(folder)
    volume, syncs = written(ran.ops)
    times = PARTS[part][1]
    for name, count in sorted(volume.items()):
        if count:
            print(f"{count / times:9,.0f}  bytes a {part} to {name}")
    total = sum(volume.values()) / times
    print(f"{total:9,.0f}  bytes a {part}, {sum(syncs.values()) / times:.1f} syncs\n")
    return total


def main() -> None:
    if len(sys.argv) > 2:
        PARTS[sys.argv[1]][0](Path(sys.argv[2]))
        return
    round_, save, batch = (measure(part) for part in PARTS)
    typical = round_ + (MEMBERS + 1) * save + min(BATCHES_AN_HOUR, FOLLOWED) * batch
    most = round_ + SAVES_AN_HOUR * save + BATCHES_AN_HOUR * batch
    for what, hour in ((f"{MEMBERS} members", typical), ("the most there can be", most)):
        day, year = 24 * hour / MB, HOURS * hour / MB
        print(
            f"an hour with a round, {what}: {hour:,.0f} bytes; {day:.1f} MB a day, {year:,.0f} MB"
        )
    print("\n| profile | flash budget a day | of it, hourly rounds | shortest interval within it |")
    print("|---|---:|---:|---:|")
    rest = most - round_
    for name in list_profiles():
        budget = load_profile(name).budget.flash_mb_per_day * MB
        interval = 86_400 * round_ / (budget - 24 * rest)
        used = 100 * 24 * most / budget
        print(f"| {name} | {budget / MB:,.0f} MB | {used:.0f} % | {interval:.0f} s |")


if __name__ == "__main__":
    main()
