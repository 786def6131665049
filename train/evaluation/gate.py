"""The gate: results before and after, rules; out comes a verdict with numbers and intervals. What was not measured has failed.

Three things a rule can ask, by its last word:
  (none)     the value is on the right side. Chance decides near the bound, in both directions.
  surely     fails only where the whole interval is on the wrong side. Protects the run from being stopped by chance; with few items it passes
             nearly everything.
  proven     passes only where the whole interval is on the right side. Protects the ability from being lost unseen; with few items it fails
             nearly everything.
Intervals of changes are of the paired difference: the same items are drawn for both. May import curate.errors, train.evaluation.*.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from curate.errors import CurateError, nearest
from train.evaluation import bootstrap
from train.evaluation.results import Row, read_items, read_results
from train.evaluation.rules import Rule, check_metric, is_less_better, is_of_hundred, parse_rules, scale

Status = Literal["passed", "failed", "not measured"]
ALIKE = (  # of two rows that are compared
    "task_version", "template_sha256", "data_sha256", "limit", "shots", "seed", "bos", "metric_signature", "harness", "harness_version",
)  # fmt: skip


@dataclass(frozen=True)
class Results:
    """Rows of results.parquet, and of items.parquet where there are some: without items a change has no interval."""

    rows: Sequence[Row]
    items: Sequence[Row] = ()

    @staticmethod
    def read(folder: Path) -> Results:
        return Results(read_results(folder), read_items(folder))

    def named(self, name: str) -> dict[str, Row]:
        """Rows a rule is about, by task.metric: that one, or all of LANGUAGE_metric."""
        keyed = {f"{row['task']}.{row['metric']}": row for row in self.rows}
        if name in keyed:
            return {name: keyed[name]}
        return {key: row for key, row in keyed.items() if name == f"{row.get('language')}_{row['metric']}"}

    @property
    def names(self) -> list[str]:
        keys = [(f"{row['task']}.{row['metric']}", f"{row.get('language')}_{row['metric']}") for row in self.rows]
        return list(dict.fromkeys(name for pair in keys for name in pair))


@dataclass(frozen=True)
class Line:
    """A rule on one metric. `change` is what the rule bounds: relative as a share, in the metric's unit, or the value after (bounds)."""

    rule: str
    name: str
    metric: str
    before: float | None
    after: float | None
    change: float | None
    low: float | None
    high: float | None
    unit: str
    allowed: str
    status: Status
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    lines: list[Line]

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.status != "passed"]

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def data(self) -> dict[str, Any]:
        return {"passed": not self.failed, "lines": [asdict(line) for line in self.lines]}

    def text(self) -> str:
        return table(self)


def check(
    before: Results | Sequence[Row] | Path | None, after: Results | Sequence[Row] | Path,
    rules: Mapping[str, object] | Sequence[Rule], *, seed: int = 0,
) -> Verdict:  # fmt: skip
    """`before` may be None where every rule is a bound. Raises CurateError for names and rules that make no sense."""
    first, second = _results(before), _results(after)
    asked = parse_rules(rules) if isinstance(rules, Mapping) else list(rules) or parse_rules({})  # none at all: an error
    lines = []
    for rule in asked:
        rows = (first.named(rule.name), second.named(rule.name))
        if not (rows[0] or rows[1]):
            raise _unknown(rule, [*second.names, *first.names])
        for name in dict.fromkeys([*rows[1], *rows[0]]):
            pair = rows[0].get(name), rows[1].get(name)
            metric = str((pair[1] or pair[0] or {})["metric"])
            check_metric(rule, metric)
            lines.append(_line(rule, name, metric, pair, (first, second), seed))
    return Verdict(lines)


def _results(source: Results | Sequence[Row] | Path | None) -> Results:
    if isinstance(source, Results):
        return source
    if isinstance(source, str | Path):
        return Results.read(Path(source))
    return Results(source or ())


def _unknown(rule: Rule, names: Iterable[str]) -> CurateError:
    known = list(dict.fromkeys(names))
    return CurateError(
        "nothing of this name was measured, before or after", where=rule.name,
        allowed=", ".join(nearest(rule.name, known) or known[:8]) or "nothing was measured at all",
    )  # fmt: skip


def _line(
    rule: Rule, name: str, metric: str, rows: tuple[Row | None, Row | None], sides: tuple[Results, Results], seed: int
) -> Line:  # fmt: skip
    values = tuple(_value(row) for row in rows)
    bound = bool(rule.side)
    unit = "value" if bound else "%" if rule.unit == "%" else "points"
    change = low = high = None
    why = _unlike(rows, bound)
    if not why and bound:
        change, (low, high) = values[1], (_number(rows[1], "low"), _number(rows[1], "high"))
    elif not why:
        change, low, high, why = _change(rule, metric, rows, sides, seed)
    status: Status = "not measured" if why else "passed" if _is_right(rule, metric, change, low, high) else "failed"
    if not why and rule.ask != "value" and (low is None or high is None):
        status, why = "not measured", f"{rule.ask} asks for the interval, and there is none"
    return Line(rule.name, name, metric, values[0], values[1], change, low, high, unit, allowed(rule, metric), status, why)


def _value(row: Row | None) -> float | None:
    return _number(row, "value")


def _number(row: Row | None, key: str) -> float | None:
    value = None if row is None else row.get(key)
    return None if value is None or math.isnan(value) else float(value)


def _unlike(rows: tuple[Row | None, Row | None], is_bound: bool) -> str:
    """Why two rows cannot be compared; '' where they can."""
    before, after = rows
    if after is None or _value(after) is None:
        return "no value after"
    if is_bound:
        return ""
    if before is None or _value(before) is None:
        return "no value before"
    known = [key for key in ALIKE if before.get(key) is not None or after.get(key) is not None]
    if others := [key for key in known if before.get(key) != after.get(key)]:
        return "measured in another way: " + ", ".join(f"{key} {before.get(key)} and {after.get(key)}" for key in others)
    if (lost := int(before.get("n") or 0) - int(after.get("n") or 0)) > 0:
        return f"{lost} items fewer have a score than before, and a model must not pass by them"
    return ""


def _change(
    rule: Rule, metric: str, rows: tuple[Row | None, Row | None], sides: tuple[Results, Results], seed: int
) -> tuple[float | None, float | None, float | None, str]:
    """(change, low, high, why not): relative or in the metric's unit; the ends are None without items that give the values again."""
    before, after = (float(row["value"]) for row in rows if row is not None)
    if rule.unit == "%" and before == 0:
        return None, None, None, "0 before: nothing can be said in per cent of it"
    change = (after - before) / abs(before) if rule.unit == "%" else after - before
    if (found := paired(metric, rows, sides, seed)) is None:
        return change, None, None, ""
    of = found.relative if rule.unit == "%" else found.change
    return (change, None, None, "") if math.isnan(of.low) else (change, of.low, of.high, "")


def paired(
    metric: str, rows: tuple[Row | None, Row | None], sides: tuple[Results, Results], seed: int = 0
) -> bootstrap.Difference | None:  # fmt: skip
    """The difference on the items that both have, or None where a side has no items, or not those its value is made of."""
    from train.evaluation.scoring import measure

    samples = []
    for row, side in zip(rows, sides, strict=True):
        if row is None or _value(row) is None:
            return None
        kind = measure(metric, row.get("language") or "und")
        items = {item["item"]: item for item in side.items if item["task"] == row["task"]}
        if not items or not math.isclose(kind([*items.values()]), row["value"], rel_tol=1e-6, abs_tol=1e-9):
            return None
        samples.append(items)
    return bootstrap.difference(samples[0], samples[1], kind, seed=seed)


def _is_right(rule: Rule, metric: str, change: float | None, low: float | None, high: float | None) -> bool:
    """Whether the value, or of the interval one end or the other, is not beyond the rule's number."""
    ceiling = rule.side == "<=" if rule.side else bool(is_less_better(metric))
    best, worst = (low, high) if ceiling else (high, low)
    asked = {"value": change, "surely": best, "proven": worst}[rule.ask]
    number = scale(rule, metric)
    slack = 1e-12 * max(1.0, abs(number))  # of binary fractions: a fall of exactly 1.5 points is allowed by "-1.5 points"
    return asked is not None and (asked <= number + slack if ceiling else asked >= number - slack)


def allowed(rule: Rule, metric: str) -> str:
    """The rule in words."""
    asks = "" if rule.ask == "value" else f", {rule.ask}"
    if rule.side:
        return rule.text
    size = f"{abs(rule.amount):g} {rule.unit}"
    less = is_less_better(metric)
    bad, good = ("rise", "fall") if less else ("fall", "rise")
    if rule.amount == 0:
        return f"must not {bad}{asks}"
    wants_good = (rule.amount < 0) == bool(less)
    return (f"must {good} by {size}" if wants_good else f"may {bad} by {size}") + asks


def table(verdict: Verdict) -> str:
    """The lines in columns, then what did not pass and why, then the count."""
    heads = ("", "before", "after", "change", "95 % interval", "allowed", "")
    cells = [heads] + [_cells(line) for line in verdict.lines]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    rows = [
        "  ".join(c.ljust(w) if i in (0, 5, 6) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in cells
    ]
    notes = [f"not measured: {line.name}: {line.why}" for line in verdict.lines if line.why]
    counts = {status: sum(line.status == status for line in verdict.lines) for status in ("passed", "failed", "not measured")}
    said = ", ".join(f"{n} {status}" for status, n in counts.items() if n or status == "passed")
    more = "; what was not measured counts as failed" if counts["not measured"] else ""
    return "\n".join([*rows, *notes, f"gate: {'stopped' if verdict.failed else 'passed'} ({said}{more})"])


def _cells(line: Line) -> tuple[str, ...]:
    name = line.name if line.rule == line.name else f"{line.rule} ({line.name})"
    value = [_show(v, line.metric) for v in (line.before, line.after)]
    if line.unit == "value":
        change, ends = "", [_show(v, line.metric) for v in (line.low, line.high)]
    else:
        change, *ends = (_signed(v, line) for v in (line.change, line.low, line.high))
    interval = "no interval" if line.low is None else f"{ends[0]} to {ends[1]}"
    return (
        name,
        *value,
        change,
        "" if line.why else interval,
        line.allowed,
        line.status.upper() if line.status != "passed" else "passed",
    )


def _show(value: float | None, metric: str) -> str:
    if value is None:
        return "none"
    if is_of_hundred(metric):
        return f"{value:.2f}"
    return f"{value:.4f}" if is_less_better(metric) is not False else f"{100 * value:.2f} %"


def _signed(value: float | None, line: Line) -> str:
    if value is None:
        return ""
    number = value if line.unit == "points" and is_of_hundred(line.metric) else 100 * value
    return f"{number:+.2f} {'%' if line.unit == '%' else 'points'}"
