"""`gossamer model convert`: a Keras model into a trainable .tflite."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click

from gossamer_agent.store.replacing import create_file


@click.command(short_help="Make a trainable .tflite of a Keras model.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write the .tflite; nothing is overwritten.",
)
@click.option(
    "--task",
    type=click.Choice(("classification", "regression")),
    help="What the outputs are; by default what the last layer says.",
)
@click.option(
    "--int8", is_flag=True, help="Store layers with trainable = False as int8, a quarter the size."
)
def convert(file: Path, out: Path, task: str | None, *, int8: bool) -> None:
    """Make a trainable .tflite of FILE, a .keras model, and tell what became of its layers.

    Needs the extras authoring and keras (TensorFlow, which no device needs). The weights in FILE
    are those that a swarm begins with. Dropout takes no part, batch normalisation keeps its
    statistics, layers with trainable = False are constants, a softmax at the end goes into the
    loss. What cannot be trained on a device is named. Convert only files that you trust.

    \b
    Example:
      gossamer model convert mine.keras --out mine.tflite && gossamer model check mine.tflite
    """
    from gossamer_agent.authoring.from_keras import convert as converted  # noqa: PLC0415
    from gossamer_agent.authoring.trial import answers_of  # noqa: PLC0415

    made = converted(file, task, int8=int8)
    content = made.net.file(made.first)
    answered = answers_of(content, made.samples)  # elsewhere: TensorFlow is loaded here
    error = None if int8 else made.check(answered)
    create_file(out, content)
    width = max((len(name) for name, _ in made.steps), default=0)
    for name, became in made.steps:
        click.echo(f"{name:<{width}}  {became}")
    for line in made.warnings:
        click.echo(f"warning: {line}", err=True)
    if error is not None:
        click.echo(f"answers as Keras does, to {error:.0e}")
    grouped = f"{made.net.size:,}".replace(",", " ")
    click.echo(f"{out}: {made.net.task}, {grouped} parameters, {len(content)} bytes")
    click.echo(f"sha256 {hashlib.sha256(content).hexdigest()}")
