"""`curate remove BUILD --ids F`: which documents a list names, what became of them, and what that is like them remains.

In: a build and names of its documents; then the build without them. Out: plain data; removal_screen.py renders it. It removes nothing
itself: the command builds anew with remove: in the recipe. Texts are read of the removed documents and of candidates. Imports errors,
recipe, store, inspect.{corpus, diff, samples, similar}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate import text
from curate.errors import CurateError, nearest
from curate.inspect import similar
from curate.inspect.corpus import Connection, open_corpus, rows
from curate.inspect.diff import diff
from curate.inspect.samples import texts_of
from curate.recipe import REMOVED, Near, Recipe
from curate.store import Store

N_ALIKE = 1000  # of one removed document, most similar first: more say nearly the same than anybody reads
N_NEAREST = 100_000  # names that an unknown one is compared with
TRAINED, HELD_OUT, OVER_BUDGET, KEPT = "trained", "held out", "not trained", "kept"  # of a document that remains


def find(build: Path, names: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(documents: {name, source, id, source_id, title, url, file}, names that no document has: {name, nearest}).

    A name is an id, or the id that its origin gave a document. Raises CurateError where no name is one."""
    columns = "n.name, d.source, d.id, d.source_id, d.title, d.url, d.file"
    given = "(SELECT unnest($1::VARCHAR[]) AS name)"
    # a join for each column: one on either of two would compare everything with everything
    parts = [f"SELECT {columns} FROM documents d JOIN {given} n ON d.{key} = n.name" for key in ("id", "source_id")]
    some = f"SELECT DISTINCT source_id AS name FROM documents WHERE source_id IS NOT NULL LIMIT {N_NEAREST}"
    with open_corpus(build) as corpus:
        found = rows(corpus, f"{' UNION '.join(parts)} ORDER BY ALL", list(names))
        has = {row["name"] for row in found}
        missing = [name for name in names if name not in has]
        known = [row["name"] for row in rows(corpus, some)] if missing else []
    unknown = [{"name": name, "nearest": nearest(name, known)} for name in missing]
    once = {row["id"]: row for row in reversed(found)}  # named twice, by both ids
    if not once:
        raise CurateError(
            "no document of this build has any of these ids or source_ids", where=str(build), found=", ".join(names[:5]),
            next=f'curate sql {build} "select id, source, source_id, title from documents limit 10"',
        )  # fmt: skip
    return sorted(once.values(), key=lambda row: (row["source"], row["id"])), unknown


def removal(
    build: Path, without: Path, recipe: Recipe, store: Store, documents: Sequence[Mapping[str, Any]],
    unknown: Sequence[Mapping[str, Any]], *, jaccard: float = 0.5,
) -> dict[str, Any]:  # fmt: skip
    """{build, without, removed: [{...document, was, alike}], unknown, index, jaccard, remaining, diff}.

    `recipe`, `store`: of the build `without` them. was: {kept, reason, split, uses, tokens, first, last (stream indices)} in `build`.
    alike: kept documents of `without`, {source, id, source_id, title, url, jaccard, containment, in_cluster, state, came_back}, the most
    similar first: came_back was dropped before, its witness was removed; in_cluster: of the removed one's cluster, maybe less
    similar than `jaccard`. remaining: how many different documents these are, by state."""
    ids = [document["id"] for document in documents]
    with open_corpus(build) as corpus:
        was = _was(corpus, ids)
        texts = texts_of(corpus, ids)
    with open_corpus(without) as corpus:
        gone = {row["id"] for row in rows(corpus, "SELECT id FROM decisions WHERE NOT keep AND reason = ?", REMOVED)}
        clusters = _clusters(corpus, ids)
        alike, index = _alike(without, recipe, store, ids, [texts[i]["text"] or "" for i in ids], jaccard)
        listed = _together(corpus, recipe, documents, texts, alike, clusters)
        named = {one["id"] for own in listed.values() for one in own}
        states = _states(corpus, sorted(named))
    with open_corpus(build) as corpus:
        before = _kept(corpus, sorted(named))
    if missed := [i for i in ids if i not in gone]:
        raise AssertionError(f"documents that were to be removed are still there: {missed[:3]}")
    removed = []
    for document in documents:
        own = [
            {**one, "state": states[one["id"]], "came_back": before.get(one["id"]) is False} for one in listed[document["id"]]
        ]  # fmt: skip
        removed.append({**document, "was": was[document["id"]], "alike": own})
    remaining: dict[str, int] = {}
    for state in states.values():
        remaining[state] = remaining.get(state, 0) + 1
    return {
        "build": str(build), "without": str(without), "removed": removed, "unknown": list(unknown), "index": index, "jaccard": jaccard,
        "remaining": remaining, "came_back": len({o["id"] for r in removed for o in r["alike"] if o["came_back"]}),
        "diff": diff(build, without),
    }  # fmt: skip


def _was(corpus: Connection, ids: list[str]) -> dict[str, dict[str, Any]]:
    query = """
      SELECT d.id, d.keep AS kept, d.reason, max(s.split) AS split, count(s.id) FILTER (s.token_start = 0 AND s.split = 'train') AS uses,
        coalesce(sum(s.n_tokens) FILTER (s.split = 'train'), 0)::BIGINT AS tokens, min(s.stream_index) AS first, max(s.stream_index) AS last
      FROM decisions d LEFT JOIN (SELECT * FROM selection WHERE id IN (SELECT unnest($1::VARCHAR[]))) s ON s.id = d.id AND s.source = d.source
      WHERE d.id IN (SELECT unnest($1::VARCHAR[])) GROUP BY d.id, d.keep, d.reason"""
    return {row.pop("id"): row for row in rows(corpus, query, ids)}


def _kept(corpus: Connection, ids: list[str]) -> dict[str, bool]:
    query = "SELECT id, keep FROM decisions WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    return {row["id"]: row["keep"] for row in rows(corpus, query, ids)} if ids else {}


def _clusters(corpus: Connection, ids: list[str]) -> dict[str, list[str]]:
    """Removed document -> the kept documents of its cluster."""
    query = """
      SELECT r.id AS removed, m.id FROM duplicates r JOIN duplicates m ON m.cluster_id = r.cluster_id
      JOIN decisions d ON d.id = m.id AND d.source = m.source
      WHERE r.id IN (SELECT unnest(?::VARCHAR[])) AND d.keep AND m.id <> r.id ORDER BY ALL"""
    found: dict[str, list[str]] = {}
    for row in rows(corpus, query, ids):
        found.setdefault(row["removed"], []).append(row["id"])
    return found


def _alike(
    build: Path, recipe: Recipe, store: Store, ids: Sequence[str], texts: Sequence[str], jaccard: float
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """(removed document -> kept hits, what the index finds)."""
    found = similar.alike(build, recipe, store, ids, texts, jaccard=jaccard, limit=N_ALIKE)
    hits = {text["name"]: [hit for hit in text["hits"] if hit["decision"]["keep"]] for text in found["texts"]}
    return hits, found["index"]


def _together(
    corpus: Connection, recipe: Recipe, documents: Sequence[Mapping[str, Any]], texts: Mapping[str, Mapping[str, Any]],
    alike: Mapping[str, list[dict[str, Any]]], clusters: Mapping[str, list[str]],
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Removed document -> those like it, hits of the index and members of its cluster, each with its exact similarity."""
    more = sorted({i for own in clusters.values() for i in own})
    others = texts_of(corpus, more)
    query = "SELECT id, source, source_id, title, url FROM documents WHERE id IN (SELECT unnest(?::VARCHAR[]))"
    named = {row["id"]: row for row in rows(corpus, query, more)} if more else {}
    found: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        id_ = document["id"]
        own = {hit["id"]: {key: hit[key] for key in ("source", "id", "source_id", "title", "url", "jaccard", "containment")}
               for hit in alike.get(id_, [])}  # fmt: skip
        members = clusters.get(id_, [])
        for member in (m for m in members if m not in own):
            both = ((of["source"], of["text"] or "") for of in ({**texts[id_], "source": document["source"]}, others[member]))
            compared = similar.compared(*(_shingles(recipe, *one) for one in both))
            own[member] = {**named[member], **{key: compared[key] for key in ("jaccard", "containment")}}
        for key, one in own.items():
            one["in_cluster"] = key in members
        found[id_] = sorted(own.values(), key=lambda one: (-one["jaccard"], one["source"], one["id"]))
    return found


def _shingles(recipe: Recipe, source: str, of: str) -> Any:
    near = recipe.dedup.near or Near()
    data, offsets = text.buffers(pa.array([of], pa.large_string()))
    return text.shingle_sets_of(data, offsets, recipe.sources[source].words, near.ngram, near.fold)[1]


def _states(corpus: Connection, ids: list[str]) -> dict[str, str]:
    """What becomes of kept documents in the build."""
    query = """SELECT id, max(split) AS split FROM selection WHERE id IN (SELECT unnest(?::VARCHAR[])) GROUP BY id"""
    has_mixture = bool(rows(corpus, "FROM phases LIMIT 1"))
    split = {row["id"]: row["split"] for row in rows(corpus, query, ids)} if ids else {}
    if not has_mixture:
        return dict.fromkeys(ids, KEPT)
    return {i: {"train": TRAINED, "held_out": HELD_OUT}.get(split.get(i, ""), OVER_BUDGET) for i in ids}
