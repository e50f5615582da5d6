"""`gossamer version`: what to put into a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

# Only what decides results or formats; a missing one is left out.
_DISTRIBUTIONS = (
    "gossamer",
    "numpy",
    "tflite-runtime",
    "ai-edge-litert",
    "cryptography",
    "msgpack",
    "trio",
)


@click.command()
def version() -> None:
    """Show the versions of what is installed."""
    for name in _DISTRIBUTIONS:
        try:
            click.echo(f"{name:<15} {version_of(name)}")
        except PackageNotFoundError:
            continue
    click.echo(f"{'python':<15} {platform.python_version()}")
    click.echo(f"{'machine':<15} {platform.system()} {platform.machine()}")
