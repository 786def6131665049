"""The streams of a run's manifests, one after the other, as one. Manifest paths in; phases, rows and names of all of them out.

Components and languages of the same name are the same; phases of the same name are told apart by their mixture's name, and its
number where mixtures have one name too. Rows, phases and batches are those of mixture.stream, their numbers those of the run. What is
held out is what the last manifest holds out.
May import curate.errors, mixture.stream, mixture.batches; numpy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from mixture.batches import Phase
from mixture.stream import Batch, Row, Stream


class Streams:
    """Raises CurateError where the manifests have different tokenizers."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self.streams = list(streams)
        self.manifests: list[dict] = [stream.manifest for stream in streams]
        if len({manifest["tokenizer"]["sha256"] for manifest in self.manifests}) > 1:
            raise CurateError(
                "these manifests have different tokenizers", where="manifest",
                found=", ".join(f"{m['name']}: {m['tokenizer']['name']}" for m in self.manifests), allowed="one tokenizer for all",
            )  # fmt: skip
        self.firsts = [0, *np.cumsum([stream.n_sequences for stream in streams]).tolist()][:-1]  # first row of each
        self.n_sequences = sum(stream.n_sequences for stream in streams)
        self.phases = self._phases()
        self.components = list(dict.fromkeys(name for stream in streams for name in stream.components))
        self.languages = list(dict.fromkeys(name for stream in streams for name in stream.languages))
        self.n_held_out, self.held_out_length = streams[-1].n_held_out, streams[-1].held_out_length

    def _phases(self) -> tuple[Phase, ...]:
        names = [phase.name for stream in self.streams for phase in stream.phases]
        mixtures = [manifest["name"] for manifest in self.manifests]
        if len(set(mixtures)) < len(mixtures):
            mixtures = [f"{name}-{number}" for number, name in enumerate(mixtures, start=1)]
        return tuple(
            phase._replace(
                name=f"{mixture}/{phase.name}" if names.count(phase.name) > 1 else phase.name,
                first_index=first + phase.first_index,
            )
            for first, mixture, stream in zip(self.firsts, mixtures, self.streams, strict=True)
            for phase in stream.phases
        )

    def read(self, indices: Sequence[int], n_empty: int = 0, phase: int | None = None) -> Batch:
        """Rows of one phase of the run, then empty ones, as mixture.stream gives them."""
        number = self._stream_of(indices[0] if len(indices) else self.phases[phase or 0].first_index)
        before = sum(len(stream.phases) for stream in self.streams[:number])
        own = None if phase is None else phase - before
        batch = self.streams[number].read([i - self.firsts[number] for i in indices], n_empty, own)
        return batch._replace(
            component=self._renumbered(batch.component, self.streams[number].components, self.components),
            language=self._renumbered(batch.language, self.streams[number].languages, self.languages),
        )

    def row(self, i: int) -> Row:
        number = self._stream_of(i)
        return self._row(self.streams[number].row(i - self.firsts[number]), number)

    def held_out(self, j: int) -> Row:
        return self._row(self.streams[-1].held_out(j), -1)

    def row_hash_of(self, i: int) -> bytes:
        number = self._stream_of(i)
        return self.streams[number].row_hash_of(i - self.firsts[number])

    def documents_of(self, i: int) -> tuple[Path, np.ndarray]:
        """(folder of the build, rows of its selection.parquet) of a row of the stream."""
        number = self._stream_of(i)
        stream = self.streams[number]
        return stream.path.parent, stream.chunks(stream.sequence_of(i - self.firsts[number]))["document"]

    def _stream_of(self, i: int) -> int:
        return bisect_right(self.firsts, i) - 1

    def _row(self, row: Row, number: int) -> Row:
        stream = self.streams[number]
        component = self._renumbered(np.array([row.component]), stream.components, self.components)
        return row._replace(
            component=int(component[0]), language=self._renumbered(row.language, stream.languages, self.languages)
        )

    @staticmethod
    def _renumbered(codes: np.ndarray, own: Sequence[str], all_names: Sequence[str]) -> np.ndarray:
        """Places in the run's names for places in a stream's; -1 stays."""
        return np.array([*(all_names.index(name) for name in own), -1], codes.dtype)[codes]


def open_streams(paths: Sequence[Path]) -> Streams:
    return Streams([Stream(path) for path in paths])
