"""Raw files to decisions: the stages of curate in the order of the flow, each finished before the next begins.

A recipe and a store in, the stages' folders out. Imports the rooms of curate; mixture and train stand above it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import engine
from curate.errors import CurateError, nearest
from curate.recipe import Recipe
from curate.recipe.bands import hint
from curate.store import Stage, Store
from curate.units import show_bytes

if TYPE_CHECKING:
    from curate.relate import Relations

log = logging.getLogger(__name__)

STAGES = ("ingest", "measure", "relate", "decide", "tokenize", "mixture")

# What one byte of text becomes on disk, all stages together. Measured: 8.9 MB for 6.2 MB of the texts of tests/real.py with 16-bit
# tokens (1.4); 32-bit tokens add half a byte. Rounded up, and printed as an estimate. Where every document collides with another, as
# in a corpus of templates, the stored shingle sets alone are 0.7 to 1 byte (relate/shingles.py; `curate stats` says what they are).
STORE_BYTES_PER_TEXT_BYTE = 2


@dataclass
class Curated:
    """The stages of one recipe so far; a field is empty until its stage has run."""

    recipe: Recipe
    store: Store
    documents: dict[str, Stage] = field(default_factory=dict)  # source -> stage
    signals: dict[tuple[str, str], Stage] = field(default_factory=dict)  # (source, family) -> stage
    signatures: dict[str, Stage] = field(default_factory=dict)
    cuts: dict[str, Stage] = field(default_factory=dict)  # source -> stage, of sources with cuts
    relations: Relations | None = None
    decisions: Stage | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def stages(self) -> dict[str, Any]:
        """Stages by name, then by source (and family): what corpus.duckdb is made of."""
        found: dict[str, Any] = {"documents": self.documents, "signals": self.signals, "signatures": self.signatures}
        if self.cuts:
            found["cuts"] = self.cuts
        if self.relations is not None:
            found |= {"buckets": self.relations.buckets, "clusters": self.relations.clusters}
            if self.relations.shingles is not None:
                found["shingles"] = self.relations.shingles
            found["domains"] = {(source, "domains"): stage for source, stage in self.relations.domains.items()}
        if self.decisions is not None:
            found["decide"] = self.decisions
        return found

    def named_stages(self, **more: dict[str, Stage]) -> list[tuple[tuple[str, ...], Stage]]:
        """Every stage with the source and family it is of, in the order of the flow."""
        found: list[tuple[tuple[str, ...], Stage]] = []
        for value in [*self.stages().values(), *more.values()]:
            items = value.items() if isinstance(value, dict) else [((), value)]
            found += [((key,) if isinstance(key, str) else key, stage) for key, stage in items]
        return found

    def reference_stages(self) -> dict[str, dict[str, Stage]]:
        """The stages of dedup.against by kind and name: for corpus.duckdb and the lineage, in no account."""
        found: dict[str, dict[str, Stage]] = {}
        for one in self.relations.references if self.relations else ():
            for kind, stage in one.stages.items():
                found.setdefault(kind, {})[one.name] = stage
        return found

    def lineage(self, out: Path, **more: dict[str, Stage]) -> list[dict[str, Any]]:
        """Every stage a manifest in the folder `out` stands for; those of references say where they lie, maybe in another store."""
        own: list[tuple[str, tuple[str, ...], Stage, dict[str, str]]] = [(s.name, n, s, {}) for n, s in self.named_stages(**more)]
        others = [
            (kind, (name,), s, {"path": Path(os.path.relpath(s.path, out)).as_posix()})
            for kind, of in self.reference_stages().items() for name, s in of.items()
        ]  # fmt: skip
        return [
            {"stage": kind, "of": list(name), "fingerprint": s.fingerprint, "root": s.root, **where}
            for kind, name, s, where in [*own, *others]
        ]

    def folders(self) -> dict[tuple[str, str, str], Path]:
        """(stage, source, family) -> the stage's folder; "" where a stage is not of one source or family."""
        found = {}
        for of, stage in self.named_stages():
            source, family = (*of, "", "")[:2]
            found[stage.name, source, family] = stage.path
        return found

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the block's wall seconds to `seconds[name]`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def check(recipe: Recipe) -> None:
    """What can be known before the first document: files are there, signals exist, bounds fit their type."""
    from curate import cuts, membership
    from curate.recipe import licenses
    from curate.relate import contamination, priority, references
    from curate.rules import rules_of
    from curate.signals import signal_names

    licenses.check(recipe)
    membership.check(recipe)
    recipe.check_places()
    for source in recipe.sources.values():
        recipe.files(source)
        cuts.entries(recipe, source)
    _check_words(recipe)
    contamination.check(recipe)
    references.check(recipe)
    priority.check(recipe.dedup.priority, {k: v for s in recipe.sources.values() for k, v in signal_names(recipe, s).items()})
    near = recipe.dedup.near
    if near is not None and (said := hint(near.jaccard, near.bands, near.rows)):
        log.warning("%s", said)
    for source in recipe.sources.values():
        known = signal_names(recipe, source)
        for rule in rules_of(recipe.rules, source.name):
            if rule.signal not in known:
                close = nearest(rule.signal, known)
                raise CurateError(
                    f"no signal {rule.signal!r} for source {source.name!r}", where=f"rule {rule.name}",
                    allowed=", ".join(close or sorted(known)), next=f"did you mean {close[0]!r}?" if close else "",
                )  # fmt: skip
            if rule.keep and rule.signal == "domain_drop_ratio":
                allowed = "max: or min:, since its percentiles would depend on the rules that make it"
                raise CurateError(f"signal {rule.signal!r} has no keep:", where=f"rule {rule.name}", allowed=allowed)
            is_text = known[rule.signal] == "string"
            if is_text != (rule.op == "equals" and all(isinstance(v, str) for v in rule.equals or [])):
                allowed = "equals: [values]" if is_text else "min:, max:, keep:, or equals: a number"
                raise CurateError(f"signal {rule.signal!r} is {known[rule.signal]}", where=f"rule {rule.name}", allowed=allowed)


def _check_words(recipe: Recipe) -> None:
    """Word tokenizers are installed, and sources compared for near duplicates by name cut their words alike."""
    from curate.text import tokenizers

    words = {name: source.words for name, source in recipe.sources.items()}
    for name, language in words.items():
        if language not in tokenizers.OURS:
            tokenizers.check(language, f"sources.{name}.words")
    near = recipe.dedup.near
    across = near.across if near and near.across != "all" else []  # `all` finds near duplicates among those that cut alike
    kinds = {words[name]: name for name in reversed(across)}
    if len(kinds) > 1:
        raise CurateError(
            "near duplicates are runs of equal words, and these sources cut their words in different ways", where="dedup.near.across",
            found=", ".join(f"{name}: {words[name]}" for name in sorted(kinds.values())), allowed="the same words: for all of them",
            next="dedup.within: [SOURCE] looks for near duplicates inside one",
        )  # fmt: skip


def disk_estimate(recipe: Recipe) -> tuple[int, int]:
    """(raw bytes as stored, estimated bytes of the whole store for this recipe)."""
    from curate.relate import references

    read = [path for source in [*recipe.sources.values(), *references.sources(recipe)] for path in recipe.files(source)]
    raw = 0
    for path in read:
        found = path.rglob("*") if path.is_dir() else [path]
        raw += sum(p.stat().st_size for p in found if p.is_file())
    unpacked = 4  # a guess: gz and zst of web text unpack about fourfold
    text = sum(p.stat().st_size * (unpacked if p.suffix in (".gz", ".zst", ".parquet") else 1) for p in read if p.is_file())
    return raw, int(max(raw, text) * STORE_BYTES_PER_TEXT_BYTE)


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


def curate(recipe: Recipe, store: Store, *, workers: int, until: str = "decide") -> Curated:
    """Run the stages up to `until` (ingest, measure, relate, decide; anything later means decide)."""
    from curate import cuts, decide, documents, relate
    from curate.relate import contamination, references, repeats
    from curate.signals import after_cuts, measure

    done = Curated(recipe, store)
    steps = STAGES[: STAGES.index(until) + 1]
    with done.timed("ingest"):
        done.documents = documents.ingest(store, recipe, workers)
    if "measure" in steps:
        with done.timed("measure"):
            done.signals, done.signatures, tasks = measure.tasks(store, recipe, done.documents)
            engine.run(tasks, workers=workers, label="measure")
            for (source, _), stage in [*done.signals.items(), *(((s, ""), stage) for s, stage in done.signatures.items())]:
                stage.finish([key for key in done.documents[source].keys if key != "quarantine"])
        with done.timed("relate"):  # overlaps: families whose spans are found between documents
            done.signals |= repeats.measure(store, recipe, done.documents, done.signals, workers)
            done.signals |= contamination.measure(store, recipe, done.documents, workers)
        with done.timed("measure"):
            done.cuts = cuts.cut(store, recipe, done.documents, done.signals, workers)
            done.signals |= after_cuts.measure(store, recipe, done.documents, done.signals, done.cuts, workers)
    if "relate" in steps:
        with done.timed("relate"):
            others = references.prepare(store, recipe, workers)
            done.relations = relate.relate(store, recipe, done.documents, done.signals, done.signatures, workers, others)
    if "decide" in steps:
        assert done.relations is not None
        with done.timed("decide"):
            done.decisions = decide.decide(store, recipe, done.documents, done.signals, done.relations, workers)
    return done


def render_counts(done: Curated) -> str:
    """What ingest counted, a line per source: for runs that stop before there is a decision."""
    lines = [f"{'source':<12}{'read':>12}{'documents':>12}{'quarantined':>12}{'repaired':>10}{'text':>10}"]
    for name, stage in done.documents.items():
        n = stage.info()["counts"]
        row = (n["n_read"], n["n_documents"], n["n_quarantined"])
        lines.append(
            f"{name:<12}" + "".join(f"{v:>12,}" for v in row) + f"{n['n_repaired']:>10,}{show_bytes(n['text_bytes']):>10}"
        )
    return "\n".join(lines)
