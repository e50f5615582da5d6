"""`gossamer model`: see, check, make, convert and bake trainable model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.model_author import author
from gossamer_agent.cli.model_bake import bake
from gossamer_agent.cli.model_convert import convert
from gossamer_agent.errors import ModelError
from gossamer_agent.probe import ModelReport, check_model

if TYPE_CHECKING:
    from gossamer_agent.layers import Layer

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def model() -> None:
    """See, check, make, convert and bake models.

    A model is a .tflite file that learns: signatures init, infer and grad over one flat vector of
    weights. Some come with gossamer (gossamer model list); others are made here. docs/models.md
    tells what a file must hold.
    """


for command in (author, bake, convert):
    model.add_command(command)


@model.command(name="list")
@json_option
def list_models(*, as_json: bool) -> None:
    """List the models that come with gossamer."""
    from gossamer_agent.models import shipped_models  # noqa: PLC0415

    table = shipped_models()
    if as_json:
        click.echo(json.dumps(table))
        return
    width = max(map(len, table))
    for name, row in table.items():
        click.echo(f"{name:<{width}}  {_grouped(row['parameters']):>7}  {row['about']}")
    click.echo("\nThe number is that of the parameters; see gossamer model info NAME.")


@model.command(short_help="Say whether FILE can be trained here.")
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say whether FILE, a .tflite, can be trained here, and if not, what it lacks.

    The file is tried in a process of its own, because a damaged one can crash the runtime. Ends
    with exit code 4 if it cannot be used.
    """
    report = _usable(file)
    for name, value in _rows(report).items():
        click.echo(f"{name:<10}  {value}")
    click.echo("usable")


@model.command(short_help="Tell what MODEL holds.")
@click.argument("reference", metavar="MODEL")
@json_option
def info(reference: str, *, as_json: bool) -> None:
    """Tell what MODEL holds: its contract, signatures, size, hash and layers.

    MODEL is the name of a model that comes with gossamer, or a .tflite file, which is tried in a
    process of its own first.

    \b
    Examples:
      gossamer model info cnn
      gossamer model info mine.tflite --json
    """
    from gossamer_agent.models import layers_of, shipped_path  # noqa: PLC0415

    with shipped_path(reference) as shipped:
        report = _usable(Path(reference) if shipped is None else shipped)
    layers: tuple[Layer, ...] = ()
    trouble = ""
    try:
        layers = layers_of(reference)
    except ModelError as error:
        trouble = str(error).removeprefix(f"{reference}: ")
    if as_json:
        click.echo(json.dumps(_as_json(reference, report, layers)))
        return
    for name, value in _rows(report).items():
        click.echo(f"{name:<10}  {value}")
    click.echo(f"{'layers':<10}  {trouble or _layer_line(layers[0])}")
    for layer in layers[1:]:
        click.echo(f"{'':<10}  {_layer_line(layer)}")


def _usable(path: Path) -> ModelReport:
    report = check_model(path)
    if not report.usable:
        raise ModelError(f"{path}: {report.problem}")
    return report


def _rows(report: ModelReport) -> dict[str, str]:
    return {
        "task": report.task,
        "parameters": _grouped(report.parameters),
        "classes" if report.task == "classification" else "outputs": str(report.classes),
        "input": " x ".join(map(str, report.input_shape)),
        "signatures": ", ".join(report.signatures),
        "bytes": _grouped(report.size),
        "sha256": report.sha256.hex(),
    }


def _layer_line(layer: Layer) -> str:
    tensors = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in layer.tensors)
    return f"{layer.name}: {_grouped(layer.size)} from {_grouped(layer.offset)} on ({tensors})"


def _as_json(reference: str, report: ModelReport, layers: tuple[Layer, ...]) -> dict[str, Any]:
    return {
        "model": reference,
        "task": report.task,
        "parameters": report.parameters,
        "classes": report.classes,
        "input_shape": list(report.input_shape),
        "signatures": list(report.signatures),
        "grad_clipped": "grad_clipped" in report.signatures,
        "bytes": report.size,
        "sha256": report.sha256.hex(),
        "layers": [
            {
                "name": layer.name,
                "offset": layer.offset,
                "size": layer.size,
                "tensors": [{"name": name, "shape": list(shape)} for name, shape in layer.tensors],
            }
            for layer in layers
        ],
    }


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
