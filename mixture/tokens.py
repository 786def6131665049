"""The tokenize stage: documents and decisions in, one token shard per documents shard out. The only join of text and decisions.

Kept documents only, after their cuts, in the order of id: [bos] + ids + [eos]. Conversations, and in a recipe of kind preference
pairs (pair_tokens.py), are rendered by the chat template first; in one of kind sft a conversation that it refuses has no tokens
(refused.py). Text streams by Parquet row group. A document whose tokens lie in an earlier stage of the same store (same documents,
same settings, other decisions) is copied; the result is the same to the byte.
Imports engine, errors, recipe, store and mixture's cuts, pair_tokens, refused, render, tokenizer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.engine import Task
from curate.errors import CurateError
from curate.recipe import Recipe, Source
from curate.store import Stage, Store, canonical_json, digest
from mixture import pair_tokens, refused
from mixture.cuts import ShardCuts
from mixture.pair_tokens import PairRows
from mixture.probe import probed
from mixture.refused import RefusedRows, may_refuse
from mixture.render import ChatTemplate, TemplateRefuses, load_template, tools_of
from mixture.token_files import TokenShards, close_shard, token_writer
from mixture.token_reuse import find_known
from mixture.tokenizer import Tokenizer, TokenizerFiles, load_tokenizer, open_tokenizer

__all__ = ["TokenShards", "check", "tasks"]

VERSION = 1
BATCH_ROWS = 512  # rows of text held as Python strings at once; documents are a few kB, so a few MB
BATCH_BYTES = 4 << 20  # and fewer where documents are long

# The parity check compares the quick encoder with the tokenizer's library on this much of every shard. Ids are hashes, so the first
# rows are a fair sample; kept and dropped ones alike, so that the outcome does not depend on the decisions and reuse stays exact.
PARITY_DOCUMENTS = (4, 64)  # at least, at most: between them one in 64
PARITY_CHARS = 4096  # of each: 0.15 s of the library at most

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What a worker needs besides the paths."""

    files: TokenizerFiles
    bos: bool
    eos: bool
    loss: str  # "all" | "assistant"
    is_conversation: bool
    reuse_key: str
    is_pair: bool = False
    may_refuse: bool = False


def check(recipe: Recipe) -> Tokenizer:
    """Everything about tokenizing that can be known before the first document; returns the tokenizer.

    Raises CurateError: tokenizer or template missing or unfit, loss "assistant" on a source without conversations, cuts of pairs.
    """
    tokenizer = load_tokenizer(recipe.tokenizer, recipe.path)
    for source in recipe.sources.values():
        if is_pairs(recipe, source):
            _no_cuts(recipe, source.name)
            probed(load_template(tokenizer, "all"), recipe.tokenizer)
        elif source.is_conversation:
            probed(load_template(tokenizer, source.loss), recipe.tokenizer)
        elif source.loss == "assistant":
            raise CurateError(
                "loss: assistant is for conversations", where=f"sources.{source.name}", found=f"type: {source.type}",
                allowed="type: conversation, or loss: all",
            )  # fmt: skip
    return tokenizer


def is_pairs(recipe: Recipe, source: Source) -> bool:
    """Are this source's preferences trained on as pairs, and not as texts?"""
    return recipe.kind == "preference" and source.type == "preference"


def _no_cuts(recipe: Recipe, source: str) -> None:
    """Spans are measured in the prompt with the chosen answer: cut there, the rejected one would still say it."""
    asked = [(f"cuts.{i}", cut.sources) for i, cut in enumerate(recipe.cuts)]
    if recipe.decontaminate and recipe.decontaminate.action == "cut":
        asked.append(("decontaminate", recipe.decontaminate.sources))
    for where, sources in asked:
        if sources is None or source in sources:
            raise CurateError(
                "nothing is cut out of a pair: its answers are compared as they stand", where=where, found=f"source {source}",
                allowed="sources: others, or none", next="a rule drops such a pair, and decontaminate: {action: drop_document}",
            )  # fmt: skip


def tasks(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], decisions: Stage, cuts: Mapping[str, Stage] | None = None
) -> tuple[dict[str, Stage], list[Task]]:
    """One "tokens" stage per source and one task per documents shard; keys are those of the documents.

    `documents`, `cuts` (by source) and `decisions` (keys "<source>.<key>") must be complete. The caller finishes each stage with the keys
    of its tasks' outputs. Counts: documents, tokenized, reused, n_tokens, n_loss_tokens.
    """
    tokenizer = check(recipe)
    stages, found = {}, []
    for source, stage in documents.items():
        keys = [key for key in stage.keys if key != "quarantine"]
        cut = (cuts or {}).get(source)
        parents = [stage.root] if cut is None else [stage.root, cut.root]
        job, settings = _job(recipe, tokenizer, source, parents)
        settings["kept_root"] = _kept_root(decisions, source, keys)
        tokens = store.stage("tokens", version=VERSION, settings=settings, parents=parents)
        stages[source] = tokens
        for key in keys:
            paths = (stage.shard_path(key), decisions.shard_path(f"{source}.{key}"))
            weight = (paths[0] / "documents.parquet").stat().st_size
            cut_path = cut.shard_path(key) / "cuts.parquet" if cut else None
            found.append(Task(((tokens, key),), tokenize_shard, (tokens, key, *paths, job, cut_path), weight))
    return stages, found


def _job(recipe: Recipe, tokenizer: Tokenizer, source: str, parents: list[str]) -> tuple[Job, dict]:
    """`parents`: roots of the documents and, where there are any, of their cuts."""
    spec, kind = recipe.tokenizer, recipe.sources[source]
    is_conversation, is_pair = kind.is_conversation, is_pairs(recipe, kind)
    settings: dict[str, Any] = {
        "tokenizer_sha256": tokenizer.sha256, "bos": spec.bos, "eos": spec.eos, "loss": kind.loss,
        "template_sha256": tokenizer.template_sha256 if is_conversation or is_pair else None,
        **({"pairs": pair_tokens.VERSION} if is_pair else {}),
        **({"refused": refused.VERSION} if may_refuse(recipe, kind) else {}),
    }  # fmt: skip
    texts = dict(zip(("documents", "cuts"), parents, strict=False))
    settings["reuse_key"] = digest(canonical_json({**settings, "version": VERSION, **texts}))
    asks = (spec.bos == "per_document", spec.eos == "per_document")
    job = Job(tokenizer.files, *asks, kind.loss, is_conversation, settings["reuse_key"], is_pair, may_refuse(recipe, kind))
    return job, settings


def _kept_root(decisions: Stage, source: str, keys: list[str]) -> str:
    """Which rows of the documents are kept; the documents' root says which documents those are."""
    parts: list[str | bytes] = []
    for key in keys:
        keep = pq.read_table(decisions.shard_path(f"{source}.{key}") / "decisions.parquet", columns=["keep"])["keep"]
        parts += [key, len(keep).to_bytes(8, "little"), np.packbits(keep.to_numpy()).tobytes()]
    return digest(*parts)


def tokenize_shard(stage: Stage, key: str, documents: Path, decisions: Path, job: Job, cut_path: Path | None) -> None:
    """Tokenize the kept rows of one documents shard and publish them as `stage`'s shard `key`."""
    source = pq.ParquetFile(documents / "documents.parquet")
    ids, keep = _kept(documents, decisions)
    kept_ids = ids.filter(pa.array(keep))
    known = find_known(stage, key, kept_ids, job.reuse_key)
    tokenizer = _checked(open_tokenizer(job.files), source, key, job)
    template = load_template(tokenizer, job.loss) if job.is_conversation or job.is_pair else None
    special = [tokenizer.special[role] if asked else None for role, asked in (("bos", job.bos), ("eos", job.eos))]
    wanted = keep.copy()
    wanted[np.flatnonzero(keep)[known.is_known]] = False
    pairs = PairRows(kept_ids, known) if job.is_pair else None
    refusals = RefusedRows(kept_ids, known) if job.may_refuse else None
    with stage.shard(key) as out:
        with token_writer(out.path, tokenizer.dtype, job.is_pair or job.loss == "assistant") as writer:
            if pairs is not None and template is not None:
                fresh: Iterator[Encoded] = pairs.fresh(source, wanted, template, *special)
            else:
                cuts = ShardCuts(cut_path) if cut_path else None
                made = _fresh(source, wanted, tokenizer, template, cuts, refusals)
                fresh = (NOTHING if one is None else _framed(*one, *special) for one in made)
            for i in range(len(kept_ids)):
                copied = known.copy(i)
                writer.write(*(next(fresh) if copied is None else copied))
        root = close_shard(out.path, writer, kept_ids, job.files.name, tokenizer.dtype)
        if pairs is not None:
            root = digest(root, pairs.write(out.path))
        if refusals is not None:
            root = digest(root, refusals.write(out.path))
        reused = int(known.is_known.sum())
        counts = {
            "documents": len(kept_ids), "tokenized": len(kept_ids) - reused, "reused": reused,
            "n_tokens": sum(writer.n_tokens), "n_loss_tokens": sum(writer.n_loss_tokens),
        }  # fmt: skip
        out.done(len(kept_ids), root, counts)


def _kept(documents: Path, decisions: Path) -> tuple[pa.Array, np.ndarray]:
    """Ids of a shard and which are kept; the two tables must list the same documents in the same order."""
    ids = pq.read_table(documents / "documents.parquet", columns=["id"])["id"].combine_chunks()
    judged = pq.read_table(decisions / "decisions.parquet", columns=["id", "keep"])
    if not ids.equals(judged["id"].combine_chunks()):
        raise RuntimeError(f"{decisions} does not judge the documents of {documents}")
    return ids, judged["keep"].to_numpy()


def _checked(tokenizer: Tokenizer, source: pq.ParquetFile, key: str, job: Job) -> Tokenizer:
    """The tokenizer, or the same by its library where a sample of this shard comes out differently."""
    if tokenizer.backend == tokenizer.library or source.metadata.num_rows == 0:
        return tokenizer
    fewest, most = PARITY_DOCUMENTS
    n_rows = min(most, max(fewest, source.metadata.num_rows // 64))
    sample = next(source.iter_batches(n_rows, columns=["id", "text"]))
    wrong = tokenizer.first_mismatch([text[:PARITY_CHARS] for text in sample["text"].to_pylist()])
    if wrong is None:
        return tokenizer
    names = job.files.name, tokenizer.backend, tokenizer.library, sample["id"][wrong], tokenizer.library, key
    log.warning("%s: %s and %s differ on document %s, so %s does shard %s", *names)
    return tokenizer.by_library()


Encoded = tuple[np.ndarray, np.ndarray | None]  # ids (n,), loss mask (n,) uint8 or None
NOTHING: Encoded = (np.zeros(0, np.uint32), np.zeros(0, np.uint8))  # of what is refused


def _fresh(
    source: pq.ParquetFile, wanted: np.ndarray, tokenizer: Tokenizer, template: ChatTemplate | None, cuts: ShardCuts | None,
    refusals: RefusedRows | None,
) -> Iterator[Encoded | None]:  # fmt: skip
    """Ids and mask of the documents that `wanted` marks, in order, None of what goes into `refusals`; row groups without any are not
    read."""
    column, row = "text" if template is None else "messages", 0
    columns = ["id", column, *(["parts"] if template is not None and template.reads_tools else [])]
    for group in range(source.num_row_groups):
        n_rows = source.metadata.row_group(group).num_rows
        if wanted[row : row + n_rows].any():
            for batch in source.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                rows = row + np.flatnonzero(wanted[row : row + len(batch)])
                chosen = batch.take(pa.array(rows - row))
                row += len(batch)
                values, is_cut = chosen[column], np.zeros(len(rows), bool)
                if cuts is not None:
                    values, is_cut = cuts.apply(rows, values, template is not None)
                parts: list[str | None] = chosen["parts"].to_pylist() if "parts" in columns else [None] * len(rows)
                tools = [tools_of(part) for part in parts]
                yield from _encode_rows(chosen["id"], values, tokenizer, template, is_cut, tools, refusals)
        else:
            row += n_rows


def _encode_rows(
    ids: pa.Array,
    values: pa.Array,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    is_cut: np.ndarray,
    tools: list[str | None],
    refusals: RefusedRows | None,
) -> Iterator[Encoded | None]:
    if template is not None:
        for document, messages, was_cut, given in zip(ids, values, is_cut.tolist(), tools, strict=True):
            if not messages.is_valid:
                raise CurateError("a document of a conversation source has no messages", where=f"document {document}")
            try:
                yield template.encode(json.loads(messages.as_py()), f"document {document}", must_learn=not was_cut, tools=given)
            except TemplateRefuses as refusal:
                if refusals is None:
                    raise
                refusals.add(document.as_py(), refusal)
                yield None
        return
    starts = np.cumsum(pc.binary_length(values).to_numpy(zero_copy_only=False)) // BATCH_BYTES  # number of each row's batch
    for rows in np.split(np.arange(len(values)), np.flatnonzero(np.diff(starts)) + 1):
        yield from ((tokens, None) for tokens in tokenizer.encode_column(values.take(pa.array(rows))))


def _framed(ids: np.ndarray, mask: np.ndarray | None, bos: int | None, eos: int | None) -> Encoded:
    """[bos] + ids + [eos]; a template that writes them itself is not given a second one. The put-in eos is learned where the
    token before it is: there it is the assistant's end."""
    first = [bos] if bos is not None and (not len(ids) or ids[0] != bos) else []
    last = [eos] if eos is not None and (not len(ids) or ids[-1] != eos) else []
    framed = np.concatenate([np.array(first, np.uint32), ids, np.array(last, np.uint32)])
    if mask is None:
        return framed, None
    is_end = mask[-1:] if last else mask[:0]
    return framed, np.concatenate([np.zeros(len(first), np.uint8), mask, is_end])
