"""Decontamination: which documents hold items of the recipe's evaluation sets, where, and how much of them.

In: documents and the files of `decontaminate.against`. Out: family contamination of every source that is looked through, and nothing
where the recipe asks for none. Three stages: "contamination_items" (the sets, read once), "contamination_matches" (per source; the only
one that reads texts) and "signals" of the family (weights by document frequency over all sources). The first two are steps on the way
and may be deleted. Imports engine, recipe, store.

How an item is found. Words are runs of letters and digits (folding.py). N-grams of five words of an item (three, where a part is
shorter than ten) are looked up in the text; where enough of one part stand in one window, its words are compared one by one (local
alignment), and answers and options beside the question. So the evidence is words in one place, never spread over a document, and a
changed word costs that word, not the five n-grams it stands in. Short answers alone prove nothing, options alone neither.
"""

from __future__ import annotations

from collections.abc import Mapping

from curate import engine
from curate.recipe import Recipe
from curate.relate.contamination import items, matches, scores
from curate.signals.contamination import FAMILY
from curate.store import Stage, Store

__all__ = ["check", "measure"]


LOOKED_AT = 1000  # items of a set that are read before the work begins


def check(recipe: Recipe) -> None:
    """The evaluation files are there and their first items have parts. Raises CurateError."""
    for one in items.sets_of(recipe) if recipe.decontaminate else ():
        items.read_set(one, recipe.limits.document_bytes, most=LOOKED_AT)


def measure(store: Store, recipe: Recipe, documents: Mapping[str, Stage], workers: int) -> dict[tuple[str, str], Stage]:
    """(source, "contamination") -> its finished stage. `extra` of it has what is known of the sets: items, and items too short."""
    given = recipe.decontaminate
    if given is None:
        return {}
    own = {source: stage for source, stage in documents.items() if given.sources is None or source in given.sources}
    read, tasks = items.tasks(store, recipe)
    engine.run(tasks, workers=1, label="evaluation sets")
    counts = read.finish(["all"])["counts"]
    matched, tasks = matches.tasks(store, given, read, own)
    engine.run(tasks, workers=workers, label="decontaminate")
    for source, stage in matched.items():
        stage.finish([key for key in own[source].keys if key != "quarantine"])
    found, tasks = scores.tasks(store, given, read, matched, own)
    engine.run(tasks, workers=workers, label="contamination")
    names = [name.removeprefix("items ") for name in counts if name.startswith("items ")]
    sets = {name: {"items": counts[f"items {name}"], "short": counts[f"short {name}"]} for name in names}
    for source, stage in found.items():
        stage.finish(matched[source].keys, {"sets": sets})
    return {(source, FAMILY.name): stage for source, stage in found.items()}
