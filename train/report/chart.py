"""Lines in, the HTML of one chart out: curves as SVG without text, stretched to the page; words and numbers as HTML around it.

Values under the pointer stand in the attributes of the curves; page.js shows them. Imports train.report.series; numpy.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from train.report.series import Bins

HEIGHT = 300.0  # of the drawing's own units; its width is 1000
COLOURS = 8  # classes c0 to c7 of page.css


@dataclass(frozen=True)
class Line:
    name: str
    middle: Bins  # its means are the line
    extremes: Bins | None = None  # drawn behind it, lowest to highest
    colour: int = 0
    is_dotted: bool = False  # with a dot at every point: few measurements


@dataclass(frozen=True)
class Mark:
    """Something that happened: a vertical line."""

    x: float
    kind: str  # phase, resumed, stopped, skipped
    text: str


@dataclass(frozen=True)
class Axis:
    """The x axis all charts of a page share: from 0 to `end` tokens, which `steps` steps made (both grow)."""

    end: float
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0))
    steps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    marks: tuple[Mark, ...] = ()

    def step_at(self, tokens: float) -> int:
        if not len(self.tokens):
            return 0
        return int(self.steps[min(len(self.steps) - 1, int(np.searchsorted(self.tokens, tokens)))])


def chart(
    title: str, lines: Sequence[Line], axis: Axis, show: Callable[[float], str], *,
    note: str = "", log: bool = False, from_zero: bool = False, most: float = math.inf, is_small: bool = False,
) -> str:  # fmt: skip
    """'' without a point to draw. `most`: no value can be above."""
    lines = [line for line in lines if len(line.middle)]
    if not lines:
        return ""
    low, high = _range(lines, log, from_zero)
    high = min(high, most)
    curves = "".join(_curves(line, axis, low, high, log, show) for line in lines)
    marks = "".join(
        f'<line class="mark {mark.kind}" x1="{_x(mark.x, axis):.1f}" x2="{_x(mark.x, axis):.1f}" y1="0" y2="{HEIGHT:.0f}">'
        f"<title>{html.escape(mark.text)}</title></line>" for mark in axis.marks
    )  # fmt: skip
    ticks = ticks_of(low, high, log, 3 if is_small else 5)
    places = [(tick, 100 * (1 - _share(tick, low, high, log))) for tick in ticks]
    grid = "".join(
        f'<line class="grid" x1="0" x2="1000" y1="{p * HEIGHT / 100:.1f}" y2="{p * HEIGHT / 100:.1f}"/>' for _, p in places
    )
    left = "".join(f'<span style="top:{p:.2f}%">{show(tick)}</span>' for tick, p in places)
    below = "".join(
        f'<span style="left:{100 * tick / axis.end if axis.end else 0:.2f}%">{tokens_word(tick)}</span>'
        for tick in ticks_of(0, axis.end, False, 2 if is_small else 4)
    )  # fmt: skip
    legend = (
        "".join(f'<span class="c{line.colour % COLOURS}">{html.escape(line.name)}</span>' for line in lines)
        if len(lines) > 1
        else ""
    )
    title = title if len(lines) > 1 or lines[0].name in title or is_small else f"{title}: {lines[0].name}"
    last = "" if len(lines) > 1 else f"<b>{show(float(lines[0].middle.mean[-1]))}</b>"
    return (
        f'<figure class="{"small" if is_small else "chart"}"><figcaption>{html.escape(title)} {last}</figcaption>'
        + (f'<div class="legend">{legend}</div>' if legend else "")
        + f'<div class="plot"><div class="left">{left}</div><div class="area"><svg viewBox="0 0 1000 {HEIGHT:.0f}" '
        f'preserveAspectRatio="none" role="img" aria-label="{html.escape(title)}">{grid}{marks}{curves}</svg></div>'
        f'<div class="below">{below}</div></div>' + (f'<p class="note">{note}</p>' if note else "") + "</figure>"
    )


def _range(lines: Sequence[Line], log: bool, from_zero: bool) -> tuple[float, float]:
    bands = [line.extremes for line in lines if line.extremes is not None]
    values = np.concatenate(
        [*(line.middle.mean for line in lines), *(band.low for band in bands), *(band.high for band in bands)]
    )
    low, high = float(values.min()), float(values.max())
    if log:
        positive = values[values > 0]
        return (float(positive.min()) / 1.1, high * 1.1) if len(positive) else (1e-3, 1.0)
    low = min(0.0, low) if from_zero else low
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return low if from_zero else low - room, high + room


def _share(value: float, low: float, high: float, log: bool) -> float:
    """Of the height, from below."""
    if log:
        return (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _x(x: float, axis: Axis) -> float:
    return 1000 * x / axis.end if axis.end else 0.0


def _curves(line: Line, axis: Axis, low: float, high: float, log: bool, show: Callable[[float], str]) -> str:
    def points(bins: Bins, values: np.ndarray) -> list[str]:
        return [
            f"{_x(x, axis):.1f},{HEIGHT * (1 - _share(v, low, high, log)):.1f}"
            for x, v in zip(bins.x.tolist(), values.tolist(), strict=True)
        ]

    parts, colour = [], f"c{line.colour % COLOURS}"
    if line.extremes is not None and len(line.extremes):
        there, back = points(line.extremes, line.extremes.high), points(line.extremes, line.extremes.low)[::-1]
        parts.append(f'<polygon class="band {colour}" points="{" ".join(there + back)}"/>')
    bins = line.middle
    at = points(bins, bins.mean)
    values = " ".join(f"{x / axis.end if axis.end else 0:.4f}:{show(v).replace(' ', '_')}:{axis.step_at(x)}:{tokens_word(x)}"
                      for x, v in zip(bins.x.tolist(), bins.mean.tolist(), strict=True))  # fmt: skip
    parts.append(
        f'<polyline class="line {colour}" points="{" ".join(at)}" data-name="{html.escape(line.name)}" data-v="{html.escape(values)}"/>'
    )
    if line.is_dotted or len(at) == 1:  # lines of no length with round ends: dots that stay round when the drawing is stretched
        parts += [f'<path class="dot {colour}" d="M{point}h0"/>' for point in at]
    return "".join(parts)


def ticks_of(low: float, high: float, log: bool, n: int) -> list[float]:
    """Round numbers inside [low, high], about `n`."""
    if not high > low:
        return [low]
    if log:
        first, last = math.ceil(math.log10(low)), math.floor(math.log10(high))
        if last - first >= 1:
            return [10.0**k for k in range(first, last + 1, max(1, (last - first) // n + 1))]
    rough = (high - low) / n
    unit = 10.0 ** math.floor(math.log10(rough))
    each = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough * 0.999)
    return [k * each for k in range(math.ceil(low / each - 1e-9), math.floor(high / each + 1e-9) + 1)]


def tokens_word(value: float) -> str:
    for unit in ("", "k", "M", "B"):
        if abs(value) < 1000 or unit == "B":
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:,.0f}{unit}"
        value /= 1000
    raise AssertionError
