"""Every key and constant of decontamination is read: another value changes what comes out. Users' mistakes are one clear message."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.recipe import Decontaminate, EvaluationSet, load_recipe
from curate.relate.contamination import check, fields, index, items, matches, scores, weights
from curate.store import Store
from tests.relate.corpus import recipe_of
from tests.relate.test_contamination import ANSWER, FILLER, QUESTION, measured, write_set

PASSAGE = " ".join(f"sõna{i}" for i in range(40))


def outcome(tmp_path: Path, **given: object) -> dict[str, list[dict]]:
    """One corpus for all keys: a question with a changed word and other marks, a passage alone, a short question and its answer."""
    tmp_path.mkdir()
    path = write_set(
        tmp_path / "proov.jsonl",
        {"id": "1", "question": QUESTION, "answer": ANSWER, "passage": PASSAGE},
        {"id": "2", "question": "Kes laulis laulu?", "answer": "Mari Maasikas"},
        {
            "id": "3",
            "question": "",
            "answer": "kaks korda kaks on neli ja kolm korda kolm on üheksa ning neli korda neli kuusteist",
        },
    )
    stripped = QUESTION.replace("müüs", "muus").replace("sõi", "soi").replace("päevas", "öösel")
    texts = {
        "a": [f"{FILLER} {stripped}", f"{FILLER} {PASSAGE}", f"{FILLER} Kes laulis laulu? Mari Maasikas",
              "Kes laulis laulu? Seda küsis õpetaja täna tunnis klassi ees, ja vastus oli Mari Maasikas.",
              "kaks korda kaks on neli ja kolm korda kolm on üheksa ning neli korda neli kuusteist", f"{PASSAGE} {QUESTION} {FILLER}"],
        "b": [f"Kes laulis laulu? {FILLER} {FILLER} {FILLER} Mari Maasikas", *(f"{i} muna ja kolm sõi ta" for i in range(30))],
    }  # fmt: skip
    return measured(tmp_path, texts, **{"against": str(path), **given})


PLAIN: dict[str, object] = {}
KEYS = {
    "ngram": {"ngram": 9},  # no nine words in a row are left of the question
    "fold": {"fold": []},
    "sources": {"sources": ["a"]},
    "action": {"action": "cut"},  # then there are spans
    "overlap": {"action": "cut", "overlap": 0.95},
}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_read(tmp_path, key):
    base = {"action": "cut"} if key == "overlap" else PLAIN
    assert outcome(tmp_path / "1", **base) != outcome(tmp_path / "2", **KEYS[key])


CONSTANTS = [
    (matches, "FLOOR", 0.7), (matches, "DOUBT_WORDS", (9.0, 6.0, 1.0, 0.0)), (matches, "DOUBT_WORDS", (3.0, 20.0, 1.0, 0.0)),
    (matches, "DOUBT_WORDS", (3.0, 6.0, 4.0, 0.0)), (matches, "DOUBT_WORDS", (3.0, 6.0, 1.0, 4.0)), (index, "LEAST_SHARE", 1.0),
    (index, "LOOSE_WEIGHT", 0.1), (index, "SHORT_NGRAM", 5), (weights, "LEAST_DOCUMENTS", 10**9), (weights, "LEAST_WEIGHT", 0.9),
    (scores, "SHOWN", 0.99), (scores, "BESIDE_WORDS", -1), (matches, "ASKED", 1.01), (matches, "BESIDE", 1.01), (matches, "SLACK_WORDS", -20),
    (matches, "NEAR_WORDS", 1), (matches, "MOST_POSTINGS", 0), (index, "LEAST_WORDS", 99),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "value"), CONSTANTS)
def test_every_constant_is_read_and_is_in_the_fingerprint(tmp_path, monkeypatch, module, name, value):
    """A threshold that nobody reads, with a green test, is a known fault of decontamination (marin-community/marin#5650)."""
    before = outcome(tmp_path / "1")
    for of in (matches, index, weights, scores):
        if hasattr(of, name):
            monkeypatch.setattr(of, name, value)
    index.load.cache_clear()
    after = outcome(tmp_path / "2")
    index.load.cache_clear()
    assert before != after
    recipe = recipe_of(["a"]).model_copy(update={"decontaminate": Decontaminate(against=[str(tmp_path / "1" / "proov.jsonl")])})
    prints = []
    for _ in range(2):
        store = Store(tmp_path / "prints")
        read, tasks = items.tasks(store, recipe)
        for task in tasks:
            if not task.is_done:
                task.fn(*task.args)
        read.finish(["all"])
        documents = store.stage("documents", version=1, settings={}, raw=[])
        documents.finish([])
        matched, _ = matches.tasks(store, recipe.decontaminate, read, {"a": documents})
        matched["a"].finish([])
        prints.append(scores.tasks(store, recipe.decontaminate, read, matched, {"a": documents})[0]["a"].fingerprint)
        monkeypatch.undo()
    assert prints[0] != prints[1]


RECIPE = """
kind: cpt
name: proov
tokenizer: {{model: none}}
sources: {{a: {{read: x, license: {{declared: CC0-1.0}}}}, b: {{read: x, license: {{declared: CC0-1.0}}}}}}
{more}
mixture: {{total: 1 tokens, sequence_length: 8, components: {{all: {{from: [a, b], role: target, budget: 1 tokens}}}}}}
"""


def loaded(tmp_path: Path, more: str, *sets: str):
    (tmp_path / "r.yaml").write_text(RECIPE.format(more=more))
    return load_recipe(tmp_path / "r.yaml", sets)


def test_actions_become_rules(tmp_path):
    rules = loaded(tmp_path, "decontaminate: {against: x.jsonl, overlap: 0.8, sources: a}").rules
    assert [(r.name, r.signal, r.max, r.sources, r.origin) for r in rules] == [
        ("contaminated", "contamination_score", 0.8, ["a"], "decontaminate")
    ]
    both = loaded(tmp_path, "decontaminate: {against: x.jsonl, passages: act}").rules
    assert [(r.name, r.signal, r.max) for r in both] == [
        ("contaminated", "contamination_score", 0.75), ("contaminated_passage", "contamination_passage_score", 0.75),
    ]  # fmt: skip
    assert loaded(tmp_path, "decontaminate: {against: x.jsonl, action: report}").rules == []
    cut = loaded(tmp_path, "decontaminate: {against: x.jsonl, action: cut, sources: b}").rules
    assert [(r.name, r.sources) for r in cut] == [("empty_after_cuts", ["b"])]
    assert loaded(tmp_path, "decontaminate: {against: x.jsonl}", "contaminated=0.9").rules[0].max == 0.9


def test_the_canonical_recipe_loads_to_itself(tmp_path):
    recipe = loaded(
        tmp_path, "decontaminate: {against: {gsm8k: {read: x.jsonl, fields: {question: q, options: [a, b]}}}, passages: act}"
    )
    (tmp_path / "again.yaml").write_bytes(recipe.canonical_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256 == recipe.sha256


def test_the_rules_name_is_taken(tmp_path):
    with pytest.raises(CurateError, match="contaminated"):
        loaded(tmp_path, "rules: [{name: contaminated, signal: n_words, min: 1}]\ndecontaminate: {against: x.jsonl}")


@pytest.mark.parametrize(("action", "passages", "kinds"), [
    ("drop_document", "act", []), ("report", "report", []), ("cut", "report", ["contamination"]),
    ("cut", "act", ["contamination", "contamination_passage"]),
])  # fmt: skip
def test_what_is_cut(action, passages, kinds):
    from curate import cuts

    given = Decontaminate(against=["x"], action=action, passages=passages, sources=["a"])
    recipe = recipe_of(["a", "b"]).model_copy(update={"decontaminate": given})
    assert [kind for entry in cuts.entries(recipe, recipe.sources["a"]) for kind in entry.kinds] == kinds
    assert cuts.entries(recipe, recipe.sources["b"]) == []


def checked(against: object) -> None:
    check(recipe_of(["a"]).model_copy(update={"decontaminate": Decontaminate.model_validate({"against": against})}))


def test_mistakes_are_one_clear_message(tmp_path):
    good = write_set(tmp_path / "proov.jsonl", {"question": QUESTION})
    checked(str(good))
    with pytest.raises(CurateError, match="no evaluation file matches"):
        checked(str(tmp_path / "none*.jsonl"))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(CurateError, match="without items"):
        checked(str(tmp_path / "empty.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"question": "Kes?"}\n{"question": \n')
    with pytest.raises(CurateError, match="must be whole") as broken:
        checked(str(tmp_path / "broken.jsonl"))
    assert "byte 21" in broken.value.where and "broken.jsonl" in broken.value.where
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(good.read_bytes())[:-9])
    with pytest.raises(CurateError, match="truncated"):
        checked(str(tmp_path / "cut.jsonl.gz"))
    with pytest.raises(CurateError, match="no item has a field 'qestion'") as wrong:
        checked({"proov": {"read": str(good), "fields": {"question": "qestion"}}})
    assert "question" in wrong.value.next
    with pytest.raises(CurateError, match="no part 'qestion'"):
        checked({"proov": {"read": str(good), "fields": {"qestion": "question"}}})
    write_set(tmp_path / "other.jsonl", {"foo": "x", "bar": {"baz": "y"}})
    with pytest.raises(CurateError, match="no field of these items") as unknown:
        checked(str(tmp_path / "other.jsonl"))
    assert "bar.baz" in unknown.value.found
    (tmp_path / "b").mkdir()
    write_set(tmp_path / "b" / "proov.jsonl", {"question": QUESTION})
    with pytest.raises(CurateError, match="two evaluation files"):
        checked([str(good), str(tmp_path / "b" / "*.jsonl")])


@pytest.mark.parametrize(("row", "parts"), [
    ({"question": "Q?", "answer": "A", "text": "Q?\nA"}, [("question", "Q?"), ("answer", "A")]),  # GSM8K: the text is both once more
    ({"premise": "P.", "choice1": "Üks.", "choice2": "Kaks.", "question": "cause", "label": 0},
     [("question", "P."), ("options[0]", "Üks."), ("options[1]", "Kaks.")]),  # XCOPA: its question is no question
    ({"prompt": "def f():", "canonical_solution": "  return 1", "test": "assert"}, [("question", "def f():"), ("answer", "  return 1")]),
    ({"text": "Lõik.", "meta": {"question": "Kes?", "answers": {"text": ["Mari", "Mari"], "answer_start": [0, 0]}}},
     [("question", "Kes?"), ("passage", "Lõik."), ("answer", "Mari")]),
    ({"question": "Q?", "choices": {"text": ["x1", "x2"], "label": ["A", "B"]}, "answer": "B"},
     [("question", "Q?"), ("options[0]", "x1"), ("options[1]", "x2")]),  # ARC: the answer is a letter
    ({"question": "Q?", "choices": ["x1", "x2"], "answer": 1}, [("question", "Q?"), ("options[0]", "x1"), ("options[1]", "x2")]),
    ({"text": "Kogu lugu."}, [("passage", "Kogu lugu.")]),
    ({"premise": "P.", "hypothesis": "H.", "label": 1}, [("question", "H."), ("passage", "P.")]),
])  # fmt: skip
def test_known_layouts(row, parts):
    found = fields.parts_of(row, fields.fields_of([row], {}, "here", "file"))
    assert [(part.name, part.text) for part in found] == parts


def test_parquet_and_named_fields(tmp_path):
    table = pa.table({"q": ["Kes?"], "valik": [["a b", "c d"]], "inner": [{"name": "x"}]})
    pq.write_table(table, tmp_path / "proov.parquet")
    named = {"question": "q", "options": "valik", "id": "inner.name"}
    given = EvaluationSet.model_validate({"name": "p", "read": [str(tmp_path / "*.parquet")], "fields": named})
    recipe = recipe_of(["a"]).model_copy(update={"decontaminate": Decontaminate(against={"p": given})})
    rows, n, skipped, _ = items.read_set(items.sets_of(recipe)[0], 10**6)
    assert (n, skipped) == (1, 0)
    assert rows == [
        ("p", "x", "question", "question", "Kes?"),
        ("p", "x", "options[0]", "options", "a b"),
        ("p", "x", "options[1]", "options", "c d"),
    ]


def test_items_are_never_read_twice_for_another_bound(tmp_path, monkeypatch):
    """Another overlap, another action: the texts are not looked at."""
    (tmp_path / "proov.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n")
    first = measured(tmp_path, [f"{FILLER} {QUESTION}"], against=str(tmp_path / "proov.jsonl"))

    def fail(*_: object) -> None:
        raise AssertionError("a text was read")

    monkeypatch.setattr(matches, "write", fail)
    for given in ({"overlap": 0.9}, {"action": "report"}, {"action": "cut", "overlap": 0.5}, {"passages": "act"}):
        again = measured(tmp_path, [f"{FILLER} {QUESTION}"], against=str(tmp_path / "proov.jsonl"), **given)
        assert again["scores"] == first["scores"]
        assert bool(again["spans"]) == ("cut" in given.values())
