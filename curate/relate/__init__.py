"""Relations between documents, dear, once, blind to rules: buckets, shingle sets, clusters, web domains.

In: documents, signals (those of dedup.priority, and family url) and signatures of every source; references (references.py), which
are compared with and nothing else. Out: `Relations`, the finished stages. Nothing is dropped here: decide judges. Imports engine,
recipe, schema, signals, store, text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from curate import engine
from curate.recipe import Recipe
from curate.relate import buckets, clusters, shingles
from curate.relate.domains import relate_domains
from curate.relate.layout import Shard, layout
from curate.relate.references import Reference
from curate.store import Stage, Store

__all__ = ["Reference", "Relations", "Shard", "relate"]


@dataclass(frozen=True)
class Relations:
    """The finished relation stages and where every document stands."""

    shards: tuple[Shard, ...]  # of the recipe's documents, in the order of ordinals
    buckets: Stage
    shingles: Stage | None  # None where the recipe looks for no near duplicates
    clusters: Stage
    domains: dict[str, Stage] = field(default_factory=dict)  # source -> stage; sources without addresses have none
    references: tuple[Reference, ...] = ()
    reference_shards: tuple[Shard, ...] = ()  # their ordinals come before those of `shards`

    @property
    def all_shards(self) -> tuple[Shard, ...]:
        return (*self.reference_shards, *self.shards)


def compared_by_prompt(recipe: Recipe) -> tuple[str, ...]:
    """Sources whose documents are duplicates where they ask the same."""
    return tuple(name for name, s in recipe.sources.items() if s.type == "conversation" and "prompt" in recipe.dedup.exact.by)


def relate(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage],
    signatures: Mapping[str, Stage], workers: int, references: Sequence[Reference] = (),
) -> Relations:  # fmt: skip
    """Run what is not in the store yet. `signals`: (source, family) -> stage, with those that dedup.priority names."""
    foreign = {one.name: one for one in references}
    sources, own = [*foreign, *recipe.sources], documents
    documents = {**{name: one.documents for name, one in foreign.items()}, **documents}
    signatures = {**{name: one.signatures for name, one in foreign.items()}, **signatures}
    near = recipe.dedup.near
    shards = layout(sources, documents)
    by_url, prompted = "url" in recipe.dedup.exact.by, compared_by_prompt(recipe)
    grouped, tasks = buckets.tasks(store, sources, documents, signatures, near is not None, by_url, foreign, prompted)
    engine.run(tasks, workers=workers, label="buckets")
    grouped.finish(["all"])
    sets: Stage | None = None
    if near is not None:
        words = {name: one.words for name, one in foreign.items()} | {name: s.words for name, s in recipe.sources.items()}
        sets, tasks = shingles.tasks(store, sources, documents, signatures, grouped, near.ngram, words, near.fold)
        engine.run(tasks, workers=workers, label="shingles")
        sets.finish([shard.name for shard in shards])
    clustered, tasks = clusters.tasks(store, sources, documents, signals, grouped, sets, recipe.dedup, list(foreign))
    engine.run(tasks, workers=workers, label="clusters")
    ours = tuple(shard for shard in shards if shard.source not in foreign)
    clustered.finish([shard.name for shard in ours])
    domains = relate_domains(store, list(recipe.sources), own, signals, clustered, workers)
    theirs = tuple(shard for shard in shards if shard.source in foreign)
    return Relations(ours, grouped, sets, clustered, domains, tuple(references), theirs)
