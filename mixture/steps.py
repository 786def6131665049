"""Which rows of the stream one training step takes, on all ranks or on one: plain arithmetic, no state.

A manifest, a step and a global batch in; stream indices out, and the texts of a row. Global batch g (from 0) of G rows is stream rows
[gG, (g+1)G); rank r of W takes the r-th of W equal runs of it; rows past the end of the stream are empty, never repeats. People count
steps from 1, as the log and the checkpoints of a run do: step s trains global batch s - 1. Imports errors, manifest, recipe, units,
and mixture's stream and tokenizer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.recipe import Recipe
from curate.recipe.files import load_extended
from curate.units import quantity
from mixture.stream import Stream
from mixture.tokenizer import load_tokenizer

ALLOWED = "'512 sequences', '2M tokens', or a run file such as recipes/train/quickstart.yaml"
_SEQUENCES = re.compile(r"\s*([0-9][0-9_,]*)\s+sequences?\s*")


@dataclass(frozen=True)
class Asked:
    """A step, or (without a global batch) a single row: `rows` may pass the end of the stream, as the last batch does."""

    rows: range  # stream indices
    n_rows: int  # of the stream
    step: int | None = None  # from 1
    n_steps: int | None = None
    batch_rows: int | None = None
    rank: int | None = None
    world: int | None = None


def rank_rows(step: int, batch_rows: int, rank: int, world: int) -> range:
    """Stream indices of one rank in global batch `step`, counted from 0; they may pass the end of the stream."""
    each = batch_rows // world
    start = step * batch_rows + rank * each
    return range(start, start + each)


def n_rows(manifest: dict) -> int:
    """Rows of the stream, over all phases."""
    return sum(phase["order"]["n_sequences"] for phase in manifest["phases"])


def n_steps(n_rows: int, batch_rows: int) -> int:
    return math.ceil(n_rows / batch_rows)


def place(stream_index: int, batch_rows: int) -> tuple[int, int]:
    """(step from 1, row inside its global batch from 0) of a stream index."""
    step, row = divmod(stream_index, batch_rows)
    return step + 1, row


def ask(
    manifest: dict, number: int, batch_rows: int | None = None, *, rank: int | None = None, world: int | None = None
) -> Asked:
    """Step `number` (from 1) of `batch_rows` rows; without `batch_rows` the one row with stream index `number` (from 0).

    Raises CurateError for a step, a row or a rank that is not there.
    """
    n = n_rows(manifest)
    if batch_rows is None:
        if rank is not None or world is not None:
            raise CurateError("a rank is a part of a global batch: --global-batch is missing", where="--rank", allowed=ALLOWED)
        if not 0 <= number < n:
            raise CurateError(
                "the stream has no such row", where="S", found=str(number), allowed=f"a stream index, 0 to {n - 1}",
                next="--global-batch makes S a training step",
            )  # fmt: skip
        return Asked(range(number, number + 1), n)
    steps = n_steps(n, batch_rows)
    if not 1 <= number <= steps:
        raise CurateError(
            "there is no such step", where="S", found=str(number),
            allowed=f"1 to {steps}, as a run's log counts them ({n} sequences, {batch_rows} a step)",
        )  # fmt: skip
    if (rank is None) != (world is None):
        raise CurateError("--rank and --world-size belong together", where="--rank" if world is None else "--world-size")
    if rank is None or world is None:
        return Asked(rank_rows(number - 1, batch_rows, 0, 1), n, number, steps, batch_rows)
    if world < 1 or batch_rows % world:
        raise CurateError(
            "the global batch does not divide among the processes", where="--world-size",
            found=f"{batch_rows} sequences, {world} processes", allowed="a divisor of the global batch",
        )  # fmt: skip
    if not 0 <= rank < world:
        raise CurateError("there is no such rank", where="--rank", found=str(rank), allowed=f"0 to {world - 1}")
    return Asked(rank_rows(number - 1, batch_rows, rank, world), n, number, steps, batch_rows, rank, world)


def batch_rows(manifest: dict, text: str) -> int:
    """Rows of a global batch: `512 sequences`, `2M tokens`, or the path of a run file, whose `global_batch` it is.

    Raises CurateError where it is not whole rows, and where the run file trains from another stream than this manifest's.
    """
    if match := _SEQUENCES.fullmatch(text):
        rows = int(match[1].replace("_", "").replace(",", ""))
        if rows < 1:
            raise CurateError("a global batch has at least one sequence", where="--global-batch", found=text, allowed=ALLOWED)
        return rows
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return _whole_rows(manifest, *_of_run(manifest, Path(text)))
    return _whole_rows(manifest, text, "--global-batch")


def _of_run(manifest: dict, path: Path) -> tuple[Any, str]:
    """(global_batch of a run file, where it stands)."""
    data, where = load_extended(path)
    if "global_batch" not in data:
        raise CurateError("this is not a run file: it has no global_batch", where=str(path), allowed=ALLOWED)
    theirs = Path(str(data.get("manifest", "")))
    if theirs.is_file() and (root := read_manifest(theirs)["roots"]["stream"]) != manifest["roots"]["stream"]:
        raise CurateError(
            "this run trains from another stream", where=where.get(("manifest",), str(path)),
            found=f"{theirs}, stream root {root[:8]}", allowed=f"stream root {manifest['roots']['stream'][:8]}",
            next=f"ask {theirs.parent} instead",
        )  # fmt: skip
    return data["global_batch"], where[("global_batch",)]


def _whole_rows(manifest: dict, text: Any, where: str) -> int:
    length = manifest["phases"][0]["sequence_length"]
    try:
        tokens = quantity(text, ("tokens",), where).count
    except CurateError as error:
        error.allowed = ALLOWED
        raise
    if tokens % length or not tokens:
        low = max(1, tokens // length) * length
        raise CurateError(
            f"a global batch is whole sequences of {length} tokens", where=where, found=f"{tokens} tokens",
            allowed=f"{low} tokens or {low + length} tokens",
        )  # fmt: skip
    return tokens // length


def reader(manifest_path: Path, recipe: Recipe) -> Callable[[int], list[str]]:
    """Stream index -> what the model reads in that row, chunk by chunk, decoded: cuts are made, special tokens stand as their strings.

    Raises CurateError where the recipe's tokenizer is not the manifest's.
    """
    stream, tokenizer = Stream(manifest_path), load_tokenizer(recipe.tokenizer, recipe.path)
    if tokenizer.sha256 != (stated := stream.manifest["tokenizer"]["sha256"]):
        raise CurateError(
            "this tokenizer is not the one the manifest was made with", where=tokenizer.files.name,
            found=f"sha256 {tokenizer.sha256[:16]}", allowed=f"sha256 {stated[:16]}", next="the same command without --texts",
        )  # fmt: skip

    def texts(index: int) -> list[str]:
        row = stream.row(index)
        ids, number = row.input_ids[: row.n_tokens], row.document[: row.n_tokens]
        return [tokenizer.decode(ids[number == n]) for n in range(int(number.max(initial=-1)) + 1)]

    return texts
