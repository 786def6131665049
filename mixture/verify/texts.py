"""Every kept document's tokens against its text as it is after its cuts: where they part, down to the token.

In: one shard of documents with its cuts, decisions and tokens, and why it refuses some. Out: findings with source, id and token. A
byte-level tokenizer's tokens are compared as the bytes they stand for; for other tokenizers, and for conversations, the text is encoded
again, as is the text of every document that is found wrong. Imports mixture's cuts, refused, render, tokenizer and verify.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import Recipe
from mixture.cuts import ShardCuts
from mixture.refused import NAME, said
from mixture.render import ChatTemplate, TemplateRefuses, tools_of
from mixture.tokenizer import Tokenizer
from mixture.verify import kernels
from mixture.verify.report import Report

BATCH_ROWS = 512
SAMPLE = 100  # `fast` looks at one document in so many


@dataclass(frozen=True)
class Shard:
    """What is known of one shard. Rows of `index` (schema.TOKENS) are the documents that `keep` marks."""

    source: str
    documents: Path
    cuts: ShardCuts | None
    keep: np.ndarray  # bool (n_documents,)
    index: pa.Table
    tokens: np.ndarray  # (n_tokens,)
    loss: np.ndarray | None  # uint8 (n_tokens,)
    name: str  # of tokens.ds in findings
    refused: Mapping[str, tuple[str, str]] | None = None  # id -> (reason, detail); None where nothing may be refused


class Made(NamedTuple):
    """What a document becomes: ids (n,) and loss mask, or none of them and the (reason, detail) of its refusal."""

    ids: np.ndarray
    mask: np.ndarray | None
    refused: tuple[str, str] | None = None


@dataclass(frozen=True)
class Batch:
    """Kept documents of a shard: rows of its index, and their texts (or messages as JSON) after cuts."""

    rows: np.ndarray
    values: pa.Array
    is_cut: np.ndarray
    tools: list[str | None]  # of conversations, where the template reads them


class Again:
    """How the documents of one source become tokens, [bos] and [eos] included."""

    def __init__(
        self, recipe: Recipe, tokenizer: Tokenizer, template: ChatTemplate | None, is_pair: bool = False, may_refuse: bool = False
    ) -> None:
        self.tokenizer, self.template, self.is_pair, self.may_refuse = tokenizer, template, is_pair, may_refuse
        roles = ((recipe.tokenizer.bos, "bos"), (recipe.tokenizer.eos, "eos"))
        self.bos, self.eos = (tokenizer.special[role] if asked == "per_document" else None for asked, role in roles)
        self.bytes = tokenizer.bytes_of_ids if template is None else None
        self._one = threading.Lock()  # a tokenizer remembers words; template engines keep state

    @cached_property
    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """The bytes of all ids end to end, and where each begins and ends."""
        assert self.bytes is not None
        known = [self.bytes.get(i, b"") for i in range(self.tokenizer.vocab_size)]
        return np.frombuffer(b"".join(known), np.uint8), np.concatenate(([0], np.cumsum([len(data) for data in known])))

    def encode(self, batch: Batch, at: np.ndarray) -> list[Made]:
        """Some documents of a batch."""
        with self._one:
            return self._encode(batch, at)

    def _encode(self, batch: Batch, at: np.ndarray) -> list[Made]:
        values = batch.values.take(pa.array(at)).to_pylist()
        if self.template is None:
            return [Made(self._framed(ids), None) for ids in self.tokenizer.encode_batch(values)]
        found = []
        tools = [batch.tools[i] for i in at.tolist()]
        for value, was_cut, given in zip(values, batch.is_cut[at].tolist(), tools, strict=True):
            try:
                ids, mask = self.template.encode(json.loads(value), must_learn=not was_cut, tools=given)
            except TemplateRefuses as refusal:
                if not self.may_refuse:
                    raise
                found.append(Made(np.zeros(0, np.uint32), np.zeros(0, np.uint8), (refusal.reason, said(refusal))))
                continue
            framed = self._framed(ids, is_template=True)
            if mask is not None:
                before = int(self.bos is not None and not (len(ids) and ids[0] == self.bos))
                after = len(framed) - before - len(ids)
                mask = np.concatenate([np.zeros(before, np.uint8), mask, mask[-1:] if after else mask[:0]])
            found.append(Made(framed, mask))
        return found

    def _framed(self, ids: np.ndarray, is_template: bool = False) -> np.ndarray:
        """A template's own bos and eos count."""
        first = [] if self.bos is None or (is_template and len(ids) and ids[0] == self.bos) else [self.bos]
        last = [] if self.eos is None or (is_template and len(ids) and ids[-1] == self.eos) else [self.eos]
        return np.concatenate([np.array(first, np.uint32), ids, np.array(last, np.uint32)])


def check_texts(shard: Shard, again: Again, report: Report, *, fast: bool, damaged: bool) -> None:
    """Names every document whose tokens (or loss mask) are not those of its text. A damaged file in which no token stands for
    other bytes is encoded again as a whole."""
    n_wrong = 0
    for batch in _batches(shard, again, fast):
        n_wrong += _check(batch, shard, again, report, encode=again.bytes is None)
        report.count(decoded=batch.rows.size)
    if damaged and not n_wrong and again.bytes is not None:
        for batch in _batches(shard, again, fast):
            _check(batch, shard, again, report, encode=True)


def _check(batch: Batch, shard: Shard, again: Again, report: Report, *, encode: bool) -> int:
    begin = shard.index["token_start"].to_numpy()[batch.rows]
    end = begin + shard.index["n_tokens"].to_numpy()[batch.rows]
    wrong = np.arange(batch.rows.size) if encode else _other_bytes(batch, begin, end, shard, again)
    n_wrong = 0
    for i in range(0, wrong.size, BATCH_ROWS):
        some = wrong[i : i + BATCH_ROWS]
        try:
            found = again.encode(batch, some)
        except (CurateError, ValueError) as error:
            report.add(shard.name, f"the text cannot be encoded again: {error}", f"source {shard.source}")
            continue
        for at, made in zip(some.tolist(), found, strict=True):
            here, row = slice(int(begin[at]), int(end[at])), int(batch.rows[at])
            n_wrong += _other_reason(row, made, shard, report)
            if made.refused is None or here.start < here.stop:
                n_wrong += _name(row, here, made.ids, made.mask, shard, again, report, not encode)
    return n_wrong


def _other_reason(row: int, made: Made, shard: Shard, report: Report) -> bool:
    """One finding where refused.parquet does not say of a document what the chat template says of it."""
    document = shard.index["id"][row].as_py()
    stated = (shard.refused or {}).get(document)
    if stated == made.refused:
        return False
    right, wrong = (": ".join(one) if one else "not refused" for one in (made.refused, stated))
    report.add(f"{shard.name}: {NAME}", f"{wrong} stated, {right} found", f"source {shard.source}, id {document}")
    return True


def _other_bytes(batch: Batch, begin: np.ndarray, end: np.ndarray, shard: Shard, again: Again) -> np.ndarray:
    """Documents of the batch whose tokens do not stand for the bytes of their texts."""
    inner = begin + (again.bos is not None), end - (again.eos is not None)
    framed = inner[0] <= inner[1]
    for token, place in ((again.bos, begin), (again.eos, end - 1)):
        if token is not None:
            framed[framed] = shard.tokens[place[framed]] == token
    out = np.zeros(batch.rows.size, np.int64)
    known, ptr = again.table
    kernels.first_wrong(shard.tokens, *inner, known, ptr, *_buffers(batch.values), out)
    return np.flatnonzero((out >= 0) | ~framed)


def _buffers(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts (large_string) end to end, and where each begins and ends."""
    _, offsets, data = texts.buffers()
    if data is None or not data.size:
        text = np.zeros(1, np.uint8)
        text.flags.writeable = False  # as a buffer is: a kernel is compiled for either
    else:
        text = np.frombuffer(data, np.uint8)
    return text, np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _name(
    row: int, here: slice, ids: np.ndarray, mask: np.ndarray | None, shard: Shard, again: Again, report: Report, is_wrong: bool
) -> bool:
    """One finding where the tokens in place are not `ids`, or the marks not `mask`. `is_wrong`: it is known that they are not."""
    stored = shard.tokens[here]
    n = min(stored.size, ids.size)
    parted = np.flatnonzero(stored[:n] != ids[:n])
    first = int(parted[0]) if parted.size else n
    at = f"source {shard.source}, id {shard.index['id'][row]}"
    place = f"{at}, token {first} (token {here.start + first} of the shard)"
    if stored.size != ids.size:
        report.add(shard.name, f"the document has {stored.size:,} tokens, its text gives {ids.size:,}", place)
    elif parted.size:
        unknown = ", outside the vocabulary" if int(stored[first]) >= again.tokenizer.vocab_size else ""
        more = f"; {parted.size - 1:,} more of {n:,} differ" if parted.size > 1 else ""
        report.add(shard.name, f"the token is {stored[first]}{unknown}, the document's text gives {ids[first]}{more}", place)
    elif is_wrong:
        report.add(shard.name, "its tokens are not those of the document's text", at)
    elif (mask is None) != (shard.loss is None):
        report.add(f"{shard.name}.loss", "a loss mask is there where none is due, or the other way round", at)
    elif mask is not None and shard.loss is not None and not np.array_equal(mask, shard.loss[here]):
        first = int(np.flatnonzero(mask != shard.loss[here])[0])
        place = f"{at}, token {first} (token {here.start + first} of the shard)"
        report.add(f"{shard.name}.loss", f"the mark is {shard.loss[here][first]}, the conversation gives {mask[first]}", place)
    else:
        return False
    return True


def _batches(shard: Shard, again: Again, fast: bool) -> Iterator[Batch]:
    """The kept documents, or one in SAMPLE of them."""
    column, row, kept = "text" if again.template is None else "messages", 0, 0
    columns = ["id", column, *(["parts"] if again.template is not None and again.template.reads_tools else [])]
    for batch in pq.ParquetFile(shard.documents).iter_batches(BATCH_ROWS, columns=columns):
        rows = np.flatnonzero(shard.keep[row : row + len(batch)])
        numbers = kept + np.arange(rows.size)
        kept += rows.size
        if fast:
            chosen = np.array([int(batch["id"][i].as_py()[8:14], 16) % SAMPLE == 0 for i in rows.tolist()], np.bool_)
            rows, numbers = rows[chosen], numbers[chosen]
        values, is_cut = pc.cast(batch[column].take(pa.array(rows)), pa.large_string()), np.zeros(rows.size, np.bool_)
        if shard.cuts is not None:
            values, is_cut = shard.cuts.apply(row + rows, values, again.template is not None)
        row += len(batch)
        parts = batch["parts"].take(pa.array(rows)).to_pylist() if "parts" in columns else [None] * rows.size
        if rows.size:
            yield Batch(numbers, values, is_cut, [tools_of(part) for part in parts])
