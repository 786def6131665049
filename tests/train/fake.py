"""A stream of random documents in one phase with the interface of mixture.stream.Stream, and the manifest that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.manifest import write_manifest
from mixture.batches import Phase
from mixture.stream import START, Batch, Row, advance, row_hash

COMPONENTS = ["et", "en"]
LANGUAGES = ["eesti", "english"]  # documents of even number are Estonian, whatever their component
NO_TOKENIZER = {"name": "none", "sha256": "0" * 64, "vocab_size": 64, "special": {"bos": None, "eos": None, "pad": None}}


class FakeStream:
    """Rows of 2-5 whole documents each, the first token of a document without a label, a little padding at the end of a row."""

    def __init__(
        self, n_sequences: int = 22, length: int = 32, vocabulary: int = 64, seed: int = 0, n_held_out: int = 3,
        rows: Sequence[Row] = (),
    ) -> None:  # fmt: skip
        """`rows`: those of the stream and then the held-out ones, in place of random ones."""
        random = np.random.default_rng(seed)
        n_rows = n_sequences + n_held_out
        self.rows = list(rows) or [make_row(random, length, vocabulary, i % 3 // 2) for i in range(n_rows)]
        self.n_sequences, self.n_held_out = len(self.rows) - n_held_out, n_held_out
        self.components, self.languages, self.held_out_length = COMPONENTS, LANGUAGES, len(self.rows[0].input_ids)
        self.manifest: dict = {}
        self.phases = (Phase("main", 0, self.n_sequences, self.held_out_length),)

    def row(self, i: int) -> Row:
        return self.rows[i]

    def row_hash_of(self, i: int) -> bytes:
        return self.rows[i].row_hash

    def read(self, indices: Sequence[int], n_empty: int = 0, phase: int | None = None) -> Batch:
        rows = [*(self.rows[i] for i in indices), *[self.masked_row(self.held_out_length)] * n_empty]
        columns = list(zip(*rows, strict=True))
        return Batch(*map(np.stack, columns[:5]), *map(np.array, columns[5:8]), list(columns[8]))

    def masked_row(self, length: int) -> Row:
        ids, labels, nothing = np.zeros(length, np.uint32), np.full(length, -100, np.int64), np.full(length, -1, np.int32)
        return Row(ids, labels, np.arange(length, dtype=np.int32), nothing, nothing.astype(np.int16), 0, 0, -1, b"")

    def held_out(self, j: int) -> Row:
        return self.rows[self.n_sequences + j]


def make_row(random: np.random.Generator, length: int, vocabulary: int, component: int) -> Row:
    n_tokens = length - int(random.integers(0, 4))
    cuts = np.sort(random.choice(np.arange(2, n_tokens - 1), size=int(random.integers(1, 5)), replace=False))
    start = int(random.integers(0, vocabulary))
    # a walk by 1 or 2: something that a model can learn in a few steps
    sizes = np.diff([0, *cuts, n_tokens])
    return row_of([(start + np.cumsum(random.integers(1, 3, size))) % vocabulary for size in sizes], length, component)


def row_of(documents: Sequence[np.ndarray], length: int, component: int = 0) -> Row:
    """Whole documents in a row; nothing is asked after a document's last token."""
    n_tokens = sum(map(len, documents))
    ids, labels, positions = np.zeros(length, np.uint32), np.full(length, -100, np.int64), np.arange(length, dtype=np.int32)
    document, at = np.full(length, -1, np.int32), 0
    for k, tokens in enumerate(documents):
        here = slice(at, at + len(tokens))
        ids[here], document[here], positions[here] = tokens, k, np.arange(len(tokens))
        labels[at : at + len(tokens) - 1] = tokens[1:]
        at += len(tokens)
    positions[n_tokens:] = np.arange(length - n_tokens)
    language = np.where(document < 0, -1, document % 2).astype(np.int16)
    asked = int((labels != -100).sum())
    return Row(ids, labels, positions, document, language, n_tokens, asked, component, row_hash(ids, document))


def spoken(stream: FakeStream, component: int) -> dict[str, int]:
    """Tokens by language of a component's training rows."""
    rows = [row for row in stream.rows[: stream.n_sequences] if row.component == component]
    return {name: int(sum((row.language == k).sum() for row in rows)) for k, name in enumerate(LANGUAGES)}


def write_fake_manifest(path: Path, stream: FakeStream, *, name: str = "fake", tokenizer: dict | None = None) -> dict:
    state, marks = START, []
    for i in range(stream.n_sequences):
        state = advance(state, stream.row(i).row_hash)
        if (i + 1) % 5 == 0 or i + 1 == stream.n_sequences:
            marks.append({"stream_index": i + 1, "sha256": state.hex()})
    realised = [sum(r.n_tokens for r in stream.rows[: stream.n_sequences] if r.component == c) for c in range(len(COMPONENTS))]
    manifest = {
        "schema_version": 1, "kind": "cpt", "name": name, "tool_versions": {}, "recipe_sha256": "", "seed": 0,
        "roots": {"stream": state.hex()},
        "tokenizer": tokenizer or NO_TOKENIZER,
        "phases": [{"name": "main", "sequence_length": stream.held_out_length, "order": {"n_sequences": stream.n_sequences}}],
        "components": [
            {"name": n, "languages": spoken(stream, c), "phases": [{"realised": t}]}
            for c, (n, t) in enumerate(zip(COMPONENTS, realised, strict=True))
        ],
        "held_out": {}, "stream_checkpoints": marks, "outputs": [], "lineage": [],
    }  # fmt: skip
    write_manifest(path, manifest)
    stream.manifest = manifest
    return manifest
