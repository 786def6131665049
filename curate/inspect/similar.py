"""`curate similar BUILD --text-file F`: the documents of a finished build that say nearly the same as each text of F.

In: a build folder, its recipe and store, a file of texts. Out: plain data. Candidates share a band key with the text (similar_index);
each is then compared exactly, by sets of shingles, and only candidates' texts are read. Imports errors, engine, recipe, sources,
store, text, signals.measure (what signatures are), relate.passages, inspect.corpus, inspect.similar_index.

A quotation inside a long document is not found: as a whole they are not similar. datasketch's LSH Ensemble, which is for containment,
does not help here: it chooses its own rows per band and needs every min-hash (448 bytes a document with 16 x 7), and signatures
keep the band keys only. The screen says so where a text is short, and how likely a document of a given similarity is found at all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.errors import CurateError
from curate.inspect import similar_index
from curate.inspect.corpus import open_corpus, rows
from curate.recipe import License, Limits, Near, Recipe, Source
from curate.relate.passages import shared_passages
from curate.signals.measure import SIGNATURE_SEED, signatures_stage
from curate.sources import Bad, check_source, read
from curate.sources.formats import BY_SUFFIX
from curate.sources.listing import RawFile
from curate.sources.repair import PROSE, repair
from curate.sources.stream import strip_compression
from curate.store import Stage, Store

MOST_COMPARED = 2000  # candidates of one text that are read and compared, those that share most bands first (a guess)
SHORT_SHINGLES = 100  # a text of fewer is a quotation rather than a document (a guess)
SHOWN_CHANCES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9)  # of Jaccard, for the index's recall
COLUMNS = ["id", "source_id", "text", "title", "url", "file", "byte_offset"]


class Given(NamedTuple):
    """One text of the file, as the documents of some sources were read: repaired or not, its words cut in their way."""

    text: str
    keys: np.ndarray  # (bands,) uint64
    shingles: np.ndarray  # (n,) uint64, sorted, distinct


class Place(NamedTuple):
    """A shard of documents and what lies beside it."""

    source: str
    key: str
    documents: Path
    signatures: Path
    index_key: str
    decisions: Path


class Candidate(NamedTuple):
    number: int  # of the text
    place: int
    row: int
    n_bands: int  # that they share


def similar(build: Path, recipe: Recipe, store: Store, file: Path, *, jaccard: float = 0.5, limit: int = 10) -> dict[str, Any]:
    """Per text of `file` the `limit` most similar documents of at least `jaccard`, kept or dropped, the most similar first.

    Raises CurateError where the file has no words, the build is not finished, or its words were cut in another way.
    """
    names, texts, n_bad = read_texts(file)
    found = alike(build, recipe, store, names, texts, jaccard=jaccard, limit=limit)
    if not any(text["n_shingles"] for text in found["texts"]):
        raise CurateError("no text of this file has a word to compare", where=str(file), found=f"{len(texts)} texts")
    return {"build": str(build), "file": str(file), "jaccard": jaccard, "limit": limit, "n_bad": n_bad, **found}


def alike(
    build: Path, recipe: Recipe, store: Store, names: Sequence[str], texts: Sequence[str], *, jaccard: float, limit: int
) -> dict[str, Any]:
    """{index: {bands, rows, ngram, is_default, documents, chance}, texts: [{name, n_bytes, n_shingles, is_short, candidates, compared,
    hits}]}, a text each."""
    near = recipe.dedup.near or Near()
    places, signatures = _places(build, recipe, store)
    index = similar_index.build(store, signatures)
    ways = {name: (source.words, source.type in PROSE) for name, source in recipe.sources.items()}
    given = {way: _given(texts, *way, near) for way in sorted(set(ways.values()))}
    n_shingles = [max(len(of[i].shingles) for of in given.values()) for i in range(len(texts))]
    found = _candidates(index, places, {p.source: given[ways[p.source]] for p in places}, len(texts))
    hits = _hits(places, found, {p.source: given[ways[p.source]] for p in places}, recipe, near, jaccard, limit)
    return {
        "index": {"bands": near.bands, "rows": near.rows, "ngram": near.ngram, "is_default": recipe.dedup.near is None,
                  "documents": sum(stage.info()["rows"] for stage in signatures),
                  "chance": {f"{j:g}": 1 - (1 - j**near.rows) ** near.bands for j in sorted({*SHOWN_CHANCES, jaccard})}},
        "texts": [
            {"name": name, "n_bytes": len(texts[i].encode()), "n_shingles": n_shingles[i],
             "is_short": 0 < n_shingles[i] < SHORT_SHINGLES, "candidates": found[i][0], "compared": len(found[i][1]), "hits": hits[i]}
            for i, name in enumerate(names)
        ],
    }  # fmt: skip


def read_texts(path: Path) -> tuple[list[str], list[str], int]:
    """(names, texts without the blank ones, number of records that could not be read).

    A plain file is one text, whatever its name; JSONL and Parquet have one per record."""
    if not path.is_file():
        raise CurateError("there is no such file", where="--text-file", found=str(path))
    kind = BY_SUFFIX.get(Path(strip_compression(path.name)).suffix.lower(), "text")
    source = Source(name=path.name, read=[str(path)], format=kind, license=License(declared="LicenseRef-unknown"))
    limits = Limits()
    check_source(source, [RawFile(path, path.name, kind, path.stat().st_size, 0, 0)], limits)
    names: list[str] = []
    texts: list[str] = []
    bad: list[Bad] = []
    for item in read(path, source, limits):
        if isinstance(item, Bad):
            bad.append(item)
        elif item.fields["text"].strip():
            own = item.fields["source_id"]
            at = f"byte {item.byte_offset:,}" if item.byte_offset >= 0 else f"record {len(names) + 1}"
            names.append(path.name if kind == "text" else f"{path.name} {own or at}")
            texts.append(item.fields["text"])
    if not texts:
        causes = sorted({one.cause for one in bad} - {"empty_text"})
        found = f"{len(bad)} records that cannot be read ({', '.join(causes)})" if causes else "nothing but white space"
        raise CurateError("this file has no text", where=str(path), found=found)
    return names, texts, sum(one.cause != "empty_text" for one in bad)


def _places(build: Path, recipe: Recipe, store: Store) -> tuple[list[Place], list[Stage]]:
    """Every documents shard in the order of sources and ids, and the signatures stages."""
    with open_corpus(build) as corpus:
        listed = {(row["stage"], row["source"]): row for row in rows(corpus, "FROM stages WHERE family = ''")}
    if ("decide", "") not in listed:
        raise CurateError("this build is not finished: it has no decisions", where=str(build), next="curate build-mixture RECIPE")
    places, signatures = [], []
    for name, source in recipe.sources.items():
        documents = listed["documents", name]
        stage = signatures_stage(store, recipe, source, documents["root"])
        _check_signatures(build, name, stage, listed["signatures", name])
        signatures.append(stage)
        folder, decide = build / documents["path"], build / listed["decide", ""]["path"]
        for key, shard in stage.info()["shards"].items():
            decisions = decide / f"{name}.{key}" / "decisions.parquet"
            places.append(Place(name, key, folder / key / "documents.parquet", stage.shard_path(key), shard["root"], decisions))
    return places, signatures


def _check_signatures(build: Path, source: str, expected: Stage, listed: dict[str, Any]) -> None:
    """The signatures of the build are there, and made as those of a text are made today."""
    where, again = f"{build}: source {source}", "curate build-mixture RECIPE measures again what has changed"
    path = build / listed["path"]
    if not (path / "stage.json").exists():
        raise CurateError("the signatures of this build are gone from its store", where=where, found=str(path), next=again)
    if listed["fingerprint"] == expected.fingerprint:
        return
    from curate.store import read_json

    made = read_json(path / "stage.json")
    theirs, ours = (
        {**of, "version": version} for of, version in ((made["settings"], made["version"]), (expected.settings, expected.version))
    )
    changed = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
    raise CurateError(
        "the signatures of this build follow another definition of words or shingles, and no text can be compared with them",
        where=where, found=", ".join(f"{key} {theirs.get(key, 'none')}" for key in changed),
        allowed=", ".join(f"{key} {ours.get(key, 'none')}" for key in changed), next=again,
    )  # fmt: skip


def _given(texts: Sequence[str], words: str, is_prose: bool, near: Near) -> list[Given]:
    read_as = [repair(one) if is_prose else one for one in texts]
    found: list[Given] = []
    for batch in text.batches(pa.array(read_as, pa.large_string())):
        data, offsets = text.buffers(batch)
        keys, _ = text.signatures_of(
            data, offsets, None, words, ngram=near.ngram, bands=near.bands, rows=near.rows, seed=SIGNATURE_SEED, fold=near.fold
        )
        ptr, hashes = text.shingle_sets_of(data, offsets, words, near.ngram, near.fold)
        for i in range(len(batch)):
            found.append(Given(read_as[len(found)], keys[i], hashes[ptr[i] : ptr[i + 1]]))
    return found


def _candidates(
    index: Stage, places: Sequence[Place], given: dict[str, list[Given]], n_texts: int
) -> list[tuple[int, list[Candidate]]]:
    """By text: how many documents share a band key with it, and the MOST_COMPARED that share most, in the order of places."""
    best: list[list[Candidate]] = [[] for _ in range(n_texts)]
    n_found = [0] * n_texts
    for p, place in enumerate(places):
        asked = [i for i, one in enumerate(given[place.source]) if len(one.shingles)]
        keys = np.array([given[place.source][i].keys for i in asked])
        for i, of in zip(asked, similar_index.candidates(index, place.index_key, keys) if asked else [], strict=True):
            if len(of):
                bands = np.load(place.signatures / "bands.npy", mmap_mode="r")
                shared = (np.asarray(bands[of]) == given[place.source][i].keys).sum(axis=1)
                best[i] += (Candidate(i, p, int(row), int(n)) for row, n in zip(of, shared, strict=True))
                n_found[i] += len(of)
                if len(best[i]) > 2 * MOST_COMPARED:
                    best[i] = _most_shared(best[i])
    return [(n, sorted(_most_shared(listed), key=lambda c: (c.place, c.row))) for n, listed in zip(n_found, best, strict=True)]


def _most_shared(found: list[Candidate]) -> list[Candidate]:
    return heapq.nsmallest(MOST_COMPARED, found, key=lambda c: (-c.n_bands, c.place, c.row))


def _hits(
    places: Sequence[Place], found: Sequence[tuple[int, list[Candidate]]], given: dict[str, list[Given]], recipe: Recipe, near: Near,
    jaccard: float, limit: int,
) -> list[list[dict[str, Any]]]:  # fmt: skip
    """By text: its hits, best first."""
    wanted: dict[int, dict[int, list[int]]] = {}  # place -> row -> numbers of texts
    for _, listed in found:
        for one in listed:
            wanted.setdefault(one.place, {}).setdefault(one.row, []).append(one.number)
    best: list[list[tuple[float, float, int, int, dict[str, Any]]]] = [[] for _ in found]  # of equals the earlier place wins
    for p, of in sorted(wanted.items()):
        place = places[p]
        words = recipe.sources[place.source].words
        for row, document, shingles in _documents(place, sorted(of), words, near):
            for number in of[row]:
                alike = compared(given[place.source][number].shingles, shingles)
                if alike["jaccard"] >= jaccard:
                    heapq.heappush(best[number], (alike["jaccard"], alike["containment"], -p, -row, {**document, **alike}))
                    if len(best[number]) > limit:
                        heapq.heappop(best[number])
    hits: list[list[dict[str, Any]]] = []
    for number, heap in enumerate(best):
        in_order = sorted(heap, key=lambda hit: hit[:4], reverse=True)
        of_text = ((places[-p], -row, document) for _, _, p, row, document in in_order)
        hits.append([_hit(place, row, document, given[place.source][number], recipe, near) for place, row, document in of_text])
    return hits


def _documents(place: Place, wanted: Sequence[int], words: str, near: Near) -> Iterator[tuple[int, dict[str, Any], np.ndarray]]:
    """(row, columns, shingles) of the wanted rows of one shard, a few MB of text at a time."""
    file = pq.ParquetFile(place.documents)
    first, asked = 0, np.array(wanted, np.int64)
    for group in range(file.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        own = asked[np.searchsorted(asked, first) : np.searchsorted(asked, first + n)]
        if len(own):
            table = file.read_row_group(group, columns=COLUMNS).take(pa.array(own - first)).combine_chunks()
            done = 0
            for batch in text.batches(table.column("text")):
                ptr, hashes = text.shingle_sets_of(*text.buffers(batch), words, near.ngram, near.fold)
                for i, document in enumerate(table.slice(done, len(batch)).to_pylist()):
                    yield int(own[done + i]), document, hashes[ptr[i] : ptr[i + 1]]
                done += len(batch)
        first += n


def compared(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Exact similarity of two sets of shingles. containment: of the smaller set in the other, as in the table duplicates."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return {
        "jaccard": shared / max(len(a) + len(b) - shared, 1),
        "containment": shared / max(min(len(a), len(b)), 1),
        "n_shared_shingles": shared,
        "n_shingles": len(b),
    }


def _hit(place: Place, row: int, document: dict[str, Any], given: Given, recipe: Recipe, near: Near) -> dict[str, Any]:
    """What is shown of a hit; `passage` is the longest run of equal words, in bytes of both texts, None where it is short."""
    words = recipe.sources[place.source].words
    theirs = document.pop("text")
    passages = shared_passages(given.text, theirs, most=1, min_words=near.ngram, words_a=words, words_b=words)
    passage = None
    if passages:
        start, end, start_there, end_there = passages[0]
        shown = given.text.encode()[start:end].decode()
        passage = {"start": start, "end": end, "document_start": start_there, "document_end": end_there, "text": shown}
    columns = ["keep", "reason", "witness_id"]
    decided = pq.read_table(place.decisions, columns=columns).slice(row, 1).to_pylist()[0]
    return {"source": place.source, **document, "decision": decided, "passage": passage}
