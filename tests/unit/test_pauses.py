"""When a device rests: buckets, switches with hysteresis, what the core is told, what is read."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gossamer_agent.device.config import BudgetSettings, Config, DeviceSettings, DutySettings
from gossamer_agent.device.config import ThermalSettings as Heat
from gossamer_agent.errors import ConfigError, StoreError
from gossamer_agent.events import ExchangePaused, ExchangeResumed, RoundDue
from gossamer_agent.node import pausing as pausing_module
from gossamer_agent.node.pausing import Pausing
from gossamer_agent.pauses import (
    ALWAYS,
    DeviceLimits,
    Governor,
    Pacer,
    PauseKind,
    Permissions,
    Readings,
    TokenBucket,
    effective_limits,
)
from gossamer_agent.pauses.bucket import DAY_S
from gossamer_agent.pauses.governor import Spent
from gossamer_agent.pauses.saved import pack_spent, parse_spent
from gossamer_agent.pauses.sensors import Sensors
from gossamer_agent.profile import list_profiles, load_profile

HOUR = 3600.0
LIMITS = DeviceLimits(
    network_bytes_per_day=1000.0,
    flash_bytes_per_day=1000.0,
    blobs_bytes=0,
    pause_above_celsius=80.0,
    resume_below_celsius=70.0,
    pause_above_memory_percent=20.0,
    resume_below_memory_percent=5.0,
    pause_below_battery_percent=30.0,
    resume_above_battery_percent=40.0,
)
COOL = Readings(celsius=40.0)
times = st.floats(-1e9, 1e9, allow_nan=False)


def kinds(permissions: Permissions) -> list[str]:
    return [pause.kind.value for pause in permissions.reasons]


class TestBucket:
    def test_it_refills_over_the_day_and_holds_one(self) -> None:
        bucket = TokenBucket(240.0, left=0.0)
        bucket.refill(5.0)
        bucket.refill(5.0 + HOUR)
        assert bucket.level == pytest.approx(10.0)
        assert bucket.seconds_until(30.0) == pytest.approx(2 * HOUR)
        bucket.refill(5.0 + 365 * DAY_S)
        assert bucket.level == 240.0

    @given(st.lists(st.tuples(times, st.floats(0, 1e18)), max_size=30))
    def test_no_clock_and_no_counter_grants_or_takes_more_than_a_day(
        self, course: list[tuple[float, float]]
    ) -> None:
        bucket = TokenBucket(100.0)
        for now_s, tokens in course:
            bucket.refill(now_s)
            bucket.spend(tokens)
            assert -100.0 <= bucket.level <= 100.0
        assert bucket.seconds_until(100.0) <= 2 * DAY_S

    @given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
    def test_days_never_use_more_than_one_budget_above_their_number(
        self, wanted: list[float]
    ) -> None:
        bucket, spent, now_s = TokenBucket(100.0), 0.0, 0.0
        for tokens in wanted:
            now_s += HOUR
            bucket.refill(now_s)
            take = min(tokens, max(bucket.level, 0.0))
            bucket.spend(take)
            spent += take
        assert spent <= 100.0 * (now_s / DAY_S + 1) + 1e-6

    def test_a_budget_of_nothing_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="above 0"):
            TokenBucket(0.0)


class TestGovernor:
    def test_nothing_pauses_a_device_without_sensors(self) -> None:
        assert Governor(LIMITS).observe(0.0, Readings()) == ALWAYS

    @pytest.mark.parametrize(
        ("kind", "limits", "course"),
        [
            ("heat", {}, [(79.9, 0), (80.1, 1), (70.0, 1), (69.9, 0), (79.9, 0)]),
            ("memory", {}, [(20.0, 0), (21.0, 1), (5.0, 1), (4.9, 0), (20.0, 0)]),
            ("battery", {}, [(30.0, 0), (29.0, 1), (40.0, 1), (41.0, 0), (30.0, 0)]),
            ("busy", {"idle_only": True}, [(0.5, 0), (0.51, 1), (0.4, 1), (0.39, 0), (0.5, 0)]),
        ],
    )
    def test_every_switch_has_two_thresholds(
        self, kind: str, limits: dict[str, Any], course: list[tuple[float, int]]
    ) -> None:
        reading = {
            "heat": lambda value: Readings(celsius=value),
            "memory": lambda value: Readings(memory_percent=value),
            "battery": lambda value: Readings(battery_percent=value, on_mains=False),
            "busy": lambda value: Readings(load_per_core=value),
        }[kind]
        governor = Governor(replace(LIMITS, **limits))
        for number, (value, paused) in enumerate(course):
            permissions = governor.observe(float(number), reading(value))
            assert kinds(permissions) == [kind] * paused, (number, value)
            assert permissions.learn is not bool(paused)
            assert permissions.publish
            assert permissions.keep

    def test_a_pause_tells_since_when_why_and_what_ends_it(self) -> None:
        governor = Governor(LIMITS)
        governor.observe(3.0, Readings(celsius=85.0))
        (pause,) = governor.observe(9.0, Readings(celsius=75.04)).reasons
        assert (pause.kind, pause.since_s) == (PauseKind.HEAT, 3.0)
        assert (pause.why, pause.ends) == ("75.0 °C, limit 80", "below 70 °C")

    def test_several_reasons_end_one_by_one(self) -> None:
        governor = Governor(LIMITS)
        both = governor.observe(0.0, Readings(celsius=90.0, memory_percent=50.0))
        assert kinds(both) == ["heat", "memory"]
        assert kinds(governor.observe(1.0, Readings(celsius=60.0, memory_percent=50.0))) == [
            "memory"
        ]
        assert governor.observe(2.0, COOL) == ALWAYS

    def test_a_sensor_that_is_lost_pauses_nothing(self) -> None:
        governor = Governor(LIMITS)
        assert not governor.observe(0.0, Readings(celsius=90.0)).learn
        assert governor.observe(1.0, Readings()).learn

    def test_mains_power_spares_the_battery(self) -> None:
        low = Readings(battery_percent=3.0, on_mains=True)
        assert Governor(LIMITS).observe(0.0, low).learn
        assert not Governor(LIMITS).observe(0.0, replace(low, on_mains=False)).learn

    def test_a_device_may_learn_on_mains_only(self) -> None:
        governor = Governor(replace(LIMITS, mains_only=True))
        full = Readings(battery_percent=99.0, on_mains=False)
        assert kinds(governor.observe(0.0, full)) == ["mains"]
        assert governor.observe(1.0, replace(full, on_mains=True)).learn
        assert governor.observe(2.0, Readings()).learn  # no power supply tells: mains

    def test_hours_of_the_night(self) -> None:
        governor = Governor(replace(LIMITS, hours=("22:00-06:00", "12:30-13:00")))
        learns = [
            hour for hour in range(24) if governor.observe(0.0, Readings(minute=60.0 * hour)).learn
        ]
        assert learns == [0, 1, 2, 3, 4, 5, 22, 23]
        (pause,) = governor.observe(0.0, Readings(minute=13 * 60.0)).reasons
        assert (pause.kind, pause.ends) == (PauseKind.HOURS, "at 22:00")
        (pause,) = governor.observe(0.0, Readings(minute=7 * 60.0)).reasons
        assert pause.ends == "at 12:30"

    def test_the_byte_budget_pauses_exchange_and_refills(self) -> None:
        governor = Governor(LIMITS)
        assert governor.observe(0.0, Readings(network_bytes=890)).learn
        spent = governor.observe(0.0, Readings(network_bytes=950))
        assert (spent.learn, spent.publish, spent.keep) == (False, False, True)
        assert governor.left().network_bytes == pytest.approx(50.0)
        # A tenth of the day is 2.4 hours.
        assert not governor.observe(1.2 * HOUR, Readings(network_bytes=950)).publish
        (pause,) = governor.observe(2.3 * HOUR, Readings(network_bytes=950)).reasons
        assert "in 0.1 h at the earliest" in pause.ends
        assert governor.observe(2.5 * HOUR, Readings(network_bytes=950)).publish

    def test_the_flash_budget_pauses_rounds_and_keeping(self) -> None:
        governor = Governor(LIMITS)
        spent = governor.observe(0.0, Readings(flash_bytes=5000))
        assert (spent.learn, spent.publish, spent.keep) == (False, True, False)
        assert governor.left().flash_bytes == 0.0
        # Overdrawn by no more than a day, whatever was counted.
        assert governor.observe(1.2 * DAY_S, Readings(flash_bytes=5000)).keep

    def test_a_counter_that_began_again_counts_from_nothing(self) -> None:
        governor = Governor(LIMITS)
        governor.observe(0.0, Readings(network_bytes=500))
        governor.observe(0.0, Readings(network_bytes=20))
        assert governor.left().network_bytes == pytest.approx(480.0)

    def test_what_cannot_be_counted_pauses_nothing_and_is_told(self) -> None:
        governor = Governor(LIMITS)
        assert governor.observe(0.0, Readings(flash_bytes=None)).learn
        assert not governor.left().flash_counted

    @given(
        st.lists(
            st.tuples(
                st.floats(0, 1e7),
                st.floats(-50, 200),
                st.floats(0, 100),
                st.floats(0, 1439.9),
                st.integers(0, 10**7),
            ),
            max_size=20,
        )
    )
    def test_every_pause_is_a_reason_and_says_so(
        self, course: list[tuple[float, float, float, float, int]]
    ) -> None:
        governor = Governor(replace(LIMITS, hours=("08:00-09:00",)))
        now_s, counter = 0.0, 0
        for step_s, celsius, percent, minute, more in course:
            now_s, counter = now_s + step_s, counter + more
            may = governor.observe(
                now_s,
                Readings(
                    celsius=celsius,
                    memory_percent=percent,
                    minute=minute,
                    network_bytes=counter,
                    flash_bytes=counter,
                ),
            )
            assert may.learn is not bool(may.reasons)
            assert may.publish is ("network" not in kinds(may))
            assert may.keep is ("flash" not in kinds(may))
            assert all(pause.since_s <= now_s and pause.ends for pause in may.reasons)
        quiet = Readings(minute=8 * 60.0, network_bytes=counter, flash_bytes=counter)
        assert governor.observe(now_s + 3 * DAY_S, quiet).learn


class TestSaving:
    def test_a_restart_goes_on_with_what_is_left(self) -> None:
        governor = Governor(LIMITS)
        governor.observe(0.0, Readings(network_bytes=950, flash_bytes=300))
        spent, away_s = parse_spent(pack_spent(governor.spent(), 5e8), 5e8)
        again = Governor(LIMITS, spent, away_s)
        assert not again.observe(1e6, Readings()).publish
        assert again.left().network_bytes == pytest.approx(50.0)
        assert again.left().flash_bytes == pytest.approx(700.0)

    def test_hysteresis_survives_as_well(self) -> None:
        spent = Spent(network_level=120.0, flash_level=1000.0, network_paused=True)
        assert not Governor(LIMITS, spent).observe(0.0, Readings()).publish
        assert Governor(LIMITS, replace(spent, network_paused=False)).observe(0.0, COOL).publish

    @pytest.mark.parametrize(
        ("passed_s", "level"), [(HOUR, 41.7), (-365 * DAY_S, 0.0), (365 * DAY_S, 1000.0)]
    )
    def test_a_clock_that_jumps_over_a_restart_grants_a_day_at_most(
        self, passed_s: float, level: float
    ) -> None:
        empty = Spent(network_level=0.0, flash_level=0.0)
        spent, away_s = parse_spent(pack_spent(empty, 1e9), 1e9 + passed_s)
        governor = Governor(LIMITS, spent, away_s)
        assert governor.left().network_bytes == pytest.approx(level, abs=0.1)

    def test_a_smaller_budget_takes_what_is_above_it(self) -> None:
        spent = Spent(network_level=5000.0, flash_level=-5000.0)
        governor = Governor(LIMITS, spent)
        assert governor.left().network_bytes == 1000.0
        assert governor.spent().flash_level == -1000.0

    @given(st.binary(max_size=1100))
    def test_any_row_is_read_or_refused(self, raw: bytes) -> None:
        try:
            _, away_s = parse_spent(raw, 1e9)
        except StoreError:
            return
        assert 0 <= away_s <= DAY_S

    def test_a_row_of_nonsense_is_refused(self) -> None:
        good = pack_spent(Spent(network_level=1.0, flash_level=1.0), 1e9).decode()
        for old, new in (("1.0", "1e400"), ("format", "f"), ("false", "3"), ("1000000000", "-1")):
            assert old in good
            with pytest.raises(StoreError, match="damaged"):
                parse_spent(good.replace(old, new).encode(), 1e9)


class TestPacing:
    REST = Permissions(learn=False)
    SILENT = Permissions(learn=False, publish=False)

    def test_a_round_is_a_round(self) -> None:
        pacer = Pacer(60.0)
        assert [pacer.tick(60.0 * n, ALWAYS) for n in range(3)] == [(RoundDue(),)] * 3

    def test_after_a_short_pause_learning_goes_on_at_once(self) -> None:
        pacer = Pacer(60.0)
        assert pacer.tick(0.0, self.REST) == ()
        assert pacer.tick(60.0, ALWAYS) == (RoundDue(),)

    def test_after_a_long_one_what_was_missed_comes_first(self) -> None:
        pacer = Pacer(60.0)
        for number in range(4):
            assert pacer.tick(60.0 * number, self.REST) == ()
        assert pacer.tick(240.0, ALWAYS) == (ExchangeResumed(),)
        assert pacer.tick(300.0, ALWAYS) == (RoundDue(),)

    def test_exchange_stops_and_begins_between_ticks(self) -> None:
        pacer = Pacer(60.0)
        assert pacer.check(1.0, self.SILENT) == (ExchangePaused(),)
        assert pacer.check(2.0, self.SILENT) == ()
        assert pacer.tick(60.0, self.SILENT) == ()
        assert pacer.check(70.0, ALWAYS) == (ExchangeResumed(),)
        assert pacer.tick(120.0, ALWAYS) == (RoundDue(),)

    def test_a_device_that_was_asleep_asks_first_and_a_slow_one_learns(self) -> None:
        pacer = Pacer(60.0)
        assert pacer.tick(0.0, ALWAYS) == (RoundDue(),)
        assert pacer.tick(DAY_S, ALWAYS) == (ExchangeResumed(),)
        assert pacer.tick(2 * DAY_S, ALWAYS) == (RoundDue(),)
        assert pacer.tick(3 * DAY_S, ALWAYS) == (ExchangeResumed(),)


def config(**tables: Any) -> Config:
    device = DeviceSettings(name="a", model="mlp", data="a.npz", profile="pi-4")
    return Config(device=device, **tables)


class TestLimits:
    def test_those_of_every_profile(self) -> None:
        for name in list_profiles():
            limits = effective_limits(load_profile(name))
            assert limits.resume_below_celsius < limits.pause_above_celsius
            assert limits == effective_limits(load_profile(name), config())

    def test_every_memory_pause_can_end(self, tmp_path: Path) -> None:
        file = tmp_path / "stern.toml"
        file.write_text('base = "pi-4"\n[memory]\nresume_below_percent = 0\n')
        with pytest.raises(ConfigError, match=r"from 0.1 to 99"):
            load_profile(file)
        file.write_text(file.read_text().replace("= 0", "= 0.1"))
        governor = Governor(effective_limits(load_profile(file)))
        assert not governor.observe(0.0, Readings(memory_percent=50.0)).learn
        assert governor.observe(1.0, Readings(memory_percent=0.0)).learn

    def test_the_owner_overrides_key_by_key_in_both_directions(self) -> None:
        profile = load_profile("pi-4")
        limits = effective_limits(
            profile,
            config(
                budget=BudgetSettings(network_mb_per_day=1e6, blobs_mb=1),
                duty=DutySettings(hours=("22:00-06:00",), idle_only=True),
            ),
        )
        assert limits.network_bytes_per_day == 1e12
        assert limits.blobs_bytes == 1_000_000
        assert limits.flash_bytes_per_day == profile.budget.flash_mb_per_day * 1e6
        assert (limits.hours, limits.idle_only) == (("22:00-06:00",), True)
        assert limits.mains_only is profile.duty.mains_only

    def test_a_lower_pause_lowers_the_resume(self) -> None:
        limits = effective_limits(
            load_profile("pi-4"), config(thermal=Heat(pause_above_celsius=50))
        )
        assert (limits.pause_above_celsius, limits.resume_below_celsius) == (50.0, 45.0)

    def test_temperatures_that_contradict_each_other_are_refused(self) -> None:
        wrong = Heat(pause_above_celsius=50, resume_below_celsius=50)
        with pytest.raises(ConfigError, match="resume_below_celsius must be below the 50"):
            effective_limits(load_profile("pi-4"), config(thermal=wrong))


class TestSensors:
    def sensors(self, root: Path, **clocks: Any) -> Sensors:
        return Sensors(lambda: 77, sys_root=root / "sys", proc_root=root / "proc", **clocks)

    def test_an_empty_machine_tells_nothing_but_the_time(self, tmp_path: Path) -> None:
        noon = time.struct_time((2026, 1, 1, 12, 30, 30, 0, 1, 0))
        readings = self.sensors(tmp_path, local_time=lambda: noon).read()
        assert readings == Readings(minute=750.5, network_bytes=77)

    def test_the_hottest_zone_counts_and_broken_ones_do_not(self, tmp_path: Path) -> None:
        zones = tmp_path / "sys/class/thermal"
        for number, text in enumerate(["48312\n", "81250\n", "-274000\n", "hot\n", "999999\n", ""]):
            (zones / f"thermal_zone{number}").mkdir(parents=True)
            (zones / f"thermal_zone{number}/temp").write_text(text)
        assert self.sensors(tmp_path).read().celsius == 81.25

    def test_a_board_without_zones_has_hwmon(self, tmp_path: Path) -> None:
        (tmp_path / "sys/class/hwmon/hwmon0").mkdir(parents=True)
        (tmp_path / "sys/class/hwmon/hwmon0/temp1_input").write_text("51000\n")
        assert self.sensors(tmp_path).read().celsius == 51.0

    def test_memory_pressure_and_written_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "proc/pressure").mkdir(parents=True)
        (tmp_path / "proc/pressure/memory").write_text(
            "some avg10=12.34 avg60=1.00 avg300=0.00 total=9\nfull avg10=99.00 avg60=0 total=1\n"
        )
        (tmp_path / "proc/self").mkdir()
        io, counters = (
            tmp_path / "proc/self/io",
            "wchar: 5\nwrite_bytes: {}\ncancelled_write_bytes: 4\n",
        )
        io.write_text(counters.format(4096))  # before there was an agent
        sensors = self.sensors(tmp_path)
        io.write_text(counters.format(12288))
        readings = sensors.read()
        assert (readings.memory_percent, readings.flash_bytes) == (12.34, 8192)

    @pytest.mark.parametrize(
        ("supplies", "percent", "mains"),
        [
            ({"BAT0": {"type": "Battery", "capacity": "55", "status": "Discharging"}}, 55.0, False),
            ({"BAT0": {"type": "Battery", "capacity": "55", "status": "Charging"}}, 55.0, True),
            (
                {
                    "AC": {"type": "Mains", "online": "0"},
                    "BAT0": {"type": "Battery", "capacity": "90", "status": "Discharging"},
                    "BAT1": {"type": "Battery", "capacity": "20", "status": "Discharging"},
                },
                20.0,
                False,
            ),
            ({"usb": {"type": "USB_PD", "online": "1"}}, None, True),
            ({"port": {"type": "USB", "online": "0"}}, None, None),  # and no battery
            (
                {
                    "port": {"type": "USB", "online": "0"},
                    "BAT0": {"type": "Battery", "capacity": "50", "status": "Unknown"},
                },
                50.0,
                False,
            ),
            ({"mouse": {"type": "Battery", "scope": "Device", "capacity": "3"}}, None, None),
            ({"BAT0": {"type": "Battery", "capacity": "-5"}}, None, True),
        ],
    )
    def test_power(
        self,
        tmp_path: Path,
        supplies: dict[str, dict[str, str]],
        percent: float | None,
        mains: bool | None,
    ) -> None:
        for name, files in supplies.items():
            folder = tmp_path / "sys/class/power_supply" / name
            folder.mkdir(parents=True)
            for file, text in files.items():
                (folder / file).write_text(text + "\n")
        readings = self.sensors(tmp_path).read()
        assert (readings.battery_percent, readings.on_mains) == (percent, mains)

    def test_the_own_work_does_not_count_as_load(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/loadavg").write_text("3.00 1.00 1.00 1/99 7\n")
        clock = {"now": 0.0}
        sensors = self.sensors(
            tmp_path, monotonic=lambda: clock["now"], cpu_seconds=lambda: clock["now"]
        )
        assert sensors.read().load_per_core == 0.75
        clock["now"] = 3600.0  # one core of our own, all the time
        assert sensors.read().load_per_core == pytest.approx(0.5)

    def test_this_machine_can_be_read(self) -> None:
        readings = Sensors(lambda: 1).read()
        assert 0 <= readings.minute < 1440
        assert readings.celsius is None or -40 < readings.celsius < 150


class Counting:
    """Sensors whose counter grows with each reading; the first takes longer than the second."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.bytes = 0
        self.read_six_times = trio.Event()

    def read(self) -> Readings:
        self.bytes += self.step
        readings, first = Readings(network_bytes=self.bytes), self.bytes == self.step
        time.sleep(0.1 if first else 0.0)
        if self.bytes == 6 * self.step:
            trio.from_thread.run_sync(self.read_six_times.set)
        return readings


class Rows:
    """A state store that remembers what was put. Starts empty."""

    def __init__(self) -> None:
        self.put: list[bytes] = []

    def get(self, space: str, key: bytes) -> bytes | None:
        return self.put[-1] if self.put else None

    def put_lazily(self, space: str, key: bytes, value: bytes) -> None:
        self.put.append(value)


MILLION = 1_000_000


def pausing(sensors: Any, state: Any, budget: float = 100.0 * MILLION) -> Pausing:
    limits = replace(LIMITS, network_bytes_per_day=budget)
    return Pausing(limits, sensors, state, 60.0, runtime=lambda: None, wall=lambda: 1e9)


class TestShell:
    def test_two_looks_at_a_time_count_no_byte_twice(self) -> None:
        agent = pausing(Counting(100), Rows(), budget=1000.0)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.due)
                nursery.start_soon(agent.due)

        trio.run(main)
        assert agent.governor.left().network_bytes == pytest.approx(800.0, abs=0.1)

    @pytest.mark.parametrize(
        ("budget", "step", "saved"),
        [
            (100 * MILLION, 2 * MILLION, True),
            (100 * MILLION, 10_000, False),
            # No more than what a save itself may cost: it would go on for ever.
            (MILLION, 10_000, False),
        ],
    )
    def test_who_is_killed_soon_after_has_spent_what_it_spent(
        self, monkeypatch: pytest.MonkeyPatch, budget: float, step: int, saved: bool
    ) -> None:
        monkeypatch.setattr(pausing_module, "CHECK_S", 0.001)
        sensors, rows = Counting(step), Rows()
        agent = pausing(sensors, rows, budget)

        async def main() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agent.run)
                await sensors.read_six_times.wait()
                nursery.cancel_scope.cancel()

        trio.run(main)  # killed: nothing is saved at the end
        level = pausing(sensors, rows, budget).governor.left().network_bytes
        assert (level < budget - 4.9 * step) is saved  # what refilled meanwhile is less
        assert len(rows.put) >= 5 if saved else len(rows.put) == 1
