"""The same merge with several lambdas, each asked a suite: a plan in; results by lambda, a table, sweep.json and a drawn page out.

A model is written, asked and removed before the next one: one of them lies on the disk at a time. What was asked of the same weights before is
not asked again. May import curate.errors, curate.store, train.*.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from curate.errors import CurateError, nearest
from curate.store import write_atomic, write_json
from train.config import ModelSpec
from train.evaluation.load import load
from train.evaluation.results import Row
from train.evaluation.rules import is_less_better
from train.evaluation.run import Asking, check_suite, evaluate
from train.evaluation.suite import Subject, chosen, load_suite
from train.merge.chart import page
from train.merge.config import Sweep
from train.merge.plan import Plan, check_disk, formula
from train.merge.write import write


@dataclass
class Swept:
    """`scores`: task.metric -> a row of results per lambda, in the order of `lambdas`."""

    folder: Path
    title: str
    lambdas: list[float]
    scores: dict[str, list[Row]]
    best: float | None = None
    chosen: str | None = None
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        width = max([6, *(len(name) for name in self.scores)])
        lines = [f"{'lambda':<{width}} " + " ".join(f"{x:>8g}" for x in self.lambdas)]
        lines += [f"{name:<{width}} " + " ".join(f"{row['value']:>8.4f}" for row in rows) for name, rows in self.scores.items()]
        lines += [f"failed: {problem}" for problem in self.problems]
        if self.best is not None:
            lines.append(f"best by {self.chosen}: lambda {self.best:g}")
        return "\n".join([*lines, f"drawn {self.folder / 'sweep.html'}"])

    def data(self) -> dict:
        keys = ("value", "low", "high", "n")
        scores = {name: [{key: row[key] for key in keys} for row in rows] for name, rows in self.scores.items()}
        return {"formula": self.title, "lambdas": self.lambdas, "scores": scores, "chosen": self.chosen, "best": self.best}


def sweep(made: Plan, spec: Sweep, finish: Callable[[Plan, Path], None]) -> Swept:
    """`finish` puts config and tokenizer beside the weights. Raises CurateError."""
    suite = load_suite(Path(spec.suite))
    tasks = chosen(suite, spec.tasks)
    check_suite(suite, tasks)
    if spec.choose is not None:
        _less_is_better(spec.choose)
    folder, lambdas = Path(spec.to), sorted(spec.lambdas)
    folder.mkdir(parents=True, exist_ok=True)
    check_disk(folder / "model", made.n_bytes)
    asked: list[list[Row]] = []
    problems: list[str] = []
    for value in lambdas:
        with TemporaryDirectory(prefix=".model-", dir=folder) as temporary:
            at = Path(temporary)
            write(made, at, lambda n: None, value)
            finish(made, at)
            loaded = dataclasses.replace(load(Subject(init=str(at), dtype=spec.dtype)), name=f"{made.run.name}, lambda {value:g}")
            asking = Asking(
                loaded, suite, tasks, folder / f"lambda-{value:g}", ModelSpec(init=str(at)), spec.roots, spec.limit, spec.seed, spec.batch
            )  # fmt: skip
            ended = evaluate(asking, lambda text, value=value: print(f"lambda {value:g}: {text}", file=sys.stderr))  # type: ignore[misc]
        asked.append(ended.rows)
        problems += [f"lambda {value:g}: {name}: {why}" for name, why in ended.problems.items()]
    found = Swept(folder, formula(made.run), lambdas, _by_name(asked), chosen=spec.choose, problems=problems)
    if spec.choose is not None and not problems:
        found.best = _best(found, spec.choose)
    write_json(folder / "sweep.json", found.data())
    write_atomic(folder / "sweep.html", page(f"{made.run.name}: {found.title}", lambdas, found.scores, found.best).encode())
    return found


def _by_name(asked: Sequence[Sequence[Row]]) -> dict[str, list[Row]]:
    """What every lambda was scored by."""
    by = [{f"{row['task']}.{row['metric']}": row for row in rows} for rows in asked]
    return {name: [rows[name] for rows in by] for name in by[0] if all(name in rows for rows in by)}


def _best(found: Swept, name: str) -> float:
    """Of equals the lambda nearest to 0: the smaller change."""
    if name not in found.scores:
        known = list(found.scores)
        raise CurateError(
            "the suite did not score this", where="sweep.choose", found=name, allowed=", ".join(nearest(name, known) or known)
        )
    sign = 1 if _less_is_better(name) else -1
    values = [row["value"] for row in found.scores[name]]
    return min(zip(found.lambdas, values, strict=True), key=lambda pair: (sign * pair[1], abs(pair[0])))[0]


def _less_is_better(name: str) -> bool:
    less = is_less_better(name.rpartition(".")[2])
    if less is None:
        raise CurateError(
            "it is not known whether more or less of this is better", where="sweep.choose", found=name, allowed="TASK.METRIC"
        )
    return less
