"""Which items of an evaluation set stand in what a build trains on: a build folder in, item ids by set out. Nothing is measured here.

The build's recipe decontaminates (`decontaminate: {against: ...}`); its hits are read from the store, its bound from its recipe. An item counts
where it stands above the bound in a document of which something is trained on; with `action: cut` its words were cut out, and none is left.
May import curate.errors, curate.recipe, curate.store; pyarrow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import load_recipe
from curate.store import read_json

Found = Mapping[str, frozenset[str]]  # evaluation set -> items


def found_items(build: Path) -> Found:
    """Raises CurateError where the folder is no build, or one that looked for no evaluation set."""
    try:
        lineage = read_json(build / "manifest.json")["lineage"]
        store = build / json.loads((build / "log" / "build.json").read_text())["store"]
    except FileNotFoundError:
        raise CurateError("this is not a build folder", where=str(build), next="curate build-mixture RECIPE") from None
    given = load_recipe(build / "recipe.yaml").decontaminate
    stages = [one for one in lineage if one["stage"] == "signals" and one["of"][1:] == ["contamination"]]
    if given is None or not stages:
        raise CurateError(
            "this build looked for no evaluation set", where=str(build), next="add decontaminate: {against: FILES} to its recipe"
        )
    chosen = pq.read_table(build / "selection.parquet", columns=["source", "id", "split"]).filter(pc.field("split") == "train")
    trained = set(zip(chosen["source"].to_pylist(), chosen["id"].to_pylist(), strict=True))
    names = read_json(store / "signals" / stages[0]["fingerprint"] / "stage.json")["extra"]["sets"]
    found: dict[str, set[str]] = {name: set() for name in names}
    for stage in stages:
        for path in sorted((store / "signals" / stage["fingerprint"]).glob("*/contamination.hits.parquet")):
            for hit in pq.read_table(path, columns=["id", "eval_set", "item", "acts", "score"]).to_pylist():
                counts = hit["score"] > given.overlap and (hit["acts"] or given.passages == "act")
                if counts and given.action != "cut" and (stage["of"][0], hit["id"]) in trained:
                    found[hit["eval_set"]].add(hit["item"])
    return {name: frozenset(items) for name, items in found.items()}


def is_contaminated(found: Found, eval_set: str, item: str, number: int) -> bool:
    """By the item's id, or by its place in the set."""
    return not found[eval_set].isdisjoint((item, f"#{number}"))
