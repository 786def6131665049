"""Promise 3: layout does not matter. Same rows, other shards, names, compression, order, format: the same roots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate import documents, pipeline
from curate.recipe import load_recipe
from curate.store import Store, read_json
from tests import command, real
from tests.relate.corpus import rows as rows_of
from tests.relate.planted import planted

READS_FILES = ("documents", "ingest_runs", "ingest_names")  # stages whose fingerprint knows the raw files


def stage_roots(store: Path) -> dict[tuple[str, str], str]:
    """(stage, fingerprint) -> root, of every finished stage behind the documents."""
    infos = [read_json(path) for path in sorted(store.glob("*/*/stage.json"))]
    return {(info["name"], info["fingerprint"]): info["root"] for info in infos if info["name"] not in READS_FILES}


@pytest.mark.slow
def test_layouts_have_equal_roots_and_exact_budgets(data, tmp_path):
    rows = {source: real.rows(data, source, 120) for source in real.FILES}
    tokenizer = data / "tokenizers/gpt_neox_20b/tokenizer.json"
    manifests, stages = {}, {}
    for layout, workers in (("plain", 1), ("sharded", 2), ("zst", 1), ("parquet", 2)):
        where = tmp_path / layout
        patterns = real.write_layout(where / "raw", rows, layout)
        recipe = real.write_recipe(where / "real.yaml", where / "raw", patterns, tokenizer, total="170k tokens", et="50k tokens", en="60k tokens",
                                   code="40k tokens", math="20k tokens")  # fmt: skip
        command.build(recipe, where, "--workers", workers)
        manifests[layout] = json.loads((where / "build" / "manifest.json").read_text())
        stages[layout] = stage_roots(where / "store")
    assert all(found == stages["plain"] for found in stages.values())  # signals, signatures, relations, decisions, tokens
    assert {"buckets", "shingles", "clusters", "decide"} <= {name for name, _ in stages["plain"]}
    roots = {layout: manifest["roots"] for layout, manifest in manifests.items()}
    assert len({json.dumps(r, sort_keys=True) for r in roots.values()}) == 1, roots
    checked = command.curate("verify", tmp_path / "parquet" / "build")
    assert checked.returncode == 0 and "everything counts up" in checked.stdout, checked.stdout
    phase = manifests["plain"]["phases"][0]
    assert phase["budget"]["requested"] == phase["budget"]["realised"] == 170_000
    realised = {c["name"]: c["phases"][0]["realised"] if "phases" in c else None for c in manifests["plain"]["components"]}
    assert realised == {"et": 50_000, "en": 60_000, "code": 40_000, "math": 20_000}


RECIPE = """\
kind: cpt
name: near
roots: {{raw: "{raw}"}}
tokenizer: {{model: none}}
sources:
  bases: {{read: "{{raw}}/bases/*", license: {{from_field: license}}}}
  plants: {{read: "{{raw}}/plants/*", license: {{from_field: license}}}}
dedup: {{near: {{jaccard: 0.5}}}}
mixture:
  total: 1k tokens
  sequence_length: 512
  components: {{all: {{from: [bases, plants], role: target, budget: 1k tokens}}}}
"""


@pytest.mark.slow
def test_near_duplicates_in_other_files_and_shards(data, tmp_path, monkeypatch):
    """150 planted pairs whose two texts lie in different files, sources and shards (32 documents each, as 16,384 elsewhere)."""
    monkeypatch.setattr(documents, "SHARD_DOCUMENTS", 32)
    pairs = planted(data, 1, seed=8)
    rows = {
        name: [{"id": f"{i}", "text": text, "url": "", "license": "CC0-1.0"} for i, text in enumerate(texts)]
        for name, texts in (("bases", [p.base for p in pairs]), ("plants", [p.plant for p in reversed(pairs)]))
    }
    roots, tables = {}, {}
    for layout, workers in (("plain", 1), ("sharded", 2), ("parquet", 1)):
        where = tmp_path / layout
        real.write_layout(where / "raw", rows, layout)
        (where / "near.yaml").write_text(RECIPE.format(raw=where / "raw"))
        done = pipeline.curate(load_recipe(where / "near.yaml"), Store(where / "store"), workers=workers)
        assert done.relations is not None and done.decisions is not None and len(done.relations.shards) == 16
        roots[layout] = stage_roots(where / "store")
        tables[layout] = rows_of(done.decisions, "decisions")
    assert roots["plain"] == roots["sharded"] == roots["parquet"]
    assert tables["plain"] == tables["sharded"] == tables["parquet"]
    dropped = [row for row in tables["plain"] if not row["keep"]]
    shard_of = {row["id"]: int(row["id"][:2], 16) >> 5 for row in tables["plain"]}
    assert len(dropped) > 80 and sum(shard_of[row["id"]] != shard_of[row["witness_id"]] for row in dropped) > 40
