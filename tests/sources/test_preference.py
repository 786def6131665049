"""Preferences: pairs, dialogues, comparisons, corrections, scored answers; one row gives one pair or says why not."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import zstandard

from curate.sources.lanes import lane_of
from curate.sources.records import Refused
from tests.sources.making import recipe


def lane(tmp_path, fields=None, language="en", **options):
    block = {"read": "x", "type": "preference", "language": language, "preference": options, "fields": fields or {}}
    return lane_of(recipe(tmp_path, {"s": block}).sources["s"], 10_000)


def pair(made: dict) -> tuple:
    return (
        [turn["content"] for turn in json.loads(made["prompt"])],
        made["chosen"],
        made["rejected"],
        json.loads(made["parts"] or "{}"),
    )


def turns(*contents: str) -> list[dict]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "chosen": "Because.", "rejected": "No."},
        {"prompt": [{"role": "user", "content": "Why?"}], "chosen": " Because.\n", "rejected": "No."},
        {"prompt": turns("Why?"), "chosen": [{"role": "assistant", "content": "Because."}], "rejected": {"role": "assistant", "content": "No."}},
        {"chosen": turns("Why?", "Because."), "rejected": turns("Why?", "No.")},
        {"prompt": "Why?", "chosen": turns("Why?", "Because."), "rejected": turns("Why?", "No.")},  # as UltraFeedback's
        {"chosen": "\n\nHuman: Why?\n\nAssistant: Because.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},  # as HH-RLHF's
        {"prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " Because.", "rejected": " No."},
    ],
)  # fmt: skip
def test_the_same_pair_in_every_form(row, tmp_path):
    made = lane(tmp_path)(row)
    assert pair(made) == (["Why?"], "Because.", "No.", {})
    assert made["text"] == "Why?\n\nBecause." and made["messages"] is None
    assert made["prompt"] == '[{"content":"Why?","role":"user"}]'


def test_a_dialogue_parts_at_its_last_answer(tmp_path):
    row = {"chosen": turns("a", "b", "c", "good"), "rejected": turns("a", "b", "c", "bad")}
    made = lane(tmp_path)(row | {"system": "Be kind."})
    assert pair(made)[:3] == (["Be kind.", "a", "b", "c"], "good", "bad")
    assert json.loads(made["prompt"])[0]["role"] == "system" and made["text"] == "Be kind.\n\na\n\nb\n\nc\n\ngood"


def test_scores_give_the_margin(tmp_path):
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": "4.5", "rejected_score": 2}
    assert pair(lane(tmp_path)(row))[3] == {"margin": 2.5, "chosen_score": 4.5, "rejected_score": 2}
    assert pair(lane(tmp_path)({**row, "margin": 7}))[3]["margin"] == 7
    assert refused(lane(tmp_path, min_margin=3), row) == refused(lane(tmp_path), {**row, "chosen_score": 1}) == "no_preference"


def test_two_answers_compared(tmp_path):
    row = {"context": turns("a", "b", "c"), "response1": "one", "response2": "two", "overall_preference": -2}
    make = lane(tmp_path, of="compared")
    assert pair(make(row)) == (["a", "b", "c"], "one", "two", {"margin": 2})
    assert pair(make({**row, "overall_preference": 3}))[1:] == ("two", "one", {"margin": 3})
    assert (
        refused(make, {**row, "overall_preference": 0}) == refused(make, {**row, "overall_preference": None}) == "no_preference"
    )
    assert refused(lane(tmp_path, of="compared", min_margin=3), row) == "no_preference"


def test_a_correction_is_chosen_and_its_original_rejected(tmp_path):
    templates = {"pools": {"et": ["Paranda: {text}"]}}
    make = lane(tmp_path, language="et", of="corrections", templates=templates)
    row = {"original": " Ma lähen koolis. ", "corrections": ["Ma lähen koolis.", "Ma lähen kooli.", "Ma läksin kooli."]}
    assert pair(make(row)) == (["Paranda: Ma lähen koolis."], "Ma lähen kooli.", "Ma lähen koolis.", {})
    assert pair(make({**row, "corrections": "Lähen kooli."}))[1] == "Lähen kooli."
    assert refused(make, {**row, "corrections": ["Ma lähen koolis."]}) == "equal_answers"
    assert refused(make, {**row, "corrections": []}) == "empty_answer"
    assert refused(make, {**row, "corrections": [""]}) == refused(make, {**row, "original": " "}) == "empty_answer"
    drawn = {pair(lane(tmp_path, language="et", of="corrections", seed=seed)(row))[0][0] for seed in range(40)}
    assert len(drawn) == 8  # every template that is shipped


ANSWERS = {"prompt": "q", "answers": ["bad", "best", "good", "also bad"], "scores": [1, 5, 4, 1]}


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        (ANSWERS, {}, ("best", "bad", {"margin": 4, "chosen_score": 5, "rejected_score": 1})),
        (ANSWERS, {"pair": "best_second"}, ("best", "good", {"margin": 1, "chosen_score": 5, "rejected_score": 4})),
        (ANSWERS, {"pair": "best_second", "min_margin": 2}, ("best", "bad", {"margin": 4, "chosen_score": 5, "rejected_score": 1})),
        ({"instruction": "q", "completions": [
            {"response": "x", "overall_score": 2.5, "model": "m"}, {"response": "y", "overall_score": 4, "model": "n"}, {"response": "z"}]},
         {}, ("y", "x", {"margin": 1.5, "chosen_score": 4, "rejected_score": 2.5, "chosen_by": "n", "rejected_by": "m"})),
        ({"prompt": "q", "responses": {"strong": " s ", "weak": "w", "other": "o"}}, {"order": ["weak", "middle", "strong"]},
         ("s", "w", {"margin": 2, "chosen_score": 2, "rejected_score": 0, "chosen_by": "strong", "rejected_by": "weak"})),
        ({"prompt": "q", "responses": {"a": "x", "b": "y"}, "scores": {"b": 3, "a": 1}}, {},
         ("y", "x", {"margin": 2, "chosen_score": 3, "rejected_score": 1, "chosen_by": "b", "rejected_by": "a"})),
    ],
)  # fmt: skip
def test_two_of_several_answers(row, options, expected, tmp_path):
    assert pair(lane(tmp_path, of="answers", **options)(row))[1:] == expected


def test_drawn_pairs_are_every_pair_with_the_margin(tmp_path):
    rows = [{**ANSWERS, "answers": [f"{i} {answer}" for answer in ANSWERS["answers"]]} for i in range(3000)]
    make = lane(tmp_path, of="answers", pair="drawn", min_margin=3)
    found = Counter((made["chosen"].partition(" ")[2], made["rejected"].partition(" ")[2]) for made in map(make, rows))
    assert set(found) == {("best", "bad"), ("best", "also bad"), ("good", "bad"), ("good", "also bad")}
    assert all(abs(n / 3000 - 0.25) < 0.03 for n in found.values())


def refused(make, row) -> str:
    with pytest.raises(Refused) as caught:
        make(row)
    return caught.value.cause


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": " a "}, "equal_answers"),
        ({"prompt": "q", "chosen": " ", "rejected": "b"}, "empty_answer"),
        ({"prompt": "q", "chosen": "a"}, "empty_answer"),
        ({"prompt": "q", "chosen": "a", "rejected": 5}, "text_not_string"),
        ({"chosen": "a", "rejected": "b"}, "no_prompt"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "no_prompt"),
        ({"system": "s", "chosen": "a", "rejected": "b"}, "no_prompt"),
        ({"chosen": turns("q", "a"), "rejected": turns("p", "b")}, "prompts_differ"),
        ({"chosen": turns("q", "a", "r", "b"), "rejected": turns("q", "b")}, "prompts_differ"),
        ({"chosen": turns("q", "a", "r"), "rejected": turns("q", "b")}, "empty_answer"),
        ({"chosen": [], "rejected": turns("q", "b")}, "empty_answer"),
        ({"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}, "no_prompt"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": "high"}, "not_a_number"),
        ({"prompt": "q" * 10_000, "chosen": "a", "rejected": "b"}, "too_large"),
        ({"prompt": "q", "chosen": "a", "rejected": "b" * 10_001}, "too_large"),
        ({"prompt": "q\0", "chosen": "a", "rejected": "b"}, "nul_character"),
    ],
)
def test_what_is_no_pair_is_refused(row, cause, tmp_path):
    assert refused(lane(tmp_path), row) == cause


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "q", "answers": ["a", "b"]}, "no_preference"), ({"prompt": "q", "answers": ["a", "b"], "scores": [1]}, "no_preference"),
        ({"prompt": "q", "answers": ["a", "b"], "scores": [1, 1]}, "no_preference"),
        ({"prompt": "q", "answers": ["a", "a"], "scores": [1, 2]}, "no_preference"),
        ({"prompt": "q", "answers": ["a", " "], "scores": [1, 2]}, "no_preference"),
        ({"prompt": "q", "answers": "a"}, "empty_answer"), ({"answers": ["a", "b"], "scores": [1, 2]}, "no_prompt"),
        ({"prompt": "q", "answers": [None, "b"], "scores": [1, 2]}, "missing_text"),
    ],
)  # fmt: skip
def test_answers_without_a_better_one_are_refused(row, cause, tmp_path):
    assert refused(lane(tmp_path, of="answers"), row) == cause


def test_every_text_is_repaired(tmp_path):
    row = {"prompt": "P\u00c3\u00a4rnu?", "chosen": "So\u0303na", "rejected": "\u00c3\u00b5"}
    made = lane(tmp_path)(row)
    assert (pair(made)[:3], made["is_repaired"]) == ((["Pärnu?"], "Sõna", "õ"), True)


def rows_of(data, name: str) -> list[dict]:
    raw = zstandard.ZstdDecompressor().stream_reader((data / "preference" / f"{name}.jsonl.zst").read_bytes()).read()
    return [json.loads(line) for line in raw.decode().split("\n") if line]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("hh_harmless", {}, {"": 1612, "empty_answer": 3, "prompts_differ": 5}),
        ("estgec_tartu_l2", {"of": "corrections", "language": "et"}, {"": 6699, "equal_answers": 4}),
        ("self_instruct_6_models", {"of": "answers", "order": ["davinci", "text-davinci-003"]}, {"": 150}),
    ],
)
def test_real_preferences(name, options, expected, data, tmp_path):
    options = dict(options)
    block = {"read": "x", "type": "preference", "language": options.pop("language", "en"), "preference": options}
    make = lane_of(recipe(tmp_path, {"s": block}).sources["s"], 1_000_000)
    causes: Counter = Counter()
    for row in rows_of(data, name):
        try:
            made = make(row)
        except Refused as one:
            causes[one.cause] += 1
            continue
        causes[""] += 1
        prompt, chosen, rejected, _ = pair(made)
        if name == "hh_harmless":  # nothing of the dialogue is lost but white space around its turns
            turns_ = [*json.loads(made["prompt"]), {"role": "assistant", "content": chosen}]
            whole = "".join({"user": "Human:", "assistant": "Assistant:"}[turn["role"]] + turn["content"] for turn in turns_)
            assert "".join(whole.split()) == "".join(row["chosen"].split())
        assert chosen != rejected and all((*prompt, chosen, rejected))
    assert causes == expected
