"""Scores by lambda, drawn: rows of results in, one file of HTML with SVG inside out; no script, no network.

Imports train.report.chart (ticks); its style sheet.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files

from train.evaluation.results import Row
from train.report.chart import ticks_of

WIDTH, HEIGHT, LEFT, BOTTOM = 440, 240, 62, 34  # of the drawing's own units
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
main { max-width: 1400px; } .all { display: flex; flex-wrap: wrap; gap: 20px; } figure { margin: 0; width: 440px; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .rule { stroke: var(--rule); } svg .line { fill: none; stroke: var(--c0);
stroke-width: 2; } svg .bar { stroke: var(--c0); stroke-width: 3; stroke-opacity: .4; } svg .dot { fill: var(--c0); } svg .was { stroke: var(--dim);
stroke-dasharray: 4 4; } svg .best { stroke: var(--good); stroke-dasharray: 2 3; }
"""


def page(title: str, lambdas: Sequence[float], scores: Mapping[str, Sequence[Row]], best: float | None) -> str:
    style = files("train.report").joinpath("page.css").read_text("utf-8") + STYLE
    drawn = "".join(panel(name, lambdas, rows, best) for name, rows in scores.items())
    said = "Bars are 95 % intervals; the dashed line is the score at lambda 0" + (
        f"; chosen: {best:g}" if best is not None else ""
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title><style>{style}</style></head>'
        f'<body><main><h1>{html.escape(title)}</h1><p>Scores by lambda. {said}.</p><div class="all">{drawn}</div></main></body></html>\n'
    )


def panel(name: str, lambdas: Sequence[float], rows: Sequence[Row], best: float | None) -> str:
    """One score: its line over lambda, its intervals, its value at lambda 0."""
    ends = [value for row in rows for value in (row["value"], row["low"], row["high"]) if not math.isnan(value)]
    low, high = min(ends), max(ends)
    room = (high - low or abs(high) or 1.0) * 0.08
    low, high = low - room, high + room

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 16) * (value - lambdas[0]) / (lambdas[-1] - lambdas[0])

    def y(value: float) -> float:
        return (HEIGHT - BOTTOM) * (1 - (value - low) / (high - low)) + 4

    parts = [_tick_y(y(tick), f"{tick:.4g}") for tick in ticks_of(low, high, False, 4)]
    parts += [f'<text x="{x(v):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{v:g}</text>' for v in lambdas]
    if 0.0 in lambdas:
        was = y(rows[list(lambdas).index(0.0)]["value"])
        parts.append(f'<line class="was" x1="{LEFT}" x2="{WIDTH}" y1="{was:.1f}" y2="{was:.1f}"/>')
    if best is not None:
        parts.append(f'<line class="best" x1="{x(best):.1f}" x2="{x(best):.1f}" y1="0" y2="{HEIGHT - BOTTOM + 4}"/>')
    points = " ".join(f"{x(v):.1f},{y(row['value']):.1f}" for v, row in zip(lambdas, rows, strict=True))
    parts.append(f'<polyline class="line" points="{points}"/>')
    for v, row in zip(lambdas, rows, strict=True):
        if not math.isnan(row["low"]):
            parts.append(
                f'<line class="bar" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="{y(row["low"]):.1f}" y2="{y(row["high"]):.1f}"/>'
            )
        said = f"lambda {v:g}: {row['value']:.4f} ({row['low']:.4f} to {row['high']:.4f})"
        parts.append(f'<circle class="dot" r="4.5" cx="{x(v):.1f}" cy="{y(row["value"]):.1f}"><title>{said}</title></circle>')
    return (
        f'<figure><figcaption>{html.escape(name)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(name)} by lambda">{"".join(parts)}</svg></figure>'
    )


def _tick_y(at: float, said: str) -> str:
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{said}</text>'
    )
