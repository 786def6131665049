"""Accelerators by name: the dense bf16 peak of their matrix units, and the memory that torch finds on one. No imports of ours.

A device's name is what `torch.cuda.get_device_name()` says ("NVIDIA H100 80GB HBM3"), or the short form that people type (h100).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

NVIDIA = "NVIDIA data sheet, dense (half of the figure with sparsity)"
AMD = "AMD data sheet, dense"


@dataclass(frozen=True)
class Device:
    """`peak` in flop/s, bf16 with sums in fp32; `memory` in bytes. None where it is not known."""

    name: str
    memory: int | None = None
    peak: float | None = None
    source: str = ""


def _gib(n: float) -> int:
    return int(n * 2**30)


# (pattern in the name, memory as torch sees it, peak, source). The first that matches counts, so the special cases come first.
# Memory is what drivers leave of the nominal size, to about 1 % (guess where we never saw the device).
_KNOWN = (
    (r"gb200|gb300", _gib(184), 2.5e15, NVIDIA),
    (r"b200", _gib(178), 2.25e15, "NVIDIA DGX B200 data sheet, dense"),
    (r"b300", _gib(267), 2.25e15, NVIDIA),
    (r"gh200", _gib(95), 989e12, NVIDIA),
    (r"h200.*nvl", _gib(139.8), 835e12, NVIDIA),
    (r"h200", _gib(139.8), 989e12, NVIDIA),
    (r"h100.*nvl", _gib(93.1), 835e12, NVIDIA),
    (r"h100.*pcie", _gib(79.1), 756e12, NVIDIA),
    (r"h[18]00", _gib(79.1), 989e12, NVIDIA),
    (r"h20\b", _gib(95), 148e12, NVIDIA),
    (r"a100.*40", _gib(39.4), 312e12, "NVIDIA A100 data sheet"),
    (r"a[18]00", _gib(79.1), 312e12, "NVIDIA A100 data sheet"),
    (r"l40s", _gib(44.4), 362e12, NVIDIA),
    (r"l40\b", _gib(44.4), 181e12, NVIDIA),
    (r"\bl4\b", _gib(22), 121e12, NVIDIA),
    (r"6000 ada", _gib(47.4), 364e12, NVIDIA),
    (r"a6000", _gib(47.4), 154.8e12, NVIDIA),
    (r"a40\b", _gib(44.4), 149.7e12, NVIDIA),
    (r"a10g?\b", _gib(22), 125e12, NVIDIA),
    (r"5090", _gib(31.4), 209.5e12, "NVIDIA Blackwell white paper, dense, fp32 sums"),
    (r"4090", _gib(23.5), 165.2e12, "NVIDIA Ada white paper, dense, fp32 sums"),
    (r"3090", _gib(23.6), 71e12, "NVIDIA Ampere GA102 white paper, dense, fp32 sums"),
    (r"mi355x", _gib(288), 2.5e15, AMD),
    (r"mi325x", _gib(256), 1307e12, AMD),
    (r"mi300x", _gib(191.7), 1307e12, AMD),
    (r"mi300a", _gib(128), 981e12, AMD),
    (r"mi250x", _gib(64), 191.5e12, AMD + ": 383 for the two halves, and each half is a device"),
    (r"mi210", _gib(64), 181e12, AMD),
)
SHORT = "a100, h100, h200, b200, l40s, 4090, mi250x, mi300x"


def known(name: str) -> Device:
    """What is known of a device; memory and peak None where the name matches nothing."""
    for pattern, memory, peak, source in _KNOWN:
        if re.search(pattern, name.lower()):
            return Device(name, memory, peak, source)
    return Device(name)


def present() -> Device:
    """The first accelerator of this machine with the memory that it has, else the machine itself."""
    import torch

    if torch.cuda.is_available():
        found = known(torch.cuda.get_device_name(0))
        return Device(found.name, torch.cuda.get_device_properties(0).total_memory, found.peak, found.source)
    return Device("cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
