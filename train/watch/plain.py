"""Rows of a table on stderr, for where there is no terminal: every so many seconds the means since the row before.

A column a component; a language where there are too many components for a line ("-": not seen since the row before).
Imports train.watch.{record,words}.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from train.watch import words
from train.watch.record import StepRecord, Sums, Totals

LINE_SECONDS = 10.0  # between two rows
MAX_COLUMNS = 12


class Plain:
    def __init__(
        self, n_steps: int, components: list[str], languages: list[str], mfu: Callable[[Totals], dict[str, float]]
    ) -> None:
        self.n_steps, self.mfu = n_steps, mfu
        self.group = "components" if len(components) <= MAX_COLUMNS else "languages"
        self.names = ["all", *(components if self.group == "components" else languages[:MAX_COLUMNS])]
        self.window, self.since, self.has_head = Totals(), time.monotonic(), False

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def at(self, done: int) -> None:
        pass

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def step(self, record: StepRecord, joules: float | None, total: Totals) -> None:
        self.window.add(record, joules)
        if time.monotonic() - self.since < LINE_SECONDS and record.done not in (1, self.n_steps):
            return
        parts: Mapping[str, Sums] = getattr(self.window, self.group)
        losses = {"all": self.window.all.loss, **{name: sums.loss for name, sums in parts.items()}}
        speed = self.window.speeds().get("non-padding", 0.0)
        mfu = self.mfu(self.window).get("causal")
        end = f"  {record.lr:>8.2e}  {record.gradient_norm:>6.2f}  {speed:>8,.0f}" + (
            f"  {words.share(mfu):>7}" if mfu is not None else ""
        )
        self._row(f"step {record.done}", losses, end)
        self.window, self.since = Totals(), time.monotonic()

    def held_out(self, done: int, result: Mapping[str, Mapping[str, float]]) -> None:
        if self.group == "languages":
            self.say(f"held out, step {done}: " + ", ".join(f"{name} {values['loss']:.3f}" for name, values in result.items()))
            return
        self._row(f"held out, step {done}", {name: values["loss"] for name, values in result.items()})
        if bits := {name: values["bits_per_byte"] for name, values in result.items() if "bits_per_byte" in values}:
            self._row("  bits per byte", bits)

    def _row(self, title: str, values: Mapping[str, float | None], end: str = "") -> None:
        """A row, under the table's head when it is the first."""
        if not self.has_head:
            self.has_head = True
            mfu = "      MFU" if self.mfu(self.window) else ""
            self.say(
                f"{'loss':<18}" + "".join(f"{name:>{width(name)}}" for name in self.names) + f"        lr    norm  tokens/s{mfu}"
            )
        row = "".join(f"{words.number(values.get(name)):>{width(name)}}" for name in self.names)
        self.say(f"{title:<18}{row}{end}".rstrip())


def width(name: str) -> int:
    return max(8, len(name) + 2)
