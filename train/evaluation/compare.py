"""`curate train compare A B ...`: folders of results in; a table with intervals and paired differences out, or one HTML page with a chart.

Differences are of the later ones to the first, over the items that both have, drawn together (train.evaluation.bootstrap). Scores of different
tasks are not compared: where task, template, data, shots, seed or BOS differ, the row says so. May import train.evaluation.*.
"""

from __future__ import annotations

import html
import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from train.evaluation.bootstrap import difference
from train.evaluation.results import Row, read_items, read_results
from train.evaluation.rules import is_less_better, is_of_hundred
from train.evaluation.scoring import measure

ALIKE = ("task_version", "template_sha256", "data_sha256", "shots", "seed", "bos", "metric_signature", "harness_version")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the page can reach for nothing


@dataclass(frozen=True)
class Score:
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Change:
    """Of one folder to the first: after - before of the same items. `differs`: columns in which the two were not asked alike."""

    change: float
    low: float
    high: float
    n: int
    differs: tuple[str, ...]

    @property
    def is_sure(self) -> bool:
        """The interval leaves out no change."""
        return not self.differs and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Line:
    """A task and metric, over all folders; None where one has not measured it."""

    task: str
    metric: str
    language: str
    scores: tuple[Score | None, ...]
    changes: tuple[Change | None, ...]  # of each folder but the first

    @property
    def better(self) -> float | None:
        """1 where more is better, -1 where less is, None where it is not known."""
        less = is_less_better(self.metric)
        return None if less is None else -1.0 if less else 1.0


@dataclass(frozen=True)
class Compared:
    names: tuple[str, ...]
    models: tuple[str, ...]
    lines: tuple[Line, ...]

    def data(self) -> dict[str, Any]:
        return {"results": list(self.names), "models": list(self.models), "lines": [_plain(asdict(line)) for line in self.lines]}

    def text(self) -> str:
        return table(self)


def compare(folders: Sequence[Path], *, seed: int = 0) -> Compared:
    """Raises CurateError where a folder has no results, or none are in common."""
    if len(folders) < 2:
        raise CurateError("two results at least are compared", where="compare", found=str(len(folders)), allowed="A B ...")
    rows = [{(row["task"], row["metric"]): row for row in read_results(folder)} for folder in folders]
    items = [_by_task(read_items(folder)) for folder in folders]
    keys = list(dict.fromkeys(key for of in rows for key in of))
    if not any(sum(key in of for of in rows) > 1 for key in keys):
        raise CurateError(
            "these results have no task in common", found="; ".join(", ".join(sorted({k[0] for k in of})) for of in rows)
        )
    lines = [_line(key, [of.get(key) for of in rows], [of.get(key[0], {}) for of in items], seed) for key in keys]
    models = tuple(next((str(row["model"]) for row in of.values()), "") for of in rows)
    return Compared(_names(folders), models, tuple(lines))


def _names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Last parts of the paths, as many as tell them apart."""
    parts = [Path(folder).absolute().parts for folder in folders]
    for n in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-n:]) for own in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(map(str, folders))


def _by_task(items: Sequence[Row]) -> dict[str, dict[Hashable, Row]]:
    found: dict[str, dict[Hashable, Row]] = {}
    for item in items:
        found.setdefault(item["task"], {})[item["item"]] = item
    return found


def _line(key: tuple[str, str], rows: Sequence[Row | None], items: Sequence[dict[Hashable, Row]], seed: int) -> Line:
    scores = tuple(None if row is None else Score(row["value"], row["low"], row["high"], row["n"]) for row in rows)
    known = next(row for row in rows if row is not None)
    of = measure(key[1], known["language"])
    changes: list[Change | None] = []
    for row, own in zip(rows[1:], items[1:], strict=True):
        first = rows[0]
        if row is None or first is None:
            changes.append(None)
            continue
        found = difference(items[0], own, of, seed=seed)
        differs = tuple(name for name in ALIKE if row[name] != first[name])
        changes.append(Change(found.change.value, found.change.low, found.change.high, found.n, differs))
    return Line(*key, known["language"], scores, tuple(changes))


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


# ---- for people


def _number(value: float, metric: str, sign: bool = False) -> str:
    digits = 2 if is_of_hundred(metric) else 4
    return "?" if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


def score_text(score: Score | None, metric: str) -> str:
    if score is None:
        return "-"
    return f"{_number(score.value, metric)} [{_number(score.low, metric)}, {_number(score.high, metric)}]"


def change_text(line: Line, change: Change | None) -> str:
    if change is None:
        return "-"
    said = f"{_number(change.change, line.metric, True)} [{_number(change.low, line.metric, True)}, {_number(change.high, line.metric, True)}]"
    if change.differs:
        return f"{said} not alike: {', '.join(change.differs)}"
    return f"{said} {word(line, change)}"


def word(line: Line, change: Change) -> str:
    if not change.is_sure:
        return "no sure change"
    return "changed" if line.better is None else "better" if change.change * line.better > 0 else "worse"


def table(found: Compared) -> str:
    head = ["task", "metric", *found.names, *(f"{name} - {found.names[0]}" for name in found.names[1:])]
    shown = [
        [
            line.task,
            line.metric,
            *(score_text(s, line.metric) for s in line.scores),
            *(change_text(line, c) for c in line.changes),
        ]
        for line in found.lines
    ]
    widths = [max(len(row[i]) for row in [head, *shown]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *shown]]
    return "\n".join([*lines, "value [95 % interval]; differences are paired by item"])


def page(found: Compared) -> str:
    """One file of HTML with its style inside; no script, no network."""
    style = files("train.report").joinpath("page.css").read_text("utf-8") + STYLE
    models = "".join(f"<li><b>{_t(name)}</b> {_t(model)}</li>" for name, model in zip(found.names, found.models, strict=True))
    key = " ".join(f'<span class="k k{i % 8}">{_t(name)}</span>' for i, name in enumerate(found.names))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{_t(" and ".join(found.names))}</title>'
        f"<style>{style}</style></head><body><main><h1>Evaluations compared</h1><ul>{models}</ul>"
        f'<p class="key">{key}; bars are 95 % intervals</p><figure>{chart(found)}</figure><h2>Numbers</h2>{_html_table(found)}'
        '<p class="note">Differences are paired by item: the same items are drawn for both.</p></main></body></html>\n'
    )


STYLE = """
.k::before { content: "●"; margin-right: 4px; } svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg .d { fill: var(--dim); }
svg .r { stroke: var(--rule); } table { border-collapse: collapse; font-variant-numeric: tabular-nums; } td, th { padding: 4px 10px; text-align: left;
border-bottom: 1px solid var(--rule); } .better { color: var(--good); } .worse { color: var(--bad); } .over { overflow-x: auto; }
""" + "".join(f".k{i} {{ color: var(--c{i}); fill: var(--c{i}); stroke: var(--c{i}); }} " for i in range(8))

ROW, LEFT, WIDTH = 18, 330, 1100  # of the drawing's own units: height of a mark, place of the scale, whole width


def chart(found: Compared) -> str:
    """Every line on a scale of its own: shares from 0 to 1 (those below 0 from -1), others from the lowest to the highest end."""
    drawn, y = [], 10
    for line in found.lines:
        known = [(i, s) for i, s in enumerate(line.scores) if s is not None and not math.isnan(s.value)]
        if not known:
            continue
        low, high = _scale([s for _, s in known], line.metric)
        height = ROW * len(line.scores) + 14
        drawn.append(f'<text x="0" y="{y + height / 2}">{_t(line.task)}</text>')
        drawn.append(f'<text class="d" x="0" y="{y + height / 2 + 15}">{_t(line.metric)}</text>')
        drawn.append(f'<line class="r" x1="{LEFT}" x2="{WIDTH}" y1="{y + height}" y2="{y + height}"/>')
        drawn += [_mark(i, s, y + ROW * (i + 1), low, high, line) for i, s in known]
        y += height + 8
    return f'<svg viewBox="0 0 {WIDTH + 10} {y}" role="img" aria-label="scores with their intervals">{"".join(drawn)}</svg>'


def _scale(scores: Sequence[Score], metric: str) -> tuple[float, float]:
    ends = [x for s in scores for x in (s.value, s.low, s.high) if not math.isnan(x)]
    low, high = min(ends), max(ends)
    if is_less_better(metric) or is_of_hundred(metric) or high > 1:
        margin = (high - low or abs(high) or 1.0) * 0.1
        return low - margin, high + margin
    return (-1.0 if low < 0 else 0.0), 1.0


def _mark(i: int, score: Score, y: float, low: float, high: float, line: Line) -> str:
    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - 90) * (value - low) / (high - low)

    bar = ""
    if not math.isnan(score.low):
        bar = f'<line class="k{i % 8}" stroke-width="3" stroke-opacity=".45" x1="{x(score.low):.1f}" x2="{x(score.high):.1f}" y1="{y}" y2="{y}"/>'
    said = f"{_number(score.value, line.metric)}"
    return (
        f'{bar}<circle class="k{i % 8}" r="5" cx="{x(score.value):.1f}" cy="{y}"><title>{_t(score_text(score, line.metric))}</title></circle>'
        f'<text x="{max(x(score.value), x(score.high) if bar else 0) + 9:.1f}" y="{y + 4}">{said}</text>'
    )


def _html_table(found: Compared) -> str:
    head = "".join(
        f"<th>{_t(name)}</th>" for name in ["task", "metric", *found.names, *(f"{n} - {found.names[0]}" for n in found.names[1:])]
    )
    rows = []
    for line in found.lines:
        cells = "".join(f"<td>{_t(score_text(s, line.metric))}</td>" for s in line.scores)
        for change in line.changes:
            of = word(line, change) if change and not change.differs else ""
            cells += f'<td class="{of if of in ("better", "worse") else ""}">{_t(change_text(line, change))}</td>'
        rows.append(f"<tr><td>{_t(line.task)}</td><td>{_t(line.metric)}</td>{cells}</tr>")
    return f'<div class="over"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _t(text: object) -> str:
    return html.escape(str(text))
