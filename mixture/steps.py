"""What people ask about steps: a step, or a row, beside a global batch in; the rows of the stream it takes out, and their texts.

People count steps from 1, as the log and the checkpoints of a run do: step s trains global batch s - 1 of mixture.batches, which has
the arithmetic. Imports errors, manifest, recipe, units, and mixture's batches, stream and tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.recipe import Recipe
from curate.recipe.files import load_extended
from curate.units import quantity
from mixture.batches import Steps, in_rows, in_tokens, phases_of
from mixture.stream import IGNORED, Stream
from mixture.tokenizer import Tokenizer, load_tokenizer

ALLOWED = "'512 sequences', '2M tokens', or a run file such as recipes/train/quickstart.yaml"
_SEQUENCES = re.compile(r"\s*([0-9][0-9_,]*)\s+sequences?\s*")


@dataclass(frozen=True)
class Asked:
    """A step, or (without a global batch) a single row."""

    rows: range  # stream indices, all of one phase
    n_empty: int = 0  # masked rows that follow them
    step: int | None = None  # from 1
    n_steps: int | None = None
    batch_rows: int | None = None  # in this phase
    rank: int | None = None
    world: int | None = None


def ask(manifest: dict, number: int, steps: Steps | None = None, *, rank: int | None = None, world: int | None = None) -> Asked:
    """Step `number` (from 1) of a run; without `steps` the one row with stream index `number` (from 0).

    Raises CurateError for a step, a row or a rank that is not there.
    """
    if steps is None:
        n = sum(phase.n_rows for phase in phases_of(manifest))
        if rank is not None or world is not None:
            raise CurateError("a rank is a part of a global batch: --global-batch is missing", where="--rank", allowed=ALLOWED)
        if not 0 <= number < n:
            raise CurateError(
                "the stream has no such row", where="S", found=str(number), allowed=f"a stream index, 0 to {n - 1}",
                next="--global-batch makes S a training step",
            )  # fmt: skip
        return Asked(range(number, number + 1))
    if not 1 <= number <= steps.n_steps:
        raise CurateError(
            "there is no such step", where="S", found=str(number),
            allowed=f"1 to {steps.n_steps}, as a run's log counts them ({_shape(steps)})",
        )  # fmt: skip
    batch_rows = steps.rows[steps.phase_of(number - 1)]
    if (rank is None) != (world is None):
        raise CurateError("--rank and --world-size belong together", where="--rank" if world is None else "--world-size")
    if rank is not None and world is not None:
        if world < 1 or any(rows % world for rows in steps.rows):
            raise CurateError(
                "the global batch does not divide among the processes", where="--world-size",
                found=f"{said(steps.rows)} sequences, {world} processes", allowed="a divisor of the global batch",
            )  # fmt: skip
        if not 0 <= rank < world:
            raise CurateError("there is no such rank", where="--rank", found=str(rank), allowed=f"0 to {world - 1}")
    share = steps.share(number - 1, rank or 0, world or 1)
    return Asked(share.rows, share.n_empty, number, steps.n_steps, batch_rows, rank, world)


def said(rows: tuple[int, ...]) -> str:
    """Rows of a global batch, phase by phase where they differ: `8` or `8 and 4`."""
    return " and ".join(map(str, rows if len(set(rows)) > 1 else rows[:1]))


def _shape(steps: Steps) -> str:
    return f"{steps.n_rows} sequences, {said(steps.rows)} a step"


def steps_of(manifest: dict, text: str) -> Steps:
    """The steps of a run with global batches of `512 sequences`, `2M tokens`, or those of a run file, whose path it is.

    Raises CurateError where a batch is not whole rows, and where the run file trains from another stream than this manifest's.
    """
    phases = phases_of(manifest)
    if match := _SEQUENCES.fullmatch(text):
        rows = int(match[1].replace("_", "").replace(",", ""))
        if rows < 1:
            raise CurateError("a global batch has at least one sequence", where="--global-batch", found=text, allowed=ALLOWED)
        return in_rows(phases, rows)
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        given, where = _of_run(manifest, Path(text))
    else:
        given, where = text, "--global-batch"
    try:
        tokens = quantity(given, ("tokens",), where).count
    except CurateError as error:
        error.allowed = ALLOWED
        raise
    return in_tokens(phases, tokens, where)


def place(steps: Steps, stream_index: int) -> tuple[int, int]:
    """(step from 1, row inside its global batch from 0) of a stream index."""
    step, row = steps.place(stream_index)
    return step + 1, row


def _of_run(manifest: dict, path: Path) -> tuple[Any, str]:
    """(global_batch of a run file, where it stands)."""
    data, where = load_extended(path)
    if "global_batch" not in data:
        raise CurateError("this is not a run file: it has no global_batch", where=str(path), allowed=ALLOWED)
    theirs = Path(str(data.get("manifest", "")))
    if (
        "roots" in manifest
        and theirs.is_file()
        and (root := read_manifest(theirs)["roots"]["stream"]) != manifest["roots"]["stream"]
    ):
        raise CurateError(
            "this run trains from another stream", where=where.get(("manifest",), str(path)),
            found=f"{theirs}, stream root {root[:8]}", allowed=f"stream root {manifest['roots']['stream'][:8]}",
            next=f"ask {theirs.parent} instead",
        )  # fmt: skip
    return data["global_batch"], where[("global_batch",)]


def reader(manifest_path: Path, recipe: Recipe) -> Callable[[int], list[str]]:
    """Stream index -> what the model reads in that row, chunk by chunk, decoded: cuts are made, special tokens stand as their strings,
    and where only parts of a chunk are learned they stand between ⟦ and ⟧.

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
        ids, is_target, number = (values[: row.n_tokens] for values in (row.input_ids, row.labels != IGNORED, row.document))
        own = [number == n for n in range(int(number.max(initial=-1)) + 1)]
        return [marked(tokenizer, ids[mine], np.append(False, is_target[mine][:-1])) for mine in own]  # labels are shifted

    return texts


def marked(tokenizer: Tokenizer, ids: np.ndarray, learned: np.ndarray) -> str:
    """The tokens (n,) as text; the runs that are learned (n,) between ⟦ and ⟧, unless all but the first are, which nothing predicts."""
    if learned[1:].all():
        return tokenizer.decode(ids)
    runs = np.split(np.arange(len(ids)), np.flatnonzero(np.diff(learned)) + 1)
    return "".join(f"⟦{tokenizer.decode(ids[run])}⟧" if learned[run[0]] else tokenizer.decode(ids[run]) for run in runs)
