"""`--profile auto`: from what a machine is to a profile that exists."""

from __future__ import annotations

import pytest

from gossamer_agent.device.hardware import Machine, choose_profile, this_machine
from gossamer_agent.profile import list_profiles


def machine(
    board: str = "", architecture: str = "aarch64", cpus: int = 4, memory: int = 4000
) -> Machine:
    return Machine(board=board, architecture=architecture, cpus=cpus, memory_mb=memory)


@pytest.mark.parametrize(
    ("found", "profile"),
    [
        (machine("Raspberry Pi 5 Model B Rev 1.0"), "pi-5"),
        (machine("Raspberry Pi 500 Rev 1.0"), "pi-5"),
        (machine("Raspberry Pi 4 Model B Rev 1.4"), "pi-4"),
        (machine("Raspberry Pi 400 Rev 1.0"), "pi-4"),
        (machine("Raspberry Pi 3 Model B Plus Rev 1.3", memory=900), "pi-3b"),
        (machine("Raspberry Pi Zero 2 W Rev 1.0", memory=420), "pi-zero-2w"),
        (machine("Orange Pi 5"), "generic-aarch64"),
        (machine("Some Board", memory=500), "pi-zero-2w"),
        (machine("Some Board", cpus=1), "pi-zero-2w"),
        (machine(architecture="x86_64"), "x86-64"),
        (machine(architecture="x86_64", memory=512), "pi-zero-2w"),
        (machine(architecture="riscv64"), "generic-aarch64"),
    ],
)
def test_each_machine_has_its_profile(found: Machine, profile: str) -> None:
    assert choose_profile(found, list_profiles()) == profile


def test_something_is_chosen_from_whatever_there_is() -> None:
    assert choose_profile(machine("Raspberry Pi 5"), ["workstation"]) == "workstation"
    assert (
        choose_profile(machine(architecture="x86_64"), ["x86-64", "workstation"]) == "workstation"
    )


def test_this_machine_can_be_told() -> None:
    found = this_machine()
    assert found.cpus >= 1
    assert found.memory_mb > 0
    assert str(found).isprintable()
