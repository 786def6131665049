"""The stages of a finished build, opened again where they lie: what works on a build needs neither its raw input nor its recipe's clock.

In: a build folder, its recipe, its store. Out: `pipeline.Curated` as the build left it. Nothing is read but stage.json files. Imports
errors, pipeline, recipe, relate, store, inspect.corpus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.inspect.corpus import open_corpus, rows
from curate.pipeline import Curated
from curate.recipe import Recipe
from curate.relate import Reference, Relations
from curate.relate.layout import layout
from curate.store import Stage, Store, read_json


def reopen(build: Path, recipe: Recipe, store: Store) -> Curated:
    """Raises CurateError where the build is not finished, or the store has lost a stage."""
    with open_corpus(build) as corpus:
        listed = rows(corpus, "FROM stages")
    stages = {(r["stage"], r["source"], r["family"]): _stage(build, r) for r in listed if r["stage"] != "tokens"}
    if ("decide", "", "") not in stages:
        raise CurateError("this build is not finished: it has no decisions", where=str(build), next="curate build-mixture RECIPE")

    def of(kind: str) -> dict[str, Stage]:
        return {source: stage for (name, source, _), stage in stages.items() if name == kind}

    done = Curated(
        recipe, store, documents=of("documents"), signatures=of("signatures"), cuts=of("cuts"), decisions=stages["decide", "", ""],
        signals={(source, family): stage for (name, source, family), stage in stages.items() if name == "signals"},
    )  # fmt: skip
    references = _references(recipe, of("reference_documents"), of("reference_signatures"), of("reference_decide"))
    foreign = {one.name: one.documents for one in references}
    shards = layout([*foreign, *recipe.sources], {**foreign, **done.documents})
    done.relations = Relations(
        tuple(s for s in shards if s.source not in foreign), stages["buckets", "", ""], stages.get(("shingles", "", "")),
        stages["clusters", "", ""], of("domains"), references, tuple(s for s in shards if s.source in foreign),
    )  # fmt: skip
    return done


def _stage(build: Path, row: dict[str, Any]) -> Stage:
    folder = (build / row["path"]).resolve()
    try:
        info = read_json(folder / "stage.json")
    except FileNotFoundError:
        of = " ".join(part for part in (row["stage"], row["source"], row["family"]) if part)
        raise CurateError(
            "a stage of this build is gone from its store", where=str(build), found=f"{of}: {folder}",
            next="curate build-mixture RECIPE makes it again",
        ) from None  # fmt: skip
    return Stage(folder.parent.parent, info["name"], folder.name, info["version"], info["settings"], tuple(info["parents"]))


def _references(
    recipe: Recipe, documents: dict[str, Stage], signatures: dict[str, Stage], decide: dict[str, Stage]
) -> tuple[Reference, ...]:
    """In the recipe's order, those of one build by source: as references.prepare gives them. Their words were needed to compare."""
    rank = {name: i for i, name in enumerate(recipe.dedup.against)}
    names = sorted(documents, key=lambda name: (rank[name.partition(":")[0]], name))
    return tuple(
        Reference(name, "", documents[name], signatures[name], decide.get(name), name.partition(":")[2]) for name in names
    )
