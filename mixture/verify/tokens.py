"""Token shards counted again and decoded: each kept document's tokens give its text back, as it is after its cuts.

In: documents, decisions, cuts and token stages, shard by shard. Out: findings with shard, row and id. Byte-level tokenizers are decoded
and compared with text_hash; for others, and for conversations, the text is encoded again.
Imports store and mixture's cuts, token_files, tokenizer, render, verify.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.store import digest, table_root
from mixture.cuts import ShardCuts, apply, apply_to_messages
from mixture.render import ChatTemplate, load_template
from mixture.stream import map_tokens
from mixture.token_files import token_dtype
from mixture.tokenizer import Tokenizer
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.report import Report

BATCH_ROWS = 512
PIECE = 1 << 22


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
    """One source's token stage; `fast` decodes one document in a hundred. A damaged tokens.ds is decoded all the same: that
    tells which documents the damage is in."""
    source = recipe.sources[stage.source]
    template = load_template(tokenizer, source.loss) if source.type == "conversation" else None
    for key in stage.info["keys"]:
        damaged = stage.info["damaged"].get(key, set())
        if damaged - {"tokens.ds"} or key not in documents.keys or f"{stage.source}.{key}" not in decisions.keys:
            continue
        if cuts is not None and key not in cuts.keys:
            continue
        folder = stage.folder / key
        index = read(folder / "tokens.parquet", report, build_dir)
        judged = read(decisions.file(f"{stage.source}.{key}", "decisions.parquet"), report, build_dir, ["id", "keep"])
        if index is None or judged is None:
            continue
        name = shown(folder / "tokens.parquet", build_dir)
        kept = judged["id"].filter(judged["keep"])
        if not index["id"].combine_chunks().equals(kept.combine_chunks()):
            report.add(name, f"its {index.num_rows:,} rows are not the {len(kept):,} kept documents")
            continue
        if (arrays := _check_files(folder, index, stage.info["shards"][key]["root"], report, build_dir)) is not None:
            keep = judged["keep"].to_numpy()
            path = documents.file(key, "documents.parquet")
            own = ShardCuts(cuts.file(key, "cuts.parquet")) if cuts is not None else None
            _decode(path, own, keep, index, *arrays, recipe, tokenizer, template, report, shown(folder / "tokens.ds", build_dir),
                    fast and not damaged)  # fmt: skip
            report.count(tokens=int(arrays[0].size))


def _check_files(
    folder: Path, index: pa.Table, root: str, report: Report, build_dir: Path
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Lengths, starts, ends, metadata, loss counts and root of one shard. None where its tokens cannot be mapped."""
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
    report.equal(shown(folder / "shard.json", build_dir), "root", root, digest(table_root(index), *hashes))
    return tokens, loss


def _hash(array: np.ndarray | None) -> str:
    state = hashlib.blake2b(digest_size=16)
    if array is not None:
        for first in range(0, array.size, PIECE):
            state.update(array[first : first + PIECE].tobytes())
    return state.hexdigest()


def _decode(
    path: Path, cuts: ShardCuts | None, keep: np.ndarray, index: pa.Table, tokens: np.ndarray, loss: np.ndarray | None, recipe: Recipe,
    tokenizer: Tokenizer, template: ChatTemplate | None, report: Report, name: str, fast: bool,
) -> None:  # fmt: skip
    """Every kept document (of one shard) against its tokens."""
    starts, lengths = index["token_start"].to_numpy(), index["n_tokens"].to_numpy()
    is_lossless = template is None and tokenizer.is_lossless
    for row, document in enumerate(_kept_rows(path, keep, cuts)):
        if fast and int(document["id"][8:14], 16) % 100:
            continue
        here = slice(int(starts[row]), int(starts[row] + lengths[row]))
        ids = tokens[here]
        if int(ids.max(initial=0)) >= tokenizer.vocab_size:
            report.add(
                name, "a token id outside the vocabulary", f"row {row}, id {document['id']}, tokens {here.start}..{here.stop - 1}"
            )
        elif is_lossless:
            wrong = not _gives_back(ids, document, recipe, tokenizer)
        else:
            wrong = not _encodes_to(ids, None if loss is None else loss[here], document, recipe, tokenizer, template)
        if int(ids.max(initial=0)) < tokenizer.vocab_size and wrong:
            report.add(name, "its tokens are not those of the document's text",
                       f"row {row}, id {document['id']}, tokens {here.start}..{here.stop - 1}")  # fmt: skip
        report.count(decoded=1)


def _kept_rows(path: Path, keep: np.ndarray, cuts: ShardCuts | None) -> Iterator[dict[str, Any]]:
    """id, text, text_hash, messages (JSON) of the kept documents after their cuts, and `is_cut`."""
    row = 0
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["id", "text", "text_hash", "messages"]):
        rows = row + np.flatnonzero(keep[row : row + len(batch)])
        chosen = batch.take(pa.array(rows - row))
        row += len(batch)
        texts = pc.cast(chosen["text"], pa.large_string())
        for i, at in enumerate(rows.tolist()):
            document = {"id": chosen["id"][i].as_py(), "text": texts[i].as_py(), "text_hash": chosen["text_hash"][i].as_py(),
                        "messages": chosen["messages"][i].as_py(), "is_cut": False}  # fmt: skip
            yield _cut(document, cuts.of(at)) if cuts is not None else document


def _cut(document: dict[str, Any], cuts: list[Any]) -> dict[str, Any]:
    if not cuts:
        return document
    data = apply(document["text"].encode(), cuts)
    messages = document["messages"]
    if messages is not None:
        messages = json.dumps(apply_to_messages(json.loads(messages), cuts))
    text_hash = hashlib.blake2b(data, digest_size=16).hexdigest()
    return {**document, "text": data.decode(), "text_hash": text_hash, "messages": messages, "is_cut": True}


def _gives_back(ids: np.ndarray, document: dict[str, Any], recipe: Recipe, tokenizer: Tokenizer) -> bool:
    """[bos] + tokens + [eos] decode to a text of the document's text_hash."""
    first = tokenizer.special["bos"] if recipe.tokenizer.bos == "per_document" else None
    last = tokenizer.special["eos"] if recipe.tokenizer.eos == "per_document" else None
    inner = ids[first is not None : len(ids) - (last is not None)]
    framed = len(ids) >= (first is not None) + (last is not None)
    framed = framed and (first is None or int(ids[0]) == first) and (last is None or int(ids[-1]) == last)
    text = tokenizer.decode(inner)
    return framed and hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() == document["text_hash"]


def _encodes_to(
    ids: np.ndarray,
    loss: np.ndarray | None,
    document: dict[str, Any],
    recipe: Recipe,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
) -> bool:
    """The document's text (or rendered messages) encodes to these tokens and this mask; a template's own bos and eos count."""
    if template is None:
        again, mask = tokenizer.encode_batch([document["text"]])[0], None
    else:
        again, mask = template.encode(
            json.loads(document["messages"]), f"document {document['id']}", must_learn=not document["is_cut"]
        )
    first = tokenizer.special["bos"] if recipe.tokenizer.bos == "per_document" else None
    last = tokenizer.special["eos"] if recipe.tokenizer.eos == "per_document" else None
    before = [first] if first is not None and (not len(again) or again[0] != first) else []
    after = [last] if last is not None and (not len(again) or again[-1] != last) else []
    framed = np.concatenate([np.array(before, np.uint32), again, np.array(after, np.uint32)])
    if not np.array_equal(framed, ids):
        return False
    if mask is None or loss is None:
        return mask is None and loss is None
    end = mask[-1:] if after else mask[:0]
    return np.array_equal(np.concatenate([np.zeros(len(before), np.uint8), mask, end]), loss)
