"""From raw records and an evaluation file to decisions, cuts, corpus.duckdb and what a person sees."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from curate import pipeline
from curate.inspect import corpus as corpus_room
from curate.inspect import explain, samples, screen, stats
from curate.inspect.corpus import open_corpus, rows
from curate.recipe import load_recipe
from curate.store import Store
from tests.relate.test_contamination import ANSWER, QUESTION, write_set

TOP = Path(__file__).resolve().parents[2]
PASSAGE = " ".join(f"lõik{i}" for i in range(40))


def texts() -> list[str]:
    """20 ordinary documents; in 0 a question and its answer, in 1 a passage alone, in 2 nothing but a question."""
    rng = random.Random(3)
    found = [" ".join(rng.choices([f"sõna{i}" for i in range(3000)], k=60)) for _ in range(20)]
    found[0] += f"\n{QUESTION}?\n{ANSWER}\nlõpp"
    found[1] += f"\n{PASSAGE}"
    found[2] = QUESTION
    return found


def build(folder: Path, keys: str, shuffle: int = 0, workers: int = 1) -> pipeline.Curated:
    folder.mkdir(exist_ok=True)
    records = [{"id": str(i), "text": text} for i, text in enumerate(texts())]
    random.Random(shuffle).shuffle(records)
    (folder / "raw.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    first = {"id": "q1", "question": QUESTION, "answer": ANSWER, "context": PASSAGE}
    write_set(folder / "proov.jsonl", first, {"id": "q2", "question": "Mis see küll on?", "answer": "ei tea"})
    (folder / "r.yaml").write_text(f"""
kind: cpt
name: proov
tokenizer: {{model: '{TOP / "recipes/quickstart/tokenizer"}', eos: per_document}}
sources: {{a: {{read: raw.jsonl, language: et, license: {{declared: CC0-1.0}}}}}}
dedup: {{near: null}}
decontaminate: {{against: proov.jsonl{keys}}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{et: {{from: a, role: target, budget: 1k tokens}}}}}}
""")
    loaded = load_recipe(folder / "r.yaml")
    pipeline.check(loaded)
    curated = pipeline.curate(loaded, Store(folder / "store"), workers=workers)
    (folder / "build").mkdir(exist_ok=True)
    (folder / "build" / "recipe.yaml").write_bytes(loaded.canonical_yaml())
    corpus_room.write_corpus(folder / "build", curated.stages(), None)
    return curated


def decisions(folder: Path) -> dict[str, str | None]:
    """source_id -> reason, None for kept."""
    with open_corpus(folder / "build") as corpus:
        return {
            r["source_id"]: r["reason"]
            for r in rows(corpus, "SELECT source_id, reason FROM decisions JOIN documents USING (id, source)")
        }


@pytest.fixture(scope="module")
def dropped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dropped")
    build(folder, "")
    return folder


def test_contaminated_documents_are_dropped_with_signal_value_and_bound(dropped):
    found = decisions(dropped)
    assert {key: reason for key, reason in found.items() if reason} == {"0": "contaminated", "2": "contaminated"}
    with open_corpus(dropped / "build") as corpus:
        [row] = rows(corpus, "SELECT signal, value, bound FROM decisions JOIN documents USING (id, source) WHERE source_id = '0'")
        assert (row["signal"], row["bound"]) == ("contamination_score", "<= 0.75") and row["value"] > 0.9
        [row] = rows(corpus, "FROM evaluation_sets")
        expected = {"eval_set": "proov", "items": 2, "short_items": 0, "contaminated_items": 1, "documents": 2, "passage_items": 1,
                    "passage_documents": 1, "bound": 0.75, "action": "drop_document"}  # fmt: skip
        assert row == expected
        hits = rows(
            corpus, 'SELECT source_id, part, start, "end" FROM contamination JOIN documents USING (id, source) ORDER BY ALL'
        )
    of = {(h["source_id"], h["part"]): texts()[int(h["source_id"])].encode()[h["start"] : h["end"]].decode() for h in hits}
    assert of == {("0", "question"): QUESTION, ("0", "answer"): ANSWER, ("1", "passage"): PASSAGE, ("2", "question"): QUESTION}
    assert corpus_room.differences(dropped / "build", corpus_stages(dropped), None) == []


def corpus_stages(folder: Path) -> list[dict]:
    with open_corpus(folder / "build") as corpus:
        return rows(corpus, "FROM stages")


@pytest.mark.slow
def test_people_see_it(dropped):
    out = dropped / "build"
    shown = stats.render(stats.stats(out))
    assert "evaluation sets: items that stand in documents" in shown and "50 %" in shown
    end = screen.render(screen.screen(out))
    assert "1 of 2 evaluation items stand in the documents (such documents are dropped), most of proov: 1 in 2 documents" in end
    drawn = samples.samples(out, "contaminated")
    assert drawn["total"] == 2 and "proov q1 question, score" in samples.render(drawn)
    with open_corpus(out) as corpus:
        [row] = rows(corpus, "SELECT id FROM documents WHERE source_id = '1'")
    story = explain.render(explain.explain(out, row["id"]))
    assert "proov q1: passage alone, without the question" in story and "40 of 40 words (raw)" in story


def test_report_drops_nothing(tmp_path):
    build(tmp_path, ", action: report, sources: a")
    assert all(reason is None for reason in decisions(tmp_path).values())
    assert "(reported only)" in screen.render(screen.screen(tmp_path / "build"))


def test_cut_leaves_the_rest(tmp_path):
    build(tmp_path, ", action: cut")
    assert {key: reason for key, reason in decisions(tmp_path).items() if reason} == {"2": "empty_after_cuts"}
    with open_corpus(tmp_path / "build") as corpus:
        query = 'SELECT source_id, start, "end", kind FROM cuts JOIN documents USING (id, source) ORDER BY ALL'
        cuts = [(c["kind"], texts()[int(c["source_id"])].encode()[c["start"] : c["end"]].decode()) for c in rows(corpus, query)]
    assert cuts == [("contamination", QUESTION), ("contamination", ANSWER), ("contamination", QUESTION)]


def test_passages_that_act(tmp_path):
    build(tmp_path, ", passages: act")
    assert {key: reason for key, reason in decisions(tmp_path).items() if reason} == {
        "0": "contaminated", "1": "contaminated_passage", "2": "contaminated",
    }  # fmt: skip


@pytest.mark.slow
def test_order_and_workers_change_no_root(dropped, tmp_path):
    first, second = build(dropped, ""), build(tmp_path, "", shuffle=7, workers=2)
    assert first.signals["a", "contamination"].root == second.signals["a", "contamination"].root
    assert first.decisions.root == second.decisions.root
