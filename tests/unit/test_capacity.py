"""What a profile allows of what the owner and the swarm ask for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.cli.threads import VARIABLES, limit_threads
from gossamer_agent.device.folder import Device
from gossamer_agent.learner import Training
from gossamer_agent.members.stewardship import load_roster
from gossamer_agent.node.capacity import bounded_training, bounded_view
from gossamer_agent.node.means import Means, gather
from gossamer_agent.policy import Policy
from gossamer_agent.profile import Profile, load_profile
from gossamer_agent.store.peeking import PeekedState
from gossamer_crypto.epoch_ring import EpochRing


@pytest.fixture(scope="module")
def profile() -> Profile:
    return replace(load_profile("pi-zero-2w"), batch_max=16, local_steps_max=8, view_size=6)


def test_what_fits_stays_as_it_is(profile: Profile) -> None:
    training = Training(steps=8, batch=16, learning_rate=0.5)
    assert bounded_training(training, profile) == (training, ())


def test_what_is_too_large_is_cut_with_a_warning(profile: Profile) -> None:
    training = Training(steps=9, batch=64, learning_rate=0.5)
    bounded, warnings = bounded_training(training, profile)
    assert bounded == replace(training, steps=8, batch=16)
    assert warnings == (
        "learning.local_steps is 9 in config.toml, but profile pi-zero-2w allows"
        " local_steps_max = 8, which counts",
        "learning.batch is 64 in config.toml, but profile pi-zero-2w allows"
        " batch_max = 16, which counts",
    )


def test_a_small_device_follows_fewer_peers(profile: Profile) -> None:
    assert bounded_view(Policy(view_size=8), profile) == (6, ())
    assert bounded_view(Policy(view_size=4), profile) == (4, ())


def test_never_fewer_than_a_merge_takes(profile: Profile) -> None:
    size, (warning,) = bounded_view(Policy(view_size=12, quorum=9), profile)
    assert size == 8
    assert "a merge takes 9 replicas" in warning


@pytest.mark.slow
@given(
    view=st.integers(1, 1024), quorum=st.integers(1, 1024), most=st.integers(1, 64), own=st.just(1)
)
def test_a_swarm_that_could_merge_still_can(view: int, quorum: int, most: int, own: int) -> None:
    small = replace(load_profile("pi-zero-2w"), view_size=most)
    size, warnings = bounded_view(Policy(view_size=view, quorum=quorum), small)
    assert size <= view
    assert (size + own >= quorum) == (view + own >= quorum)
    assert bool(warnings) == (size > most)


def test_learners_of_the_owner_s_own_may_use_the_threads_of_the_profile(
    garden: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "")  # so that it is put back
        monkeypatch.delenv(variable)
    limit_threads(garden)
    threads = str(load_profile(garden.profile).threads)
    assert {os.environ[variable] for variable in VARIABLES} == {threads}
    # numpy's own has one thread, which `main` sees to: it is not promised to be one of these.
    assert "OPENBLAS_NUM_THREADS" not in VARIABLES


def test_what_the_environment_says_about_threads_comes_first(
    garden: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "7")
    limit_threads(garden)
    assert os.environ[VARIABLES[0]] == "7"


@pytest.mark.slow
def test_the_program_can_bound_numpy_as_it_has_not_imported_it_yet() -> None:
    code = (
        "import sys, gossamer_agent.cli.run, gossamer_agent.cli.threads as t;"
        "import gossamer_agent.device.folder, gossamer_agent.profile; print('numpy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


SMALL = """
base = "x86-64"
local_steps_max = 3
batch_max = 5
view_size = 4
round_interval_s = 77
announce_interval_s = 33
"""


class TestGathered:
    """An agent's means are those of its profile."""

    def means(self, garden: Device, **network: object) -> Means:
        (garden.path / "small.toml").write_text(SMALL)
        settings = garden.config
        config = replace(
            settings,
            device=replace(settings.device, profile="small.toml"),
            network=replace(settings.network, **network),
        )
        device = replace(garden, config=config)
        roster = load_roster(PeekedState(garden.state_path), garden.genesis)
        ring = EpochRing(garden.peer_id, garden.keys.prekeys)
        return gather(device, roster, ring, rounds=None)

    def test_training_view_and_intervals_are_bounded(self, garden: Device) -> None:
        means = self.means(garden)
        assert (means.learning.settings.steps, means.learning.settings.batch) == (3, 5)
        assert (means.swarm.policy.view_size, means.swarm.view_size) == (8, 4)
        assert (means.round_interval_s, means.announce_interval_s) == (77.0, 33.0)
        assert means.memory_mb_max == load_profile("x86-64").memory_mb_max
        told = "\n".join(means.warnings)
        assert "local_steps_max = 3" in told
        assert "batch_max = 5" in told

    def test_the_owner_may_announce_more_often(self, garden: Device) -> None:
        assert self.means(garden, announce_interval_s=2.0).announce_interval_s == 2.0
