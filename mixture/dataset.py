"""The stream as a map-style dataset for other trainers: torch's DataLoader, accelerate, transformers, TRL. No torch here.

A manifest and a global batch in; rows as dicts of arrays out, and the lists of rows that make up the micro batches of a rank. Items 0 to
n - 1 are the rows of the stream; item n + f is an empty row of phase f, which fills that phase's last global batch. `labels` are as
transformers and TRL take them, at the place of their own token; `shift_labels` are the stream's (transformers' name for labels that are
shifted already), which also have the token after a chunk that goes on in another row. Imports errors, mixture's batches and stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.errors import CurateError
from mixture.batches import Share
from mixture.stream import IGNORED, Batch, Stream

if TYPE_CHECKING:
    import datasets

# What an item may have; seq_lengths differ in length from row to row, so torch's default_collate takes the others only.
COLUMNS = ("input_ids", "labels", "shift_labels", "position_ids", "seq_lengths", "n_tokens", "component", "stream_index")


class Rows:
    """Item -> {input_ids, labels, shift_labels, position_ids: int64 (L,), seq_lengths: list, n_tokens, component,
    stream_index: int}.

    L is the sequence length of the row's phase. `seq_lengths` are the tokens of each chunk, then of the padding, and sum up to L: what
    isolates documents by them isolates the padding too. `n_tokens` are without padding. Of an empty row component and stream_index are
    -1. Pickles as a path.
    """

    def __init__(self, manifest: Path | str, columns: Sequence[str] = COLUMNS, verify: bool = False) -> None:
        if unknown := set(columns) - set(COLUMNS):
            raise ValueError(f"no column {', '.join(sorted(unknown))}; there are {', '.join(COLUMNS)}")
        self.stream, self.columns = Stream(manifest, verify), tuple(columns)

    def __len__(self) -> int:
        return self.stream.n_sequences

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.__getitems__([item])[0]

    def __getitems__(self, items: Sequence[int]) -> list[dict[str, Any]]:
        """Items of one phase, read at once: what torch's DataLoader asks for."""
        rows = [i for i in items if i < len(self)]
        empty = [i - len(self) for i in items if i >= len(self)]
        if len(set(empty)) > 1 or max(empty, default=0) >= len(self.stream.phases):
            raise IndexError(
                f"no items {items}: 0 to {len(self) - 1} are rows, after them one for each of {len(self.stream.phases)} phases"
            )
        made = iter(self._dicts(self.stream.read(rows, len(empty), empty[0] if empty else None), rows))
        of_rows = [next(made) for _ in rows]
        return [of_rows.pop(0) if i < len(self) else next(made) for i in items]

    def _dicts(self, batch: Batch, rows: Sequence[int]) -> list[dict[str, Any]]:
        index = [*rows] + [-1] * (len(batch.component) - len(rows))
        columns = {
            "input_ids": lambda: batch.input_ids.astype(np.int64), "labels": lambda: unshifted(batch),
            "shift_labels": lambda: batch.labels, "position_ids": lambda: batch.position_ids.astype(np.int64),
            "seq_lengths": lambda: [_lengths(document) for document in batch.document],
            "n_tokens": lambda: batch.n_tokens.tolist(), "component": lambda: batch.component.tolist(), "stream_index": lambda: index,
        }  # fmt: skip
        made = [columns[name]() for name in self.columns]
        return [dict(zip(self.columns, values, strict=True)) for values in zip(*made, strict=True)]


def unshifted(batch: Batch) -> np.ndarray:
    """Labels at the place of their own token, int64 (B, L); those of a token in another row have no place and are left out."""
    labels = np.full_like(batch.labels, IGNORED)
    labels[:, 1:] = np.where(batch.position_ids[:, 1:] > 0, batch.labels[:, :-1], IGNORED)
    return labels


def _lengths(document: np.ndarray) -> list[int]:
    """Tokens of each chunk of a row, then of its padding."""
    begins = np.flatnonzero(np.diff(document, prepend=-2))
    return np.diff(begins, append=document.size).tolist()


class Batches:
    """Micro batches of one rank, as lists of items of `rows`: a `batch_sampler`. Its only state is the step that it begins with.

    A global batch is `tokens`, or `sequences` rows; each rank takes an equal run of it, in `accumulate` equal micro batches. accelerate
    must not share them out again: give this `rank` and `world`, and do not give the DataLoader to `prepare`. Or leave rank and world out
    and let accumulate be that of all ranks together: then `prepare` deals whole micro batches round, and as every one is full and each
    rank gets as many, `even_batches` finds nothing to repeat. Raises CurateError where rows do not divide.
    """

    drop_last = False

    def __init__(
        self, rows: Rows, *, tokens: int | None = None, sequences: int | None = None, accumulate: int = 1, rank: int = 0,
        world: int = 1, step: int = 0, n_steps: int | None = None,
    ) -> None:  # fmt: skip
        self.rows, self.rank, self.world, self.accumulate, self.step = rows, rank, world, accumulate, step
        self.steps = rows.stream.steps(tokens, sequences)
        self.end = self.steps.n_steps if n_steps is None else min(step + n_steps, self.steps.n_steps)
        for phase, size in zip(self.steps.phases, self.steps.rows, strict=True):
            if size % (world * accumulate):
                raise CurateError(
                    "the global batch does not divide into micro batches", where=f"phase {phase.name}",
                    found=f"{size} sequences, {world} processes, {accumulate} micro batches each",
                    allowed=f"a multiple of {world * accumulate} sequences",
                )  # fmt: skip

    def __len__(self) -> int:
        return max(0, self.end - self.step) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.step, self.end):
            items = self.items(self.steps.share(step, self.rank, self.world))
            size = len(items) // self.accumulate
            yield from (items[at : at + size] for at in range(0, len(items), size))

    def items(self, share: Share) -> list[int]:
        return [*share.rows, *[len(self.rows) + share.phase] * share.n_empty]

    @property
    def batch_size(self) -> int | None:
        """Rows of a micro batch; None where phases differ. accelerate drops micro batches of another size than is stated here."""
        sizes = {size // self.world // self.accumulate for size in self.steps.rows}
        return sizes.pop() if len(sizes) == 1 else None


def for_datasets(batches: Batches) -> datasets.Dataset:
    """The items of `batches` one after the other as a Hugging Face dataset, which TRL's SFTTrainer insists on; no token is copied.

    It reads a row when it is asked for it. SFTConfig(dataset_kwargs={"skip_prepare_dataset": True}, padding_free=True, max_length=None,
    remove_unused_columns=False, train_sampling_strategy="sequential", shuffle_dataset=False), with batches of all ranks together
    (rank and world left out) and per_device_train_batch_size = batches.batch_size, trains exactly the steps.
    """
    items = [item for batch in batches for item in batch]
    return read_when_asked(items, _Read(batches.rows))


def read_when_asked(items: Sequence[int], read: Callable[[Sequence[int]], dict[str, list[Any]]]) -> datasets.Dataset:
    """A Hugging Face dataset that has an item for each of `items`; `read` (picklable) gives the columns of those that are asked for."""
    import datasets

    return datasets.Dataset.from_dict({"item": items}).with_transform(_Asked(read))


class _Asked:
    def __init__(self, read: Callable[[Sequence[int]], dict[str, list[Any]]]) -> None:
        self.read = read

    def __call__(self, asked: dict[str, list[int]]) -> dict[str, list[Any]]:
        return self.read(asked["item"])


class _Read:
    """Items -> columns of rows. A class because a `datasets` transform is pickled for worker processes."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __call__(self, items: Sequence[int]) -> dict[str, list[Any]]:
        found = self.rows.__getitems__(items)
        return {name: [row[name] for row in found] for name in self.rows.columns}
