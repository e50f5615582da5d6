"""The settings of one device: `config.toml` in its folder, which its owner may edit.

Every key is declared once, below, with its range and a sentence about it; the file that
`write_config` makes says the same. Paths in it are relative to the device's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gossamer_agent.device.addresses import (
    ADDRESS_CHARS_MAX,
    check_dialable,
    check_listen,
    check_relay,
)
from gossamer_agent.profile.hours import minutes_of
from gossamer_agent.tables import (
    ABOUT,
    build,
    checked_text,
    flag,
    number,
    parse_toml,
    read_toml,
    table,
    text,
    texts,
    whole,
)

if TYPE_CHECKING:
    from gossamer_agent.learner import Training
    from gossamer_agent.training.options import LocalOptions

CONFIG_NAME: Final = "config.toml"
PATH_CHARS_MAX: Final = 1024
_ADDRESSES_MAX: Final = 8
_RELAYS_MAX: Final = 3

_HEAD = """\
# Settings of one Gossamer device. The agent reads them when it starts (gossamer run).
# Paths are relative to this folder. A line that begins with # shows a default or an example.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSettings:
    """What this device is, and what it learns from."""

    name: str = text(64, about="What you call this device; it is shown to you only.")
    model: str = text(
        PATH_CHARS_MAX,
        about="The swarm's: softmax, mlp, ..., a .tflite file, flower:... or process:...",
    )
    data: str = text(
        PATH_CHARS_MAX, about="The device's own data: .npz with x and y, .csv, .parquet."
    )
    test: str | None = text(
        PATH_CHARS_MAX,
        default=None,
        about="Accuracy is measured on this file after each round (optional).",
    )
    profile: str = text(
        PATH_CHARS_MAX, about="A name of `gossamer profile list`, or the path of a .toml file."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Where this device listens and how it finds others."""

    listen: tuple[str, ...] = texts(
        _ADDRESSES_MAX,
        ADDRESS_CHARS_MAX,
        check_listen,
        default=("/ip4/0.0.0.0/tcp/0",),
        about="Where the agent listens; port 0 takes any free one at each start.",
    )
    advertise: tuple[str, ...] = texts(
        _ADDRESSES_MAX,
        ADDRESS_CHARS_MAX,
        check_dialable,
        default=(),
        about="What others shall dial, if it differs (port forwarding, a DNS name).",
    )
    mdns: tuple[str, ...] = texts(
        16,
        64,
        default=(),
        about='Interfaces on which peers are looked for, such as ["wlan0"]; [] is off.',
    )
    kademlia: bool = flag(default=False, about="Look for peers in a distributed hash table too.")
    relay: bool = flag(default=False, about="Serve as a relay for members behind NAT.")
    relays: tuple[str, ...] = texts(
        _RELAYS_MAX,
        ADDRESS_CHARS_MAX,
        check_relay,
        default=(),
        about="Relays through which others reach us: addresses that end in /p2p/ID.",
    )
    announce_interval_s: float | None = number(
        0.1, 3600, default=None, about="Seconds between announcements; the profile's if not set."
    )
    rotate_hours: float = number(
        0, 8760, default=24.0, about="A steward renews the swarm's key so often; 0: never."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """How this device learns."""

    round_interval_s: float | None = number(
        0.1, 86_400, default=None, about="Seconds between rounds; the profile's if not set."
    )
    local_steps: int = whole(1, 10_000, default=8, about="Steps per round.")
    batch: int = whole(1, 1024, default=16, about="Samples per step.")
    learning_rate: float = number(1e-6, 100, default=0.3, about="Step size.")
    momentum: float = number(0, 0.99, default=0.5, about="Momentum of the local steps.")
    optimiser: str = text(
        16, "sgd", "adam", default="sgd", about="Either sgd, with momentum, or adam."
    )
    moments: str = text(
        16,
        "reset",
        "keep",
        default="reset",
        about="Whether the optimiser forgets between rounds (reset) or goes on (keep).",
    )
    schedule: str = text(
        16, "constant", "cosine", default="constant", about="Learning rate from round to round."
    )
    anneal_rounds: int = whole(
        1, 1_000_000, default=100, about="Rounds in which a cosine falls; then it starts again."
    )
    weight_decay: float = number(0, 10, default=0.0, about="Pull of the parameters towards 0.")
    gradient_clip: float = number(
        0, 1e6, default=0.0, about="Largest norm of a batch's gradient; 0: any."
    )
    proximal: float = number(
        0, 1000, default=0.0, about="FedProx's mu: pull towards what a round began with."
    )
    combine: str = text(
        16,
        "replace",
        "adam",
        "yogi",
        default="replace",
        about="What a merge does: it replaces, or FedAdam or FedYogi takes a step towards it.",
    )
    combine_rate: float = number(1e-6, 100, default=0.03, about="Step size of adam and yogi there.")
    combine_t: float = number(1e-9, 100, default=0.001, about="And their t: larger is smoother.")
    personal_steps: int = whole(
        0,
        10_000,
        default=0,
        about="Of personal layers: 0 trains all at once (FedPer), n them alone first (FedRep).",
    )
    ditto: float = number(
        0, 1000, default=0.0, about="Ditto's lambda: holds a model of one's own near; 0: no such."
    )
    early_stop: int = whole(
        0, 100, default=0, about="Hold-out checks in a round that end its steps; 0: none."
    )
    follow: str = text(
        16,
        "random",
        "useful",
        default="random",
        about="Who keeps its slot: chance and standing decide, or whose replicas helped.",
    )
    seed: int | None = whole(
        0, 2**63 - 1, default=None, about="Fixes the order of the samples, for experiments."
    )

    def training(self) -> Training:
        """The settings of one local training call."""
        from gossamer_agent.learner import Training  # noqa: PLC0415  imports numpy

        return Training(
            steps=self.local_steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            proximal=self.proximal,
            optimiser=self.optimiser,
            schedule=self.schedule,
            anneal_rounds=self.anneal_rounds,
            gradient_clip=self.gradient_clip,
        )

    def options(self, nominal_steps: int) -> LocalOptions:
        """What goes beyond one call. nominal_steps: the policy's."""
        from gossamer_agent.training.options import LocalOptions  # noqa: PLC0415  imports numpy

        return LocalOptions(
            moments=self.moments,
            combine=self.combine,
            combine_rate=self.combine_rate,
            combine_t=self.combine_t,
            nominal_steps=nominal_steps,
            early_stop=self.early_stop,
            follow=self.follow,
        )


def _check_hours(hours: str) -> None:
    minutes_of(hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """What the agent may use up, where it differs from the profile."""

    network_mb_per_day: float | None = number(
        0.01, 1e7, default=None, about="Megabytes a day, both directions; the profile's if not set."
    )
    flash_mb_per_day: float | None = number(
        0.01,
        1e7,
        default=None,
        about="Megabytes a day written to this folder; the profile's if not set.",
    )
    blobs_mb: int | None = whole(
        0,
        1_000_000,
        default=None,
        about="No more than so many of log.received_mb are used; the profile's if not set.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThermalSettings:
    """Heat, where it differs from the profile."""

    pause_above_celsius: float | None = number(
        20, 120, default=None, about="Learning stops above it; the profile's if not set."
    )
    resume_below_celsius: float | None = number(
        0, 119, default=None, about="And goes on below this; the profile's if not set."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DutySettings:
    """When the device may learn, where it differs from the profile."""

    hours: tuple[str, ...] | None = texts(
        8,
        11,
        _check_hours,
        default=None,
        about='Local hours of learning, as in ["22:00-06:00"]; []: always; or the profile\'s.',
    )
    mains_only: bool | None = flag(
        default=None, about="Learn on mains power only; the profile's if not set."
    )
    idle_only: bool | None = flag(
        default=None, about="Learn only while nothing else works; the profile's if not set."
    )
    idle_load_max: float | None = number(
        0.01,
        64,
        default=None,
        about="The load per core that counts as idle; the profile's if not set.",
    )


def _check_api_listen(listen: str) -> None:
    # The server's own module says the same; it is dear to import.
    host, _, port = listen.rpartition(":")
    if listen in ("off", "unix"):
        return
    if host not in ("127.0.0.1", "[::1]") or not (port.isdecimal() and 0 < int(port) <= 65535):
        raise ValueError(f'must be "off", "unix" or an address like 127.0.0.1:8780, not {listen!r}')


def _check_shape(shape: str) -> None:
    parts = shape.split("x")
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 1 << 20 for part in parts):
        raise ValueError(f"{shape!r:.40} is no shape; write one like 8x8 or 28x28x1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How tables are read, and what is kept of samples that arrive while the agent runs."""

    label: str | None = text(
        1024,
        default=None,
        about='The column with the labels, in CSV and Parquet; "label" if not set.',
    )
    features: tuple[str, ...] = texts(
        4096, 256, default=(), about="Columns of a sample, in this order; []: all others."
    )
    shape: str | None = checked_text(
        64, _check_shape, default=None, about="Shape of a sample that is an image, such as 8x8x1."
    )
    labels: tuple[str, ...] = texts(
        1000,
        256,
        default=(),
        about="Label words in the order of their numbers; the same on all devices of the swarm.",
    )
    low: float | None = number(
        -1e30,
        1e30,
        default=None,
        about="Lower values are refused; learnt from the data if not set.",
    )
    high: float | None = number(
        -1e30, 1e30, default=None, about="Higher values are refused; as low, set both or none."
    )
    watch: str | None = text(
        PATH_CHARS_MAX, default=None, about="A folder: files put there are read once and learnt."
    )
    reservoir_rows: int = whole(
        1, 10_000_000, default=20_000, about="Samples that arrived and are kept, at most."
    )
    reservoir_mb: int = whole(1, 100_000, default=64, about="Megabytes of them, at most.")
    retention: str = text(
        16,
        "newest",
        "class-balanced",
        default="newest",
        about='What a full reservoir keeps: "newest" or "class-balanced".',
    )
    drift_threshold: float = number(
        0.01, 100, default=0.25, about="Population stability index above which data have drifted."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings:
    """The local API: other programs on this device infer and observe through it."""

    listen: str = checked_text(
        64,
        _check_api_listen,
        default="unix",
        about='Where: "unix" is the socket api.sock in this folder; or "127.0.0.1:PORT"; "off".',
    )
    token_file: str = text(
        PATH_CHARS_MAX,
        default="api.token",
        about="The bearer token, made at the first start; a port asks for it always.",
    )
    body_mb_max: float = number(
        0.001, 64, default=4.0, about="Megabytes of one request; larger ones are refused."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What this device keeps beside its own log."""

    received_mb: int = whole(
        0,
        1_000_000,
        default=64,
        about="Megabytes of what others published that are kept for audits; the oldest go first.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file."""

    device: DeviceSettings = field(metadata=table(DeviceSettings))
    network: NetworkSettings = field(
        default_factory=NetworkSettings, metadata=table(NetworkSettings)
    )
    learning: LearningSettings = field(
        default_factory=LearningSettings, metadata=table(LearningSettings)
    )
    data: DataSettings = field(default_factory=DataSettings, metadata=table(DataSettings))
    api: ApiSettings = field(default_factory=ApiSettings, metadata=table(ApiSettings))
    log: LogSettings = field(default_factory=LogSettings, metadata=table(LogSettings))
    budget: BudgetSettings = field(default_factory=BudgetSettings, metadata=table(BudgetSettings))
    thermal: ThermalSettings = field(
        default_factory=ThermalSettings, metadata=table(ThermalSettings)
    )
    duty: DutySettings = field(default_factory=DutySettings, metadata=table(DutySettings))


def load_config(path: Path) -> Config:
    """The settings in the file at `path`.

    Raises ConfigError that names the file, the table, the key and what is allowed.
    """
    return build(Config, read_toml(path, str(path)), str(path))


def parse_config(raw: bytes, where: str) -> Config:
    """As `load_config`, from the text of a file that the user calls `where`."""
    return build(Config, parse_toml(raw, where), where)


def config_text(config: Config) -> str:
    """The file that `load_config` reads back as `config`, with a comment for every key."""
    lines = [_HEAD]
    for spec in fields(config):
        lines.append(f"[{spec.name}]")
        lines += _lines(getattr(config, spec.name))
    return "\n".join(lines)


def write_config(path: Path, config: Config) -> None:
    """Write a commented file that a user can edit. Raises OSError; replaces nothing."""
    with path.open("x", encoding="utf-8") as file:
        file.write(config_text(config))


def _lines(settings: Any) -> Iterator[str]:
    for spec in fields(settings):
        value = getattr(settings, spec.name)
        yield f"# {spec.metadata[ABOUT]}"
        # TOML has no null: a key without a value is shown as a comment.
        yield f"# {spec.name} =" if value is None else f"{spec.name} = {_literal(value)}"
        yield ""


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    # For printable text, numbers and booleans JSON and TOML agree.
    return json.dumps(value, ensure_ascii=False)
