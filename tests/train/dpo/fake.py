"""Random pairs with the seam of mixture.pairs.PairStream, and the manifest that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.manifest import write_manifest
from mixture.batches import Phase
from mixture.pairs import Pair, pair_hash
from mixture.stream import START, advance
from tests.train.fake import NO_TOKENIZER

COMPONENTS = ["helpful", "polite"]
LANGUAGES = ["eesti", "english"]
LENGTH = 40  # the window


def pair_of(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int], component: int = 0, number: int = 0) -> Pair:
    parts = [np.array(ids, np.uint32) for ids in (prompt, chosen, rejected)]
    return Pair(*parts, component, component, pair_hash(*parts), number, f"{number:024x}", None)


def random_pair(random: np.random.Generator, number: int, vocabulary: int) -> Pair:
    """The chosen answer counts up, the rejected one down: something that a model can learn in a few steps."""
    start = int(random.integers(0, vocabulary))
    prompt = random.integers(0, vocabulary, int(random.integers(2, 9)))
    up, down = (int(random.integers(2, 16)) for _ in range(2))
    return pair_of(prompt, (start + np.arange(up)) % vocabulary, (start - np.arange(down)) % vocabulary, number % 3 // 2, number)


class FakePairs:
    def __init__(self, n: int = 22, n_held_out: int = 5, vocabulary: int = 64, seed: int = 0, pairs: Sequence[Pair] = ()) -> None:
        random = np.random.default_rng(seed)
        self.pairs = list(pairs) or [random_pair(random, i, vocabulary) for i in range(n + n_held_out)]
        self.n_held_out = n_held_out
        self.components, self.languages = COMPONENTS, LANGUAGES
        self.manifest: dict = {}
        self.n_sequences, self.held_out_length = len(self), LENGTH
        self.phases = (Phase("main", 0, len(self), LENGTH),)

    def __len__(self) -> int:
        return len(self.pairs) - self.n_held_out

    def pair(self, i: int) -> Pair:
        return self.pairs[i]

    def row_hash_of(self, i: int) -> bytes:
        return self.pairs[i].hash

    def held_out(self, j: int) -> Pair:
        return self.pairs[len(self) + j]


def write_fake_manifest(path: Path, stream: FakePairs) -> dict:
    state, marks, pairs = START, [], stream.pairs[: len(stream)]
    for i, pair in enumerate(pairs):
        state = advance(state, pair.hash)
        if (i + 1) % 5 == 0 or i + 1 == len(pairs):
            marks.append({"stream_index": i + 1, "sha256": state.hex()})
    sizes = [2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs]
    of = [sum(size for size, pair in zip(sizes, pairs, strict=True) if pair.component == c) for c in range(len(COMPONENTS))]
    manifest = {
        "schema_version": 1, "kind": "preference", "name": "fake", "tool_versions": {}, "recipe_sha256": "", "seed": 0,
        "roots": {"stream": state.hex()}, "tokenizer": NO_TOKENIZER,
        "phases": [{"name": "main", "sequence_length": LENGTH, "order": {"n_sequences": len(stream)}}],
        "components": [
            {"name": name, "languages": {LANGUAGES[c]: tokens}, "phases": [{"realised": tokens}]}
            for c, (name, tokens) in enumerate(zip(COMPONENTS, of, strict=True))
        ],
        "held_out": {}, "stream_checkpoints": marks, "outputs": [], "lineage": [],
    }  # fmt: skip
    write_manifest(path, manifest)
    stream.manifest = manifest
    return manifest
