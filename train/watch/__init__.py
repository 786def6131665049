"""What the loop measured in; log.jsonl, a screen and trackers out. Only rank 0 speaks, writes and reads meters.

`train.watch.log` reads a log back, `train.report` draws it. Sums and counts go into the log, not means, so that parts of a run add up.
May import curate.errors, train.config and train.steps (types), train.watch.*; accelerate and torch only as types, and in functions.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.watch import trackers, words
from train.watch.energy import Energy
from train.watch.log import Log, read_log
from train.watch.plain import Plain
from train.watch.record import BESIDE_OF, MFU_IS, StepRecord, Sums, Totals
from train.watch.screen import Screen

if TYPE_CHECKING:
    from accelerate import Accelerator

    from train.config import RunFile
    from train.flops import Flops
    from train.steps import Plan

__all__ = ["StepRecord", "Sums", "Watching"]
LIBRARIES = ("veski", "torch", "accelerate", "transformers", "peft", "numpy")


class Watching:
    """Log, screen and trackers of one run; use as a context manager."""

    def __init__(
        self, run: RunFile, plan: Plan, components: list[str], languages: list[str], accelerator: Accelerator, flops: Flops | None = None
    ) -> None:  # fmt: skip
        self.run, self.n_steps, self.speaks = run, plan.n_steps, accelerator.is_main_process
        self.world, self.flops = accelerator.num_processes, asdict(flops) if flops else None
        self.path = Path(run.save.to) / "log.jsonl"
        self.total, self.has_begun = Totals(), False
        self.since: float | None = None  # when the last thing that was timed ended
        self.log: Log | None = None
        self.energy: Energy | None = None
        self.facts = {
            "name": run.name, "steps": plan.n_steps, "components": components, "languages": languages, "model": _model(run),
            "flops": self.flops, "world": self.world, "device": str(accelerator.device), "run": run.canonical(),
        }  # fmt: skip
        self.view: Screen | Plain = (
            Screen(run.name, plan.n_steps, components, languages, self.mfu)
            if self.speaks and sys.stderr.isatty()
            else Plain(plan.n_steps, components, languages, self.mfu)
        )
        self.trackers = trackers.Trackers(run, accelerator, self.say)
        self.accelerator = accelerator

    def __enter__(self) -> Watching:
        if self.speaks:
            self.log = Log(self.path)
            if self.run.track.energy:
                self.energy = Energy(_uuids(self.accelerator))
                self.facts["energy"] = {"meters": list(self.energy.names)}
            self.view.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.log:
            self.view.stop()
            self.trackers.close()
            self.log.close()

    def say(self, text: str) -> None:
        if self.speaks:
            self.view.say(text)

    def event(self, kind: str, **values: Any) -> None:
        """One line of the log. `start` gets what is known here besides, and is written of itself when nobody does."""
        if not self.log:
            return
        if kind == "start" or (not self.has_begun and kind == "held_out"):
            self._start(values if kind == "start" else {})
        if kind == "resumed":
            self._resumed(values["step"])
        if kind in BESIDE_OF:
            values |= self._besides(kind)
        if kind != "start":
            self.log.write(kind, **values)

    def _besides(self, kind: str) -> dict[str, float]:
        """Seconds since the step or the measurement before: what a save or a measurement took. Before the first step nobody knows."""
        now, part = time.monotonic(), BESIDE_OF[kind]
        if self.since is None:
            return {}
        passed, self.since = now - self.since, now
        self.total.seconds[part] = self.total.seconds.get(part, 0.0) + passed
        return {"seconds": round(passed, 6)}

    def _start(self, values: dict[str, Any]) -> None:
        assert self.log is not None
        self.has_begun = True
        if self.energy:
            self.energy.joules()  # what was spent until now is not the first step's
        self.log.write("start", **{**self.facts, "versions": _versions(), **values})
        if self.flops and self.flops.get("peak"):
            self.say(f"MFU: {MFU_IS}; {self.flops['formula']}")
        if self.energy and not self.energy.names:
            self.say(
                "energy: nothing can be read here (NVIDIA: pip install nvidia-ml-py; processors: /sys/class/powercap for its readers)"
            )

    def _resumed(self, done: int) -> None:
        """Counters go on from what the log has of the steps before."""
        history = read_log(self.path)
        history.go_back(done)
        self.total = history.totals()
        self.view.at(done)

    def phase(self, done: int, name: str, batch_rows: int, sequence_length: int) -> None:
        """`done` steps are done; the next is of this phase. Only said of streams with several."""
        self.event("phase", step=done, phase=name, batch_rows=batch_rows, sequence_length=sequence_length)
        self.say(f"phase {name} from step {done + 1} on: {batch_rows} sequences of {sequence_length} tokens a step")

    def step(self, record: StepRecord) -> None:
        """After every optimizer step."""
        if not self.log:
            return
        if not self.has_begun:
            self._start({})  # meters are read from here on
        joules = self.energy.joules() if self.energy else None
        self.event("step", **record.line(joules))
        alone = Totals()
        alone.add(record, joules)
        self.total.add(record, joules)
        self.view.step(record, joules, self.total)
        if self.trackers.names:
            self.trackers.log(trackers.of_step(record, alone, self.total, self.mfu(alone), joules), record.done)
        self.since = time.monotonic()

    def held_out(
        self, done: int, result: Mapping[str, Mapping[str, float]], languages: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        """`result`: component -> {loss, tokens, bits_per_byte where known}; `languages` likewise."""
        if not self.log:
            return
        self.event("held_out", step=done, components=result, **({"languages": languages} if languages else {}))
        self.view.held_out(done, result)
        self.trackers.log(trackers.of_held_out(result), done)

    def mfu(self, totals: Totals) -> dict[str, float]:
        return totals.mfu(self.flops, self.world)

    def from_first_to_last(self) -> str:
        """One line for the end, from the log, so that a run in several parts has it too; "" without held-out measurements."""
        with self.path.open("rb") as file:
            lines = [line for line in file if line.startswith(b'{"event": "held_out"')]
        return from_first_to_last([json.loads(line) for line in lines])

    def in_all(self) -> str:
        """One line on speed, time and energy of all parts of the run; "" before the first step."""
        if not self.total.n_steps:
            return ""
        mfu = words.mfu(self.mfu(self.total))
        said = [f"tokens/s {words.speeds(self.total)}", f"packing fill {words.share(self.total.fill, 2)}"]
        said += [f"MFU {mfu}"] if mfu else []
        said += [words.energy(self.total.joules)] if self.total.joules is not None else []
        return f"{'; '.join(said)}; time: {words.time_split(self.total.seconds)}"


def from_first_to_last(events: list[dict]) -> str:
    """`held_out` events -> one line: the unit, the steps, every component's value before and after."""
    if not events:
        return ""
    first, last = events[0]["components"], events[-1]["components"]
    unit = "bits_per_byte" if all("bits_per_byte" in values for values in (*first.values(), *last.values())) else "loss"
    said = ", ".join(f"{name} {first[name][unit]:.3f} -> {last[name][unit]:.3f}" for name in last if name in first)
    return f"held out, {unit.replace('_', ' ')}, step {events[0]['step']} -> {events[-1]['step']}: {said}"


def _model(run: RunFile) -> str:
    init = run.model.init
    return init if isinstance(init, str) else f"{init.get('model_type', 'model')}, fresh, config in place"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _uuids(accelerator: Accelerator) -> list[str]:
    """The NVIDIA devices that this machine's processes train on, as NVML names them."""
    if accelerator.device.type != "cuda":
        return []
    import os

    import torch

    if torch.version.hip:
        return []
    n = min(int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count())
    found = range(n) if n > 1 else [accelerator.device.index or 0]
    return [f"GPU-{torch.cuda.get_device_properties(i).uuid}" for i in found]
