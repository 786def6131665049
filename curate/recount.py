"""The raw input counted again, without the store, and texts compared again: what `curate verify` holds a build's own numbers against.

A recipe and a source in, {n_read, n_documents, n_quarantined, n_outside_sample} out, each counted on its own; two texts in, their
exact Jaccard out, by plain sets of words. Imports ingest, recipe, sources, text.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from curate import text as words_of
from curate.ingest import ID_BYTES, document_row, member_of, sample_of
from curate.recipe import Recipe, load_recipe
from curate.sources import Bad, list_files, read
from curate.text.kernels import HAS_ALNUM


def recount(recipe: Recipe, name: str) -> dict[str, int]:
    """Read every record of source `name` again. Raises CurateError where its files are gone."""
    source = recipe.sources[name]
    sample = sample_of(recipe)
    counts = {"n_read": 0, "n_documents": 0, "n_quarantined": 0, "n_outside_sample": 0}
    for file in list_files(recipe, source):
        for item in read(file.path, source, recipe.limits, file.name, file.beside):
            if isinstance(item, Bad):
                counts["n_quarantined"] += 1
            elif sample is not None and not sample.has(
                document_row(source, item.fields, file, member_of(file, item))[0]["key"][:ID_BYTES]
            ):
                counts["n_outside_sample"] += 1
                continue
            else:
                counts["n_documents"] += 1
            counts["n_read"] += 1
    return counts


def similarity(recipe: Recipe, source: str, text: str, witness_source: str, witness_text: str) -> float | None:
    """Exact Jaccard of the shingles of two texts as Python sets, without signature, bucket or stored hash; None where neither has
    any shingle, or the recipe compares none. `witness_source` may be a reference."""
    near = recipe.dedup.near
    if near is None:
        return None
    a = _shingles(text, _words(recipe, source), near.ngram, tuple(near.fold))
    b = _shingles(witness_text, _words(recipe, witness_source), near.ngram, tuple(near.fold))
    return len(a & b) / len(a | b) if a or b else None


def _shingles(text: str, how: str, ngram: int, fold: tuple[str, ...]) -> set[tuple[int, ...]]:
    """Runs of `ngram` words with a letter or digit (of fewer, the one run there is), each word as the hash of its lower case."""
    data = np.frombuffer(text.encode() or b"\0", np.uint8)
    offsets = np.array([0, len(text.encode())], np.int64)
    seg = words_of.shingled(data, offsets, words_of.segment(data, offsets, how), how, fold)
    run = seg.lower[seg.flags & HAS_ALNUM > 0].tolist()
    return {tuple(run[i : i + ngram]) for i in range(max(1, len(run) - ngram + 1))} if run else set()


def _words(recipe: Recipe, source: str) -> str:
    if source in recipe.sources:
        return recipe.sources[source].words
    name, _, inside = source.partition(":")
    reference = recipe.dedup.against[name]
    if reference.build is None:
        return reference.words
    return _words_of_build(recipe.path(reference.build, f"dedup.against.{name}"), inside)


@lru_cache
def _words_of_build(folder: Path, source: str) -> str:
    return load_recipe(folder / "recipe.yaml", base=folder).sources[source].words
