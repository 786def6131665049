"""Relations between documents, dear, once, blind to rules: buckets, shingle sets, clusters, web domains.

In: documents, signals (families length and url) and signatures of every source. Out: `Relations`, the finished stages. Nothing is
dropped here: decide judges. Imports engine, recipe, schema, signals, store, text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from curate import engine
from curate.recipe import Recipe
from curate.relate import buckets, clusters, shingles
from curate.relate.domains import relate_domains
from curate.relate.layout import Shard, layout
from curate.store import Stage, Store

__all__ = ["Relations", "Shard", "relate"]


@dataclass(frozen=True)
class Relations:
    """The finished relation stages and where every document stands."""

    shards: tuple[Shard, ...]  # in the order of ordinals
    buckets: Stage
    shingles: Stage | None  # None where the recipe looks for no near duplicates
    clusters: Stage
    domains: dict[str, Stage] = field(default_factory=dict)  # source -> stage; sources without addresses have none


def relate(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage],
    signatures: Mapping[str, Stage], workers: int,
) -> Relations:  # fmt: skip
    """Run what is not in the store yet. `signals`: (source, family) -> stage; family length is needed of every source."""
    sources = list(recipe.sources)
    near = recipe.dedup.near
    shards = layout(sources, documents)
    names = [shard.name for shard in shards]
    grouped, tasks = buckets.tasks(store, sources, documents, signatures, near is not None)
    engine.run(tasks, workers=workers, label="buckets")
    grouped.finish(["all"])
    sets: Stage | None = None
    if near is not None:
        words = {source: recipe.sources[source].words for source in sources}
        sets, tasks = shingles.tasks(store, sources, documents, signatures, grouped, near.ngram, words)
        engine.run(tasks, workers=workers, label="shingles")
        sets.finish(names)
    lengths = {source: signals[source, "length"] for source in sources}
    clustered, tasks = clusters.tasks(store, sources, documents, lengths, grouped, sets, recipe.dedup)
    engine.run(tasks, workers=workers, label="clusters")
    clustered.finish(names)
    domains = relate_domains(store, sources, documents, signals, clustered, workers)
    return Relations(tuple(shards), grouped, sets, clustered, domains)
