"""`curate similar`: hits against brute force, datasketch's own index as the reference, decisions, the side stage, honest messages."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zstandard
from datasketch import LeanMinHash, MinHashLSH

from curate import cli, pipeline, text
from curate.errors import CurateError
from curate.inspect import corpus as corpus_room
from curate.inspect import similar as room
from curate.inspect import similar_index, similar_screen
from curate.recipe import load_recipe
from curate.store import Store
from mixture.verify.files import check_caches
from mixture.verify.report import Report

WORDS = [f"sõna{i}" for i in range(600)]
RNG = random.Random(11)
BASE = [" ".join(RNG.choices(WORDS, k=150)) for _ in range(60)]


def edited(base: str, n: int, seed: int) -> str:
    """`base` with n words replaced, evenly: each costs up to five shingles."""
    words = base.split()
    for i in range(n):
        words[(2 * i + 1) * len(words) // (2 * n)] = f"uus{seed}x{i}"
    return " ".join(words)


def shingles(of: str, n: int = 5) -> set[tuple[str, ...]]:
    words = [word.lower() for word in text.words(of) if any(c.isalnum() for c in word)]
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def jaccard(a: str, b: str) -> float:
    x, y = shingles(a), shingles(b)
    return len(x & y) / len(x | y)


DOCUMENTS = {
    "a": [*BASE, *(edited(BASE[0], n, n) for n in (1, 2, 3, 6)), "lühike tekst siin"],
    "b": [edited(BASE[0], 2, 99), edited(BASE[1], 1, 98), "Hoopis midagi muud, " + BASE[2]],
}


def write(folder: Path, documents: dict[str, list[str]], changes: str = "dedup: {near: {jaccard: 0.75}}") -> Path:
    for source, listed in documents.items():
        (folder / "raw" / source).mkdir(parents=True, exist_ok=True)
        rows = [{"id": f"{source}{i}", "text": one, "url": f"https://www.{source}.ee/{i}"} for i, one in enumerate(listed)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "raw" / source / "x.jsonl").write_text(lines, encoding="utf-8")
    sources = "\n".join(
        f"  {s}: {{read: '{folder}/raw/{s}/*.jsonl', license: {{declared: CC0-1.0}}, language: et}}" for s in documents
    )
    (folder / "r.yaml").write_text(f"""
kind: cpt
name: similar
tokenizer: {{model: none}}
sources:
{sources}
{changes}
rules: [{{signal: n_words, min: 5}}]
mixture: {{total: 10 tokens, sequence_length: 8, components: {{et: {{from: a, role: target, budget: 10 tokens}}}}}}
""")
    return folder / "r.yaml"


def build(folder: Path, path: Path) -> SimpleNamespace:
    recipe = load_recipe(path)
    curated = pipeline.curate(recipe, Store(folder / "store"), workers=1)
    out = folder / "build"
    cli._begin(out, recipe, folder / "store")
    corpus_room.write_corpus(out, curated.stages(), None)
    return SimpleNamespace(folder=folder, build=out, recipe=recipe, store=Store(folder / "store"), curated=curated)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("similar")
    return build(folder, write(folder, DOCUMENTS))


def ask(built: SimpleNamespace, *texts: str, **more) -> dict:
    path = built.folder / "asked.jsonl"
    path.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))
    return room.similar(built.build, built.recipe, built.store, path, **more)


def test_hits_are_what_brute_force_finds(built):
    """At a Jaccard of 0.9 and more 16 bands of 7 miss one in 30,000; there all are found, and every figure is exact."""
    queries = [BASE[0], edited(BASE[1], 1, 7), "HOOPIS midagi  muud: " + BASE[2].upper(), BASE[30]]
    data = ask(built, *queries, jaccard=0.9)
    for query, found in zip(queries, data["texts"], strict=True):
        expected = {f"{s}{i}": jaccard(query, one) for s, listed in DOCUMENTS.items() for i, one in enumerate(listed)}
        expected = {name: j for name, j in expected.items() if j >= 0.9}
        hits = {hit["source_id"]: hit["jaccard"] for hit in found["hits"]}
        assert hits == pytest.approx(expected) and hits
        assert list(hits.values()) == sorted(hits.values(), reverse=True)
        for hit in found["hits"]:
            a, b = shingles(query), shingles(DOCUMENTS[hit["source"]][int(hit["source_id"][1:])])
            assert hit["containment"] == len(a & b) / min(len(a), len(b)) and hit["n_shared_shingles"] == len(a & b)


def test_a_hit_names_origin_decision_and_the_passage(built):
    found = ask(built, DOCUMENTS["a"][60])["texts"][0]["hits"][:2]
    assert [hit["source_id"] for hit in found] == ["a60", "a0"]  # itself (one word replaced), and what it was made from
    raw = (built.folder / "raw" / "a" / "x.jsonl").read_bytes()
    for hit in found:
        record = json.loads(raw[hit["byte_offset"] :].splitlines()[0])
        assert hit["file"] == "x.jsonl" and record["id"] == hit["source_id"] and hit["url"] == record["url"]
    assert found[0]["decision"] != found[1]["decision"]
    kept = {hit["source_id"] for hit in found if hit["decision"]["keep"]}
    dropped = next(hit for hit in found if not hit["decision"]["keep"])
    assert len(kept) == 1 and dropped["decision"]["reason"] == "near_duplicate" and len(dropped["decision"]["witness_id"]) == 32
    passage = found[1]["passage"]
    mine, theirs = DOCUMENTS["a"][60].encode(), BASE[0].encode()
    assert mine[passage["start"] : passage["end"]] == theirs[passage["document_start"] : passage["document_end"]]
    assert (
        passage["text"].encode() == mine[passage["start"] : passage["end"]] and passage["text"].count(" ") == 75 - 1
    )  # of 150, 1 in the middle


def test_the_index_answers_as_datasketch_does():
    """Random keys with planted collisions, also with a single band."""
    for n_bands in (1, 16):
        rng = np.random.default_rng(3)
        keys = rng.integers(0, 2**64, (300, n_bands), dtype=np.uint64)
        keys[100:200] = keys[:100]
        keys[200:] = np.where(rng.random((100, n_bands)) < 0.1, keys[:100], keys[200:])
        n = max(2, n_bands)
        reference = MinHashLSH(num_perm=n, params=(n, 1))
        with reference.insertion_session() as session:
            for i, values in enumerate(keys):
                session.insert(i, LeanMinHash(seed=1, hashvalues=np.resize(values, n), scheme="legacy"))
        signed = np.ones(300, np.uint32)
        signed[17] = 0  # a document without a word: its keys mean nothing
        lsh = stage_of(keys, signed)
        for values in keys:
            sketch = LeanMinHash(seed=1, hashvalues=np.resize(values, n), scheme="legacy")
            assert set(lsh.query(sketch)) == set(reference.query(sketch)) - {17}
        assert [set(counts.values()) for counts in lsh.get_counts()] and lsh.hashtables[0].size() == len(
            {int(k) for k in keys[signed > 0, 0]}
        )
        with pytest.raises(TypeError):
            lsh.insert(1, sketch, check_duplication=False)


def stage_of(keys: np.ndarray, n_shingles: np.ndarray, folder: Path | None = None) -> MinHashLSH:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "bands.npy", keys)
        np.save(Path(name) / "n_shingles.npy", n_shingles)
        stage = Store(Path(name)).stage("similar_index", version=similar_index.VERSION, settings={})
        similar_index.write_shard(stage, "one", Path(name))
        return similar_index.open_index(stage, "one")


def test_only_new_shards_are_indexed(tmp_path, monkeypatch):
    one = build(tmp_path, write(tmp_path, {"a": DOCUMENTS["a"]}))
    written: list[str] = []
    original = similar_index.write_shard
    monkeypatch.setattr(
        similar_index, "write_shard", lambda stage, root, folder: (written.append(root), original(stage, root, folder))
    )
    ask(one, BASE[0])
    assert len(written) == 1
    ask(one, BASE[1])
    assert len(written) == 1
    two = build(tmp_path, write(tmp_path, DOCUMENTS))  # a source arrives
    assert {hit["source"] for hit in ask(two, BASE[0])["texts"][0]["hits"]} == {"a", "b"}
    assert len(written) == 2
    report = Report()
    check_caches(two.store.root, report, two.build)
    assert report.findings == []
    keys = next((two.store.root / "similar_index").glob("*/*/keys.npy"))
    keys.write_bytes(keys.read_bytes()[:-1] + b"\0")
    check_caches(two.store.root, report, two.build)
    assert len(report.findings) == 1 and "keys.npy" in str(report.findings[0])


def test_limits(built, monkeypatch):
    assert [hit["source_id"] for hit in ask(built, BASE[0], limit=1)["texts"][0]["hits"]] == ["a0"]
    assert {hit["source_id"] for hit in ask(built, BASE[0], jaccard=1)["texts"][0]["hits"]} == {"a0"}
    monkeypatch.setattr(room, "MOST_COMPARED", 2)
    found = ask(built, BASE[0])
    assert found["texts"][0]["candidates"] > 2 == found["texts"][0]["compared"]
    assert found["texts"][0]["hits"][0]["source_id"] == "a0"  # whoever shares most bands is compared
    assert "candidates; the 2 that share most bands were compared" in similar_screen.render(found)


def test_kinds_of_files(built, tmp_path):
    plain = tmp_path / "note"
    plain.write_text(BASE[3] + "\n" + BASE[4])  # one text, whatever its name
    assert [t["name"] for t in room.similar(built.build, built.recipe, built.store, plain)["texts"]] == ["note"]
    packed = tmp_path / "many.jsonl.zst"
    lines = [json.dumps({"id": "first", "text": BASE[3]}), "{broken", json.dumps({"text": BASE[4]}), json.dumps({"text": "- -"})]
    packed.write_bytes(zstandard.compress("\n".join(lines).encode()))
    data = room.similar(built.build, built.recipe, built.store, packed)
    assert [t["hits"][0]["source_id"] if t["hits"] else None for t in data["texts"]] == ["a3", "a4", None]
    assert data["texts"][0]["name"] == "many.jsonl.zst first" and data["n_bad"] == 1
    screen = similar_screen.render(data)
    assert "1 records of" in screen and "no word to compare" in screen


def test_a_text_is_repaired_as_the_documents_were(built):
    import unicodedata

    assert ask(built, unicodedata.normalize("NFD", BASE[5]))["texts"][0]["hits"][0]["jaccard"] == 1


def test_short_texts_say_that_quotations_are_not_found(built):
    quotation = " ".join(BASE[7].split()[40:60])
    data = ask(built, quotation)
    assert data["texts"][0]["is_short"] and data["texts"][0]["hits"] == []
    screen = similar_screen.render(data)
    assert "a short text: a long document that quotes it" in screen and "11.7 % at 0.5" in screen
    assert not ask(built, BASE[7])["texts"][0]["is_short"]


def test_mistakes(built, tmp_path, monkeypatch):
    def fails(name: str, content: str | None, expected: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with pytest.raises(CurateError, match=expected) as error:
            room.similar(built.build, built.recipe, built.store, path)
        assert error.value.exit_code == 2

    fails("empty.txt", "", "no text")
    fails("blank.txt", " \n\t", "no text")
    fails("gone.txt", None, "no such file")
    fails("dashes.txt", "-- ... --", "no text of this file has a word")
    fails("bad.jsonl", "{broken\n", "no text")
    fails("other.jsonl", json.dumps({"body": "x"}) + "\n", "no record of the first file has 'text'")
    good = tmp_path / "good.txt"
    good.write_text(BASE[0])
    monkeypatch.setattr(text.segments, "SEGMENTATION_VERSION", 999)
    with pytest.raises(CurateError, match="another definition of words") as error:
        room.similar(built.build, built.recipe, built.store, good)
    assert error.value.allowed == "segmentation 999" and "source a" in error.value.where


def test_a_build_without_near_duplicates_answers_and_says_so(tmp_path):
    one = build(tmp_path, write(tmp_path, {"a": DOCUMENTS["a"]}, "dedup: {near: null}"))
    data = ask(one, BASE[9])
    assert data["texts"][0]["hits"][0]["source_id"] == "a9" and data["index"]["is_default"]
    assert "looks for no near duplicates" in similar_screen.render(data)


def test_other_shingles_are_followed(tmp_path):
    near = "dedup: {near: {ngram: 3, bands: 8, rows: 4, fold: [digits]}}"
    one = build(tmp_path, write(tmp_path, {"a": DOCUMENTS["a"]}, near))
    data = ask(one, BASE[9].replace("sõna1", "sõna2"))  # every number is one number
    assert data["texts"][0]["hits"][0]["jaccard"] == 1 and data["index"]["bands"] == 8


def test_the_command(built, capsys):
    path = built.folder / "q.txt"
    path.write_text(BASE[0])
    cli.similar(built.build, path)
    screen = capsys.readouterr().out
    lines = screen.splitlines()
    assert len(lines[0]) <= 100 and lines[0].startswith(str(path)[:60])
    assert "   1. Jaccard 1.0000   containment 1.0000" in screen and max(map(len, lines[1:-1])) <= 100  # commands are not cut
    assert lines[-1].startswith(f"next: curate explain {built.build} ")
    cli.similar(built.build, path, as_json=True)
    assert json.loads(capsys.readouterr().out)["texts"][0]["hits"][0]["source_id"] == "a0"
