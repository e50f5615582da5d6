"""`gossamer model author`: make a trainable model without TensorFlow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.errors import ModelError
from gossamer_agent.store.replacing import create_file

if TYPE_CHECKING:
    from gossamer_agent.authoring import Net

COUNT = click.IntRange(1, 1 << 20)


def _dimensions(
    least: int, most: int
) -> Callable[[click.Context, click.Parameter, str], tuple[int, ...]]:
    """A callback for whole numbers with x between, such as 28x28x1."""

    def parse(_: click.Context, __: click.Parameter, value: str) -> tuple[int, ...]:
        if not re.fullmatch(r"[0-9]{1,6}(x[0-9]{1,6})*", value):
            raise click.BadParameter(f"{value!r:.40} is not of the form 28x28")
        found = tuple(map(int, value.split("x")))
        if 0 in found or not least <= len(found) <= most:
            raise click.BadParameter(f"{value!r:.40} needs {least} to {most} positive numbers")
        return found

    return parse


Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_out = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write the .tflite; nothing is overwritten.",
)
_seed = click.option("--seed", default=0, show_default=True, help="Of the first weights.")


def _inputs(help_text: str, **options: Any) -> Decorator:
    return click.option("--inputs", type=COUNT, help=help_text, **options)


def _classes(**options: Any) -> Decorator:
    return click.option("--classes", type=click.IntRange(2, 1 << 16), **options)


def _hidden(help_text: str = "Units of a hidden layer; may be given repeatedly.") -> Decorator:
    return click.option("--hidden", type=COUNT, multiple=True, help=help_text)


_filters = click.option(
    "--filters", type=COUNT, multiple=True, help="Of a convolution; may be given repeatedly."
)


@click.group()
def author() -> None:
    """Make a trainable model of a known kind, without TensorFlow.

    Needs the extra: pip install 'gossamer[authoring]'. A device that only learns does not need it.

    \b
    Examples:
      gossamer model author mlp --inputs 64 --hidden 64 --classes 10 --out m.tflite
      gossamer model author cnn --inputs 28x28 --filters 8 --filters 16 --classes 10 --out c.tflite
      gossamer model author regression --inputs 8 --hidden 32 --outputs 1 --out r.tflite
    """


@author.command()
@_inputs("Values of a sample.", required=True)
@_classes(required=True)
@_seed
@_out
def softmax(inputs: int, classes: int, seed: int, out: Path) -> None:
    """One dense layer: softmax regression."""
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    _write(kinds.dense((inputs, classes)), seed, out)


@author.command(short_help="Dense layers with ReLU between.")
@_inputs("Values of a sample.", required=True)
@_hidden()
@_classes(required=True)
@_seed
@_out
def mlp(inputs: int, hidden: tuple[int, ...], classes: int, seed: int, out: Path) -> None:
    """Dense layers with ReLU between, as many and as wide as you like."""
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    _write(kinds.dense((inputs, *(hidden or (64,)), classes)), seed, out)


@author.command(short_help="Small images: convolutions, then dense.")
@click.option(
    "--inputs",
    callback=_dimensions(2, 3),
    metavar="NxN",
    required=True,
    help="Rows x columns, or rows x columns x channels.",
)
@_filters
@_hidden()
@_classes(required=True)
@click.option("--kernel", type=click.IntRange(1, 15), default=3, show_default=True)
@click.option("--flat", is_flag=True, help="Samples are rows of values, as in a CSV file.")
@_seed
@_out
def cnn(
    *,
    inputs: tuple[int, ...],
    filters: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
    kernel: int,
    flat: bool,
    seed: int,
    out: Path,
) -> None:
    """Small images: convolutions with ReLU, each with a 2 x 2 average pool, then dense."""
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    net = kinds.cnn(inputs, filters or (16, 32), hidden, classes, kernel=kernel, flat=flat)
    _write(net, seed, out)


@author.command(short_help="Windows over time: convolutions, then dense.")
@click.option(
    "--inputs",
    callback=_dimensions(2, 2),
    metavar="NxN",
    required=True,
    help="Frames x channels: a window of sensor values, or of log-mel bands.",
)
@_filters
@_hidden()
@_classes(required=True)
@click.option("--kernel", type=click.IntRange(1, 63), default=5, show_default=True)
@_seed
@_out
def conv1d(
    *,
    inputs: tuple[int, ...],
    filters: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
    kernel: int,
    seed: int,
    out: Path,
) -> None:
    """Windows over time: convolutions with ReLU, each with an average pool of 2, then dense."""
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    frames, channels = inputs
    net = kinds.conv1d(frames, channels, filters or (24, 32), hidden, classes, kernel=kernel)
    _write(net, seed, out)


@author.command(short_help="Texts as hashed n-grams.")
@_inputs("Buckets that n-grams are hashed into.", default=1024, show_default=True)
@_hidden("Units of a hidden layer; none by default, which is hard to beat on short texts.")
@_classes(default=2, show_default=True)
@_seed
@_out
def text(inputs: int, hidden: tuple[int, ...], classes: int, seed: int, out: Path) -> None:
    """Texts as hashed n-grams, as gossamer_agent.features.ngrams makes them."""
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    _write(kinds.dense((inputs, *hidden, classes)), seed, out)


@author.command()
@_inputs("Values of a sample.", required=True)
@_hidden()
@click.option("--outputs", type=click.IntRange(1, 1 << 16), default=1, show_default=True)
@_seed
@_out
def regression(inputs: int, hidden: tuple[int, ...], outputs: int, seed: int, out: Path) -> None:
    """Numbers instead of classes: dense layers, mean squared error.

    Labels are float32 of shape [n, outputs], best scaled to about unit variance.
    """
    from gossamer_agent.authoring import kinds  # noqa: PLC0415

    _write(kinds.regression(inputs, hidden, outputs), seed, out)


@author.command(short_help="A new head on a trained net.")
@click.option(
    "--backbone",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="WEIGHTS",
    help="Weights of a trained net of the kind --body: .npz, .npy or .tflite-weights.",
)
@click.option("--body", type=click.Choice(("mlp", "cnn", "conv1d")), default="cnn")
@click.option(
    "--inputs",
    callback=_dimensions(1, 3),
    metavar="NxN",
    required=True,
    help="As of the trained net.",
)
@_filters
@_hidden("As of the trained net.")
@click.option("--kernel", type=click.IntRange(1, 63), help="As of the trained net.")
@click.option("--flat", is_flag=True, help="As of the trained net.")
@click.option("--head-hidden", type=COUNT, multiple=True, help="Hidden units of the new head.")
@_classes(required=True)
@_seed
@_out
def transfer(
    *,
    backbone: Path,
    body: str,
    inputs: tuple[int, ...],
    filters: tuple[int, ...],
    hidden: tuple[int, ...],
    kernel: int | None,
    flat: bool,
    head_hidden: tuple[int, ...],
    classes: int,
    seed: int,
    out: Path,
) -> None:
    """A new head on a trained net, whose other layers are frozen as int8.

    Only the head is learned and sent, and with it grad_clipped is there for any body. Give the
    options that the trained net was made with; its number of classes follows from the weights.

    \b
    Example:
      gossamer model author transfer --backbone old.npz --body cnn --inputs 8x8 --flat \\
          --filters 16 --filters 32 --classes 10 --out new.tflite
    """
    from gossamer_agent.authoring import kinds  # noqa: PLC0415
    from gossamer_agent.weights import read_weights  # noqa: PLC0415

    def trained(classes: int) -> Net:
        if body == "mlp":
            if len(inputs) != 1:
                raise ModelError("the inputs of an mlp are one number")
            return kinds.dense((inputs[0], *(hidden or (64,)), classes))
        if body == "conv1d":
            if len(inputs) != 2:
                raise ModelError("the inputs of a conv1d are frames x channels")
            chosen = filters or (24, 32)
            return kinds.conv1d(*inputs, chosen, hidden, classes, kernel=kernel or 5)
        return kinds.cnn(
            inputs, filters or (16, 32), hidden, classes, kernel=kernel or 3, flat=flat
        )

    weights = read_weights(backbone)
    one, two = trained(1).size, trained(2).size
    old, rest = divmod(weights.size - one, two - one)
    if rest or old < 0:
        raise ModelError(
            f"{backbone}: {weights.size} weights do not fit a {body} with these options"
        )
    _write(kinds.transfer(trained(old + 1), weights, classes, head_hidden), seed, out)


def _write(net: Net, seed: int, out: Path) -> None:
    content = net.file(net.initial(seed))
    create_file(out, content)
    grouped = f"{net.size:,}".replace(",", " ")
    click.echo(f"{out}: {grouped} parameters, {len(content)} bytes")
    click.echo(f"sha256 {hashlib.sha256(content).hexdigest()}")
