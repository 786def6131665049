"""The user's own model and rows of the stream in; nothing out, or a CurateError before step one.

Two checks: a document costs the same alone as in its row, and changing one document moves no other document's logits.
May import curate.errors, train.*; torch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from curate.errors import CurateError
from train.batch import Rows, collate
from train.model import logits, losses

if TYPE_CHECKING:
    from mixture.stream import Stream

# Mean loss of a document, packed against alone, in nats per token. fp32: rounding is below 1e-5 (tests/train). bf16: a guess.
LOSS_TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
# Logits of an untouched document when another one changes, as a share of the largest logit. Masked positions weigh exactly 0,
# so this is rounding of kernels that choose other tilings, not of the arithmetic.
LOGIT_TOLERANCE = 1e-5
LOOK_AT = 256  # rows searched for documents that share a row


def check(model: torch.nn.Module, stream: Stream, dtype: str, n_rows: int, device: torch.device, phase: int = 0) -> str:
    """Compares up to `n_rows` rows of a phase at once, as the micro batch will; says in one line what was found."""
    indices = shared_rows(stream, n_rows, phase)
    if not indices:
        looked = min(LOOK_AT, stream.phases[phase].n_rows)
        return f"isolation: no two documents share a row in the first {looked}, nothing to check"
    rows = collate([stream.row(i) for i in indices], indices).to(device)
    training = model.training
    model.eval()
    with torch.no_grad():
        n, worst = _packed_against_alone(model, rows, dtype)
        moved = _perturbed(model, rows, dtype)
    model.train(training)
    advice = "attention: sdpa or eager isolate documents for models that build their mask from position_ids"
    if moved > LOGIT_TOLERANCE:
        raise CurateError(
            "this model sees across documents: changing one document moved the logits of another in the same row",
            where=f"stream rows {indices}", found=f"{moved:.1e} of the largest logit", allowed=f"at most {LOGIT_TOLERANCE:.0e}",
            next=advice, exit_code=1,
        )  # fmt: skip
    if worst > LOSS_TOLERANCE[dtype]:
        raise CurateError(
            "a document's loss in its packed row is not its loss alone",
            where=f"stream rows {indices}", found=f"{worst:.1e} nats per token",
            allowed=f"at most {LOSS_TOLERANCE[dtype]:.0e} in {dtype}", next=advice, exit_code=1,
        )  # fmt: skip
    return f"isolation: {n} documents in {len(rows)} rows cost the same alone (within {worst:.0e}), none sees another"


def shared_rows(stream: Stream, n_rows: int, phase: int) -> list[int]:
    """Stream indices of a phase's first rows that hold two documents or more."""
    found: list[int] = []
    own = stream.phases[phase]
    for i in range(own.first_index, min(own.first_index + LOOK_AT, own.end)):
        if int(np.max(stream.row(i).document)) >= 1:
            found.append(i)
        if len(found) == n_rows:
            break
    return found


def _documents(rows: Rows) -> list[tuple[int, slice]]:
    """(row, span) of every document of at least two tokens."""
    spans: list[tuple[int, slice]] = []
    for i, document in enumerate(rows.document.cpu().numpy()):
        for k in range(int(document.max()) + 1):
            at = np.flatnonzero(document == k)
            if len(at) > 1:
                spans.append((i, slice(int(at[0]), int(at[-1]) + 1)))
    return spans


def _packed_against_alone(model: torch.nn.Module, rows: Rows, dtype: str) -> tuple[int, float]:
    packed = losses(model, rows, dtype)
    worst, spans = 0.0, _documents(rows)
    for i, span in spans:
        length = span.stop - span.start
        alone = Rows(
            rows.index[i : i + 1], rows.component[i : i + 1], rows.input_ids[i : i + 1, span],
            torch.arange(length, device=packed.device).unsqueeze(0), rows.labels[i : i + 1, span], rows.document[i : i + 1, span],
        )  # fmt: skip
        difference = (losses(model, alone, dtype).sum() - packed[i, span].sum()).abs().item() / length
        worst = max(worst, difference)
    return len(spans), worst


def _perturbed(model: torch.nn.Module, rows: Rows, dtype: str) -> float:
    """Change every token of each row's first document; the share by which the logits of the others moved."""
    first = rows.document == 0
    others = rows.document > 0
    vocabulary = model.get_input_embeddings().num_embeddings
    before = logits(model, rows, dtype)[others]
    changed = torch.where(first, (rows.input_ids + 1) % vocabulary, rows.input_ids)
    after = logits(model, replace(rows, input_ids=changed), dtype)[others]
    return ((after - before).abs().max() / before.abs().max().clamp_min(1e-9)).item()
