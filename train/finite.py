"""A step's losses and its gradient's norm in; nothing out, or a CurateError that names the documents of the step.

May import curate.errors, curate.store, train.*; numpy, pyarrow, torch.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator

from curate.errors import CurateError
from curate.store import write_json
from train.batch import EMPTY, Rows
from train.sums import Tally

if TYPE_CHECKING:
    from train.streams import Streams

COLUMNS = ["component", "source", "id", "pass", "chunk"]
SHOWN = 3  # documents in the message; all of them in the file


def check_finite(
    tally: Tally,
    norm: float,
    step: int,
    rows: Rows,
    losses: torch.Tensor,
    accelerator: Accelerator,
    streams: Streams,
    folder: Path,
) -> None:
    """Raises CurateError on NaN or Inf in the loss or the gradient; all processes raise together."""
    if tally.is_finite and math.isfinite(norm):
        return
    mine = np.stack([rows.index, losses.isfinite().all(1).cpu().numpy()], axis=1).astype(np.int64)
    lines = accelerator.gather(torch.from_numpy(mine).to(accelerator.device)).cpu().numpy()
    lines = lines[lines[:, 0] != EMPTY]
    bad = lines[lines[:, 1] == 0, 0].tolist() or lines[:, 0].tolist()
    path = folder / f"not-finite-step-{step + 1:06d}.json"
    documents = [{"row": row, **document} for row in bad for document in documents_of(streams, row)]
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"step": step + 1, "rows": bad, "gradient_norm": str(norm), "documents": documents})
    first, last = min(bad), max(bad)
    shown = "; ".join(f"{d['source']} {d['id'][:16]} in row {d['row']}" for d in documents[:SHOWN])
    what = "loss" if not tally.is_finite else f"gradient ({norm})"
    raise CurateError(
        f"step {step + 1} gave no finite {what}", where=f"stream rows {first} to {last}",
        found=f"{len(documents)} documents: {shown}{' ...' if len(documents) > SHOWN else ''} (all in {path})", exit_code=1,
        next=f"curate explain BUILD ID; leave these rows out: --set 'skip=[{first}-{last}]'; or a lower schedule.peak_lr",
    )  # fmt: skip


def documents_of(streams: Streams, row: int) -> list[dict]:
    """{component, source, id, pass, chunk} of every chunk of a row of the stream; none where the build's list is not here."""
    build, numbers = streams.documents_of(row)
    if not (build / "selection.parquet").exists():  # tokens went to another machine without it
        return []
    file = pq.ParquetFile(build / "selection.parquet")
    ends = np.cumsum([file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)])
    group = np.searchsorted(ends, numbers, side="right")
    tables = {g: file.read_row_group(g, COLUMNS) for g in np.unique(group).tolist()}
    starts = np.concatenate(([0], ends))
    return [tables[g].slice(n - starts[g], 1).to_pylist()[0] for g, n in zip(group.tolist(), numbers.tolist(), strict=True)]
