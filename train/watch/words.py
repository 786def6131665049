"""Numbers in, short words out: shared by the screen, the plain lines and the report. No imports of ours but train.watch.record."""

from __future__ import annotations

from train.watch.record import Totals

PARTS = {
    "data": "data", "forward_backward": "forward and backward", "optimizer": "optimizer", "account": "account", "save": "saves",
    "evaluate": "held-out",
}  # fmt: skip  # keys of StepRecord.seconds
BARS = "▁▂▃▄▅▆▇█"


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def share(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def size(n_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def energy(joules: float) -> str:
    if joules < 3.6e5:
        return f"{joules:,.0f} J"
    return f"{joules / 3.6e6:,.2f} kWh"


def count(value: float) -> str:
    """Tokens: 999, 12.3k, 4.56M, 1.20B."""
    for unit in ("", "k", "M"):
        if value < 1000:
            return f"{value:.0f}" if not unit else f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.4g}B"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def speeds(totals: Totals) -> str:
    return ", ".join(f"{value:,.0f} {way}" for way, value in totals.speeds().items()) or "-"


def mfu(values: dict[str, float]) -> str:
    return ", ".join(f"{share(value)} {way}" for way, value in values.items())


def time_split(seconds: dict[str, float]) -> str:
    whole = sum(seconds.values())
    return ", ".join(f"{PARTS.get(part, part)} {share(value / whole)}" for part, value in seconds.items()) if whole else "-"


def trend(values: list[float]) -> str:
    """A line of blocks, lowest to highest value."""
    if not values:
        return ""
    low, high = min(values), max(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1)) if high > low else 0] for value in values)
