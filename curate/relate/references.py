"""Corpora that the recipe's documents are compared with and that are not trained on (`dedup.against`).

In: the recipe. Out: `Reference`s, one per source of another build or per set of files: finished stages of documents and signatures,
and which of the documents count. A build's stages are used where they lie, kept documents only; files are ingested into this store
and measured for signatures alone. In relate they are extra sources before the recipe's own, named `name:source` or `name`; in decisions,
accounts and mixtures they have no row. Imports documents, inspect.corpus (a build's stages), recipe, signals.measure, store, text.

Scopes: every document of the recipe is compared with every reference, whatever dedup.near.across, dedup.within and those of exact
say; references are never compared among themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate import documents, engine, text
from curate.errors import CurateError
from curate.recipe import License, Quantity, Recipe, Source, load_recipe
from curate.recipe import Reference as Asked
from curate.relate.layout import Shard
from curate.signals import measure
from curate.store import Stage, Store, read_json


@dataclass(frozen=True)
class Reference:
    """One source of another build, or the files of one `read:`."""

    name: str  # `name:source` or `name`
    words: str  # how its words are cut
    documents: Stage
    signatures: Stage
    decide: Stage | None = None  # of the build: only what it kept counts
    source: str = ""  # its name there

    @property
    def stages(self) -> dict[str, Stage]:
        """By kind, as corpus.duckdb and the lineage name them."""
        found = {"reference_documents": self.documents, "reference_signatures": self.signatures}
        return found if self.decide is None else {**found, "reference_decide": self.decide}

    @property
    def roots(self) -> list[str]:
        """What its documents and their number depend on."""
        return [self.documents.root, *([self.decide.root] if self.decide else [])]

    def counts(self, shard: Shard) -> np.ndarray | None:
        """bool (rows,): which documents of the shard are compared with; None: all."""
        if self.decide is None:
            return None
        path = self.decide.shard_path(f"{self.source}.{shard.key}") / "decisions.parquet"
        return pq.read_table(path, columns=["keep"]).column(0).to_numpy()


def check(recipe: Recipe) -> None:
    """Everything that can be known before work: files are there; builds are, with signatures like those this recipe asks for."""
    from curate.text import tokenizers

    for name, asked in recipe.dedup.against.items():
        if asked.read:
            if asked.words != tokenizers.RULES:
                tokenizers.check(asked.words, f"dedup.against.{name}.words")
            with _said_of(name):
                recipe.files(_source(name, asked))
            words = {asked.words}
        else:
            words = {one.words for one in _of_build(recipe, name, asked)}
        own = {source.words for source in recipe.sources.values()}
        if recipe.dedup.near and not words & own:
            raise CurateError(
                "near duplicates are runs of equal words, and this reference cuts its words as no source does",
                where=f"dedup.against.{name}", found=f"words: {', '.join(sorted(words))}", allowed=f"words: {', '.join(sorted(own))}",
            )  # fmt: skip


def check_out(recipe: Recipe, out: Path) -> None:
    """A build is no reference of itself: all its documents would be duplicates."""
    for name, asked in recipe.dedup.against.items():
        if asked.build is not None and recipe.path(asked.build, f"dedup.against.{name}").resolve() == out.resolve():
            raise CurateError("a build cannot be compared with itself", where=f"dedup.against.{name}", found=str(out),
                              next="--out another folder, or leave this reference out")  # fmt: skip


def sources(recipe: Recipe) -> list[Source]:
    """The references that are read from files, as sources."""
    return [_source(name, asked) for name, asked in recipe.dedup.against.items() if asked.read]


def prepare(store: Store, recipe: Recipe, workers: int) -> tuple[Reference, ...]:
    """The finished stages of every reference, in the recipe's order; files are ingested and measured here."""
    read = {source.name: source for source in sources(recipe)}
    done = _ingested(store, recipe, read, workers) if read else {}
    found: list[Reference] = []
    for name, asked in recipe.dedup.against.items():
        found += [done[name]] if name in done else _of_build(recipe, name, asked)
    return tuple(found)


def _source(name: str, asked: Asked) -> Source:
    given = {key: getattr(asked, key) for key in ("read", "format", "fields", "id", "suffixes", "words")}
    return Source(
        name=name, license=License(declared="LicenseRef-reference"), **given
    )  # nobody trains on it: no licence is asked


def _ingested(store: Store, recipe: Recipe, read: dict[str, Source], workers: int) -> dict[str, Reference]:
    whole = recipe.model_copy(
        update={"sources": read, "sample": Quantity(Fraction(1), "share")}
    )  # a sample is compared with all of it
    with _said_of(*read):
        stages = documents.ingest(store, whole, workers)
    found: dict[str, Reference] = {}
    tasks: list[engine.Task] = []
    for name, stage in stages.items():
        signatures, more = measure.signature_tasks(store, whole, read[name], stage)
        tasks += more
        found[name] = Reference(name, read[name].words, stage, signatures)
    engine.run(tasks, workers=workers, label="references")
    for one in found.values():
        one.signatures.finish(documents.document_keys(one.documents))
    return found


@contextlib.contextmanager
def _said_of(*names: str) -> Iterator[None]:
    """Errors about a source of such a name are about the reference."""
    try:
        yield
    except CurateError as error:
        for name in names:
            error.where = error.where.replace(f"sources.{name}", f"dedup.against.{name}")
        raise


def _of_build(recipe: Recipe, name: str, asked: Asked) -> list[Reference]:
    """One per source of the build. Raises CurateError where it is no build, is damaged, or was measured in another way."""
    where = f"dedup.against.{name}"
    folder = recipe.path(str(asked.build), where)
    rows = _stage_rows(folder, where)
    decide = next((r for r in rows if r["stage"] == "decide"), None)
    if decide is None:
        raise CurateError(
            "this build stopped before it decided what to keep", where=where, found=str(folder),
            next="build it to the end, or to --until decide",
        )  # fmt: skip
    theirs = load_recipe(folder / "recipe.yaml", base=folder)
    found = []
    for row in (r for r in rows if r["stage"] == "documents"):
        signatures = next(r for r in rows if r["stage"] == "signatures" and r["source"] == row["source"])
        words = theirs.sources[row["source"]].words
        measured = _stage(folder, signatures, where)
        _check_signatures(recipe, measured, words, f"{where} ({row['source']})")
        kept = _stage(folder, decide, where)
        found.append(Reference(f"{name}:{row['source']}", words, _stage(folder, row, where), measured, kept, row["source"]))
    return found


def _stage_rows(folder: Path, where: str) -> list[dict[str, Any]]:
    from curate.inspect.corpus import NAME, open_corpus, rows

    if not (folder / NAME).is_file():
        raise CurateError(
            "this is not a build: it has no corpus.duckdb",
            where=where,
            found=str(folder),
            allowed="a folder that build-mixture made",
        )
    with open_corpus(folder) as corpus:
        return rows(
            corpus, "SELECT stage, source, path FROM stages WHERE stage IN ('documents', 'signatures', 'decide') ORDER BY ALL"
        )


def _stage(build: Path, row: Mapping[str, Any], where: str) -> Stage:
    """The finished stage where it lies: store/<name>/<fingerprint>."""
    folder = (build / row["path"]).resolve()
    try:
        info = read_json(folder / "stage.json")
    except FileNotFoundError:
        what = f"the {row['stage']} of this build are gone from its store"
        raise CurateError(what, where=where, found=str(folder), next=f"build it again: {build}") from None
    return Stage(folder.parent.parent, info["name"], folder.name, info["version"], info["settings"], tuple(info["parents"]))


# What of the settings of signatures a recipe sets, and where.
_KEYS = {name: f"dedup.near.{name}" for name in ("ngram", "bands", "rows", "fold")}


def _check_signatures(recipe: Recipe, theirs: Stage, words: str, where: str) -> None:
    """Keys and hashes compare only where they were made alike. Without `near` only the hash of the text is compared."""
    source = Source(name=theirs.name, read=["-"], words=words, license=License(declared="LicenseRef-reference"))
    ours = measure.signatures_stage(Store(theirs.store), recipe, source, "")
    wanted = dict(ours.settings)
    if theirs.version != ours.version or any(theirs.settings.get(k) != v for k, v in text.segmentation(words).items()):
        raise CurateError(
            "this build was measured by another version of veski, whose words or hashes differ", where=where,
            next="build it again with this version",
        )  # fmt: skip
    if recipe.dedup.near is None:
        return
    differ = {k: theirs.settings.get(k) for k in (*wanted, *theirs.settings) if theirs.settings.get(k) != wanted.get(k)}
    if not differ:
        return
    known = {key: value if value is not None else [] for key, value in differ.items() if key in _KEYS}
    shown = "; ".join(f"{key} {value}" for key, value in differ.items())
    asked = "; ".join(f"{key} {wanted.get(key)}" for key in differ)
    raise CurateError(
        "the signatures of this build were made with other settings, so they cannot be compared", where=where, found=shown,
        allowed=asked, next="set " + ", ".join(f"{_KEYS[key]}: {value}" for key, value in known.items()) + " here, or build it again",
    )  # fmt: skip
