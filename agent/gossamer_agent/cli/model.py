"""`gossamer model`: check trainable model files."""

from __future__ import annotations

from pathlib import Path

import click

from gossamer_agent.errors import ModelError
from gossamer_agent.probe import check_model


@click.group()
def model() -> None:
    """Check trainable model files."""


@model.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Say whether FILE, a .tflite, can be trained here, and if not, what it lacks.

    The file is tried in a process of its own, because a damaged one can crash the runtime. Ends
    with exit code 4 if it cannot be used.
    """
    report = check_model(file)
    if not report.usable:
        raise ModelError(f"{file}: {report.problem}")
    rows = {
        "parameters": f"{report.parameters:,}".replace(",", " "),
        "classes": str(report.classes),
        "input": " x ".join(map(str, report.input_shape)),
        "signatures": ", ".join(report.signatures),
        "bytes": f"{report.size:,}".replace(",", " "),
        "sha256": report.sha256.hex(),
    }
    for name, value in rows.items():
        click.echo(f"{name:<10}  {value}")
    click.echo("usable")
