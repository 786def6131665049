"""Stage "contamination_matches": where items stand in the documents of one source; the only part that reads texts.

In: documents shards, items. Out, per shard: documents.npy int64 (n_grams,), in how many documents each n-gram of the items stands;
matches.parquet (MATCHES), every place where a unit was found to FLOOR or more with all words weighing alike; parts.parquet (PARTS), what
of it was found, the parts of a match one after another, all of them. A preference is looked through twice, as its prompt with the chosen
answer (its text) and as its prompt with the rejected one, which is as if it stood behind its text (REJECTED). Blind to rules, to weights
and to the bound, so that another `overlap` or another corpus beside this one reads nothing again. Imports engine, store, text,
signals.measure (threads), index, folding, kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.engine import Task
from curate.recipe import Decontaminate
from curate.relate.contamination import folding, index, kernels
from curate.relate.contamination.index import Index
from curate.signals.measure import in_threads
from curate.store import Stage, Store, array_root, digest, table_root

VERSION = 2  # rejected answers of preferences; raise it when another place is a match, or another word of it
FLOOR = 0.3  # the lowest score that is kept; weights may lower a score or raise it
# So many words more might have been there: a part alone, an answer alone, a question with an answer or option beside it, one with its
# passage beside it. A question of n words found whole scores n / (n + 3) by itself: with the default bound of 0.75 one of nine words or
# fewer is no contamination, nor is an answer of 18.
DOUBT_WORDS = (3.0, 6.0, 1.0, 0.0)
ASKED = 0.6  # of a question's weight: less is not the question
BESIDE = 0.75  # of an answer's or option's: less does not stand beside it
SLACK_WORDS = 24  # n-grams are counted in windows half as long again as the unit, and so much longer
NEAR_WORDS = 32  # what belongs to a question stands within so many words of it, besides its own length
MOST_POSTINGS = 64  # an n-gram in more places of the items finds none of them: it is their template

MATCHES = pa.schema([("row", pa.int64()), ("unit", pa.int32()), ("first_word", pa.int64()), ("end_word", pa.int64())])
PARTS = pa.schema([
    ("start", pa.int64()), ("end", pa.int64()),  # bytes of the document's text; -1 where nothing of the part was found
    ("item_start", pa.int64()), ("item_end", pa.int64()),  # bytes of the part
    ("normalisation", pa.string()), ("words", pa.list_(pa.int32())),  # words of the part that were found, from 0
])  # fmt: skip


REJECTED = b"\n\n"  # stands between the text of a preference and its rejected answer, in places that are named


class Found(NamedTuple):
    """The matches of one batch."""

    gram_documents: np.ndarray  # (n_grams,) int64
    matches: pa.Table
    parts: pa.Table


def mode_of(given: Decontaminate) -> int:
    return kernels.FOLDED if "diacritics" in given.fold else kernels.MARKED


def settings_of(given: Decontaminate) -> dict[str, Any]:
    """Whatever a place and its score depend on, besides weights: of this stage's fingerprint, and of the scores'."""
    return {
        "ngram": given.ngram, "fold": sorted(given.fold), "words": folding.VERSION, "short": index.SHORT_NGRAM,
        "least": [index.LEAST_SHARE, index.LEAST_WORDS], "floor": [FLOOR, index.LOOSE_WEIGHT, *DOUBT_WORDS, ASKED, BESIDE],
        "windows": [SLACK_WORDS, NEAR_WORDS, MOST_POSTINGS],
    }  # fmt: skip


def tasks(
    store: Store, given: Decontaminate, items: Stage, documents: Mapping[str, Stage]
) -> tuple[dict[str, Stage], list[Task]]:
    """source -> stage, and a task for every shard."""
    settings = settings_of(given)
    stages, found = {}, []
    path = items.shard_path("all") / "items.parquet"
    for source, of in documents.items():
        stages[source] = stage = store.stage(
            "contamination_matches", version=VERSION, settings=settings, parents=[items.root, of.root]
        )
        for key in of.keys:
            if key != "quarantine":
                texts = of.shard_path(key) / "documents.parquet"
                args = (stage, key, texts, path, given.ngram, mode_of(given))
                found.append(Task(((stage, key),), write, args, max(1, texts.stat().st_size)))
    return stages, found


def write(stage: Stage, key: str, texts: Path, items: Path, ngram: int, mode: int) -> None:
    ix = index.load(items, ngram, mode)
    file = pq.ParquetFile(texts)
    first = 0
    documents = np.zeros(ix.n_grams, np.int64)
    matches, parts = [MATCHES.empty_table()], [PARTS.empty_table()]

    def batches() -> Iterator[pa.Table]:
        for group in range(file.num_row_groups):
            table, n = file.read_row_group(group, columns=["text", "chosen", "rejected"]), 0
            for part in text.batches(table.column(0)):
                yield table.slice(n, len(part))
                n += len(part)

    for n, found in in_threads(lambda batch: (len(batch), find_in_documents(ix, batch, mode)), batches()):
        documents += found.gram_documents
        row = pa.compute.add(found.matches["row"], first)
        matches.append(found.matches.set_column(0, MATCHES.field(0), row))
        parts.append(found.parts)
        first += n
    whole, pieces = pa.concat_tables(matches).combine_chunks(), pa.concat_tables(parts).combine_chunks()
    with stage.shard(key) as writer:
        np.save(writer.path / "documents.npy", documents)
        pq.write_table(whole, writer.path / "matches.parquet", compression="zstd")
        pq.write_table(pieces, writer.path / "parts.parquet", compression="zstd")
        root = digest(array_root(documents), table_root(whole), table_root(pieces))
        writer.done(first, root, {"matches": whole.num_rows})


def find_in_documents(ix: Index, documents: pa.Table, mode: int) -> Found:
    """Every match in a batch of documents (text, chosen, rejected): in their texts, and in the prompts of preferences with their rejected
    answers; what stands in the prompt alone is found in the text."""
    column = documents["text"].combine_chunks()
    texts = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    paired = np.flatnonzero(documents["rejected"].is_valid().to_numpy())
    if not len(paired):
        return find(ix, texts, mode)
    rows = documents.take(pa.array(paired)).to_pylist()
    asked = [row["text"].removesuffix(row["chosen"]) for row in rows]  # what stands before both answers, its blank line included
    seconds = pa.array([before + row["rejected"] for before, row in zip(asked, rows, strict=True)], texts.type)
    found = find(ix, pa.concat_arrays([texts, seconds]), mode, np.concatenate([np.arange(len(texts)), paired]))
    n_asked = np.array([len(before.encode()) for before in asked], np.int64)
    n_text = np.array([len(row["text"].encode()) for row in rows], np.int64)
    return _placed(ix, found, len(texts), paired, n_asked, n_text + len(REJECTED) - n_asked)


def _placed(ix: Index, found: Found, n: int, paired: np.ndarray, n_asked: np.ndarray, behind: np.ndarray) -> Found:
    """With matches in row n + i as those of document paired[i]: what is past its first n_asked[i] bytes stands behind[i] bytes further on, and
    matches of nothing past them go."""
    matches, parts = found.matches, found.parts
    row = matches["row"].to_numpy()
    which = np.maximum(row - n, 0)
    n_parts = np.diff(ix.unit_ptr)[matches["unit"].to_numpy()]
    of = np.repeat(np.arange(len(row)), n_parts)  # the match of each part
    start, end = (parts[name].to_numpy() for name in ("start", "end"))
    border = np.where(row >= n, n_asked[which], np.iinfo(np.int64).max)[of]
    moved = np.where(row >= n, behind[which], 0)[of]
    new = np.zeros(len(row), bool)
    new[of[end > border]] = True
    parts = parts.set_column(0, "start", pa.array(start + moved * (start >= border))).set_column(
        1, "end", pa.array(end + moved * (end > border))
    )
    matches = matches.set_column(0, "row", pa.array(np.where(row >= n, paired[which], row)))
    order = np.lexsort((matches["unit"].to_numpy(), matches["first_word"].to_numpy(), matches["row"].to_numpy()))
    order = order[((row < n) | new)[order]]
    first = np.cumsum(n_parts) - n_parts
    chosen = np.concatenate([np.zeros(0, np.int64), *(np.arange(first[i], first[i] + n_parts[i]) for i in order)])
    return Found(found.gram_documents, matches.take(pa.array(order)), parts.take(pa.array(chosen)))


def find(ix: Index, texts: pa.Array, mode: int, of: np.ndarray | None = None) -> Found:
    """Every match in a batch of texts; rows are places in the batch. `of`: the document of each text, where one has several."""
    data, offsets = text.buffers(texts)
    ptr, start, end, key = folding.words(data, offsets, mode)
    hits = _hits(ix, ptr, key)
    rows = hits[0].astype(np.int64) if of is None else of[hits[0]]
    pairs = np.unique(rows * max(ix.n_grams, 1) + hits[2])
    documents = np.bincount(pairs % max(ix.n_grams, 1), minlength=ix.n_grams)[: ix.n_grams]
    every = _places(ix, ptr, key, hits)
    # One window shows one place of an item, and a short item may stand in it twice: the words that were found are taken away, and the
    # documents they stood in are looked through again until nothing more is found.
    new = every
    while new:
        for _, _, places in new:
            key[places[places >= 0]] = 0
        docs = sorted({d for d, _, _ in new})
        own_ptr = np.concatenate([[0], np.cumsum((ptr[1:] - ptr[:-1])[docs])]).astype(np.int64)
        own_key = np.concatenate([key[ptr[d] : ptr[d + 1]] for d in docs])
        found = _places(ix, own_ptr, own_key, _hits(ix, own_ptr, own_key))
        new = [(docs[d], u, np.where(at >= 0, at - own_ptr[d] + ptr[docs[d]], -1)) for d, u, at in found]
        every = every + new
    return Found(documents, *_tables(ix, every, data, offsets, ptr, start, end))


def _places(
    ix: Index, ptr: np.ndarray, key: np.ndarray, hits: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> list[tuple[int, int, np.ndarray]]:
    """(document, unit, place in the batch of every word of the unit, -1 where it is not) of every match to FLOOR or more."""
    window = _windows(ix, *hits)
    unit = window[:, 1]
    found_ptr = np.concatenate([[0], np.cumsum((ix.part_ptr[ix.unit_ptr[1:]] - ix.part_ptr[ix.unit_ptr[:-1]])[unit])]).astype(
        np.int64
    )
    found = np.empty(int(found_ptr[-1]), np.int64)
    kernels.align(window, ptr, key, *hits, ix.postings_ptr, ix.postings, ix.key, ix.part_ptr, ix.part_kind,
                  ix.unit_ptr, NEAR_WORDS, found_ptr, found)  # fmt: skip
    score, _ = scored(ix, unit, found_ptr, found >= 0, ix.base_weight, np.zeros(len(window), bool))
    return [
        (int(window[w, 0]), int(unit[w]), found[found_ptr[w] : found_ptr[w + 1]]) for w in np.flatnonzero(score >= FLOOR).tolist()
    ]


def scored(
    ix: Index, unit: np.ndarray, found_ptr: np.ndarray, is_found: np.ndarray, weight: np.ndarray, is_beside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(score float64 of every match, overlap float64 of its parts one after another)."""
    score = np.empty(len(unit))
    overlap = np.empty(int(np.diff(ix.unit_ptr)[unit].sum()))
    kernels.scores(unit, found_ptr, is_found, weight, ix.part_ptr, ix.part_kind, ix.is_proof, ix.unit_ptr, is_beside,
                   np.array(DOUBT_WORDS), ASKED, BESIDE, score, overlap)  # fmt: skip
    return score, overlap


def _hits(ix: Index, ptr: np.ndarray, key: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    room = len(key) // 16 + 64
    while True:
        doc, place, gram = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.int32)
        n = int(kernels.scan(ptr, key, ix.lengths, ix.table, ix.number, ix.bloom, doc, place, gram))
        if n <= room:
            order = np.argsort(place[:n], kind="stable")  # an n-gram of five is found two words after one of three
            return doc[order], place[order], gram[order]
        room = n


def _windows(ix: Index, doc: np.ndarray, place: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """int64 (n, 4): document, unit, first and end word."""
    room = len(doc) // 4 + 64
    while True:
        out = np.empty((room, 4), np.int64)
        n = int(kernels.windows(doc, place, gram, ix.gram_n, ix.postings_ptr, ix.postings, ix.part_of, ix.part_ptr, ix.unit_of,
                                ix.unit_ptr, ix.least, SLACK_WORDS, MOST_POSTINGS, out))  # fmt: skip
        if n <= room:
            return out[:n]
        room = n


def _tables(
    ix: Index, found: list[tuple[int, int, np.ndarray]], data: np.ndarray, offsets: np.ndarray, ptr: np.ndarray, start: np.ndarray,
    end: np.ndarray,
) -> tuple[pa.Table, pa.Table]:  # fmt: skip
    """Matches by (document, first word, unit). They are few: Python is quick enough."""
    rows: list[dict] = []
    parts: list[dict] = []
    for d, u, places in sorted(found, key=lambda one: (one[0], one[2][one[2] >= 0].min(), one[1])):
        here = places[places >= 0]
        rows.append({"row": d, "unit": u, "first_word": here.min() - ptr[d], "end_word": here.max() + 1 - ptr[d]})
        base = ix.part_ptr[ix.unit_ptr[u]]
        for part in range(int(ix.unit_ptr[u]), int(ix.unit_ptr[u + 1])):
            p0, p1 = int(ix.part_ptr[part]), int(ix.part_ptr[part + 1])
            at = places[p0 - base : p1 - base]
            words = np.flatnonzero(at >= 0)
            if not len(words):
                parts.append({"start": -1, "end": -1, "item_start": -1, "item_end": -1, "normalisation": None, "words": []})
                continue
            own = [bytes(data[start[w] : end[w]]) for w in at[words].tolist()]
            theirs = [ix.texts[part][ix.start[p0 + w] : ix.end[p0 + w]] for w in words.tolist()]
            parts.append({
                "start": start[at[words].min()] - offsets[d], "end": end[at[words].max()] - offsets[d],
                "item_start": ix.start[p0 + words[0]], "item_end": ix.end[p0 + words[-1]],
                "normalisation": normalisation(own, theirs), "words": words,
            })  # fmt: skip
    return pa.Table.from_pylist(rows, MATCHES), pa.Table.from_pylist(parts, PARTS)


def normalisation(own: list[bytes], theirs: list[bytes]) -> str:
    """The first of folding.NAMES under which all pairs of words are equal."""
    for mode in (kernels.PLAIN, kernels.MARKED):
        if np.array_equal(_keys(own, mode), _keys(theirs, mode)):
            return folding.NAMES[mode]
    return folding.NAMES[kernels.FOLDED]


def _keys(words: list[bytes], mode: int) -> np.ndarray:
    data = np.frombuffer(b" ".join(words) + b" ", np.uint8)
    return folding.words(data, np.array([0, len(data)], np.int64), mode)[3]
