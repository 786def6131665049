"""A small build by mixture's own rooms over stages written by hand, for tests of verify: sources web, chat and spare.

Any mixture over them: `build(root, recipe text)`. Rows 0 and 1 of web are one cluster and both kept, row 2 is dropped for row 0.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, schema
from curate.membership import membership
from curate.recipe import load_recipe
from curate.store import Store, digest, table_root
from mixture import tokens as tokenize
from mixture.build import plan_and_pack
from mixture.kept import kept_tables
from mixture.tokenizer import load_tokenizer
from mixture.verify import verify
from mixture.verify.report import Report
from tests.mixture import tiny_tokenizer

HEAD = """
kind: cpt
name: small
tokenizer: {model: tok}
seed: 7
sources:
  web: {read: web.jsonl, language: et, license: {declared: CC-BY-4.0}}
  chat: {read: chat.jsonl, type: conversation, loss: assistant, language: en, license: {declared: MIT}}
  spare: {read: spare.jsonl, language: et, license: {declared: MIT}}
"""
SIZES = {"web": (20, 2), "chat": (8, 1), "spare": (3, 1)}  # documents, shards


def doc_id(source: str, i: int) -> str:
    return hashlib.blake2b(f"{source}{i}".encode(), digest_size=12).hexdigest() + "0" * 8


def document(source: str, i: int) -> dict:
    text = " ".join(f"{word}{i}" for word in ("veski", "jahvatab", "vilja", "õhtul", "läbi")[: 1 + i % 5]) + "\n" * (i % 2)
    messages = (
        [{"role": "user", "content": f"küsimus {i}"}, {"role": "assistant", "content": f"vastus {i}"}]
        if source == "chat"
        else None
    )
    text = "\n".join(m["content"] for m in messages) if messages else text
    return {
        "id": doc_id(source, i), "source": source, "text": text,
        "text_hash": hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
        "messages": json.dumps(messages) if messages else None, "license": "MIT", "language": "et",
        "is_repaired": False, "file": "x", "byte_offset": i,
    }  # fmt: skip


def publish(stage, shards):
    """{key: (file, table, counts)}"""
    for key, (file, table, counts) in shards.items():
        with stage.shard(key) as out:
            pq.write_table(table, out.path / file, row_group_size=4)
            quarantined = key == "quarantine"
            root = digest("quarantine") if quarantined else table_root(table, exclude=schema.ORIGIN)
            out.done(0 if quarantined else table.num_rows, root, counts)
    stage.finish(list(shards))
    return stage


def make_stages(store: Store):
    documents, related, decided, signals = {}, {}, {}, {}
    for source, (n, n_shards) in SIZES.items():
        rows = sorted((document(source, i) for i in range(n)), key=lambda row: row["id"])
        shards, measured = {}, {}
        for k in range(n_shards):
            part = rows[k * n // n_shards : (k + 1) * n // n_shards]
            shards[f"{k:05d}"] = ("documents.parquet", pa.Table.from_pylist(part, schema.DOCUMENTS), {"n_documents": len(part)})
            measured[f"{k:05d}"] = (
                "length.parquet",
                pa.table({"id": [r["id"] for r in part], "n_bytes": [len(r["text"]) for r in part]}),
                None,
            )
            head = rows[0]["id"]  # rows 0 and 1 of web are one cluster, row 1 is kept all the same; row 2 is dropped for row 0
            cluster = {rows[1]["id"]: 2, head: 2} if source == "web" else {}
            related[f"{source}.{k:05d}"] = ("duplicates.parquet", pa.Table.from_pylist(
                [{"id": r["id"], "source": source, "cluster_size": cluster.get(r["id"], 1),
                  "cluster_id": head if r["id"] in cluster else None}
                 for r in part], schema.DUPLICATES), None)  # fmt: skip
            drop = rows[2]["id"] if source == "web" else ""
            decided[f"{source}.{k:05d}"] = ("decisions.parquet", pa.Table.from_pylist(
                [{"id": r["id"], "source": source, "keep": r["id"] != drop, "failed_rules": [],
                  "reason": "near_duplicate" if r["id"] == drop else None, "witness_source": r["source"] if r["id"] == drop else None,
                  "witness_id": head if r["id"] == drop else None}
                 for r in part], schema.DECISIONS), None)  # fmt: skip
        bad = [{"source": source, "file": "x", "byte_offset": 9, "cause": "empty_text", "detail": "", "lost_bytes": 0}]
        shards["quarantine"] = (
            "quarantine.parquet",
            pa.Table.from_pylist(bad, schema.QUARANTINE),
            {"n_read": n + 1, "n_quarantined": 1},
        )
        documents[source] = publish(store.stage("documents", version=1, settings={"source": source}), shards)
        signals[source] = publish(store.stage("signals", version=1, settings={"source": source, "family": "length"}), measured)
    clusters = publish(store.stage("clusters", version=1, settings={}), related)
    decide = publish(store.stage("decide", version=1, settings={}), decided)
    return documents, signals, clusters, decide


def build(root: Path, mixture: str, name: str = "build") -> SimpleNamespace:
    """root/store, root/`name` and the tokenizer. A second build of the same root shares the store."""
    if not (root / "tok").exists():
        tiny_tokenizer.write(root / "tok", template=tiny_tokenizer.CHATML)
    (root / f"{name}.yaml").write_text(HEAD + mixture)
    recipe = load_recipe(root / f"{name}.yaml")
    store, folder = Store(root / "store"), root / name
    documents, signals, clusters, decide = make_stages(store)
    stages, tasks = tokenize.tasks(store, recipe, documents, decide)
    engine.run(tasks, workers=1, label="tokenize")
    for stage in stages.values():
        stage.finish([key for task in tasks for of, key in task.outputs if of == stage])
    named = [*((("documents", s), x) for s, x in documents.items()), *((("signals", s, "length"), x) for s, x in signals.items()),
             (("clusters",), clusters), (("decide",), decide), *((("tokens", s), x) for s, x in stages.items())]  # fmt: skip
    folders = {(of[0], *(*of[1:], "", "")[:2]): stage.path for of, stage in named}
    found = membership(recipe, folders)
    tables, shards = kept_tables(documents, clusters, stages, found.pattern)
    tokenizer = load_tokenizer(recipe.tokenizer, recipe.path)
    lineage = [{"stage": of[0], "of": list(of[1:]), "fingerprint": s.fingerprint, "root": s.root} for of, s in named]
    plan_and_pack(
        recipe, tables, shards, folder, tokenizer={"sha256": tokenizer.sha256}, token_bytes=tokenizer.dtype.itemsize, lineage=lineage,
        patterns=found.patterns, copies=found.copies,
    )  # fmt: skip
    return SimpleNamespace(root=root, build=folder)


def check(where: SimpleNamespace, **options) -> Report:
    return verify(where.build, where.root, **{"membership": membership, **options})
