"""A build small enough to count by hand: two sources, eleven documents, one mixture of 60 tokens.

web   read 8 = 7 documents + 1 quarantined; dropped: w3 (min_n_words, language), w4 (min_n_words), w5 (near_duplicate of w1)
book  read 4 = 4 documents; dropped: b4 (exact_duplicate of w1: web comes first)
kept  web w1 w2 w6 w7, book b1 b2 b3. Tokens: ten each, w7 twenty.
uses  web: w1 w2 train, w6 held out, w7 ten of twenty tokens; book: b1 b2 in passes 0 and 1, b3 in no pass (over budget)
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.inspect.corpus import write_corpus
from curate.manifest import write_manifest
from curate.store import Store, table_root

RECIPE = """
kind: cpt
name: small
tokenizer: {model: tok}
sources:
  web: {read: web.jsonl, language: et, license: {declared: CC-BY-4.0}}
  book: {read: book.jsonl, language: en, license: {from_field: licence}}
rules:
- {signal: n_words, min: 5, sources: [web]}
- {signal: language, equals: [et], sources: [web]}
mixture:
  total: 70 tokens
  sequence_length: 16
  components:
    et: {from: [web], role: target, budget: 30 tokens, max_epochs: 1}
    en: {from: [book], role: replay, budget: 40 tokens, max_epochs: 2}
"""

TEXTS = {
    "w1": "üks kaks kolm neli viis kuus", "w2": "täna sajab vihma ja homme paistab päike", "w3": "two words",
    "w4": "kolm sõna siin", "w5": "üks kaks kolm neli viis seitse",
    "w6": "see tekst jääb kõrvale hindamiseks", "w7": "viies lause on täpselt viis",
    "b1": "a first english sentence stands here", "b2": "a second english sentence stands here",
    "b3": "a third english sentence stands here", "b4": "üks kaks kolm neli viis kuus",
}  # fmt: skip


def doc_id(name: str) -> str:
    """w1 -> 32 hex digits; the order of ids is that of names."""
    return ("a" if name[0] == "w" else "b") + name[1] + "0" * 30


def publish(stage, tables):
    """tables: {key: {file: Arrow table}}; each key is one shard. Documents' counts are given as in ingest."""
    for key, (files, counts) in tables.items():
        if not stage.published(key):
            with stage.shard(key) as shard:
                for name, table in files.items():
                    pq.write_table(table, shard.path / name)
                first = next(iter(files.values()))
                shard.done(first.num_rows, table_root(first, exclude=schema.ORIGIN), counts)
    stage.finish(list(tables))
    return stage


def documents(source, names):
    rows = [
        {"id": doc_id(n), "source": source, "source_id": n, "text": TEXTS[n],
         "text_hash": hashlib.blake2b(TEXTS[n].encode(), digest_size=16).hexdigest(),
         "url": f"https://www.{'uudised.err.ee' if n in 'w1w2' else 'pood.example.co.uk:443'}/{n}" if source == "web" else None,
         "language": "et" if source == "web" else "en", "license": "CC-BY-4.0" if source == "web" or n == "b1" else None,
         "is_repaired": n == "w2", "file": f"{source}.jsonl", "byte_offset": 100 * i}
        for i, n in enumerate(names)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema.DOCUMENTS)


def stages_of(store):
    """Every stage a build has, as write_corpus takes them."""
    names = {"web": [["w1", "w2", "w3"], ["w4", "w5", "w6", "w7"]], "book": [["b1", "b2", "b3", "b4"]]}
    result = {"documents": {}, "signals": {}, "tokens": {}}
    bad = {"source": "web", "file": "web.jsonl", "byte_offset": 700, "cause": "broken_json", "detail": "line 8", "lost_bytes": 31}
    for source, shards in names.items():
        tables = {
            f"{i:05d}": ({"documents.parquet": documents(source, shard)}, {"n_documents": len(shard)})
            for i, shard in enumerate(shards)
        }
        quarantine = pa.Table.from_pylist([bad] if source == "web" else [], schema.QUARANTINE)
        counts = {"n_read": 8 if source == "web" else 4, "n_quarantined": quarantine.num_rows}
        tables["quarantine"] = ({"quarantine.parquet": quarantine}, counts)
        result["documents"][source] = publish(store.stage("documents", version=1, settings={"source": source}), tables)
        families = {
            "length": lambda n: {
                "id": doc_id(n),
                "n_words": len(TEXTS[n].split()),
                "n_bytes": len(TEXTS[n].encode()),
                "n_unicode_lines": 1,
                "n_bullet_lines": 0,
            },
            "language": lambda n: {"id": doc_id(n), "language": "en" if n[0] == "b" or n == "w3" else "et"},
        }
        if source == "web":
            families["url"] = lambda n: {
                "id": doc_id(n),
                "host": "uudised.err.ee" if n in "w1w2" else "pood.example.co.uk",
                "domain": "err.ee" if n in "w1w2" else "example.co.uk",
            }
        result["signals"][source] = {
            family: publish(store.stage("signals", version=1, settings={"source": source, "family": family}),
                            {f"{i:05d}": ({f"{family}.parquet": pa.Table.from_pylist([row(n) for n in s])}, None)
                             for i, s in enumerate(shards)})
            for family, row in families.items()
        }  # fmt: skip
    cluster = {"w1": (3, None, None), "w5": (3, doc_id("w1"), 0.8), "b4": (3, doc_id("w1"), 1.0)}
    dropped = {
        "w3": ("min_n_words", ["min_n_words", "language"], "n_words", 2.0, None, ">= 5", None, None),
        "w4": ("min_n_words", ["min_n_words"], "n_words", 3.0, None, ">= 5", None, None),
        "w5": ("near_duplicate", [], "jaccard", 0.8, None, ">= 0.75", doc_id("w1"), 0.8),
        "b4": ("exact_duplicate", [], None, None, None, None, doc_id("w1"), 1.0),
    }
    fields = ["reason", "failed_rules", "signal", "value", "value_text", "bound", "witness_id", "similarity"]
    duplicates, decisions = {}, {}
    for source, shards in names.items():
        for i, shard in enumerate(shards):
            related, decided = [], []
            for n in shard:
                size, witness, jaccard = cluster.get(n, (1, None, None))
                related.append({"id": doc_id(n), "source": source, "cluster_id": doc_id("w1") if size > 1 else None,
                                "cluster_size": size, "witness_source": witness and "web", "witness_id": witness, "jaccard": jaccard,
                                "containment": jaccard})  # fmt: skip
                verdict = dict(zip(fields, dropped.get(n, (None, [], *[None] * 6)), strict=True))
                witnessed = {"witness_source": verdict["witness_id"] and "web"}
                decided.append({"id": doc_id(n), "source": source, "keep": n not in dropped, **verdict, **witnessed})
            duplicates[f"{source}.{i:05d}"] = ({"duplicates.parquet": pa.Table.from_pylist(related, schema.DUPLICATES)}, None)
            decisions[f"{source}.{i:05d}"] = ({"decisions.parquet": pa.Table.from_pylist(decided, schema.DECISIONS)}, None)
    result["clusters"] = publish(store.stage("clusters", version=1, settings={}), duplicates)
    result["decide"] = publish(store.stage("decide", version=1, settings={}), decisions)
    for source, shards in names.items():
        tables = {}
        for i, shard in enumerate(shards):
            lengths = [20 if n == "w7" else 10 for n in shard if n not in dropped]
            starts = [0, *np.cumsum(lengths).tolist()][: len(lengths)]
            rows = [{"id": doc_id(n), "token_start": s, "n_tokens": t, "n_loss_tokens": t}
                    for n, s, t in zip([n for n in shard if n not in dropped], starts, lengths, strict=True)]  # fmt: skip
            tables[f"{i:05d}"] = ({"tokens.parquet": pa.Table.from_pylist(rows, schema.TOKENS)}, None)
        result["tokens"][source] = publish(store.stage("tokens", version=1, settings={"source": source}), tables)
    return result


def selection():
    """(component, source, name, pass, tokens, split, sequence, position)"""
    uses = [
        ("et", "web", "w1", 0, 10, "train", 0, 0), ("et", "web", "w2", 0, 10, "train", 1, 0),
        ("et", "web", "w7", 0, 10, "train", 2, 0),
        ("en", "book", "b1", 0, 10, "train", 3, 0), ("en", "book", "b2", 0, 10, "train", 4, 0),
        ("en", "book", "b1", 1, 10, "train", 5, 0), ("en", "book", "b2", 1, 10, "train", 6, 0),
        ("et", "web", "w6", 0, 10, "held_out", 7, 0),
    ]  # fmt: skip
    rows = [
        {"phase": "main", "component": c, "source": s, "id": doc_id(n), "pass": p, "chunk": 0, "n_chunks": 1,
         "token_start": 0, "n_tokens": t,
         "n_loss_tokens": t, "split": split, "sequence": q, "position": at, "stream_index": q if split == "train" else None}
        for c, s, n, p, t, split, q, at in uses
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema.SELECTION)


def manifest():
    def component(name, role, source, requested, cap):
        return {"name": name, "role": role, "sources": [source], "max_epochs": cap,
                "phases": [{"phase": "main", "requested": requested, "realised": requested}]}  # fmt: skip

    return {
        "schema_version": 1, "kind": "cpt", "name": "small", "tool_versions": {}, "recipe_sha256": "",
        "roots": {"components": "", "selection": "", "order": "", "stream": "5c1e90ab" + "0" * 56}, "tokenizer": {}, "seed": 0,
        "phases": [{"name": "main", "budget": {"unit": "tokens", "requested": 70, "realised": 70, "padding": 42},
                    "sequence_length": 16, "packing": {"passes": [{"unavoidable_padding_tokens": 14}, {"unavoidable_padding_tokens": 7}]},
                    "order": {"n_sequences": 7, "first_index": 0}}],
        "components": [component("et", "target", "web", 30, 1), component("en", "replay", "book", 40, 2)],
        "held_out": {}, "stream_checkpoints": [], "outputs": [], "lineage": [],
    }  # fmt: skip


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """.build: the build folder, .stages, .manifest; written once, never changed by a test."""
    root = tmp_path_factory.mktemp("small")
    build = root / "build" / "small"
    build.mkdir(parents=True)
    (build / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    stages = stages_of(Store(root / "store"))
    pq.write_table(selection(), build / "selection.parquet")
    statement = manifest()
    write_manifest(build / "manifest.json", statement)
    write_corpus(build, stages, statement)
    return SimpleNamespace(build=Path(build), stages=stages, manifest=statement, root=root)
