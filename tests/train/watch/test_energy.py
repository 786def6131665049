"""Meters of a made /sys and a made driver. Micro-joules and milli-joules become joules; what is absent is None."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from train.watch.energy import Energy, _integral


def zone(sys_root: Path, name: str, kind: str, micro_joules: int) -> Path:
    folder = sys_root / "class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "max_energy_range_uj").write_text("10000000\n")
    (folder / "energy_uj").write_text(f"{micro_joules}\n")
    return folder / "energy_uj"


def test_nothing_to_read(tmp_path: Path) -> None:
    energy = Energy(["GPU-none"], tmp_path)
    assert energy.names == [] and energy.joules() is None


def test_packages_of_rapl_and_their_overflow(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000), zone(tmp_path, "intel-rapl:1", "package-1", 9_500_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)  # a part of package-0
    zone(tmp_path, "intel-rapl:2", "psys", 1)  # holds both
    energy = Energy((), tmp_path)
    assert energy.names == ["RAPL package-0", "RAPL package-1"]
    first.write_text("3500000")
    second.write_text("500000")  # past its end at 10 J: 1 J
    assert energy.joules() == pytest.approx(2.5 + 1.0)
    assert energy.joules() == 0.0
    first.unlink()  # no longer readable: the other goes on
    second.write_text("700000")
    assert energy.joules() == pytest.approx(0.2) and energy.names == ["RAPL package-1"]
    second.unlink()
    assert energy.joules() is None


def test_a_counter_that_is_not_readable_is_absent(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 1).unlink()
    zone(tmp_path, "intel-rapl:1", "package-1", 1).write_text("no number")
    assert Energy((), tmp_path).names == []


def test_sockets_of_amd_energy(tmp_path: Path) -> None:
    folder = tmp_path / "class/hwmon/hwmon3"
    folder.mkdir(parents=True)
    (folder / "name").write_text("amd_energy")
    for number, label in ((1, "Ecore000"), (2, "Esocket0")):
        (folder / f"energy{number}_label").write_text(label)
        (folder / f"energy{number}_input").write_text("1000000")
    energy = Energy((), tmp_path)
    (folder / "energy1_input").write_text("9000000")
    (folder / "energy2_input").write_text("5000000")
    assert energy.names == ["amd_energy Esocket0"] and energy.joules() == pytest.approx(4.0)


def test_power_of_a_card_times_time() -> None:
    readings = iter([(0.0, 100.0), (2.0, 300.0), (3.0, 300.0)])
    now = [0.0, 0.0]

    def clock() -> float:
        now[:] = next(readings)
        return now[0]

    joules = _integral(lambda: now[1], clock)
    assert joules() == 400.0  # two seconds between 100 W and 300 W
    assert joules() == 700.0


def test_nvml_counts_the_devices_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used = {"GPU-a": 5000, "GPU-b": 70000}
    nvml = ModuleType("pynvml")
    nvml.nvmlInit = lambda: None  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetHandleByUUID = lambda uuid: uuid  # type: ignore[attr-defined]
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: used[handle]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    energy = Energy(["GPU-b"], tmp_path)
    used["GPU-a"], used["GPU-b"] = 9000, 72500
    assert energy.names == ["NVML GPU-b"] and energy.joules() == pytest.approx(2.5)
