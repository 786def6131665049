"""Near duplicates planted at a wanted Jaccard similarity in real texts, and their true similarity by plain Python.

In: the folder of real texts (conftest.data). Out: `Pair`s: an Estonian, English or code text of 60-600 words, the same text after
edits of one kind, and their exact Jaccard similarity over sets of word tuples: no hash, no kernel. May import curate.text.reference.

Planting at the threshold itself is a coin toss (reference/kernels.md 2.2), so everyone who uses this judges by `Pair.jaccard`, never
by `Pair.level`. Bases are chosen so that no two of them share a fifth of their shingles: what a plant resembles is its base.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

from curate.text.reference import is_alnum, lower_reference, words_reference
from tests.bench.kernels import texts

FILES = {
    "et": ["et_text/aa_magazine", "et_text/ud_ewt_train_2022", "et_text/progeopik_rst", "quality/cefr_learner_texts"],
    "en": ["en_text/18f_posts", "en_text/wikitext2_valid", "en_text/inaugural"],
    "code": ["code/code_files"],
}
LEVELS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
NGRAM, BANDS, ROWS = 5, 16, 7  # the recipe's defaults
Shingles = frozenset[tuple[str, ...]]


class Pair(NamedTuple):
    base: str
    plant: str
    language: str
    kind: str
    level: float
    jaccard: float


def shingles(text: str, ngram: int = NGRAM) -> Shingles:
    """Runs of `ngram` lower-cased words with a letter or digit; a shorter text is one shingle, one without such words none."""
    words = list(chain.from_iterable(map(_words, text.split())))
    n = min(ngram, len(words))
    return frozenset(zip(*(words[i:] for i in range(n)), strict=False)) if n else frozenset()


@lru_cache(maxsize=1 << 18)
def _words(chunk: str) -> tuple[str, ...]:
    return tuple(lower_reference(w) for w in words_reference(chunk) if any(map(is_alnum, w)))  # white space always ends a word


def jaccard(a: Shingles, b: Shingles) -> float:
    """|A and B| / |A or B|, 0 for two empty sets."""
    return len(a & b) / max(1, len(a | b))


def found_by_theory(similarity: float, bands: int = BANDS, rows: int = ROWS) -> float:
    """The chance that two documents of this Jaccard similarity share a band (Leskovec, Rajaraman, Ullman: Mining of Massive
    Datasets, 3.4.2)."""
    return 1 - (1 - similarity**rows) ** bands


# ---- edits: a function of (chunks of text with their white space, how many, words to put in, rng)

Edit = Callable[[list[str], int, Sequence[str], random.Random], list[str]]


def replaced(chunks: list[str], n: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    chunks = list(chunks)
    for place in rng.sample(range(len(chunks)), len(chunks))[:n]:
        chunks[place] = rng.choice(pool) + chunks[place][len(chunks[place].rstrip()) :]
    return chunks


def deleted(chunks: list[str], n: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    gone = set(rng.sample(range(len(chunks)), len(chunks))[:n])
    return [chunk for i, chunk in enumerate(chunks) if i not in gone]


def inserted(chunks: list[str], n: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    chunks = list(chunks)
    for _ in range(n):
        chunks.insert(rng.randrange(len(chunks) + 1), rng.choice(pool) + " ")
    return chunks


def moved(chunks: list[str], n: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    """Blocks of 5-20 words stand elsewhere: only what runs over their edges changes."""
    chunks = list(chunks)
    for _ in range(n):
        start, size = rng.randrange(len(chunks)), rng.randint(5, 20)
        block = chunks[start : start + size]
        rest = chunks[:start] + chunks[start + size :]
        place = rng.randrange(len(rest) + 1)
        chunks = rest[:place] + [chunk.rstrip() + (chunk[len(chunk.rstrip()) :] or " ") for chunk in block] + rest[place:]
    return chunks


def mixed(chunks: list[str], n: int, pool: Sequence[str], rng: random.Random) -> list[str]:
    for i in range(n):
        chunks = (replaced, deleted, inserted, moved)[i % 4](chunks, 1, pool, rng)
    return chunks


EDITS: dict[str, Edit] = {"replaced": replaced, "deleted": deleted, "inserted": inserted, "moved": moved, "mixed": mixed}


def planted(data: Path, per_cell: int, seed: int) -> list[Pair]:
    """`per_cell` pairs for every language, level and kind of edit: 150 cells."""
    pairs = []
    for language, names in FILES.items():
        rng = random.Random(f"{seed}/{language}")
        bases = _bases(texts(data, names), len(LEVELS) * len(EDITS) * per_cell, rng)
        pool = [word for base in bases for word in base.split()]
        cells = [cell for cell in product(LEVELS, EDITS) for _ in range(per_cell)]
        for base, (level, kind) in zip(bases, cells, strict=True):
            plant, similarity = _plant(base, level, EDITS[kind], pool, rng.randrange(2**32))
            pairs.append(Pair(base, plant, language, kind, level, similarity))
    return pairs


def _plant(base: str, level: float, edit: Edit, pool: Sequence[str], seed: int) -> tuple[str, float]:
    """The edit of `base` whose true similarity comes nearest to `level`: bisection over the number of edits, same random numbers."""
    own, chunks = shingles(base), re.findall(r"\S+\s*", base)

    def tried(n: int) -> tuple[float, str]:
        text = "".join(edit(chunks, n, pool, random.Random(seed)))
        return jaccard(own, shingles(text)), text

    low, high = 0, len(chunks)
    best = tried(0)
    while high - low > 1:
        middle = (low + high) // 2
        at = tried(middle)
        best = min(best, at, key=lambda x: abs(x[0] - level))
        low, high = (middle, high) if at[0] > level else (low, middle)
    return best[1], best[0]


def _bases(found: list[str], n: int, rng: random.Random) -> list[str]:
    """`n` pieces of real texts, whole lines of 60-600 words, no two of which share a fifth of their shingles."""
    rng.shuffle(found)
    bases: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for piece in (piece for text in found for piece in _pieces(text, rng)):
        own = shingles(piece)
        if len(own) >= 50 and len(own & seen) < len(own) / 5:
            bases.append(piece)
            if len(bases) == n:
                return bases
        seen |= own
    raise ValueError(f"{len(bases)} of {n} pieces: ask for fewer, or give more texts")


def _pieces(text: str, rng: random.Random) -> list[str]:
    pieces: list[str] = []
    lines: list[str] = []
    words, wanted = 0, rng.randint(60, 600)
    for line in text.split("\n"):
        lines.append(line)
        words += len(line.split())
        if words >= wanted:
            if words < 800:  # a line of thousands of words (minified code) is nobody's paragraph
                pieces.append("\n".join(lines))
            lines, words, wanted = [], 0, rng.randint(60, 600)
    return pieces
