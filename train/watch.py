"""What the loop measured in; log.jsonl out, and on stderr a table of losses, on a terminal with a progress bar below it.

A row of the table is the mean since the row before, a column a component ("-": not seen since). Only rank 0 speaks.
Sums and counts go into the log, not means, so that parts of a run add up. No imports of ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINE_SECONDS = 10.0  # between two rows of the table


class Watching:
    """Log and screen of one run; use as a context manager."""

    def __init__(self, folder: Path, name: str, n_steps: int, components: list[str], is_speaker: bool) -> None:
        self.components, self.n_steps, self.speaks = components, n_steps, is_speaker
        self.file: TextIO | None = None
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.sums: dict[str, list[float]] = {}  # since the last line on the screen: component -> [nats, tokens]
        self.tokens, self.seconds, self.since = 0, 0.0, time.monotonic()
        self.has_head = False
        if is_speaker:
            folder.mkdir(parents=True, exist_ok=True)
            self.log = folder / "log.jsonl"
            _cut_half_line(self.log)
            self.file = self.log.open("a", encoding="utf-8")
            if sys.stderr.isatty():
                said = TextColumn("{task.fields[said]}")
                columns = (
                    TextColumn(name),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("steps, left"),
                    TimeRemainingColumn(),
                    said,
                )
                self.bar = Progress(*columns, console=Console(stderr=True, highlight=False, markup=False))

    def __enter__(self) -> Watching:
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("", total=self.n_steps, said="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()
        if self.file:
            self.file.close()

    def say(self, text: str) -> None:
        if self.speaks:
            (self.bar.console.print if self.bar else _to_stderr)(text)

    def event(self, kind: str, **values: Any) -> None:
        if self.file:
            self.file.write(json.dumps({"event": kind, **values}) + "\n")
            self.file.flush()

    def phase(self, done: int, name: str, batch_rows: int, sequence_length: int) -> None:
        """`done` steps are done; the next is of this phase. Only said of streams with several."""
        self.event("phase", step=done, phase=name, batch_rows=batch_rows, sequence_length=sequence_length)
        self.say(f"phase {name} from step {done + 1} on: {batch_rows} sequences of {sequence_length} tokens a step")

    def step(self, done: int, losses: dict[str, list[float]], rate: float, norm: float, n_tokens: int, seconds: float) -> None:
        """`losses`: component -> [sum of nats, loss tokens] of this global batch; `n_tokens` without padding."""
        nats, asked = (sum(pair[i] for pair in losses.values()) for i in range(2))
        self.event(
            "step", step=done, loss_sum=nats, loss_tokens=int(asked), tokens=n_tokens, seconds=round(seconds, 4), lr=rate,
            gradient_norm=norm, components={name: {"loss_sum": s, "loss_tokens": int(n)} for name, (s, n) in losses.items()},
        )  # fmt: skip
        for name, (s, n) in losses.items():
            total = self.sums.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + s, total[1] + n
        self.tokens, self.seconds = self.tokens + n_tokens, self.seconds + seconds
        speed = f"{self.tokens / max(self.seconds, 1e-9):,.0f}"
        if self.bar:
            self.bar.update(self.task, completed=done, said=f"{speed} tokens/s")
        if time.monotonic() - self.since < LINE_SECONDS and done not in (1, self.n_steps):
            return
        means = {name: s / n for name, (s, n) in self.sums.items() if n}
        all_nats, all_tokens = (sum(pair[i] for pair in self.sums.values()) for i in range(2))
        self._row(f"step {done}", {"all": all_nats / max(1, all_tokens), **means}, speed)
        self.sums, self.tokens, self.seconds, self.since = {}, 0, 0.0, time.monotonic()

    def held_out(self, done: int, result: dict[str, dict[str, float]]) -> None:
        self.event("held_out", step=done, components=result)
        self._row(f"held out, step {done}", {name: values["loss"] for name, values in result.items()})
        if bits := {name: values["bits_per_byte"] for name, values in result.items() if "bits_per_byte" in values}:
            self._row("  bits per byte", bits)

    def _row(self, title: str, values: dict[str, float], speed: str = "") -> None:
        """A row of the table, under its head when it is the first."""
        names = ["all", *self.components]
        if not self.has_head:
            self.has_head = True
            self.say(f"{'loss':<18}" + "".join(f"{name:>{max(8, len(name) + 2)}}" for name in names) + "  tokens/s")
        cells = (f"{values[name]:.3f}" if name in values else "-" for name in names)
        row = "".join(f"{cell:>{max(8, len(name) + 2)}}" for name, cell in zip(names, cells, strict=True))
        self.say(f"{title:<18}{row}  {speed:>8}".rstrip())

    def from_first_to_last(self) -> str:
        """One line for the end, from the log, so that a run in several parts has it too; "" without held-out measurements."""
        events = [event for event in map(json.loads, self.log.read_text("utf-8").splitlines()) if event["event"] == "held_out"]
        if not events:
            return ""
        first, last = events[0]["components"], events[-1]["components"]
        unit = "bits_per_byte" if all("bits_per_byte" in values for values in (*first.values(), *last.values())) else "loss"
        said = ", ".join(f"{name} {first[name][unit]:.3f} -> {last[name][unit]:.3f}" for name in last)
        return f"held out, {unit.replace('_', ' ')}, step {events[0]['step']} -> {events[-1]['step']}: {said}"


def _cut_half_line(log: Path) -> None:
    """A killed process may have written half a line: what follows it must not be glued to it."""
    if log.exists():
        os.truncate(log, log.read_bytes().rfind(b"\n") + 1)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
