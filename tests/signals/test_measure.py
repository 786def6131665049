"""The measure stage: one pass, all outputs; only what is missing is measured; shards, batches and order do not matter."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import schema, text
from curate.errors import CurateError
from curate.recipe import LanguageId, Recipe
from curate.signals import DERIVED, FAMILIES, gopher, language, measure, measurers, signal_names
from curate.store import Stage, Store, table_root

TEXTS = [
    "",
    "Sõna",
    "Ta ei ole kodus ja ma ei tea, kus ta on.\n\n- üks\n- kaks...\n",
    "The cat sat with the dog and the hat.",
    "中文字 не знаю",
]


def recipe(**changes: object) -> Recipe:
    source = {"read": ["x.jsonl"], "language": "est", "license": {"declared": "CC0-1.0"}}
    component = {"from": "a", "role": "target", "budget": "1k tokens"}
    base = {
        "kind": "cpt", "name": "r", "tokenizer": {"model": "t"}, "sources": {"a": {"name": "a", **source}},
        "mixture": {"total": "1k tokens", "sequence_length": 64, "components": {"c": component}},
    }  # fmt: skip
    return Recipe.model_validate(base | changes)


def documents(store: Store, texts: list[str], rows_per_group: int = 100) -> Stage:
    stage = store.stage("documents", version=1, settings={"n": len(texts)})
    with stage.shard("00000") as shard:
        columns = {f.name: [None] * len(texts) for f in schema.DOCUMENTS}
        columns |= {"id": [f"{i:032x}" for i in range(len(texts))], "source": ["a"] * len(texts), "text": texts}
        columns |= {"is_repaired": [False] * len(texts), "byte_offset": [-1] * len(texts)}
        table = pa.table(columns, schema=schema.DOCUMENTS)
        pq.write_table(table, shard.path / "documents.parquet", row_group_size=rows_per_group)
        shard.done(len(texts), table_root(table))
    with stage.shard("quarantine") as shard:
        shard.done(0, "0")
    stage.finish(["00000", "quarantine"])
    return stage


def run(store: Store, wanted: Recipe, given: Stage) -> tuple[dict[str, pa.Table], Stage, list]:
    signals, signatures, work = measure.tasks(store, wanted, {"a": given})
    for task in work:
        if not task.is_done:
            task.fn(*task.args)
    tables = {family: pq.read_table(stage.shard_path("00000") / f"{family}.parquet") for (_, family), stage in signals.items()}
    return tables, signatures["a"], work


def test_one_pass_publishes_every_family_and_the_signatures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tables, signatures, work = run(store, recipe(), documents(store, TEXTS, rows_per_group=2))
    assert len(work) == 1 and work[0].is_done and len(work[0].outputs) == len(tables) + 1
    families = {m.family.name: m.family for m in measurers(recipe(), recipe().sources["a"])}
    assert (
        families.keys() == tables.keys() >= FAMILIES.keys() - {"lines", "pii", "secrets"}
    )  # measured where a cut or a rule asks
    for name, table in tables.items():
        assert table.schema.equals(families[name].schema())
        assert table.column("id").to_pylist() == [f"{i:032x}" for i in range(5)]
    assert tables["length"].column("n_words").to_pylist() == [0, 1, 18, 10, 3]
    assert tables["gopher_quality"].column("n_stop_words").to_pylist() == [0, 0, 3, 0, 0]  # ei, ja, on
    assert tables["gopher_quality"].column("n_bullet_lines").to_pylist() == [0, 0, 2, 0, 0]
    assert tables["language"].column("language").to_pylist()[2:4] == ["et", "en"]
    folder = signatures.shard_path("00000")
    keys, n, normalised = (np.load(folder / f"{name}.npy") for name in ("bands", "n_shingles", "normalised"))
    assert (keys.shape, keys.dtype, n.dtype, normalised.shape) == ((5, 16), np.uint64, np.uint32, (5, 2))
    assert n.tolist() == [0, 1, 9, 5, 1]  # 13 and 9 words with a letter: 9 and 5 shingles of 5


def test_columns_are_counted_by_the_text_room(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tables, signatures, _ = run(store, recipe(), documents(store, TEXTS))
    data, offsets = text.buffers(pa.array(TEXTS, pa.large_string()))
    seg = text.segment(data, offsets)
    for name, column in text.length_counts(data, offsets, seg).items():
        assert tables["length"].column(name).to_pylist() == column.tolist()
    keys, _ = text.signatures(seg, ngram=5, bands=16, rows=7, seed=measure.SIGNATURE_SEED)
    assert (np.load(signatures.shard_path("00000") / "bands.npy") == keys).all()


def test_only_missing_outputs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    given = documents(store, TEXTS)
    run(store, recipe(), given)
    monkeypatch.setattr(text, "segment", lambda *_: pytest.fail("the words of published families were taken again"))
    changed = recipe(language_id=[LanguageId(candidates=["et", "en"]), LanguageId(name="origin", candidates=["et", "ru"])])
    tables, _, _ = run(store, changed, given)
    assert tables["origin"].column_names == ["id", "origin", "origin_score", "n_origin_windows", "n_agreeing_origin_windows"]
    assert tables["origin"].column("origin").to_pylist()[4] == "ru"


def test_fingerprints_follow_settings_that_matter(tmp_path: Path) -> None:
    store = Store(tmp_path)
    given = documents(store, TEXTS)
    signals, signatures, _ = measure.tasks(store, recipe(), {"a": given})
    again, same, _ = measure.tasks(store, recipe(seed=5, dedup={"near": {"jaccard": 0.9}}), {"a": given})
    assert signals == again and signatures == same  # neither the recipe's seed nor a threshold measures again
    finnish = {"a": {"name": "a", "read": ["x"], "language": "fi", "license": {"declared": "CC0-1.0"}}}
    other, _, _ = measure.tasks(store, recipe(sources=finnish), {"a": given})
    assert other["a", "length"] == signals["a", "length"] and other["a", "gopher_quality"] != signals["a", "gopher_quality"]
    _, wider, _ = measure.tasks(store, recipe(dedup={"near": {"ngram": 7}}), {"a": given})
    assert wider["a"] != signatures["a"]


def test_a_shard_without_documents(tmp_path: Path) -> None:
    store = Store(tmp_path)
    tables, signatures, _ = run(store, recipe(), documents(store, []))
    assert all(table.num_rows == 0 for table in tables.values())
    assert np.load(signatures.shard_path("00000") / "bands.npy").shape == (0, 16)


def test_stop_word_lists() -> None:
    assert gopher.stop_words("eng_Latn") == ("and", "be", "have", "of", "that", "the", "to", "with")
    assert len(gopher.stop_words("et")) == 20 and gopher.stop_words("vro") == gopher.stop_words(None) == ()


def test_a_stop_word_rule_without_a_list_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    given = documents(store, TEXTS)
    rule = {"name": "min_n_stop_words", "signal": "n_stop_words", "min": 2}
    voro = {"a": {"name": "a", "read": ["x"], "language": "vro", "license": {"declared": "CC0-1.0"}}}
    with caplog.at_level(logging.WARNING):
        measure.tasks(store, recipe(rules=[rule]), {"a": given})
        assert not caplog.records
        measure.tasks(store, recipe(rules=[rule], sources=voro), {"a": given})
    assert "no stop-word list" in caplog.text and "vro" in caplog.text


def test_names_of_signals_are_unique_and_typed() -> None:
    given = recipe()
    known = signal_names(given, given.sources["a"])
    columns = [column.name for m in measurers(given, given.sources["a"]) for column in m.family.columns]
    assert len(columns) == len(set(columns))
    types = [known[name] for name in ("n_words", "language", "language_score", "mean_word_chars")]
    assert types == ["int64", "string", "float32", "ratio"]
    for numerator, denominator in DERIVED.values():
        if numerator in known and not numerator.startswith("after_cuts_"):
            assert known[numerator] == known[denominator] == "int64"
    assert language.family("x").columns[0].name == "x"
    taken = recipe(language_id=[LanguageId(name="length")])
    with pytest.raises(CurateError, match="taken"):
        measurers(taken, taken.sources["a"])
