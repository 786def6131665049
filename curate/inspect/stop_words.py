"""Stop words of a language, derived from a source that is written well: its frequent words, as FineWeb2 derives them.

In: a source's documents shards. Out: words with their shares. A word counts as it is written, and words with a capital letter are
left out: n_stop_words compares as written, and names are no stop words. Imports text, store, inspect.corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.errors import CurateError
from curate.inspect.corpus import Connection, rows
from curate.store import write_atomic
from curate.text.kernels import HAS_LETTER
from curate.text.tokenizers import RULES

MIN_SHARE = 0.008  # of all words with a letter; FineWeb2's cut is about 0.8 % (arXiv 2506.20920)
MIN_LIST = 8  # fewer frequent words than this: the list is filled up; the length of datatrove's English list
MIN_WORDS = 10_000  # of the source: at 0.8 % a stop word is then seen some 80 times, give or take a tenth
MAX_BYTES = 32 * 10**6  # of text, in the order of ids, which is a hash: a sample that is the same every time


def derive(corpus: Connection, build_dir: Path, source: str, words: str = RULES) -> dict[str, Any]:
    """{source, n_words (with a letter), n_bytes read, words: [{word, share}] by share}; `words`: how the source cuts them.

    Raises CurateError for too few words.
    """
    counts: dict[str, int] = {}
    n_words, n_bytes = 0, 0
    for batch in _batches(corpus, build_dir, source):
        data, offsets = text.buffers(batch)
        found = text.segment(data, offsets, words)
        with_letter = found.flags & HAS_LETTER != 0
        n_words += int(with_letter.sum())
        n_bytes += int(offsets[-1] - offsets[0])
        own = np.flatnonzero(with_letter & (found.hash == found.lower))
        _, first, n = np.unique(found.hash[own], return_index=True, return_counts=True)
        for i, k in zip(own[first].tolist(), n.tolist(), strict=True):
            word = data[found.start[i] : found.end[i]].tobytes().decode()
            counts[word] = counts.get(word, 0) + k
    if n_words < MIN_WORDS:
        raise CurateError(f"source {source!r} is too small to derive stop words from", where="--stop-words",
                          found=f"{n_words:,} words with a letter", allowed=f"{MIN_WORDS:,} or more")  # fmt: skip
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = sum(k >= MIN_SHARE * n_words for _, k in ordered)
    listed = [{"word": word, "share": round(k / n_words, 5)} for word, k in ordered[: max(frequent, MIN_LIST)]]
    return {"source": source, "n_words": n_words, "n_bytes": n_bytes, "words": listed}


def _batches(corpus: Connection, build_dir: Path, source: str) -> Iterator[pa.Array]:
    [stage] = rows(corpus, "SELECT path FROM stages WHERE stage = 'documents' AND source = ?", source)
    left = MAX_BYTES
    for path in sorted((build_dir / stage["path"]).glob("*/documents.parquet")):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            for batch in text.batches(file.read_row_group(group, columns=["text"]).column("text")):
                if left <= 0:
                    return
                left -= batch.nbytes
                yield batch


def write(path: Path, found: dict[str, Any]) -> None:
    """A list as sources.*.stop_words names it: one word a line, the most frequent first."""
    head = (f"# Derived by curate thresholds from the source {found['source']}: words as written that are {MIN_SHARE:.1%} or more of its\n"
            f"# {found['n_words']:,} words, at least {MIN_LIST} of them (the method of FineWeb2, arXiv 2506.20920).\n")  # fmt: skip
    write_atomic(path, (head + "".join(f"{item['word']}\n" for item in found["words"])).encode())
