"""The default rule: votes, clipping, attacks it was built against, and its independence of CPUs."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer_agent.merge.exact import distances_to, median_by_votes
from gossamer_agent.merge.gossamer import gossamer, share_votes
from gossamer_agent.merge.kernels import coordinate_median, weighted_lower_median
from gossamer_agent.merge.result import ONE_VOTE


def swarm(count: int, size: int = 2000, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """Honest peers: around a common centre at zero."""
    return (spread * np.random.default_rng(seed).normal(size=(count, size))).astype(np.float32)


def norm(vector: np.ndarray) -> float:
    return math.sqrt(float((vector.astype(np.float64) ** 2).sum()))


def pipeline_in_float64(rows: np.ndarray) -> np.ndarray:
    """Steps 2 to 4 of the rule written down naively, with its votes: the oracle."""
    wide = rows.astype(np.float64)
    count = len(rows)
    radii = np.sqrt(((wide - np.sort(wide, axis=0)[(count - 1) // 2]) ** 2).sum(axis=1))
    scale = 1.35 * np.sort(radii)[(count - 1) // 2]
    pairs = np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(axis=2))
    similarity = np.maximum(0, 1 - (pairs / (0.35 * scale)) ** 2 / 4) ** 4
    # Rounded as in the rule, because it decides ties: three thirds of a vote are not quite one.
    votes = np.rint(ONE_VOTE / similarity.sum(axis=1))
    order = np.argsort(wide, axis=0, kind="stable")
    reached = 2 * np.cumsum(votes[order], axis=0) >= votes.sum()
    index = np.take_along_axis(order, reached.argmax(axis=0)[None], axis=0)
    centre = np.take_along_axis(wide, index, axis=0)[0]
    for _ in range(2):
        distances = np.sqrt(((wide - centre) ** 2).sum(axis=1))
        rank = np.argsort(distances)
        reached = 2 * np.cumsum(votes[rank]) >= votes.sum()
        radius = distances[rank[reached.argmax()]]
        clip = np.minimum(1, radius / distances)
        centre = centre + (votes * clip) @ (wide - centre) / votes.sum()
    return centre


@pytest.mark.parametrize("count", range(4, 16))
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_equals_the_definition_in_float64(count: int, copies: int) -> None:
    rows = swarm(count, seed=count)
    rows[: min(copies, (count - 1) // 2)] = rows[0]
    rows[-1] *= 3
    expected = pipeline_in_float64(rows)
    assert norm(gossamer(rows).vector - expected) < 1e-5 * norm(expected)


@pytest.mark.parametrize("copies", [2, 3, 4, 5])
def test_votes_of_clones_add_up_to_one(copies: int) -> None:
    rows = swarm(11)
    rows[:copies] = rows[0]
    votes = gossamer(rows).votes
    assert votes[:copies].sum() == pytest.approx(ONE_VOTE, abs=copies)
    assert (votes[copies:] == ONE_VOTE).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_votes_of_near_clones_add_up_to_little_more_than_one(copies: int, seed: int) -> None:
    rows = swarm(11, 300, seed=seed)
    rows[1:copies] = rows[0] + 0.05 * rows[1:copies]
    votes = gossamer(rows).votes
    assert votes[:copies].sum() + copies >= ONE_VOTE
    assert votes[:copies].sum() < 1.2 * ONE_VOTE


def test_honest_peers_keep_whole_votes() -> None:
    assert (gossamer(swarm(9)).votes == ONE_VOTE).all()


def test_far_outliers_do_not_make_honest_peers_look_alike() -> None:
    rows = swarm(11)
    rows[7:] *= 1e4
    assert (gossamer(rows).votes == ONE_VOTE).all()


def test_a_majority_of_equal_vectors_is_not_reduced_to_one_vote() -> None:
    """Before anyone has trained all honest peers are equal; liars must not profit from it."""
    rows = np.zeros((9, 200), np.float32)
    rows[6:] = swarm(3, 200, spread=5)
    merged = gossamer(rows)
    assert (merged.votes == ONE_VOTE).all()
    assert not merged.vector.any()
    assert merged.radius == 0


def test_vote_sharing_scale() -> None:
    """Vectors nearer than .945 median radii share; farther ones, as honest ones are, do not."""
    squares = np.array([[0.0, 0.8], [0.8, 0.0]])
    assert (share_votes(squares, np.array([1.0, 1.0])) < ONE_VOTE).all()
    squares[0, 1] = squares[1, 0] = 0.8931
    assert (share_votes(squares, np.array([1.0, 1.0])) == ONE_VOTE).all()


def test_equal_rows_are_a_fixed_point() -> None:
    row = np.random.default_rng(0).normal(size=500).astype(np.float32)
    merged = gossamer([row] * 7)
    assert merged.vector.tobytes() == row.tobytes()
    assert not merged.distances.any()


def test_clean_result_is_close_to_the_mean() -> None:
    rows = swarm(9)
    mean = rows.mean(axis=0)
    assert norm(gossamer(rows).vector - mean) < 0.15 * norm(mean)
    assert norm(coordinate_median(rows) - mean) > 0.5 * norm(mean)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda honest: np.full(honest.shape[1], 1e4), id="huge"),
        pytest.param(lambda honest: -10 * honest[0], id="sign-flipping"),
        pytest.param(lambda honest: honest.mean(0) - 1.5 * honest.std(0), id="a-little-is-enough"),
        pytest.param(lambda honest: honest.mean(0) + 0.5, id="shift"),
    ],
)
def test_colluding_copies_move_the_result_by_less_than_the_radius(lie) -> None:
    honest = swarm(8, seed=3)
    liars = np.tile(lie(honest).astype(np.float32), (3, 1))
    merged = gossamer(np.vstack([honest, liars]))
    clean = gossamer(honest)
    assert norm(merged.vector - clean.vector) < 0.35 * clean.radius


def test_copies_of_a_central_vector_do_not_stop_progress() -> None:
    """Inner-product manipulation: 3 of 9 send the same small reversed step."""
    step = np.full(2000, 0.02, np.float32)
    honest = swarm(6, seed=4) + step
    rows = np.vstack([honest, np.tile(-1.1 * step, (3, 1)).astype(np.float32)])
    gained = gossamer(rows).vector.mean()
    assert gained > 0.5 * 0.02
    assert coordinate_median(rows).mean() < 0.25 * 0.02


def test_result_describes_itself() -> None:
    rows = swarm(9)
    rows[2] *= 4
    rows[4] = rows[5]
    merged = gossamer(rows)
    assert merged.vector.dtype == np.float32
    assert merged.votes.dtype == np.int64
    np.testing.assert_allclose(merged.distances, distances_to(rows, merged.vector), rtol=1e-5)
    assert merged.radius == median_by_votes(merged.distances, merged.votes)
    assert ((merged.clip > 0) & (merged.clip <= 1)).all()
    assert merged.clip.argmin() == 2
    assert merged.distances.argmax() == 2


def test_one_and_two_rows() -> None:
    row = np.array([1.0, -2.0], np.float32)
    assert gossamer([row]).vector.tobytes() == row.tobytes()
    assert np.isfinite(gossamer([row, -row]).vector).all()


def test_unequal_votes_use_the_weighted_median() -> None:
    rows = swarm(5)
    rows[1] = rows[0]
    merged = gossamer(rows)
    weighted = weighted_lower_median(rows, merged.votes)
    plain = coordinate_median(rows)
    assert norm(merged.vector - weighted) < norm(merged.vector - plain)


def fingerprint() -> str:
    """A hash over many merges. Inputs are multiples of a power of two: no libm, no rounding."""
    rng = np.random.default_rng(5)
    digest = hashlib.sha256()
    for size in (1, 300, 4810, 40_000):
        for case in range(3):
            rows = (rng.integers(-(2**20), 2**20, (9, size)) * 2.0**-22).astype(np.float32)
            if case == 1:
                noise = rng.integers(-(2**10), 2**10, (3, size)) * 2.0**-20
                rows[1:4] = rows[0] + noise.astype(np.float32)
            elif case == 2:
                rows[5] *= 1000
            merged = gossamer(rows)
            for array in (merged.vector, merged.votes, merged.clip, merged.distances):
                digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


FINGERPRINT = "6ae843f83a26e36b76ea767841e430eb977de2a26883f45043a64266685e099a"

BLAS_CORES = {"x86_64": ("Prescott", "Haswell"), "aarch64": ("CORTEXA53", "NEOVERSEN1")}


def test_every_machine_computes_the_same_bits() -> None:
    assert fingerprint() == FINGERPRINT


@pytest.mark.slow
@pytest.mark.parametrize("core", BLAS_CORES.get(platform.machine(), ()))
def test_other_blas_kernels_compute_the_same_bits(core: str) -> None:
    """OpenBLAS picks its kernels, and with them the order of its sums, by CPU."""
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); "
    code += "from test_merge_gossamer import fingerprint; print(fingerprint())"
    environment = dict(os.environ, OPENBLAS_CORETYPE=core)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode < 0:
        pytest.skip(f"this CPU cannot run the kernels of {core}")
    assert done.stdout.strip() == FINGERPRINT, done.stderr
