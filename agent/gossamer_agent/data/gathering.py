"""From the settings of a device to what its running agent asks for data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from gossamer_agent.contract import Contract
from gossamer_agent.data.arrays import split_holdout
from gossamer_agent.data.holdout import holdout_key, split_by_hash
from gossamer_agent.data.intake import Intake, Split
from gossamer_agent.data.layout import Layout, parse_shape
from gossamer_agent.data.loading import DeviceData, Loaded, load_file
from gossamer_agent.data.reservoir import FILE_NAME, Added, Reservoir
from gossamer_agent.data.schema import is_regression, learn_schema
from gossamer_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gossamer_agent.data.schema import Schema
    from gossamer_agent.device.config import DataSettings
    from gossamer_agent.device.folder import Device
    from gossamer_agent.learner import Samples

FILE_TIMES_MAX: Final = 4
FILE_BYTES_MIN: Final = 16 << 20
"""Files that arrive may be so large whatever the reservoir holds, for one sample can be."""


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


def take_file(path: Path, layout: Layout, intake: Intake) -> Added:
    """Keep the samples of a file, but for those that its `is_test` keeps apart.

    Label words mean what they mean in the device's own data. A file of several times what the
    reservoir holds is refused: most of it would be thrown away. Raises DataError, StoreError.
    """
    words = intake.schema.words
    bytes_max = max(intake.bytes_max * FILE_TIMES_MAX, FILE_BYTES_MIN)
    try:
        loaded = load_file(path, layout.with_words(words), rows_min=1, bytes_max=bytes_max)
        samples = _checked(path, loaded, intake.schema)
    except DataError:
        intake.refuse(1)
        raise
    return intake.take(samples, f"file {path.name}")


def _checked(path: Path, loaded: Loaded, schema: Schema) -> Samples:
    if loaded.words and not schema.words:
        raise DataError(
            f"{path}: its labels are words; set labels in [data] of config.toml, so that they mean"
            " the same on all devices"
        )
    try:
        return schema.labelled(loaded.training.x, loaded.training.y)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
