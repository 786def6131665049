"""Conversations that cannot be trained on: why each has no tokens, in refused.parquet (schema.REFUSED) beside the tokens of its shard.

In a recipe of kind sft one such conversation does not stop the build: it is left out (overlong.py). What a chat template said of it in,
rows out; those that an earlier stage refused are copied. Imports recipe, schema, store and mixture's render, token_reuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.recipe import Recipe, Source
from curate.schema import REFUSED
from curate.store import table_root
from mixture.render import WRITE_CALLS, TemplateRefuses
from mixture.token_reuse import Known

VERSION = 1  # of what is refused; beside the VERSION of tokens
NAME = "refused.parquet"
MOST_CHARS = 200  # of what a template says: it may say the whole conversation
REMEDIES = {
    "template_refuses": "another tokenizer: {chat_template: ...}",
    "no_calls_in_template": f"tokenizer: {{chat_template: {' | '.join(WRITE_CALLS)}}}, or rules: [{{signal: n_tool_calls, max: 0}}]",
    "nothing_learned": "loss: all, or a source with answers",
}


def may_refuse(recipe: Recipe, source: Source) -> bool:
    """Are this source's conversations left out one by one? Elsewhere the first that cannot be trained on stops the build."""
    return recipe.kind == "sft" and source.is_conversation


class RefusedRows:
    """The rows of refused.parquet of one shard."""

    def __init__(self, kept_ids: pa.Array, known: Known) -> None:
        self._ids, self._said = kept_ids, dict(_copied(kept_ids, known))

    def add(self, document: str, refusal: TemplateRefuses) -> None:
        self._said[document] = (refusal.reason, said(refusal))

    def write(self, folder: Path) -> str:
        """Write refused.parquet, in the order of the tokens; returns its root."""
        rows = [(document, *self._said[document]) for document in self._ids.to_pylist() if document in self._said]
        table = pa.Table.from_pylist([dict(zip(REFUSED.names, row, strict=True)) for row in rows], REFUSED)
        pq.write_table(table, folder / NAME, compression="zstd")
        return table_root(table)


def said(refusal: TemplateRefuses) -> str:
    return f"{refusal.what}: {refusal.found}"[:MOST_CHARS]


def reasons(folder: Path, ids: pa.Array) -> pa.Array | None:
    """string (n,): why each document of a token shard is refused, null where it is not; None where the shard refuses nothing."""
    if not (folder / NAME).exists():
        return None
    table = pq.read_table(folder / NAME, schema=REFUSED)
    why = dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True))
    return pa.array([why.get(document) for document in ids.to_pylist()] if why else [None] * len(ids), pa.string())


def detail_of(folders: Sequence[Path], document: str) -> str:
    """What was said of a refused document in one of these token shards; "" where it is in none."""
    for path in (folder / NAME for folder in folders):
        for row in pq.read_table(path, schema=REFUSED).to_pylist() if path.exists() else ():
            if row["id"] == document:
                return str(row["detail"])
    return ""


def _copied(kept_ids: pa.Array, known: Known) -> Iterator[tuple[str, tuple[str, str]]]:
    """(document, (reason, detail)) of the kept documents that earlier stages refused."""
    for number in np.unique(known.shard[known.is_known]).tolist():
        mine = set(kept_ids.take(pa.array(np.flatnonzero(known.shard == number))).to_pylist())
        for row in pq.read_table(known.shards.folders[number] / NAME, schema=REFUSED).to_pylist():
            if row["id"] in mine:
                yield row["id"], (row["reason"], row["detail"])
