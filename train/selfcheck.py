"""The user's own model and rows of the stream in; what was found, a line each, out, or a CurateError before step one.

Checks, on real rows: the loss is that of the model's own logits; a document costs the same alone as in its row; changing one document
moves no other document's logits; as many labels cost something as are asked; the tokenizer's tokens have rows in both matrices, tied as
the config says; and, on a copy, that two steps on one batch make it cheaper.
May import curate.errors, mixture.tokenizer (types), train.*; torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from curate.errors import CurateError
from train.batch import Rows, collate
from train.head import IGNORED
from train.model import Scorer

if TYPE_CHECKING:
    from mixture.tokenizer import Tokenizer
    from train.streams import Streams

# Mean loss of a document, packed against alone, in nats per token. fp32: rounding is below 1e-5 (tests/train). bf16: a guess.
LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
# Loss of a token when another document of its row changes. Masked positions weigh exactly 0, so this is rounding of kernels that choose
# other tilings, not of the arithmetic.
MOVED_TOLERANCE = 1e-4
STEP_SIZES = (1e-2, 1e-3, 1e-4)  # of check_learns, as shares of the weights' norm
LOOK_AT = 256  # rows searched for documents that share a row
ADVICE = "attention: sdpa or eager isolate documents for models that build their mask from position_ids"


def check(
    streams: Streams,
    sizes: dict[int, int],
    tokenizer: Tokenizer | None,
    scorer: Scorer,
    model: torch.nn.Module,
    device: torch.device,
) -> Iterator[str]:
    """One line for each thing found right. `sizes`: row length -> rows in one forward pass; so many are looked at together.

    `model`: the scorer as it is trained, wrapped by accelerate. What needs the scorer's weights as they are is left out where they are
    shared out among processes."""
    training, is_whole = scorer.training, not any(hasattr(p, "full_tensor") for p in scorer.parameters())
    model.eval()
    number = first_asked(streams)
    first = collate([streams.row(number)], [number]).to(device)
    with torch.no_grad():
        yield check_matrices(scorer, tokenizer)
        if is_whole:
            yield check_loss(scorer, first, streams.row(number).n_loss_tokens)
        seen = set()
        for at, phase in enumerate(streams.phases):
            if phase.sequence_length not in seen:
                seen.add(phase.sequence_length)
                said = check_isolation(model, streams, sizes[phase.sequence_length], scorer.dtype, device, at)
                yield said + (f" (phase {phase.name})" if len(streams.phases) > 1 else "")
    if is_whole:
        yield check_learns(scorer, first)
    else:
        yield "weights are shared out: the loss beside the model's logits and two steps on one row are checked by a run on one process"
    model.train(training)


def first_asked(streams: Streams) -> int:
    """The first row with a label: rows of conversations may hold a long prompt alone."""
    for number in range(looked := min(LOOK_AT, streams.n_sequences)):
        if streams.row(number).n_loss_tokens:
            return number
    raise CurateError(
        "nothing is asked: the loss mask is all zero", where=f"stream rows 0 to {looked - 1}", found="no loss token",
        allowed="rows with something to learn", next="loss: of the recipe's sources, and the {% generation %} markers of its chat template",
    )  # fmt: skip


def losses_of(model: torch.nn.Module, rows: Rows) -> torch.Tensor:
    """-ln p of every label, (B, T) float32, by the forward pass that trains."""
    return model(rows.input_ids, rows.position_ids, rows.labels, (rows.labels != IGNORED).float())[1]


def check_matrices(scorer: Scorer, tokenizer: Tokenizer | None) -> str:
    """Embedding and head have a row for every token, and are one matrix exactly where the config says so."""
    causal, config = scorer.causal, scorer.causal.config.get_text_config()
    embedding, head = causal.get_input_embeddings(), causal.get_output_embeddings()
    rows = [_rows(embedding), _rows(head)]
    needed = tokenizer.vocab_size if tokenizer else 0
    if rows[0] != rows[1] or min(rows) < needed:
        raise CurateError(
            "embedding and head have not a row for each token", where="model.init", found=f"{rows[0]} and {rows[1]} rows",
            allowed=f"at least {needed}, the same for both", exit_code=1,
        )  # fmt: skip
    is_tied = _weight(embedding) is _weight(head)
    if is_tied != bool(config.tie_word_embeddings):
        raise CurateError(
            "the config says otherwise about tied weights than the model is", where="model.init",
            found="tied" if is_tied else "two matrices", allowed=f"tie_word_embeddings: {config.tie_word_embeddings}", exit_code=1,
            next="adapt.lora.train_also with both embed_tokens and lm_head, or neither",
        )  # fmt: skip
    return f"matrices: {rows[0]:,} rows for {needed or 'unknown'} tokens, embedding and head {'tied' if is_tied else 'apart'}"


def _weight(module: torch.nn.Module) -> torch.Tensor:
    saved = getattr(module, "modules_to_save", None)
    return (saved[module.active_adapters[0]] if saved is not None else module).weight


def _rows(module: torch.nn.Module) -> int:
    return int(_weight(module).shape[0])


def check_loss(scorer: Scorer, rows: Rows, n_asked: int) -> str:
    """The loss by tiles beside cross-entropy of the model's own logits; and as many labels as the stream counts (`n_asked`)."""
    losses, logits = losses_of(scorer, rows), scorer.logits(rows).float()
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows.labels.flatten(), ignore_index=IGNORED, reduction="none")
    worst, allowed = float((losses.flatten() - plain).abs().max()), 10 * LOSS_TOLERANCE[scorer.dtype]
    if not worst <= allowed:
        raise CurateError(
            "the loss is not that of this model's own logits", where="model.init", found=f"{worst:.1e} nats on a token",
            allowed=f"at most {allowed:.0e}", next="train/head.py does not know what this architecture does to its logits", exit_code=1,
        )  # fmt: skip
    if rows.n_loss_tokens != n_asked:
        raise CurateError(
            "not as many labels as the stream counts", found=str(rows.n_loss_tokens), allowed=str(n_asked), exit_code=1
        )
    return f"loss: that of the model's own logits (within {worst:.0e} nats), {n_asked} labels in the first row"


def check_isolation(
    model: torch.nn.Module, streams: Streams, n_rows: int, dtype: torch.dtype, device: torch.device, phase: int = 0
) -> str:
    """Compares up to `n_rows` rows of a phase at once, as the micro batch will."""
    indices = shared_rows(streams, n_rows, phase)
    if not indices:
        looked = min(LOOK_AT, streams.phases[phase].n_rows)
        return f"isolation: no two documents share a row in the first {looked}, nothing to check"
    rows = collate([streams.row(i) for i in indices], indices).to(device)
    n, worst = _packed_against_alone(model, rows)
    moved = _perturbed(model, rows)
    if not moved <= MOVED_TOLERANCE:
        raise CurateError(
            "this model sees across documents: changing one document moved the loss of another in the same row",
            where=f"stream rows {indices}", found=f"{moved:.1e} nats on a token", allowed=f"at most {MOVED_TOLERANCE:.0e}",
            next=ADVICE, exit_code=1,
        )  # fmt: skip
    if not worst <= LOSS_TOLERANCE[dtype]:
        raise CurateError(
            "a document's loss in its packed row is not its loss alone",
            where=f"stream rows {indices}", found=f"{worst:.1e} nats per token",
            allowed=f"at most {LOSS_TOLERANCE[dtype]:.0e} in {dtype}", next=ADVICE, exit_code=1,
        )  # fmt: skip
    return f"isolation: {n} documents in {len(rows)} rows cost the same alone (within {worst:.0e}), none sees another"


def shared_rows(streams: Streams, n_rows: int, phase: int) -> list[int]:
    """Stream indices of a phase's first rows that hold two documents or more."""
    found: list[int] = []
    own = streams.phases[phase]
    for i in range(own.first_index, min(own.first_index + LOOK_AT, own.end)):
        if int(np.max(streams.row(i).document)) >= 1:
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


def _packed_against_alone(model: torch.nn.Module, rows: Rows) -> tuple[int, float]:
    packed = losses_of(model, rows)
    worst, spans = 0.0, _documents(rows)
    for i, span in spans:
        length = span.stop - span.start
        alone = Rows(
            rows.index[i : i + 1], rows.component[i : i + 1], rows.input_ids[i : i + 1, span],
            torch.arange(length, device=packed.device).unsqueeze(0), rows.labels[i : i + 1, span], rows.document[i : i + 1, span],
            rows.language[i : i + 1, span],
        )  # fmt: skip
        difference = (losses_of(model, alone).sum() - packed[i, span].sum()).abs().item() / length
        worst = max(worst, difference)
    return len(spans), worst


def _perturbed(model: torch.nn.Module, rows: Rows) -> float:
    """Change every token of each row's first document; by how many nats the others' losses moved at most."""
    first, others = rows.document == 0, rows.document > 0
    changed = torch.where(first, rows.input_ids.roll(1, 1), rows.input_ids)
    before, after = losses_of(model, rows)[others], losses_of(model, replace(rows, input_ids=changed))[others]
    return (after - before).abs().max().item()


def check_learns(scorer: Scorer, rows: Rows) -> str:
    """Two steps of plain descent on one row make it cheaper, for some length of step; the weights are put back, bit for bit."""
    weights = [p for p in scorer.parameters() if p.requires_grad]
    kept = [p.detach().clone() for p in weights]
    was = scorer.training
    scorer.eval()  # without dropout
    for size in STEP_SIZES:
        costs = _descend(scorer, rows, weights, size * _size(kept))
        with torch.no_grad():
            for p, before in zip(weights, kept, strict=True):
                p.copy_(before)
        if costs[2] < costs[0]:
            break
    scorer.train(was)
    if not costs[2] < costs[0]:
        raise CurateError(
            "two steps on one row did not make it cheaper: these weights do not learn", where="model.init",
            found=f"{costs[0]:.4f} -> {costs[2]:.4f} nats per token", exit_code=1,
        )  # fmt: skip
    return f"learns: two steps on one row, {costs[0]:.3f} -> {costs[2]:.3f} nats per token, then put back"


def _descend(scorer: Scorer, rows: Rows, weights: list[torch.nn.Parameter], length: float) -> list[float]:
    """The cost before two steps of `length` against the gradient, between them and after them."""
    each = (rows.labels != IGNORED).float() / max(1, rows.n_loss_tokens)
    costs = []
    for last in (False, False, True):
        total, _ = scorer(rows.input_ids, rows.position_ids, rows.labels, each)
        costs.append(total.item())
        if last:
            break
        found = torch.autograd.grad(total, weights, allow_unused=True)
        norm = _size([g for g in found if g is not None])
        with torch.no_grad():
            for p, g in zip(weights, found, strict=True):
                if g is not None:
                    p -= (length / (norm + 1e-12) * g).to(p.dtype)
    return costs


def _size(weights: list[torch.Tensor]) -> float:
    return float(torch.stack([w.float().norm() for w in weights]).norm())
