"""What stands in several places of a corpus: lines, paragraphs and runs of words, each with its count. Blind to rules and cuts.

In: documents, and family url for the domains. Out: stages "signals" of the families of signals.repeats, for the sources that a cut or
a rule asks for them; rows as the documents. Spans hold every line that stands in two documents, with its counts and whether it is
the first place; how many documents are enough, per what, and what stays is decided by cuts alone, which read no text. Imports
engine, recipe, signals (records), store, text and relate's domains and layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curate import engine, text
from curate.engine import Task
from curate.recipe import Recipe
from curate.relate.domains import number_domains, of_domains
from curate.relate.layout import layout
from curate.relate.repeats import lines, substrings
from curate.relate.repeats.counts import VERSION, Part, count
from curate.signals.family import Family
from curate.signals.repeats import FAMILIES, MIN_DOCUMENTS, SUBSTRINGS, asked, min_words
from curate.store import Stage, Store

__all__ = ["measure"]

Signals = dict[tuple[str, str], Stage]  # (source, family) -> stage


def measure(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage], workers: int
) -> Signals:
    """(source, family) -> its finished stage; {} where nothing asks. The corpus of a family is the sources that ask for it."""
    of_source = {source: [family.name for family in asked(recipe, source)] for source in recipe.sources}
    sources = [source for source, names in of_source.items() if names]
    if not sources:
        return {}
    numbers = number_domains(store, of_domains(sources, documents, signals), signals, workers)
    corpora = {name: _parts(recipe, [s for s in sources if name in of_source[s]], documents, numbers) for name in FAMILIES}
    of_lines = {name: parts for name, parts in corpora.items() if parts and name != SUBSTRINGS.name}
    found = _lines(store, of_lines, documents, numbers, workers) if of_lines else {}
    if parts := corpora[SUBSTRINGS.name]:
        found |= _substrings(store, parts, documents, numbers, min_words(recipe), workers)
    return found


def _parts(recipe: Recipe, sources: Sequence[str], documents: Mapping[str, Stage], numbers: Mapping[str, Stage]) -> list[Part]:
    shards = [shard for source in sources for shard in layout([source], documents)]
    return [Part(i, shard, recipe.sources[shard.source].words, numbers.get(shard.source)) for i, shard in enumerate(shards)]


def _sources(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.source for part in parts))


def _finish(stages: Mapping[str, Stage], parts: Sequence[Part]) -> None:
    for source, stage in stages.items():
        stage.finish([part.key for part in parts if part.source == source])


def _parents(source: str, documents: Mapping[str, Stage], numbers: Mapping[str, Stage]) -> list[str]:
    return [documents[source].root, *([numbers[source].root] if source in numbers else [])]


def _family_stages(
    store: Store, family: Family, documents: Mapping[str, Stage], parts: Sequence[Part], counts: Stage
) -> dict[str, Stage]:
    return {
        source: store.stage("signals", version=family.version, settings={"family": family.name}, parents=[documents[source].root, counts.root])
        for source in _sources(parts)
    }  # fmt: skip


def _lines(
    store: Store, corpora: Mapping[str, list[Part]], documents: Mapping[str, Stage], numbers: Mapping[str, Stage], workers: int
) -> Signals:
    """Lines and paragraphs: each shard is read once for the keys of both, and once for their spans."""
    settings = {"unicode": text.UNICODE_VERSION}
    keys = {
        name: {
            source: store.stage("repeat_keys", version=VERSION, settings={"of": name, **settings}, parents=_parents(source, documents, numbers))
            for source in _sources(parts)
        } for name, parts in corpora.items()
    }  # fmt: skip
    # The same shard has another number in the corpus of another family, and one text.
    shards = {(part.source, part.key): part for parts in corpora.values() for part in parts}
    own = {at: [name for name, parts in corpora.items() if at[0] in keys[name]] for at in shards}
    tasks = []
    for at, part in shards.items():
        stages = {name: keys[name][part.source] for name in own[at]}
        tasks.append(Task(tuple((s, part.key) for s in stages.values()), lines.write_all_keys, (part, stages), part.weight))
    engine.run(tasks, workers=workers, label="lines")
    for name, parts in corpora.items():
        _finish(keys[name], parts)
    counts = {name: count(store, keys[name], parts, MIN_DOCUMENTS, workers) for name, parts in corpora.items()}
    found = {name: _family_stages(store, FAMILIES[name], documents, parts, counts[name]) for name, parts in corpora.items()}
    tasks = []
    for at in shards:
        names = own[at]
        parts_of = {name: next(part for part in corpora[name] if (part.source, part.key) == at) for name in names}
        stages = {name: found[name][at[0]] for name in names}
        work = (parts_of, stages, counts, {name: keys[name][at[0]] for name in names})
        tasks.append(Task(tuple((stage, at[1]) for stage in stages.values()), lines.write_families, work, shards[at].weight))
    engine.run(tasks, workers=workers, label="repeated lines")
    for name, parts in corpora.items():
        _finish(found[name], parts)
    return {(source, name): stage for name, stages in found.items() for source, stage in stages.items()}


def _substrings(
    store: Store, parts: list[Part], documents: Mapping[str, Stage], numbers: Mapping[str, Stage], n: int, workers: int
) -> Signals:
    words = {part.source: part.words for part in parts}
    settings = {source: {"min_words": n, **text.segmentation(of)} for source, of in words.items()}
    anchors = {
        source: store.stage("anchors", version=substrings.VERSION, settings=settings[source], parents=[documents[source].root])
        for source in words
    }  # fmt: skip
    work = [Task(((anchors[p.source], p.key),), substrings.write_anchors, (anchors[p.source], p, n), p.weight) for p in parts]
    engine.run(work, workers=workers, label="substrings")
    _finish(anchors, parts)
    repeats = substrings.repeat_anchors(store, anchors, parts, workers)
    keys = {}
    for source in words:
        parents = [*_parents(source, documents, numbers), repeats.root]
        keys[source] = store.stage(
            "repeat_keys", version=VERSION, settings={"of": SUBSTRINGS.name, **settings[source]}, parents=parents
        )
    tasks = []
    for p in parts:
        args = (keys[p.source], p, repeats, anchors[p.source], n)
        tasks.append(Task(((keys[p.source], p.key),), substrings.write_windows, args, p.weight))
    engine.run(tasks, workers=workers, label="windows")
    _finish(keys, parts)
    counts = count(store, keys, parts, 1, workers)
    found = _family_stages(store, SUBSTRINGS, documents, parts, counts)
    tasks = []
    for p in parts:
        given = (found[p.source], p, counts, keys[p.source], repeats, anchors[p.source], n)
        tasks.append(Task(((found[p.source], p.key),), substrings.write_family, given, p.weight))
    engine.run(tasks, workers=workers, label="repeated substrings")
    _finish(found, parts)
    return {(source, SUBSTRINGS.name): stage for source, stage in found.items()}
