"""Who holds which rows: training rows are dealt out to the peers of a simulated swarm.

`iid` deals rows at random. `dirichlet:A` deals each class in proportions drawn from Dir(A), the
usual model of label skew (Yurochkin et al. 2019; Li et al., "Federated Learning on Non-IID Data
Silos", 2022): A = 100 is nearly IID, A = 0.1 leaves most peers two or three classes. `subject`
keeps the rows of one device, person or place together, as the data set names them. In a regression
the rows are ordered by their first target and its tenths stand for classes.
"""

from __future__ import annotations

import heapq
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gossamer_agent.errors import ConfigError, DataError
from gossamer_agent.learner import Targets

Rows: TypeAlias = npt.NDArray[np.int64]

ROWS_PER_PEER_MIN = 4
ALPHA_MIN, ALPHA_MAX = 1e-3, 1e6
TARGET_BINS = 10
SPECS = "iid, dirichlet:A (for example dirichlet:0.5) or subject"


def check_spec(spec: str) -> None:
    """ConfigError, one line, unless `spec` names a way to deal rows out."""
    kind, _, argument = spec.partition(":")
    if kind not in ("iid", "dirichlet", "subject") or (kind != "dirichlet" and argument):
        raise ConfigError(f"partition {spec!r} is not known; use {SPECS}")
    try:
        alpha = float(argument or "nan")
    except ValueError:
        alpha = float("nan")
    if kind == "dirichlet" and not ALPHA_MIN <= alpha <= ALPHA_MAX:
        raise ConfigError(
            f"partition {spec!r}: write dirichlet:A with A from {ALPHA_MIN:g} to {ALPHA_MAX:g}, "
            "for example dirichlet:0.5"
        )


def partition(
    spec: str,
    y: Targets,
    device: npt.NDArray[np.int32] | None,
    peers: int,
    rng: np.random.Generator,
) -> list[Rows]:
    """Row indices of each peer: `peers` sorted int64 arrays, disjoint, together all rows of `y`.

    Every peer gets at least `ROWS_PER_PEER_MIN` rows. Raises ConfigError as `check_spec`, and
    DataError, one line, for too few rows and for `subject` without devices or with devices that
    are too small.
    """
    check_spec(spec)
    kind, _, argument = spec.partition(":")
    if peers < 1:
        raise DataError(f"a swarm of {peers} peers is not possible; use at least 1")
    if len(y) < peers * ROWS_PER_PEER_MIN:
        raise DataError(
            f"{peers} peers need {peers * ROWS_PER_PEER_MIN} training rows "
            f"({ROWS_PER_PEER_MIN} each), the data set has {len(y)}; "
            f"use at most {len(y) // ROWS_PER_PEER_MIN} peers or more data"
        )
    if kind == "iid":
        parts = _iid(len(y), peers, rng)
    elif kind == "dirichlet":
        parts = _dirichlet(float(argument), y, peers, rng)
    else:
        parts = _subject(device, len(y), peers, rng)
    return [np.sort(part) for part in parts]


def _iid(rows: int, peers: int, rng: np.random.Generator) -> list[Rows]:
    order = rng.permutation(rows).astype(np.int64)
    return [np.asarray(part) for part in np.array_split(order, peers)]


def _dirichlet(alpha: float, y: Targets, peers: int, rng: np.random.Generator) -> list[Rows]:
    if y.ndim == 2:
        ranks = np.argsort(np.argsort(y[:, 0], kind="stable"), kind="stable")
        y = ranks * TARGET_BINS // len(y)
    shares: list[list[Rows]] = [[] for _ in range(peers)]
    for label in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == label)).astype(np.int64)
        cuts = np.cumsum(rng.dirichlet(np.full(peers, alpha)))[:-1] * len(rows)
        for share, part in zip(shares, np.split(rows, cuts.astype(np.int64)), strict=True):
            share.append(part)
    return _top_up([rng.permutation(np.concatenate(share)) for share in shares])


def _top_up(parts: list[Rows]) -> list[Rows]:
    """Give peers below the minimum some rows of the richest peer.

    Drawing again until all have enough, as is often done, may never end for a small A.
    """
    sizes = np.array([len(part) for part in parts])
    for poor in np.flatnonzero(sizes < ROWS_PER_PEER_MIN):
        while sizes[poor] < ROWS_PER_PEER_MIN:
            rich = int(sizes.argmax())
            spare = min(sizes[rich] - ROWS_PER_PEER_MIN, ROWS_PER_PEER_MIN - sizes[poor])
            assert spare > 0, "partition() checked that there are enough rows for all"
            parts[poor] = np.concatenate([parts[poor], parts[rich][-spare:]])
            parts[rich] = parts[rich][:-spare]
            sizes[poor] += spare
            sizes[rich] -= spare
    return parts


def _subject(
    device: npt.NDArray[np.int32] | None, rows: int, peers: int, rng: np.random.Generator
) -> list[Rows]:
    if device is None:
        raise DataError(
            "partition 'subject' needs a data set with an array `subject` or `device`; use iid"
        )
    assert len(device) == rows
    subjects = [np.flatnonzero(device == d).astype(np.int64) for d in np.unique(device)]
    subjects = [subjects[i] for i in rng.permutation(len(subjects))]
    if peers >= len(subjects):
        parts = _split_subjects(subjects, peers, rng)
    else:
        parts = _join_subjects(subjects, peers)
    smallest = min(len(part) for part in parts)
    if smallest < ROWS_PER_PEER_MIN:
        raise DataError(
            f"partition 'subject' with {peers} peers leaves one with {smallest} rows "
            f"(at least {ROWS_PER_PEER_MIN}); use another number of peers (there are "
            f"{len(subjects)} subjects), or iid"
        )
    return parts


def _split_subjects(subjects: list[Rows], peers: int, rng: np.random.Generator) -> list[Rows]:
    """More peers than subjects: each further peer goes where it is left with the most rows."""
    holders = [1] * len(subjects)
    heap = [(-len(rows) / 2, i) for i, rows in enumerate(subjects)]
    heapq.heapify(heap)
    for _ in range(peers - len(subjects)):
        _, i = heap[0]
        holders[i] += 1
        heapq.heapreplace(heap, (-len(subjects[i]) / (holders[i] + 1), i))
    # This is d'Hondt's method: the smallest peer has as many rows as is possible.
    return [
        np.asarray(part)
        for rows, parts in zip(subjects, holders, strict=True)
        for part in np.array_split(rng.permutation(rows), parts)
    ]


def _join_subjects(subjects: list[Rows], peers: int) -> list[Rows]:
    """More subjects than peers: largest subject first, each to the peer with fewest rows."""
    loads = [(0, peer) for peer in range(peers)]
    held: list[list[Rows]] = [[] for _ in range(peers)]
    for rows in sorted(subjects, key=len, reverse=True):
        load, peer = loads[0]
        held[peer].append(rows)
        heapq.heapreplace(loads, (load + len(rows), peer))
    return [np.concatenate(rows) for rows in held]
