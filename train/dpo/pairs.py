"""The pairs of a run's manifests, one after the other, as one; and what must not be among them, said before the first step.

Manifest paths in; pairs with the run's own numbers of component and language out. Phases, names and hashes are those of train.streams.
May import curate.errors, mixture.pairs, train.streams.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from curate.errors import CurateError
from curate.manifest import read_manifest
from mixture.pairs import Pair, PairStream
from train.streams import Streams


class Pairs(Streams):
    """`streams` are PairStreams: what a row is there, is a pair here."""

    def pair(self, i: int) -> Pair:
        number = self._stream_of(i)
        return self._pair(self._stream(number).pair(i - self.firsts[number]), number)

    def held_out_pair(self, j: int) -> Pair:
        return self._pair(self._stream(-1).held_out(j), -1)

    def window(self, i: int) -> int:
        """Tokens that a row of pair i may have."""
        return next(phase.sequence_length for phase in self.phases if i < phase.end)

    def _stream(self, number: int) -> PairStream:
        return cast(PairStream, self.streams[number])

    def _pair(self, pair: Pair, number: int) -> Pair:
        own = self._stream(number)
        return pair._replace(
            component=self.components.index(own.components[pair.component]),
            language=self.languages.index(own.languages[pair.language]),
        )  # fmt: skip


def open_pairs(paths: Sequence[Path]) -> Pairs:
    """Raises CurateError where a manifest is not one of preferences."""
    for path in paths:
        if (kind := read_manifest(path).get("kind")) != "preference":
            raise CurateError(
                "this is no manifest of preferences", where=str(path), found=f"kind: {kind}", allowed="kind: preference",
                next="curate build-mixture with a recipe of kind: preference" + (", or curate train sft" if kind == "sft" else ""),
            )  # fmt: skip
    return Pairs(cast(Any, [PairStream(path) for path in paths]))


def checked(pairs: Pairs, indices: Sequence[int], vocabulary: int) -> Iterator[Pair]:
    """The pairs of these places, each looked at. Raises CurateError for one that teaches nothing or does not fit."""
    for i in indices:
        pair = pairs.pair(i)
        if problem := _problem(pair, pairs.window(i), vocabulary):
            raise CurateError(
                f"a pair cannot be trained: {problem[0]}", where=f"pair {i} of the stream, document {pair.id}", found=problem[1],
                allowed=problem[2], next="build the mixture anew: curate build-mixture leaves such pairs out and lists them",
            )  # fmt: skip
        yield pair


def _problem(pair: Pair, window: int, vocabulary: int) -> tuple[str, str, str] | None:
    """(what, found, allowed)"""
    prompt, chosen, rejected = pair.prompt_ids, pair.chosen_ids, pair.rejected_ids
    if not len(chosen) or not len(rejected):
        return "an answer is empty", f"{len(chosen)} chosen and {len(rejected)} rejected tokens", "at least one token each"
    if not len(prompt):
        return "it has no prompt", "0 tokens", "at least one token, such as a BOS"
    if len(chosen) == len(rejected) and (chosen == rejected).all():
        return "chosen and rejected are the same", f"{len(chosen)} equal tokens", "two different answers"
    if (longest := len(prompt) + max(len(chosen), len(rejected))) > window:
        return "it is longer than the window", f"{longest} tokens", f"at most {window} (sequence_length)"
    if (top := max(int(ids.max()) for ids in (prompt, chosen, rejected))) >= vocabulary:
        return "a token has no row in the model's matrices", f"id {top}", f"ids below {vocabulary}"
    return None
