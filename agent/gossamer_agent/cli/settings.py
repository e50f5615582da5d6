"""The options that `init` and `join` share, and the settings that they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gossamer_agent.cli.passphrase import passphrase_file_option

if TYPE_CHECKING:
    from gossamer_agent.data import DeviceData
    from gossamer_agent.device.config import Config
    from gossamer_agent.learner import Learner

AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDevice:
    """What the user said about a new device. name: "" for that of its folder."""

    name: str
    data: Path
    test: Path | None
    profile: str
    listen: tuple[str, ...]


def device_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as `device: NewDevice`."""

    def called(
        *,
        name: str,
        data: Path,
        test: Path | None,
        profile: str,
        listen: tuple[str, ...],
        **others: Any,
    ) -> None:
        said = NewDevice(name=name, data=data, test=test, profile=profile, listen=listen)
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
        "0..1) and y (labels 0, 1, 2, ...).",
    ),
    click.option(
        "--test", metavar="FILE", type=_PATH, help="An .npz on which accuracy is measured."
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
    from gossamer_agent.data import load_device_data  # noqa: PLC0415  imports numpy
    from gossamer_agent.errors import DataError  # noqa: PLC0415

    data = load_device_data(device.data, device.test)
    if learner is not None:
        for samples, file in ((data.training, device.data), (data.test, device.test)):
            if samples is not None:
                try:
                    samples.check(learner.contract)
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
        DeviceSettings,
        NetworkSettings,
        config_text,
        parse_config,
    )

    settings = DeviceSettings(
        name=device.name or folder.absolute().name,
        model=_model(model),
        data=_absolute(device.data),
        test=None if device.test is None else _absolute(device.test),
        profile=_profile(device.profile),
    )
    listen = device.listen or (f"/ip4/0.0.0.0/tcp/{free_port()}",)
    config = Config(device=settings, network=NetworkSettings(listen=listen))
    # What cannot be read back must not be written.
    return parse_config(config_text(config).encode("utf-8", "replace"), f"new {CONFIG_NAME}")


def with_model(config: Config, model: str) -> Config:
    """The same settings for another model."""
    return replace(config, device=replace(config.device, model=_model(model)))


def _model(reference: str) -> str:
    from gossamer_agent.models import model_names  # noqa: PLC0415  imports numpy

    return reference if reference in model_names() else _absolute(Path(reference))


def _profile(reference: str) -> str:
    from gossamer_agent.device.hardware import choose_profile, this_machine  # noqa: PLC0415
    from gossamer_agent.profile import list_profiles, load_profile  # noqa: PLC0415

    if reference == AUTO:
        machine = this_machine()
        chosen = choose_profile(machine, list_profiles())
        title = load_profile(chosen).title
        click.echo(f"profile {chosen} ({title}), because this is: {machine}", err=True)
        return chosen
    load_profile(reference)
    return _absolute(Path(reference)) if reference.endswith(".toml") else reference


def _absolute(path: Path) -> str:
    return str(path.expanduser().absolute())
