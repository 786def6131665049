"""Counters of this machine in; joules since the last reading out. Where nothing can be read: None, never an error.

NVIDIA: the counter of NVML (package nvidia-ml-py), of the devices this machine's processes train on. Processors: RAPL's packages
(Intel and AMD) under /sys/class/powercap, which the kernel lets only root read unless its administrator says otherwise. AMD: the
energy counters of amd_energy (sockets), and of cards the power that amdgpu reports times the time since the last reading.
All of it is of this machine, others' work on it included. No imports of ours; pynvml lives here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

SYS = Path("/sys")


class Meter:
    """A counter that only grows, in joules; one that starts anew at `wraps_at` is followed."""

    def __init__(self, name: str, read: Callable[[], float], wraps_at: float = 0.0) -> None:
        self.name, self.read, self.wraps_at = name, read, wraps_at
        self.last = read()

    def since(self) -> float:
        now = self.read()
        used = now - self.last + (self.wraps_at if now < self.last else 0.0)
        self.last = now
        return max(0.0, used)


class Energy:
    """All meters of this machine. `uuids`: of the NVIDIA devices that are trained on."""

    def __init__(self, uuids: Iterable[str] = (), sys: Path = SYS) -> None:
        self.meters = [*_nvml(uuids), *_rapl(sys), *_hwmon(sys)]

    @property
    def names(self) -> list[str]:
        return [meter.name for meter in self.meters]

    def joules(self) -> float | None:
        """Since the last call. A meter that stops answering is left out from then on."""
        total, alive = 0.0, []
        for meter in self.meters:
            with contextlib.suppress(Exception):  # a driver that is gone, a file that is no longer readable
                total += meter.since()
                alive.append(meter)
        self.meters = alive
        return total if alive else None


def _try(name: str, read: Callable[[], float], wraps_at: float = 0.0) -> list[Meter]:
    try:
        return [Meter(name, read, wraps_at)]
    except Exception:  # absent, not readable, not a number, or an error of the driver's own kind
        return []


def _nvml(uuids: Iterable[str]) -> list[Meter]:
    wanted = list(uuids)
    if not wanted:
        return []
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [(uuid, pynvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in wanted]
    except Exception:  # no package, no driver, a device that NVML does not know
        return []

    def meter(uuid: str, handle: Any) -> list[Meter]:
        return _try(f"NVML {uuid}", lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3)  # millijoules

    return [found for uuid, handle in handles for found in meter(uuid, handle)]


def _rapl(sys: Path) -> list[Meter]:
    """Packages only: cores and memory controllers are parts of them, psys holds them."""
    meters = []
    for zone in sorted((sys / "class/powercap").glob("intel-rapl:[0-9]*")):  # AMD's processors come under this name too
        with contextlib.suppress(OSError, ValueError):
            if zone.name.count(":") == 1 and _text(zone / "name").startswith("package"):
                wraps_at = _number(zone / "max_energy_range_uj")
                meters += _try(f"RAPL {_text(zone / 'name')}", _reader(zone / "energy_uj"), wraps_at / 1e6)
    return meters


def _hwmon(sys: Path) -> list[Meter]:
    meters = []
    for place in sorted((sys / "class/hwmon").glob("hwmon[0-9]*")):
        with contextlib.suppress(OSError):
            driver = _text(place / "name")
            if driver == "amd_energy":
                for label in sorted(place.glob("energy*_label")):
                    if _text(label).startswith("Esocket"):
                        meters += _try(f"amd_energy {_text(label)}", _reader(place / label.name.replace("_label", "_input")))
            elif driver == "amdgpu":
                file = next((place / n for n in ("power1_average", "power1_input") if (place / n).exists()), None)
                if file:
                    meters += _try(f"amdgpu {place.name}, power x time", _integral(_reader(file)))
    return meters


def _integral(power: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """Watts -> joules since the first reading, by the mean of two readings that follow each other."""
    state = [clock(), power(), 0.0]

    def read() -> float:
        now, watts = clock(), power()
        state[:] = [now, watts, state[2] + (now - state[0]) * (watts + state[1]) / 2]
        return state[2]

    return read


def _reader(file: Path) -> Callable[[], float]:
    return lambda: _number(file) / 1e6  # micro-joules, micro-watts


def _number(file: Path) -> float:
    return float(_text(file))


def _text(file: Path) -> str:
    return file.read_text("ascii").strip()
