"""The items in memory: their words, and where every n-gram of them stands. Small beside any corpus; built again by every process.

In: items.parquet. Out: `Index`. A *unit* is what is looked for together: question, answers and options of an item, or its passage alone.
Items that read the same are one unit. Imports kernels, folding, text.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.relate.contamination import folding, kernels

SHORT_NGRAM = 3  # words; of parts shorter than two n-grams: an n-gram of five rarely outlives one changed word in eight
LEAST_SHARE = 0.25  # of a part's words that n-grams must cover in one window before anything is compared word by word
LEAST_WORDS = 3
LOOSE_WEIGHT = 0.5  # of a word of a part too short for n-grams ("yes", "1991"): it stands in many places by chance

KINDS = {"question": kernels.QUESTION, "answer": kernels.ANSWER, "options": kernels.OPTION, "passage": kernels.PASSAGE}


class Item(NamedTuple):
    """One item as one unit shows it: `parts` are the names of the unit's parts in this item."""

    eval_set: str
    item: str
    parts: tuple[str, ...]
    acts: bool  # False: a passage of an item that has a question
    number: int  # of the item, over all sets


@dataclass(frozen=True)
class Index:
    """Arrays of kernels.py. Words are numbered over all parts, parts over all units."""

    ngram: int
    units: tuple[tuple[Item, ...], ...]
    passage_of: dict[int, tuple[int, ...]]  # unit with a question -> units of the passages of its items
    texts: tuple[bytes, ...]  # of every part
    start: np.ndarray  # (n_words,) int64: bytes of the part's text
    end: np.ndarray
    key: np.ndarray  # (n_words,) uint64
    part_ptr: np.ndarray  # (n_parts + 1,) int64
    part_of: np.ndarray  # (n_words,) int32
    part_kind: np.ndarray  # (n_parts,) int8
    is_proof: np.ndarray  # (n_parts,) bool: counts when it stands alone
    unit_of: np.ndarray  # (n_parts,) int32
    unit_ptr: np.ndarray  # (n_units + 1,) int64
    least: np.ndarray  # (n_parts,) int32: words that n-grams must cover
    base_weight: np.ndarray  # (n_words,) float64: 1, LOOSE_WEIGHT where no n-gram covers the word
    lengths: np.ndarray  # int64, ascending: how long n-grams are
    gram_n: np.ndarray  # (n_grams,) int32
    gram_texts: np.ndarray  # (n_grams,) int64: different parts it stands in
    postings_ptr: np.ndarray  # (n_grams + 1,) int64
    postings: np.ndarray  # int32: words that begin it
    table: np.ndarray
    number: np.ndarray
    bloom: np.ndarray

    @property
    def n_grams(self) -> int:
        return len(self.gram_n)

    @property
    def n_unsearched(self) -> int:
        """Items none of whose parts has three words: they cannot be told from chance."""
        has = np.diff(self.part_ptr) >= SHORT_NGRAM
        ok = {
            item.number
            for u, items in enumerate(self.units)
            if has[self.unit_ptr[u] : self.unit_ptr[u + 1]].any()
            for item in items
        }
        return len({item.number for items in self.units for item in items}) - len(ok)


class _Row(NamedTuple):
    """A row of items.parquet and its words: `first`..`last` of all rows' words."""

    eval_set: str
    item: str
    part: str
    kind: str
    text: str
    first: int
    last: int


class _Unit(NamedTuple):
    rows: list[_Row]  # of the first item that reads so
    is_proof: list[bool]
    items: list[Item]


@functools.lru_cache(maxsize=2)
def load(path: Path, ngram: int, mode: int) -> Index:
    """The index of an items.parquet; `mode`: of kernels, what words tell apart."""
    table = pq.read_table(path)
    data, offsets = text.buffers(pa.concat_arrays([*table["text"].chunks, pa.array([], pa.large_string())]))
    ptr, start, end, key = folding.words(data, offsets, mode)
    columns = [table[name].to_pylist() for name in ("eval_set", "item", "part", "kind", "text")]
    rows = [_Row(*row) for row in zip(*columns, ptr[:-1].tolist(), ptr[1:].tolist(), strict=True)]
    units, passage_of = _units(rows, key)
    parts = [row for unit in units for row in unit.rows]
    none = np.empty(0, np.int64)
    order = np.concatenate([none, *(np.arange(row.first, row.last) for row in parts)])
    sizes = np.array([row.last - row.first for row in parts], np.int64)
    begin = np.repeat(np.repeat(offsets[:-1], np.diff(ptr))[order[np.cumsum(sizes) - sizes]], sizes) if parts else none
    part_ptr, unit_ptr = _pointers(sizes), _pointers([len(unit.rows) for unit in units])
    kind = np.array([KINDS[row.kind] for row in parts], np.int8)
    lengths = np.unique([min(SHORT_NGRAM, ngram), ngram]).astype(np.int64)
    own_n = np.where(sizes >= 2 * ngram, ngram, lengths[0])
    words = key[order]
    hashes, places, gram_n = _grams(words, part_ptr, own_n)
    distinct, first, gram = np.unique(hashes, return_index=True, return_inverse=True)
    by_gram = np.argsort(gram, kind="stable")
    postings = places[by_gram].astype(np.int32)
    postings_ptr = _pointers(np.bincount(gram, minlength=len(distinct)))
    part_of = np.repeat(np.arange(len(parts)), sizes).astype(np.int32)
    base = np.repeat(np.where(sizes >= own_n, 1.0, LOOSE_WEIGHT), sizes)
    least = np.maximum(np.minimum(LEAST_WORDS, sizes), np.ceil(LEAST_SHARE * sizes)).astype(np.int32)
    slots, bits = 1 << (2 * len(distinct) + 1).bit_length(), 1 << (16 * len(distinct) + 64).bit_length()
    slot, number, bloom = np.zeros(slots, np.uint64), np.zeros(slots, np.int32), np.zeros(bits // 64, np.uint64)
    kernels.fill_table(distinct, slot, number, bloom)
    return Index(
        ngram, tuple(tuple(unit.items) for unit in units), passage_of, tuple(row.text.encode() for row in parts),
        start[order] - begin, end[order] - begin, words, part_ptr, part_of, kind,
        np.array([proof for unit in units for proof in unit.is_proof], bool),
        np.repeat(np.arange(len(units)), np.diff(unit_ptr)).astype(np.int32), unit_ptr, least, base, lengths,
        gram_n[first].astype(np.int32), _texts_of(gram, part_of[places], len(distinct), words, part_ptr), postings_ptr, postings,
        slot, number, bloom,
    )  # fmt: skip


def _units(rows: list[_Row], key: np.ndarray) -> tuple[list[_Unit], dict[int, tuple[int, ...]]]:
    """Units in the order in which they first appear, and those of the passages of each."""
    found: dict[tuple[tuple[str, bytes], ...], int] = {}
    units: list[_Unit] = []
    passages: dict[int, set[int]] = {}
    for number, own in enumerate(_items(rows)):
        # Parts of equal words once (an answer that is also an option is that option); parts without a word are none.
        by_words = {key[row.first : row.last].tobytes(): row for row in reversed(own) if row.last > row.first}
        whole = list(reversed(by_words.values()))
        asked = [row for row in whole if row.kind != "passage"]
        beside = [row for row in whole if row.kind == "passage"]
        numbers = []
        for together in filter(None, [asked, *([row] for row in beside)]):
            name = tuple((row.kind, key[row.first : row.last].tobytes()) for row in together)
            if name not in found:
                found[name] = len(units)
                # An answer that is quoted from the passage stands wherever the passage does.
                proof = [r.kind in ("question", "passage") or (r.kind == "answer" and all(r.text not in p.text for p in beside))
                         for r in together]  # fmt: skip
                units.append(_Unit(together, proof, []))
            acts = together is asked or not asked
            first = together[0]
            item = Item(first.eval_set, first.item, tuple(row.part for row in together), acts, number)
            units[found[name]].items.append(item)
            numbers.append(found[name])
        if asked and beside:
            passages.setdefault(numbers[0], set()).update(numbers[1:])
    return units, {unit: tuple(sorted(of)) for unit, of in passages.items()}


def _items(rows: list[_Row]) -> list[list[_Row]]:
    """The rows of each item: they stand together, and a part's name is in it once."""
    found: list[list[_Row]] = []
    seen: set[str] = set()
    for row in rows:
        if not found or found[-1][0][:2] != row[:2] or row.part in seen:
            found.append([])
            seen = set()
        seen.add(row.part)
        found[-1].append(row)
    return found


def _pointers(sizes: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _grams(words: np.ndarray, part_ptr: np.ndarray, own_n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hash, first word, n) of every n-gram of every part that is as long as its own n."""
    parts = [(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64))]
    for p, n in enumerate(own_n.tolist()):
        first, last = int(part_ptr[p]), int(part_ptr[p + 1])
        if last - first >= n:
            out = np.empty(last - first - n + 1, np.uint64)
            kernels.gram_hashes(words, first, last, n, out)
            parts.append((out, np.arange(first, last - n + 1), np.full(len(out), n)))
    hashes, places, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    return hashes, places, lengths


def _texts_of(gram: np.ndarray, part: np.ndarray, n_grams: int, words: np.ndarray, part_ptr: np.ndarray) -> np.ndarray:
    """int64 (n_grams,): in how many different parts each n-gram stands. Items that share a question share one part."""
    bounds = zip(part_ptr[:-1].tolist(), part_ptr[1:].tolist(), strict=True)
    names: dict[bytes, int] = {}
    same = np.array([names.setdefault(words[a:b].tobytes(), len(names)) for a, b in bounds], np.int64)
    pairs = np.unique(np.stack([gram, same[part]]), axis=1) if len(gram) else np.empty((2, 0), np.int64)
    return np.bincount(pairs[0], minlength=n_grams)
