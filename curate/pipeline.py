"""Raw files to decisions: the stages of curate in the order of the flow, each finished before the next begins.

A recipe and a store in, the stages' folders out. Imports the rooms of curate; mixture and train stand above it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from curate import engine
from curate.errors import CurateError, nearest
from curate.recipe import Recipe
from curate.schema import DERIVED
from curate.store import Stage, Store
from curate.units import show_bytes

STAGES = ("ingest", "measure", "relate", "decide", "tokenize", "mixture")

# What one byte of raw text becomes on disk, all stages together. Measured on tests' real texts (docs/measurements.md); a guess
# for other corpora, so it is printed as an estimate.
STORE_BYTES_PER_RAW_BYTE = 2.5


@dataclass
class Curated:
    """The stages of one recipe so far; a field is None until its stage has run."""

    recipe: Recipe
    store: Store
    documents: dict[str, Stage] = field(default_factory=dict)  # source -> stage
    signals: dict[tuple[str, str], Stage] = field(default_factory=dict)  # (source, family) -> stage
    signatures: dict[str, Stage] = field(default_factory=dict)
    relations: object | None = None
    decisions: Stage | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def check(recipe: Recipe) -> None:
    """What can be known before the first document: files are there, signals exist, bounds fit their type."""
    from curate.signals import signal_names

    for source in recipe.sources.values():
        recipe.files(source)
    known = signal_names(recipe)
    for rule in recipe.rules:
        if rule.signal not in known:
            close = nearest(rule.signal, known)
            raise CurateError(
                f"no signal {rule.signal!r}", where=f"rule {rule.name}", allowed=", ".join(close or sorted(known)),
                next=f"did you mean {close[0]!r}?" if close else "",
            )  # fmt: skip
        is_text = known[rule.signal] == "string"
        if is_text != (rule.op == "in"):
            allowed = "is: [values]" if is_text else "min: or max:"
            raise CurateError(f"signal {rule.signal!r} is {known[rule.signal]}", where=f"rule {rule.name}", allowed=allowed)


def disk_estimate(recipe: Recipe) -> tuple[int, int]:
    """(raw bytes as stored, estimated bytes of the whole store for this recipe)."""
    raw = 0
    for source in recipe.sources.values():
        for path in recipe.files(source):
            found = path.rglob("*") if path.is_dir() else [path]
            raw += sum(p.stat().st_size for p in found if p.is_file())
    compressed = 4  # a guess: gz and zst of web text unpack about fourfold
    text = sum(
        p.stat().st_size * (compressed if p.suffix in (".gz", ".zst", ".parquet") else 1)
        for source in recipe.sources.values() for p in recipe.files(source) if p.is_file()
    )  # fmt: skip
    return raw, int(max(raw, text) * STORE_BYTES_PER_RAW_BYTE)


def check_disk(recipe: Recipe, store: Store) -> str:
    """One line about the store; an error when the disk or the recipe's own limit cannot hold the estimate."""
    raw, estimate = disk_estimate(recipe)
    store.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(store.root).free
    limit = recipe.limits.scratch_disk
    if limit is not None and estimate > limit:
        raise CurateError(
            "the store would grow past limits.scratch_disk", found=f"estimate {show_bytes(estimate)}", allowed=show_bytes(limit),
            next="raise the limit, or try --sample 1%",
        )  # fmt: skip
    if estimate > free:
        raise CurateError(
            "the disk is too small for this build", where=str(store.root), found=f"{show_bytes(free)} free",
            allowed=f"about {show_bytes(estimate)}", next="--store DIR on a larger disk, or --sample 1%",
        )  # fmt: skip
    return f"store {store.root}: {show_bytes(raw)} raw input, about {show_bytes(estimate)} on disk, {show_bytes(free)} free"


def curate(recipe: Recipe, store: Store, *, workers: int, until: str = "decide", log: Callable[[str], None] = print) -> Curated:
    """Run the stages up to `until` (ingest, measure, relate or decide)."""
    from curate import decide, documents, relate
    from curate.signals import measure

    done = Curated(recipe, store)
    steps = STAGES[: STAGES.index(until) + 1] if until in STAGES else STAGES
    with _timed(done, "ingest"):
        done.documents = documents.ingest(store, recipe, workers)
    if "measure" in steps:
        with _timed(done, "measure"):
            done.signals, done.signatures, tasks = measure.tasks(store, recipe, done.documents)
            engine.run(tasks, workers=workers, label="measure")
            for stage in (*done.signals.values(), *done.signatures.values()):
                stage.finish(_keys(done, stage))
    if "relate" in steps:
        with _timed(done, "relate"):
            done.relations = relate.relate(store, recipe, done.documents, done.signals, done.signatures, workers)
    if "decide" in steps:
        with _timed(done, "decide"):
            done.decisions = decide.decide(store, recipe, done.documents, done.signals, done.relations, workers)
    return done


def _keys(done: Curated, stage: Stage) -> list[str]:
    """The shard keys of a per-source stage: those of its documents."""
    for key, other in [*done.signals.items(), *done.signatures.items()]:
        if other is stage:
            source = key[0] if isinstance(key, tuple) else key
            return [k for k in done.documents[source].keys if k != "quarantine"]
    raise AssertionError("a stage of another pipeline")


class _timed:
    """Adds the block's wall seconds to `done.seconds[name]`."""

    def __init__(self, done: Curated, name: str) -> None:
        self.done, self.name = done, name

    def __enter__(self) -> None:
        self.start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.done.seconds[self.name] = self.done.seconds.get(self.name, 0.0) + time.monotonic() - self.start
