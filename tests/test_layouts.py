"""Promise 3: layout does not matter. Same rows, other shards, names, compression, order, format: the same roots."""

from __future__ import annotations

import json

import pytest

from tests import command, real


@pytest.mark.slow
def test_layouts_have_equal_roots_and_exact_budgets(data, tmp_path):
    rows = {source: real.rows(data, source, 120) for source in real.FILES}
    tokenizer = data / "tokenizers/gpt_neox_20b/tokenizer.json"
    manifests = {}
    for layout, workers in (("plain", 1), ("sharded", 2), ("zst", 1), ("parquet", 2)):
        where = tmp_path / layout
        patterns = real.write_layout(where / "raw", rows, layout)
        recipe = real.write_recipe(where / "real.yaml", where / "raw", patterns, tokenizer, total="170k tokens", et="50k tokens", en="60k tokens",
                                   code="40k tokens", math="20k tokens")  # fmt: skip
        command.build(recipe, where, "--workers", workers)
        manifests[layout] = json.loads((where / "build" / "manifest.json").read_text())
    roots = {layout: manifest["roots"] for layout, manifest in manifests.items()}
    assert len({json.dumps(r, sort_keys=True) for r in roots.values()}) == 1, roots
    checked = command.curate("verify", tmp_path / "parquet" / "build")
    assert checked.returncode == 0 and "everything counts up" in checked.stdout, checked.stdout
    phase = manifests["plain"]["phases"][0]
    assert phase["budget"]["requested"] == phase["budget"]["realised"] == 170_000
    realised = {c["name"]: c["phases"][0]["realised"] if "phases" in c else None for c in manifests["plain"]["components"]}
    assert realised == {"et": 50_000, "en": 60_000, "code": 40_000, "math": 20_000}
