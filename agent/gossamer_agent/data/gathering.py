"""From the settings of a device to what its running agent asks for data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.data.arrays import split_holdout
from gossamer_agent.data.holdout import holdout_key, split_by_hash
from gossamer_agent.data.intake import Intake, Split
from gossamer_agent.data.layout import Layout, parse_shape
from gossamer_agent.data.loading import DeviceData, load_file
from gossamer_agent.data.reservoir import FILE_NAME, Reservoir
from gossamer_agent.data.schema import is_regression, learn_schema
from gossamer_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gossamer_agent.data.schema import Schema
    from gossamer_agent.device.config import DataSettings
    from gossamer_agent.device.folder import Device


def layout_of(settings: DataSettings, contract: Contract) -> Layout:
    """How the tables of a device are read for a model. Without a shape, as the model needs it."""
    shape = parse_shape(settings.shape) if settings.shape else ()
    return Layout(
        label=settings.label,
        features=settings.features,
        shape=shape or (contract.input_shape if len(contract.input_shape) > 1 else ()),
        words=settings.labels,
        regression=is_regression(contract),
    )


def gather_intake(
    device: Device, contract: Contract, data: DeviceData, chance: np.random.Generator | None
) -> Intake:
    """chance: draws the hold-out part of the device's file, for experiments with a seed; without
    it the keyed hash decides, so that it is the same part at every start. Raises ConfigError.
    """
    settings = device.config.data
    key = holdout_key(device.identity.seed())
    if chance is None:
        own = Split(*split_by_hash(data.training, key))
    else:
        own = Split(*split_holdout(data.training, chance))
    return Intake(
        own,
        schema_of(settings, contract, data),
        open_reservoir(device, contract),
        drift_threshold=settings.drift_threshold,
    )


def schema_of(settings: DataSettings, contract: Contract, data: DeviceData) -> Schema:
    """What a sample must be like on this device. Raises ConfigError for half a range."""
    declared = None
    if (settings.low is None) != (settings.high is None):
        raise ConfigError("config.toml: [data]: set both low and high, or none of them")
    if settings.low is not None and settings.high is not None:
        if settings.low >= settings.high:
            raise ConfigError("config.toml: [data]: low must be less than high")
        declared = (settings.low, settings.high)
    return learn_schema(
        data.training,
        contract,
        declared=declared,
        names=data.features or settings.features,
        words=settings.labels or data.words,
    )


def open_reservoir(device: Device, contract: Contract) -> Reservoir:
    """The reservoir in the folder of a device; no file is made."""
    settings = device.config.data
    return Reservoir(
        device.path / FILE_NAME,
        contract,
        holdout_key(device.identity.seed()),
        rows_max=settings.reservoir_rows,
        bytes_max=settings.reservoir_mb << 20,
        retention=settings.retention,
    )


def take_file(path: Path, layout: Layout, intake: Intake) -> None:
    """Read a file that was put into the watched folder. Raises DataError, StoreError."""
    loaded = load_file(path, layout, rows_min=1)
    try:
        samples = intake.schema.labelled(loaded.samples.x, loaded.samples.y)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    intake.take(samples, f"file {path.name}")
