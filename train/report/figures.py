"""A run in, its charts out as HTML: losses, held-out, schedule, speed, memory, power. Every chart is over tokens without padding.

A chart whose numbers the log has not is left out. Imports train.report.{chart,find,series}, train.watch.words; numpy.
"""

from __future__ import annotations

import math

import numpy as np

from train.report.chart import Axis, Line, Mark, chart, tokens_word
from train.report.find import Run
from train.report.series import FINE, binned, coarse
from train.watch import words
from train.watch.record import BESIDES

TOGETHER = 6  # that many lines in one chart; more become a chart each
MARKS = ("phase", "resumed", "stopped", "skipped")


def axis_of(run: Run) -> Axis:
    steps = run.history.steps
    tokens, numbers = np.cumsum(steps.number("tokens")), steps.number("step")

    def at(step: int) -> float:
        place = int(np.searchsorted(numbers, step, side="right")) - 1
        return float(tokens[place]) if place >= 0 else 0.0

    marks = tuple(
        Mark(at(m.get("step", 0)), m["event"], told(m)) for m in run.history.marks if m["event"] in MARKS and len(steps)
    )
    return Axis(float(tokens[-1]) if len(tokens) else 0.0, tokens, numbers, marks)


def told(mark: dict) -> str:
    """An event of the log as words."""
    kind, step = mark["event"], mark.get("step", 0)
    if kind == "phase":
        return (
            f"phase {mark['phase']} from step {step + 1} on: {mark['batch_rows']} sequences of {mark['sequence_length']} tokens"
        )
    if kind == "skipped":
        rows = mark.get("rows", [])
        return f"skipped rows: {_few(rows)}" + (f" (step {step})" if step else "")
    if kind == "stopped":
        return f"stopped after step {step}: {mark.get('why', '')}"
    return f"{kind} after step {step}" + (f" ({mark['path']})" if mark.get("path") else "")


def _few(rows: object) -> str:
    items = list(rows) if isinstance(rows, list | tuple) else [rows]
    return ", ".join(map(str, items[:8])) + (f" and {len(items) - 8:,} more" if len(items) > 8 else "")


def colours_of(run: Run) -> dict[str, int]:
    """A name has one colour on the whole page, whether it is a component's or a language's."""
    return {name: k for k, name in enumerate(dict.fromkeys([*run.names("components"), *run.names("languages")]))}


def losses(run: Run, axis: Axis, unit: str) -> str:
    """`unit`: loss, or bits per byte; of all, by component, by language."""
    below = "loss_tokens" if unit == "loss" else "n_bytes"
    scale = 1.0 if unit == "loss" else math.log(2)
    steps, colours = run.history.steps, colours_of(run)
    whole = _line("all", axis, steps.number("loss_sum"), scale * steps.number(below), 0)
    drawn = chart(f"{unit}, all", [whole], axis, _three, note=f"Band: lowest to highest single step. {_mean(len(steps))}")
    for group, title in (("components", "by component"), ("languages", "by language")):
        lines = [
            _line(name, axis, steps.of(group, name, "loss_sum"), scale * steps.of(group, name, below), colours[name], len(run.names(group)) <= 3)
            for name in run.names(group)
        ]  # fmt: skip
        lines = [line for line in lines if len(line.middle)]
        if len(lines) > 1:
            drawn += _together_or_each(f"{unit}, {title}", lines, axis)
    return drawn


def _line(name: str, axis: Axis, above: np.ndarray, below: np.ndarray, colour: int, has_band: bool = True) -> Line:
    fine = binned(axis.tokens, above, below, FINE) if has_band else None
    return Line(name, binned(axis.tokens, above, below, coarse(len(above))), fine, colour)


def _together_or_each(title: str, lines: list[Line], axis: Axis) -> str:
    if len(lines) <= TOGETHER:
        return chart(title, lines, axis, _three)
    each = "".join(chart(line.name, [Line(line.name, line.middle, line.extremes)], axis, _three, is_small=True) for line in lines)
    return f'<section class="many"><h3>{title}</h3><div class="cards">{each}</div></section>'


def held_out(run: Run, axis: Axis, unit: str) -> str:
    """`unit`: loss or bits_per_byte, at the steps it was measured."""
    events, steps, colours = run.history.held_out, run.history.steps.number("step"), colours_of(run)
    drawn = ""
    for group in ("components", "languages"):
        lines = []
        for name in dict.fromkeys(name for event in events for name in event.get(group, {})):
            pairs = [(e["step"], e[group][name][unit]) for e in events if unit in e.get(group, {}).get(name, {})]
            places = [int(np.searchsorted(steps, step, side="right")) - 1 for step, _ in pairs]
            x = np.array([float(axis.tokens[place]) if place >= 0 else 0.0 for place in places])
            lines.append(
                Line(name, binned(x, np.array([value for _, value in pairs], float), n_bins=10**4), None, colours[name], True)
            )
        of = "" if group == "components" else ", by language"
        drawn += (
            _together_or_each(f"held-out {unit.replace('_', ' ')}{of}", [line for line in lines if len(line.middle)], axis)
            if lines
            else ""
        )
    return drawn


def schedule(run: Run, axis: Axis) -> str:
    steps = run.history.steps
    rate = Line("learning rate", binned(axis.tokens, steps.number("lr")))
    norm = _line("gradient norm", axis, steps.number("gradient_norm"), np.ones(len(steps)), 0)
    drawn = chart("learning rate", [rate], axis, lambda v: f"{v:.3g}", from_zero=True)
    return drawn + chart("gradient norm", [norm], axis, lambda v: f"{v:.3g}", log=True,
                         note="Logarithmic. Band: lowest to highest single step.")  # fmt: skip


def speed(run: Run, axis: Axis) -> str:
    steps, seconds = run.history.steps, training_seconds(run)
    counts = {"all": "all_tokens", "non-padding": "tokens"} | ({} if steps.groups["pairs"] else {"loss": "loss_tokens"})
    n = coarse(len(steps))
    rates = [
        Line(way, binned(axis.tokens, steps.number(key), seconds, n), None, i) for i, (way, key) in enumerate(counts.items())
    ]
    drawn = chart("tokens a second", rates, axis, tokens_word, from_zero=True,
                  note="all: with padding; non-padding; loss: tokens with a label. Of the time that is training: no saves, no held-out.")  # fmt: skip
    fill = binned(axis.tokens, steps.number("tokens"), steps.number("all_tokens"), n)
    drawn += chart(
        "packing fill",
        [Line("fill", fill)],
        axis,
        lambda v: words.share(v, 2),
        most=1.0,
        note="Positions of a batch that are no padding.",
    )
    flops, world = run.start.get("flops") or {}, run.start.get("world", 1)
    if flops.get("peak"):
        lines = [
            Line(way, binned(axis.tokens, steps.number("tokens") * flops[key], seconds * world * flops["peak"], n), None, i)
            for i, (way, key) in enumerate({"causal": "per_token_causal", "non-causal": "per_token"}.items())
        ]
        drawn += chart("MFU", lines, axis, words.share, from_zero=True)
    one = _line("seconds", axis, seconds, np.ones(len(seconds)), 0)
    return drawn + chart("seconds of training a step", [one], axis, lambda v: f"{v:.3g}", from_zero=True)


def machine(run: Run, axis: Axis) -> str:
    """Memory and power."""
    steps = run.history.steps
    memory = steps.number("memory_bytes")
    drawn = ""
    if np.nanmax(memory, initial=0) > 0:
        drawn += chart("peak memory of a device", [Line("memory", binned(axis.tokens, memory))], axis, words.size, from_zero=True)
    seconds = sum((steps.of("seconds", part, "seconds") for part in steps.groups["seconds"]), np.zeros(len(steps)))
    power = binned(axis.tokens, steps.number("joules"), seconds, coarse(len(steps)))
    return drawn + chart("power", [Line("power", power)], axis, lambda v: f"{v:,.0f} W", from_zero=True)


def training_seconds(run: Run) -> np.ndarray:
    """(steps,)"""

    steps = run.history.steps
    parts = [steps.of("seconds", part, "seconds") for part in steps.groups["seconds"] if part not in BESIDES]
    return sum(parts, np.zeros(len(steps)))


def _three(value: float) -> str:
    return f"{value:.3f}"


def _mean(n_steps: int) -> str:
    each = n_steps / coarse(n_steps) if n_steps else 1
    return f"Line: mean of about {each:,.0f} steps, nats over tokens." if each >= 1.5 else "Line: every step."
