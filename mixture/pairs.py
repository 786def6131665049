"""Pairs of a preference mixture: pair i is a pure function of (manifest, i). Opens in milliseconds, reads only the pairs asked for.

In: manifest.json of kind preference and the folder `sequences/` beside it. Out: pairs as a trainer takes them, prompt and both
completions on their own. Pair i is row i of the stream (stream.py): its tokens are prompt, chosen, prompt, rejected, and its hash is that
row's. No state: what has been trained is known by a step alone. Imports errors and mixture's batches, stream.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from mixture.batches import Phase, Steps, in_rows
from mixture.stream import PAIR, Stream, hash_row


class Pair(NamedTuple):
    """One preference. Ids uint32; those of the completions with their end of turn."""

    prompt_ids: np.ndarray
    chosen_ids: np.ndarray
    rejected_ids: np.ndarray
    component: int
    language: int  # index into PairStream.languages
    hash: bytes  # 16 bytes, as pair_hash says it
    document: int  # row of selection.parquet
    id: str
    margin: float | None  # by how much chosen is better, where the row says so

    @property
    def n_tokens(self) -> int:
        """Input tokens: the prompt counts with both."""
        return 2 * self.prompt_ids.size + self.n_loss_tokens

    @property
    def n_loss_tokens(self) -> int:
        return self.chosen_ids.size + self.rejected_ids.size

    @property
    def n_longest(self) -> int:
        """Tokens of the longer of both conversations."""
        return self.prompt_ids.size + max(self.chosen_ids.size, self.rejected_ids.size)


def pair_hash(prompt_ids: np.ndarray, chosen_ids: np.ndarray, rejected_ids: np.ndarray) -> bytes:
    """The hash of a pair, from the ids that a trainer has: that of its row in the stream."""
    parts = [prompt_ids, chosen_ids, prompt_ids, rejected_ids]
    return hash_row(np.array([sum(part.size for part in parts)]), parts)


class PairStream:
    """The pairs of a manifest, by stream index. With `verify`, every pair read is checked against its stored hash."""

    def __init__(self, manifest_path: Path | str, verify: bool = False) -> None:
        self.path, self.verify = Path(manifest_path).absolute(), verify
        self._stream = Stream(manifest_path)
        self.manifest = self._stream.manifest
        if self.manifest["kind"] != "preference":
            raise CurateError(
                "this mixture has no pairs", where=str(manifest_path), found=f"kind: {self.manifest['kind']}",
                allowed="kind: preference", next="a recipe of kind preference over sources of type preference",
            )  # fmt: skip
        # of a phase here: what either conversation has room for, not both together
        self.phases: tuple[Phase, ...] = tuple(
            phase._replace(sequence_length=stated["sequence_length"])
            for phase, stated in zip(self._stream.phases, self.manifest["phases"], strict=True)
        )
        self.components: list[str] = self._stream.components
        self.languages: list[str] = self._stream.languages
        self.n_sequences, self.n_held_out = self._stream.n_sequences, self._stream.n_held_out
        self.held_out_length: int = self.manifest["held_out"]["sequence_length"]
        self._records = _records(self.path.parent / "sequences" / "pairs.npy", len(self) + self.n_held_out)

    def __reduce__(self) -> tuple:
        """A worker process gets the path and maps the files itself."""
        return PairStream, (self.path, self.verify)

    def __len__(self) -> int:
        return self.n_sequences

    def steps(self, pairs: int) -> Steps:
        """The steps of a run with global batches of so many pairs; a phase's last one has fewer (`Share.n_empty` are missing)."""
        return in_rows(self.phases, pairs)

    def pair(self, i: int) -> Pair:
        """Pair `i` of the stream, 0 <= i < len(self)."""
        if not 0 <= i < len(self):
            raise IndexError(f"pair {i} is not in [0, {len(self)})")
        return self._sequence(self._stream.sequence_of(i))

    def held_out(self, j: int) -> Pair:
        """Held-out pair `j`, 0 <= j < n_held_out, in the order of the components."""
        if not 0 <= j < self.n_held_out:
            raise IndexError(f"held-out pair {j} is not in [0, {self.n_held_out})")
        return self._sequence(len(self) + j)

    def sequence_of(self, i: int) -> int:
        """Sequence number of pair `i`."""
        return self._stream.sequence_of(i)

    def chunks(self, sequence: int) -> np.ndarray:
        """The one record (stream.CHUNK) of a sequence; its `document` is a row of selection.parquet."""
        return self._stream.chunks(sequence)

    def row_hash_of(self, i: int) -> bytes:
        """The stored hash of pair `i`."""
        return self._stream.row_hash_of(i)

    def lengths(self, first: int, last: int) -> np.ndarray:
        """(last - first, 3) int64: tokens of prompt, chosen and rejected of pairs [first, last), without reading them."""
        rows = [self._stream.sequence_of(i) for i in range(first, last)]
        return np.array([[int(r["n_prompt"]), int(r["n_chosen"]), int(r["n_rejected"])] for r in self._records[rows]]).reshape(
            -1, 3
        )

    def _sequence(self, number: int) -> Pair:
        record, (chunk,) = self._records[number], self._stream.chunks(number)
        tokens = self._stream.tokens_of(chunk)
        n_prompt, n_chosen, n_rejected = (int(record[name]) for name in ("n_prompt", "n_chosen", "n_rejected"))
        ends = np.cumsum([n_prompt, n_chosen, n_prompt, n_rejected])
        if ends[-1] != tokens.size:
            raise self._damaged(number)
        prompt, chosen, again, rejected = np.split(tokens, ends[:-1])
        known = self._stream.hash_of_sequence(number)
        if not np.array_equal(prompt, again) or (self.verify and pair_hash(prompt, chosen, rejected) != known):
            raise self._damaged(number)
        margin = float(record["margin"])
        return Pair(
            prompt, chosen, rejected, *self._stream.labels_of(number), known, int(chunk["document"]), record["id"].decode(),
            None if math.isnan(margin) else margin,
        )  # fmt: skip

    def _damaged(self, number: int) -> CurateError:
        return CurateError(
            f"the tokens of pair {number} are not those of the manifest", where=str(self.path), next="curate verify", exit_code=1
        )


def _records(path: Path, n: int) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise CurateError(
            "where pairs part is not known", where=str(path), found=str(error), next="curate verify", exit_code=1
        ) from error
    if found.dtype != PAIR or found.size != n:
        raise CurateError(
            "pairs and manifest do not belong together", where=str(path), found=f"{found.size} pairs", allowed=str(n),
            next="curate verify", exit_code=1,
        )  # fmt: skip
    return np.asarray(found)
