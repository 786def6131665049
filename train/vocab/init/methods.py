"""The keys of `rows:`, both tokenizers and the id map in; what each new row is made of out, for the embedding and for the head.

May import curate.errors, mixture.tokenizer, train.average (Folder), train.vocab.init.*; numpy, pyarrow, torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from curate.errors import CurateError
from mixture.tokenizer import Tokenizer
from train.average import Folder
from train.vocab.init import tensors, words
from train.vocab.init.config import Rows
from train.vocab.init.mixture import Mixture, of_pieces
from train.vocab.init.nearness import by_softmax, by_sparsemax
from train.vocab.init.pursuit import by_pursuit

Made = dict[int, Mixture]  # new id -> what its row is made of


@dataclass(frozen=True)
class IdMap:
    """One entry for each id of the new tokenizer."""

    old_ids: np.ndarray  # (n,) int64, -1 for a new token
    tokens: list[str]
    pieces: list[np.ndarray]  # old ids of the token's text

    @property
    def new_ids(self) -> np.ndarray:
        return np.flatnonzero(self.old_ids < 0)


@dataclass(frozen=True)
class Given:
    """What the methods work from; `room` is a folder for files that are not kept."""

    id_map: IdMap
    old: Tokenizer
    new: Tokenizer
    texts: Mapping[str, words.Texts]  # by language
    room: Path
    say: Callable[[str], None]


def read_id_map(path: Path) -> IdMap:
    """Raises CurateError where ids have holes, or two new tokens stand for one old token."""
    table = pq.read_table(path)
    if table.column("new_id").to_pylist() != list(range(table.num_rows)):
        raise CurateError("new_id is to be 0, 1, 2, ... without holes", where=str(path))
    old_ids = table.column("old_id").to_numpy().astype(np.int64)
    kept = old_ids[old_ids >= 0]
    if len(np.unique(kept)) < len(kept):
        ids, counts = np.unique(kept, return_counts=True)
        raise CurateError("two new tokens have the row of one old token", where=str(path), found=f"old_id {ids[counts > 1][0]}")
    pieces = [np.array(part or [], np.int64) for part in table.column("pieces").to_pylist()]
    return IdMap(old_ids, table.column("token").to_pylist(), pieces)


def plan(rows: Rows, given: Given) -> tuple[Made, Made]:
    """For the rows of the embedding and of the head. They differ only where a donor model has two matrices."""
    if (given.id_map.old_ids < 0).all() and not any(map(len, given.id_map.pieces)):
        raise CurateError(
            "the two vocabularies share nothing", where="id_map.parquet", found=f"{len(given.id_map.tokens)} tokens without old pieces",
            next="is this the model's own tokenizer?",
        )  # fmt: skip
    base = {int(i): _simple(rows, given.id_map.pieces[i]) for i in given.id_map.new_ids}
    if not base or rows.method in ("mean", "subword_mean"):
        return base, base
    ways = {"focus": _focus, "ofa": _ofa, "wechsel": _wechsel, "orthogonal_matching": _pursuit}
    embedding, head = ways[rows.method](rows, given)
    return base | embedding, base | head


def _simple(rows: Rows, pieces: np.ndarray) -> Mixture:
    way = rows.method if rows.method in ("mean", "subword_mean") else rows.fallback
    made = of_pieces(pieces) if way == "subword_mean" else None
    return made or Mixture("mean" if way == "subword_mean" else way)


def _focus(rows: Rows, given: Given) -> tuple[Made, Made]:
    vectors = _token_vectors(rows, given)
    new, anchors = _known(given, vectors)
    made = by_sparsemax("focus", vectors[new], vectors[anchors], given.id_map.old_ids[anchors])
    return _twice(new, made)


def _pursuit(rows: Rows, given: Given) -> tuple[Made, Made]:
    """By the matrices of the donor; without one, by vectors trained on the text, as FOCUS has them (our own variant)."""
    if rows.donor is None:
        vectors = _token_vectors(rows, given)
        new, anchors = _known(given, vectors)
        space = torch.from_numpy(vectors)
        made = by_pursuit(rows.method, space[new], space[anchors], given.id_map.old_ids[anchors], rows.atoms)
        return _twice(new, made)
    with ExitStack() as stack:
        folder = Folder(Path(rows.donor), "model", stack)
        names = tensors.of_vocabulary(Path(rows.donor), folder)
        theirs = np.array(tensors.ids_of(Path(rows.donor), given.id_map.tokens))
        old_ids = given.id_map.old_ids
        new, anchors = np.flatnonzero((old_ids < 0) & (theirs >= 0)), np.flatnonzero((old_ids >= 0) & (theirs >= 0))
        _check_shared(new, anchors, f"the donor {Path(rows.donor).name}")
        given.say(
            f"{len(new):,} of {len(given.id_map.new_ids):,} new tokens are in the donor, which shares {len(anchors):,} with the model"
        )
        found: list[Made] = []
        for name in dict.fromkeys((names.embedding, names.head or names.embedding)):
            matrix = folder.read(name)
            made = by_pursuit(rows.method, matrix[theirs[new]], matrix[theirs[anchors]], old_ids[anchors], rows.atoms)
            found.append(dict(zip(new.tolist(), made, strict=True)))
    return found[0], found[-1]


def _ofa(rows: Rows, given: Given) -> tuple[Made, Made]:
    known = (
        words.read_words(Path(rows.vector_file))
        if rows.vector_file
        else words.train_words(_all(given), given.room / "words.bin", rows.vectors)
    )
    n_old, n_new = given.old.vocab_size, len(given.id_map.tokens)
    source, target = (words.from_words(t, known, n, is_weighted=False) for t, n in ((given.old, n_old), (given.new, n_new)))
    return _nearest(rows, given, source, target)


def _wechsel(rows: Rows, given: Given) -> tuple[Made, Made]:
    sides = []
    for side, file, language in (
        ("source", rows.source_vectors, rows.source_language), ("target", rows.target_vectors, rows.target_language),
    ):  # fmt: skip
        if file is not None:
            sides.append(words.read_words(Path(file)))
        else:
            sides.append(words.train_words(given.texts[language or ""], given.room / f"{side}.bin", rows.vectors))
    source, target = sides
    if source.vectors.shape[1] != target.vectors.shape[1]:
        raise CurateError(
            "the vectors of the two languages have another length", where="rows",
            found=f"{source.vectors.shape[1]} and {target.vectors.shape[1]}",
        )  # fmt: skip
    turned = np.eye(source.vectors.shape[1])
    if rows.dictionary:
        turned = words.alignment(source, target, words.read_dictionary(Path(rows.dictionary)))
    if rows.by == "ngrams" and (source.by_ngrams is None or target.by_ngrams is None):
        raise CurateError(
            "vectors without n-grams", where="rows.by", found=".vec", allowed="by: words, or .bin files of fastText"
        )

    def space(tokenizer: Tokenizer, of: words.Words, n: int) -> np.ndarray:
        return (
            words.from_ngrams(tokenizer, of, n) if rows.by == "ngrams" else words.from_words(tokenizer, of, n, is_weighted=True)
        )

    old = space(given.old, source, given.old.vocab_size) @ turned
    return _nearest(rows, given, old, space(given.new, target, len(given.id_map.tokens)))


def _nearest(rows: Rows, given: Given, source: np.ndarray, target: np.ndarray) -> tuple[Made, Made]:
    """`source` (old ids, d) and `target` (new ids, d): zeros where a token has no vector."""
    old = np.flatnonzero(np.abs(source).sum(1) > 0)
    new = np.flatnonzero((given.id_map.old_ids < 0) & (np.abs(target).sum(1) > 0))
    _check_shared(new, old, "the word vectors")
    given.say(f"{len(new):,} of {len(given.id_map.new_ids):,} new tokens have a vector, and {len(old):,} old ones")
    made = by_softmax(rows.method, target[new], source[old], old, min(rows.neighbours, len(old)), rows.temperature)
    return _twice(new, made)


def _token_vectors(rows: Rows, given: Given) -> np.ndarray:
    return words.train_tokens(_all(given), given.new, given.id_map.tokens, given.room / "tokens.bin", rows.vectors)


def _known(given: Given, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(new tokens, kept tokens) that have a vector."""
    has = np.abs(vectors).sum(1) > 0
    new, anchors = np.flatnonzero(has & (given.id_map.old_ids < 0)), np.flatnonzero(has & (given.id_map.old_ids >= 0))
    _check_shared(new, anchors, "the text")
    given.say(f"{len(new):,} of {len(given.id_map.new_ids):,} new tokens and {len(anchors):,} kept ones have a vector")
    return new, anchors


def _check_shared(new: np.ndarray, anchors: np.ndarray, where: str) -> None:
    if not len(anchors) or not len(new):
        what = "no old token" if not len(anchors) else "no new token"
        raise CurateError(
            f"{what} has a vector, so there is nothing to compare by", where="rows.method", found=where,
            allowed="mean and subword_mean need none", next="more text, a lower rows.vectors.min_count, or another donor",
        )  # fmt: skip


def _all(given: Given) -> words.Texts:
    return lambda: chain.from_iterable(texts() for texts in given.texts.values())


def _twice(new: np.ndarray, made: list[Mixture]) -> tuple[Made, Made]:
    found = dict(zip(new.tolist(), made, strict=True))
    return found, found
