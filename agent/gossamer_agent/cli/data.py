"""`gossamer data`: look at data of one's own, check them, and add them to a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.here import folder_here
from gossamer_agent.cli.words import parse_words, show_words

if TYPE_CHECKING:
    from gossamer_agent.contract import Contract
    from gossamer_agent.data.loading import Loaded
    from gossamer_agent.data.summary import FileSummary
    from gossamer_agent.device.folder import Device

_FILE = click.Path(path_type=Path)


@click.group()
def data() -> None:
    """Look at, check and import data of one's own.

    \b
    Data are .npz files of arrays (x and y), CSV files with a header, or Parquet tables:
      temperature,humidity,state
      0.21,0.70,dry
      0.24,0.93,wet

    Labels are whole numbers 0, 1, 2, ... or words. Values are taken as they are: scale each column
    to about 0..1 before. Samples never leave the device.
    """


def _table_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="One JSON object."),
        click.option("--model", metavar="MODEL", help="Compare with what this model takes."),
        click.option("--regression", is_flag=True, help="Labels are numbers to be predicted."),
        click.option("--shape", metavar="SHAPE", default="", help="Of an image, such as 8x8x1."),
        click.option(
            "--labels",
            metavar="WORDS",
            default="",
            help="Label words in their order, with commas between.",
        ),
        click.option(
            "--features",
            metavar="COLUMNS",
            default="",
            help="The columns of a sample, with commas between; all others without it.",
        ),
        click.option("--label", metavar="COLUMN", help="The column with the labels."),
    ):
        command = option(command)
    return command


@data.command(short_help="Tell what FILE, or the device here, learns from.")
@click.argument("file", type=_FILE, required=False)
@_table_options
def info(file: Path | None, as_json: bool, **said: Any) -> None:
    """Tell what FILE holds; without FILE, what the device here learns from.

    \b
    Examples:
      gossamer data info readings.csv --label state
      gossamer -C garden data info
    """
    if file is None:
        _device_info(folder_here(click.get_current_context()), as_json)
        return
    _tell(file, _load(file, **said)[0], as_json)


@data.command(short_help="Say whether FILE can be learnt from; name its fault.")
@click.argument("file", type=_FILE)
@_table_options
def check(file: Path, as_json: bool, **said: Any) -> None:
    """Say whether FILE can be learnt from, and if not, where it is wrong.

    The first fault is named in one line, with line and column; exit code 3. With --model the shape
    and the labels are compared too.
    """
    loaded, contract = _load(file, **said)
    if contract is not None:
        _fits(file, loaded, contract)
    _tell(file, loaded, as_json)
    if not as_json:
        click.echo("usable")


@data.command(name="import")
@click.argument("file", type=_FILE)
@click.option("--label", metavar="COLUMN", help="The column with the labels; else as in config.")
def import_(file: Path, label: str | None) -> None:
    """Add the samples of FILE to those that the device here learns from.

    They go into the device's reservoir, data.sqlite3, which is bounded; a running agent learns from
    them in its next round. Copies of what is there are left out, and rows that FILE keeps apart by
    is_test. One sample in ten is only measured with, always the same ones.

    \b
    Example:
      gossamer -C garden data import july.csv --label state
    """
    from dataclasses import replace  # noqa: PLC0415

    from gossamer_agent.data.gathering import (  # noqa: PLC0415
        gather_intake,
        layout_of,
        open_reservoir,
        take_file,
    )
    from gossamer_agent.data.loading import load_device_data  # noqa: PLC0415

    device, contract = _device_here(folder_here(click.get_current_context()))
    layout = layout_of(device.config.data, contract)
    own = load_device_data(device.data_path, device.test_path, layout)
    intake = gather_intake(device, contract, own, None)
    added = take_file(file, layout if label is None else replace(layout, label=label), intake)
    intake.close()
    reservoir = open_reservoir(device, contract)
    kept = reservoir.kept()
    reservoir.close()
    click.echo(f"taken       {added.taken}")
    click.echo(f"duplicates  {added.duplicates}")
    click.echo(f"removed     {added.removed}")
    click.echo(f"reservoir   {kept.rows} of at most {reservoir.rows_max}, {kept.held} held out")


def _load(
    file: Path,
    *,
    label: str | None,
    features: str,
    labels: str,
    shape: str,
    regression: bool,
    model: str | None,
) -> tuple[Loaded, Contract | None]:
    from gossamer_agent.contract import REGRESSION  # noqa: PLC0415
    from gossamer_agent.data.layout import Layout, parse_shape  # noqa: PLC0415  imports numpy
    from gossamer_agent.data.loading import load_file  # noqa: PLC0415
    from gossamer_agent.models import load_learner  # noqa: PLC0415

    contract = None if model is None else load_learner(model).contract
    try:
        wanted = parse_shape(shape) if shape else ()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--shape") from None
    if contract is not None:
        regression = contract.task == REGRESSION
        wanted = wanted or (contract.input_shape if len(contract.input_shape) > 1 else ())
    layout = Layout(
        label=label,
        features=parse_words(features),
        shape=wanted,
        words=parse_words(labels),
        regression=regression,
    )
    return load_file(file, layout), contract


def _fits(file: Path, loaded: Loaded, contract: Contract) -> None:
    from gossamer_agent.errors import DataError  # noqa: PLC0415

    try:
        loaded.samples.check(contract)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _tell(file: Path, loaded: Loaded, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from gossamer_agent.data.summary import summarise  # noqa: PLC0415

    found = summarise(loaded)
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    click.echo("\n".join(f"{name:<10}  {value}" for name, value in _rows(file, found)))
    for line in found.warnings:
        click.echo(f"warning: {line}", err=True)


def _rows(file: Path, found: FileSummary) -> list[tuple[str, str]]:
    shape = " x ".join(map(str, found.shape))
    rows = [
        ("file", str(file)),
        ("rows", f"{found.rows}, of them {found.test} for measuring only"),
        ("sample", shape + (f": {_some(found.features)}" if found.features else "")),
        ("values", f"{found.low:g} to {found.high:g}"),
    ]
    if found.outputs is not None:
        rows.append(("outputs", str(found.outputs)))
    else:
        rows.append(("labels", _some([f"{word} {count}" for word, count in found.labels.items()])))
    if found.words:
        rows.append(("--labels", show_words(found.words)))
    if found.constant:
        rows.append(("constant", f"{found.constant} features never vary"))
    if found.duplicates:
        rows.append(("copies", f"{found.duplicates} rows are copies of others"))
    if found.contradictions:
        rows.append(("doubtful", f"{found.contradictions} rows are like others but for the label"))
    return rows


def _some(texts: list[str], most: int = 12) -> str:
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest


# The data of a device ----------------------------------------------------------------------------


def _device_here(folder: Path) -> tuple[Device, Contract]:
    from gossamer_agent.cli.here import open_here  # noqa: PLC0415
    from gossamer_agent.models import load_learner  # noqa: PLC0415

    device = open_here(folder)
    return device, load_learner(device.model).contract


def _device_info(folder: Path, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415

    from gossamer_agent.data.gathering import layout_of, open_reservoir  # noqa: PLC0415
    from gossamer_agent.data.loading import load_file  # noqa: PLC0415
    from gossamer_agent.data.summary import summarise  # noqa: PLC0415

    device, contract = _device_here(folder)
    found = summarise(load_file(device.data_path, layout_of(device.config.data, contract)))
    reservoir = open_reservoir(device, contract)
    kept = reservoir.kept()
    reservoir.close()
    settings = device.config.data
    words = settings.labels
    if as_json:
        arrived = {"rows": kept.rows, "held": kept.held, "rows_max": reservoir.rows_max}
        document = {"file": found, "reservoir": arrived, "words": list(words)}
        click.echo(msgspec.json.encode(document))
        return
    rows = [row for row in _rows(device.data_path, found) if row[0] != "--labels"]
    if words or found.words:
        rows.append(("--labels", show_words(words or found.words)))
    rows.append(
        ("arrived", f"{kept.rows} of at most {reservoir.rows_max} kept, {kept.held} held out")
    )
    if kept.classes:
        counts = [
            f"{words[number] if number < len(words) else number} {count}"
            for number, count in kept.classes
        ]
        rows.append(("", _some(counts)))
    rows.append(("retention", settings.retention))
    if settings.watch:
        rows.append(("watched", str(device.path / settings.watch)))
    click.echo("\n".join(f"{name:<10}  {value}" for name, value in rows))
