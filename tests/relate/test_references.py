"""dedup.against: another build and files, compared with and in no account; from the recipe to verify and explain."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import engine, pipeline
from curate.decide import decide_counts
from curate.errors import CurateError
from curate.inspect import corpus as tables
from curate.inspect import duplicates, explain, samples, screen, stats
from curate.recipe import load_recipe
from curate.recount import similarity
from curate.relate import references
from curate.store import Store
from mixture.verify import verify
from tests.relate.corpus import rows

WORDS = [f"sõna{i}" for i in range(2000)]


def text(seed, n=100):
    return " ".join(random.Random(seed).choices(WORDS, k=n))


def write(path: Path, texts: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(json.dumps({"id": name, "text": of, "url": f"http://x.ee/{name}"}) + "\n" for name, of in texts.items())
    )


def recipe(where: Path, name: str, sources: dict[str, dict[str, str]], dedup: str = "{}", rules: str = "[]"):
    for source, texts in sources.items():
        write(where / "raw" / name / f"{source}.jsonl", texts)
    read = "\n".join(f"  {s}: {{read: 'raw/{name}/{s}.jsonl', license: {{declared: CC0-1.0}}}}" for s in sources)
    (where / f"{name}.yaml").write_text(
        f"kind: cpt\nname: {name}\ntokenizer: {{model: none}}\nsources:\n{read}\nrules: {rules}\ndedup: {dedup}\n"
        f"mixture: {{total: 1 tokens, sequence_length: 8, components: {{all: {{from: [{', '.join(sources)}], role: target, budget: 1 tokens}}}}}}\n"
    )
    return load_recipe(where / f"{name}.yaml")


def build(where: Path, loaded, store: str = "store") -> pipeline.Curated:
    """As build-mixture --until decide does it, in this process."""
    pipeline.check(loaded)
    with engine.quietly():
        done = pipeline.curate(loaded, Store(where / store), workers=1)
    out = where / "build" / loaded.name
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_bytes(loaded.canonical_yaml())
    tables.write_corpus(out, {**done.stages(), **done.reference_stages()}, None)
    return done


def check(where: Path, loaded):
    out = where / "build" / loaded.name
    return verify(
        out, loaded.base, store=where / "store", stages=tables.lineage(out), derived=tables.differences, similarity=similarity
    )


def drops(where: Path, done: pipeline.Curated):
    """{source_id: (reason, witness_source, witness's source_id)}"""
    names = {}
    for stage in (*done.documents.values(), *done.reference_stages().get("reference_documents", {}).values()):
        for key in stage.keys:
            if key != "quarantine":
                table = pq.read_table(stage.shard_path(key) / "documents.parquet", columns=["id", "source_id"]).to_pylist()
                names |= {row["id"]: row["source_id"] for row in table}
    decided = rows(done.decisions, "decisions")
    return {names[r["id"]]: (r["reason"], r["witness_source"], names.get(r["witness_id"])) for r in decided if not r["keep"]}


OLD = {"wiki": {"o1": text(1), "o2": text(2), "short": text(4, 10)}, "web": {"o3": text(3), "o4": text(1) + " lisa"}}
RULES = "[{signal: n_words, min: 20}]"


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A build that keeps o1, o2, o3: `short` fails a rule, o4 is like o1."""
    where = tmp_path_factory.mktemp("references")
    done = build(where, recipe(where, "old", OLD, rules=RULES))
    assert set(drops(where, done)) == {"short", "o4"}
    return where


NEW = {
    "wiki": {"o1": text(1), "n1": text(2) + " muu", "n2": text(4, 10), "n3": text(5)},  # o1: the same source, id and text as there
    "blog": {"n4": text(3).upper(), "n5": text(6), "n6": text(7) + " sabaga", "n7": text(7)},
}  # fmt: skip


def test_a_build_and_files(old):
    write(old / "seen" / "a.jsonl", {"s1": text(5) + " veel", "s2": text(6), "s3": text(6)})
    loaded = recipe(old, "new", NEW, "{against: {old: {build: build/old}, seen: {read: seen/a.jsonl}}}")
    done = build(old, loaded, "other_store")
    assert drops(old, done) == {
        "o1": ("exact_duplicate", "old:wiki", "o1"),
        "n1": ("near_duplicate", "old:wiki", "o2"),
        "n4": ("exact_duplicate", "old:web", "o3"),
        "n3": ("near_duplicate", "seen", "s1"),
        "n5": ("exact_duplicate", "seen", min("s2", "s3", key=lambda n: ids_of(done)[n])),
        "n7": ("near_duplicate", "blog", "n6"),
    }  # fmt: skip  (n2 is like a document that the old build dropped: it stays)
    assert {k: v["documents"] for k, v in decide_counts(done.decisions).items()} == {"wiki": 4, "blog": 4}
    assert done.relations.shingles.info()["counts"]["reused"] == 0
    related = {row["id"]: row for row in rows(done.relations.clusters, "duplicates")}
    assert len(related) == 8 and {row["source"] for row in related.values()} == {"wiki", "blog"}


def ids_of(done):
    stages = done.reference_stages()["reference_documents"].values()
    found = [
        r
        for s in stages
        for r in pq.read_table(s.shard_path("00000") / "documents.parquet", columns=["id", "source_id"]).to_pylist()
    ]
    return {row["source_id"]: row["id"] for row in found}


def test_only_colliding_documents_of_a_reference_are_members(old):
    done = build(
        old, recipe(old, "few", {"wiki": {"n1": text(2) + " muu", "far": text(9)}}, "{against: {old: {build: build/old}}}")
    )
    members = done.relations.buckets.info()["rows"]
    assert members == 2  # n1 and o2: o1 and o4 are like each other, which is nothing to us
    assert done.relations.clusters.keys == ["wiki.00000"] and done.decisions.keys == ["wiki.00000"]
    counts = done.decisions.info()["counts"]
    assert counts["reused_members"] == 2 and counts["resolved_members"] == 0


def test_without_near_only_texts_are_compared(old):
    done = build(old, recipe(old, "hash", NEW, "{near: null, against: {old: {build: build/old}}}"))
    assert drops(old, done) == {"o1": ("exact_duplicate", "old:wiki", "o1"), "n4": ("exact_duplicate", "old:web", "o3")}
    assert check(old, load_recipe(old / "hash.yaml")).ok


def test_scopes_do_not_keep_references_out(old):
    dedup = "{exact: {by: [normalised], across: []}, near: {across: []}, within: [wiki], against: {old: {build: build/old}}}"
    done = build(old, recipe(old, "scopes", NEW, dedup))
    assert drops(old, done) == {
        "o1": ("exact_duplicate", "old:wiki", "o1"), "n1": ("near_duplicate", "old:wiki", "o2"), "n4": ("exact_duplicate", "old:web", "o3"),
    }  # fmt: skip


def test_all_members_go_but_not_those_of_a_reference(old):
    done = build(old, recipe(old, "none", NEW, "{near: {keep: none}, against: {old: {build: build/old}}}"))
    found = drops(old, done)
    assert found["n1"] == ("near_duplicate", "old:wiki", "o2") and {found["n6"], found["n7"]} == {
        ("near_duplicate", "blog", "n7"), ("near_duplicate", "blog", "n6"),
    }  # fmt: skip
    report = check(old, load_recipe(old / "none.yaml"))
    assert report.ok, report.text()


def test_verify_explain_samples_and_stats(old):
    write(old / "seen" / "b.jsonl", {"s1": "Eessõna. " + text(5)})
    loaded = recipe(old, "looked", NEW, "{against: {old: {build: build/old}, seen: {read: seen/b.jsonl}}}")
    done = build(old, loaded)
    report = check(old, loaded)
    assert report.ok, report.text()
    assert report.checked["documents"] == 8 and report.checked["similar_pairs_compared_again"] == 3  # n1, n3, n7
    out = old / "build" / "looked"
    ids = {row["id"]: row for row in rows(done.decisions, "decisions")}
    of = {names: i for i, names in ((r["id"], r["source_id"]) for r in pq.read_table(
        done.documents["wiki"].shard_path("00000") / "documents.parquet", columns=["id", "source_id"]).to_pylist())}  # fmt: skip
    data = explain.explain(out, of["n3"])
    witness = data["witness"]
    assert (witness["source"], witness["standing"], witness["file"], witness["byte_offset"]) == (
        "seen",
        "reference",
        "b.jsonl",
        0,
    )
    passage = witness["passage"]
    shared = text(5).encode()
    assert (passage["start"], passage["end"]) == (0, len(shared)) and passage["witness_start"] == len("Eessõna. ".encode())
    shown = explain.render(data)
    assert f"to seen {witness['id']}" in shown and "from b.jsonl, byte 0" in shown and "the witness, a reference" in shown
    assert ids[of["o1"]]["witness_id"] == of["o1"] and explain.explain(out, of["o1"])["witness"]["standing"] == "reference"
    near = samples.samples(out, "near_duplicate")
    assert {d["witness"]["source"] for d in near["samples"]} == {
        "old:wiki",
        "seen",
        "blog",
    } and "reference seen" in samples.render(near)
    counted = stats.stats(out)
    assert [(r["reference"], r["documents"]) for r in counted["duplicates"]["references"]] == [
        ("old:web", 2),
        ("old:wiki", 3),
        ("seen", 1),
    ]
    assert sum(s["documents"] for s in counted["sources"]) == 8 and all(s["sums_close"] for s in counted["sources"])
    with tables.open_corpus(out) as corpus:
        for view, n in (("documents", 8), ("texts", 8), ("decisions", 8), ("reference_texts", 6)):
            assert tables.rows(corpus, f"SELECT count(*) AS n FROM {view}")[0]["n"] == n


def test_verify_sees_a_witness_that_its_build_did_not_keep(old, tmp_path):
    """Decisions of the other build that were changed by hand: its bytes, and what ours says of them."""
    loaded = recipe(tmp_path, "first", OLD)
    build(tmp_path, loaded)
    mine = recipe(tmp_path, "second", NEW, "{against: {first: {build: build/first}}}")
    build(tmp_path, mine)
    assert check(tmp_path, mine).ok
    entry = next(e for e in tables.lineage(tmp_path / "build" / "second") if e["stage"] == "reference_decide")
    folder = (tmp_path / "build" / "second" / entry["path"]).resolve()
    path = folder / "wiki.00000" / "decisions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index("keep"), "keep", [[False] * len(table)]), path)
    said = [f.what for f in check(tmp_path, mine).findings]
    assert any("bytes" in what for what in said) and any(
        "the witness first:wiki" in what and "is not kept" in what for what in said
    )
    path.unlink()
    assert any("the file is missing" in f.what for f in check(tmp_path, mine).findings)


def test_the_same_roots_whatever_the_paths_and_workers(old, tmp_path):
    write(tmp_path / "elsewhere" / "x.jsonl", {"s1": text(5) + " veel"})
    dedup = "{against: {old: {build: %s}, seen: {read: %s}}}"
    first = build(
        old, recipe(old, "same", NEW, dedup % (old / "build" / "old", tmp_path / "elsewhere" / "x.jsonl")), "third_store"
    )
    write(old / "renamed.jsonl", {"s1": text(5) + " veel"})
    second = build(old, recipe(old, "same2", NEW, dedup % ("build/old", "renamed.jsonl")), "fourth_store")
    assert first.decisions.fingerprint == second.decisions.fingerprint and first.decisions.root == second.decisions.root
    assert first.relations.clusters.root == second.relations.clusters.root


copies_of = st.tuples(st.integers(0, 5), st.integers(0, 2))  # family, how far from its first text


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(copies_of, min_size=1, max_size=8), st.lists(copies_of, max_size=6), st.sampled_from(["all", "[]", "[a]"]),
       st.sampled_from(["best", "none"]))  # fmt: skip
def test_every_witness_is_kept_or_in_a_reference(tmp_path_factory, own, theirs, across, keep):
    """Random families and scopes, all pairs compared in Python."""
    where = tmp_path_factory.mktemp("random")
    made = {f"d{i}": text(family) + " x" * (more > 0) + " y" * (more > 1) for i, (family, more) in enumerate(own)}
    seen = {f"r{i}": text(family) + " z" * more for i, (family, more) in enumerate(theirs)}
    against = ""
    if seen:
        write(where / "seen.jsonl", seen)
        against = ", against: {seen: {read: seen.jsonl}}"
    split = {"a": dict(list(made.items())[::2]), "b": dict(list(made.items())[1::2]) or {"z": text(99)}}
    loaded = recipe(where, "r", split, f"{{near: {{across: {across}, keep: {keep}}}{against}}}")
    done = build(where, loaded)
    found = drops(where, done)
    families = {name: family for name, (family, _) in zip(made, own, strict=True)}
    foreign = {family for family, _ in theirs}
    for name, (_, source, witness) in found.items():
        assert source == "seen" or keep == "none" or witness not in found
        assert families[name] in foreign if source == "seen" else families[name] == families[witness]
    for name, family in families.items():
        assert name in found or family not in foreign  # whoever is like a reference goes, in any scope
    report = check(where, loaded)
    assert report.ok, report.text()


# ---- mistakes


def refused(where, dedup, message):
    with pytest.raises(CurateError, match=message):
        pipeline.check(recipe(where, "bad", {"wiki": {"n": text(1)}}, dedup))


def test_mistakes(old):
    refused(old, "{against: {x: {build: build/nowhere}}}", r"dedup.against.x: this is not a build")
    refused(old, "{against: {x: {read: nowhere/*.jsonl}}}", r"dedup.against.x.read: no file matches")
    refused(
        old,
        "{near: {bands: 14}, against: {x: {build: build/old}}}",
        r"other settings[\s\S]*bands 16[\s\S]*set dedup.near.bands: 16",
    )
    refused(
        old,
        "{near: {fold: [digits]}, against: {x: {build: build/old}}}",
        r"dedup.against.x \(w\w+\)[\s\S]*set dedup.near.fold: \[\]",
    )
    pipeline.check(
        recipe(old, "bad", {"wiki": {"n": text(1)}}, "{near: null, against: {x: {build: build/old}}}")
    )  # hashes compare
    refused(old, "{against: {x: {read: seen/a.jsonl, words: zz}}}", r"dedup.against.x.words")
    loaded = recipe(old, "old2", {"wiki": {"n": text(1)}}, "{against: {x: {build: build/old2}}}")
    with pytest.raises(CurateError, match="cannot be compared with itself"):
        references.check_out(loaded, old / "build" / "old2")


def test_a_build_that_did_not_decide_yet(old):
    loaded = recipe(old, "until", {"wiki": {"n": text(1)}})
    with engine.quietly():
        done = pipeline.curate(loaded, Store(old / "store"), workers=1, until="relate")
    (old / "build" / "until").mkdir(parents=True)
    tables.write_corpus(old / "build" / "until", done.stages(), None)
    refused(old, "{against: {x: {build: build/until}}}", "stopped before it decided")


def test_capped_buckets_are_said(tmp_path):
    """Five texts, each a word away from the others: alike enough to meet, not to be duplicates."""
    texts = {f"d{i}": f"{text(1, 200)} lõpp{i}" for i in range(5)}
    loaded = recipe(tmp_path, "capped", {"a": texts}, "{near: {jaccard: 1.0, bucket_cap: 2}}")
    done = build(tmp_path, loaded)
    n = done.relations.clusters.info()["counts"]["capped_buckets"]
    assert n > 0 and decide_counts(done.decisions)["a"]["kept"] == 5
    out = tmp_path / "build" / "capped"
    with tables.open_corpus(out) as corpus:
        (said,) = duplicates.capped_hints(corpus, out, loaded)
        assert duplicates.capped_hints(corpus, out, recipe(tmp_path, "capped", {"a": texts}, "{near: null}")) == []
    assert said.startswith(f"{n} bucket") and "kept more than 2" in said and "dedup.near.bucket_cap" in said
    assert f"! {said}" in screen.render(screen.screen(out))
    assert f"buckets past dedup.near.bucket_cap: {n} of all documents" in stats.render(stats.stats(out))
