from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.errors import AgentError, ConfigError, DataError
from gossamer_simulator.partitions import ROWS_PER_PEER_MIN, Rows, partition

SPECS = ["iid", "dirichlet:0.5", "dirichlet:0.001", "dirichlet:1000000", "subject"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def labels(rows: int, classes: int = 10) -> np.ndarray:
    return rng(9).integers(0, classes, rows).astype(np.int32)


def check_cover(parts: list[Rows], rows: int, peers: int) -> None:
    assert len(parts) == peers
    assert all(part.dtype == np.int64 for part in parts)
    assert all((np.diff(part) > 0).all() for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert min(len(part) for part in parts) >= ROWS_PER_PEER_MIN


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("peers", [1, 2, 6, 20, 100])
def test_every_row_goes_to_one_peer_and_each_has_enough(spec: str, peers: int) -> None:
    rows = 1000
    device = (np.arange(rows) % 6).astype(np.int32)
    parts = partition(spec, labels(rows), device, peers, rng(peers))
    check_cover(parts, rows, peers)


@given(
    peers=st.integers(1, 30),
    spare=st.integers(0, 200),
    alpha=st.floats(0.001, 100),
    classes=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_dirichlet_covers_for_any_sizes(
    peers: int, spare: int, alpha: float, classes: int, seed: int
) -> None:
    rows = peers * ROWS_PER_PEER_MIN + spare
    parts = partition(f"dirichlet:{alpha!r}", labels(rows, classes), None, peers, rng(seed))
    check_cover(parts, rows, peers)


@pytest.mark.parametrize("spec", SPECS)
def test_one_seed_gives_one_partition(spec: str) -> None:
    device = (np.arange(600) // 100).astype(np.int32)
    first, again, other = (partition(spec, labels(600), device, 8, rng(s)) for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_iid_parts_differ_by_one_row_at_most() -> None:
    sizes = {len(part) for part in partition("iid", labels(1000), None, 30, rng())}
    assert sizes == {33, 34}


def classes_held(alpha: float) -> float:
    """Mean effective number of classes of a peer, (sum n)^2 / sum n^2."""
    y = labels(4000)
    counts = np.array(
        [
            np.bincount(y[part], minlength=10)
            for part in partition(f"dirichlet:{alpha}", y, None, 20, rng(5))
        ]
    )
    return float(np.mean(counts.sum(axis=1) ** 2 / (counts**2).sum(axis=1)))


def test_smaller_alpha_means_fewer_classes_per_peer() -> None:
    assert classes_held(0.01) < 2.5 < classes_held(0.5) < 7 < classes_held(1000)


def test_subject_keeps_devices_whole_when_there_are_more_than_peers() -> None:
    device = np.repeat(np.arange(12, dtype=np.int32), np.arange(10, 130, 10))
    parts = partition("subject", labels(len(device)), device, 5, rng())
    check_cover(parts, len(device), 5)
    held = [set(device[part]) for part in parts]
    assert sum(len(devices) for devices in held) == 12
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 60


def test_subject_never_mixes_devices_when_there_are_fewer_than_peers() -> None:
    device = np.repeat(np.arange(3, dtype=np.int32), [100, 200, 300])
    parts = partition("subject", labels(600), device, 12, rng())
    check_cover(parts, 600, 12)
    assert all(len(set(device[part])) == 1 for part in parts)
    assert {len(part) for part in parts} == {50}


def refusal(
    spec: str,
    rows: int = 400,
    peers: int = 4,
    device: np.ndarray | None = None,
    error: type[AgentError] = DataError,
) -> str:
    with pytest.raises(error) as caught:
        partition(spec, labels(rows), device, peers, rng())
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("spec", ["", "IID", "iid:3", "subject:a", "shards", "dirichlet 0.5"])
def test_unknown_specs_are_refused(spec: str) -> None:
    assert refusal(spec, error=ConfigError) == (
        f"partition {spec!r} is not known; "
        "use iid, dirichlet:A (for example dirichlet:0.5) or subject"
    )


@pytest.mark.parametrize("alpha", ["", "x", "0", "-1", "nan", "inf", "1e-9", "1e9"])
def test_alpha_outside_its_range_is_refused(alpha: str) -> None:
    assert "write dirichlet:A with A from 0.001 to 1e+06" in refusal(
        f"dirichlet:{alpha}", error=ConfigError
    )


@pytest.mark.parametrize("peers", [0, -3])
def test_a_swarm_without_peers_is_refused(peers: int) -> None:
    assert f"a swarm of {peers} peers is not possible" in refusal("iid", peers=peers)


@pytest.mark.parametrize("spec", SPECS)
def test_too_few_rows_are_refused_with_what_is_possible(spec: str) -> None:
    rows = 10 * ROWS_PER_PEER_MIN - 1
    message = refusal(spec, rows=rows, peers=10, device=np.zeros(rows, np.int32))
    assert f"10 peers need {rows + 1} training rows" in message
    assert "use at most 9 peers" in message


def test_subject_without_devices_is_refused() -> None:
    assert "needs a data set with an array `subject` or `device`" in refusal("subject")


def test_subjects_that_are_too_small_are_refused() -> None:
    device = np.repeat(np.arange(4, dtype=np.int32), [3, 97, 150, 150])
    message = refusal("subject", device=device)
    assert "leaves one with 3 rows" in message
    assert "there are 4 subjects" in message
