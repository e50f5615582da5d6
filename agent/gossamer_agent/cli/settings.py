"""The options that `init` and `join` share, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.passphrase import passphrase_file_option
from gossamer_agent.cli.words import parse_words

if TYPE_CHECKING:
    from gossamer_agent.data import DeviceData
    from gossamer_agent.data.layout import Layout
    from gossamer_agent.device.config import Config
    from gossamer_agent.learner import Learner

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDevice:
    """What the user said about a new device. name: "" for that of its folder.

    label, labels: of tables: their column, and what the numbers 0, 1, 2, ... are called; features:
    the columns of a sample, () for all others.
    """

    name: str
    data: Path
    test: Path | None
    profile: str
    listen: tuple[str, ...]
    label: str | None = None
    labels: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def layout(self, *, regression: bool, shape: tuple[int, ...] = ()) -> Layout:
        """How its tables are read."""
        from gossamer_agent.data.layout import Layout  # noqa: PLC0415  imports numpy

        return Layout(
            label=self.label,
            features=self.features,
            words=self.labels,
            shape=shape,
            regression=regression,
        )


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as `device: NewDevice`."""

    def called(
        *,
        name: str,
        data: Path,
        test: Path | None,
        profile: str,
        listen: tuple[str, ...],
        label: str | None,
        labels: str,
        features: str,
        **others: Any,
    ) -> None:
        said = NewDevice(
            name=name,
            data=data,
            test=test,
            profile=profile,
            listen=listen,
            label=label,
            labels=parse_words(labels),
            features=parse_words(features),
        )
        command(device=said, **others)

    update_wrapper(called, command)
    # click shows them in this order.
    for option in reversed(_OPTIONS):
        option(called)
    return called


_PATH = click.Path(path_type=Path)
_OPTIONS = (
    click.option(
        "--data",
        metavar="FILE",
        type=_PATH,
        required=True,
        help="What the device learns from: an .npz with x (one row per sample, scaled to about "
        "0..1) and y (labels 0, 1, 2, ...), or a .csv or .parquet table.",
    ),
    click.option("--label", metavar="COLUMN", help="The column of a table that holds the labels."),
    click.option(
        "--labels",
        metavar="WORDS",
        default="",
        help="What the labels 0, 1, 2, ... of a table are called, with commas between; the same on "
        "all devices.",
    ),
    click.option(
        "--features",
        metavar="COLUMNS",
        default="",
        help="The columns of a table that make a sample, with commas between; all but that of the "
        "labels without it.",
    ),
    click.option(
        "--test", metavar="FILE", type=_PATH, help="A file on which accuracy is measured."
    ),
    click.option(
        "--profile",
        default=AUTO,
        show_default=True,
        help="A name of `gossamer profile list`, a .toml file, or auto: what suits this machine.",
    ),
    click.option(
        "--listen",
        metavar="ADDRESS",
        multiple=True,
        help="Where to listen, such as /ip4/0.0.0.0/tcp/4001. Without it: every interface, at a "
        "port that is free now.",
    ),
    click.option("--name", default="", help="What you call the device; its folder's name else."),
    passphrase_file_option,
    click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase for the key."),
)


def check_data(device: NewDevice, learner: Learner | None) -> DeviceData:
    """Read the data and see that the model can take them. Raises DataError; echoes warnings."""
    from gossamer_agent.contract import REGRESSION  # noqa: PLC0415
    from gossamer_agent.data import DeviceData, load_device_data  # noqa: PLC0415  imports numpy
    from gossamer_agent.errors import DataError  # noqa: PLC0415
    from gossamer_agent.learners.own_data import NO_DATA, brings_data  # noqa: PLC0415
    from gossamer_agent.learners.reference import NO_FILE  # noqa: PLC0415

    if learner is not None and brings_data(learner):
        unread = [str(file) for file in (device.data, device.test) if file is not None]
        why = "is not read: the learner brings its own data"
        warnings = tuple(f"{file} {why}" for file in unread if file != NO_FILE)
        return DeviceData(NO_DATA, None, warnings)
    if learner is None:  # its task is not known yet, so neither is that of the labels
        try:
            return load_device_data(device.data, device.test, device.layout(regression=False))
        except DataError:
            with suppress(DataError):
                return load_device_data(device.data, device.test, device.layout(regression=True))
            raise
    contract = learner.contract
    shape = contract.input_shape if len(contract.input_shape) > 1 else ()
    layout = device.layout(regression=contract.task == REGRESSION, shape=shape)
    data = load_device_data(device.data, device.test, layout)
    for samples, file in ((data.training, device.data), (data.test, device.test)):
        if samples is not None:
            try:
                samples.check(contract)
            except DataError as error:
                raise DataError(f"data set {str(file or device.data)!r}: {error}") from None
    return data


def make_config(folder: Path, device: NewDevice, model: str) -> Config:
    """The settings to write for `device`, whose model is `model`; says which profile was chosen.

    Paths become absolute: the file is read from another folder. Raises ConfigError.
    """
    from gossamer_agent.device.addresses import free_port  # noqa: PLC0415
    from gossamer_agent.device.config import (  # noqa: PLC0415
        CONFIG_NAME,
        Config,
        DataSettings,
        DeviceSettings,
        NetworkSettings,
        config_text,
        parse_config,
    )
    from gossamer_agent.learners.reference import NO_FILE  # noqa: PLC0415

    settings = DeviceSettings(
        name=device.name or folder.absolute().name,
        model=_model(model),
        data=NO_FILE if str(device.data) == NO_FILE else _absolute(device.data),
        test=None if device.test is None else _absolute(device.test),
        profile=_profile(device.profile),
    )
    listen = device.listen or (f"/ip4/0.0.0.0/tcp/{free_port()}",)
    config = Config(
        device=settings,
        network=NetworkSettings(listen=listen),
        data=DataSettings(label=device.label, features=device.features, labels=device.labels),
    )
    # What cannot be read back must not be written.
    return parse_config(config_text(config).encode("utf-8", "replace"), f"new {CONFIG_NAME}")


def with_words(device: NewDevice, words: tuple[str, ...]) -> NewDevice:
    """The device with the label words that its table has, unless the user gave them."""
    return device if device.labels or not words else replace(device, labels=words)


def need_words(device: NewDevice, words: tuple[str, ...]) -> None:
    """Raise DataError where a joining device would number label words by itself."""
    from gossamer_agent.errors import DataError  # noqa: PLC0415

    if words and not device.labels:
        raise DataError(
            f"{device.data}: its labels are words ({', '.join(words[:4])}, ...); all devices must"
            " number them alike: --labels, as `gossamer data info` shows it on another device"
        )


def with_model(config: Config, model: str) -> Config:
    """The same settings for another model."""
    return replace(config, device=replace(config.device, model=_model(model)))


def _model(reference: str) -> str:
    from gossamer_agent.models import absolute_model  # noqa: PLC0415  imports numpy

    return absolute_model(reference, Path.cwd())


def _profile(reference: str) -> str:
    from gossamer_agent.device.hardware import choose_profile, this_machine  # noqa: PLC0415
    from gossamer_agent.profile import list_profiles, load_profile  # noqa: PLC0415

    if reference == AUTO:
        machine = this_machine()
        known = {name: load_profile(name) for name in list_profiles()}
        choice = choose_profile(machine, known)
        title = known[choice.profile].title
        click.echo(f"profile {choice.profile} ({title}), because this is: {machine}", err=True)
        for note in choice.notes:
            click.echo(f"note: {note}", err=True)
        return choice.profile
    load_profile(reference)
    return _absolute(Path(reference)) if reference.endswith(".toml") else reference


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())
