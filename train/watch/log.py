"""log.jsonl: one JSON object a line. Written line by line; read back as columns, whatever happened to the run meanwhile.

A line begins with its event. The loop may write a step twice (killed after its last checkpoint, then resumed): the later line counts,
and with it everything of later steps that was written before. A line that is no JSON is counted and left out.
Imports train.watch.record; numpy. No torch: the report is drawn anywhere.
"""

from __future__ import annotations

import json
import os
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from train.watch.record import BESIDE_OF, Sums, Totals

NUMBERS = (
    "step",
    "lr",
    "gradient_norm",
    "loss_sum",
    "loss_tokens",
    "tokens",
    "all_tokens",
    "n_bytes",
    "memory_bytes",
    "joules",
    "time",
)
FIELDS = ("loss_sum", "loss_tokens", "tokens", "n_bytes")  # of a component or language


class Log:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_half_line(path)
        self.file: TextIO = path.open("a", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        self.file.write(json.dumps({"event": event, **values, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def cut_half_line(path: Path) -> None:
    """A killed process may have written half a line: what follows it must not be glued to it."""
    if path.exists():
        os.truncate(path, _end_of_last_line(path))


def _end_of_last_line(path: Path, block: int = 1 << 16) -> int:
    with path.open("rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at:
            start = max(0, at - block)
            file.seek(start)
            if (found := file.read(at - start).rfind(b"\n")) >= 0:
                return start + found + 1
            at = start
    return 0


class Columns:
    """Steps as columns of float64 (counts are exact up to 2**53). A value that a line lacks is NaN; of sums, 0."""

    def __init__(self) -> None:
        self.numbers = {name: array("d") for name in NUMBERS}
        self.groups: dict[str, dict[str, dict[str, array]]] = {"components": {}, "languages": {}, "seconds": {}, "pairs": {}}
        self.phases: list[str] = []

    def __len__(self) -> int:
        return len(self.phases)

    def append(self, line: dict) -> None:
        n = len(self)
        for name, values in self.numbers.items():
            value = line.get(name)
            values.append(float("nan") if value is None else value)
        self.phases.append(line.get("phase", ""))
        for group in ("components", "languages"):
            for name, sums in line.get(group, {}).items():
                for key in FIELDS:
                    self._put(group, name, key, n, sums.get(key, 0))
        for name, sums in line.get("pairs", {}).items():
            for key, value in sums.items():
                self._put("pairs", name, key, n, value)
        for part, value in line.get("seconds", {}).items():
            self._put("seconds", part, "seconds", n, value)

    def _put(self, group: str, name: str, key: str, n: int, value: float) -> None:
        values = self.groups[group].setdefault(name, {}).setdefault(key, array("d"))
        if len(values) < n:
            values.frombytes(bytes(8 * (n - len(values))))
        values.append(value)

    def cut(self, n: int) -> None:
        """Keep the first `n` steps."""
        for values in (*self.numbers.values(), *(v for g in self.groups.values() for one in g.values() for v in one.values())):
            del values[n:]
        del self.phases[n:]

    def number(self, name: str) -> np.ndarray:
        return np.array(self.numbers[name])

    def of(self, group: str, name: str, key: str) -> np.ndarray:
        """(steps,) float64"""
        result = np.zeros(len(self))
        found = np.array(self.groups[group].get(name, {}).get(key, ()))
        result[: len(found)] = found
        return result

    def totals(self, first: int = 0) -> Totals:
        """Of the steps from position `first` on."""
        whole = slice(first, None)
        joules = self.number("joules")[whole]
        tables = [
            {name: Sums(float(sums[0]), *(int(value) for value in sums[1:]))
             for name in self.groups[group] if (sums := [self.of(group, name, key)[whole].sum() for key in FIELDS])[2]}
            for group in ("components", "languages")
        ]  # fmt: skip
        return Totals(
            n_steps=len(self) - first, tokens=int(np.nansum(self.number("tokens")[whole])),
            all_tokens=int(np.nansum(self.number("all_tokens")[whole])), components=tables[0], languages=tables[1],
            seconds={part: float(self.of("seconds", part, "seconds")[whole].sum()) for part in self.groups["seconds"]},
            joules=None if np.isnan(joules).all() else float(np.nansum(joules)),
            loss_unit="pairs" if self.groups["pairs"] else "loss",
        )  # fmt: skip


@dataclass
class History:
    """A log, read."""

    steps: Columns = field(default_factory=Columns)
    start: dict = field(default_factory=dict)  # the newest `start`
    held_out: list[dict] = field(default_factory=list)
    marks: list[dict] = field(default_factory=list)  # all other events, in their order
    n_damaged: int = 0  # lines that are no event
    n_parts: int = 0
    twice: Totals = field(default_factory=Totals)  # of steps that were done again
    besides: dict[str, float] = field(default_factory=dict)  # seconds of saves and measurements, those done twice included
    last_time: float = 0.0  # of the newest line

    def totals(self) -> Totals:
        """Of all steps that count, with what saves and measurements took."""
        total = self.steps.totals()
        for part, value in self.besides.items():
            total.seconds[part] = total.seconds.get(part, 0.0) + value
        return total

    @property
    def done(self) -> int:
        return int(self.steps.numbers["step"][-1]) if len(self.steps) else 0

    def take(self, event: dict) -> None:
        kind, step = event["event"], event.get("step", 0)
        self.last_time = event.get("time", self.last_time)
        if part := BESIDE_OF.get(kind):
            self.besides[part] = self.besides.get(part, 0.0) + event.get("seconds", 0.0)
        if kind in ("step", "resumed"):
            self.go_back(step - (kind == "step"))
        if kind == "step":
            self.steps.append(event)
        elif kind == "held_out":
            self.held_out = [other for other in self.held_out if other["step"] < step] + [event]
        elif kind == "start":
            self.start, self.n_parts = event, self.n_parts + 1
        else:
            self.marks.append(event)

    def go_back(self, done: int) -> None:
        """Forget what came after step `done`."""
        numbers = self.steps.numbers["step"]
        keep = len(numbers)
        while keep and numbers[keep - 1] > done:
            keep -= 1
        if keep < len(numbers):
            again = self.steps.totals(keep)
            self.twice.n_steps += again.n_steps
            self.twice.tokens += again.tokens
            for part, value in again.seconds.items():
                self.twice.seconds[part] = self.twice.seconds.get(part, 0.0) + value
            if again.joules is not None:
                self.twice.joules = (self.twice.joules or 0.0) + again.joules
            self.steps.cut(keep)
        self.held_out = [event for event in self.held_out if event["step"] <= done]


def read_log(path: Path) -> History:
    """An absent file is an empty history."""
    history = History()
    if not path.exists():
        return history
    for event in _events(path, history):
        history.take(event)
    return history


def _events(path: Path, history: History) -> Iterator[dict]:
    with path.open("rb") as file:
        for line in file:
            try:
                event = json.loads(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):  # half a line, or bytes of a damaged disk
                history.n_damaged += 1
                continue
            if kind in ("step", "held_out") and not isinstance(event.get("step"), int):
                history.n_damaged += 1
                continue
            yield event
