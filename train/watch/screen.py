"""The view of a run on a terminal, drawn anew while it goes on: progress, a table of losses, speed, time and energy below it.

The table has the means of the last seconds, with a trend over the whole run so far (a bin of steps a block; low is low within the row).
Imports train.watch.{record,words}; rich.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from train.watch import words
from train.watch.record import StepRecord, Sums, Totals

WINDOW_SECONDS = 10.0  # the numbers on the screen are means of such a time
DRAW_SECONDS = 0.5  # at most that often
BINS = 24  # blocks of a trend
BELOW = 12  # lines of the screen that the rows of the table must leave free


class Trend:
    """Mean loss over the run in at most BINS bins of equally many steps; when they are full, two become one."""

    def __init__(self) -> None:
        self.bins: list[list[float]] = []  # [nats, tokens]
        self.each, self.n_steps = 1, 0

    def add(self, sums: Sums) -> None:
        if self.n_steps == self.each * BINS:
            self.bins = [[a[0] + b[0], a[1] + b[1]] for a, b in zip(self.bins[::2], self.bins[1::2], strict=True)]
            self.each *= 2
        if self.n_steps % self.each == 0:
            self.bins.append([0.0, 0.0])
        self.bins[-1][0] += sums.loss_sum
        self.bins[-1][1] += sums.loss_tokens
        self.n_steps += 1

    def __str__(self) -> str:
        return words.trend([nats / n for nats, n in self.bins if n])


class Screen:
    def __init__(
        self, name: str, n_steps: int, components: list[str], languages: list[str], mfu: Callable[[Totals], dict[str, float]],
        console: Console | None = None,
    ) -> None:  # fmt: skip
        self.mfu, self.names = mfu, {"components": components, "languages": languages}
        self.console = console or Console(stderr=True, highlight=False, markup=False)
        self.progress = Progress(
            TextColumn(name), BarColumn(), MofNCompleteColumn(), TextColumn("steps, left"), TimeRemainingColumn(),
            TextColumn("passed"), TimeElapsedColumn(), console=self.console,
        )  # fmt: skip
        self.task = self.progress.add_task("", total=n_steps)
        self.window, self.shown = Totals(), Totals()  # gathering; complete, on the screen
        self.since, self.drawn = time.monotonic(), 0.0
        self.trends: dict[tuple[str, str], Trend] = {}
        self.measured: dict[str, Mapping[str, float]] = {}  # held out, per component
        self.record: StepRecord | None = None
        self.total = Totals()
        self.live = Live(self.progress, console=self.console, refresh_per_second=2, vertical_overflow="ellipsis")

    def start(self) -> None:
        self.live.start()

    def stop(self) -> None:
        self.draw()
        self.live.stop()

    def at(self, done: int) -> None:
        """So many steps are done; the time that is left is guessed from what comes now."""
        self.progress.reset(self.task, completed=done)

    def say(self, text: str) -> None:
        self.console.print(text)

    def step(self, record: StepRecord, joules: float | None, total: Totals) -> None:
        if self.record is None:  # the first of this part: what was done before took no time now
            self.at(record.done - 1)
        self.record, self.total = record, total
        self.window.add(record, joules)
        for group, sums in (("components", record.components), ("languages", record.languages)):
            for name in self.names[group]:
                self.trends.setdefault((group, name), Trend()).add(sums.get(name, Sums()))
        self.trends.setdefault(("", "all"), Trend()).add(sum(record.components.values(), Sums()))
        self.progress.update(self.task, completed=record.done)
        now = time.monotonic()
        if now - self.since > WINDOW_SECONDS:
            self.shown, self.window, self.since = self.window, Totals(), now
        if now - self.drawn > DRAW_SECONDS:
            self.draw()

    def held_out(self, done: int, result: Mapping[str, Mapping[str, float]]) -> None:
        self.measured = dict(result)
        said = (f"{name} {values.get('bits_per_byte', values['loss']):.3f}" for name, values in result.items())
        unit = "bits per byte" if all("bits_per_byte" in values for values in result.values()) else "loss"
        self.say(f"held out, {unit}, step {done}: {', '.join(said)}")
        self.draw()

    def draw(self) -> None:
        self.drawn = time.monotonic()
        if self.record:
            self.live.update(Group(self.progress, self.table(), self.lines()), refresh=True)

    @property
    def recent(self) -> Totals:
        return self.shown if self.shown.n_steps else self.window

    def table(self) -> Table:
        """Rows: all, components, languages; what does not fit on the screen is counted."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        for title in ("", "loss", "bits/byte", "of tokens", "held out"):
            table.add_column(title, justify="right" if title else "left", no_wrap=True)
        table.add_column("trend of the loss", no_wrap=True)
        recent = self.recent
        self._row(table, "", "all", recent.all, recent.tokens)
        room = max(2, self.console.height - BELOW)
        for group in ("components", "languages"):
            parts, names = getattr(recent, group), self.names[group]
            if group == "languages" and not any(name in parts for name in names):
                continue
            table.add_row(Text(group, style="dim"))
            for name in names[:room]:
                self._row(table, group, name, parts.get(name, Sums()), recent.tokens)
            if len(names) > room:
                table.add_row(Text(f"  and {len(names) - room} more", style="dim"))
            room = max(2, room - len(names) - 1)
        return table

    def _row(self, table: Table, group: str, name: str, sums: Sums, of: int) -> None:
        measured = self.measured.get(name, {}) if group == "components" else {}
        held_out = measured.get("bits_per_byte", measured.get("loss"))
        table.add_row(
            f"  {name}" if group else name, words.number(sums.loss), words.number(sums.bits_per_byte),
            words.share(sums.tokens / of) if (of and sums.tokens) or not group else "-", words.number(held_out) if held_out else "",
            str(self.trends.get((group, name), "")),
        )  # fmt: skip

    def lines(self) -> Text:
        recent, record = self.recent, self.record
        assert record is not None
        lines = [f"tokens/s  {words.speeds(recent)}; packing fill {words.share(recent.fill, 2)}"]
        if mfu := self.mfu(recent):
            lines.append(f"MFU       {words.mfu(mfu)}")
        memory = f", memory {words.size(record.memory_bytes)}" if record.memory_bytes else ""
        lines.append(f"step      learning rate {record.lr:.3e}, gradient norm {record.gradient_norm:.3f}{memory}")
        lines.append(f"time      {words.time_split(recent.seconds)}")
        if self.total.joules is not None:
            seconds = sum(recent.seconds.values())
            watts = f", {recent.joules / seconds:,.0f} W now" if recent.joules is not None and seconds else ""
            lines.append(f"energy    {words.energy(self.total.joules)}{watts}")
        lines.append(f"in all    {words.count(self.total.tokens)} tokens in {words.duration(sum(self.total.seconds.values()))}")
        return Text("\n".join(lines))
