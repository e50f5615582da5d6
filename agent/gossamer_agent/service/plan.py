"""From a device's folder to the settings of its unit: who runs it, what it reads and may use."""

from __future__ import annotations

import grp
import pwd
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gossamer_agent.device.config import CONFIG_NAME, Config, load_config
from gossamer_agent.device.folder import GENESIS_NAME, KEY_NAME
from gossamer_agent.errors import AgentError, ConfigError
from gossamer_agent.profile import load_profile
from gossamer_agent.service.unit import UnitSettings
from gossamer_crypto.keyfile import is_encrypted

_PACKAGES: Final = (
    "gossamer_agent", "gossamer_crypto", "gossamer_profiles", "gossamer_simulator",
    "gossamer_transport",
)  # fmt: skip


def plan_unit(folder: Path, *, user: bool, passphrase_file: Path | None) -> UnitSettings:
    """The settings for the device in `folder`. Raises AgentError for what a service cannot run."""
    folder = folder.resolve()
    for name in (KEY_NAME, GENESIS_NAME, CONFIG_NAME):
        if not (folder / name).is_file():
            raise AgentError(
                f"{folder}: there is no device here (no {name}); gossamer init makes one"
            )
    config = load_config(folder / CONFIG_NAME)
    _check_passphrase(folder, passphrase_file)
    reference = config.device.profile
    profile = load_profile(str(folder / reference) if reference.endswith(".toml") else reference)
    owner, group = (None, None) if user else _owner(folder)
    devices = profile.unit.devices
    return UnitSettings(
        description=f"Gossamer agent of {config.device.name}",
        program=(sys.executable, "-m", "gossamer_agent"),
        folder=folder,
        readable=tuple(_readable(folder, config)),
        writable=tuple(_writable(folder, config)),
        user=owner,
        group=group,
        memory_mb_max=profile.memory_mb_max,
        threads=profile.threads,
        devices=devices,
        # A user's own manager cannot give groups; its services have those of the user.
        device_groups=() if user else tuple(sorted(_groups(devices))),
        passphrase_file=None if passphrase_file is None else passphrase_file.resolve(),
    )


def _check_passphrase(folder: Path, passphrase_file: Path | None) -> None:
    if is_encrypted(folder / KEY_NAME) and passphrase_file is None:
        raise ConfigError(
            f"{folder}: the key is under a passphrase, and a service has nobody to ask:"
            " give --passphrase-file"
        )
    if passphrase_file is not None and not passphrase_file.is_file():
        raise ConfigError(f"{passphrase_file}: there is no such file")


def _owner(folder: Path) -> tuple[str, str]:
    """Who owns the folder, and his group. Root is refused: the agent talks to strangers."""
    found = folder.stat()
    if found.st_uid == 0:
        raise AgentError(
            f"{folder}: belongs to root, and the agent must not run as root; give it to a user"
            f" first: chown -R USER: {folder}"
        )
    try:
        owner = pwd.getpwuid(found.st_uid)
        return owner.pw_name, grp.getgrgid(owner.pw_gid).gr_name
    except KeyError:
        raise AgentError(f"{folder}: its owner has no name on this machine") from None


def _readable(folder: Path, config: Config) -> Iterator[Path]:
    """The program and the files that config.toml names; what does not exist is left out."""
    program = [Path(sys.prefix), Path(sys.base_prefix)]
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            program.append(Path(spec.origin).parent)
    device = config.device
    named = [device.data, device.test, device.model, device.profile, config.api.token_file]
    # A learner of the owner's own is a command line.
    named += device.model.partition(":")[2].split()
    files = [folder / name for name in named if name]
    for path in (*program, *files):
        if path.exists() and not path.resolve().is_relative_to(folder):
            # Both: a link below a home folder, and what it leads to.
            yield path.absolute()
            yield path.resolve()


def _writable(folder: Path, config: Config) -> Iterator[Path]:
    """The watched folder: files are set aside there once they were read."""
    if config.data.watch is not None:
        yield (folder / config.data.watch).resolve()


def _groups(devices: tuple[str, ...]) -> Iterator[str]:
    for device in devices:
        try:
            group = grp.getgrgid(Path(device).stat().st_gid).gr_name
        except (OSError, KeyError):
            continue  # not on this machine; the unit names it all the same
        if group != "root":
            yield group
