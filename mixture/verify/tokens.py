"""Token shards counted again: documents, lengths, masks, roots; then each document's tokens against its text (texts.py).

In: documents, decisions, cuts and token stages, shard by shard. Out: findings with shard, row and id.
Imports store and mixture's cuts, pair_tokens, refused, render, token_files, tokenizer, tokens, verify.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.store import digest, table_root
from mixture import pair_tokens, refused
from mixture.cuts import ShardCuts
from mixture.render import load_template
from mixture.stream import map_tokens
from mixture.token_files import token_dtype
from mixture.tokenizer import Tokenizer
from mixture.tokens import is_pairs
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.pairs import check_pairs
from mixture.verify.report import Report
from mixture.verify.texts import Again, Shard, check_texts

TOKENS = {"tokens.ds", "tokens.ds.loss"}  # files in which damage is traced to a document


def check_tokens(
    stage: Found,
    documents: Found,
    decisions: Found,
    cuts: Found | None,
    recipe: Recipe,
    tokenizer: Tokenizer,
    report: Report,
    build_dir: Path,
    fast: bool,
) -> None:
    """One source's token stage; `fast` decodes one document in a hundred. Damaged tokens or marks are decoded all the same: that
    tells which documents the damage is in."""
    source = recipe.sources[stage.source]
    is_pair = is_pairs(recipe, source)
    template = load_template(tokenizer, "all" if is_pair else source.loss) if source.is_conversation or is_pair else None
    again = Again(recipe, tokenizer, template, is_pair, refused.may_refuse(recipe, source))
    readable = [
        key
        for key in stage.info["keys"]
        if not stage.info["damaged"].get(key, set()) - TOKENS and key in documents.keys and f"{stage.source}.{key}" in decisions.keys
        and (cuts is None or key in cuts.keys)
    ]  # fmt: skip
    report.each(readable, lambda key, own: _check_shard(key, stage, documents, decisions, cuts, again, own, build_dir, fast))


def _check_shard(
    key: str, stage: Found, documents: Found, decisions: Found, cuts: Found | None, again: Again, report: Report, build_dir: Path,
    fast: bool,
) -> None:  # fmt: skip
    folder, damaged = stage.folder / key, stage.info["damaged"].get(key, set())
    index = read(folder / "tokens.parquet", report, build_dir)
    judged = read(decisions.file(f"{stage.source}.{key}", "decisions.parquet"), report, build_dir, ["id", "keep"])
    if index is None or judged is None:
        return
    kept = judged["id"].filter(judged["keep"])
    if not index["id"].combine_chunks().equals(kept.combine_chunks()):
        name = shown(folder / "tokens.parquet", build_dir)
        report.add(name, f"its {index.num_rows:,} rows are not the {len(kept):,} kept documents")
        return
    pairs = read(folder / pair_tokens.NAME, report, build_dir) if again.is_pair else None
    out = read(folder / refused.NAME, report, build_dir) if again.may_refuse else None
    if (again.is_pair and pairs is None) or (again.may_refuse and out is None):
        return
    beside = [table for table in (pairs, out) if table is not None]
    if (arrays := _check_files(folder, index, beside, stage.info["shards"][key]["root"], report, build_dir)) is not None:
        own = ShardCuts(cuts.file(key, "cuts.parquet")) if cuts is not None else None
        keep, path = judged["keep"].to_numpy(), documents.file(key, "documents.parquet")
        refusals = None if out is None else _refusals(out, index, shown(folder / refused.NAME, build_dir), report)
        shard = Shard(stage.source, path, own, keep, index, *arrays, shown(folder / "tokens.ds", build_dir), refusals)
        if pairs is not None:
            check_pairs(shard, again, pairs, shown(folder / pair_tokens.NAME, build_dir), report, fast=fast and not damaged)
        else:
            check_texts(shard, again, report, fast=fast and not damaged, damaged=bool(damaged))
        report.count(tokens=int(arrays[0].size))


def _refusals(out: pa.Table, index: pa.Table, name: str, report: Report) -> dict[str, tuple[str, str]]:
    """id -> (reason, detail). Refused documents stand in the order of the tokens, and have none."""
    said = {row["id"]: (row["reason"], row["detail"]) for row in out.to_pylist()}
    without = zip(index["id"].to_pylist(), index["n_tokens"].to_pylist(), strict=True)
    in_order = [document for document, n_tokens in without if document in said and not n_tokens]
    report.equal(name, "its rows are documents without tokens, in their order", True, in_order == out["id"].to_pylist())
    return said


def _check_files(
    folder: Path, index: pa.Table, beside: list[pa.Table], root: str, report: Report, build_dir: Path
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Lengths, starts, ends, metadata, loss counts and root of one shard. None where its tokens cannot be mapped. `beside`: tables
    that its root is over, too."""
    name = shown(folder / "tokens.parquet", build_dir)
    lengths, starts = index["n_tokens"].to_numpy(), index["token_start"].to_numpy()
    ends = np.cumsum(lengths)
    report.equal(name, "token_start is the sum of the lengths before", True, bool(np.array_equal(starts, ends - lengths)))
    try:
        dtype = token_dtype(folder)
        tokens = map_tokens(folder / "tokens.ds", dtype, int(lengths.sum()))
        loss_file = folder / "tokens.ds.loss"
        loss = map_tokens(loss_file, np.dtype("u1"), tokens.size) if loss_file.exists() else None
        stated_ends = np.fromfile(folder / "tokens.ds.index", "<u8")
        total = int((folder / "tokens.ds.metadata").read_text(encoding="utf-8").split("\n")[1])
    except (CurateError, OSError, ValueError, IndexError, TypeError) as error:
        report.add(shown(folder / "tokens.ds", build_dir), f"unreadable: {' '.join(str(error).split())}")
        return None
    report.equal(
        shown(folder / "tokens.ds.index", build_dir),
        "ends of documents",
        True,
        bool(np.array_equal(stated_ends, ends.astype("u8"))),
    )
    report.equal(shown(folder / "tokens.ds.metadata", build_dir), "tokens", total, tokens.size)
    learned = (
        lengths if loss is None else np.diff(np.concatenate(([0], np.cumsum(loss, dtype=np.int64)))[np.concatenate(([0], ends))])
    )
    report.equal(
        name, "n_loss_tokens are those of the mask", True, bool(np.array_equal(learned, index["n_loss_tokens"].to_numpy()))
    )
    hashes = f"{dtype.str}:{_hash(tokens)}", _hash(loss)
    counted = digest(table_root(index), *hashes)
    for table in beside:
        counted = digest(counted, table_root(table))
    report.equal(shown(folder / "shard.json", build_dir), "root", root, counted)
    return tokens, loss


def _hash(array: np.ndarray | None) -> str:
    state = hashlib.blake2b(digest_size=16)
    if array is not None:
        state.update(np.ascontiguousarray(array).view(np.uint8).data)
    return state.hexdigest()
