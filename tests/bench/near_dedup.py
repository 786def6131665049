"""Our side of dedup.py, as a process of its own: near-dedup from documents.parquet to decisions, and nothing else.

`python -m tests.bench.near_dedup prepare RAW PLACE` ingests JSONL files into PLACE/store (no part of the time).
`python -m tests.bench.near_dedup run PLACE WORKERS` signs, relates and decides, and prints a line of JSON: bytes of text, documents,
dropped, and wall and CPU seconds by step. PLACE/warm, if it is there, is run first and not counted: kernels are loaded then.
Of the signals only length is measured, which the priority of documents needs.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate import engine
from curate.recipe import Recipe, load_recipe
from curate.store import Store

RECIPE = """\
kind: cpt
name: dedup
tokenizer: {{model: none}}
sources:
  texts: {{read: "{raw}/*.jsonl", license: {{declared: CC0-1.0}}}}
dedup: {{exact: normalised, near: {{jaccard: 0.75, ngram: 5, bands: 16, rows: 7}}}}
mixture:
  total: 1k tokens
  sequence_length: 2048
  components: {{all: {{from: [texts], role: other, budget: 1k tokens}}}}
"""


def recipe_of(place: Path) -> Recipe:
    return load_recipe(place / "recipe.yaml")


def prepare(raw: Path, place: Path) -> None:
    from curate import documents

    place.mkdir(parents=True, exist_ok=True)
    (place / "recipe.yaml").write_text(RECIPE.format(raw=raw))
    documents.ingest(Store(place / "store"), recipe_of(place), 1)


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Steps:
    """Wall and CPU seconds by name; engine.run's labels are names."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        wall, used = time.monotonic(), cpu()
        yield
        self.wall[name] = self.wall.get(name, 0.0) + time.monotonic() - wall
        self.cpu[name] = self.cpu.get(name, 0.0) + cpu() - used


def run(place: Path, workers: int) -> dict[str, Any]:
    from curate import documents, relate
    from curate.decide import decide, decide_counts
    from curate.signals import length, measure

    recipe, store = recipe_of(place), Store(place / "store")
    docs = documents.ingest(store, recipe, 1)  # all in the store: reads what is there
    counts = docs["texts"].info()["counts"]
    steps = Steps()
    run_tasks, all_measurers = engine.run, measure.measurers

    def timed_run(tasks: Any, *, workers: int, label: str) -> None:
        with steps.timed(label):
            run_tasks(tasks, workers=workers, label=label)

    try:
        engine.run, measure.measurers = timed_run, lambda *_: [length.measurer()]  # type: ignore[assignment]
        with engine.quietly(), steps.timed("all"):
            signals, signatures, tasks = measure.tasks(store, recipe, docs)
            engine.run(tasks, workers=workers, label="signatures")
            for stage in (*signals.values(), *signatures.values()):
                stage.finish([key for key in docs["texts"].keys if key != "quarantine"])
            relations = relate.relate(store, recipe, docs, signals, signatures, workers)
            decided = decide(store, recipe, docs, signals, relations, workers)
    finally:
        engine.run, measure.measurers = run_tasks, all_measurers
    of = decide_counts(decided)["texts"]
    related = relations.clusters.info()["counts"]
    return {
        "text_bytes": counts["text_bytes"], "documents": of["documents"], "dropped": of["documents"] - of["kept"],
        "pairs": related.get("compared_pairs", 0), "wall": steps.wall, "cpu": steps.cpu,
    }  # fmt: skip


def main() -> None:
    command, *args = sys.argv[1:]
    if command == "prepare":
        prepare(Path(args[0]), Path(args[1]))
        return
    place, workers = Path(args[0]), int(args[1])
    warm = time.monotonic()
    if (place / "warm").exists():
        run(place / "warm", 1)
    print(json.dumps({**run(place, workers), "warm_seconds": time.monotonic() - warm}))


if __name__ == "__main__":
    main()
