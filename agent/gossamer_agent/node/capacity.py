"""What the profile of a device allows of what its owner and the swarm ask for. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gossamer_agent.policy import Policy
from gossamer_agent.profile import Profile

if TYPE_CHECKING:
    from gossamer_agent.learner import Training


def bounded_training(training: Training, profile: Profile) -> tuple[Training, tuple[str, ...]]:
    """The settings within the profile, and a line for each that was larger."""
    warnings = []
    for key, asked, most, limit in (
        ("local_steps", training.steps, profile.local_steps_max, "local_steps_max"),
        ("batch", training.batch, profile.batch_max, "batch_max"),
    ):
        if asked > most:
            warnings.append(
                f"learning.{key} is {asked} in config.toml, but profile {profile.name} allows"
                f" {limit} = {most}, which counts"
            )
    bounded = replace(
        training,
        steps=min(training.steps, profile.local_steps_max),
        batch=min(training.batch, profile.batch_max),
    )
    return bounded, tuple(warnings)


def bounded_view(policy: Policy, profile: Profile) -> tuple[int, tuple[str, ...]]:
    """How many peers to follow, and a line if the profile would follow too few.

    The policy says how many; a small device follows fewer, but never fewer than a merge takes.
    """
    size = min(policy.view_size, profile.view_size)
    needed = min(policy.view_size, policy.quorum - 1)  # the own replica counts, too
    if size >= needed:
        return size, ()
    return needed, (
        f"profile {profile.name} would follow {profile.view_size} peers, but a merge takes"
        f" {policy.quorum} replicas in this swarm: {needed} are followed",
    )
