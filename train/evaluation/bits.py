"""Bits per byte: a model and texts in; nats and bytes of every held-out row or document out. The loss that compares across tokenizers.

Held-out rows of a manifest: by component, by language, by source (bytes of the tokens with a label, as train.evaluate counts them); the model's
tokenizer must be the manifest's. Texts: whole documents in windows of the model's length, their UTF-8 bytes, by the harness's rolling
log-likelihood; before the first token stands BOS (else EOS), whatever the tokenizer adds. May import curate.errors, train.*; pyarrow, torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from curate.errors import CurateError
from mixture.tokenizer import Tokenizer
from train.batch import collate
from train.evaluation.data import Item
from train.evaluation.harness import Asker, Heard
from train.head import IGNORED
from train.streams import Streams
from train.sums import Tally

Lines = dict[tuple[str, str], list[Item]]  # (component | language | source, its name) -> items {item, nats, bytes, n_tokens}


def held_out(
    scorer: torch.nn.Module, streams: Streams, tokenizer: Tokenizer, batch: int, limit: int | None, heard: Heard
) -> Lines:
    """Items are held-out rows, as far as they have text of that component, language or source."""
    found: Lines = defaultdict(list)
    n = min(streams.n_held_out, limit or streams.n_held_out)
    if not n:
        raise CurateError(
            "this manifest holds nothing out", where=str(streams.streams[-1].path), next="add held_out: to the recipe's mixture"
        )
    device, sources = next(scorer.parameters()).device, _sources(streams)
    was_training = scorer.training
    scorer.eval()
    for first in range(0, n, batch):
        numbers = list(range(first, min(n, first + batch)))
        rows = collate([streams.held_out(j) for j in numbers], numbers).to(device)
        with torch.no_grad():
            _, losses = scorer(rows.input_ids, rows.position_ids, rows.labels, torch.zeros_like(rows.labels, dtype=torch.float32))
        for at, j in enumerate(numbers):
            one, own = rows.part(at, 1), losses[at : at + 1]
            tally = Tally.of(one, own, streams, tokenizer.byte_lengths)
            for kind, sums in (("component", tally.components(streams)), ("language", tally.languages(streams))):
                for name, s in sums.items():
                    found[kind, name].append(_line(j, s.loss_sum, s.n_bytes, s.loss_tokens))
            for name, (nats, n_bytes, n_tokens) in _by_source(one, own, tokenizer, sources(j)).items():
                found["source", name].append(_line(j, nats, n_bytes, n_tokens))
            heard()
    scorer.train(was_training)
    return dict(found)


def _line(row: int, nats: float, n_bytes: float, n_tokens: float) -> Item:
    return {"item": f"held_out/{row}", "nats": float(nats), "bytes": int(n_bytes), "n_tokens": int(n_tokens)}


def _sources(streams: Streams) -> Callable[[int], list[str]]:
    """Held-out row -> the source of each of its chunks."""
    stream = streams.streams[-1]
    names = pq.read_table(Path(stream.path).parent / "selection.parquet", columns=["source"])["source"]
    return lambda j: [names[int(row)].as_py() for row in stream.chunks(stream.n_sequences + j)["document"]]


def _by_source(rows: Any, losses: torch.Tensor, tokenizer: Tokenizer, sources: Sequence[str]) -> dict[str, list[float]]:
    """[nats, bytes, loss tokens] of one row."""
    document, labels = rows.document[0].cpu().numpy(), rows.labels[0].cpu().numpy()
    asked = labels != IGNORED
    columns = (losses[0].double().cpu().numpy(), tokenizer.byte_lengths[np.maximum(labels, 0)], np.ones(len(labels)))
    sums = np.stack([np.bincount(document[asked], column[asked], len(sources)) for column in columns], axis=1)
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for name, each in zip(sources, sums.tolist(), strict=True):
        found[name] = [a + b for a, b in zip(found[name], each, strict=True)]
    return {name: values for name, values in found.items() if values[2]}


def texts(asker: Asker, rows: Sequence[Item], heard: Heard) -> list[Item]:
    """Items are documents with a text."""
    for row in rows:
        if not isinstance(row.get("text"), str) or not row["text"]:
            raise CurateError(
                "this item has no text", where=f"item {row['id']}", found=repr(row.get("text"))[:60], allowed="fields: {text: NAME}",
            )  # fmt: skip
    nats = asker.rolling([row["text"] for row in rows], heard)
    return [
        {"item": row["id"], "number": row["number"], "nats": -value, "bytes": len(row["text"].encode()), "n_tokens": n}
        for row, (value, n) in zip(rows, nats, strict=True)
    ]
