"""What a machine is, from its device tree and memory; and the profile that suits it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.device.hardware import Machine, choose_profile, this_machine
from gossamer_agent.profile import Profile, list_profiles, load_profile

KNOWN = {name: load_profile(name) for name in list_profiles()}

# As the firmware leaves them in /proc/device-tree: model and compatible; then MemTotal in kB, which
# is what Linux counts of 512 MB, 1, 2, 4, 8 GB.
BOARDS = {
    "zero-2w": (
        b"Raspberry Pi Zero 2 W Rev 1.0\0",
        b"raspberrypi,model-zero-2-w\0brcm,bcm2837\0",
        426_000,
        "pi-zero-2w",
    ),
    "3b": (
        b"Raspberry Pi 3 Model B Rev 1.2\0",
        b"raspberrypi,3-model-b\0brcm,bcm2837\0",
        931_000,
        "pi-3b",
    ),
    "3b-plus": (
        b"Raspberry Pi 3 Model B Plus Rev 1.3\0",
        b"raspberrypi,3-model-b-plus\0brcm,bcm2837\0",
        931_000,
        "pi-3b",
    ),
    "3a-plus": (
        b"Raspberry Pi 3 Model A Plus Rev 1.0\0",
        b"raspberrypi,3-model-a-plus\0brcm,bcm2837\0",
        426_000,
        "pi-zero-2w",
    ),
    "4b-1gb": (
        b"Raspberry Pi 4 Model B Rev 1.1\0",
        b"raspberrypi,4-model-b\0brcm,bcm2711\0",
        925_000,
        "generic-aarch64",
    ),
    "4b-2gb": (
        b"Raspberry Pi 4 Model B Rev 1.4\0",
        b"raspberrypi,4-model-b\0brcm,bcm2711\0",
        1_890_000,
        "pi-4",
    ),
    "400": (b"Raspberry Pi 400 Rev 1.0\0", b"raspberrypi,400\0brcm,bcm2711\0", 3_880_000, "pi-4"),
    "cm4": (
        b"Raspberry Pi Compute Module 4 Rev 1.0\0",
        b"raspberrypi,4-compute-module\0brcm,bcm2711\0",
        3_880_000,
        "pi-4",
    ),
    "5-8gb": (
        b"Raspberry Pi 5 Model B Rev 1.0\0",
        b"raspberrypi,5-model-b\0brcm,bcm2712\0",
        8_250_000,
        "pi-5",
    ),
    "5-2gb": (
        b"Raspberry Pi 5 Model B Rev 1.1\0",
        b"raspberrypi,5-model-b\0brcm,bcm2712\0",
        2_060_000,
        "pi-4",
    ),
    "500": (b"Raspberry Pi 500 Rev 1.0\0", b"raspberrypi,500\0brcm,bcm2712\0", 8_250_000, "pi-5"),
    "another-with-the-chip-of-a-4": (
        b"Somebody's Carrier Board\0",
        b"somebody,carrier\0brcm,bcm2711\0",
        3_880_000,
        "pi-4",
    ),
    "orange-pi": (
        b"Orange Pi 5\0",
        b"xunlong,orangepi-5\0rockchip,rk3588s\0",
        8_100_000,
        "generic-aarch64",
    ),
    "no-device-tree": (None, None, 4_000_000, "generic-aarch64"),
}


def machine(
    board: str = "", architecture: str = "aarch64", cpus: int = 4, memory: int = 4000
) -> Machine:
    return Machine(board=board, architecture=architecture, cpus=cpus, memory_mb=memory)


def plant(root: Path, model: bytes | None, compatible: bytes | None, memory_kb: int) -> None:
    """A /proc of a board below `root`."""
    tree = root / "proc" / "device-tree"
    tree.mkdir(parents=True)
    for name, content in (("model", model), ("compatible", compatible)):
        if content is not None:
            (tree / name).write_bytes(content)
    text = f"MemTotal:       {memory_kb} kB\nMemFree:          100 kB\n"
    (root / "proc" / "meminfo").write_text(text)


class TestBoards:
    @pytest.mark.parametrize("name", BOARDS)
    def test_each_board_has_its_profile(self, tmp_path: Path, name: str) -> None:
        model, compatible, memory_kb, profile = BOARDS[name]
        plant(tmp_path, model, compatible, memory_kb)
        found = this_machine(tmp_path, architecture="aarch64", cpus=4)
        choice = choose_profile(found, KNOWN)
        assert choice.profile == profile
        assert found.memory_mb == memory_kb * 1024 // 1_000_000
        assert str(found).isprintable()
        assert KNOWN[choice.profile].memory_mb_max <= 0.6 * found.memory_mb
        if model is not None and model.startswith(b"Raspberry"):
            assert found.board in choice.reason

    def test_a_smaller_profile_is_explained(self, tmp_path: Path) -> None:
        plant(tmp_path, *BOARDS["5-2gb"][:3])
        choice = choose_profile(this_machine(tmp_path, architecture="aarch64", cpus=4), KNOWN)
        assert "profile pi-5 lets the agent use 1,536 MB, too much for 2,109 MB" in choice.reason

    def test_a_container_has_the_memory_of_its_control_group(self, tmp_path: Path) -> None:
        plant(tmp_path, None, None, 8_000_000)
        group = tmp_path / "sys" / "fs" / "cgroup"
        group.mkdir(parents=True)
        (group / "memory.max").write_text("400000000\n")
        assert this_machine(tmp_path).memory_mb == 400
        (group / "memory.max").write_text("max\n")
        assert this_machine(tmp_path).memory_mb == 8192

    @pytest.mark.slow
    @given(model=st.binary(max_size=200), compatible=st.binary(max_size=200))
    def test_any_bytes_give_a_machine(
        self, tmp_path_factory: pytest.TempPathFactory, model: bytes, compatible: bytes
    ) -> None:
        root = tmp_path_factory.mktemp("root", numbered=True)
        plant(root, model, compatible, 1_000_000)
        found = this_machine(root)
        assert str(found).isprintable()
        assert all(text.isprintable() for text in found.compatible)
        assert choose_profile(found, KNOWN).profile in KNOWN


@pytest.mark.parametrize(
    ("found", "profile"),
    [
        (machine("Some Board", memory=500), "pi-zero-2w"),
        (machine("Some Board", cpus=1), "pi-zero-2w"),
        (machine("Raspberry Pi 50", memory=4000), "generic-aarch64"),
        (machine(architecture="x86_64"), "x86-64"),
        (machine(architecture="amd64"), "x86-64"),
        (machine(architecture="x86_64", memory=512), "pi-zero-2w"),
        (machine(architecture="riscv64"), "generic-aarch64"),
    ],
)
def test_what_is_no_known_board_is_judged_by_its_size(found: Machine, profile: str) -> None:
    assert choose_profile(found, KNOWN).profile == profile


def test_something_is_chosen_from_whatever_there_is() -> None:
    only: dict[str, Profile] = {"workstation": replace(KNOWN["x86-64"], name="workstation")}
    assert choose_profile(machine("Raspberry Pi 5"), only).profile == "workstation"
    assert choose_profile(machine(memory=100), KNOWN).profile == "pi-zero-2w"


def test_says_what_does_not_fit() -> None:
    def notes(found: Machine) -> str:
        return " ".join(choose_profile(found, KNOWN).notes)

    assert "may use 2,048 of 3,000 MB" in notes(machine(architecture="x86_64", memory=3000))
    assert "32-bit system" in notes(machine("Raspberry Pi 4 Model B Rev 1.4", "armv7l"))
    assert "fewer than the profile's threads" in notes(machine("Raspberry Pi 5", cpus=2))
    assert notes(machine("Raspberry Pi 5")) == ""


def test_this_machine_can_be_told() -> None:
    found = this_machine()
    assert found.cpus >= 1
    assert found.memory_mb > 0
    assert str(found).isprintable()
