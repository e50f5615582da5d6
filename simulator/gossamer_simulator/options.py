"""What `simulate` and `swarm up` are both asked: the data, the model, and how peers learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final = (
    click.option(
        "--data", default="digits", show_default=True, help="digits, or a .npz with x and y."
    ),
    click.option(
        "--partition",
        default="dirichlet:0.5",
        show_default=True,
        help="Who holds which data: iid, dirichlet:A (smaller A: more unlike), or subject.",
    ),
    click.option(
        "--model",
        default="mlp",
        show_default=True,
        help="A name of gossamer model list, synthetic, a trainable .tflite file, or"
        " process:COMMAND.",
    ),
    click.option(
        "--rule",
        default="gossamer",
        show_default=True,
        help="How replicas are merged: gossamer, mean, median, trimmed-mean, krum, multi-krum,"
        " geometric-median, centered-clipping, clipped-gossip, balance, ubar,"
        " weighted-median:accuracy or weighted-median:similarity; nnm+RULE or"
        " bucketing+RULE mixes them first.",
    ),
    click.option(
        "--codec", default="sign1", show_default=True, help="Deltas: sign1, int8 or float32."
    ),
    click.option("--view", default=8, show_default=True, help="Peers that each peer follows."),
    click.option("--local-steps", default=8, show_default=True, help="Steps per round."),
    click.option("--batch", default=16, show_default=True, help="Samples per step."),
    click.option(
        "--lr", "--learning-rate", "lr", default=0.3, show_default=True, help="Learning rate."
    ),
    click.option("--momentum", default=0.5, show_default=True, help="Momentum of the local steps."),
    click.option(
        "--optimiser",
        "--optimizer",
        "optimiser",
        default="sgd",
        show_default=True,
        help="sgd (with momentum) or adam (has its own).",
    ),
    click.option(
        "--moments",
        default="reset",
        show_default=True,
        help="Whether the optimiser forgets between rounds: reset or keep.",
    ),
    click.option(
        "--lr-schedule",
        default="constant",
        show_default=True,
        help="Learning rate from round to round: constant or cosine.",
    ),
    click.option(
        "--anneal-rounds",
        default=0,
        show_default=True,
        help="Rounds in which a cosine falls, then it starts again; 0: all rounds.",
    ),
    click.option("--weight-decay", default=0.0, show_default=True, help="Pull towards 0."),
    click.option(
        "--gradient-clip",
        default=0.0,
        show_default=True,
        help="Largest norm of a batch's gradient; 0: any.",
    ),
    click.option(
        "--proximal",
        default=0.0,
        show_default=True,
        help="FedProx's mu: pull towards what a round began with, .001 to .1.",
    ),
    click.option(
        "--combine",
        default="replace",
        show_default=True,
        help="What a merge does: replace, or a step towards it by adam (FedAdam) or yogi.",
    ),
    click.option(
        "--combine-rate", default=0.03, show_default=True, help="Step size of adam and yogi."
    ),
    click.option("--combine-t", default=0.001, show_default=True, help="Their t."),
    click.option(
        "--steps-spread",
        default=1.0,
        show_default=True,
        help="S: peers make from 1/S to S times --local-steps, each its own number.",
    ),
    click.option(
        "--nominal-steps",
        default=0,
        show_default=True,
        help="Scale every peer's changes to so many local steps (FedNova); 0: not.",
    ),
    click.option(
        "--personal",
        default="",
        metavar="LAYERS",
        help="Layers that never leave a peer, such as head; with commas between.",
    ),
    click.option(
        "--personal-steps",
        default=0,
        show_default=True,
        help="0 trains personal layers with the others (FedPer); n: alone before (FedRep).",
    ),
    click.option(
        "--ditto",
        default=0.0,
        show_default=True,
        help="Ditto's lambda: each peer keeps a model of its own near; 0: none.",
    ),
    click.option(
        "--early-stop",
        default=0,
        show_default=True,
        help="Hold-out checks in a round that end its steps; 0: none.",
    ),
    click.option(
        "--follow",
        default="random",
        show_default=True,
        help="Who keeps a slot in the view: random, or useful (whose replicas helped).",
    ),
    click.option(
        "--stale-rounds",
        default=4,
        show_default=True,
        help="Rounds after which a replica that stands still has no vote.",
    ),
)


def learning_options(command: F) -> F:
    """Add the options, in this order, to a command; their names are those of a `Scenario`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
