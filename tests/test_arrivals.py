"""Arrivals: files come one after another into one store, and the result is that of one run over everything in a fresh store.

Counters prove the work: only new or changed documents are measured, and only documents without a stored shingle set are read for one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate import cli, documents, engine, pipeline, reuse
from curate.recipe import load_recipe
from curate.signals import measure as pass_
from curate.store import Stage, Store, read_json
from tests.mixture import tiny_tokenizer

WORDS = [f"sõna{i}" for i in range(400)]
MAIL = "Kirjuta aadressile mari.maasikas@example.ee või helista."
CUTS = "cuts: [{kind: pii, of: all}, {kind: lines, of: all}]"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Path:
    return tiny_tokenizer.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    """So that an arrival changes the number of shards."""
    monkeypatch.setattr(documents, "SHARD_DOCUMENTS", 16)


def records(rng: random.Random, name: str, n: int) -> list[dict]:
    """Texts of 20 to 80 words, a third of them edits of an earlier one by a word or two, some with an address of a person."""
    found: list[dict] = []
    for i in range(n):
        if found and rng.random() < 0.33:
            words = rng.choice(found)["text"].split(" ")
            for _ in range(rng.randint(0, 2)):
                words[rng.randrange(len(words))] = rng.choice(WORDS)
            text = " ".join(words)
        else:
            text = " ".join(rng.choices(WORDS, k=rng.randint(20, 80)))
        text += f".\n{MAIL}" if rng.random() < 0.3 else ".\nKodu"  # the last line is one to cut
        found.append({"id": f"{name}{i}", "text": text, "url": f"https://www.leht{i % 7}.ee/{i}"})
    return found


def write(folder: Path, source: str, name: str, rows: Sequence[dict]) -> None:
    (folder / source).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / source / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def recipe(folder: Path, raw: Path, tokenizer: Path, sources: Sequence[str]) -> Path:
    path = folder / "r.yaml"
    listed = "\n".join(
        f"  {name}: {{read: '{raw}/{name}/*.jsonl', license: {{declared: CC0-1.0}}, language: et}}" for name in sources
    )
    path.write_text(f"""
kind: cpt
name: arrivals
tokenizer: {{model: '{tokenizer}', eos: per_document}}
sources:
{listed}
{CUTS}
rules: [{{signal: n_words, min: 22}}, {{signal: after_cuts_n_words, min: 20}}]
dedup: {{near: {{jaccard: 0.6}}}}
mixture: {{total: 400 tokens, sequence_length: 32, components: {{et: {{from: [{", ".join(sources)}], role: target, budget: 400 tokens}}}}}}
""")
    return path


def run(path: Path, store: Path) -> pipeline.Curated:
    return pipeline.curate(load_recipe(path), Store(store), workers=1)


def build(path: Path, where: Path, store: Path) -> dict:
    """The whole command, in this process; the manifest."""
    with contextlib.suppress(SystemExit):
        cli.build_mixture(path, out=where, store=store, workers=1)
    return json.loads((where / "manifest.json").read_text())


def roots(curated: pipeline.Curated) -> dict[tuple[str, ...], str]:
    return {(stage.name, *name): stage.root for name, stage in curated.named_stages()}


def files(curated: pipeline.Curated) -> dict[str, str]:
    """sha256 of every file of every stage but for shard.json and stage.json, which count what was copied."""
    found = {}
    for _, stage in curated.named_stages():
        for file in sorted(stage.path.rglob("*")):
            if file.suffix in (".parquet", ".npy"):
                found[str(file.relative_to(curated.store.root))] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def counted(stage: Stage, name: str) -> int:
    return stage.info()["counts"][name]


def texts(curated: pipeline.Curated, source: str) -> dict[str, str]:
    """id -> text_hash of every document."""
    stage = curated.documents[source]
    tables = [pq.read_table(stage.shard_path(key) / "documents.parquet") for key in stage.keys if key != "quarantine"]
    return {
        id: text for table in tables for id, text in zip(table["id"].to_pylist(), table["text_hash"].to_pylist(), strict=True)
    }


def colliding(curated: pipeline.Curated) -> set[tuple[str, str]]:
    """(id, text_hash) of the documents whose shingle sets are stored."""
    assert curated.relations is not None
    ids = {id.decode() for id in np.load(curated.relations.buckets.shard_path("all") / "id.npy").tolist()}
    known = {id: text for source in curated.documents for id, text in texts(curated, source).items()}
    return {(id, known[id]) for id in ids}


def measured_of(curated: pipeline.Curated, source: str) -> dict[str, int]:
    """By family, and of the signatures: how many documents were measured."""
    plain = {f: s for (of, f), s in curated.signals.items() if of == source and not f.startswith("after_cuts_")}
    return {name: counted(stage, "measured") for name, stage in {**plain, "signatures": curated.signatures[source]}.items()}


def cut_ids(curated: pipeline.Curated, source: str) -> set[str]:
    """Documents that lose anything to the cuts."""
    documents, cuts, found = curated.documents[source], curated.cuts[source], set()
    for key in cuts.keys:
        ids = pq.read_table(documents.shard_path(key) / "documents.parquet")["id"].to_pylist()
        found |= {ids[row] for row in pq.read_table(cuts.shard_path(key) / "cuts.parquet")["row"].to_pylist()}
    return found


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_five_random_arrivals_are_one_run(tmp_path: Path, tokenizer: Path, seed: int) -> None:
    rng = random.Random(seed)
    rows = {"a": records(rng, "a", 70), "b": records(rng, "b", 25)}
    rows["b"] += [{**row, "id": f"copy{row['id']}"} for row in rows["a"][::9]]  # equal texts in another source
    arrivals: list[dict[str, list[dict]]] = [{"a": [], "b": []} for _ in range(5)]
    for source, listed in rows.items():
        for row in listed:
            arrivals[rng.randrange(5)][source].append(row)
    stale = {**arrivals[0]["a"][0], "text": "vana tekst " + arrivals[0]["a"][0]["text"]}
    write(tmp_path / "raw", "a", "part-0", [stale, *arrivals[0]["a"][1:]])
    order = rng.sample(range(1, 5), 4)
    path = recipe(tmp_path, tmp_path / "raw", tokenizer, ["a"])
    done = run(path, tmp_path / "store")  # the first arrival knows one source only
    assert set(measured_of(done, "a").values()) == {len(arrivals[0]["a"])}
    write(tmp_path / "raw", "b", "part-0", arrivals[0]["b"])
    path = recipe(tmp_path, tmp_path / "raw", tokenizer, ["a", "b"])
    for step in [0, *order]:
        before, sets = {s: texts(done, s) for s in done.documents}, colliding(done)
        for source in ("a", "b") if step else ():
            write(tmp_path / "raw", source, f"part-{step}", arrivals[step][source])
        if step == order[1]:
            write(tmp_path / "raw", "a", "part-0", arrivals[0]["a"])  # a document of the first file changes
        build(path, tmp_path / "build", tmp_path / "store")
        done = run(path, tmp_path / "store")
        for source in ("a", "b"):
            new = texts(done, source).items() - before.get(source, {}).items()
            if source == "a" and not step:
                assert not new  # another source arrived: nothing of this one is measured
            else:
                assert set(measured_of(done, source).values()) == {len(new)}
                again = counted(done.signals[source, "after_cuts_length"], "measured")
                assert again == len(cut_ids(done, source) & {id for id, _ in new})
        assert done.relations is not None and done.relations.shingles is not None
        assert counted(done.relations.shingles, "read") == len(colliding(done) - sets)
        assert counted(done.relations.shingles, "reused") == len(colliding(done) & sets)
    assert counted(done.relations.shingles, "reused") > 0

    for source, listed in rows.items():
        rng.shuffle(listed)
        write(tmp_path / "other", source, "all", listed)
    (tmp_path / "fresh").mkdir()
    fresh_path = recipe(tmp_path / "fresh", tmp_path / "other", tokenizer, ["a", "b"])
    manifest = build(fresh_path, tmp_path / "fresh" / "build", tmp_path / "fresh" / "store")
    fresh = run(fresh_path, tmp_path / "fresh" / "store")
    assert {"documents", "signals", "signatures", "buckets", "shingles", "clusters", "decide", "cuts"} <= {
        n[0] for n in roots(fresh)
    }
    assert roots(done) == roots(fresh)
    assert json.loads((tmp_path / "build" / "manifest.json").read_text())["roots"] == manifest["roots"]
    mine, theirs = files(done), files(fresh)
    layout = {name for name in mine if name.startswith("documents/")}  # which name their files, and lie in a folder of their own
    assert {n: mine[n] for n in mine.keys() - layout} == {n: theirs[n] for n in theirs if not n.startswith("documents/")}
    assert set(measured_of(fresh, "a").values()) == {70} and fresh.relations is not None and fresh.relations.shingles is not None
    assert counted(fresh.relations.shingles, "reused") == 0
    assert len({tuple(texts(done, "a"))}) == 1 and len(done.documents["a"].keys) > 4  # several shards


SHORT = st.lists(st.sampled_from(["üks", "kaks", "kolm", "neli", MAIL, "\n"]), min_size=0, max_size=12).map(" ".join)
EVENT = st.lists(st.tuples(st.integers(0, 12), SHORT), max_size=6)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENT, min_size=2, max_size=4))
def test_any_history_ends_in_the_same_rows(monkeypatch, events: list[list[tuple[int, str]]]) -> None:
    """Documents appear, change and go (a file is written anew at each event); two shards and more from the third document on."""
    monkeypatch.setattr(documents, "SHARD_DOCUMENTS", 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for listed in events:
            rows = [{"id": f"d{number}", "text": text} for number, text in dict(listed).items()]
            write(folder / "raw", "a", "x", [{"id": "always", "text": "see on alati siin ja jääb"}, *rows])
            done = run(recipe(folder, folder / "raw", folder / "none", ["a"]), folder / "store")
        fresh = run(folder / "r.yaml", folder / "fresh")
        assert roots(done) == roots(fresh)
        assert {n: h for n, h in files(done).items() if "documents/" not in n} == {
            n: h for n, h in files(fresh).items() if "documents/" not in n
        }


@pytest.fixture
def two(tmp_path: Path, tokenizer: Path) -> Iterator[tuple[Path, Path, pipeline.Curated]]:
    """(folder, recipe, the first run) of 40 documents, with 8 more waiting in the folder `late`."""
    rows = records(random.Random(4), "a", 48)
    write(tmp_path / "raw", "a", "first", rows[:40])
    write(tmp_path / "late", "a", "second", rows[40:])
    path = recipe(tmp_path, tmp_path / "raw", tokenizer, ["a"])
    yield tmp_path, path, run(path, tmp_path / "store")


def arrive(folder: Path) -> None:
    (folder / "late" / "a" / "second.jsonl").rename(folder / "raw" / "a" / "second.jsonl")


def test_a_measurer_sees_new_documents_only_and_again_those_whose_columns_changed(two, monkeypatch) -> None:
    folder, path, _ = two
    seen: list[str] = []
    original = pass_.measurers

    def watched(recipe, source):
        for m in original(recipe, source):
            if m.family.name == "url":

                def measure(batch, measure=m.measure):
                    seen.extend(batch.columns["url"].to_pylist())
                    return measure(batch)

                m = type(m)(m.family, measure, m.settings, m.needs_words, m.reads)
            yield m

    monkeypatch.setattr(pass_, "measurers", watched)
    arrive(folder)
    run(path, folder / "store")
    assert sorted(seen) == sorted(f"https://www.leht{i % 7}.ee/{i}" for i in range(40, 48))
    seen.clear()
    rows = [json.loads(line) for line in (folder / "raw" / "a" / "first.jsonl").read_text().splitlines()]
    rows[7]["url"] = None  # the same text at no address
    write(folder / "raw", "a", "first", rows)
    done = run(path, folder / "store")
    assert seen == [None]
    assert measured_of(done, "a")["url"] == 1 and measured_of(done, "a")["length"] == 0
    assert roots(done) == roots(run(path, folder / "fresh"))


def test_damage_is_not_copied(two, caplog) -> None:
    folder, path, done = two
    shards = [key for key in done.documents["a"].keys if key != "quarantine"]
    broken = done.signals["a", "length"].shard_path(shards[0]) / "length.parquet"
    data = bytearray(broken.read_bytes())
    data[len(data) // 2] ^= 1
    broken.write_bytes(data)
    assert done.relations is not None and done.relations.shingles is not None
    hashes = done.relations.shingles.shard_path(f"a.{shards[1]}") / "hashes.npy"
    data = bytearray(hashes.read_bytes())
    data[-1] ^= 1
    hashes.write_bytes(data)
    (done.signals["a", "c4"].shard_path(shards[2]) / "shard.json").write_text("{}")
    arrive(folder)
    again = run(path, folder / "store")
    assert "damaged" in caplog.text and "length.parquet" in caplog.text and "hashes.npy" in caplog.text
    assert measured_of(again, "a")["length"] > 8 == measured_of(again, "a")["gopher_quality"]
    assert measured_of(again, "a")["c4"] > 8
    assert roots(again) == roots(run(path, folder / "fresh"))


def test_unfinished_stages_are_no_source(two) -> None:
    folder, path, done = two
    (done.signals["a", "length"].path / "stage.json").unlink()
    (done.documents["a"].path / "stage.json").rename(folder / "aside")
    arrive(folder)
    assert set(measured_of(run(path, folder / "store"), "a").values()) == {48}  # no complete documents: nothing to compare with


class Killed(Exception):
    pass


def test_a_kill_inside_any_stage_of_an_arrival_changes_no_byte(two, monkeypatch) -> None:
    """Half of a stage's tasks are done when it ends; the same command again. Every file is compared, counts of what was copied too."""
    folder, path, _ = two
    shutil.copytree(folder / "store", folder / "calm")
    shutil.copytree(folder / "store", folder / "killed")
    arrive(folder)
    run(path, folder / "calm")
    original, ended = engine.run, []

    def dying(tasks, *, workers, label):
        waiting = [task for task in tasks if not task.is_done]
        if waiting and label not in ended:
            ended.append(label)
            original(waiting[: len(waiting) // 2], workers=workers, label=label)
            raise Killed(label)
        original(tasks, workers=workers, label=label)

    monkeypatch.setattr(engine, "run", dying)
    for _ in range(30):
        try:
            run(path, folder / "killed")
            break
        except Killed:
            continue
    assert {"read", "sort", "measure", "cuts", "measure after cuts", "buckets", "shingles", "clusters", "decide"} <= set(ended)
    assert every_file(folder / "killed") == every_file(folder / "calm")


def every_file(store: Path) -> dict[str, bytes]:
    found = sorted(path for path in store.rglob("*") if path.is_file() and not {".tmp", "raw_hashes"} & set(path.parts))
    return {str(path.relative_to(store)): path.read_bytes() for path in found}


def test_other_settings_are_measured_again(two) -> None:
    folder, path, _ = two
    arrive(folder)
    path.write_text(path.read_text().replace("jaccard: 0.6", "jaccard: 0.6, ngram: 3"))
    done = run(path, folder / "store")
    measured = measured_of(done, "a")
    assert measured.pop("signatures") == 48 and set(measured.values()) == {8}
    assert done.relations is not None and done.relations.shingles is not None
    assert counted(done.relations.shingles, "reused") == 0
    assert roots(done) == roots(run(path, folder / "fresh"))


@pytest.mark.parametrize(("key", "n", "n_old", "expected"), [
    ("00003", 4, 4, "3"), ("00003", 4, 1, "0"), ("00002", 4, 2, "1"), ("00001", 2, 8, "4567"), ("00000", 1, 2, "01"), ("00001", 3, 2, "01"),
])  # fmt: skip
def test_shards_of_the_same_ids(key: str, n: int, n_old: int, expected: str) -> None:
    found = reuse.same_range(key, n, [f"{i:05d}" for i in range(n_old)])
    assert "".join(str(int(k)) for k in found) == expected


def test_counts_stand_in_shard_json_and_in_no_root(two) -> None:
    folder, path, _ = two
    arrive(folder)
    later, fresh = run(path, folder / "store"), run(path, folder / "fresh")
    for mine, theirs in ((later.signatures["a"], fresh.signatures["a"]), (later.signals["a", "pii"], fresh.signals["a", "pii"])):
        assert mine.fingerprint == theirs.fingerprint and mine.root == theirs.root
        key = mine.keys[0]
        a, b = (read_json(stage.shard_path(key) / "shard.json") for stage in (mine, theirs))
        assert (a["files"], a["root"], a["rows"]) == (b["files"], b["root"], b["rows"])
        assert a["counts"]["measured"] < b["counts"]["measured"] == b["rows"] == sum(a["counts"].values())
