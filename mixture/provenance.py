"""Who made the rows that a model wrote: the column `extra` of documents in, tokens by generator, kind and seed out, for the manifest.

What `extra.provenance` says of a row (docs/conversations.md, docs/instruction_text.md) is put into one value, canonical JSON of {generator,
kind, seed}; a row that says nothing of them has none. Imports curate's recipe and store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Recipe
from curate.store import canonical_json

KEYS = ("generator", "kind", "seed")  # kind: generated, translated, retrieved, ...: the method
NONE = "none"  # nobody says that a model wrote it
MOST_SEEDS = 100  # of a source: where every row has a seed of its own, it is the row's and none of the manifest
N_STATED = 50  # entries of a component, most tokens first


def sources_of(recipe: Recipe) -> set[str]:
    """Sources whose rows may say who wrote them; of the others `extra` need not be read."""
    return {name for name, source in recipe.sources.items()
            if source.is_conversation or source.type == "conversation" or source.provenance
            or any(target.startswith("provenance.") for target in source.fields)}  # fmt: skip


def of_rows(extra: pa.ChunkedArray) -> pa.Array:
    """string (n,): the value of every row, null where nothing is said."""
    says = pc.fill_null(pc.match_substring(extra, '"provenance":'), False).to_numpy(zero_copy_only=False)
    found = np.full(len(says), None, object)
    at = np.flatnonzero(says)
    found[at] = [_value(text) for text in extra.take(pa.array(at)).to_pylist()]
    return pa.array(found.tolist(), pa.string())


def _value(extra: str) -> str | None:
    own = json.loads(extra)
    own = own.get("provenance") if isinstance(own, dict) else None
    said = {key: own[key] for key in KEYS if isinstance(own.get(key), str)} if isinstance(own, dict) else {}
    return canonical_json(said).decode() if said else None


def without_many_seeds(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of one source; without seeds where there are more than MOST_SEEDS."""
    known = {value: json.loads(value) for value in pc.unique(values).to_pylist() if value is not None}
    if len({said["seed"] for said in known.values() if "seed" in said}) <= MOST_SEEDS:
        return values
    plain: dict[str | None, str | None] = {None: None}
    for value, said in known.items():
        rest = {key: said[key] for key in KEYS[:2] if key in said}
        plain[value] = canonical_json(rest).decode() if rest else None
    return pa.chunked_array(
        [pa.array([plain[value] for value in chunk.to_pylist()], pa.string()) for chunk in values.chunks], pa.string()
    )


def stated(values: Sequence[str | None], tokens: Sequence[int]) -> dict[str, Any]:
    """{generators: {name: tokens}, provenance: [{generator, kind, seed, tokens}]}, most tokens first. `tokens` by value; those of rows that name
    no generator are "none"."""
    generators: dict[str, int] = {}
    entries: list[dict[str, Any]] = []
    for value, n in zip(values, tokens, strict=True):
        if n:
            said = json.loads(value) if value is not None else {}
            name = said.get("generator", NONE)
            generators[name] = generators.get(name, 0) + n
            entries += [{**said, "tokens": n}] if said else []
    entries.sort(key=lambda one: (-one["tokens"], [one.get(key, "") for key in KEYS]))
    shown = entries[:N_STATED]
    if len(entries) > N_STATED:
        shown.append({"others": len(entries) - N_STATED, "tokens": sum(one["tokens"] for one in entries[N_STATED:])})
    return {"generators": dict(sorted(generators.items(), key=lambda pair: (-pair[1], pair[0]))), "provenance": shown}
