"""Padding, cuts and losses of packing real documents: ours beside concat-and-chunk, next-fit and TRL's `bfd`, `bfd_split`, `wrapped`.

Run: python -m tests.bench.padding [DATA]   (default: VESKI_TEST_DATA, else ../shared/data). Documents are the running texts of the
folder (Estonian, English, code, mathematics), an end-of-sequence token each, in one shuffled order. TRL packs 1000 documents at a
time by default; the rows "all at once" give it everything in one batch. Rows are counted as filled up to the sequence length.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate.recipe import TokenizerSpec
from mixture import pack
from mixture.tokenizer import load_tokenizer
from tests.conftest import TOP
from tests.mixture.all_texts import every_text

TOKENIZERS = ("gpt_neox_20b", "gpt2", "mistral_v1")
ROWS_OF = (1024, 2048, 4096, 8192)
FOLDERS = ("et_text/", "en_text/", "code/", "math/")
SHORTEST = 200  # characters: below are titles, labels and other fields of a record
SEED = 1
CHATS = (10_000, 3000, 1000)  # number, mean and standard deviation of their tokens


class Rows(NamedTuple):
    """Pieces of documents in rows: (n_pieces,) int64 each."""

    row: np.ndarray
    document: np.ndarray
    length: np.ndarray


def ours(lengths: np.ndarray, capacity: int) -> Rows:
    return of_packed(pack.pack(lengths, capacity))


def concat(lengths: np.ndarray, capacity: int) -> Rows:
    return of_packed(pack.concat(lengths, capacity))


def of_packed(found: pack.Packed) -> Rows:
    return Rows(np.repeat(np.arange(found.n_rows), np.diff(found.row_ptr)), found.item, found.length)


def next_fit(lengths: np.ndarray, capacity: int) -> Rows:
    """One open row; a document that does not fit begins the next. Those longer than a row are cut as ours are."""
    pieces: list[tuple[int, int, int]] = []
    row, used = 0, 0
    for document, length in enumerate(lengths.tolist()):
        n = -(-length // capacity)
        for part in range(n):
            size = length // n + (part < length % n)
            if used + size > capacity:
                row, used = row + 1, 0
            pieces.append((row, document, size))
            used += size
    return Rows(*np.array(pieces, np.int64).T)


def trl(strategy: str, batch_size: int | None) -> Callable[[np.ndarray, int], Rows]:
    """TRL's own packing, of documents whose every token is the number of its document."""

    def packed(lengths: np.ndarray, capacity: int) -> Rows:
        from datasets import Dataset, disable_progress_bars
        from trl import pack_dataset

        disable_progress_bars()
        numbers = np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
        column = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), numbers)
        options = {"batch_size": batch_size, "keep_in_memory": True}
        found = pack_dataset(Dataset(pa.table({"input_ids": column})), capacity, strategy, options)
        rows = found.data.table["input_ids"].combine_chunks()
        row = np.repeat(np.arange(len(rows)), np.diff(np.asarray(rows.offsets)))
        piece = row * lengths.size + np.asarray(rows.flatten())
        both, length = np.unique(piece, return_counts=True)
        return Rows(both // lengths.size, both % lengths.size, length)

    return packed


METHODS = {"ours, best_fit": ours, "ours, concat": concat, "next-fit": next_fit}
RIVALS = {
    "trl bfd": trl("bfd", 1000),
    "trl bfd, all at once": trl("bfd", None),
    "trl bfd_split": trl("bfd_split", 1000),
    "trl bfd_split, all at once": trl("bfd_split", None),
    "trl wrapped": trl("wrapped", 1000),
    "trl wrapped, all at once": trl("wrapped", None),
}


def documents(data: Path) -> list[str]:
    found = [text for name, text in every_text(data) if name.startswith(FOLDERS) and len(text) >= SHORTEST]
    return [found[i] for i in np.random.default_rng(SEED).permutation(len(found))]


def judged(rows: Rows, lengths: np.ndarray, capacity: int) -> tuple[float, int, float]:
    """(padding in % of the rows, documents that fit into a row and stand in several, tokens lost in %). Checked: no row is too long."""
    per_row = np.bincount(rows.row, rows.length)
    assert per_row.max() <= capacity
    n_rows = int(rows.row.max()) + 1
    in_rows = np.bincount(rows.document, minlength=lengths.size)
    cut = int(((in_rows > 1) & (lengths <= capacity)).sum())
    kept = int(rows.length.sum())
    return 100 * (1 - kept / (n_rows * capacity)), cut, 100 * (1 - kept / int(lengths.sum()))


def table(lengths: np.ndarray, capacities: tuple[int, ...], methods: dict) -> Iterator[str]:
    yield f"{'':<28}" + "".join(f"{f'rows of {capacity}':>25}" for capacity in capacities)
    yield f"{'':<28}" + "  padding %  cut  lost %  " * len(capacities)
    over = "".join(f"{int((lengths > capacity).sum()):>25}" for capacity in capacities)
    yield f"{'documents longer than a row':<28}{over}"
    bounds = [pack.pack(lengths, capacity) for capacity in capacities]
    least = [100 * found.unavoidable(c) / (found.lower_bound * c) for found, c in zip(bounds, capacities, strict=True)]
    yield f"{'lower bound':<28}" + "".join(f"{one:>11.3f}{'':14}" for one in least)
    yield f"{'one row':<28}" + "".join(f"{100 / found.n_rows:>11.3f}{'':14}" for found in bounds)
    for name, method in methods.items():
        cells = (judged(method(lengths, capacity), lengths, capacity) for capacity in capacities)
        yield f"{name:<28}" + "".join(f"{padding:>11.3f}{cut:>6}{lost:>7.2f} " for padding, cut, lost in cells)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
    methods = dict(METHODS)
    if importlib.util.find_spec("trl"):
        methods |= RIVALS
    else:
        print("trl is not installed: pip install -c constraints.txt -e '.[bench]'")
    texts = documents(data)
    for name in TOKENIZERS:
        tokenizer = load_tokenizer(TokenizerSpec(model=str(data / "tokenizers" / name)))
        lengths = np.array([len(ids) + 1 for ids in tokenizer.encode_batch(texts)], np.int64)
        print(f"\n{name}: {len(texts)} documents, {lengths.sum() / 1e6:.2f} M tokens, median {int(np.median(lengths))}")
        print("\n".join(table(lengths, ROWS_OF, methods)), flush=True)
    n, mean, deviation = CHATS
    lengths = np.maximum(1, np.random.default_rng(SEED).normal(mean, deviation, n)).astype(np.int64)
    print(f"\nlong chats (made up): {n} of {mean} tokens, standard deviation {deviation}")
    print("\n".join(table(lengths, (4096, 8192), methods)), flush=True)


if __name__ == "__main__":
    main()
