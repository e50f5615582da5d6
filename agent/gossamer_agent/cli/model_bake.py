"""`gossamer model bake`: weights into an inference-only .tflite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gossamer_agent.cli.passphrase import passphrase_file_option
from gossamer_agent.errors import ModelError
from gossamer_agent.store.replacing import create_file

if TYPE_CHECKING:
    from gossamer_agent.learner import Vector


@click.command(short_help="Freeze weights into a .tflite that only answers.")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "reference",
    metavar="MODEL",
    help="The model that the weights belong to: a name or a .tflite; of a device, its own.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write the .tflite; nothing is overwritten.",
)
@passphrase_file_option
def bake(weights: Path, reference: str | None, out: Path, passphrase_file: Path | None) -> None:
    """Freeze WEIGHTS into an ordinary .tflite that only answers, for other programs.

    WEIGHTS is a file (.npz with an array weights or params, .npy, .tflite-weights), or the folder
    of a device: then what it answers with is taken, its personal layers included; with combine =
    "adam" or "yogi", whose steps no log holds, what it published last. The new file has one
    signature, infer(x), and gives the same bits as the trainable model. Needs the extra authoring,
    not TensorFlow.

    \b
    Examples:
      gossamer model bake garden --out garden.tflite
      gossamer model bake without.npz --model mlp --out without.tflite
    """
    from gossamer_agent.authoring.bake import bake as freeze  # noqa: PLC0415
    from gossamer_agent.models import model_content  # noqa: PLC0415
    from gossamer_agent.weights import read_weights  # noqa: PLC0415

    if weights.is_dir():
        from gossamer_agent.cli.model_served import served_weights  # noqa: PLC0415

        served = served_weights(weights, passphrase_file)
        vector, told = served.weights, served.told
        reference = reference or served.model
    else:
        if reference is None:
            raise click.UsageError("--model is needed: a file of weights does not name its model")
        vector, told = read_weights(weights), ""
    content = model_content(reference)
    baked = freeze(content, vector)
    samples = _compare(content, baked, vector)
    create_file(out, baked)
    if told:
        click.echo(told)
    click.echo(f"{out}: {len(baked)} bytes, equal to the last bit on {samples} random samples")


def _compare(content: bytes, baked: bytes, weights: Vector) -> int:
    """Let both answer the same samples. Raises ModelError where a bit differs."""
    import numpy as np  # noqa: PLC0415

    from gossamer_agent.tflite import TfliteLearner, infer_only  # noqa: PLC0415

    learner = TfliteLearner(content)
    x = np.random.default_rng(0).random((33, *learner.contract.input_shape)).astype(np.float32)
    if infer_only(baked, x).tobytes() != learner.infer(weights, x).tobytes():
        raise ModelError("the baked model answers otherwise than the trainable one; not written")
    return len(x)
