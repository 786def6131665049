"""Pairs of sentences: both sides, the two forms, the shares of LLAMMAS, and what cannot be a pair."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from curate.errors import CurateError
from curate.sources import check_source, list_files
from curate.sources.lanes import lane_of
from curate.sources.records import Refused
from tests.sources.making import lines, pack, recipe

NAMES = {"en": {"et": "Estonian", "en": "English"}, "et": {"et": "eesti", "en": "inglise"}}
POOLS = {
    "en/text": ["{from}: {source} / {to}: {target}"], "et/text": ["{source}\n{target}"],
    "en/separate": ["Translate from {from} to {to}."], "en/inline": ["In {to}: {text}"],
    "et/separate": ["Tõlgi {to} keelde."], "et/inline": ["{text} {to} keeles?"],
}  # fmt: skip
PAIR = {"et": "Kass istub matil.", "en": "The cat sits on the mat.", "id": 7}


def lane(tmp_path, fields=None, **options):
    options = {"languages": ["en", "et"], "templates": {"names": NAMES, "pools": POOLS}, **options}
    block = {"read": "x", "type": "parallel", "parallel": options, "fields": fields or {}}
    return lane_of(recipe(tmp_path, {"s": block}).sources["s"], 10_000)


def test_both_sides_as_one_text(tmp_path):
    made = lane(tmp_path)(PAIR)
    assert made["text"] == "English: The cat sits on the mat. / Estonian: Kass istub matil."
    assert made["parts"] == '{"en":"The cat sits on the mat.","et":"Kass istub matil."}'
    assert json.loads(made["extra"]) == {"parallel": {"from": "en", "to": "et", "said_in": "en"}}
    assert (made["messages"], made["source_id"], made["is_repaired"]) == (None, "7", False)
    back = lane(tmp_path, reverse="100 %", instruction_languages={"et": "100 %"})(PAIR)
    assert back["text"] == "Kass istub matil.\nThe cat sits on the mat." and back["parts"] == made["parts"]


@pytest.mark.parametrize(
    ("options", "user", "assistant"),
    [
        ({"separate_input": "100 %"}, "Translate from English to Estonian.\n\nThe cat sits on the mat.", "Kass istub matil."),
        ({"separate_input": "0 %"}, "In Estonian: The cat sits on the mat.", "Kass istub matil."),
        ({"separate_input": "0 %", "reverse": "100 %"}, "In English: Kass istub matil.", "The cat sits on the mat."),
        ({"separate_input": "100 %", "instruction_languages": {"et": "100 %"}},
         "Tõlgi eesti keelde.\n\nThe cat sits on the mat.", "Kass istub matil."),
    ],
)  # fmt: skip
def test_an_instruction_to_translate(options, user, assistant, tmp_path):
    made = lane(tmp_path, form="translation", **options)(PAIR)
    assert made["messages"] == [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    assert made["text"] == f"{user}\n\n{assistant}"


def test_shares_are_those_asked_for_and_no_row_moves_another(tmp_path):
    options = {"form": "translation", "reverse": "30 %", "instruction_languages": {"en": "95 %", "et": "5 %"}}
    rows = [{"et": f"Lause number {i}.", "en": f"Sentence number {i}."} for i in range(6000)]
    make = lane(tmp_path, **options)
    found = [make(row) for row in rows]
    drawn = [json.loads(one["extra"])["parallel"] for one in found]
    assert abs(sum(d["input"] == "separate" for d in drawn) / 6000 - 0.85) < 0.015  # LLAMMAS'
    assert abs(sum(d["from"] == "et" for d in drawn) / 6000 - 0.30) < 0.02
    assert abs(sum(d["said_in"] == "et" for d in drawn) / 6000 - 0.05) < 0.009
    assert [make(row) for row in reversed(rows)] == found[::-1]
    other = lane(tmp_path, seed=1, **options)
    assert 2000 < sum(other(row)["text"] != one["text"] for row, one in zip(rows, found, strict=True)) < 4000


def test_sides_come_from_mapped_fields_nested_ones_and_hugging_faces_translation(tmp_path):
    assert lane(tmp_path, {"en": "source", "et": "target"})({"source": "a", "target": "b"})["parts"] == '{"en":"a","et":"b"}'
    assert lane(tmp_path)({"translation": {"et": "b", "en": "a"}})["parts"] == '{"en":"a","et":"b"}'
    scored = lane(tmp_path, {"en": "x.en", "et": "x.et", "score": "meta.z"})
    assert scored({"x": {"en": "a", "et": "b"}, "meta": {"z": "0.50"}})["parts"] == '{"en":"a","et":"b","score":0.5}'
    assert scored({"x": {"en": "a", "et": "b"}, "meta": {"z": None}})["parts"] == '{"en":"a","et":"b"}'


def test_each_side_is_repaired_and_stripped(tmp_path):
    made = lane(tmp_path)({"en": " The seaside town. \n", "et": "P\u00c3\u00a4rnu linn."})
    assert (made["parts"], made["is_repaired"]) == ('{"en":"The seaside town.","et":"Pärnu linn."}', True)


def test_braces_and_names_of_places_in_a_side_are_text(tmp_path):
    assert lane(tmp_path)({"en": "{target} {x}", "et": "{source}"})["text"] == "English: {target} {x} / Estonian: {source}"


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"en": "a"}, "missing_text"), ({"en": "a", "et": None}, "missing_text"), ({"en": "a", "et": "  \n"}, "empty_text"),
        ({"en": "a", "et": ["b"]}, "text_not_string"), ({"en": "a\0", "et": "b"}, "nul_character"),
        ({"en": "\ud800", "et": "b"}, "lone_surrogate"), ({"en": "a" * 10_000, "et": "b"}, "too_large"),
        ({"en": "a", "et": "b", "q": "good"}, "not_a_number"), ({"en": "a", "et": "b", "q": True}, "not_a_number"),
    ],
)  # fmt: skip
def test_what_is_no_pair_is_refused(row, cause, tmp_path):
    with pytest.raises(Refused) as caught:
        lane(tmp_path, {"score": "q"})(row)
    assert caught.value.cause == cause


def test_a_wrong_mapping_is_found_before_the_work(tmp_path):
    pack(tmp_path / "a.jsonl", lines({"text_et": "Tere!", "en": "Hello!"}))
    loaded = recipe(tmp_path, {"s": {"read": "a.jsonl", "type": "parallel", "parallel": {"languages": ["en", "et"]}}})
    source = loaded.sources["s"]
    with pytest.raises(CurateError) as caught:
        check_source(source, list_files(loaded, source), loaded.limits)
    assert "fields.et" in str(caught.value) and "text_et" in str(caught.value)
    with pytest.raises(CurateError) as caught:
        source = recipe(tmp_path, {"s": {"read": "a.jsonl", "type": "parallel", "parallel": {"languages": ["en", "et"]},
                                         "fields": {"text": "en"}}}).sources["s"]  # fmt: skip
        check_source(source, [], loaded.limits)
    assert "made of its parts" in str(caught.value)


def test_real_pairs(data, tmp_path):
    import zstandard

    make = lane(tmp_path, {"et": "text", "en": "text_en"}, form="translation")
    raw = zstandard.ZstdDecompressor().stream_reader((data / "parallel" / "tatoeba_et_en.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in raw.decode().split("\n") if line]
    made = [make(row) for row in rows]
    assert len(made) == 1000
    for row, one in zip(rows, made, strict=True):
        assert one["messages"][1]["content"] == row["text"].strip() and row["text_en"].strip() in one["messages"][0]["content"]
    assert Counter(json.loads(one["extra"])["parallel"]["input"] for one in made)["separate"] > 800
