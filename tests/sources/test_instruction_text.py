"""Passages rendered with their questions: forms, shapes of rows, what is refused, EstQA."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import zstandard

from curate.sources.lanes import lane_of
from curate.sources.records import Refused
from tests.sources.making import lines, pack, read_all, recipe

POOLS = {"et/qa": ["K: {question}\nV: {answer}"], "et/after": ["{passage}\n\n{qa}"], "et/before": ["{qa}\n\n{passage}"]}


def lane(tmp_path, forms=None, fields=None, **options):
    render = {"forms": forms or {"after": "100 %"}, "templates": {"pools": POOLS}, **options}
    block = {"read": "x", "type": "instruction_text", "language": "et", "render": render, "fields": fields or {}}
    return lane_of(recipe(tmp_path, {"s": block}).sources["s"], 10_000)


@pytest.mark.parametrize(
    "row",
    [
        {"qa": [{"question": "Kes?", "answer": "Mari."}, {"question": "Kus?", "answer": "Kodus."}]},
        {"qa": '[{"question": "Kes?", "answer": "Mari."}, {"question": "Kus?", "answer": "Kodus."}]'},
        {"qas": [{"question": "Kes?", "answers": [{"text": "Mari.", "answer_start": 0}, {"text": "M"}]},
                 {"question": "Kus?", "answers": {"text": ["Kodus."], "answer_start": [5]}}]},
        {"question": ["Kes?", "Kus?"], "answer": ["Mari.", "Kodus."]},
        {"questions": ["Kes?", "Kus?"], "answers": ["Mari.", "Kodus."]},
        {"qa_pairs": [{"q": " Kes? ", "a": "Mari.\n"}, {"q": "Millal?", "a": ""}, {"q": "Kus?", "a": "Kodus."}, {"q": "Kes?", "a": "Mari."}]},
    ],
)  # fmt: skip
def test_the_same_questions_in_every_form(row, tmp_path):
    made = lane(tmp_path)({"text": "Mari on kodus.\n", **row})
    assert made["text"] == "Mari on kodus.\n\nK: Kes?\nV: Mari.\n\nK: Kus?\nV: Kodus."
    assert json.loads(made["parts"]) == {
        "passage": "Mari on kodus.", "qa": [{"question": "Kes?", "answer": "Mari."}, {"question": "Kus?", "answer": "Kodus."}]}  # fmt: skip
    assert json.loads(made["extra"]) == {"render": "after"} and made["messages"] is None


def test_one_question_in_two_fields(tmp_path):
    make = lane(tmp_path, {"before": "100 %"}, {"text": "context", "question": "meta.q", "answer": "meta.a"})
    assert make({"context": "Tekst.", "meta": {"q": "Mis?", "a": {"text": ["Tekst"]}}})["text"] == "K: Mis?\nV: Tekst\n\nTekst."


def test_forms_fall_by_their_shares(tmp_path):
    make = lane(tmp_path, {"after": "70 %", "before": "30 %"})
    rows = [{"text": f"Lõik {i}.", "question": "Mis?", "answer": str(i)} for i in range(4000)]
    found = [json.loads(make(row)["extra"])["render"] for row in rows]
    assert abs(found.count("after") / 4000 - 0.7) < 0.022
    assert [json.loads(make(row)["extra"])["render"] for row in rows[::-1]] == found[::-1]


def test_rows_of_one_passage_become_one_document(tmp_path):
    rows = [
        {"id": "1", "p": "A", "text": "Lõik A.", "question": "Kes?", "answer": "Mari, \"M\"."},
        {"id": "2", "p": "A", "text": "Lõik A.", "question": "Kus?"},
        {"id": "3", "p": "A", "text": "Lõik A.", "question": "Kus?", "answer": ["Kodus."]},
        {"id": "4", "p": "B", "text": "Lõik B.", "question": "Mis?", "answer": "See."},
    ]  # fmt: skip
    render = {"forms": {"after": "100 %"}, "templates": {"pools": POOLS}}
    block = {"read": "x", "type": "instruction_text", "language": "et", "render": render, "group": {"by": "p"}}
    for scattered in (False, True):
        of = recipe(tmp_path, {"s": block | {"group": {"by": "p", "scattered": scattered}}}).sources["s"]
        good, bad = read_all(pack(tmp_path / "a.jsonl", lines(*rows)), of)
        found = sorted((r.fields["text"], r.fields["source_id"]) for r in good)
        assert found == [
            ("Lõik A.\n\nK: Kes?\nV: Mari, \"M\".\n\nK: Kus?\nV: Kodus.", "A"), ("Lõik B.\n\nK: Mis?\nV: See.", "B")]  # fmt: skip
        assert [(b.cause, b.byte_offset) for b in bad] == [("no_prompt", len(lines(rows[0])))]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"question": "a", "answer": "b"}, "missing_text"), ({"text": " ", "question": "a", "answer": "b"}, "empty_text"),
        ({"text": "t"}, "no_prompt"), ({"text": "t", "question": "a"}, "no_prompt"), ({"text": "t", "qa": []}, "no_prompt"),
        ({"text": "t", "qa": [{"question": "a", "answers": {"text": []}}]}, "no_prompt"),
        ({"text": "t", "question": ["a", "b"], "answer": ["c"]}, "text_not_string"), ({"text": "t", "qa": "no list"}, "text_not_string"),
        ({"text": "t", "qa": {"a": "b"}}, "text_not_string"), ({"text": "t", "question": 5, "answer": "a"}, "text_not_string"),
        ({"text": "t", "question": "a\0", "answer": "b"}, "nul_character"), ({"text": "t" * 9999, "question": "a", "answer": "b"}, "too_large"),
    ],
)  # fmt: skip
def test_what_has_no_question_is_refused(row, cause, tmp_path):
    with pytest.raises(Refused) as caught:
        lane(tmp_path)(row)
    assert caught.value.cause == cause


def test_passage_and_answers_are_repaired(tmp_path):
    made = lane(tmp_path)({"text": "P\u00c3\u00a4rnu", "question": "Mis?", "answer": "So\u0303na"})
    assert (made["text"], made["is_repaired"]) == ("Pärnu\n\nK: Mis?\nV: Sõna", True)


def test_estqa(data, tmp_path):
    block = {
        "read": "x",
        "type": "instruction_text",
        "language": "et",
        "fields": {"question": "meta.question", "answer": "meta.answers"},
    }
    block["render"] = {"forms": {"qa_after_text": "80 %", "qa_before_text": "20 %"}}
    make = lane_of(recipe(tmp_path, {"s": block}).sources["s"], 1_000_000)
    raw = zstandard.ZstdDecompressor().stream_reader((data / "eval" / "estqa-train-v1.0.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in raw.decode().split("\n") if line]
    forms: Counter = Counter()
    for row in rows:
        made = make(row)
        forms[json.loads(made["extra"])["render"]] += 1
        passage, question = made["text"].index(row["text"].strip()[:60]), made["text"].index(row["meta"]["question"].strip())
        assert (passage < question) == (json.loads(made["extra"])["render"] == "qa_after_text")
        assert row["meta"]["answers"]["text"][0].strip() in made["text"]
    assert sum(forms.values()) == 776 and 130 < forms["qa_before_text"] < 180
