"""Numbers of a step in; tensorboard, wandb, trackio or mlflow out, through accelerate's own trackers.

None of them reaches for the network unless its user's environment says so: wandb is offline without WANDB_MODE, mlflow writes into the
run's folder without MLFLOW_TRACKING_URI, trackio keeps to this machine. Imports curate.errors, train.config (types), train.watch.record;
accelerate.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from train.watch.pairs import means
from train.watch.record import StepRecord, Sums, Totals, together

if TYPE_CHECKING:
    from accelerate import Accelerator

    from train.config import RunFile

PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio", "mlflow": "mlflow-skinny"}  # name -> pip's name


def check(names: Sequence[str]) -> None:
    """Before the first step: is what the run file names installed?"""
    from accelerate.tracking import get_available_trackers

    available = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    if missing := [name for name in names if name not in available]:
        raise CurateError(
            "a tracker is not installed", where="track.to", found=", ".join(missing),
            allowed=", ".join(["jsonl (always written)", *sorted(available & set(PACKAGES))]),
            next="pip install " + " ".join(PACKAGES[name] for name in missing),
        )  # fmt: skip


class Trackers:
    """Started with the first numbers. One that fails is said and left: a tracker does not end a training run."""

    def __init__(self, run: RunFile, accelerator: Accelerator, say: Callable[[str], None]) -> None:
        self.run, self.accelerator, self.say = run, accelerator, say
        self.names = [name for name in run.track.to if name != "jsonl"]
        self.has_begun = False
        if self.names:
            check(self.names)

    def log(self, values: Mapping[str, float | None], done: int) -> None:
        if not self.names:
            return
        if not self.has_begun:
            self._begin(done)
        known = {key: float(value) for key, value in values.items() if value is not None}
        for tracker in list(self.accelerator.trackers):
            try:
                tracker.log(known, step=done)
            except Exception as error:  # of any kind a tracker may have: its server is gone, its disk is full
                self._leave(tracker.name, error)
                self.accelerator.trackers.remove(tracker)

    def _begin(self, done: int) -> None:
        """One after the other, so that one that cannot start does not keep the others from it."""
        from accelerate.tracking import filter_trackers

        self.has_begun = True
        folder = Path(self.run.save.to)
        environment(folder)
        settings = {
            "tensorboard": {"purge_step": done},  # what a killed part wrote of steps that are done again
            "wandb": {"name": self.run.name, "group": self.run.name, "dir": str(folder)},
            "trackio": {"name": self.run.name, "resume": "allow"},
            "mlflow": {"run_name": self.run.name},
        }
        place = str(folder / "tensorboard")
        self.accelerator.project_configuration.logging_dir = place
        begun: list[Any] = []
        for name in self.names:
            self.accelerator.trackers, self.accelerator.log_with = [], filter_trackers([name], place)
            try:
                self.accelerator.init_trackers(self.run.track.project, flat(self.run.canonical()), settings)
            except Exception as error:  # as above
                self._leave(name, error)
            else:
                begun += self.accelerator.trackers
        self.accelerator.trackers = begun

    def _leave(self, name: str, error: Exception) -> None:
        self.say(f"tracker {name} failed and is left out from now on: {type(error).__name__}: {error}")

    def close(self) -> None:
        for tracker in self.accelerator.trackers if self.has_begun else ():
            tracker.finish()


def environment(folder: Path) -> None:
    """What keeps them on this machine, where the user's environment says nothing."""
    os.environ.setdefault("WANDB_MODE", "offline")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ["MLFLOW_TRACKING_URI"] = (folder / "mlruns").resolve().as_uri()
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow 3.17 asks for it; mlflow-skinny has no other store


def of_step(
    record: StepRecord, totals: Totals, total: Totals, mfu: Mapping[str, float], joules: float | None
) -> dict[str, float | None]:
    """The names under which a step's numbers are found. `totals`: of this step alone; `total`: of the run so far."""
    values: dict[str, float | None] = {
        **_of("all", together(record.components)), "learning_rate": record.lr, "gradient_norm": record.gradient_norm,
        "packing_fill": totals.fill, "tokens": total.tokens, "memory_gb": record.memory_bytes / 1e9 or None,
        "joules": joules, "energy_kwh": None if total.joules is None else total.joules / 3.6e6,
    }  # fmt: skip
    for group, parts in (("", record.components), ("language/", record.languages)):
        for name, sums in parts.items():
            values |= {**_of(group + name, sums), f"share_of_tokens/{group}{name}": sums.tokens / max(1, record.tokens)}
    for name, of in record.pairs.items():
        values |= {f"pairs/{key}/{name}": value for key, value in means(of).items() if key != "loss"}
    values |= {f"tokens_per_second/{way}": value for way, value in totals.speeds().items()}
    values |= {f"mfu/{way}": value for way, value in mfu.items()}
    return values | {f"seconds/{part}": value for part, value in record.seconds.items()}


def of_held_out(result: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    return {f"held_out/{unit}/{name}": values.get(unit) for name, values in result.items() for unit in ("loss", "bits_per_byte")}


def _of(name: str, sums: Sums) -> dict[str, float | None]:
    return {f"loss/{name}": sums.loss, f"bits_per_byte/{name}": sums.bits_per_byte}


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists become text: trackers take scalars."""
    if isinstance(value, dict):
        return {
            key: leaf for name, part in value.items() for key, leaf in flat(part, f"{at}.{name}" if at else str(name)).items()
        }
    return {at: value if isinstance(value, bool | int | float | str) else str(value)}
