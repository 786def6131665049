"""A store with documents, length signals and signatures of a few texts, for the tests of relate and decide."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema, text
from curate.recipe import Dedup, Recipe, Rule
from curate.relate import Relations, relate
from curate.signals import Batch, urls
from curate.store import Stage, Store, array_root, table_root


class Corpus(NamedTuple):
    store: Store
    recipe: Recipe
    documents: dict[str, Stage]
    signals: dict[tuple[str, str], Stage]
    signatures: dict[str, Stage]

    def relate(self, workers: int = 1) -> Relations:
        return relate(self.store, self.recipe, self.documents, self.signals, self.signatures, workers)


def recipe_of(sources: Sequence[str], rules: Sequence[Mapping[str, Any]] = (), dedup: Mapping[str, Any] | None = None) -> Recipe:
    return Recipe.model_validate({
        "kind": "cpt", "name": "test", "tokenizer": {"model": "none"},
        "sources": {name: {"name": name, "read": "x", "license": {"declared": "CC0-1.0"}} for name in sources},
        "rules": [Rule.model_validate(rule) for rule in rules],
        "dedup": Dedup.model_validate(dedup or {}),
        "mixture": {
            "total": "1 tokens", "sequence_length": 8,
            "components": {"all": {"from": list(sources), "role": "target", "budget": "1 tokens"}},
        },
    })  # fmt: skip


def corpus(
    root: Path, texts: Mapping[str, Sequence[str]], *, rules: Sequence[Mapping[str, Any]] = (),
    dedup: Mapping[str, Any] | None = None, shard_rows: int = 1000, extra: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    addresses: Mapping[str, Sequence[str | None]] | None = None,
) -> Corpus:  # fmt: skip
    """Ids are hashes of (source, place in the list). `extra`: source -> signal -> values, as a family "extra"; `addresses`:
    source -> the url of each text, from which family url is measured."""
    store, recipe = Store(root), recipe_of(list(texts), rules, dedup)
    documents, signals, signatures = {}, {}, {}
    for source, listed in texts.items():
        ids = [hashlib.blake2b(f"{source}/{i}".encode(), digest_size=16).hexdigest() for i in range(len(listed))]
        order = sorted(range(len(listed)), key=ids.__getitem__)
        seed = hashlib.sha256("\0".join(listed).encode()).hexdigest()
        # the root of documents knows no shards, in the product neither the number of shards depends on anything but their count
        documents[source] = store.stage("documents", version=1, settings={"source": source, "rows": shard_rows}, raw=[seed])
        signals[source, "length"] = store.stage("signals-length", version=1, settings={}, parents=[documents[source].fingerprint])
        signatures[source] = store.stage("signatures", version=1, settings={}, parents=[documents[source].fingerprint])
        keys = []
        for number, first in enumerate(range(0, max(1, len(order)), shard_rows)):
            keys.append(f"{number:05d}")
            rows = order[first : first + shard_rows]
            urls_of = [addresses[source][i] for i in rows] if addresses and source in addresses else [None] * len(rows)
            _shard(keys[-1], source, [ids[i] for i in rows], [listed[i] for i in rows], urls_of, documents[source],
                   signals[source, "length"], signatures[source], recipe)  # fmt: skip
            if extra and source in extra:
                parents = [documents[source].fingerprint]
                family = store.stage("signals-extra", version=1, settings={}, parents=parents)
                signals[source, "extra"] = family
                columns = {name: pa.array(values).take(pa.array(rows, pa.int64())) for name, values in extra[source].items()}
                _table(family, keys[-1], "extra", pa.table({"id": [ids[i] for i in rows], **columns}))
            if addresses and source in addresses:
                stage = store.stage("signals-url", version=1, settings={}, parents=[documents[source].fingerprint])
                signals[source, "url"] = stage
                given = pa.array([addresses[source][i] for i in rows], pa.string())
                measured = urls.measure(Batch(given, np.empty(0), np.empty(0), None, {"url": given}))
                columns = {"id": [ids[i] for i in rows], **measured}
                _table(stage, keys[-1], "url", pa.table(columns, schema=urls.FAMILY.schema()))
        for stage in (documents[source], signatures[source], *(s for (name, _), s in signals.items() if name == source)):
            stage.finish(keys)
    return Corpus(store, recipe, documents, signals, signatures)


def _shard(
    key: str, source: str, ids: list[str], texts: list[str], urls_of: list[str | None], documents: Stage, lengths: Stage,
    signatures: Stage, recipe: Recipe,
) -> None:  # fmt: skip
    array = pa.array(texts, pa.large_string())
    data, offsets = text.buffers(array)
    seg = text.segment(data, offsets)
    columns = {
        "id": ids, "source": [source] * len(ids), "text": texts, "url": urls_of,
        "text_hash": [hashlib.blake2b(t.encode(), digest_size=16).hexdigest() for t in texts],
    }  # fmt: skip
    table = pa.table({f.name: pa.array(columns.get(f.name, [None] * len(ids)), f.type) for f in schema.DOCUMENTS})
    _table(documents, key, "documents", table, row_group_size=3)
    _table(lengths, key, "length", pa.table({"id": pa.array(ids, pa.string()), **text.length_counts(data, offsets, seg)}))
    near = recipe.dedup.near
    shape = (near.ngram, near.bands, near.rows) if near else (5, 16, 7)
    words = text.folded(data, seg, near.fold if near else ())
    keys, n_shingles = text.signatures(words, ngram=shape[0], bands=shape[1], rows=shape[2], seed=0)
    normalised = text.normalised_hashes(data, offsets)
    with signatures.shard(key) as writer:
        for name, values in {"bands": keys, "n_shingles": n_shingles, "normalised": normalised}.items():
            np.save(writer.path / f"{name}.npy", values)
        writer.done(len(ids), array_root(keys, n_shingles, normalised))


def _table(stage: Stage, key: str, name: str, table: pa.Table, **options: Any) -> None:
    with stage.shard(key) as writer:
        pq.write_table(table, writer.path / f"{name}.parquet", **options)
        writer.done(table.num_rows, table_root(table))


def rows(stage: Stage, name: str) -> list[dict]:
    """All rows of a global stage, shard by shard."""
    return [row for key in stage.keys for row in pq.read_table(stage.shard_path(key) / f"{name}.parquet").to_pylist()]


def one_id(source: str, i: int) -> str:
    return hashlib.blake2b(f"{source}/{i}".encode(), digest_size=16).hexdigest()
